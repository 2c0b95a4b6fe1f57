"""A digital accelerator: MAC array, SRAM, stacks of memory; area, power, energy and a roofline.

Area is that of the logic die: of a memory stack its interface and controller count, not the stack
beside the die. The constants are one set, for the accelerator of a search and for the GPUs that
they are held against (hwmodels.validation_gpu, hwmodels.validation_dies); a GPU differs by what its
preset names: instructions and registers of each operation, the way from memory through its caches,
the board's regulators.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwmodels import catalog, memory
from hwmodels.arrays import Array, Value, number
from hwmodels.components import mac, power, sram
from hwmodels.memory import Memory


@dataclass(frozen=True)
class Accelerator:
    """A digital accelerator; a field is a scalar, or an array with one entry a design.

    Energies and areas left at None follow from the components at `node_nm`.
    """

    name: str
    title: str
    kind: str
    source: str
    node_nm: Value
    mac_units: Value
    """bfloat16 multiply-accumulates a cycle."""
    clock_hz: Value
    sram_bytes: Value
    hbm_stacks: Value
    memory: Memory
    """One of the stacks."""
    weight_bits: Value = 16
    """Of a weight as it is stored, without the scale of its group."""
    group_size: Value = 64
    """Weights that share a scale of 16 bits, where they have fewer bits than that."""
    cache_bits: Value = 16
    """Of keys and values; below 16 a scale of 16 bits for each 128 of them."""
    activation_bits: Value = 16
    array_rows: Value = mac.ARRAY_ROWS
    """Rows of a matrix unit: loading its weights takes as many cycles, even for fewer tokens."""
    memory_efficiency: Value = 1.0
    """Sustained share of the peak bandwidth on long streams of weights."""
    cache_efficiency: Value | None = None
    """The same on keys and values, which lie in many places; by default that of weights."""
    compute_efficiency: Value = 1.0
    narrowest_bits: Value = 1
    """Narrowest weights that the arrays read as they are, or widen at the rate of memory."""
    widened_weights_per_s: Value = 1e30
    """Narrower ones that vector units widen in a second."""
    stage_overhead_s: Value = 0.0
    """Time of one stage (a layer of a decoder) that neither data nor arithmetic explains."""
    grouped_overhead_s: Value = 0.0
    """The same for a stage that sorts its tokens into groups, each with its own matrix."""
    step_overhead_s: Value = 0.0
    """The same for one whole decode step: scheduling, launching."""
    token_overhead_s: Value = 0.0
    """The same for one sequence in a step: sampling, bookkeeping; for a batch it grows with the
    power `token_overhead_exponent`."""
    stage_token_overhead_s: Value = 0.0
    """The same for one sequence in a stage: normalisation, softmax, sorting; grows alike."""
    token_overhead_exponent: Value = 1.0
    token_power_w: Value = 0.0
    """Power beyond the static one that these draw while they last."""
    mac_energy_j: Value | None = None
    """Where it is not that of an array: with instructions and registers of a programmable core."""
    memory_energy_j_per_byte: Value | None = None
    """Where it is not that of stack, interface and controller alone: with caches and instructions
    on the way to a programmable core."""
    sram_energy_j_per_byte: Value | None = None
    static_power_w: Value = 0.0
    """Drawn all the time, beside what the die's area and the stacks explain."""
    logic_leakage_w_per_mm2: Value = power.LOGIC_LEAKAGE_W_PER_MM2
    sram_leakage_w_per_mm2: Value = power.SRAM_LEAKAGE_W_PER_MM2
    clock_energy_j_per_mm2: Value = power.CLOCK_J_PER_MM2
    regulator_efficiency: Value = 1.0
    """Of what lies between the power that is counted and the die: 1 counts at the die, as for
    tiles. A board counts at its input; host and network are never counted."""
    max_power_w: Value | None = None
    """Limit of the board; average power never exceeds it."""
    mac_area_factor: Value = 1.0
    """MAC array with its vector units, control and wiring over the bare array."""
    die_area_mm2: Value | None = None
    """Area of a die that exists; what its parts do not explain is `other`."""

    def __post_init__(self) -> None:
        catalog.check_choice("kind", self.kind, ("silicon", "simulation", "projection"))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in NOT_NUMBERS or value is None:
                continue
            low, high = LIMITS.get(field.name, (0.0, np.inf))
            catalog.check_range(field.name, value, low, high)

    def _repr_html_(self) -> str:
        return catalog.html_table(self)


