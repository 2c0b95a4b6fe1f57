"""Predicting a published chip from its design parameters, with constants shared by all chips.

What a chip is made of stands in `chip_tiles`; here its energy, latency, efficiency and area.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwmodels.chip_table import Chip
from hwmodels.chip_tiles import (
    PRIORS,
    Constants,
    chip_class,
    input_steps,
    landing_pad_energy_j,
    neuron_latency_s,
    supply_v,
    tile_of,
    weight_bits,
)
from hwmodels.components import mac, scaling
from hwmodels.tile import Tile, tile_area_mm2, tile_energy_j, tile_latency_s

__all__ = [
    "PRIORS",
    "QUANTITIES",
    "Constants",
    "chip_class",
    "energy_parts_j",
    "predict",
    "why_not",
]

QUANTITIES = ("energy_j", "latency_s", "tops_per_w", "area_mm2")
WITH_AREA = ("pulse width", "integrating neuron", "sampled analog")
"""Classes whose tiles have an area: a converter on every column, and cells of known footprint."""

SYSTEM_DIGITAL_OP_J = (70e-12 + 1.1e-12 + 3 * 5e-12) * 0.139
"""One digital operation beside the analog chip at 14 nm: instruction 70 pJ, 16-bit multiply 1.1 pJ
and three words from 32 KB SRAM at 45 nm (Horowitz 2014), scaled with Stillmaker and Baas 2017."""
SYSTEM_ANALOG_PER_DIGITAL = 325.0
"""Analog over digital operations of the five-chip system (Ambrogio et al., Nature 2023)."""


Value = float | NDArray[np.float64]


def _total(parts: dict[str, NDArray[np.float64]]) -> Value:
    total: Any = sum(parts.values())
    return total[()]


def energy_parts_j(chip: Chip, constants: Constants, tile: Tile) -> dict[str, Value]:
    """Energy of one product of the whole array by component of `tile_energy_j` (J).

    Where pulses leave a tile as they are, what reads them belongs to the chip. A figure that counts
    the array alone has its cells and drivers.
    """
    parts: dict[str, Value] = {name: part[()] for name, part in tile_energy_j(tile).items()}
    if chip.counts == "array":
        return {name: parts[name] for name in ("input", "array")}
    if chip.readout != "ramp_to_pulses":
        return parts
    parts["digital"] = 0.0
    rim = landing_pad_energy_j(chip, constants) if chip.counts in ("chip", "system") else {}
    return {name: energy + rim.get(name, 0.0) for name, energy in parts.items()}


def _energy_j(chip: Chip, constants: Constants, tile: Tile | None) -> Value:
    """Energy of one product of the whole array, arrays and converters only."""
    if tile is not None:
        return sum(energy_parts_j(chip, constants, tile).values())
    per_cycle = _digital_column_j(chip, constants) * chip.columns
    return per_cycle * math.ceil(chip.input_bits)


def _digital_column_j(chip: Chip, constants: Constants) -> Value:
    """Energy of one weight column of a digital macro for one input bit (J).

    Adders, one-bit products (a gate a weight bit, a quarter of which rise), and clocked registers:
    the tree's sum, an accumulator of all input bits, and the column's share of the input's.
    """
    volts, bits = supply_v(chip), weight_bits(chip)
    added = chip.rows_at_once or chip.rows
    tree = mac.adder_tree_energy_j(chip.rows, bits, volts, 28.0, constants.adder_activity)
    products = chip.rows * bits * float(mac.gate_energy_j(volts, 28.0)) * 0.25
    total = bits + math.ceil(math.log2(added))
    stored = 2 * total + math.ceil(chip.input_bits) + added / chip.columns
    registers = chip.rows / added * float(mac.register_energy_j(stored, volts, 28.0))
    pitch = np.power(scaling.dimension_factor(28.0, chip.node_nm), constants.adder_scaling_exponent)
    return (tree[()] + products + registers) * pitch


def _latency_s(chip: Chip, constants: Constants, tile: Tile | None) -> Value:
    """Latency of one access: of all rows, or of those that a macro drives together."""
    steps = 1 if chip.input_mode == "voltage_levels" else input_steps(chip)
    if tile is None and chip.clock_hz:
        return steps / chip.clock_hz
    if tile is None:
        added = chip.rows_at_once or chip.rows
        tree = float(mac.adder_tree_delay_s(added, weight_bits(chip), chip.node_nm))
        slower = float(scaling.supply_delay_factor(supply_v(chip)))
        return constants.digital_delay_factor * tree * slower * steps
    if chip_class(chip) == "integrating neuron":
        return neuron_latency_s(chip, constants, tile)
    return _total(tile_latency_s(dataclasses.replace(tile, rows_at_once=None)))


def _efficiency(chip: Chip, constants: Constants, energy_j: Value) -> Value:
    """TOPS/W at the level that the row describes; two operations a weight."""
    per_operation = energy_j / (2 * chip.rows * chip.columns)
    whole = chip.counts in ("chip", "system")
    if whole and chip.readout != "ramp_to_pulses":  # pulses need no buffers and no bus
        per_operation = per_operation / constants.array_share_of_chip
    if chip.counts == "system":
        per_operation = per_operation + SYSTEM_DIGITAL_OP_J / SYSTEM_ANALOG_PER_DIGITAL
    return 1e-12 / per_operation


def _area_mm2(tile: Tile, constants: Constants) -> Value:
    """Area of a tile with a pitch-matched converter on every column."""
    unit = constants.converter_area_m2 / float(np.asarray(tile.adc_bits))
    technology = dataclasses.replace(tile.technology, adc_kind="cco", adc_unit_area_m2=unit)
    return _total(tile_area_mm2(dataclasses.replace(tile, technology=technology)))


def predict(chip: Chip, constants: Constants) -> dict[str, Any]:
    """Predicted quantities of a chip from its design parameters (SI; area in mm2).

    Constants may be arrays of one length, for as many sets of them; so are then the quantities that
    they act on.

    A quantity that the models cannot express is absent; `why_not` says why.
    """
    tile = tile_of(chip, constants)
    array_energy = _energy_j(chip, constants, tile)
    in_chip = chip.counts == "chip" and chip.device == "flash"
    whole = constants.array_share_of_chip if in_chip else 1
    values = {
        "energy_j": array_energy / whole,
        "latency_s": _latency_s(chip, constants, tile),
        "tops_per_w": _efficiency(chip, constants, array_energy),
    }
    if chip.counts == "macro" and tile is not None and chip_class(chip) in WITH_AREA:
        values["area_mm2"] = _area_mm2(tile, constants)
    return {name: value for name, value in values.items() if not why_not(chip, name)}


def why_not(chip: Chip, quantity: str) -> str:
    """Why a quantity of this chip is not expressible; empty when it is."""
    if quantity == "latency_s" and chip.counts == "system":
        return "latency of a system needs its network"
    if quantity == "energy_j" and chip.counts == "system":
        return "energy of a system is not that of an MVM"
    if quantity != "area_mm2":
        return ""
    if chip.counts != "macro":
        return (
            "area of a chip needs its memory, network and interfaces, which the row does not give"
        )
    if chip.device == "sram" and chip_class(chip) != "digital":
        return "no cell footprint in the row: published SRAM cells differ fivefold in F2"
    if chip_class(chip) not in WITH_AREA:
        return "no converter sharing or macro outline in the row"
    return ""
