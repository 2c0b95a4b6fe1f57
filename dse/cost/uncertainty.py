"""How uncertain a design's cost is: each constant of its technology moved to its published ends.

A constant is shared by every design of its technology (or by all, for the accelerator), and is
taken to be independent of the other constants. Effects of independent constants on the logarithm of
a quantity add as the root of the sum of their squares. Between two designs a shared constant moves
both, so that their ratio moves only by the difference of its effects: that cancels what they share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from dse.cost.evaluate import Costs, evaluate
from dse.cost.hardware import System, hardware
from dse.cost.recorded import (
    Model,
    analog_modules,
    columns_of,
    order_index,
    technologies_of,
)
from dse.placement.parts import ANALOG_PARTS
from hwmodels.digital import Accelerator
from hwmodels.technology import Technology, stack_technologies
from hwmodels.uncertainty import ConstantRange, accelerator_ranges, scaled, technology_ranges

if TYPE_CHECKING:
    import pandas as pd


QUANTITIES = ("energy_j_per_token", "throughput_tokens_per_s", "area_mm2")
_SAME = 1e-6
"""Largest relative difference between a recorded cost and the same design costed again."""


@dataclass(frozen=True)
class Effects:
    """What moving each constant does to designs.

    Attributes:
        constants: the constants with their ranges.
        owners: technology of each, or the accelerator's name.
        log_change: ln(new / nominal) [constants, 2 (low, high), quantities, designs].
        values: nominal [quantities, designs]; NaN for a design that cannot be costed again.
    """

    constants: tuple[ConstantRange, ...]
    owners: tuple[str, ...]
    log_change: Array
    values: Array

    def ranges(self) -> tuple[Array, Array]:
        """Low and high end of each quantity [quantities, designs], all constants together."""
        down, up = combine(self.log_change)
        return self.values * np.exp(-down), self.values * np.exp(up)

    def ratio_ranges(self, design: int) -> tuple[Array, Array]:
        """Low and high end of each design's quantity over that of one design."""
        down, up = combine(self.log_change - self.log_change[..., design : design + 1])
        ratio = self.values / self.values[:, design : design + 1]
        return ratio * np.exp(-down), ratio * np.exp(up)


def combine(log_change: Array) -> tuple[Array, Array]:
    """Downward and upward change of a logarithm (both >= 0) from changes [constants, 2, ...].

    Of each constant the end that moves furthest down counts downwards, and likewise upwards.
    """
    down = np.minimum(log_change.min(axis=1), 0.0)
    up = np.maximum(log_change.max(axis=1), 0.0)
    return np.sqrt((down**2).sum(axis=0)), np.sqrt((up**2).sum(axis=0))


@dataclass(frozen=True)
class _Moved:
    """Constants at both of their ends, one variant after another; the first moves nothing.

    Attributes:
        constants: with the technology or accelerator that owns each; each has two variants.
        technologies: those of the designs, and each moved one.
        index: of these, which a design has in a variant [variants, designs].
        factors: of the accelerator's constants, in each variant.
    """

    constants: list[tuple[str, ConstantRange]]
    technologies: list[Technology]
    index: NDArray[np.int64]
    factors: dict[str, Array]


def _moved(technologies: list[Technology], index: NDArray[np.int64], base: Accelerator) -> _Moved:
    constants, found, indices = [], list(technologies), [index]
    for place, technology in enumerate(technologies):
        for one in technology_ranges(technology):
            constants.append((str(technology.name), one))
            for end in (one.low, one.high):
                indices.append(np.where(index == place, len(found), index))
                found.append(scaled(technology, one.name, end / one.nominal))
    ranges = accelerator_ranges(base)
    factors = {one.name: np.ones(len(indices) + 2 * len(ranges)) for one in ranges}
    for one in ranges:
        constants.append((base.name, one))
        for end in (one.low, one.high):
            factors[one.name][len(indices)] = end / one.nominal
            indices.append(index)
    return _Moved(constants, found, np.stack(indices), factors)