NOT_NUMBERS = ("name", "title", "kind", "source", "memory")
LIMITS = {
    "node_nm": (3.0, 130.0),
    "clock_hz": (1e3, 1e11),
    "weight_bits": (1.0, 64.0),
    "cache_bits": (1.0, 64.0),
    "activation_bits": (1.0, 64.0),
    "group_size": (1.0, np.inf),
    "memory_efficiency": (1e-6, 1.0),
    "cache_efficiency": (1e-6, 1.0),
    "compute_efficiency": (1e-6, 1.0),
    "token_overhead_exponent": (0.0, 1.0),
    "regulator_efficiency": (0.5, 1.0),
}


def accelerator_names() -> tuple[str, ...]:
    """Names of the shipped accelerators, sorted."""
    return catalog.names("accelerators")


@functools.lru_cache(maxsize=64)
def _cached(name: str) -> Accelerator:
    return _load(name)


def load_accelerator(name_or_path: str | Path) -> Accelerator:
    """A shipped accelerator by name, or one's own by path to a TOML file.

    Raises ValueError in one line: unknown name or key (with the nearest), value out of range.
    """
    if str(name_or_path).endswith(".toml"):  # may change between two calls
        return _load(name_or_path)
    return _cached(str(name_or_path))


def _load(name_or_path: str | Path) -> Accelerator:
    table = catalog.read("accelerators", name_or_path)
    where = f"accelerator {name_or_path}"
    table["memory"] = _memory(table.get("memory", ""), where)
    return catalog.part_from_table(Accelerator, table, where)


def _memory(given: Any, where: str) -> Memory:
    """A kind of memory by name, or as a table of its kind and what differs in this product."""
    table = dict(given) if isinstance(given, dict) else {"kind": given}
    known = memory.load_memory(str(table.pop("kind", "")))
    catalog.check_keys(table, memory.NUMBERS, f"memory of {where}")
    ranges = {name: ends for name, ends in known.ranges.items() if name not in table}
    return dataclasses.replace(known, **table, ranges=ranges)


def stack_accelerators(parts: list[Accelerator], index: NDArray[np.integer[Any]]) -> Accelerator:
    """One accelerator whose fields are arrays: entry i is that of `parts[index[i]]`."""
    stacked = catalog.stack(parts, index, shared=("title", "kind", "source", "memory"))
    memories = memory.stack_memories([part.memory for part in parts], index)
    object.__setattr__(stacked, "memory", memories)
    return stacked


def peak_macs_per_s(accelerator: Accelerator) -> Array:
    """Peak bfloat16 multiply-accumulates a second."""
    return number(accelerator.mac_units) * number(accelerator.clock_hz)


def memory_bandwidth_bytes_per_s(accelerator: Accelerator) -> Array:
    """Peak bandwidth of all memory stacks together (bytes/s)."""
    return memory.total_bandwidth_bytes_per_s(accelerator.memory, accelerator.hbm_stacks)


def memory_capacity_bytes(accelerator: Accelerator) -> Array:
    """Capacity of all memory stacks together (bytes)."""
    return memory.total_capacity_bytes(accelerator.memory, accelerator.hbm_stacks)


SCALE_BITS, CACHE_GROUP = 16, 128
"""Bits of a group's scale; keys and values that share one: those of a token in one head."""


