"""What a design costs to make, to fill with weights, and how far it goes beyond what was shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from dse.arrays import Array
from dse.cost.evaluate import Costs
from dse.cost.hardware import System
from hwmodels.die import die_area_mm2
from hwmodels.manufacturing import package_cost_usd
from hwmodels.memory import ESTIMATES, Estimate
from hwmodels.programming import programming_energy_j, programming_time_s
from hwmodels.tile_limits import beyond_source_text


def cost_usd(system: System, area_mm2: Array, estimate: Estimate = "middle") -> Array:
    """Cost of the package (USD): dies of the accelerator's node, stacks, interposers, bonding."""
    accelerator, dies = system.accelerator, np.asarray(system.dies)
    parts = package_cost_usd(
        accelerator.memory,
        dies * np.asarray(accelerator.hbm_stacks),
        die_area_mm2(area_mm2, dies),
        accelerator.node_nm,
        dies,
        estimate=estimate,
    )
    total: Any = sum(parts.values())
    return np.asarray(total, dtype=float)


def package_columns(system: System, costs: Costs) -> dict[str, Any]:
    """Columns of a table of designs.

    `cost_usd` with its ends `_low` and `_high`; `programming_energy_j` and `programming_time_s` of
    writing all analog weights once, missing (NaN) where the technology does not say;
    `technology_kind`; `beyond_source`: in what the tile lies beyond its technology's source, empty
    where nothing does. The last two are None without tiles.
    """
    columns: dict[str, Any] = {}
    for estimate in ESTIMATES:
        name = "cost_usd" if estimate == "middle" else f"cost_usd_{estimate}"
        columns[name] = cost_usd(system, costs.area_mm2, estimate)
    shape, tile = costs.area_mm2.shape, system.tile
    tiles = np.broadcast_to(np.asarray(system.tiles, dtype=float), shape)
    weights, built = costs.analog_weights, tiles > 0
    spent = programming_energy_j(tile, weights)
    taken = programming_time_s(tile, weights, np.maximum(tiles, 1.0))
    columns["programming_energy_j"] = np.where(weights > 0, spent, 0.0)
    columns["programming_time_s"] = np.where(weights > 0, taken, 0.0)
    kinds = np.broadcast_to(np.asarray(tile.technology.kind), shape).astype(object)
    beyond = np.broadcast_to(np.array(beyond_source_text(tile), dtype=object), shape)
    nothing = np.full(shape, None)
    columns["technology_kind"] = np.where(built, kinds, nothing)
    columns["beyond_source"] = np.where(built, beyond, nothing)
    return columns
