"""Published ranges of the constants: what a tornado chart perturbs, and by how much.

A range belongs to a constant, not to a design: low and high stand where published values or our own
errors on silicon (dse validate) lie, with the source beside them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

from hwmodels import digital
from hwmodels.digital import Accelerator
from hwmodels.memory import ESTIMATES, Memory, at, energy_j_per_byte
from hwmodels.technology import Technology

Part = TypeVar("Part", Technology, Accelerator, Memory)


@dataclass(frozen=True)
class ConstantRange:
    """A constant of a part (`technology`, `accelerator` or `memory`) with its published range."""

    part: str
    name: str
    low: float
    nominal: float
    high: float
    source: str


CONVERTER = (
    "half (FORMS, 4 bits) to 5.9 times (median of the ADC survey, 8 bits) at 32 nm and below"
)
SPLIT = "shares of PCM tile energy and area by function (Singh et al., Nature Electronics 2025)"
SILICON = "spread of the published PCM silicon: 190 to 205 fJ/MAC, 0.634 to 0.636 mm2 (HERMES)"
WIRES = "0.35 ohm a cell (aihwkit) to the node's metal at half the cell's pitch (NeuroSim)"
SENSING = "8 ns of settling at 512 rows (Li et al., A-SSCC 2025) to the 96 ns of the projection"

# Factors on the nominal value, by kind of technology: (constant, low, high, source).
PULSE_WIDTH_SILICON = (
    ("adc_unit_energy_j", 0.8, 1.2, SPLIT),
    ("mean_conductance_s", 0.75, 1.3, "array share 15 to 20 %: " + SPLIT),
    ("driver_slot_energy_j", 0.5, 1.5, SPLIT),
    ("output_bit_energy_j", 0.5, 1.5, SPLIT),
    (
        "input_slot_s",
        0.5,
        1.0,
        "128 ns integration, halved at about 1 % more errors (Ambrogio 2023)",
    ),
    ("adc_unit_area_m2", 0.9, 1.3, "column converters 1040 to 1270 um2: HERMES, ISAAC, NeuRRAM"),
    ("cell_area_m2", 0.8, 1.2, SPLIT),
    ("row_wire_ohm", 1.0, 3.6, WIRES),
    ("column_wire_ohm", 1.0, 7.2, WIRES),
    ("sense_floor_s", 0.2, 2.4, SENSING),
)
PULSE_WIDTH_PROJECTION = (
    ("adc_unit_area_m2", 0.9, 1.3, "column converters 1040 to 1270 um2: HERMES, ISAAC, NeuRRAM"),
    ("tier_step_m", 0.5, 2.0, "staircase of 0.25 to 1 um a tier: assumption after 3D NAND"),
    ("control_area_factor", 1.0, 1.2, "1.0 mm2 (3D AIMC) to 1.2 mm2 (analog fabric) a tile"),
    ("row_wire_ohm", 1.0, 3.6, WIRES),
    ("column_wire_ohm", 1.0, 7.2, WIRES),
    ("sense_floor_s", 0.2, 2.4, SENSING),
    (
        "tier_on_off_ratio",
        0.025,
        250.0,
        "selectivities of 1e3 to 1e7 in the literature of selectors",
    ),
)
COLUMN_CONVERTER = (
    ("adc_energy_factor", 0.5, 5.9, CONVERTER),
    ("adc_area_factor", 0.5, 1.4, "1200 um2 (ISAAC, 8 bits) to 284 um2 (FORMS, 4 bits) at 32 nm"),
    ("cell_area_m2", 0.3, 2.4, "RRAM cells 16 F2 (ISAAC) to 125.7 F2 (NeuRRAM) around 53 F2"),
    ("driver_area_m2", 0.5, 2.0, "drivers of HERMES and NeuRRAM"),
    ("row_wire_ohm", 0.38, 1.0, WIRES),
    ("column_wire_ohm", 0.19, 1.0, WIRES),
)
PROGRAMMING = {
    "pcm": (
        ("write_pulse_energy_j", 0.35, 3.4, "7 pJ (median of NVMExplorer) to 68 pJ (Joshi 2020)"),
        ("write_pulse_s", 0.5, 1.5, "RESET of 50 ns to SET of 150 ns (NVSim, Joshi 2020)"),
        ("write_pulses", 1.0, 3.0, "one sequence of seven pulses to three; an assumption"),
    ),
    "rram": (
        ("write_pulse_energy_j", 0.03, 34.0, "0.6 pJ (NVSim) to 681 pJ (VLSI 2014)"),
        ("write_pulse_s", 0.018, 1.8, "10 ns (NVSim) to 1 us (median RESET of NVMExplorer)"),
        ("write_pulses", 0.5, 3.0, "5 to 30 pulses; an assumption"),
    ),
}
"""What one load of weights takes is known to an order of magnitude."""
ACCELERATOR = (
    (
        "mac_energy_j",
        0.42,
        1.8,
        "0.19 (Horowitz, scaled) and operands to 1.40 pJ on an A100 (Antepara et al., 2025)",
    ),
    ("sram_energy_j_per_byte", 0.8, 1.26, "read 1.88 to write 2.36 pJ/bit at 128 MiB (TPUv4i)"),
    ("memory_efficiency", 0.78, 1.06, "sustained 0.71 (no overheads) to 0.96 of peak on H100"),
    ("logic_leakage_w_per_mm2", 0.18, 3.3, "0.011 to 0.2 W/mm2 at 7 nm in published tables"),
    ("sram_leakage_w_per_mm2", 0.2, 3.8, "0.001 to 0.019 W/mm2 at 7 nm in published tables"),
    ("clock_energy_j_per_mm2", 0.25, 1.36, "30 to 160 pJ a mm2 and cycle (P100, V100)"),
    ("mac_area_factor", 0.67, 1.5, "bare matrix unit 11 % of TPUv4i's die to its whole logic"),
)
SINGLE_VALUE = (
    ("static_power_w", 0.98, 1.05, "board power 400.0 to 401.7 W in the published comparison"),
)


COMPUTED = {
    "memory_energy_j_per_byte": digital.memory_energy_j_per_byte,
    "mac_energy_j": digital.mac_energy_j,
    "sram_energy_j_per_byte": digital.sram_energy_j_per_byte,
}
"""Constants of an accelerator that follow from its components unless its preset names them."""


def _ranges(technology: Technology) -> tuple[tuple[str, float, float, str], ...]:
    if str(technology.adc_kind) == "sar":
        return COLUMN_CONVERTER
    projected = str(technology.kind) == "projection"
    return PULSE_WIDTH_PROJECTION if projected else PULSE_WIDTH_SILICON


def _model_ranges(technology: Technology) -> list[ConstantRange]:
    """What the model itself may be off by: 80 % of chips of the technology's class, left out."""
    from hwmodels.intervals import class_interval, technology_class

    kind, found = technology_class(technology), []
    for name, quantity in (("energy_factor", "energy_j"), ("time_factor", "latency_s")):
        own = class_interval(kind, quantity)
        source = f"80 % interval of {kind}, {own.chips} chips{' (few)' if own.few else ''}"
        low, high = min(own.low, 1.0), max(own.high, 1.0)
        found.append(ConstantRange("technology", name, low, 1.0, high, source))
    return found


