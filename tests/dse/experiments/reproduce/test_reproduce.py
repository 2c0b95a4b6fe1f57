"""The paper's figures: what can be checked without the minutes that a full run takes."""

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
import torch

from dse.experiments.reproduce import fig4_5 as module
from dse.experiments.reproduce.claims import decided, verdict
from dse.experiments.reproduce.fig4_5 import layer_matched_random
from dse.experiments.reproduce.fig6 import served_frequency
from dse.experiments.reproduce.figures import quartiles, recovery_lines
from dse.experiments.reproduce.reproduce import reproduce
from dse.kept import Kept
from dse.simulation.result import SimulationResult
from dse.simulation.simulator import Simulator
from workloads.checkpoint import load_miniature
from workloads.moe import forward


def test_layer_matched_random_keeps_the_counts_of_every_layer():
    mask = np.random.default_rng(0).random((5, 32)) < 0.3
    first, second = layer_matched_random(mask, 0), layer_matched_random(mask, 1)
    assert np.array_equal(first.sum(1), mask.sum(1)) and np.array_equal(second.sum(1), mask.sum(1))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, layer_matched_random(mask, 0))


def test_served_frequency_equals_the_routing_written_out():
    """Every expert's tokens collected in lists, mean and standard error from those."""
    miniature = load_miniature("olmoe-mini")
    tokens = torch.randint(0, 50, (2, 64), generator=torch.Generator().manual_seed(0))
    share = (torch.bincount(tokens.flatten()) / tokens.numel()).log10()[tokens.flatten()]
    served: dict[tuple[int, int], list[float]] = {}

    def observe(layer, _probability, indices, _weights):
        for token, chosen in enumerate(indices.reshape(-1, indices.shape[-1])):
            for expert in chosen.tolist():
                served.setdefault((layer, expert), []).append(float(share[token]))

    with torch.no_grad():
        forward(miniature.config, miniature.weights, tokens, observe=observe)
    mean, error = served_frequency(miniature, tokens)
    assert np.isfinite(mean).sum() == len(served)
    for (layer, expert), values in served.items():
        row = layer - miniature.config.dense_layers
        assert mean[row, expert] == pytest.approx(np.mean(values))
        if len(values) > 1:
            wanted = np.std(values, ddof=1) / np.sqrt(len(values))
            assert error[row, expert] == pytest.approx(wanted, abs=1e-6)
        else:
            assert np.isnan(error[row, expert])


@pytest.mark.parametrize("name", ["table1", "fig6"])
def test_a_quick_run_has_table_figure_and_sentence(name):
    result = reproduce(name, seeds=2, tokens=2048)
    assert set(result.table["model"]) == {"deepseekmoe-mini", "olmoe-mini"}
    measured = result.table.drop(columns="mean_log10_token_frequency_stderr", errors="ignore")
    assert np.isfinite(measured.select_dtypes("number")).all().all()
    shown = result.figure.layout.title.text.replace("<br>", " ")
    assert "Published" in shown and result.published in shown
    assert any(trace.error_y.array is not None for trace in result.figure.data)
    cells = result.cells()
    assert len(cells) == len(result.table) and len(cells.columns) <= 6
    with_error = {"table1": "delta_loss_nats", "fig6": "mean_log10_token_frequency"}[name]
    value, error = (float(text) for text in cells[with_error].iloc[1].split(" ± "))
    row = result.table.iloc[1]
    assert value == pytest.approx(row[with_error], rel=0.01)
    stderr = {"table1": "delta_loss_stderr", "fig6": f"{with_error}_stderr"}[name]
    assert error == pytest.approx(row[stderr], rel=0.4)
    assert result.sentence.endswith(".") and "claim" in result.sentence
    assert "sha256" in result.source
    assert len(result.figure.data) >= 2


def test_a_quick_run_of_the_selection_scores(monkeypatch):
    monkeypatch.setattr(module, "MAGNITUDES", (8.0,))
    monkeypatch.setattr(module, "MODELS", {"olmoe-mini": "olmoe"})
    result = reproduce("fig5", seeds=2, tokens=2048)
    labels = set(result.table["selection"])
    assert {"all experts analog", "max_neuron_norm global", "random per_layer"} <= labels
    assert "random, layers as max_neuron_norm global" in labels
    analog = result.table[result.table["selection"] == "all experts analog"]
    assert (analog["recovered_nats"] == 0).all()
    assert "clearly better than activation_frequency at" in result.sentence
    assert "published: 33 to 50 %" in result.sentence


def test_the_published_recovery_stands_beside_our_own_at_its_magnitude():
    loss = [0.4, 0.6]
    table = pd.DataFrame(
        {
            "model": "olmoe-mini",
            "magnitude": [2.5, 4.0],
            "selection": "all experts analog",
            "delta_loss_nats": loss,
            "delta_loss_stderr": 0.01,
        }
    )
    figure = recovery_lines(table, (2.5, 1 / 3, 1 / 2))
    bar = next(trace for trace in figure.data if trace.name.startswith("published"))
    assert sorted(bar.y) == pytest.approx([0.4 / 2, 0.4 * 2 / 3])


