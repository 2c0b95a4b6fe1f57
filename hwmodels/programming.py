"""Writing weights into tiles: iterative programming, each pulse followed by a read that verifies.

For one load of a model and for each refresh. Arrays of designs; NaN where a technology does not say
what its pulses take.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwmodels.technology import column_lines
from hwmodels.tile import Tile, tile_latency_s, unit_energy_j

Array = NDArray[np.float64]


def _number(value: object) -> Array:
    return np.asarray(value, dtype=float)


def _pulses(tile: Tile) -> Array:
    pulses = _number(tile.technology.write_pulses)
    return np.where(pulses > 0, pulses, np.nan)


def programming_energy_j(tile: Tile, weights: ArrayLike) -> Array:
    """Energy of programming so many weights (J).

    weights x devices x pulses x (pulse + read). A read drives one row and converts its columns: a
    weight's share is a cell, a converter and its logic, and a share of the row's driver.
    """
    technology = tile.technology
    unit = unit_energy_j(tile)
    read = unit["array"] + unit["adc"] + unit["digital"] + unit["input"] / _number(tile.cols)
    pulse = _number(technology.write_pulse_energy_j) + read
    devices = _number(technology.devices_per_weight)
    return _number(weights) * devices * _pulses(tile) * pulse


def programming_time_s(tile: Tile, weights: ArrayLike, tiles: ArrayLike = 1) -> Array:
    """Time of programming so many weights that lie evenly on `tiles` tiles (s).

    Tiles work at the same time; in a tile, one row at a time or the part of it that the technology
    programs together, and of a weight one device of each bit line after another:
    ceil(weights / tiles / at once) x devices / lines x pulses x (pulse + read).
    """
    technology = tile.technology
    stated = _number(technology.write_weights_at_once)
    at_once = np.where(stated > 0, np.minimum(stated, _number(tile.cols)), _number(tile.cols))
    steps = np.ceil(_number(weights) / _number(tiles) / at_once)
    in_turn = _number(technology.devices_per_weight) / column_lines(technology)
    read: Any = sum(tile_latency_s(tile).values())
    return steps * in_turn * _pulses(tile) * (_number(technology.write_pulse_s) + read)
