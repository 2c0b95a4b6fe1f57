"""Analog-to-digital converters: energy, time and area of one conversion by kind, bits and node.

Three kinds are told apart because they trade bits differently: successive approximation (`sar`,
one clock per bit), integrating converters that count while the current flows (`cco`, ramp and
current-controlled oscillator: 2^bits counts) and `flash` (2^bits - 1 comparators, one clock).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

KINDS = ("sar", "cco", "flash")
Array = NDArray[np.float64]

DECISION_J = 100e-15
"""One bit decision of a column's converter, comparator and logic, at 28 nm and 1 V."""
NOISE_J = 1e-18
"""Thermal noise: this times 4^bits. Both as in ZigZag-IMC at 28 nm; first fitted to the Murmann ADC
survey by Gonugondla et al. (ICCAD 2020)."""
FLASH_SHARE = 4 / 15
"""A flash converter of four bits (15 comparators) costs as much as four successive decisions."""


THERMAL_8_BITS_J = 1.11e-12
"""Least energy of a conversion among published converters of 7 effective bits and 10 MS/s or more
(ISSCC 2023, 2.7 GS/s, 28 nm; Murmann's survey of June 2025). A converter of 8 nominal bits has
about 7 effective ones."""
FLOOR_BITS = 9
"""Up to which the best published conversions follow 4^bits: 0.30, 1.11 and 4.61 pJ at 6, 7 and 8
effective bits. Above they take no more (5.22, 2.24, 4.10 pJ at 9, 10, 12: corrected converters)
until thermal noise itself does."""
BEST_FIGURE_OF_MERIT_DB = 189.2
"""Best Schreier figure of merit of the survey, at any speed: signal to noise (dB) plus
10 log10(rate / 2 / power)."""


def floor_energy_j(bits: ArrayLike) -> Array:
    """Thermal floor of one conversion of a converter of `bits` nominal bits (J).

    1.11 pJ x 4^(bits - 8): half the noise is four times the energy, as in kT/C. Above 9 bits
    4.4 pJ, or what the best figure of merit allows for bits - 1 effective ones, whichever is more.
    No node: thermal noise does not scale. One published converter lies below (10 effective bits,
    2.24 pJ).
    """
    steps = np.exp2(2 * np.asarray(bits, dtype=float))
    best = THERMAL_8_BITS_J / 4**8 * np.minimum(steps, 4.0**FLOOR_BITS)
    # Signal to noise of b - 1 bits: 1.5 x 4^(b - 1).
    bound = 1.5 / 4 / 2 * 10 ** (-BEST_FIGURE_OF_MERIT_DB / 10)
    return np.maximum(best, bound * steps)


def _figure_of_merit_db(bits: NDArray[np.float64], rate_hz: ArrayLike) -> tuple[Array, Array]:
    """Schreier figures of merit: the survey's best at these bits, and the bound set by the rate."""
    at_rate = 213.78 - 2.8719 * np.log(np.asarray(rate_hz, dtype=float))
    return 128.3 + 3.22 * np.ceil(bits), at_rate


SURVEY_SPREAD = (0.18, 5.8)
"""Central 68 % of published converters over the survey's regression."""


def survey_energy_j(bits: ArrayLike, rate_hz: ArrayLike, node_nm: ArrayLike) -> Array:
    """Energy of one conversion of the best stand-alone converters published, 4 bits and more (J).

    Regression over the Murmann ADC survey 1997-2023 as in CiMLoop's ADC plug-in (MIT). Log
    correlation 0.82: a real converter costs SURVEY_SPREAD times this.
    """
    bits = np.asarray(bits, dtype=float)
    figure_of_merit_db = np.minimum(*_figure_of_merit_db(bits, rate_hz))
    signal_db = 6.02 * bits + 1.76
    log_pj = 26.05 - 1.470 + 1.880 * np.log(np.asarray(node_nm, dtype=float))
    log_pj = log_pj - 2.829 * np.log(bits)
    log_pj = log_pj - (figure_of_merit_db - signal_db) * (np.log(10) / 10)
    return 1e-12 * np.exp(log_pj) / 2


