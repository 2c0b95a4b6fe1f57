"""Nats of loss in points of accuracy, the average of the paper's benchmarks.

The slope is that of 2,900 evaluations of models of 190 M to 13 B parameters in training
(published/loss_to_accuracy_slope.csv): the better a model, the more points a nat costs.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

PUBLISHED = Path(__file__).with_name("published")

SLOPE_ERROR = 0.15
"""Relative, one standard deviation: slopes against WikiText-103 are 0.82 to 0.87 of those against
C4, and two rough points of a quantised Mixtral lie at 22 and 23 points a nat, 0.73 of them."""

CLEAN_PERCENT = {"olmoe": 63.17, "deepseekmoe": 61.28}
"""Average of the eight benchmarks without noise (arXiv 2603.02633, Table 1; second-hand)."""
ASSUMED_PERCENT = 62.0
"""Of a model whose average nobody published: between those two."""


@cache
def _slopes() -> tuple[tuple[float, float, float], ...]:
    """Lowest and highest average (%) and points lost a nat, best models first."""
    with (PUBLISHED / "loss_to_accuracy_slope.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            (
                float(r["lowest_percent"]),
                float(r["highest_percent"]),
                -float(r["points_per_nat_c4"]),
            )
            for r in csv.DictReader(file)
        ]
    return tuple(sorted(rows, reverse=True))


def clean_percent(model: str) -> float:
    """Average accuracy (%) of a full model by its name."""
    return CLEAN_PERCENT.get(model, ASSUMED_PERCENT)


def points_lost(nats: float, clean: float) -> float:
    """Points of average accuracy lost to `nats` of loss by a model of `clean` percent.

    The slope of each range of accuracy holds as long as the accuracy stays in it; below the lowest
    (40 %, about what guessing gets) nothing is left to lose. A gain in loss is a negative number.
    """
    slopes = _slopes()
    at, left = clean, nats
    if left < 0:
        return left * next((slope for low, _, slope in slopes if at >= low), slopes[-1][2])
    for low, high, slope in slopes:
        top = high if at < slopes[0][1] else at  # above the best, its slope
        if at > low and at <= top:
            step = min(left, (at - low) / slope)
            at, left = at - step * slope, left - step
    return clean - at
