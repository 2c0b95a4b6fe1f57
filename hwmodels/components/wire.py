"""Wires of an array and beside it: resistance, capacitance, settling, and the way to converters."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

NODES_NM = (7.0, 14.0, 22.0, 32.0, 45.0)
HALF_PITCH_NM = (20.0, 32.0, 40.0, 56.0, 80.0)
RESISTANCE_OHM_PER_UM = (69.5, 19.7, 11.6, 5.7, 2.6)
"""Narrowest wires of an array and their resistance with barrier, by node (NeuroSim V1.4, Param.cpp:
resistivity over width and thickness, not a foundry's table)."""
CAPACITANCE_F_PER_M = 0.2e-9
"""0.2 fF/um at all nodes (NeuroSim V1.4, SubArray.cpp)."""


def _beyond(node_nm: ArrayLike, values: tuple[float, ...], power: float) -> Array:
    """Interpolated in logarithms between nodes, and to a power of the node beyond the table."""
    node = np.asarray(node_nm, dtype=float)
    inside = np.clip(node, NODES_NM[0], NODES_NM[-1])
    known = np.exp(np.interp(np.log(inside), np.log(NODES_NM), np.log(values)))
    return known * np.power(node / inside, power)


def half_pitch_m(node_nm: ArrayLike) -> Array:
    """Width of the narrowest wire (m); in proportion to the node beyond the table."""
    return 1e-9 * _beyond(node_nm, HALF_PITCH_NM, 1.0)


def sheet_ohm(node_nm: ArrayLike) -> Array:
    """Resistance of a square of a wire (ohm): wider wires of a layer are as thick as narrow ones.

    0.63 ohm at 14 nm: 19.7 ohm/um at a width of 32 nm. Beyond the table the thickness follows the
    node.
    """
    per_m = 1e6 * _beyond(node_nm, RESISTANCE_OHM_PER_UM, -2.0)
    return per_m * half_pitch_m(node_nm)


def line_ohm(length_m: ArrayLike, pitch_m: ArrayLike, node_nm: ArrayLike) -> Array:
    """Resistance of a wire as wide as half its pitch, and never narrower than the node's (ohm)."""
    width = np.maximum(np.asarray(pitch_m, dtype=float) / 2, half_pitch_m(node_nm))
    return sheet_ohm(node_nm) * np.asarray(length_m, dtype=float) / width


def settling_s(resistance_ohm: ArrayLike, capacitance_f: ArrayLike, bits: ArrayLike) -> Array:
    """Time after which the far end of a line is within half a step of `bits` bits (s).

    Of the line's response to a step the slowest part remains, 4/pi exp(-pi^2/4 t/RC): that is
    2^-(bits + 1) at t = 4/pi^2 RC ln(4/pi 2^(bits + 1)).
    """
    product = np.asarray(resistance_ohm, dtype=float) * np.asarray(capacitance_f, dtype=float)
    logs = np.log(4 / np.pi) + (np.asarray(bits, dtype=float) + 1) * np.log(2)
    return 4 / np.pi**2 * product * logs


def least_sum(cells: ArrayLike) -> Array:
    """Mean over a line's cells of sum_k min(j, k): (n + 1)(2n + 1) / 6.

    Cell j lies j pitches from the driven end; the currents of all cells k pass the wire that it
    shares with them. About n^2 / 3.
    """
    n = np.asarray(cells, dtype=float)
    return (n + 1) * (2 * n + 1) / 6


def fan_out_m(
    width_m: ArrayLike, converters: ArrayLike, converter_area_m2: ArrayLike, pitch_m: ArrayLike
) -> tuple[Array, Array]:
    """Mean length of the wires from columns to converters, and the width they spread to (m).

    Converters of width `pitch_m` stand side by side under an array of `width_m` if they fit, else
    beyond its sides until they fill a square, else in banks below each other. Columns spread evenly
    move a quarter of the difference in width sideways on average; of b banks the mean lies
    (1 - 1/b) / 2 of their depth away. No wires without a pitch.
    """
    width = np.asarray(width_m, dtype=float)
    count = np.asarray(converters, dtype=float)
    area = count * np.asarray(converter_area_m2, dtype=float)
    abreast = np.maximum(count * np.asarray(pitch_m, dtype=float), 1e-12)
    spread = np.maximum(width, np.minimum(abreast, np.sqrt(area)))
    depth = area / spread * np.maximum(1 - spread / abreast, 0.0)
    return (spread - width) / 4 + depth / 2, spread
