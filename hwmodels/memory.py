"""Memory beside the die: what one stack gives, takes and costs, by kind (hbm2e, hbm3, ...).

A stack needs room twice: its interface on the die (area and edge), and itself on the interposer.
The numbers stand in presets/memory/*.toml beside their sources, each with the range in which the
sources disagree. An "lpddr5x" stack is a group of 128 data pins with its packages on the substrate.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwmodels import catalog
from hwmodels.arrays import Array, Text, Value, number
from hwmodels.components import scaling

Estimate = Literal["low", "middle", "high"]
ESTIMATES: tuple[Estimate, ...] = ("low", "middle", "high")


@dataclass(frozen=True)
class Memory:
    """One stack of a kind of memory; a field is a scalar, or an array with one entry a design."""

    name: Text
    title: Text
    source: Text
    bandwidth_bytes_per_s: Value
    """Peak of one stack, at the rate of products that ship."""
    capacity_bytes: Value
    device_energy_j_per_bit: Value
    """In the stack: array, on-stack wires and its half of the interface."""
    phy_energy_j_per_bit: Value
    """On the die: the physical interface."""
    controller_energy_j_per_bit: Value
    """On the die: memory controller."""
    idle_power_w: Value
    """Of one stack that moves nothing, refresh included."""
    phy_area_mm2: Value
    """On the die: bumps and circuits of the interface; the bumps set it, so it does not scale."""
    controller_area_mm2: Value
    """On the die, at `controller_node_nm`: logic, which scales."""
    controller_node_nm: Value
    edge_mm: Value
    """Width of the interface along the die's edge."""
    stack_width_mm: Value
    """Width of the stack along the die's edge on the interposer; 0 where it is not on it."""
    stack_area_mm2: Value
    """Footprint on the interposer; 0 where it is not on it."""
    latency_s: Value
    """From request to data on an idle memory."""
    price_usd_per_byte: Value
    """What a buyer pays, not what it costs to make."""
    ranges: Mapping[str, tuple[Value, Value]] = dataclasses.field(default_factory=dict)
    """Lowest and highest published value of a field, by its name."""

    def __post_init__(self) -> None:
        for name in NUMBERS:
            low, high = LIMITS.get(name, (0.0, np.inf))
            catalog.check_range(name, getattr(self, name), low, high)

    def _repr_html_(self) -> str:
        return catalog.html_table(self)


LIMITS = {
    "bandwidth_bytes_per_s": (1.0, np.inf),
    "capacity_bytes": (1.0, np.inf),
    "controller_node_nm": (3.0, 180.0),
    "edge_mm": (1e-3, np.inf),
}
TEXTS = ("name", "title", "source")
NUMBERS = tuple(
    field.name for field in dataclasses.fields(Memory) if field.name not in (*TEXTS, "ranges")
)


def memory_names() -> tuple[str, ...]:
    """Names of the shipped kinds of memory, sorted."""
    return catalog.names("memory")


@functools.lru_cache(maxsize=64)
def _cached(name: str) -> Memory:
    return _load(name)


def load_memory(name_or_path: str | Path) -> Memory:
    """A shipped kind of memory by name, or one's own by path to a TOML file.

    Raises ValueError in one line: unknown name or key (with the nearest), value out of range.
    """
    if str(name_or_path).endswith(".toml"):  # may change between two calls
        return _load(name_or_path)
    return _cached(str(name_or_path))


def _load(name_or_path: str | Path) -> Memory:
    table = catalog.read("memory", name_or_path)
    memory = catalog.part_from_table(Memory, table, f"memory {name_or_path}")
    catalog.check_keys(dict(memory.ranges), NUMBERS, f"ranges of memory {name_or_path}")
    for name in memory.ranges:
        low, nominal, high = (at(memory, name, end) for end in ESTIMATES)
        if not low <= nominal <= high:
            raise ValueError(
                f"{name} of memory {name_or_path} is {nominal:g}; its range is {low:g} to {high:g}"
            )
    return memory


