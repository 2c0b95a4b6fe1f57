"""What limits a tile: wires that settle, drop voltage and lead to converters, tiers that leak.

Closed forms of first order, arrays of designs throughout. Rows are driven from one end of their
word lines; a column's current leaves at one end of its bit line, held at a constant voltage.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwmodels.components import adc, wire
from hwmodels.components.cell_array import MEAN_INPUT_DUTY
from hwmodels.technology import MEAN_WEIGHT, Technology, column_lines, weight_width_m

if TYPE_CHECKING:
    from hwmodels.tile import Tile

Array = NDArray[np.float64]
Value = TypeVar("Value")


def _number(value: object) -> Array:
    return np.asarray(value, dtype=float)


def once_a_tile(function: Callable[[Tile], Value]) -> Callable[[Tile], Value]:
    """A function of a tile whose result stays with the tile: several costs ask for the same."""
    name = f"_{function.__name__}"

    @functools.wraps(function)
    def kept(tile: Tile) -> Value:
        if name not in tile.__dict__:
            object.__setattr__(tile, name, function(tile))
        result: Value = tile.__dict__[name]
        return result

    return kept


@once_a_tile
def converter_wires_m(tile: Tile) -> tuple[Array, Array]:
    """Mean length of a wire from a column to its converter, and the width they spread to (m).

    No length where the converters are no wider than the columns that share them.
    """
    technology = tile.technology
    pitch = _number(technology.adc_pitch_m)
    columns = _number(tile.cols) * _number(technology.columns_per_weight)
    converters = np.ceil(columns / _number(tile.columns_per_adc))
    area = adc.area_m2(
        technology.adc_kind,
        tile.adc_bits,
        technology.node_nm,
        technology.adc_unit_area_m2,
        technology.adc_area_factor,
    )
    width = _number(tile.cols) * weight_width_m(technology)
    return wire.fan_out_m(width, converters, area, pitch)


def converter_wire_energy_j(tile: Tile) -> Array:
    """Energy of charging the wire from a column to its converter once (J): C V^2."""
    length = converter_wires_m(tile)[0]
    return wire.CAPACITANCE_F_PER_M * length * np.square(_number(tile.technology.supply_v))


def converter_wire_area_m2(tile: Tile) -> Array:
    """Area of the channel in which columns spread sideways to their converters (m2).

    Of n wires spread from a width w to a width s, n (x/w - x/s) pass the point x from the middle,
    n/2 (1 - w/s) at most: the channel is as high, at the node's smallest pitch, and s wide.
    """
    technology = tile.technology
    columns = _number(tile.cols) * _number(technology.columns_per_weight)
    width = _number(tile.cols) * weight_width_m(technology)
    wider = np.maximum(converter_wires_m(tile)[1] - width, 0.0)
    return columns / 2 * _number(technology.wire_pitch_m) * wider


def line_settling_s(tile: Tile) -> Array:
    """Time in which a word line and, after it, a bit line settle to half a step of the ADC (s)."""
    technology, bits = tile.technology, tile.adc_bits
    rows, cols = _number(tile.rows), _number(tile.cols)
    word = wire.settling_s(
        cols * _number(technology.row_wire_ohm), cols * _number(technology.row_capacitance_f), bits
    )
    beyond = converter_wires_m(tile)[0] * wire.CAPACITANCE_F_PER_M
    charged = rows * _number(technology.column_capacitance_f) + beyond
    bit = wire.settling_s(rows * _number(technology.column_wire_ohm), charged, bits)
    return word + bit


@once_a_tile
def integration_floor_s(tile: Tile) -> Array:
    """Shortest integration of one read (s): lines settle, then clamp and converter sense."""
    return line_settling_s(tile) + _number(tile.technology.sense_floor_s)


def ir_drops(tile: Tile) -> dict[str, Array]:
    """Mean share of the read voltage lost on wires, with mean weights in every cell.

    `word_line`: r_row G_weight (m + 1)(2m + 1) / 6, for a cell at position j sees the drop
    r sum_k min(j, k) G_k V of the cells k of its row. `bit_line`: the same by rows, for one
    polarity and the rows that are on: half of those driven together, as in the energy of inputs.
    """
    technology = tile.technology
    weight = _number(technology.full_conductance_s) * MEAN_WEIGHT
    rows = _number(tile.rows)
    driven = rows if tile.rows_at_once is None else np.minimum(rows, _number(tile.rows_at_once))
    word = _number(technology.row_wire_ohm) * weight * wire.least_sum(tile.cols)
    return {
        "word_line": word,
        "bit_line": _bit_line_drop(technology) * MEAN_WEIGHT * wire.least_sum(rows) * driven / rows,
    }


def _bit_line_drop(technology: Technology) -> Array:
    """Resistance of a bit line to the next cell, times conductance of a line at full weights."""
    line = _number(technology.full_conductance_s) / column_lines(technology)
    return _number(technology.column_wire_ohm) * line * MEAN_INPUT_DUTY


RMS_OVER_MEAN = np.sqrt(0.2)
"""Spread along a uniform line over the mean drop: x(u) = D (2u - u^2) has mean 2/3 D and standard
deviation sqrt(4/45) D."""


def ir_drop_error(tile: Tile) -> Array:
    """Relative error of weights that IR drop leaves when each column's mean is scaled away.

    The word line's drop is then gone (cells of a column lie equally far along their word lines);
    of the bit line's remains its spread along the column, 1/sqrt(5) of the mean.
    """
    return RMS_OVER_MEAN * ir_drops(tile)["bit_line"]


def largest_rows(tile: Tile, error: ArrayLike = 0.05) -> Array:
    """Most rows whose `ir_drop_error` stays within `error`; infinite where no current flows.

    (n + 1)(2n + 1) / 6 = error sqrt(5) / (r G), solved for n. All rows are driven together.
    """
    drop = _bit_line_drop(tile.technology) * MEAN_WEIGHT
    with np.errstate(divide="ignore"):
        total = _number(error) / RMS_OVER_MEAN / drop
    return np.floor((np.sqrt(1 + 48 * total) - 3) / 4)


def line_drops(
    tile: Tile, inputs: ArrayLike | None = None, outputs: ArrayLike | None = None
) -> tuple[Array, Array]:
    """(word_line_drop, bit_line_drop) of `nonideality.Noise`: r G n^2 of cells at full weight.

    Whatever the size of the simulated block, it then loses what a tile's block of `inputs` rows and
    `outputs` columns loses (default: the whole tile). G of the word line is a whole weight's, that
    of the bit line one polarity's, times the share of rows that are on.
    """
    technology = tile.technology
    rows = _number(tile.rows if inputs is None else inputs)
    cols = _number(tile.cols if outputs is None else outputs)
    full = _number(technology.full_conductance_s)
    word = _number(technology.row_wire_ohm) * full
    column = full / _number(technology.columns_per_weight) * MEAN_INPUT_DUTY
    bit = _number(technology.column_wire_ohm) * column
    return word * np.square(cols), bit * np.square(rows)


def tier_leakage(tile: Tile) -> Array:
    """Current of a column's unselected tiers over that of the selected one.

    (tiers - 1) / on-off ratio. It is at once the share by which the array's energy grows and, were
    it not to cancel between the polarities of a weight, the relative error: an upper bound.
    """
    ratio = _number(tile.technology.tier_on_off_ratio)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(ratio > 0, (_number(tile.tiers) - 1) / ratio, 0.0)


def largest_tiers(technology: Technology, error: ArrayLike = 0.05) -> Array:
    """Most tiers whose leakage stays within `error`, and no more than the technology allows."""
    ratio = _number(technology.tier_on_off_ratio)
    most = _number(technology.max_tiers)
    return np.where(ratio > 0, np.minimum(np.floor(1 + _number(error) * ratio), most), most)


SHOWN = ("rows", "cols", "tiers", "dac_bits", "adc_bits")


def beyond_source(tile: Tile) -> dict[str, NDArray[np.bool_]]:
    """In what each design lies beyond what its technology's source has shown, by name.

    Names are of SHOWN; where the source's limit is not stated nothing lies beyond it.
    """
    beyond = {}
    for name in SHOWN:
        shown = _number(getattr(tile.technology, f"shown_{name}"))
        beyond[name] = (shown > 0) & (_number(getattr(tile, name)) > shown)
    return beyond


def is_beyond_source(tile: Tile) -> NDArray[np.bool_]:
    """Whether a design lies beyond what its technology's source has shown, in anything."""
    return np.logical_or.reduce(np.broadcast_arrays(*beyond_source(tile).values()))


def beyond_source_text(tile: Tile) -> list[str]:
    """What of each design lies beyond, such as "rows+tiers"; empty where nothing does."""
    flags = np.broadcast_arrays(*(np.atleast_1d(flag) for flag in beyond_source(tile).values()))
    rows = np.stack(flags, axis=-1).reshape(-1, len(SHOWN))
    texts = {
        tuple(row): "+".join(name for name, flag in zip(SHOWN, row, strict=True) if flag)
        for row in np.unique(rows, axis=0).tolist()
    }
    return [texts[tuple(row)] for row in rows.tolist()]