def stored_bits(bits: ArrayLike, group_size: ArrayLike) -> Array:
    """Bits that a value takes with its share of the group's scale: 4 in groups of 64 take 4.25.

    Values of 16 bits and more have no scale.
    """
    bits = number(bits)
    return bits + np.where(bits < 16, SCALE_BITS / number(group_size), 0.0)


def weight_bytes(accelerator: Accelerator) -> Array:
    """Bytes of one weight in memory, with its share of the scale."""
    return stored_bits(accelerator.weight_bits, accelerator.group_size) / 8


def cache_value_bytes(accelerator: Accelerator) -> Array:
    """Bytes of one key or value in memory, with its share of the scale."""
    return stored_bits(accelerator.cache_bits, CACHE_GROUP) / 8


STREAM_SHARE = 0.5
"""Part of the on-chip memory that streams from memory may fill; the rest holds activations."""


def stream_buffer_bytes(accelerator: Accelerator) -> Array:
    """On-chip memory that is full of data under way: bandwidth times latency, or what there is."""
    needed = memory.stream_buffer_bytes(accelerator.memory, accelerator.hbm_stacks)
    return np.minimum(needed, STREAM_SHARE * number(accelerator.sram_bytes))


def stream_bandwidth_bytes_per_s(accelerator: Accelerator) -> Array:
    """Sustained bandwidth of a stream of weights (bytes/s): at most its buffer over the latency."""
    return _sustained(accelerator, accelerator.memory_efficiency)


def cache_bandwidth_bytes_per_s(accelerator: Accelerator) -> Array:
    """The same of keys and values (bytes/s)."""
    share = accelerator.cache_efficiency
    return _sustained(accelerator, accelerator.memory_efficiency if share is None else share)


def _sustained(accelerator: Accelerator, share: Value) -> Array:
    latency = number(accelerator.memory.latency_s)
    buffer = STREAM_SHARE * number(accelerator.sram_bytes)
    filled = np.divide(
        buffer, latency, out=np.full(np.shape(buffer + latency), np.inf), where=latency > 0
    )
    return np.minimum(memory_bandwidth_bytes_per_s(accelerator), filled) * number(share)


def activation_room_bytes(accelerator: Accelerator) -> Array:
    """On-chip memory left for activations and weights that stay (bytes), beside the stream."""
    return number(accelerator.sram_bytes) - stream_buffer_bytes(accelerator)


def spilled_bytes(accelerator: Accelerator, activation_bytes: ArrayLike) -> Array:
    """Bytes that a stage with so many bytes of activations writes to memory and reads back."""
    return 2 * np.maximum(number(activation_bytes) - activation_room_bytes(accelerator), 0.0)


