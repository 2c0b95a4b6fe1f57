"""Designs of a finished run as hardware and placements again, from its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.cost.hardware import System, hardware
from dse.cost.workload import Traffic
from dse.placement.parts import NO_PARTS, read_parts
from hwmodels.digital import Accelerator, load_accelerator
from hwmodels.technology import Technology, load_technology, stack_technologies
from workloads.architecture import MoEArchitecture
from workloads.routing import Routing

if TYPE_CHECKING:
    import pandas as pd


_ANY_TECHNOLOGY = "pcm-14nm"


_ANY_TILE = {"tile_rows": 256, "tile_cols": 256, "tiers": 1, "dac_bits": 8, "adc_bits": 8,
             "columns_per_adc": 1}  # fmt: skip
"""Stand in where a design names no tile because it has none: there is nothing of it to cost."""


@dataclass(frozen=True)
class Model:
    """What all designs of a run share: the model, its routing, its placements and the traffic."""

    architecture: MoEArchitecture
    routing: Routing
    orders: dict[tuple[str, str], NDArray[np.int64]]
    traffic: Traffic
    base: Accelerator


def run_model(architecture: MoEArchitecture, traffic: Traffic, experts: pd.DataFrame) -> Model:
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
    return Model(architecture, routing, orders, traffic, load_accelerator("edge-7nm"))


def _column(table: pd.DataFrame, name: str) -> NDArray[Any]:
    import pandas as pd

    values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    filled = np.where(np.isnan(values), float(_ANY_TILE.get(name, 0)), values)
    return filled if name == "sram_mib" else filled.astype(np.int64)


def columns_of(table: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """What hardware and placement of a table's designs follow from, without gaps."""
    numbers = ("tile_rows", "tile_cols", "tiers", "dac_bits", "adc_bits", "columns_per_adc",
               "tiles", "mac_units", "array_rows", "sram_mib", "hbm_stacks", "dies",
               "digital_weight_bits", "kv_bits", "digital_experts", "micro_batches")  # fmt: skip
    found = {name: _column(table, name) for name in numbers}
    return found | {"memory": table["memory"].to_numpy(dtype=str)}


def technologies_of(table: pd.DataFrame) -> tuple[list[Technology], NDArray[np.int64]]:
    """Technologies of a table, and which is each design's."""
    named = [text if isinstance(text, str) else _ANY_TECHNOLOGY for text in table["technology"]]
    unique, index = np.unique(np.array(named), return_inverse=True)
    return [load_technology(str(name)) for name in unique], index.astype(np.int64).reshape(-1)


def order_index(model: Model, table: pd.DataFrame) -> NDArray[np.int64]:
    keys = list(model.orders)
    pairs = zip(table["placement_score"], table["placement_scope"], strict=True)
    return np.array([keys.index(key) if key in keys else 0 for key in pairs], dtype=np.int64)


def systems(model: Model, table: pd.DataFrame) -> tuple[System, NDArray[Any], NDArray[Any]]:
    """Hardware, index into the model's orders and digital experts of a table's designs."""
    columns = columns_of(table)
    technology = stack_technologies(*technologies_of(table))
    tile, accelerator = hardware(technology, model.base, columns)
    system = System(tile, columns["tiles"], accelerator, columns["dies"])
    return system, order_index(model, table), columns["digital_experts"]


def analog_modules(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """Analog modules of each row, as the column `analog_modules` names them."""
    if "analog_modules" not in table.columns:
        return [()] * len(table)
    texts = [text if isinstance(text, str) else NO_PARTS for text in table["analog_modules"]]
    return [read_parts(text) for text in texts]
