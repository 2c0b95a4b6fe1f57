"""A memory technology with its periphery: the constants that all tiles built in it share.

Nothing here belongs to one chip. Numbers stand in presets/technologies/*.toml beside their source.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwmodels import catalog
from hwmodels.components import adc, dac

Value = float | NDArray[Any]
Text = str | NDArray[Any]

NOISE_MODELS = ("pcm", "hermes", "hermes-1device", "rram", "cmo-hfox")
DEVICES = ("pcm", "rram", "flash", "sram")
KINDS = ("silicon", "simulation", "projection")


@dataclass(frozen=True)
class Technology:
    """Constants of one technology; a field is a scalar, or an array with one entry a design."""

    name: Text
    title: Text
    kind: Text
    """Where the numbers come from: measured `silicon`, a `simulation`, or a `projection`."""
    source: Text
    device: Text
    noise_model: Text
    """Programming noise to simulate with; `none`: energy and area only, not for the search."""
    node_nm: Value
    supply_v: Value
    devices_per_weight: Value
    """Physical devices of one weight, both polarities and all its columns together."""
    cell_area_m2: Value
    """Footprint of one weight in one tier."""
    input_mode: Text
    input_slot_s: Value
    """Time for which a row is driven in one slot: a pulse-width step, or a pulse of one bit."""
    adc_kind: Text
    adc_unit_time_s: Value
    """Time of one bit (sar), one count (cco) or one conversion (flash)."""
    neuron_step_s: Value = 0.0
    """One step of a voltage-mode neuron, which then sets the pace; 0 where there are none."""
    columns_per_weight: Value = 1
    """Physical columns of one weight (bit slices, or separate polarities)."""
    read_voltage_v: Value = 0.0
    mean_conductance_s: Value = 0.0
    """Of one device, averaged over programmed weights."""
    cell_switch_energy_j: Value = 0.0
    """Energy of one weight and one input slot that does not depend on time (charge domain)."""
    driver_slot_energy_j: Value = 0.0
    """Row driver and converter, one row, one slot."""
    row_capacitance_f: Value = 0.0
    """Of a word line, per weight that it passes."""
    driver_area_m2: Value = 0.0
    """Driver, input register and (in 3D) tier selection of one row."""
    adc_unit_energy_j: Value = 0.0
    """One count (cco) or one comparator (flash)."""
    adc_unit_area_m2: Value = 0.0
    """One counter bit (cco) or one comparator (flash)."""
    adc_energy_factor: Value = 1.0
    """Energy of a SAR converter over the column converter of its bits, rate, node and supply."""
    adc_area_factor: Value = 1.0
    output_bit_energy_j: Value = 0.0
    """Sampling, scaling and adding after the converter: one conversion, one output bit."""
    output_area_m2: Value = 0.0
    """Logic and registers of one physical column after the converter."""
    step_overhead_s: Value = 0.0
    """Settling, latching and control of one phase."""
    pipelined: Value = 0
    """1: a sampling converter works on one step while the array integrates the next."""
    control_area_factor: Value = 1.0
    """Whole tile over the sum of its named parts: control, programming circuits, wiring."""
    phases: Value = 1
    """Read phases that this technology uses unless a tile says otherwise."""
    max_tiers: Value = 1
    tier_step_m: Value = 0.0
    """Length of one step of the staircase where a tier is contacted."""

    def __post_init__(self) -> None:
        for name, accepted in CHOICES.items():
            catalog.check_choice(name, getattr(self, name), accepted)
        for name in NUMBERS:
            low, high, whole = LIMITS.get(name, (0.0, np.inf, False))
            catalog.check_range(name, getattr(self, name), low, high, whole=whole)

    def __repr__(self) -> str:
        """Name and title; `_repr_html_` and `dataclasses.asdict` show every constant."""
        return f"<Technology {self.name}: {self.title}>"

    def _repr_html_(self) -> str:
        return catalog.html_table(self)


CHOICES = {
    "kind": KINDS,
    "device": DEVICES,
    "noise_model": (*NOISE_MODELS, "none"),
    "input_mode": dac.INPUT_MODES,
    "adc_kind": adc.KINDS,
}
LIMITS = {
    "node_nm": (3.0, 180.0, False),
    "supply_v": (0.1, 10.0, False),
    "devices_per_weight": (1.0, 64.0, False),
    "columns_per_weight": (1.0, 64.0, True),
    "adc_unit_time_s": (1e-13, 1.0, False),
    "input_slot_s": (1e-13, 1.0, False),
    "cell_area_m2": (1e-18, 1.0, False),
    "control_area_factor": (1.0, 100.0, False),
    "pipelined": (0.0, 1.0, True),
    "phases": (1.0, 16.0, True),
    "max_tiers": (1.0, 1e6, True),
}
TEXTS = ("name", "title", "source", *CHOICES)
NUMBERS = tuple(field.name for field in dataclasses.fields(Technology) if field.name not in TEXTS)


def technology_names(*, simulated: bool = False) -> tuple[str, ...]:
    """Names of the shipped technologies, sorted; `simulated`: only those with a noise model."""
    names = catalog.names("technologies")
    if simulated:
        return tuple(name for name in names if load_technology(name).noise_model != "none")
    return names


@functools.lru_cache(maxsize=256)
def _cached(name: str) -> Technology:
    return technology_from_table(catalog.read("technologies", name), f"technology {name}")


def load_technology(name_or_path: str | Path) -> Technology:
    """A shipped technology by name, or one's own by path to a TOML file.

    Raises ValueError in one line: unknown name or key (with the nearest), value out of range.
    """
    if str(name_or_path).endswith(".toml"):  # may change between two calls
        table = catalog.read("technologies", name_or_path)
        return technology_from_table(table, f"technology {name_or_path}")
    return _cached(str(name_or_path))


def technology_from_table(table: dict[str, Any], where: str = "technology") -> Technology:
    """A technology from a table of its fields; raises ValueError for unknown or missing keys."""
    return catalog.part_from_table(Technology, table, where)


def stack_technologies(
    technologies: list[Technology], index: NDArray[np.integer[Any]]
) -> Technology:
    """One technology whose fields are arrays: entry i is that of `technologies[index[i]]`.

    A field on which all agree stays a scalar, which keeps array formulas short.
    """
    return catalog.stack(technologies, index, shared=("title", "source"))