def stack_memories(memories: list[Memory], index: NDArray[np.integer[Any]]) -> Memory:
    """One memory whose fields are arrays: entry i is that of `memories[index[i]]`; ranges, too."""
    names = list(dict.fromkeys(name for memory in memories for name in memory.ranges))
    ends: dict[str, tuple[Value, Value]] = {}
    for name in names:
        low, _, high = ([at(one, name, end) for one in memories] for end in ESTIMATES)
        ends[name] = (catalog.along(low, index), catalog.along(high, index))
    stacked = catalog.stack(memories, index, shared=("title", "source", "ranges"))
    object.__setattr__(stacked, "ranges", ends)
    return stacked


def at(memory: Memory, name: str, estimate: Estimate = "middle") -> Value:
    """A field at the low end, the nominal value or the high end of its published range."""
    nominal: Value = getattr(memory, name)
    if estimate == "middle":
        return nominal
    return memory.ranges.get(name, (nominal, nominal))[0 if estimate == "low" else 1]


def total_bandwidth_bytes_per_s(memory: Memory, stacks: ArrayLike) -> Array:
    """Peak bandwidth of `stacks` stacks together (bytes/s)."""
    return number(stacks) * number(memory.bandwidth_bytes_per_s)


def total_capacity_bytes(memory: Memory, stacks: ArrayLike) -> Array:
    """Capacity of `stacks` stacks together (bytes)."""
    return number(stacks) * number(memory.capacity_bytes)


def total_idle_power_w(memory: Memory, stacks: ArrayLike, estimate: Estimate = "middle") -> Array:
    """Power of `stacks` stacks that move nothing, refresh included (W); drawn in the stacks."""
    return number(stacks) * number(at(memory, "idle_power_w", estimate))


def price_usd(memory: Memory, stacks: ArrayLike, estimate: Estimate = "middle") -> Array:
    """What `stacks` stacks cost to buy (USD); the range is as wide as the market's."""
    price = number(at(memory, "price_usd_per_byte", estimate))
    return total_capacity_bytes(memory, stacks) * price


def interface_area_mm2(memory: Memory, stacks: ArrayLike, node_nm: ArrayLike) -> dict[str, Array]:
    """Area that `stacks` stacks take on dies of a node (mm2): `phy`, `controller`.

    The interface keeps its size, the controller scales as logic (hwmodels.components.scaling).
    """
    scale = scaling.area_factor(memory.controller_node_nm, node_nm)
    return {
        "phy": number(stacks) * number(memory.phy_area_mm2),
        "controller": number(stacks) * number(memory.controller_area_mm2) * scale,
    }


def stack_energy_j_per_byte(memory: Memory, estimate: Estimate = "middle") -> Array:
    """Energy of moving one byte that turns to heat in the stack (J)."""
    return 8 * number(at(memory, "device_energy_j_per_bit", estimate))


def die_energy_j_per_byte(memory: Memory, estimate: Estimate = "middle") -> Array:
    """Energy of moving one byte that turns to heat on the die: interface and controller (J)."""
    phy = number(at(memory, "phy_energy_j_per_bit", estimate))
    return 8 * (phy + number(at(memory, "controller_energy_j_per_bit", estimate)))


def energy_j_per_byte(memory: Memory, estimate: Estimate = "middle") -> Array:
    """Energy of moving one byte from or to the memory (J), stack and die together."""
    return stack_energy_j_per_byte(memory, estimate) + die_energy_j_per_byte(memory, estimate)


def stream_buffer_bytes(memory: Memory, stacks: ArrayLike) -> Array:
    """Bytes that must be on their way for `stacks` stacks to stream at their peak.

    Bandwidth times latency (Little's law): what on-chip memory has to hold free for them.
    """
    return total_bandwidth_bytes_per_s(memory, stacks) * number(memory.latency_s)