def technology_ranges(technology: Technology) -> list[ConstantRange]:
    """Constants of one technology (scalar fields) with their ranges, in the units of its fields."""
    found = _model_ranges(technology)
    for name, low, high, source in _ranges(technology):
        if name.endswith("_wire_ohm") and float(technology.full_conductance_s) == 0:
            continue  # no current flows in charge-domain arrays
        nominal = float(getattr(technology, name))
        limited = max(low * nominal, 1.0) if name == "control_area_factor" else low * nominal
        found.append(ConstantRange("technology", name, limited, nominal, high * nominal, source))
    return [one for one in found if one.nominal > 0]


def programming_ranges(technology: Technology) -> list[ConstantRange]:
    """The same for the constants of `hwmodels.programming`; empty where none are known."""
    found = []
    for name, low, high, source in PROGRAMMING.get(str(technology.device), ()):
        nominal = float(getattr(technology, name))
        found.append(
            ConstantRange("technology", name, low * nominal, nominal, high * nominal, source)
        )
    return [one for one in found if one.nominal > 0]


def accelerator_ranges(accelerator: Accelerator) -> list[ConstantRange]:
    """Constants of one accelerator (scalar fields) with their ranges.

    A board whose energy is its power times time has only that power.
    """
    found = []
    for name, low, high, source in (*_memory_energy(accelerator), *ACCELERATOR, *SINGLE_VALUE):
        nominal = float(_value(accelerator, name))
        top = min(high * nominal, 1.0) if name == "memory_efficiency" else high * nominal
        found.append(ConstantRange("accelerator", name, low * nominal, nominal, top, source))
    return [one for one in found if one.nominal > 0]


def _memory_energy(accelerator: Accelerator) -> tuple[tuple[str, float, float, str], ...]:
    """Range of the energy of a byte, by its parts' ranges; none where a preset gives the sum."""
    if accelerator.memory_energy_j_per_byte is not None:
        return ()
    memory = accelerator.memory
    low, nominal, high = (float(energy_j_per_byte(memory, end)) for end in ESTIMATES)
    return (("memory_energy_j_per_byte", low / nominal, high / nominal, str(memory.source)),)


def memory_ranges(memory: Memory) -> list[ConstantRange]:
    """Constants of one kind of memory (scalar fields) with their ranges, which its file holds."""
    found = []
    for name in memory.ranges:
        low, nominal, high = (float(at(memory, name, end)) for end in ESTIMATES)
        found.append(ConstantRange("memory", name, low, nominal, high, str(memory.source)))
    return found


def perturbed(part: Part, name: str, value: Any) -> Part:
    """The part with one constant set to another value.

    Raises ValueError (nearest name) for a constant that the part does not have.
    """
    from hwmodels import catalog

    names = [field.name for field in dataclasses.fields(part)]
    if name not in names:
        raise catalog.unknown("constant", name, names)
    change: dict[str, Any] = {name: value}
    return dataclasses.replace(part, **change)


def _value(part: Technology | Accelerator | Memory, name: str) -> Any:
    if isinstance(part, Accelerator) and name in COMPUTED:
        return COMPUTED[name](part)
    return getattr(part, name)


def scaled(part: Part, name: str, factor: Any) -> Part:
    """The part with one constant multiplied; both may be arrays."""
    return perturbed(part, name, factor * _value(part, name))
