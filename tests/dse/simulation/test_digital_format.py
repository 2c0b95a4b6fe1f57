"""Rounding to few bits: by hand, against its closed form, and in a simulation."""

import model_fixture
import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from dse.simulation.digital_format import (
    DigitalFormat,
    drawn_rounding_error_squared,
    rounded,
    rounding_error_squared,
)
from dse.simulation.gains import Gains
from dse.simulation.noisy_model import NoisyModel
from dse.simulation.simulator import Noise, Simulator


def test_rounded_by_hand():
    """4 bits, 7 levels: a group with largest magnitude 7 has steps of one, one with 14 of two."""
    values = torch.tensor([7.0, -2.4, 0.4, 0.6, -14.0, 2.9, 3.1, 0.0])
    assert rounded(values, 4, group=4).tolist() == [7, -2, 0, 1, -14, 2, 4, 0]
    assert rounding_error_squared(values[:4], 4) == pytest.approx(
        (0.4**2 + 0.4**2 + 0.4**2) / (49 + 2.4**2 + 0.4**2 + 0.6**2)
    )
    assert not rounded(torch.zeros(3), 8).any()


@pytest.mark.parametrize("bits", [4, 8])
def test_gaussian_groups_against_the_integral(bits):
    """A step of M / L has a mean square error of step^2 / 12: eps^2 = E[M^2] / (12 L^2), M the
    largest of 64 magnitudes, with E[M^2] = integral of 2 x (1 - F(x)^64)."""
    square, _ = quad(lambda x: 2 * x * (1 - (2 * norm.cdf(x) - 1) ** 64), 0, 12)
    levels = 2 ** (bits - 1) - 1
    expected = square / (12 * levels**2)
    assert drawn_rounding_error_squared(bits) == pytest.approx(expected, rel=0.02)


def made(gains=None):
    miniature = model_fixture.random_miniature(kv_heads=1)
    sets = model_fixture.token_sets(miniature)
    return Simulator(
        miniature, sets, seeds=2, gains=gains, calibration_tokens=sets[0].tokens[:, :-1]
    )


def test_few_bits_lose_and_sixteen_lose_nothing():
    simulator = made()
    digital = simulator.all_digital()
    assert simulator.evaluate(Noise(), digital).delta_loss == 0
    losses = [
        abs(simulator.evaluate(Noise(), digital, form=form).loss_by_sequence - base).max()
        for base in [simulator.evaluate(Noise(), digital).loss_by_sequence]
        for form in (DigitalFormat(8), DigitalFormat(4), DigitalFormat(16, 8))
    ]
    assert 0 < losses[0] < losses[1] / 4
    assert 0 < losses[2] < losses[1]


def test_weights_are_those_rounded_by_hand():
    """What a pass uses: every expert and dense matrix rounded, norms, embedding, router not."""
    simulator = made()
    weights = simulator.model.digital(DigitalFormat(4))
    for name, weight in simulator.miniature.weights.items():
        exact = name.endswith(("norm", "router")) or name == "embedding"
        expected = weight if exact else rounded(weight, 4)
        assert torch.equal(weights[name], expected), name


def test_digital_experts_of_a_mixed_placement_are_rounded_too():
    """With one expert analog and ideal tiles a pass equals that with none."""
    simulator = made()
    ideal = Noise(magnitude=0.0, dac_bits=None, adc_bits=None)
    digital, form = simulator.all_digital(), DigitalFormat(4, 8)
    whole = simulator.evaluate(ideal, digital, form=form)
    digital[0, 3] = False
    one = simulator.evaluate(ideal, digital, form=form)
    every = simulator.evaluate(ideal, ~simulator.all_digital(), form=form)
    assert np.abs(one.loss_by_sequence - whole.loss_by_sequence).max() > 1e-6
    assert (
        np.abs(every.loss_by_sequence - whole.loss_by_sequence).max()
        > np.abs(one.loss_by_sequence - whole.loss_by_sequence).max()
    )


def test_gain_scales_the_rounding_error():
    """A gain of four makes eps^2 four times that of Gaussian groups at full size."""
    miniature = model_fixture.random_miniature()
    model = NoisyModel(miniature.config, miniature.weights, gains=Gains({"lm_head": 4.0}))
    weight, stored = model.weights["lm_head"], model.digital(DigitalFormat(4))["lm_head"]
    error = float((stored - weight).square().sum() / weight.square().sum())
    assert error == pytest.approx(4 * drawn_rounding_error_squared(4), rel=1e-4)


@pytest.mark.parametrize(("weights", "kv"), [(5, 16), (16, 4), (0, 16)])
def test_other_bits_are_refused(weights, kv):
    with pytest.raises(ValueError, match=r"choose from 16, 8"):
        DigitalFormat(weights, kv)
