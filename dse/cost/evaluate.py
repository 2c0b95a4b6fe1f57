"""Cost of a placed model: energy per token, throughput, latency and area, with breakdowns.

`evaluate` takes one design or a million: every quantity is an array over designs, worked through
in chunks so that memory stays bounded, and an entry does not depend on its neighbours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.arrays import Array
from dse.cost.expert_load import ExpertTables, between, expert_tables, stacked
from dse.cost.hardware import System
from dse.cost.mapping import model_shape
from dse.cost.micro_batches import MeanLayer, fastest, mean_layer
from dse.cost.step import Placed, placed, step_costs
from dse.cost.workload import Step, Traffic
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

    Energy, times and rates of a design whose analog parts do not fit its tiles are missing (NaN).

    Attributes:
        energy_j_per_token: of an output token, its share of the prompt included.
        energy_prefill_share: of that energy, what prompts take.
        throughput_tokens_per_s: output tokens of all sequences; `tokens_per_s_per_sequence` of one.
        time_per_output_token_s: between two output tokens of a sequence.
        time_to_first_token_s: from a request's turn to its first output token; missing where the
            traffic has no prompts.
        latency_s_per_token: of a token through the model, without waiting for its turn.
        micro_batches: into how many a round is cut.
        power_density_w_per_mm2: of the dies; what turns to heat in memory stacks is not theirs.
        digital_experts: after what does not fit the tiles became digital.
        memory_fits: digital weights, and what all sequences keep, fit the memory stacks.
        tiles_fit: dense analog parts fit the tiles.
        stacks_fit: the memory stacks fit the edges of the dies.
        analog_weights: weights on tiles.
        utilisation: weights over cells of the blocks that hold them (edges).
        occupancy: weights over all cells of all tiles.
        energy_component, energy_module: J per output token.
        latency_module: s of a token through the model.
        interval_resource: seconds between steps if only the accelerators, the busiest tiles, or
            each sequence's own steps set the pace; no step follows sooner than the longest.
        area_component: mm2.
    """

    area_mm2: Array
    energy_j_per_token: Array
    energy_prefill_share: Array
    throughput_tokens_per_s: Array
    tokens_per_s_per_sequence: Array
    time_per_output_token_s: Array
    time_to_first_token_s: Array
    latency_s_per_token: Array
    micro_batches: NDArray[np.int64]
    power_density_w_per_mm2: Array
    digital_experts: NDArray[np.int64]
    memory_fits: NDArray[np.bool_]
    tiles_fit: NDArray[np.bool_]
    stacks_fit: NDArray[np.bool_]
    analog_weights: Array
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
            for name, part in value.items():
                key = f"{field.name}_{name}{_UNITS[field.name.split('_')[0]]}"
                columns[key] = np.atleast_1d(part).reshape(-1)
        return pd.DataFrame(columns)


_UNITS = {
    "energy": "_j_per_token",
    "latency": "_s_per_token",
    "area": "_mm2",
    "interval": "_s",
}
"""What the names of a breakdown's columns end with."""


