"""The rule by which one design is recommended: read, said in a sentence, applied to arrays.

Default: the least energy per token among designs that lose at most one point of accuracy against
digital. Differences that cannot be told decide nothing, and tiles must pay clearly.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from hwmodels.catalog import nearest

SAME = 0.01
"""Energies, throughputs, areas and costs closer than this are the same: no cost model here is
better."""
CLEARLY = 0.1
"""A design pays clearly where it gains more than this."""
SAME_LOSS_NATS = 1e-4
"""A tenth of what a simulation resolves."""
POINTS_PER_NAT = 31.0
"""Points of average accuracy that a nat costs: 30.8 on 180 checkpoints of OLMo-ladder at 62 to 66 %
(C4; 26.9 on WikiText-103)."""

PREFERENCES = {
    "energy": ("energy_j_per_token", "the least energy per token"),
    "throughput": ("throughput_tokens_per_s", "the highest throughput"),
    "cost": ("cost_usd", "the lowest cost"),
    "area": ("area_mm2", "the smallest area"),
}
"""What `--prefer` names: the column, and words for the rule."""
_LARGER = ("throughput_tokens_per_s",)
_LOSS = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(points?|nats?)\s*")


@dataclass(frozen=True)
class Rule:
    """What is recommended.

    Attributes:
        max_loss: the most that a design may lose against digital, in `unit`.
        unit: "points" of accuracy or "nats" of loss.
        prefer: one of PREFERENCES; what is best among those.
        constraints: texts of what else a design must meet, for the sentence only.
    """

    max_loss: float = 1.0
    unit: str = "points"
    prefer: str = "energy"
    constraints: tuple[str, ...] = ()

    @property
    def column(self) -> str:
        """Column of what is preferred."""
        return PREFERENCES[self.prefer][0]

    @property
    def limit(self) -> str:
        """The largest loss in words: `1 point of accuracy`, `0.03 nats`."""
        if self.unit == "nats":
            return f"{self.max_loss:g} nats"
        return f"{self.max_loss:g} {'point' if self.max_loss == 1 else 'points'} of accuracy"

    def __str__(self) -> str:
        also = f", and meet {', '.join(self.constraints)}" if self.constraints else ""
        return (
            f"{PREFERENCES[self.prefer][1]} among designs that lose at most {self.limit} against "
            f"digital, serve the traffic, fit area, heat and edge{also}; tiles only where they "
            f"gain more than {100 * CLEARLY:g} % over the best digital"
        )


def read_rule(max_loss: str, prefer: str, constraints: Sequence[str] = ()) -> Rule:
    """Read `--max-loss` and `--prefer`.

    Raises:
        ValueError: one line that says what is accepted.
    """
    match = _LOSS.fullmatch(max_loss)
    if match is None:
        raise ValueError(f"max loss is {max_loss!r}: write for instance 1point or 0.03nats")
    if prefer not in PREFERENCES:
        hint = nearest(prefer, PREFERENCES)
        raise ValueError(f"prefer is {prefer!r}: choose from {', '.join(PREFERENCES)}{hint}")
    unit = "points" if match[2].startswith("point") else "nats"
    return Rule(float(match[1]), unit, prefer, tuple(constraints))


@dataclass(frozen=True)
class Judged:
    """Designs as the rule sees them: arrays of one length.

    Attributes:
        costs: columns of PREFERENCES, those that are known.
        loss_nats: added loss; NaN where it is not known.
        points: of accuracy lost, likewise.
        tiles: whether a design has analog tiles.
        allowed: may be recommended, its loss aside.
    """

    costs: Mapping[str, Array]
    loss_nats: Array
    points: Array
    tiles: NDArray[np.bool_]
    allowed: NDArray[np.bool_]

    def factor(self, column: str, row: int) -> Array:
        """How many times worse than a row each design is in a column."""
        values = self.costs[column]
        with np.errstate(divide="ignore", invalid="ignore"):
            worse = values[row] / values if column in _LARGER else values / values[row]
        return np.asarray(worse, dtype=float)


def within_loss(rule: Rule, designs: Judged) -> NDArray[np.bool_]:
    """Which designs lose no more than the rule allows; False where it is not known."""
    lost = designs.points if rule.unit == "points" else designs.loss_nats
    return np.asarray(designs.allowed & (lost <= rule.max_loss), dtype=bool)


def clearly_better(designs: Judged, row: int) -> NDArray[np.bool_]:
    """Which designs are as accurate, as frugal and as fast as one, and clearly better in one of
    energy, throughput and area.
    """
    energy, speed, area = (
        designs.factor(name, row)
        for name in ("energy_j_per_token", "throughput_tokens_per_s", "area_mm2")
    )
    no_worse = designs.loss_nats <= designs.loss_nats[row] + SAME_LOSS_NATS
    no_worse &= (energy <= 1 + SAME) & (speed <= 1 / (1 - SAME))
    gain = (energy < 1 - CLEARLY) | (speed < 1 / (1 + CLEARLY)) | (area < 1 - CLEARLY)
    return np.asarray(no_worse & gain, dtype=bool)


def recommend(rule: Rule, designs: Judged) -> int | None:
    """Row of the design that the rule chooses; None where it allows none.

    The best by what is preferred; where others come within SAME of it, those that are best in
    energy, then throughput, then area, then loss. A design that is as good and clearly better in
    one of these takes its place. Tiles that do not pay clearly against the best digital design give
    way to it.
    """
    allowed = within_loss(rule, designs)
    chosen = _settled(rule, designs, allowed, _best(rule, designs, allowed))
    digital = _best(rule, designs, allowed & ~designs.tiles)
    if chosen is None or digital is None or not designs.tiles[chosen]:
        return chosen
    return chosen if pays(rule, designs, chosen, digital) else _settled(
        rule, designs, allowed, digital
    )  # fmt: skip


def pays(rule: Rule, designs: Judged, row: int, digital: int) -> bool:
    """Whether a design gains clearly over a digital one, in what is preferred or otherwise."""
    preferred = designs.factor(rule.column, digital)[row] < 1 - CLEARLY
    return bool(preferred or clearly_better(designs, digital)[row])


def _best(rule: Rule, designs: Judged, among: NDArray[np.bool_]) -> int | None:
    """The best of some designs, column after column, each to within SAME."""
    rows = np.flatnonzero(among & ~np.isnan(designs.costs[rule.column]))
    if not len(rows):
        return None
    for name in dict.fromkeys((rule.column, *(c for c, _ in PREFERENCES.values()))):
        if name in designs.costs:
            worse = designs.factor(name, int(rows[0]))[rows]
            rows = rows[worse <= np.nanmin(worse) * (1 + SAME)]
    return int(rows[np.argmin(designs.loss_nats[rows])])


def _settled(
    rule: Rule, designs: Judged, allowed: NDArray[np.bool_], row: int | None
) -> int | None:
    """From a design to one that no allowed design is clearly better than."""
    seen: set[int] = set()
    while row is not None and row not in seen:
        seen.add(row)
        rivals = allowed & clearly_better(designs, row)
        rivals &= designs.factor(rule.column, row) <= 1 + SAME
        row = _best(rule, designs, rivals) if rivals.any() else row
    return row