def column_energy_j(
    bits: ArrayLike, rate_hz: ArrayLike, node_nm: ArrayLike, supply_v: ArrayLike
) -> Array:
    """Energy of one conversion of a converter at the foot of a column (J).

    Decisions cost the same each and thermal noise 4^bits, both times V^2; capacitors and wires
    shrink with the linear dimension. Below four bits comparators beside each other are cheaper than
    successive decisions: one comparator decides one bit. Above the survey's corner (1.1 GS/s at 8
    bits, lower for more) speed costs what it costs in the survey.
    """
    bits = np.asarray(bits, dtype=float)
    decisions = np.minimum(bits, (np.exp2(bits) - 1) * FLASH_SHARE)
    static, at_rate = _figure_of_merit_db(bits, rate_hz)
    speed = np.exp(np.maximum(static - at_rate, 0.0) * (np.log(10) / 10))
    switched = np.asarray(node_nm, dtype=float) / 28 * np.square(np.asarray(supply_v, dtype=float))
    return (DECISION_J * decisions + NOISE_J * np.exp2(2 * bits)) * switched * speed


def column_area_m2(bits: ArrayLike, node_nm: ArrayLike) -> Array:
    """Area of a converter at the foot of a column (m2): 10^(1.206 - 0.0369 b) 2^b um2 at 28 nm.

    ZigZag-IMC, below 12 bits; linear in the node, for it is made of capacitors and wires. That
    gives Jia's 8 bits at 65 nm to 3 % (4840 against 5000 um2).
    """
    bits = np.asarray(bits, dtype=float)
    square_um = np.power(10.0, 1.206 - 0.0369 * bits) * np.exp2(bits)
    return 1e-12 * square_um * np.asarray(node_nm, dtype=float) / 28


def energy_j(
    kind: ArrayLike,
    bits: ArrayLike,
    node_nm: ArrayLike,
    unit_time_s: ArrayLike,
    unit_energy_j: ArrayLike = 0.0,
    factor: ArrayLike = 1.0,
    supply_v: ArrayLike = 1.0,
    least_time_s: ArrayLike = 0.0,
    floor_factor: ArrayLike = 1.0,
) -> Array:
    """Energy of one conversion (J).

    `sar`: a column's converter at the rate 1 / (bits x unit time), times `factor`;
    `cco`: 2^bits counts of `unit_energy_j`, or as many as fit in `least_time_s`, for its clamp and
    oscillator draw their currents as long as it integrates; `flash`: 2^bits - 1 comparators of
    `unit_energy_j`. None takes less than `floor_factor` times the thermal floor.
    """
    kind, bits = np.asarray(kind), np.asarray(bits, dtype=float)
    levels, unit_time = np.exp2(bits), np.asarray(unit_time_s, dtype=float)
    counts = np.maximum(levels, np.asarray(least_time_s, dtype=float) / unit_time)
    counted = np.asarray(unit_energy_j, dtype=float) * np.where(kind == "flash", levels - 1, counts)
    floor = np.asarray(floor_factor, dtype=float) * floor_energy_j(bits)
    if not np.any(kind == "sar"):
        return np.maximum(counted, floor)
    rate_hz = 1 / (bits * unit_time)
    decided = np.asarray(factor, dtype=float) * column_energy_j(bits, rate_hz, node_nm, supply_v)
    return np.maximum(np.where(kind == "sar", decided, counted), floor)


def time_s(kind: ArrayLike, bits: ArrayLike, unit_time_s: ArrayLike) -> Array:
    """Time of one conversion (s): bits (sar), 2^bits (cco) or one (flash) times the unit time."""
    kind, bits = np.asarray(kind), np.asarray(bits, dtype=float)
    units = np.where(kind == "sar", bits, np.where(kind == "cco", np.exp2(bits), 1.0))
    return units * np.asarray(unit_time_s, dtype=float)


def area_m2(
    kind: ArrayLike,
    bits: ArrayLike,
    node_nm: ArrayLike,
    unit_area_m2: ArrayLike = 0.0,
    factor: ArrayLike = 1.0,
) -> Array:
    """Area of one converter (m2).

    `sar`: a column's converter, times `factor`; `cco`: one `unit_area_m2` a bit of its counter;
    `flash`: one a comparator.
    """
    kind, bits = np.asarray(kind), np.asarray(bits, dtype=float)
    units = np.where(kind == "flash", np.exp2(bits) - 1, bits)
    counted = np.asarray(unit_area_m2, dtype=float) * units
    if not np.any(kind == "sar"):
        return counted
    column = np.asarray(factor, dtype=float) * column_area_m2(bits, node_nm)
    return np.where(kind == "sar", column, counted)