def evaluate(
    architecture: MoEArchitecture,
    routing: Routing,
    orders: Mapping[Order, NDArray[np.int64]],
    system: System,
    order_index: ArrayLike,
    digital_experts: ArrayLike,
    traffic: Traffic | None = None,
    analog_modules: Collection[str] | Mapping[str, ArrayLike] = (),
    micro_batches: ArrayLike | None = None,
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
        traffic: sequences served and their lengths; by default 32 that decode at 1024 tokens.
        analog_modules: dense parts computed on tiles (`dse.placement.parts.ANALOG_PARTS`): names,
            or for each name which designs have it there.
        micro_batches: into how many a round is cut; chosen for each design where not given.

    Raises:
        ValueError: shapes that do not agree, an index or count out of range, an unknown module.
    """
    traffic = traffic or Traffic()
    analog = _analog_flags(architecture, analog_modules)
    _check_routing(architecture, routing, orders)
    which, count = np.asarray(order_index), np.asarray(digital_experts)
    _check_range("order_index", which, 0, len(orders) - 1)
    _check_range("digital_experts", count, 0, architecture.moe_layers * architecture.routed_experts)
    cuts = _cuts(architecture, traffic, micro_batches)
    given = np.asarray(0 if micro_batches is None else np.searchsorted(cuts, micro_batches))
    placed_by = (which, count, given, *analog.values())
    shape = np.broadcast_shapes(*(values.shape for values in placed_by), *_field_shapes(system))
    size = int(np.prod(shape, dtype=np.int64))

    def flat(values: NDArray[Any]) -> NDArray[Any]:
        return np.broadcast_to(values, shape).reshape(-1)

    system = _rebuild(system, flat)
    which, count, given = flat(which.astype(np.int64)), flat(count.astype(np.int64)), flat(given)
    analog = {name: flat(flags) for name, flags in analog.items()}
    tables = cut_tables(routing, orders.values(), traffic, cuts)
    result: dict[str, Any] = {}
    for start in range(0, max(size, 1), CHUNK):  # once without designs, too: names, no entries
        rows = slice(start, start + CHUNK)
        flags: dict[str, Any] = {name: values[rows] for name, values in analog.items()}
        taken = system if size <= CHUNK else _rebuild(system, itemgetter(rows))
        step = Step(architecture, traffic, 1, flags)
        at = placed(step, taken, which[rows], count[rows])
        cut = given[rows] if micro_batches is not None else chosen_cuts(step, at, tables)
        at = replace(at, mapping=replace(at.mapping, order=tables.order(cut, at.mapping.order)))
        step = replace(step, micro_batches=cuts[cut])
        _store(result, step_costs(step, tables.together, at), rows, size)
    return Costs(**_reshape(result, shape))


def _cuts(
    architecture: MoEArchitecture, traffic: Traffic, micro_batches: ArrayLike | None
) -> NDArray[np.int64]:
    """Numbers of micro-batches that a round may be cut into, ascending."""
    if micro_batches is None:
        return traffic.micro_batches(architecture.layers)
    given = np.asarray(micro_batches)
    _check_range("micro_batches", given, 1, max(int(traffic.round_tokens), 1))
    return np.unique(given).astype(np.int64)


@dataclass(frozen=True, eq=False)
class CutTables:
    """Tables of the orders for each cut of a round.

    Attributes:
        counts: micro-batches of each cut.
        together: of all cuts and orders, those of the first cut first.
        means: for each cut, those of a mean layer.
        orders: how many there are.
    """

    counts: NDArray[np.int64]
    together: ExpertTables
    means: tuple[MeanLayer, ...]
    orders: int

    def order(self, cut: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of designs into `together`."""
        return cut * self.orders + order


def cut_tables(
    routing: Routing,
    orders: Iterable[NDArray[np.int64]],
    traffic: Traffic,
    counts: NDArray[np.int64],
) -> CutTables:
    """Tables of orders for steps of the sizes that the cuts of a round give."""
    listed = list(orders)
    each = [
        placement_tables(routing, listed, traffic.round_tokens / int(count)) for count in counts
    ]
    means = tuple(_kept_mean(tables) for tables in each)
    return CutTables(counts, stacked(tuple(each)), means, len(listed))


def chosen_cuts(step: Step, at: Placed, tables: CutTables) -> NDArray[np.int64]:
    """Which cut each design takes."""
    counts = tables.counts
    if len(counts) == 1:
        return np.zeros(at.mapping.digital_experts.shape, dtype=np.int64)
    return fastest([replace(step, micro_batches=int(n)) for n in counts], at, tables.means)


def placement_tables(
    routing: Routing, orders: Iterable[NDArray[np.int64]], tokens: float
) -> ExpertTables:
    """Tables of orders for steps of so many tokens on average.

    Steps of a fractional mean have the whole numbers of tokens around it, and their mean tables;
    beyond ALIKE tokens the nearest whole number stands for both.
    """
    p = np.ascontiguousarray(routing.probability, dtype=float)
    keys = tuple(np.ascontiguousarray(order, dtype=np.int64).tobytes() for order in orders)
    whole = round(tokens) if tokens > ALIKE else int(tokens)
    below = stacked(tuple(_kept_tables(p.tobytes(), p.shape, key, whole) for key in keys))
    share = 0.0 if tokens > ALIKE else tokens - whole
    if share < 1e-9:
        return below
    above = stacked(tuple(_kept_tables(p.tobytes(), p.shape, key, whole + 1) for key in keys))
    return _kept_between(below, above, share)


ALIKE = 64
"""Tokens from which a step of one more differs by less than 0.8 %."""

_kept_between = lru_cache(maxsize=32)(between)
_kept_mean = lru_cache(maxsize=64)(mean_layer)


@lru_cache(maxsize=512)
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


def _check_range(name: str, values: NDArray[Any], least: int, most: int) -> None:
    bad = (values < least) | (values > most) | (values != np.floor(values))
    if np.any(bad):
        worst = np.atleast_1d(values)[np.atleast_1d(bad)][0]
        raise ValueError(f"{name} {worst} is not a whole number from {least} to {most}")


def _field_shapes(value: Any) -> list[tuple[int, ...]]:
    """Shapes of all arrays in a tree of dataclasses."""
    if isinstance(value, np.ndarray):
        return [value.shape]
    if isinstance(value, dict):
        return [shape for ends in value.values() for end in ends for shape in _field_shapes(end)]
    if not dataclasses.is_dataclass(value):
        return []
    fields = (getattr(value, field.name) for field in dataclasses.fields(value))
    return [shape for field in fields for shape in _field_shapes(field)]


def _rebuild(value: Any, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Any:
    """The same tree with `change` applied to its arrays; checked values need no second check."""
    if isinstance(value, np.ndarray) and value.ndim:
        return change(value)
    if isinstance(value, dict):  # published ranges: low and high ends by name
        return {name: tuple(_rebuild(end, change) for end in ends) for name, ends in value.items()}
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
