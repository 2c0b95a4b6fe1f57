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

LOWEST_SURVEY_BITS = 4


def survey_energy_j(bits: ArrayLike, rate_hz: ArrayLike, node_nm: ArrayLike) -> Array:
    """Energy of one conversion of the best converters published (J).

    Regression over the Murmann ADC survey 1997-2023 as in CiMLoop's ADC plug-in (MIT), valid for
    4 bits and more; below, energy falls linearly to zero bits, for the regression would rise again.
    Log correlation 0.82: a real converter costs 0.18 to 5.8 times this (central 68 %).
    """
    bits = np.asarray(bits, dtype=float)
    effective = np.maximum(bits, LOWEST_SURVEY_BITS)
    figure_of_merit_db = np.minimum(
        213.78 - 2.8719 * np.log(np.asarray(rate_hz, dtype=float)),
        128.3 + 3.22 * np.ceil(effective),
    )
    signal_db = 6.02 * effective + 1.76
    log_pj = 26.05 - 1.470 + 1.880 * np.log(np.asarray(node_nm, dtype=float))
    log_pj = log_pj - 2.829 * np.log(effective)
    log_pj = log_pj - (figure_of_merit_db - signal_db) * (np.log(10) / 10)
    energy_pj = np.exp(log_pj) / 2
    return 1e-12 * energy_pj * np.minimum(bits / LOWEST_SURVEY_BITS, 1.0)


def survey_area_m2(energy_j: ArrayLike, rate_hz: ArrayLike, node_nm: ArrayLike) -> Array:
    """Area of a survey converter (m2) from its energy a conversion, rate and node.

    ln(area um2) = 0.9933 ln(nm) + 0.1807 ln(Hz) + 0.2991 ln(pJ) + 1.3462, same plug-in.
    """
    log_area = (
        0.9933 * np.log(np.asarray(node_nm, dtype=float))
        + 0.1807 * np.log(np.asarray(rate_hz, dtype=float))
        + 0.2991 * np.log(np.asarray(energy_j, dtype=float) * 1e12)
        + 1.3462
    )
    return 1e-12 * np.exp(log_area)


def energy_j(
    kind: ArrayLike,
    bits: ArrayLike,
    node_nm: ArrayLike,
    unit_time_s: ArrayLike,
    unit_energy_j: ArrayLike = 0.0,
    survey_factor: ArrayLike = 1.0,
) -> Array:
    """Energy of one conversion (J).

    `sar`: the survey's best converter at the rate 1 / (bits x unit time), times `survey_factor`;
    `cco`: 2^bits counts of `unit_energy_j`; `flash`: 2^bits - 1 comparators of `unit_energy_j`.
    """
    kind, bits = np.asarray(kind), np.asarray(bits, dtype=float)
    levels = np.exp2(bits)
    counted = np.asarray(unit_energy_j, dtype=float) * np.where(kind == "flash", levels - 1, levels)
    if not np.any(kind == "sar"):
        return counted
    rate_hz = 1 / (bits * np.asarray(unit_time_s, dtype=float))
    surveyed = np.asarray(survey_factor, dtype=float) * survey_energy_j(bits, rate_hz, node_nm)
    return np.where(kind == "sar", surveyed, counted)


def time_s(kind: ArrayLike, bits: ArrayLike, unit_time_s: ArrayLike) -> Array:
    """Time of one conversion (s): bits (sar), 2^bits (cco) or one (flash) times the unit time."""
    kind, bits = np.asarray(kind), np.asarray(bits, dtype=float)
    units = np.where(kind == "sar", bits, np.where(kind == "cco", np.exp2(bits), 1.0))
    return units * np.asarray(unit_time_s, dtype=float)


def area_m2(
    kind: ArrayLike,
    bits: ArrayLike,
    node_nm: ArrayLike,
    unit_time_s: ArrayLike,
    unit_area_m2: ArrayLike = 0.0,
    survey_factor: ArrayLike = 1.0,
) -> Array:
    """Area of one converter (m2).

    `sar`: survey area at its energy and the rate that its clock gives at 8 bits (a rate that fell
    with bits would make a finer converter smaller), times `survey_factor`; `cco`: one
    `unit_area_m2` a bit of its counter; `flash`: one a comparator.
    """
    kind, bits = np.asarray(kind), np.asarray(bits, dtype=float)
    units = np.where(kind == "flash", np.exp2(bits) - 1, bits)
    counted = np.asarray(unit_area_m2, dtype=float) * units
    if not np.any(kind == "sar"):
        return counted
    rate_hz = 1 / (8 * np.asarray(unit_time_s, dtype=float))
    surveyed = survey_area_m2(survey_energy_j(bits, rate_hz, node_nm), rate_hz, node_nm)
    return np.where(kind == "sar", np.asarray(survey_factor, dtype=float) * surveyed, counted)