def _costs_of_variants(model: Model, table: pd.DataFrame, moved: _Moved) -> Array:
    """Quantities [quantities, variants, designs], all costed at once."""
    variants, designs = moved.index.shape
    columns = {name: np.tile(values, variants) for name, values in columns_of(table).items()}
    technology = stack_technologies(moved.technologies, moved.index.reshape(-1))
    tile, accelerator = hardware(technology, model.base, columns)
    for name, factors in moved.factors.items():
        accelerator = scaled(accelerator, name, np.repeat(factors, designs))
    modules = analog_modules(table)
    costs: Costs = evaluate(
        model.architecture,
        model.routing,
        model.orders,
        System(tile, columns["tiles"], accelerator, columns["dies"]),
        np.tile(order_index(model, table), variants),
        columns["digital_experts"],
        model.traffic,
        {part: np.tile([part in own for own in modules], variants) for part in ANALOG_PARTS},
        columns["micro_batches"],
    )
    found = [np.asarray(getattr(costs, name), dtype=float) for name in QUANTITIES]
    return np.stack(found).reshape(len(QUANTITIES), variants, designs)


def effects(model: Model, table: pd.DataFrame) -> Effects:
    """Cost every row of a table of candidates again with each constant at both of its ends.

    A row whose recorded cost does not come out again (it lacks a tile that it has) is NaN.
    """
    if not len(table):
        return Effects((), (), np.zeros((0, 2, len(QUANTITIES), 0)), np.zeros((len(QUANTITIES), 0)))
    moved = _moved(*technologies_of(table), model.base)
    costs = _costs_of_variants(model, table, moved)
    values = costs[:, 0]
    change = np.log(costs[:, 1:] / costs[:, :1])  # [quantities, 2 a constant, designs]
    change = change.swapaxes(0, 1).reshape(-1, 2, *values.shape)
    recorded = np.stack([table[name].to_numpy(dtype=float) for name in QUANTITIES])
    with np.errstate(invalid="ignore"):
        same = (np.abs(values / recorded - 1) <= _SAME).all(axis=0)
    values[:, ~same] = np.nan
    owners, constants = zip(*moved.constants, strict=True)
    return Effects(constants, owners, change, values)


def with_ranges(table: pd.DataFrame, found: Effects, chosen: int | None) -> pd.DataFrame:
    """The table with `<quantity>_low` and `_high`, and, over the design in row `chosen`,
    `<quantity>_ratio_low` and `_ratio_high`, in which constants that both share cancel.
    """
    import pandas as pd

    columns: dict[str, Array] = {}
    sides = [("", found.ranges())]
    if chosen is not None:
        sides.append(("_ratio", found.ratio_ranges(chosen)))
    for kind, ends in sides:
        for end, numbers in zip(("low", "high"), ends, strict=True):
            for name, row in zip(QUANTITIES, numbers, strict=True):
                columns[f"{name}{kind}_{end}"] = row
    kept = table.drop(columns=[name for name in columns if name in table.columns])
    return pd.concat([kept, pd.DataFrame(columns, index=table.index)], axis="columns")


def tornado(found: Effects, design: int) -> pd.DataFrame:
    """One row a constant that moves this design: its range and source, and what it moves.

    `<quantity>_change_low` and `_change_high` are relative changes with the constant at its low
    and its high end. The constants that move energy most come first.

    Raises:
        ValueError: when the design's recorded cost does not come out again.
    """
    import pandas as pd

    if np.isnan(found.values[:, design]).any():
        raise ValueError("this design cannot be costed again: its run is of another version")
    rows = []
    change = np.expm1(found.log_change[..., design])
    for owner, one, moved in zip(found.owners, found.constants, change, strict=True):
        if not np.abs(moved).max() > 1e-12:
            continue
        row = {"part": owner, "constant": one.name, "low": one.low, "nominal": one.nominal,
               "high": one.high, "source": one.source}  # fmt: skip
        for name, (low, high) in zip(QUANTITIES, moved.T, strict=True):
            row |= {f"{name}_change_low": float(low), f"{name}_change_high": float(high)}
        rows.append(row)
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    swing = [f"{name}_change_{end}" for name in QUANTITIES for end in ("low", "high")]
    order = np.lexsort([-table[swing].abs().max(axis=1), -table[swing[:2]].abs().max(axis=1)])
    return table.iloc[order].reset_index(drop=True)


def with_tornado(model: Model, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A run's table with its ranges, and the tornado of what it recommends, if anything."""
    import pandas as pd

    found = effects(model, table)
    marked = np.flatnonzero(table["is_recommended"].fillna(False).to_numpy(dtype=bool))
    chosen = int(marked[0]) if len(marked) else None
    drawn = tornado(found, chosen) if chosen is not None else pd.DataFrame()
    return with_ranges(table, found, chosen), drawn
