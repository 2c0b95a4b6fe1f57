"""Cost of a placed model: energy per token, throughput, latency and area, with breakdowns.

`evaluate` takes one design or a million: every quantity is an array over designs, worked through
in chunks so that memory stays bounded, and an entry does not depend on its neighbours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.arrays import Array
from dse.cost.expert_load import ExpertTables, expert_tables, stacked
from dse.cost.hardware import System
from dse.cost.mapping import model_shape
from dse.cost.step import step_costs
from dse.cost.workload import Step, Workload
from dse.placement.parts import ANALOG_PARTS
from hwmodels.catalog import nearest
from workloads.architecture import MoEArchitecture
from workloads.routing import Routing

if TYPE_CHECKING:
    import pandas as pd

Order = tuple[str, str]

CHUNK = 16_000
"""Designs worked on at once: their arrays stay in the processor's cache, and below 128 KiB each, so
that the memory of one is the next one's."""


@dataclass(frozen=True)
class Costs:
    """Costs of designs; arrays of the designs' shape. Breakdowns but the last add up to the total.

    Attributes:
        digital_experts: after what does not fit the tiles became digital.
        memory_fits: digital weights and the KV cache of one batch fit the memory stacks, and dense
            analog parts fit the tiles.
        utilisation: weights over cells of the blocks that hold them (edges).
        occupancy: weights over all cells of all tiles.
        energy_component, energy_module: J per token.
        latency_module: s per token (decode: of a step; prefill: of a step over the context).
        interval_resource: seconds between steps if only the accelerator, the busiest tiles, or the
            room for KV caches in memory set the pace; the throughput is no better than the longest.
        area_component: mm2.
    """

    area_mm2: Array
    energy_j_per_token: Array
    throughput_tokens_per_s: Array
    latency_s_per_token: Array
    digital_experts: NDArray[np.int64]
    memory_fits: NDArray[np.bool_]
    utilisation: Array
    occupancy: Array
    energy_component: dict[str, Array]
    energy_module: dict[str, Array]
    latency_module: dict[str, Array]
    interval_resource: dict[str, Array]
    area_component: dict[str, Array]

    def to_frame(self) -> pd.DataFrame:
        """One row a design; the breakdowns as columns with their unit in the name."""
        import pandas as pd

        columns: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, dict):
                columns[field.name] = np.atleast_1d(value).reshape(-1)
                continue
            unit = {"energy": "_j_per_token", "latency": "_s_per_token", "area": "_mm2",
                    "interval": "_s"}  # fmt: skip
            for name, part in value.items():
                key = f"{field.name}_{name}{unit[field.name.split('_')[0]]}"
                columns[key] = np.atleast_1d(part).reshape(-1)
        return pd.DataFrame(columns)


def evaluate(
    architecture: MoEArchitecture,
    routing: Routing,
    orders: Mapping[Order, NDArray[np.int64]],
    system: System,
    order_index: ArrayLike,
    digital_experts: ArrayLike,
    workload: Workload | None = None,
    analog_modules: Collection[str] | Mapping[str, ArrayLike] = (),
) -> Costs:
    """Cost of designs.

    Args:
        architecture: the model.
        routing: of its MoE layers and experts.
        orders: placement orders by (score, scope), see `dse.placement.experts.digital_order`.
        system: hardware; fields scalar or with the designs' shape.
        order_index: which of `orders`, in their order.
        digital_experts: how many experts of the order are digital by choice; more become digital
            when the rest does not fit the tiles.
        workload: batch, context and mode; by default decoding 32 sequences at 1024 tokens.
        analog_modules: dense parts computed on tiles (`dse.placement.parts.ANALOG_PARTS`): names,
            or for each name which designs have it there.

    Raises:
        ValueError: shapes that do not agree, an index or count out of range, an unknown module.
    """
    workload = workload or Workload()
    analog = _analog_flags(architecture, analog_modules)
    _check_routing(architecture, routing, orders)
    tables = placement_tables(routing, orders.values(), workload.tokens)
    which, count = np.asarray(order_index), np.asarray(digital_experts)
    _check_range("order_index", which, len(orders) - 1)
    _check_range("digital_experts", count, architecture.moe_layers * architecture.routed_experts)
    placed = (which, count, *analog.values())
    shape = np.broadcast_shapes(*(values.shape for values in placed), *_field_shapes(system))
    size = int(np.prod(shape, dtype=np.int64))

    def flat(values: NDArray[Any]) -> NDArray[Any]:
        return np.broadcast_to(values, shape).reshape(-1)

    system = _rebuild(system, flat)
    which, count = flat(which.astype(np.int64)), flat(count.astype(np.int64))
    analog = {name: flat(flags) for name, flags in analog.items()}
    result: dict[str, Any] = {}
    for start in range(0, max(size, 1), CHUNK):  # once without designs, too: names, no entries
        rows = slice(start, start + CHUNK)
        flags: dict[str, Any] = {name: values[rows] for name, values in analog.items()}
        prefill = workload.mode == "prefill"
        step = Step(architecture, workload.batch, workload.context, prefill, flags)
        taken = system if size <= CHUNK else _rebuild(system, itemgetter(rows))
        _store(result, step_costs(step, tables, taken, which[rows], count[rows]), rows, size)
    return Costs(**_reshape(result, shape))


