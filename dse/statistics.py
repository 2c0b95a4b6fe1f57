"""Means with the standard error that two crossed sources of chance leave: noise draws and text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def stratified_mean(
    parts: Sequence[tuple[FloatArray, FloatArray]], share: FloatArray
) -> tuple[float, float]:
    """Weighted mean of strata means and its standard error over draws and clusters.

    parts: for each stratum the sums [draws, clusters] and the number of units of each cluster
    [clusters]; a stratum's mean is its sum over its units. share [strata] weights the strata.
    The variance is the sum of that between draws and that between clusters within strata, less
    their interaction, which both contain (never below either). A stratum with one cluster adds
    no cluster variance; one draw adds no draw variance.
    """
    total, by_draw, cluster, interaction = 0.0, 0.0, 0.0, 0.0
    draw_means: FloatArray | float = 0.0
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
