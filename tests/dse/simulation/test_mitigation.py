"""Mitigations against what they must do where the answer is known without them."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from typer.testing import CliRunner

from dse.cli.app import app
from dse.search.settings import Settings
from dse.simulation.mitigation import MitigatedModel
from dse.simulation.simulator import Noise, Simulator
from workloads.checkpoint import Miniature, load_miniature
from workloads.moe import forward, plain_linear
from workloads.tasks import Benchmark, benchmarks

IDEAL = Noise(magnitude=0.0, dac_bits=None, adc_bits=None)


@pytest.fixture(scope="module")
def miniature() -> Miniature:
    return load_miniature("olmoe-mini")


@pytest.fixture(scope="module")
def text(miniature: Miniature) -> Benchmark:
    return benchmarks(miniature, 2048)[0]


@pytest.fixture(scope="module")
def plain(miniature: Miniature, text: Benchmark) -> Simulator:
    return Simulator(miniature, [text], seeds=2)


def with_mitigation(simulator: Simulator, *names: str) -> Simulator:
    other = copy.copy(simulator)
    other.mitigation = names
    return other


def placed(simulator: Simulator, noise: Noise, *names: str) -> MitigatedModel:
    digital = torch.zeros(simulator.all_digital().shape, dtype=torch.bool)
    digital[:, ::5] = True
    with torch.no_grad():
        return MitigatedModel(simulator.model, noise, digital, frozenset(), 0, 1, names)


def test_without_a_mitigation_nothing_changes(plain: Simulator) -> None:
    noise, analog = Noise(magnitude=4.0), ~plain.all_digital()
    expected = plain.evaluate(noise, analog)
    digital = torch.zeros(analog.shape, dtype=torch.bool)
    bare = MitigatedModel(plain.model, noise, digital, frozenset(), 0, 1, ())
    score = plain.score(bare, 0)
    pairs = plain.score(plain.placed(noise, analog, frozenset(), 0, 1), 0)
    np.testing.assert_array_equal(score.loss, pairs.loss)
    assert plain.mitigation == ()
    assert expected.source == plain.miniature.source


def test_recalibration_does_nothing_to_routers_without_noise(plain: Simulator) -> None:
    result = with_mitigation(plain, "router-recalibration").evaluate(IDEAL, ~plain.all_digital())
    assert result.delta_loss == pytest.approx(0, abs=1e-4)
    assert result.source.endswith(", router-recalibration")


def test_recalibration_undoes_the_gain_of_a_router(miniature: Miniature, text: Benchmark) -> None:
    simulator = Simulator(miniature, [text], seeds=2)
    draw = torch.rand(
        miniature.config.routed_experts, 1, generator=torch.Generator().manual_seed(0)
    )
    weights = simulator.model.weights
    for layer in miniature.config.moe_layers:  # not in place: the miniature is shared
        weights[f"layers.{layer}.router"] = weights[f"layers.{layer}.router"] * (1 + draw)
    analog = ~simulator.all_digital()
    distorted = simulator.evaluate(IDEAL, analog)
    restored = with_mitigation(simulator, "router-recalibration").evaluate(IDEAL, analog)
    assert distorted.delta_loss > 0.01
    assert abs(restored.delta_loss) < 0.02 * distorted.delta_loss


def test_replacement_is_the_model_without_the_freed_experts(
    plain: Simulator, miniature: Miniature, text: Benchmark
) -> None:
    """Without noise a copy computes what its original does, and only the freed experts miss."""
    model = placed(plain, IDEAL, "expert-replacement")
    freed = {
        f"layers.{layer}.router": model.orders[layer][fit.freed]
        for layer, fit in model.fits.items()
    }
    assert all(len(experts) == 4 for experts in freed.values())

    def linear(name: str, x: Tensor, weight: Tensor) -> Tensor:
        y = plain_linear(name, x, weight)
        return y.index_fill(1, freed[name], -torch.inf) if name in freed else y

    with torch.no_grad():
        logits = forward(miniature.config, miniature.weights, text.tokens[:, :-1], linear=linear)
        expected = cross_entropy(logits.flatten(0, 1), text.tokens[:, 1:].flatten()).item()
    loss = plain.score(model, 0).loss.sum() / text.answer_mask.sum().item()
    assert loss == pytest.approx(expected, abs=1e-5)


def test_replacement_frees_the_least_used_and_halves_the_busiest(plain: Simulator) -> None:
    noise = Noise(magnitude=2.0)
    before, after = placed(plain, noise), placed(plain, noise, "expert-replacement")
    first, second = before.fits[0].load, after.fits[0]
    digital = after.digital_counts["layers.0.experts.gate"]
    analog = first[digital:].sort().values
    assert torch.equal(first[second.freed].sort().values, analog[:4])
    assert torch.equal(first[second.copied].sort().values, analog[-4:])
    assert second.load.sum().item() == pytest.approx(first.sum().item())
    both = second.load[second.copied] + second.load[second.freed]
    np.testing.assert_array_less(first[second.copied].numpy() - 1e-6, both.numpy())
    # Half of the tokens each, give or take what even and odd positions differ in.
    np.testing.assert_allclose(second.load[second.copied], second.load[second.freed], rtol=0.4)
    # The copy has noise of its own.
    gate = after.matrices["layers.0.experts.gate"].weight
    one, other = (gate[experts - digital] for experts in (second.copied, second.freed))
    assert 0 < float((one - other).abs().mean() / one.abs().mean()) < 0.5


def test_settings_hold_it_and_none_is_filled_in() -> None:
    settings = Settings("olmoe", 200.0, mitigation=("expert-replacement",))
    document = settings.document()
    assert Settings.read(document) == settings
    del document["mitigation"]
    with pytest.raises(ValueError, match=r"settings\.mitigation is missing"):
        Settings.read(document)
    with pytest.raises(ValueError, match="unknown mitigation 'router': choose from router-recal"):
        Settings("olmoe", 200.0, mitigation=("router",))


def test_the_command_reports_paired_effects() -> None:
    options = ["--model", "olmoe", "--tokens", "2048", "--seeds", "2", "--magnitude", "4", "--json"]
    only = ["--mitigation", "expert-replacement"]
    result = CliRunner().invoke(app, ["mitigate", *options, *only], catch_exceptions=False)
    none, replaced = json.loads(result.stdout)["mitigation"]
    assert none["mitigation"] == "none" and none["loss_change_nats"] is None
    change = replaced["delta_loss_nats"] - none["delta_loss_nats"]
    assert replaced["loss_change_nats"] == pytest.approx(change, rel=0.2, abs=1e-3)
    assert 0 < replaced["loss_change_nats_stderr"] < replaced["delta_loss_stderr"]
    assert replaced["largest_load"] < none["largest_load"]
    bad = CliRunner().invoke(app, ["mitigate", "--mitigation", "reroute"])
    assert bad.exit_code == 2
    assert "unknown mitigation 'reroute'" in bad.stderr