def placement_tables(
    routing: Routing, orders: Iterable[NDArray[np.int64]], tokens: int
) -> ExpertTables:
    """`expert_tables` of orders, kept: a search asks for the same few in every call."""
    p = np.ascontiguousarray(routing.probability, dtype=float)
    keys = (np.ascontiguousarray(order, dtype=np.int64).tobytes() for order in orders)
    return stacked(tuple(_kept_tables(p.tobytes(), p.shape, key, tokens) for key in keys))


@lru_cache(maxsize=32)
def _kept_tables(
    probability: bytes, shape: tuple[int, ...], order: bytes, tokens: int
) -> ExpertTables:
    p = np.frombuffer(probability).reshape(shape)
    routing = Routing(p, np.zeros(shape), "")  # the tables use probabilities only
    return expert_tables(routing, np.frombuffer(order, dtype=np.int64), tokens)


def _analog_flags(
    architecture: MoEArchitecture, modules: Collection[str] | Mapping[str, ArrayLike]
) -> dict[str, NDArray[np.bool_]]:
    """Which designs have each dense part on tiles; without parts that no design has there."""
    flags = modules if isinstance(modules, Mapping) else dict.fromkeys(modules, True)
    for module in flags:
        if module not in ANALOG_PARTS:
            accepted = f"{', '.join(ANALOG_PARTS)}{nearest(module, ANALOG_PARTS)}"
            raise ValueError(f"unknown analog module {module!r}: choose from {accepted}")
    present = [part.name for part in model_shape(architecture).parts if part.name in flags]
    arrays = {name: np.asarray(flags[name], dtype=bool) for name in present}
    return {name: flag for name, flag in arrays.items() if flag.any()}


def _check_routing(
    architecture: MoEArchitecture, routing: Routing, orders: Mapping[Order, NDArray[np.int64]]
) -> None:
    expected = (architecture.moe_layers, architecture.routed_experts)
    if routing.probability.shape != expected:
        raise ValueError(
            f"routing of {routing.probability.shape} (layers, experts); "
            f"{architecture.title} has {expected}"
        )
    if not orders:
        raise ValueError("no placement order given")


def _check_range(name: str, values: NDArray[Any], most: int) -> None:
    bad = (values < 0) | (values > most) | (values != np.floor(values))
    if np.any(bad):
        worst = np.atleast_1d(values)[np.atleast_1d(bad)][0]
        raise ValueError(f"{name} {worst} is not a whole number from 0 to {most}")


def _field_shapes(value: Any) -> list[tuple[int, ...]]:
    """Shapes of all arrays in a tree of dataclasses."""
    if isinstance(value, np.ndarray):
        return [value.shape]
    if not dataclasses.is_dataclass(value):
        return []
    fields = (getattr(value, field.name) for field in dataclasses.fields(value))
    return [shape for field in fields for shape in _field_shapes(field)]


def _rebuild(value: Any, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Any:
    """The same tree with `change` applied to its arrays; checked values need no second check."""
    if isinstance(value, np.ndarray) and value.ndim:
        return change(value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    copy = object.__new__(type(value))
    for field in dataclasses.fields(value):
        object.__setattr__(copy, field.name, _rebuild(getattr(value, field.name), change))
    return copy


def _store(result: dict[str, Any], part: dict[str, Any], rows: slice, size: int) -> None:
    """Put costs of some designs into the arrays of all, which are made on first use."""
    for name, value in part.items():
        if isinstance(value, dict):
            _store(result.setdefault(name, {}), value, rows, size)
            continue
        if name not in result:
            result[name] = np.empty(size, dtype=value.dtype)
        result[name][rows] = value


def _reshape(result: Mapping[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    return {
        name: _reshape(value, shape) if isinstance(value, dict) else value.reshape(tuple(shape))
        for name, value in result.items()
    }
