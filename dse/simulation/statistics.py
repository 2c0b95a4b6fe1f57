"""Means with the standard error that two crossed sources of chance leave: noise draws and text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def stratified_mean(parts: Sequence[tuple[Array, Array]], share: Array) -> tuple[float, float]:
    """Weighted mean of strata means and its standard error over draws and clusters.

    parts: for each stratum the sums [draws, clusters] and the number of units of each cluster
    [clusters]; a stratum's mean is its sum over its units. share [strata] weights the strata.
    The variance is the sum of that between draws and that between clusters within strata, less
    their interaction, which both contain (never below either). A stratum with one cluster adds
    no cluster variance; one draw adds no draw variance.
    """
    total, by_draw, cluster, interaction = 0.0, 0.0, 0.0, 0.0
    draw_means: Array | float = 0.0
    for (sums, units), weight in zip(parts, share, strict=True):
        draws, clusters = sums.shape
        mean = sums.sum() / (draws * units.sum())
        total += weight * mean
        draw_means = draw_means + weight * sums.sum(1) / units.sum()
        # Linearised ratio estimator: clusters need not have the same number of units.
        rest = (sums - mean * units) / units.mean()
        if clusters > 1:
            cluster += weight**2 * rest.mean(0).var(ddof=1) / clusters
            if draws > 1:
                residual = rest - rest.mean(0) - rest.mean(1, keepdims=True)
                degrees = (draws - 1) * (clusters - 1)
                spread = (residual**2).sum() / degrees
                interaction += weight**2 * spread / (draws * clusters)
    draws = parts[0][0].shape[0] if parts else 1
    if draws > 1:
        by_draw = float(np.var(draw_means, ddof=1)) / draws
    variance = max(by_draw + cluster - interaction, by_draw, cluster)
    return float(total), float(np.sqrt(variance))


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of `points` pairs; 95 % interval, chance of it without relation.

    NaN where there are too few points, or all of one kind alike.
    """

    spearman: float
    low: float
    high: float
    p_value: float
    points: int


def rank_correlation(
    first: Array,
    second: Array,
    first_stderr: Array,
    second_stderr: Array,
    draws: int = 4000,
) -> RankCorrelation:
    """How well two measurements of the same things agree in their order.

    The interval is a percentile bootstrap: pairs drawn with replacement, each value moved by its
    standard error. The p-value is the share of random pairings (all of them up to 7 points) with
    at least this correlation. Fewer than 4 points give NaN.
    """
    points, nan = len(first), float("nan")
    if points < 4 or not np.ptp(first) or not np.ptp(second):
        return RankCorrelation(nan, nan, nan, nan, points)
    observed = float(_spearman(first[None], second[None])[0])
    generator = np.random.default_rng(0)
    rows = generator.integers(0, points, (draws, points))
    moved = [
        (values + errors * generator.standard_normal((draws, points)))[
            np.arange(draws)[:, None], rows
        ]
        for values, errors in ((first, first_stderr), (second, second_stderr))
    ]
    low, high = np.nanquantile(_spearman(*moved), (0.025, 0.975))
    if points <= 7:
        orders = np.array(list(permutations(range(points))))
    else:
        orders = generator.permuted(np.tile(np.arange(points), (draws, 1)), axis=1)
    chance = _spearman(np.broadcast_to(first, orders.shape), second[orders])
    reached = float((chance >= observed - 1e-12).sum())
    # Of drawn pairings the observed one counts too, so that no p-value is zero.
    p_value = reached / len(orders) if points <= 7 else (reached + 1) / (len(orders) + 1)
    return RankCorrelation(observed, float(low), float(high), p_value, points)


def _spearman(first: Array, second: Array) -> Array:
    """Spearman's correlation of each row [rows, points]; NaN where a row has no order."""
    from scipy.stats import rankdata

    a, b = (rankdata(values, axis=1) for values in (first, second))
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Array = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return result
