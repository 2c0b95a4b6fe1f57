"""eps^2 of drawn weights against an integral, and of drifted ones against aihwkit."""

import math

import numpy as np
import pytest
import torch
from aihwkit.inference.noise.pcm import PCMLikeNoiseModel
from scipy.stats import norm, t

from dse.simulation.weight_error import drawn_error_squared, relative_error_squared
from hwmodels.nonideality import Noise

G_MAX = 25.0  # uS


def deviation_us(ratio):
    """Programming noise of PCM (uS), Joshi et al. 2020: a polynomial of g / g_max."""
    return 0.26348 + 1.9650 * ratio - 1.1731 * ratio**2


def clamped_moments(target, sigma):
    """Mean and mean square of max(0, g + sigma z) - g, in closed form.

    With a = g / sigma: E[max(0, g + sigma z)] = g Phi(a) + sigma phi(a) and
    E[max(0, g + sigma z)^2] = (g^2 + sigma^2) Phi(a) + g sigma phi(a).
    """
    a = target / sigma
    first = target * norm.cdf(a) + sigma * norm.pdf(a)
    second = (target**2 + sigma**2) * norm.cdf(a) + target * sigma * norm.pdf(a)
    return first - target, second - 2 * target * first + target**2


def mean_square_error(ratio):
    """Of a weight of |w| / max: one device holds it, its partner of the pair holds zero."""
    mean, square = clamped_moments(G_MAX * ratio, deviation_us(ratio))
    other_mean, other_square = clamped_moments(0.0, deviation_us(0.0))
    return (square - 2 * mean * other_mean + other_square) / G_MAX**2


def column_error_squared(rows, density, at_most):
    """E[(W' - W)^2] over E[W^2] = 1 for a column of independent weights, on grids.

    The largest of n magnitudes, M, has density n F^(n-1) f with F and f those of a magnitude; it is
    one weight in n and at ratio 1, the others are below it.
    """
    largest = np.linspace(0.5, 40, 4001)
    chance = rows * at_most(largest) ** (rows - 1) * 2 * density(largest)
    likely = chance > 1e-7 * chance.max()
    largest, chance = largest[likely], chance[likely]
    ratio = np.linspace(0, 1, 801)
    below = 2 * density(np.outer(largest, ratio)) * mean_square_error(ratio) * largest[:, None]
    inside = np.trapezoid(below, ratio, axis=1) / at_most(largest)
    given = largest**2 * (mean_square_error(1.0) / rows + (rows - 1) / rows * inside)
    return np.trapezoid(chance * given, largest) / np.trapezoid(chance, largest)


@pytest.mark.parametrize("rows", [32, 512])
def test_gaussian_rows_against_the_integral(rows):
    expected = column_error_squared(rows, norm.pdf, lambda x: 2 * norm.cdf(x) - 1)
    assert drawn_error_squared(Noise(), rows) == pytest.approx(expected, rel=0.015)
    # Where it lies at all: 0.074 in blocks of 32 rows, 0.09 of 512.
    assert math.sqrt(expected) == pytest.approx({32: 0.074, 512: 0.0905}[rows], abs=0.002)


def test_heavier_tails_cost_more():
    """Student's t of 8 degrees, scaled to unit variance: the same integral."""
    scale = math.sqrt(8 / 6)
    expected = column_error_squared(
        512, lambda x: scale * t.pdf(scale * x, 8), lambda x: 2 * t.cdf(scale * x, 8) - 1
    )
    assert drawn_error_squared(Noise(), 512, 8.0) == pytest.approx(expected, rel=0.03)
    assert expected > 1.2 * drawn_error_squared(Noise(), 512)


def test_magnitude_enters_squared_where_nothing_is_clamped():
    """The share of devices near zero, which clamp, is small: four times within 3 %."""
    ratio = drawn_error_squared(Noise(magnitude=2.0), 512) / drawn_error_squared(Noise(), 512)
    assert ratio == pytest.approx(4.0, rel=0.03)


@pytest.mark.parametrize("age_s", [86400.0, 30 * 86400.0])
def test_drifted_weights_against_aihwkit(age_s):
    """The same eps^2 as aihwkit's model applied to whole tiles with one global compensation."""
    rows, columns = 512, 256
    weight = torch.randn(columns, rows, generator=torch.Generator().manual_seed(1))
    largest = weight.abs().amax(1, keepdim=True)
    model = PCMLikeNoiseModel(g_max=G_MAX)
    torch.manual_seed(2)
    target = weight / largest
    pair = [torch.clamp(sign * target, min=0) * G_MAX for sign in (1, -1)]
    programmed = [model.apply_programming_noise_to_conductance(g) for g in pair]
    exponents = [model.generate_drift_coefficients(g) for g in pair]
    before = (programmed[0] - programmed[1]) / G_MAX
    # aihwkit's tile maps the programmed difference to conductances again before it drifts.
    top = before.abs().max()
    held = [torch.clamp(sign * before, min=0) * G_MAX / top for sign in (1, -1)]
    drifted = [
        model.apply_drift_noise_to_conductance(g, nu, age_s)
        for g, nu in zip(held, exponents, strict=True)
    ]
    after = (drifted[0] - drifted[1]) / G_MAX * top
    after = after * before.abs().mean() / after.abs().mean()
    expected = ((after - target) * largest).square().sum() / weight.square().sum()
    mine = relative_error_squared(weight, (rows,), Noise(time_s=age_s), 3)
    assert mine == pytest.approx(float(expected), rel=0.02)


def test_old_weights_are_worse_and_nothing_drawn_is_exact():
    ages = [None, 3600.0, 86400.0, 30 * 86400.0, 365 * 86400.0]
    errors = [drawn_error_squared(Noise(time_s=age), 512) for age in ages]
    assert errors == sorted(errors) and errors[-1] > 2 * errors[0]
    assert drawn_error_squared(Noise(magnitude=0.0), 512) < 1e-12
    assert relative_error_squared(torch.zeros(4, 8), (8,), Noise(), 0) == 0.0


@pytest.mark.parametrize(("rows", "tail"), [(0, None), (8, 2.0), (8, float("nan"))])
def test_what_has_no_error_is_refused(rows, tail):
    with pytest.raises(ValueError, match=r"rows|tail"):
        drawn_error_squared(Noise(), rows, tail)
