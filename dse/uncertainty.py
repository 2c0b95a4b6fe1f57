"""How uncertain a design's cost is: each constant of its technology moved to its published ends.

A constant is shared by every design of its technology (or by all, for the accelerator), and is
taken to be independent of the other constants. Effects of independent constants on the logarithm of
a quantity add as the root of the sum of their squares. Between two designs a shared constant moves
both, so that their ratio moves only by the difference of its effects: that cancels what they share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.cost import Costs, Workload, evaluate
from dse.mapping import NO_PARTS, read_parts
from dse.system import System
from hwmodels.digital import Accelerator, load_accelerator
from hwmodels.technology import Technology, load_technology, stack_technologies
from hwmodels.tile import Tile
from hwmodels.uncertainty import ConstantRange, accelerator_ranges, scaled, technology_ranges
from workloads.architecture import MoEArchitecture
from workloads.routing import Routing

if TYPE_CHECKING:
    import pandas as pd

    from dse.run import Run

Array = NDArray[np.float64]

QUANTITIES = ("energy_j_per_token", "throughput_tokens_per_s", "area_mm2")
_ANY_TECHNOLOGY = "pcm-14nm"
_ANY_TILE = {"tile_rows": 256, "tile_cols": 256, "tiers": 1, "dac_bits": 8, "adc_bits": 8,
             "columns_per_adc": 1}  # fmt: skip
"""Stand in where a design names no tile because it has none: there is nothing of it to cost."""
_SAME = 1e-6
"""Largest relative difference between a recorded cost and the same design costed again."""


@dataclass(frozen=True)
class Model:
    """What all designs of a run share: the model, its routing, its placements and the workload."""

    architecture: MoEArchitecture
    routing: Routing
    orders: dict[tuple[str, str], NDArray[np.int64]]
    workload: Workload
    base: Accelerator


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


def run_model(architecture: MoEArchitecture, workload: Workload, experts: pd.DataFrame) -> Model:
    """Routing and placement orders from a run's table of experts."""
    shape = (architecture.moe_layers, architecture.routed_experts)
    load = experts["load"].to_numpy(dtype=float).reshape(shape)
    orders = {}
    for name in map(str, experts.columns):
        for scope in ("global", "per_layer"):
            if name.startswith("rank_") and name.endswith(f"_{scope}"):
                score = name.removeprefix("rank_").removesuffix(f"_{scope}")
                orders[(score, scope)] = np.argsort(experts[name].to_numpy(dtype=np.int64))
    routing = Routing(load, np.zeros(shape), "the run's table of experts")
    return Model(architecture, routing, orders, workload, load_accelerator("edge-7nm"))


@dataclass(frozen=True)
class _Parts:
    """Hardware of some designs: technologies, and the columns of the table."""

    technologies: tuple[Technology, ...]
    index: NDArray[np.int64]
    accelerator: Accelerator
    columns: dict[str, NDArray[Any]]


def _column(table: pd.DataFrame, name: str) -> NDArray[Any]:
    import pandas as pd

    values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    filled = np.where(np.isnan(values), float(_ANY_TILE.get(name, 0)), values)
    return filled if name == "sram_mib" else filled.astype(np.int64)


def _parts(model: Model, table: pd.DataFrame) -> _Parts:
    named = [text if isinstance(text, str) else _ANY_TECHNOLOGY for text in table["technology"]]
    unique, index = np.unique(np.array(named), return_inverse=True)
    numbers = ("tile_rows", "tile_cols", "tiers", "dac_bits", "adc_bits", "columns_per_adc",
               "tiles", "mac_units", "sram_mib", "hbm_stacks", "digital_experts")  # fmt: skip
    columns = {name: _column(table, name) for name in numbers}
    accelerator = replace(
        model.base,
        mac_units=columns["mac_units"],
        sram_bytes=columns["sram_mib"] * 2.0**20,
        hbm_stacks=columns["hbm_stacks"],
    )
    keys = list(model.orders)
    pairs = zip(table["placement_score"], table["placement_scope"], strict=True)
    columns["order"] = np.array([keys.index(key) if key in keys else 0 for key in pairs])
    technologies = tuple(load_technology(str(name)) for name in unique)
    return _Parts(technologies, index.astype(np.int64).reshape(-1), accelerator, columns)


def _system(parts: _Parts) -> System:
    columns = parts.columns
    tile = Tile(
        technology=stack_technologies(list(parts.technologies), parts.index),
        rows=columns["tile_rows"],
        cols=columns["tile_cols"],
        tiers=columns["tiers"],
        dac_bits=columns["dac_bits"],
        adc_bits=columns["adc_bits"],
        columns_per_adc=columns["columns_per_adc"],
    )
    return System(tile, columns["tiles"], parts.accelerator)