def stage_time_s(
    accelerator: Accelerator,
    macs: ArrayLike,
    memory_bytes: ArrayLike,
    stages: ArrayLike = 1,
    *,
    weights: ArrayLike = 0.0,
    cache_bytes: ArrayLike = 0.0,
    cache_macs: ArrayLike = 0.0,
) -> Array:
    """Time of `stages` stages that together do `macs` and move `memory_bytes` (s).

    Roofline: the longer of arithmetic and memory at their sustained rates, then the same for keys
    and values, plus a fixed time a stage, so that short stages reach a smaller share of the peak.
    Work on a unit that does not exist takes for ever (inf); no work takes only its overhead.

    weights: weights that the matrix units load, wherever they come from. An array of R rows takes
    R cycles for R x R of them however few tokens follow, so that arithmetic takes at least the time
    of R tokens: one 128 x 128 unit at 1.05 GHz loads 134 G weights a second (TPUv4i).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = peak_macs_per_s(accelerator) * number(accelerator.compute_efficiency)
        filled = np.maximum(number(macs), number(accelerator.array_rows) * number(weights))
        moving = _over(memory_bytes, stream_bandwidth_bytes_per_s(accelerator))
        reading = _over(cache_bytes, cache_bandwidth_bytes_per_s(accelerator))
        busy = np.maximum(_over(filled, rate), moving)
        busy = busy + np.maximum(_over(cache_macs, rate), reading)
    return busy + number(stages) * number(accelerator.stage_overhead_s)


def _over(amount: ArrayLike, rate: Array) -> Array:
    return np.where(number(amount) > 0, number(amount) / rate, 0.0)


def token_time_s(accelerator: Accelerator, batch: ArrayLike, stages: ArrayLike) -> Array:
    """Time that the sequences of a step take in its stages beside data and products (s)."""
    sequences = np.power(number(batch), number(accelerator.token_overhead_exponent))
    one = number(stages) * number(accelerator.stage_token_overhead_s)
    return (one + number(accelerator.token_overhead_s)) * sequences * (number(batch) > 0)


def widening_time_s(accelerator: Accelerator, weights: ArrayLike, bits: ArrayLike) -> Array:
    """Time in which vector units widen weights of `bits` that the arrays do not read (s)."""
    narrow = number(bits) < number(accelerator.narrowest_bits)
    return np.where(narrow, number(weights) / number(accelerator.widened_weights_per_s), 0.0)


def step_time_s(
    accelerator: Accelerator,
    macs: ArrayLike,
    memory_bytes: ArrayLike,
    batch: ArrayLike = 1,
    stages: ArrayLike = 1,
    *,
    weights: ArrayLike = 0.0,
    cache_bytes: ArrayLike = 0.0,
    cache_macs: ArrayLike = 0.0,
    grouped: ArrayLike = 0.0,
) -> Array:
    """Time of one decode step of `batch` sequences (s): its stages and the fixed overheads.

    grouped: how many of its stages sort tokens into groups.
    """
    fixed = number(accelerator.step_overhead_s) + token_time_s(accelerator, batch, stages)
    fixed = fixed + number(grouped) * number(accelerator.grouped_overhead_s)
    return fixed + stage_time_s(
        accelerator,
        macs,
        memory_bytes,
        stages,
        weights=weights,
        cache_bytes=cache_bytes,
        cache_macs=cache_macs,
    )


def mac_energy_j(accelerator: Accelerator) -> Array:
    """Energy of one multiply-accumulate with its operands (J), by their bits."""
    if accelerator.mac_energy_j is not None:
        return number(accelerator.mac_energy_j)
    rows = np.maximum(number(accelerator.array_rows), 1.0)
    bits = accelerator.weight_bits, accelerator.activation_bits
    return mac.energy_j(accelerator.node_nm, *bits, rows)


def dequantise_energy_j(accelerator: Accelerator) -> Array:
    """Energy of widening one weight that is loaded (J); zero at 16 bits."""
    bits = accelerator.weight_bits, accelerator.activation_bits
    return mac.dequantise_energy_j(*bits, accelerator.node_nm)


def memory_energy_j_per_byte(accelerator: Accelerator) -> Array:
    """Energy of one byte from or to the memory stacks (J)."""
    if accelerator.memory_energy_j_per_byte is not None:
        return number(accelerator.memory_energy_j_per_byte)
    return memory.energy_j_per_byte(accelerator.memory)


def sram_energy_j_per_byte(accelerator: Accelerator) -> Array:
    """Energy of reading one byte of the on-chip memory (J), by its capacity."""
    if accelerator.sram_energy_j_per_byte is not None:
        return number(accelerator.sram_energy_j_per_byte)
    return sram.read_energy_j_per_byte(accelerator.sram_bytes)


def _dequantisers(accelerator: Accelerator) -> Array:
    """Units that widen weights as fast as memory brings them, where the array is bfloat16."""
    weights_per_s = memory_bandwidth_bytes_per_s(accelerator) / weight_bytes(accelerator)
    units = weights_per_s / number(accelerator.clock_hz)
    return np.where(dequantise_energy_j(accelerator) > 0, units, 0.0)


def accelerator_area_mm2(accelerator: Accelerator) -> dict[str, Array]:
    """Area by component (mm2): `mac`, `sram`, `hbm_phy`, `hbm_controller`, `other`.

    The last is the rest of an existing die.
    """
    node, factor = accelerator.node_nm, number(accelerator.mac_area_factor)
    bits = accelerator.weight_bits, accelerator.activation_bits
    array = number(accelerator.mac_units) * mac.area_m2(*bits, node) * factor
    parts = {
        "mac": 1e6 * (array + _dequantisers(accelerator) * mac.dequantiser_area_m2(node)),
        "sram": 1e6 * sram.area_m2(accelerator.sram_bytes, node),
    }
    interfaces = memory.interface_area_mm2(accelerator.memory, accelerator.hbm_stacks, node)
    parts |= {f"hbm_{name}": area for name, area in interfaces.items()}
    if accelerator.die_area_mm2 is None:
        parts["other"] = number(0.0)
        return parts
    named: Any = sum(parts.values())
    parts["other"] = np.maximum(number(accelerator.die_area_mm2) - named, 0.0)
    return parts


def _logic_mm2(area: dict[str, Array]) -> Array:
    """Area that leaks and is clocked as logic: all but SRAM and the interfaces' analog part."""
    return np.asarray(area["mac"] + area["hbm_controller"] + area["other"])


