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
from hwmodels.components import adc, dac, wire
from hwmodels.noise_models import NOISE_MODELS, is_own, measured_noise
from hwmodels.noise_models import g_max_s as noise_g_max_s

Value = float | NDArray[Any]
Text = str | NDArray[Any]

DEVICES = ("pcm", "rram", "flash", "sram")
KINDS = ("silicon", "simulation", "projection")

MEAN_WEIGHT = 0.25
"""Mean magnitude of a weight over the largest of its column: Gaussian weights of 512 rows have the
largest at 3.1 standard deviations and the mean at 0.80."""


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
    """Noise to simulate with: a named model, or the path of the file whose table [noise] holds
    one's own; `none`: energy and area only, not for the search."""
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
    energy_factor: Value = 1.0
    """Energy of an MVM over what the model says: moved to the ends of what such chips scatter."""
    time_factor: Value = 1.0
    """Latency of an MVM over what the model says (same)."""
    max_tiers: Value = 1
    tier_step_m: Value = 0.0
    """Length of one step of the staircase where a tier is contacted."""
    tier_on_off_ratio: Value = 0.0
    """Current of a selected cell over that of one in another tier on the same column; 0: tiers do
    not leak into one another."""
    full_conductance_s: Value = 0.0
    """Of a weight of largest magnitude, all devices of its polarity together; 0: no current flows
    through cells. Read from the noise model where a file does not state it."""
    row_wire_ohm: Value = 0.0
    """Of a word line, per weight that it passes; computed from node and cell if not stated."""
    column_wire_ohm: Value = 0.0
    """Of a bit line, per weight that it passes (same)."""
    column_capacitance_f: Value = 0.0
    """Of a bit line, per weight that it passes (same)."""
    wire_pitch_m: Value = 0.0
    """Smallest pitch of wires from columns to converters (same)."""
    sense_floor_s: Value = 0.0
    """Shortest integration that a column's clamp and converter need, however few input bits."""
    adc_floor_factor: Value = 1.0
    """Share of the thermal floor of conversions that holds here: 0 where converters were fitted to
    silicon whose effective bits are fewer than those that it puts out."""
    adc_pitch_m: Value = 0.0
    """Narrowest width of a column's converter; 0: as narrow as its columns."""
    write_pulse_energy_j: Value = 0.0
    """One programming pulse on one device."""
    write_pulse_s: Value = 0.0
    """One programming pulse, without the read that verifies it."""
    write_pulses: Value = 0.0
    """Pulses a device, each with a read; 0: not known."""
    write_weights_at_once: Value = 0.0
    """Weights of a row that are programmed together; 0: a whole row."""
    shown_rows: Value = 0.0
    """Largest tile that the source has shown; 0, as of the next four: not stated."""
    shown_cols: Value = 0.0
    shown_tiers: Value = 0.0
    shown_dac_bits: Value = 0.0
    shown_adc_bits: Value = 0.0
    shown_source: Text = ""

    def __post_init__(self) -> None:
        for name, accepted in CHOICES.items():
            if name != "noise_model" or not is_own(str(self.noise_model)):
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
    "energy_factor": (1e-3, 1e3, False),
    "time_factor": (1e-3, 1e3, False),
    "phases": (1.0, 16.0, True),
    "max_tiers": (1.0, 1e6, True),
    "adc_floor_factor": (0.0, 1.0, False),
    **{f"shown_{name}": (0.0, 1e6, True) for name in ("rows", "cols", "tiers")},
    **{f"shown_{name}_bits": (0.0, 16.0, True) for name in ("dac", "adc")},
}
TEXTS = ("name", "title", "source", "shown_source", *CHOICES)
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
        return technology_from_table(table, f"technology {name_or_path}", str(name_or_path))
    return _cached(str(name_or_path))


def technology_from_table(
    table: dict[str, Any], where: str = "technology", path: str | None = None
) -> Technology:
    """A technology from a table of its fields, and `[noise]` if it is a file's (at `path`).

    Raises ValueError in one line for unknown or missing keys and for noise that cannot be.
    """
    table = dict(table)
    if "noise" in table:
        table["noise_model"] = _own_noise_model(table, where, path)
    technology = catalog.part_from_table(Technology, table, where)
    stated = {name: value for name, value in _derived(technology).items() if name not in table}
    return dataclasses.replace(technology, **stated)


def _own_noise_model(table: dict[str, Any], where: str, path: str | None) -> str:
    """Takes `[noise]` out of a table: the file's path stands for it as the name of the model."""
    noise = table.pop("noise")
    if path is None:
        raise ValueError(f"[noise] in {where}: one's own noise needs a technology file of its own")
    if "noise_model" in table:
        raise ValueError(
            f"{where} has noise_model = {table['noise_model']!r} and a table [noise]; leave one out"
        )
    if not isinstance(noise, dict):
        raise ValueError(f"noise in {where} is {noise!r}; it must be a table [noise]")
    measured_noise(noise, f"[noise] in {where}")
    return path


def column_lines(technology: Technology) -> NDArray[np.float64]:
    """Bit lines of a weight: one a physical column, two where positive and negative are apart."""
    columns = np.asarray(technology.columns_per_weight, dtype=float)
    return columns * np.clip(np.asarray(technology.devices_per_weight) / columns, 1, 2)


def weight_width_m(technology: Technology) -> NDArray[np.float64]:
    """Width of a weight along the word line (m): square cells beside each other."""
    columns = np.asarray(technology.columns_per_weight, dtype=float)
    return np.sqrt(np.asarray(technology.cell_area_m2, dtype=float) * columns)


def _derived(technology: Technology) -> dict[str, Any]:
    """Wires as wide as half their pitch, and the noise model's conductance of a largest weight.

    Without a noise model that which the mean stands for; zero where no current flows.
    """
    width = weight_width_m(technology)
    height = width / np.asarray(technology.columns_per_weight, dtype=float)
    node, noise = technology.node_nm, str(technology.noise_model)
    mean = float(technology.mean_conductance_s) * float(technology.devices_per_weight)
    full = mean / MEAN_WEIGHT if noise == "none" or mean == 0 else noise_g_max_s(noise)
    return {
        "row_wire_ohm": float(wire.line_ohm(width, height, node)),
        "column_wire_ohm": float(wire.line_ohm(height, width / column_lines(technology), node)),
        "column_capacitance_f": float(wire.CAPACITANCE_F_PER_M * height),
        "wire_pitch_m": float(2 * wire.half_pitch_m(node)),
        "full_conductance_s": full,
    }


def stack_technologies(
    technologies: list[Technology], index: NDArray[np.integer[Any]]
) -> Technology:
    """One technology whose fields are arrays: entry i is that of `technologies[index[i]]`.

    A field on which all agree stays a scalar, which keeps array formulas short.
    """
    return catalog.stack(technologies, index, shared=("title", "source", "shown_source"))
