"""A digital accelerator: MAC array, SRAM, stacks of memory; area, power, energy and a roofline.

Area is that of the logic die: of a memory stack its interface counts, not the stack beside the die.
Energy of memory is that of the bytes moved; refresh and idle interfaces are not counted.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwmodels import catalog
from hwmodels.components import dram, mac, sram

Array = NDArray[np.float64]
Value = float | NDArray[Any]


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
    hbm_bandwidth_bytes_per_s: Value = dram.HBM2E_BYTES_PER_S
    """Peak of one stack."""
    hbm_capacity_bytes: Value = 16e9
    """Of one stack."""
    weight_bits: Value = 16
    memory_efficiency: Value = 1.0
    """Sustained share of the peak bandwidth on long streams."""
    compute_efficiency: Value = 1.0
    stage_overhead_s: Value = 0.0
    """Time of one stage (a layer of a decoder) that neither data nor arithmetic explains."""
    step_overhead_s: Value = 0.0
    """The same for one whole decode step: scheduling, sampling, launching."""
    token_overhead_s: Value = 0.0
    """The same for each sequence of the batch in a step."""
    mac_energy_j: Value | None = None
    memory_energy_j_per_byte: Value | None = None
    sram_energy_j_per_byte: Value | None = None
    static_power_w: Value = 0.0
    static_power_w_per_mm2: Value = 0.0
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
            if field.name in ("name", "title", "kind", "source") or value is None:
                continue
            low, high = LIMITS.get(field.name, (0.0, np.inf))
            catalog.check_range(field.name, value, low, high)

    def _repr_html_(self) -> str:
        return catalog.html_table(self)


LIMITS = {
    "node_nm": (7.0, 130.0),
    "clock_hz": (1e3, 1e11),
    "weight_bits": (1.0, 64.0),
    "memory_efficiency": (1e-6, 1.0),
    "compute_efficiency": (1e-6, 1.0),
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
    catalog.check_keys(table, Accelerator, where)
    for field in dataclasses.fields(Accelerator):
        if field.default is dataclasses.MISSING and field.name not in table:
            raise ValueError(f"{where} lacks the key {field.name!r}")
    return Accelerator(**table)


def _number(value: object) -> Array:
    return np.asarray(value, dtype=float)


def peak_macs_per_s(accelerator: Accelerator) -> Array:
    """Peak bfloat16 multiply-accumulates a second."""
    return _number(accelerator.mac_units) * _number(accelerator.clock_hz)


def memory_bandwidth_bytes_per_s(accelerator: Accelerator) -> Array:
    """Peak bandwidth of all memory stacks together (bytes/s)."""
    return _number(accelerator.hbm_stacks) * _number(accelerator.hbm_bandwidth_bytes_per_s)


def memory_capacity_bytes(accelerator: Accelerator) -> Array:
    """Capacity of all memory stacks together (bytes)."""
    return _number(accelerator.hbm_stacks) * _number(accelerator.hbm_capacity_bytes)


def stage_time_s(
    accelerator: Accelerator, macs: ArrayLike, memory_bytes: ArrayLike, stages: ArrayLike = 1
) -> Array:
    """Time of `stages` stages that together do `macs` and move `memory_bytes` (s).

    Roofline: the longer of arithmetic and memory at their sustained rates, plus a fixed time a
    stage, so that short stages reach a smaller share of the peak. Work on a unit that does not
    exist takes for ever (inf); no work takes only the overhead of its stages.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = peak_macs_per_s(accelerator) * _number(accelerator.compute_efficiency)
        arithmetic = np.where(_number(macs) > 0, _number(macs) / rate, 0.0)
        bandwidth = memory_bandwidth_bytes_per_s(accelerator) * _number(
            accelerator.memory_efficiency
        )
        moving = np.where(_number(memory_bytes) > 0, _number(memory_bytes) / bandwidth, 0.0)
    return np.maximum(arithmetic, moving) + _number(stages) * _number(accelerator.stage_overhead_s)


def step_time_s(
    accelerator: Accelerator,
    macs: ArrayLike,
    memory_bytes: ArrayLike,
    batch: ArrayLike = 1,
    stages: ArrayLike = 1,
) -> Array:
    """Time of one decode step of `batch` sequences (s): its stages and the fixed overheads."""
    fixed = _number(accelerator.step_overhead_s)
    fixed = fixed + _number(batch) * _number(accelerator.token_overhead_s)
    return fixed + stage_time_s(accelerator, macs, memory_bytes, stages)


def mac_energy_j(accelerator: Accelerator) -> Array:
    """Energy of one bfloat16 multiply-accumulate (J); zero where board power already counts it."""
    if accelerator.mac_energy_j is not None:
        return _number(accelerator.mac_energy_j)
    return mac.bf16_energy_j(accelerator.node_nm)


def memory_energy_j_per_byte(accelerator: Accelerator) -> Array:
    """Energy of one byte from or to the memory stacks (J); by default HBM2."""
    if accelerator.memory_energy_j_per_byte is not None:
        return _number(accelerator.memory_energy_j_per_byte)
    return _number(dram.energy_j_per_byte("hbm2"))


def sram_energy_j_per_byte(accelerator: Accelerator) -> Array:
    """Energy of reading one byte of the on-chip memory (J), by its capacity."""
    if accelerator.sram_energy_j_per_byte is not None:
        return _number(accelerator.sram_energy_j_per_byte)
    return sram.read_energy_j_per_byte(accelerator.sram_bytes)


def accelerator_area_mm2(accelerator: Accelerator) -> dict[str, Array]:
    """Area by component (mm2): `mac`, `sram`, `hbm_phy`, `other` (rest of an existing die)."""
    area_factor = _number(accelerator.mac_area_factor)
    parts = {
        "mac": 1e6
        * _number(accelerator.mac_units)
        * mac.bf16_area_m2(accelerator.node_nm)
        * area_factor,
        "sram": 1e6 * sram.area_m2(accelerator.sram_bytes),
        "hbm_phy": 1e6 * _number(accelerator.hbm_stacks) * dram.HBM_PHY_AREA_M2,
    }
    if accelerator.die_area_mm2 is None:
        parts["other"] = _number(0.0)
        return parts
    named: Any = sum(parts.values())
    parts["other"] = np.maximum(_number(accelerator.die_area_mm2) - named, 0.0)
    return parts


def static_power_w(accelerator: Accelerator) -> Array:
    """Power that is drawn all the time (W): given, plus a share of the area."""
    density = _number(accelerator.static_power_w_per_mm2)
    area: Any = sum(accelerator_area_mm2(accelerator).values())
    return _number(accelerator.static_power_w) + density * area


def step_energy_j(
    accelerator: Accelerator, time_s: ArrayLike, macs: ArrayLike, memory_bytes: ArrayLike
) -> Array:
    """Energy of work that took `time_s` (J): static, arithmetic, memory; at most board power."""
    time_s = _number(time_s)
    energy = static_power_w(accelerator) * time_s + _number(macs) * mac_energy_j(accelerator)
    energy = energy + _number(memory_bytes) * memory_energy_j_per_byte(accelerator)
    if accelerator.max_power_w is None:
        return energy
    return np.minimum(energy, _number(accelerator.max_power_w) * time_s)
