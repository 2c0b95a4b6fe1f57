"""A crossbar tile, planar or 3D: energy, latency and area of one matrix-vector product (MVM).

A weight matrix lies in the cells. Row drivers turn inputs into pulses, currents (or charges) add
along the columns, converters digitise them, logic scales and adds. In a 3D tile the tiers share
everything but their cells, and one tier works at a time. Every quantity is a dictionary of
components that add up to the whole; every field may be an array, one entry a design.

What limits it (wires, tiers that leak, what its source has shown) stands in `tile_limits`; energies
and times hold it. What is assumed: weights stay (`programming` has what writing them takes); a
tile between two MVMs is power-gated and draws nothing (cells are non-volatile, and the leakage
while it works is in the constants that measured MVMs were fitted with); every tile has its own
drivers and converters, which its tiers share.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwmodels import catalog, tile_limits
from hwmodels.components import adc, cell_array, dac
from hwmodels.technology import (
    Technology,
    Text,
    Value,
    load_technology,
    stack_technologies,
    technology_from_table,
    technology_names,
)

__all__ = [
    "Technology",
    "Tile",
    "load_technology",
    "load_tile",
    "stack_technologies",
    "technology_from_table",
    "technology_names",
    "tile_area_mm2",
    "tile_energy_j",
    "tile_latency_s",
    "tile_names",
    "tile_weights",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tile:
    """A tile of `rows` inputs and `cols` weights a row, in `tiers` layers of cells.

    `input_mode`, `phases` and `adc_kind` are the technology's unless given here.
    """

    technology: Technology
    """Or the name of a shipped one: `Tile("pcm-14nm", 512, 512)`."""
    rows: Value
    cols: Value
    tiers: Value = 1
    dac_bits: Value = 8
    adc_bits: Value = 8
    columns_per_adc: Value = 1
    phases: Value | None = None
    input_mode: Text | None = None
    rows_at_once: Value | None = None
    """Rows driven together (default all); fewer mean more conversions and more time."""

    def __post_init__(self) -> None:
        if isinstance(self.technology, str):
            object.__setattr__(self, "technology", load_technology(self.technology))
        elif not isinstance(self.technology, Technology):
            names = ", ".join(technology_names())
            raise ValueError(
                f"technology is {self.technology!r}; it must be a Technology or one of {names}"
            )
        catalog.check_range("rows", self.rows, 1, 1e6, whole=True)
        catalog.check_range("cols", self.cols, 1, 1e6, whole=True)
        catalog.check_range("tiers", self.tiers, 1, 1e6, whole=True)
        catalog.check_range("dac_bits", self.dac_bits, 1, 16, whole=True)
        catalog.check_range("adc_bits", self.adc_bits, 1, 14, whole=True)
        catalog.check_range("columns_per_adc", self.columns_per_adc, 1, 1e6, whole=True)
        too_many = np.asarray(self.tiers) > np.asarray(self.technology.max_tiers)
        if np.any(too_many):
            raise ValueError(
                f"tiers is {np.max(self.tiers):g}; {np.atleast_1d(self.technology.name)[0]} allows "
                f"at most {np.min(self.technology.max_tiers):g}"
            )
        if self.phases is None:
            object.__setattr__(self, "phases", self.technology.phases)
        if self.input_mode is None:
            object.__setattr__(self, "input_mode", self.technology.input_mode)
        if self.rows_at_once is not None:
            catalog.check_range("rows_at_once", self.rows_at_once, 1, 1e6)
        catalog.check_range("phases", self.phases, 1, 16, whole=True)
        catalog.check_choice("input_mode", self.input_mode, dac.INPUT_MODES)

    def _repr_html_(self) -> str:
        return catalog.html_table(self)


def _number(value: object) -> Array:
    return np.asarray(value, dtype=float)


def tile_weights(tile: Tile) -> Array:
    """Weights that a tile holds in all its tiers."""
    return _number(tile.rows) * _number(tile.cols) * _number(tile.tiers)


def _bits_per_read(tile: Tile) -> Array:
    """Input bits of one phase: all of them, or, as a pulse train, a share of them in each phase."""
    bits, phases = _number(tile.dac_bits), _number(tile.phases)
    return np.where(np.asarray(tile.input_mode) == "pulse_train", np.ceil(bits / phases), bits)


def _integrations(tile: Tile) -> Array:
    """How often the array is driven in a phase: once, or once a column of a shared integrating ADC.

    An integrating converter counts while the current flows, so the columns that share one take
    turns; other converters sample, and the columns are integrated together.
    """
    return np.where(
        np.asarray(tile.technology.adc_kind) == "cco", _number(tile.columns_per_adc), 1.0
    )


def _driven_s(tile: Tile, slots: Array, conversions: Array) -> Array:
    """Time for which rows are driven in a phase: before each conversion long enough to sense."""
    shortest = conversions * tile_limits.integration_floor_s(tile)
    return np.maximum(slots * _number(tile.technology.input_slot_s), shortest)


def row_groups(tile: Tile, rows: ArrayLike) -> Array:
    """In how many groups the rows are driven one after another."""
    if tile.rows_at_once is None:
        return _number(1.0)
    return np.ceil(_number(rows) / _number(tile.rows_at_once))


@tile_limits.once_a_tile
def unit_energy_j(tile: Tile) -> dict[str, Array]:
    """What the energy of an MVM is made of, by component (J).

    `input` (drivers and word lines) of one row; `array` of one cell; `adc` and `digital` (after the
    converter) of one weight column and group of rows.
    """
    technology, mode = tile.technology, np.asarray(tile.input_mode)
    phases = _number(tile.phases)
    slots = dac.slots(mode, _bits_per_read(tile))
    edges = dac.conversions(mode, tile.dac_bits)  # the word lines rise once a conversion
    conversions = _number(technology.columns_per_weight) * phases * edges
    line = cell_array.wire_energy_j(tile.cols, technology.row_capacitance_f, technology.supply_v)
    levels = slots * _number(technology.driver_slot_energy_j)
    drive = np.maximum(levels, dac.level_floor_j(mode, tile.dac_bits)) + edges * line
    power = cell_array.read_power_w(
        technology.read_voltage_v, technology.mean_conductance_s, technology.devices_per_weight
    )
    # What wires drop is given on top of the read voltage; what other tiers draw is drawn as well.
    lost = sum(tile_limits.ir_drops(tile).values()) + tile_limits.tier_leakage(tile)
    on_time = _driven_s(tile, slots, edges) * cell_array.MEAN_INPUT_DUTY
    cell = power * (1 + lost) * on_time + edges * _number(technology.cell_switch_energy_j)
    one_conversion = tile_limits.converter_wire_energy_j(tile) + adc.energy_j(
        technology.adc_kind,
        tile.adc_bits,
        technology.node_nm,
        technology.adc_unit_time_s,
        technology.adc_unit_energy_j,
        technology.adc_energy_factor,
        technology.supply_v,
        tile_limits.integration_floor_s(tile),
        technology.adc_floor_factor,
    )
    parts = {
        "input": drive * phases * _integrations(tile),
        "array": cell * phases,
        "adc": conversions * one_conversion,
        "digital": conversions * _number(tile.adc_bits) * _number(technology.output_bit_energy_j),
    }
    return {name: part * _number(technology.energy_factor) for name, part in parts.items()}


def tile_energy_j(
    tile: Tile, active_rows: ArrayLike | None = None, active_cols: ArrayLike | None = None
) -> dict[str, Array]:
    """Energy of one MVM of one tile (one tier), by component of `unit_energy_j` (J).

    `active_rows`, `active_cols`: rows and weight columns that the matrix uses (default: all).
    """
    rows = _number(tile.rows if active_rows is None else active_rows)
    cols = _number(tile.cols if active_cols is None else active_cols)
    converted = cols * row_groups(tile, rows)
    counts = {"input": rows, "array": rows * cols, "adc": converted, "digital": converted}
    return {name: counts[name] * energy for name, energy in unit_energy_j(tile).items()}


def tile_latency_s(tile: Tile) -> dict[str, Array]:
    """Latency of one MVM of one tile, by component; the components add up to it (s).

    Components: `integration` (inputs applied), `conversion` (beyond the integration), `overhead`.
    An integrating converter works during the integration and adds only what it takes longer;
    a sampling one converts its columns one after another, during the next step if `pipelined`.
    A voltage-mode neuron takes its step for every pulse (input bit k is sampled and integrated 2^k
    times), for every output bit, and to start (Wan et al., Nature 608, 504, 2022, Fig. 12).
    """
    technology, mode = tile.technology, np.asarray(tile.input_mode)
    phases = _number(tile.phases) * row_groups(tile, tile.rows)
    passes = dac.conversions(mode, tile.dac_bits)
    integrate = _driven_s(tile, dac.slots(mode, _bits_per_read(tile)), passes)
    one_conversion = adc.time_s(technology.adc_kind, tile.adc_bits, technology.adc_unit_time_s)
    sharing = _number(tile.columns_per_adc)
    counting = np.asarray(technology.adc_kind) == "cco"
    count_longer = np.maximum(passes * one_conversion - integrate, 0.0) * sharing
    convert = passes * one_conversion * sharing
    hidden = np.where(_number(technology.pipelined) > 0, np.minimum(convert, integrate), 0.0)
    parts = {
        "integration": integrate * _integrations(tile),
        "conversion": np.where(counting, count_longer, convert - hidden),
        "overhead": _number(technology.step_overhead_s),
    }
    step = _number(technology.neuron_step_s)
    if np.any(step > 0):
        pulses = np.exp2(_bits_per_read(tile)) - 1
        steps = {
            "integration": pulses,
            "conversion": _number(tile.adc_bits) * sharing,
            "overhead": _number(1.0),
        }
        parts = {n: np.where(step > 0, steps[n] * step, value) for n, value in parts.items()}
    phases = phases * _number(technology.time_factor)
    return {name: phases * value for name, value in parts.items()}


def tile_area_mm2(tile: Tile) -> dict[str, Array]:
    """Area of one tile with all its tiers, by component (mm2).

    Components: `cells` (one footprint, whatever the tiers), `tiers` (their contacts), `adc`,
    `wires` (from columns to converters), `drivers`, `digital`, `control` (what is not named: a
    fixed share of the rest).
    """
    technology = tile.technology
    rows, cols = _number(tile.rows), _number(tile.cols)
    columns = cols * _number(technology.columns_per_weight)
    converter = adc.area_m2(
        technology.adc_kind,
        tile.adc_bits,
        technology.node_nm,
        technology.adc_unit_area_m2,
        technology.adc_area_factor,
    )
    staircase = cell_array.staircase_area_m2(
        tile.tiers, technology.tier_step_m, cols, technology.cell_area_m2
    )
    parts = {
        "cells": 1e6 * rows * cols * _number(technology.cell_area_m2),
        "tiers": 1e6 * staircase,
        "adc": 1e6 * np.ceil(columns / _number(tile.columns_per_adc)) * converter,
        "wires": 1e6 * tile_limits.converter_wire_area_m2(tile),
        "drivers": 1e6 * rows * _number(technology.driver_area_m2),
        "digital": 1e6 * columns * _number(technology.output_area_m2),
    }
    named: Any = sum(parts.values())
    parts["control"] = named * (_number(technology.control_area_factor) - 1)
    return parts


def tile_names() -> tuple[str, ...]:
    """Names of the shipped tiles, sorted."""
    return catalog.names("tiles")


def load_tile(name_or_path: str | Path) -> Tile:
    """A shipped tile by name, or one's own by path to a TOML file with `technology` and fields.

    The key `technology` is a name, a path, or a table of a technology's fields; the keys `title`,
    `kind` and `source` are for the reader. Raises ValueError in one line.
    """
    table = catalog.read("tiles", name_or_path)
    fields = [field.name for field in dataclasses.fields(Tile)]
    catalog.check_keys(table, [*fields, "title", "kind", "source"], f"tile {name_or_path}")
    for name in ("technology", "rows", "cols"):
        if name not in table:
            raise ValueError(f"tile {name_or_path} lacks the key {name!r}")
    technology = table.pop("technology")
    if isinstance(technology, dict):
        technology = technology_from_table(technology, f"technology of tile {name_or_path}")
    else:
        technology = load_technology(technology)
    return Tile(technology, **{name: table[name] for name in fields if name in table})
