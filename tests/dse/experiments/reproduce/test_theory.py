"""The analytical setting: its pattern arithmetic, noise against closed forms, and the fits."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from dse.experiments.reproduce.theory import (
    Layer,
    Setting,
    draw,
    experiment,
    noisy_answers,
    serves_rare,
    tolerated,
    train,
)
from dse.experiments.reproduce.theory_table import (
    exponents,
    fitted_exponent,
    grows_as_stated,
    reproduce_theory,
)
from dse.kept import Kept

QUICK = Setting(patterns=12, experts=8, neurons=6, length=6, neuron_step=0.05)


def test_the_output_equals_the_layer_written_out_with_vectors():
    """Tokens as one-hot vectors, experts one at a time, neurons as matrix products."""
    torch.manual_seed(0)
    sign = torch.tensor([1.0, -1.0, 1.0]).expand(4, 3)
    layer = Layer(torch.randn(4, 10), torch.randn(4, 3, 10), sign)
    tokens = torch.randint(0, 10, (6, 5))
    expected = []
    for sequence in tokens:
        x = torch.nn.functional.one_hot(sequence, 10).float()
        total = 0.0
        for expert in range(4):
            scores = x @ layer.router[expert]
            best, chosen = scores.topk(2)
            gate = best.softmax(0)
            for weight, index in zip(gate, chosen, strict=True):
                total += weight * (sign[expert] @ (layer.neurons[expert] @ x[index]).relu())
        expected.append(total)
    torch.testing.assert_close(layer.output(tokens, 2), torch.stack(expected))


def test_each_sequence_has_exactly_one_deciding_token():
    generator = torch.Generator().manual_seed(0)
    tokens, label, rare = draw(QUICK, 4000, generator)
    deciding = tokens < 4
    assert (deciding.sum(1) == 1).all()
    pattern = tokens[deciding]
    assert torch.equal(pattern % 2 == 1, rare)
    assert torch.equal(torch.where(pattern < 2, 1.0, -1.0), label)
    assert rare.double().mean().item() == pytest.approx(QUICK.rare_share, abs=0.02)


def _ideal(norms: list[float], setting: Setting) -> Layer:
    """Experts 0 and 1 speak for the frequent patterns, 2 and 3 for the rare ones, nothing else.

    Each has one neuron of sign + and one of sign -, and finds its pattern with all its weight.
    """
    pattern = torch.tensor([0, 2, 1, 3])
    router = torch.zeros(4, setting.patterns)
    router[torch.arange(4), pattern] = 50.0
    neurons = torch.zeros(4, 2, setting.patterns)
    neurons[torch.arange(4), torch.tensor([0, 1, 0, 1]), pattern] = torch.tensor(norms)
    return Layer(router, neurons, torch.tensor([[1.0, -1.0]]).expand(4, 2))


def test_worst_case_noise_tolerated_equals_its_closed_form():
    """Frequent w = 3, rare w = 1. A rare sequence of class + gains 1 - c from its own expert.

    The other three meet irrelevant tokens only: the expert of + is at most pushed to 0, those of
    - speak against with 3c and c. So 1 - c = 4c; with the experts of norm 3 digital 1 - c = c.
    """
    setting = Setting(patterns=12, experts=4, neurons=2, length=6)
    layer = _ideal([3.0, 3.0, 1.0, 1.0], setting)
    assert torch.equal(serves_rare(layer), torch.tensor([False, False, True, True]))
    everything = torch.ones(4, dtype=torch.bool)
    found = tolerated(layer, setting, everything, 0, "worst", rare=True)
    assert found == pytest.approx(1 / 5, rel=0.01)
    found = tolerated(layer, setting, serves_rare(layer), 0, "worst", rare=True)
    assert found == pytest.approx(1 / 2, rel=0.01)
    found = tolerated(layer, setting, everything, 0, "worst", rare=False)
    assert found == pytest.approx(3 / (3 + 4), rel=0.01)


def test_only_analog_experts_move_and_by_their_largest_weight():
    layer = _ideal([3.0, 2.0, 1.0, 5.0], QUICK)
    analog = torch.tensor([True, False, True, False])
    shift = torch.ones(4, 2, QUICK.patterns)
    moved = noisy_answers(layer, analog, shift, 0.5) - layer.answers()
    assert (moved[~analog] == 0).all()
    assert torch.allclose(moved[0], torch.full((QUICK.patterns,), 1.5))
    assert torch.allclose(moved[2], torch.full((QUICK.patterns,), 0.5))


def test_random_noise_tolerated_is_where_accuracy_crosses_the_required_share():
    setting = Setting(patterns=12, experts=4, neurons=2, length=6)
    layer = _ideal([1.0, 1.0, 1.0, 1.0], setting)
    everything = torch.ones(4, dtype=torch.bool)
    found = tolerated(layer, setting, everything, 0, rare=True, draws=300)
    tokens, label, _ = draw(setting, 400, torch.Generator().manual_seed(9), rare_share=1.0)

    def accuracy(magnitude: float) -> float:
        generator = torch.Generator().manual_seed(8)
        right = 0.0
        for _ in range(300):
            shift = magnitude * torch.randn(layer.neurons.shape, generator=generator)
            moved = layer.neurons + shift * layer.neurons.amax(2, keepdim=True)
            output = Layer(layer.router, moved, layer.sign).output(tokens, setting.capacity)
            right += float((output * label > 0).double().mean()) / 300
        return right

    assert accuracy(0.8 * found) > 0.95 > accuracy(1.25 * found)


def test_training_reaches_its_margins_on_both_kinds_of_sequence():
    found = train(QUICK, 0.5, 0)
    assert [*found] == [0.1, 0.5, 0.9]
    steps = [step for step, _ in found.values()]
    assert steps == sorted(steps)
    tokens, label, rare = draw(QUICK, 2000, torch.Generator().manual_seed(5), rare_share=0.5)
    for wish, (_, layer) in found.items():
        reached = layer.output(tokens, QUICK.capacity) * label >= wish
        assert reached[rare].double().mean() > 0.95 and reached[~rare].double().mean() > 0.95


def test_early_in_training_frequent_patterns_give_the_larger_norms():
    table = experiment(Setting(), shares=(0.5,), seeds=1)
    first = table.iloc[0]
    assert first["margin"] == 0.1
    assert first["frequent_norm_larger"] > 0.8 and first["norm_ratio"] > 1
    assert (table["worst_gain"] > 1).all()


def test_the_fit_recovers_a_known_exponent_with_its_error():
    generator = np.random.default_rng(0)
    gamma = np.linspace(0.1, 0.9, 40)
    slopes, errors = [], []
    for _ in range(300):
        noisy = 3.0 * gamma**-1.2 * np.exp(0.1 * generator.normal(size=40))
        slope, error = fitted_exponent(gamma, noisy)
        slopes.append(slope)
        errors.append(error)
    assert np.mean(slopes) == pytest.approx(-1.2, abs=0.01)
    assert np.mean(errors) == pytest.approx(np.std(slopes), rel=0.15)
    with pytest.raises(ValueError, match="three runs"):
        fitted_exponent(np.ones(5), np.ones(5))


def test_exponents_of_a_table_that_follows_the_theorem():
    gamma = np.linspace(0.1, 0.8, 8)
    columns = {f"{noise}_{what}": 2 / gamma for noise in ("random", "worst")
               for what in ("gain", "top_norm_digital")}  # fmt: skip
    table = pd.DataFrame({"margin": 0.5, "gamma": gamma, "frequent_norm_larger": 1.0, **columns})
    row = exponents(table).iloc[0]
    assert row["worst_gain_slope"] == pytest.approx(-1)
    assert row["random_smallest_gain_gamma"] == pytest.approx(2)
    assert grows_as_stated(row["worst_gain_slope"], row["worst_gain_slope_stderr"] + 1e-9)
    assert grows_as_stated(-0.5, 0.1) is False
    assert grows_as_stated(-0.6, 0.4) is None
    assert grows_as_stated(-1.4, 0.1) is True


def test_the_report_names_every_margin_and_has_error_bars(monkeypatch):
    table = experiment(replace(QUICK, experts=16), shares=(0.25, 0.5, 0.75), seeds=2)
    monkeypatch.setattr(
        "dse.experiments.reproduce.theory_table.experiment", lambda *_args, **_options: table
    )
    result = reproduce_theory(QUICK, seeds=2)
    assert set(result.table["margin"]) == set(table["margin"])
    assert "the lemma: in all" in result.sentence and "gamma to the" in result.sentence
    ours = [trace for trace in result.figure.data if not trace.name.startswith("1/gamma")]
    assert ours and all(trace.error_y.array is not None for trace in ours)


def test_an_interrupted_theory_goes_on_from_its_trained_layers(tmp_path, monkeypatch):
    effort = {"shares": (0.25, 0.5), "seeds": 2}
    whole = experiment(QUICK, **effort)

    def stop(_text: str, done: int, total: int) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experiment(QUICK, **effort, progress=stop, kept=Kept(tmp_path))
    trained = []
    monkeypatch.setattr(
        "dse.experiments.reproduce.theory.train",
        lambda *given: trained.append(given) or train(*given),
    )
    pd.testing.assert_frame_equal(experiment(QUICK, **effort, kept=Kept(tmp_path)), whole)
    assert [given[1:] for given in trained] == [(0.5, 1)]