def idle_power_w(accelerator: Accelerator) -> Array:
    """Power with the clock stopped (W): leakage by area, stacks in standby, regulators' loss."""
    area = accelerator_area_mm2(accelerator)
    power_w = number(accelerator.logic_leakage_w_per_mm2) * _logic_mm2(area)
    power_w = power_w + number(accelerator.sram_leakage_w_per_mm2) * area["sram"]
    power_w = power_w + memory.total_idle_power_w(accelerator.memory, accelerator.hbm_stacks)
    power_w = power_w / number(accelerator.regulator_efficiency)
    return power_w + number(accelerator.static_power_w)


def static_power_w(accelerator: Accelerator) -> Array:
    """Power that is drawn all the time while the clock runs (W)."""
    area = accelerator_area_mm2(accelerator)
    cycle_j = number(accelerator.clock_energy_j_per_mm2) * _logic_mm2(area)
    clock = cycle_j * number(accelerator.clock_hz) / number(accelerator.regulator_efficiency)
    return idle_power_w(accelerator) + clock


def logic_power_w_per_mm2(accelerator: Accelerator) -> Array:
    """Power of a mm2 of logic that computes nothing while the clock runs (W/mm2)."""
    clock = number(accelerator.clock_energy_j_per_mm2) * number(accelerator.clock_hz)
    leakage = number(accelerator.logic_leakage_w_per_mm2)
    return (leakage + clock) / number(accelerator.regulator_efficiency)


def step_energy_j(
    accelerator: Accelerator,
    time_s: ArrayLike,
    macs: ArrayLike,
    memory_bytes: ArrayLike,
    *,
    batch: ArrayLike = 0,
    stages: ArrayLike = 1,
    weights: ArrayLike = 0.0,
) -> Array:
    """Energy of work that took `time_s` (J): static, arithmetic, memory; at most board power.

    batch, stages: sequences whose own time (`token_time_s`) is part of it; weights: those widened.
    """
    time_s = number(time_s)
    energy = static_power_w(accelerator) * time_s + number(macs) * mac_energy_j(accelerator)
    energy = energy + number(memory_bytes) * memory_energy_j_per_byte(accelerator)
    energy = energy + number(weights) * dequantise_energy_j(accelerator)
    energy = energy + token_time_s(accelerator, batch, stages) * number(accelerator.token_power_w)
    if accelerator.max_power_w is None:
        return energy
    return np.minimum(energy, number(accelerator.max_power_w) * time_s)
