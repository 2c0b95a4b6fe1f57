"""Errors scaled to the full model's: what a gain does to tiles, converters and losses."""

import math
from dataclasses import replace
from types import SimpleNamespace

import model_fixture
import pytest
import torch

from dse.simulation.gains import Gains
from dse.simulation.noisy_model import NoisyModel, full_inputs
from dse.simulation.simulator import Noise, Simulator
from dse.simulation.weight_error import drawn_error_squared
from hwmodels.analog_product import converter_levels
from hwmodels.nonideality import program
from workloads.architecture import load_model
from workloads.checkpoint import load_miniature
from workloads.tasks import benchmarks

FULL = SimpleNamespace(
    hidden_size=2048, heads=16, head_dim=128, expert_intermediate_size=1408,
    shared_intermediate_size=2816, dense_intermediate_size=10944,
)  # fmt: skip


def scaled(gains):
    miniature = model_fixture.random_miniature()
    return NoisyModel(
        miniature.config, miniature.weights, row_inputs=full_inputs(FULL), gains=gains
    )


@pytest.mark.parametrize("age_s", [None, 86400.0])
@pytest.mark.parametrize(
    ("name", "group", "rows"),
    [
        ("layers.1.experts.gate", "experts", 512),  # 2048 inputs: four blocks of 512
        ("layers.1.experts.down", "experts", 470),  # 1408 inputs: three blocks, 470 at most
        ("lm_head", "lm_head", 512),
    ],
)
def test_tiles_have_the_full_models_error(age_s, name, group, rows):
    """eps^2 in the tiles is the gain times that of so many Gaussian rows."""
    model = scaled(Gains({group: 3.0}))
    noise = Noise(time_s=age_s)
    error = size = 0.0
    for layer in (1, 2) if name.startswith("layers") else (0,):
        for seed in range(24):
            own = name.replace("layers.1", f"layers.{layer}")
            tiles = model.programmed(own, noise, seed, 1)
            error += float((tiles.effective_weight() - model.weights[own]).square().sum())
            size += float(model.weights[own].square().sum())
    expected = 3.0 * drawn_error_squared(noise, rows)
    assert error / size == pytest.approx(expected, rel=0.06)


def test_heavy_tails_and_no_gains():
    gaussian, tailed = (scaled(Gains({}, {}, tails)) for tails in ({}, {"experts": 5.0}))
    name, noise = "layers.1.experts.up", Noise()
    ratio = tailed.error_scale(name, noise) / gaussian.error_scale(name, noise)
    drawn = drawn_error_squared(noise, 512, 5.0) / drawn_error_squared(noise, 512)
    assert ratio == pytest.approx(math.sqrt(drawn), rel=1e-6)
    assert scaled(None).error_scale(name, noise) == 1.0
    assert gaussian.error_scale(name, Noise(magnitude=0.0)) == 1.0  # nothing to scale


@pytest.mark.parametrize("age_s", [None, 86400.0])
def test_scaled_error_by_hand(age_s):
    """W + s (W' - W) for W' as the same draw without a scale gives it, after compensation."""
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    noise = Noise(time_s=age_s)

    def written(scale):
        generator = torch.Generator().manual_seed(5)
        return program(weight, (20, 20), noise, generator=generator, error_scale=scale)

    once, thrice = written(1.0).effective_weight(), written(3.0).effective_weight()
    torch.testing.assert_close(thrice, weight + 3 * (once - weight), rtol=1e-4, atol=1e-5)


def test_the_order_of_the_weights_does_not_matter():
    """Files of weights have none."""
    miniature = model_fixture.random_miniature()
    turned = dict(reversed(miniature.weights.items()))
    scales = {
        NoisyModel(miniature.config, weights, gains=Gains()).error_scale(
            "layers.1.experts.gate", Noise()
        )
        for weights in (miniature.weights, turned)
    }
    assert len(scales) == 1


def test_lost_bits_are_fewer_levels():
    """8 bits less 2 are 6: 31 levels a side; less 1.5 are 6.5: 2^5.5 - 1 = 44.25, so 44."""
    assert converter_levels(8 - 2) == 31 and converter_levels(8 - 1.5) == 44
    assert converter_levels(1.0) == 1
    miniature = model_fixture.random_miniature()
    sets = model_fixture.token_sets(miniature)
    noise = Noise(magnitude=0.0)

    def loss(gains, noise):
        made = Simulator(
            miniature, sets, seeds=2, gains=gains, calibration_tokens=sets[0].tokens[:, :-1]
        )
        return made.evaluate(noise, ~made.all_digital(), ("attention",)).loss_by_sequence

    lost = Gains(lost_bits={"experts": 2.0, "attention": 2.0})
    six = replace(noise, dac_bits=6, adc_bits=6)
    assert (loss(lost, noise) == loss(None, six)).all()
    assert not (loss(lost, noise) == loss(None, noise)).all()


def test_gain_multiplies_a_small_loss():
    """To second order the loss is proportional to the gain; on trained weights, the same draws."""
    miniature = load_miniature("olmoe-mini")
    sets = benchmarks(miniature, 2048)
    noise = Noise(dac_bits=None, adc_bits=None)

    def added(gain):
        made = Simulator(miniature, sets, load_model("olmoe"), 4, gains=Gains({"lm_head": gain}))
        return made.evaluate(noise, made.all_digital(), ("lm_head",)).delta_loss

    assert added(8.0) == pytest.approx(4 * added(2.0), rel=0.1)


@pytest.mark.parametrize("gains", [{"expert": 1.0}, {"experts": 0.0}, {"experts": math.inf}])
def test_bad_gains_are_refused(gains):
    with pytest.raises(ValueError, match=r"no group 'expert'|must be finite"):
        Gains(gains)
