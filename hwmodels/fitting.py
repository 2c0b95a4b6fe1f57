"""Fitting the shared constants to published chips, and what one chip left out does to them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwmodels.chip_model import PRIORS, QUANTITIES, Constants, chip_class, predict
from hwmodels.chip_table import Chip, parse, read_table

RESIDUAL_SCALE = 0.15
"""Error that counts as one standard deviation: the accuracy that we aim for."""
SCATTER_SCALE = 0.4
"""The same in classes whose published macros differ several times at equal design parameters: what
they drive beside the array, how sparse their inputs were, how they were clocked is not stated."""
SCATTERED = (
    "sampled analog",
    "sensed macro",
    "charge domain",
    "bit-line discharge",
    "bit-line current",
    "digital",
)
STEP = 1e-4
"""Move of a constant's logarithm for a derivative."""
CONVERGED, MOST_STEPS = 1e-3, 20
"""Largest change of a constant's logarithm that ends the fit, and most steps."""
Array = NDArray[np.float64]

ACTS_ON: dict[str, tuple[str, ...]] = {
    "count_energy_j": ("pulse width",),
    "step_overhead_s": ("pulse width",),
    "sar_energy_factor": ("pulse width", "sensed macro", "sampled analog"),
    "neuron_energy_factor": ("integrating neuron",),
    "rram_conductance_s": ("integrating neuron", "sampled analog"),
    "macro_conductance_s": ("sensed macro",),
    "rram_step_s": ("sampled analog",),
    "macro_step_s": ("sensed macro",),
    "macro_overhead_s": ("sensed macro",),
    "neuron_step_s": ("integrating neuron",),
    "charge_cell_energy_j": ("charge domain",),
    "charge_row_s": ("charge domain",),
    "sram_adc_factor": ("charge domain",),
    "bit_line_access_s": ("bit-line discharge", "bit-line current"),
    "bit_line_energy_j": ("bit-line discharge",),
    "bit_line_adc_factor": ("bit-line discharge", "bit-line current"),
    "current_cell_energy_j": ("bit-line current",),
    "adder_activity": ("digital",),
    "adder_scaling_exponent": ("digital",),
    "digital_delay_factor": ("digital",),
    "converter_area_m2": ("pulse width", "integrating neuron", "sampled analog"),
    "periphery_area_exponent": ("pulse width", "integrating neuron", "sampled analog"),
    "array_share_of_chip": ("pulse width", "sliced study"),
}
"""Which classes of chips a constant acts on: the others need not be computed again."""


def shipped_chips() -> list[Chip]:
    """The shipped chips that the models express, in the fit or not."""
    return list(_shipped_chips())


@functools.cache
def _shipped_chips() -> tuple[Chip, ...]:
    chips = []
    for row in read_table():
        with contextlib.suppress(ValueError):
            chips.append(parse(row))
    return tuple(chips)


def training_chips() -> list[Chip]:
    """The shipped chips that constants are fitted to: those that the table marks so."""
    return [chip for chip in shipped_chips() if chip.in_fit and chip.measured]


def _targets(chip: Chip) -> list[str]:
    """Quantities to fit: TOPS/W says the same as energy where a row has both at one level."""
    names: list[str] = [name for name in QUANTITIES if name in chip.measured]
    if "energy_j" in names and "tops_per_w" in names:
        names.remove("tops_per_w")
    return names


def _residuals(chip: Chip, constants: Constants) -> Array:
    """Softened log errors of one chip [targets, sets of constants]: beyond two scales an error
    counts with its square root.
    """
    predicted = predict(chip, constants)
    scale = SCATTER_SCALE if chip_class(chip) in SCATTERED else RESIDUAL_SCALE
    errors = [
        np.log(predicted[name] / chip.measured[name]) / scale
        for name in _targets(chip)
        if name in predicted
    ]
    array = np.stack(np.broadcast_arrays(*map(np.atleast_1d, errors)))
    return np.sign(array) * np.sqrt(2 * (np.sqrt(1 + np.square(array)) - 1))