def systems(model: Model, table: pd.DataFrame) -> tuple[System, NDArray[Any], NDArray[Any]]:
    """Hardware, index into the model's orders and digital experts of a table's designs."""
    parts = _parts(model, table)
    return _system(parts), parts.columns["order"], parts.columns["digital_experts"]


def _cost(model: Model, parts: _Parts, analog_modules: tuple[str, ...]) -> Array:
    """Quantities [quantities, designs] of designs with the same analog modules."""
    costs: Costs = evaluate(
        model.architecture,
        model.routing,
        model.orders,
        _system(parts),
        parts.columns["order"],
        parts.columns["digital_experts"],
        model.workload,
        analog_modules,
    )
    return np.stack([np.asarray(getattr(costs, name), dtype=float) for name in QUANTITIES])


def _perturbations(parts: _Parts) -> Iterator[tuple[str, ConstantRange, list[_Parts]]]:
    """Each constant of each technology and of the accelerator at its low and its high end."""
    for place, technology in enumerate(parts.technologies):
        for one in technology_ranges(technology):
            moved = []
            for end in (one.low, one.high):
                changed = list(parts.technologies)
                changed[place] = scaled(technology, one.name, end / one.nominal)
                moved.append(replace(parts, technologies=tuple(changed)))
            yield str(technology.name), one, moved
    scalar = load_accelerator(parts.accelerator.name)
    for one in accelerator_ranges(scalar):
        ends = (one.low, one.high)
        accelerators = [scaled(parts.accelerator, one.name, end / one.nominal) for end in ends]
        yield scalar.name, one, [replace(parts, accelerator=other) for other in accelerators]


def analog_modules(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """Analog modules of each row, as the column `analog_modules` names them."""
    if "analog_modules" not in table.columns:
        return [()] * len(table)
    texts = [text if isinstance(text, str) else NO_PARTS for text in table["analog_modules"]]
    return [read_parts(text) for text in texts]


def effects(model: Model, table: pd.DataFrame) -> Effects:
    """Cost every row of a table of candidates again with each constant at both of its ends.

    A row whose recorded cost does not come out again (it lacks a tile that it has) is NaN.
    """
    modules = analog_modules(table)
    found: dict[tuple[str, str], tuple[ConstantRange, Array]] = {}
    shape = (2, len(QUANTITIES), len(table))
    values = np.full(shape[1:], np.nan)
    for group in dict.fromkeys(modules):
        rows = np.array([index for index, own in enumerate(modules) if own == group])
        parts = _parts(model, table.iloc[rows])
        nominal = _cost(model, parts, group)
        values[:, rows] = nominal
        for owner, one, moved in _perturbations(parts):
            _, change = found.setdefault((owner, one.name), (one, np.zeros(shape)))
            for end, other in enumerate(moved):
                change[end][:, rows] = np.log(_cost(model, other, group) / nominal)
    recorded = np.stack([table[name].to_numpy(dtype=float) for name in QUANTITIES])
    with np.errstate(invalid="ignore"):
        same = (np.abs(values / recorded - 1) <= _SAME).all(axis=0)
    values[:, ~same] = np.nan
    constants = tuple(one for one, _ in found.values())
    changes = [change for _, change in found.values()]
    return Effects(
        constants,
        tuple(owner for owner, _ in found),
        np.stack(changes) if changes else np.zeros((0, *shape)),
        values,
    )


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
    """A run's table with its ranges, and the tornado of its knee (empty where there is none)."""
    import pandas as pd

    found = effects(model, table)
    knees = np.flatnonzero(table["is_knee"].fillna(False).to_numpy(dtype=bool))
    chosen = int(knees[0]) if len(knees) else None
    drawn = tornado(found, chosen) if chosen is not None else pd.DataFrame()
    return with_ranges(table, found, chosen), drawn


def read_run(run: Run) -> tuple[pd.DataFrame, Effects]:
    """A finished run's candidates, and the effects of the constants on each of them."""
    from dse.setup import load_architecture

    settings, workload = run.config["settings"], run.config["workload"]
    architecture = load_architecture(settings["model"])
    model = run_model(architecture, Workload(**workload), run.table("experts"))
    table = run.candidates
    return table, effects(model, table)


def position(table: pd.DataFrame, trial: int | None) -> int:
    """Row of a trial in a table of candidates; of the recommended design without one.

    Raises:
        ValueError: no such trial (with the nearest), or nothing is recommended.
    """
    trials = table["trial"].to_numpy(dtype=int)
    if trial is None:
        knees = np.flatnonzero(table["is_knee"].fillna(False).to_numpy(dtype=bool))
        if not len(knees):
            raise ValueError("this run recommends no design: choose one with --trial")
        return int(knees[0])
    found = np.flatnonzero(trials == trial)
    if not len(found):
        if not len(trials):
            raise ValueError(f"no trial {trial}: the run holds no design")
        nearest = trials[np.abs(trials - trial).argmin()]
        raise ValueError(f"no trial {trial} in this run; nearest is {nearest}")
    return int(found[0])
