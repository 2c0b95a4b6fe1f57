"""Expected largest of random numbers: of many alike ones, and of two different ones."""

from __future__ import annotations

from functools import lru_cache
from math import erfc, pi, sqrt

import numpy as np

from dse.arrays import Array

EXCESS_STEPS = 256
_POINTS = (np.arange(6 * EXCESS_STEPS) + 0.5) / EXCESS_STEPS
_BEYOND = np.array([erfc(x / sqrt(2)) / 2 for x in _POINTS])
EXCESS = np.append(np.exp(-(_POINTS**2) / 2) / sqrt(2 * pi) - _POINTS * _BEYOND, 0.0)
"""Mean of what a standard normal number exceeds x by, at steps of x; nothing from x = 6."""
TWICE_BEYOND = np.append(2 * _BEYOND, 0.0)
"""Twice the chance that a standard normal number exceeds x, at the same steps."""


@lru_cache(maxsize=8)
def largest_of_normals(most: int) -> tuple[Array, Array]:
    """Largest of 0, 1, ..., `most` independent standard normal numbers: mean, standard deviation.

    Integrals of 1 - F^n - (1 - F)^n and 2 x (1 - F^n + (1 - F)^n) over the positive half line, F
    the normal distribution.
    """
    from scipy.special import ndtr

    x = np.linspace(0.0, 9.0, 3001)
    below, above = ndtr(x), ndtr(-x)
    mean, square = np.zeros(most + 1), np.zeros(most + 1)
    all_below, all_above = np.ones_like(x), np.ones_like(x)
    for n in range(1, most + 1):
        all_below, all_above = all_below * below, all_above * above
        mean[n] = np.trapezoid(1 - all_below - all_above, dx=x[1])
        square[n] = np.trapezoid(2 * x * (1 - all_below + all_above), dx=x[1])
    return mean, np.sqrt(np.maximum(square - mean**2, 0.0))


def expected_maximum(first: Array, second: Array, deviation: Array, idle: Array) -> Array:
    """Expected larger of two times with these means, as of normal numbers (Clark 1961).

    `deviation` is the standard deviation of their difference. Times are not negative: the larger
    one falls below the other in twice the normal tail at most, or when it is `idle` (its chance),
    and then by no more than the other's mean.
    """
    found = np.maximum(first, second)
    place = np.abs(first - second)
    place *= EXCESS_STEPS / np.maximum(deviation, 1e-300)
    near = np.flatnonzero(place < len(EXCESS) - 1)  # elsewhere the larger one is
    larger, step = found.take(near), place.take(near).astype(np.int64)
    smaller = np.minimum(first.take(near), second.take(near))
    most = np.maximum(smaller, 0.0) * np.maximum(TWICE_BEYOND.take(step), idle.take(near))
    excess = np.minimum(deviation.take(near) * EXCESS.take(step), most)
    found.reshape(-1)[near] = larger + excess
    return found