def _moved(constants: Constants, names: Sequence[str]) -> Constants:
    """These constants, and as many sets more: each of the names once moved by `STEP`, as arrays."""
    moved: dict[str, Any] = {}
    for place, name in enumerate(names):
        moved[name] = np.full(len(names) + 1, getattr(constants, name))
        moved[name][place + 1] *= np.exp(STEP)
    return dataclasses.replace(constants, **moved)


@dataclass(frozen=True)
class Linearised:
    """Residuals of chips at some constants, and their derivatives by each constant's logarithm."""

    logs: Array
    """Logarithms of the constants [constants], in the order of PRIORS."""
    residuals: Array
    slopes: Array
    """[residuals, constants]"""
    families: NDArray[np.str_]
    """Family of the chip of each residual."""


NAMES = tuple(PRIORS)
NOMINAL = np.log([getattr(Constants(), name) for name in NAMES])
SPREAD = np.array(list(PRIORS.values()))


def _constants(logs: Array) -> Constants:
    values = {name: float(np.exp(value)) for name, value in zip(NAMES, logs, strict=True)}
    return dataclasses.replace(Constants(), **values)


def _linearised(chips: Sequence[Chip], logs: Array) -> Linearised:
    constants = _constants(logs)
    acting = {
        kind: [name for name in NAMES if kind in ACTS_ON[name]]
        for kind in set(map(chip_class, chips))
    }
    moved = {kind: _moved(constants, found) for kind, found in acting.items()}
    here, slopes, families = [], [], []
    for chip in chips:
        kind = chip_class(chip)
        places = [NAMES.index(name) for name in acting[kind]]
        found = _residuals(chip, moved[kind])
        found = np.broadcast_to(found, (len(found), len(places) + 1))  # where none acts, too
        slope = np.zeros((len(found), len(NAMES)))
        slope[:, places] = (found[:, 1:] - found[:, :1]) / STEP
        here.append(found[:, 0])
        slopes.append(slope)
        families += [chip.family] * len(found)
    return Linearised(logs, np.concatenate(here), np.concatenate(slopes), np.array(families))


def _gauss_newton(at: Linearised, kept: NDArray[np.bool_] | None = None) -> Array:
    """Logarithms of the constants that fit best, as far as the derivatives hold.

    Every constant is also drawn to its nominal value with the spread of published values, so that
    few chips cannot run away with it. `kept` chooses residuals.
    """
    kept = np.ones(len(at.residuals), dtype=bool) if kept is None else kept
    slopes, residuals = at.slopes[kept], at.residuals[kept]
    pulled = (at.logs - NOMINAL) / SPREAD**2
    curvature = slopes.T @ slopes + np.diag(1 / SPREAD**2)
    step: Array = np.linalg.solve(curvature, slopes.T @ residuals + pulled)
    return at.logs - step


def _misfit(at: Linearised) -> float:
    return float(np.sum(at.residuals**2) + np.sum(((at.logs - NOMINAL) / SPREAD) ** 2))


def _fit(chips: Sequence[Chip]) -> Linearised:
    """Gauss-Newton on the logarithms of the constants, with halved steps where one leads uphill."""
    at = _linearised(chips, NOMINAL)
    for _ in range(MOST_STEPS):
        step = _gauss_newton(at) - at.logs
        if np.abs(step).max() < CONVERGED:
            break
        for halved in (1.0, 0.5, 0.25, 0.125):
            there = _linearised(chips, at.logs + halved * step)
            if _misfit(there) < _misfit(at):
                break
        else:
            break
        at = there
    return at


def fit(chips: Sequence[Chip]) -> Constants:
    """Constants that agree best with these chips and with their published nominal values."""
    return _constants(_fit(chips).logs)


@functools.cache
def _fitted() -> Linearised:
    return _fit(training_chips())


@functools.cache
def fitted() -> Constants:
    """Constants fitted to all shipped training chips."""
    return _constants(_fitted().logs)


@functools.cache
def fitted_without(family: str) -> Constants:
    """Constants fitted to all shipped training chips but those of one family.

    One step of Gauss-Newton from the fit to all: logarithms of predictions are nearly linear in
    those of constants.
    """
    at = _fitted()
    kept = at.families != family
    return fitted() if kept.all() else _constants(_gauss_newton(at, kept))