def test_quartile_means_of_a_known_relation():
    frequency = pd.Series(np.arange(100.0))
    found = quartiles(frequency, 10.0 ** (frequency / 10))
    assert found["frequency"].tolist() == [12.0, 37.0, 62.0, 87.0]
    assert found["log10_score"].tolist() == pytest.approx([1.2, 3.7, 6.2, 8.7])
    error = np.std(np.arange(25) / 10, ddof=1) / 5
    assert found["log10_score_stderr"].tolist() == pytest.approx([error] * 4)


def test_an_unknown_figure_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="nearest is fig3"):
        reproduce("fig33")


def _stopped_before(part: int):
    def progress(_text: str, done: int, _total: int) -> None:
        if done == part:
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_figure_goes_on_from_its_finished_simulations(tmp_path, monkeypatch):
    monkeypatch.setattr("dse.experiments.reproduce.reproduce.MODELS", {"olmoe-mini": "olmoe"})
    effort = {"seeds": 2, "tokens": 1536}
    whole = reproduce("fig3", **effort)
    with pytest.raises(KeyboardInterrupt):
        reproduce("fig3", **effort, progress=_stopped_before(2), kept=Kept(tmp_path))
    lines = (tmp_path / "simulations.jsonl").read_text().splitlines()
    assert len(lines) == 2
    # What a kill leaves of the line that it cut off.
    (tmp_path / "simulations.jsonl").write_text("\n".join([*lines, lines[0][:40]]))
    simulated = []
    passes = Simulator._noisy
    monkeypatch.setattr(
        Simulator, "_noisy", lambda self, *given: simulated.append(given) or passes(self, *given)
    )
    resumed = reproduce("fig3", **effort, kept=Kept(tmp_path))
    assert len(simulated) == len(whole.table) - 2
    pd.testing.assert_frame_equal(resumed.table, whole.table)
    assert resumed.sentence == whole.sentence
    again = reproduce("fig3", **effort, kept=Kept(tmp_path))
    assert len(simulated) == len(whole.table) - 2
    pd.testing.assert_frame_equal(again.table, whole.table)
    # Other seeds or tokens are other simulations.
    reproduce("fig3", seeds=2, tokens=2048, kept=Kept(tmp_path))
    assert len(simulated) == 2 * len(whole.table) - 2


def test_a_cache_folder_that_cannot_be_made_costs_only_the_cache(tmp_path):
    (tmp_path / "file").write_text("")
    kept = Kept(tmp_path / "file" / "folder")
    kept.put({"loss": 1.0}, "one")
    assert "cannot write" in kept.trouble
    assert kept.get("one") == {"loss": 1.0} and kept.on_disk == 0


def _result(loss: np.ndarray, clean: np.ndarray) -> SimulationResult:
    """Losses [pairs, sequences] as a result; what pairing does not look at is zero."""
    zero = dict.fromkeys([field.name for field in fields(SimulationResult)], 0.0)
    change = float((loss - clean).mean())
    arrays = {"loss_by_sequence": loss, "delta_loss": change}
    return SimulationResult(**zero | arrays)  # type: ignore[arg-type]


def test_the_error_of_a_recovered_share_is_the_spread_of_repeated_measurements():
    """Both losses share their draws and text; the share is known, its scatter is what is stated."""
    generator = np.random.default_rng(0)
    shares, errors = [], []
    for _ in range(300):
        clean = np.zeros((1, 60))
        common = 1 + 0.3 * generator.normal(size=(4, 1)) + 0.5 * generator.normal(size=(1, 60))
        analog = _result(common, clean)
        own = _result(0.4 * common + 0.2 * generator.normal(size=(4, 60)), clean)
        share = 1 - own.delta_loss / analog.delta_loss
        shares.append(share)
        errors.append(module._share_error(share, _result(clean, clean), analog, [own]))
    assert np.mean(shares) == pytest.approx(0.6, abs=0.01)
    assert np.mean(errors) == pytest.approx(np.std(shares), rel=0.2)


def test_a_claim_is_undecided_where_the_errors_leave_it_open():
    labels = ("activation_frequency global", "activation_weight global", "router_norm global")

    def gaps(*values: float):
        return {4.0: {label: (value, 0.1) for label, value in zip(labels, values, strict=True)}}

    holds, said = module._judgement({"a": gaps(1, 1, 1), "b": gaps(1, 1, 1)})
    assert holds and "every magnitude" in said
    holds, said = module._judgement({"a": gaps(1, 1, 1), "b": gaps(1, 0.1, 1)})
    assert not holds and "clearly on a at c = 4" in said and "not decided" in said
    holds, said = module._judgement({"a": gaps(1, 1, 1), "b": gaps(1, -1, 1)})
    assert not holds and "does not hold on b at c = 4" in said
    assert "both" in verdict({"a": (1.0, 0.1), "b": (1.0, 0.1)})
    mixed = verdict({"a": (1.0, 0.1), "b": (-1.0, 0.1)})
    assert mixed == "holds on a, and does not hold on b"
    assert "not decided" in verdict({"a": (0.1, 0.1), "b": (-1.0, 0.1)})


def test_an_open_claim_is_neither_true_nor_false():
    """A number within two errors of zero decides nothing; one clearly below decides against."""
    assert decided({"a": (0.3, 0.1), "b": (0.5, 0.2)}) is True
    assert decided({"a": (0.3, 0.1), "b": (0.1, 0.2)}) is None
    assert decided({"a": (0.3, 0.1), "b": (-0.5, 0.2)}) is False
