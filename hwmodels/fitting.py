"""Fitting the shared constants to published chips, and what one chip left out does to them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwmodels.chip_model import PRIORS, QUANTITIES, Constants, chip_class, predict
from hwmodels.chip_table import SURVEY, Chip, parse, read_table

RESIDUAL_SCALE = 0.15
"""Error that counts as one standard deviation: the accuracy that we aim for."""
SURVEY_SCALE = 0.4
"""The same for a macro that is known from the survey's normalised figures only, which leave out
what it drives beside the array, how sparse its inputs were and how it was clocked."""
STEP = 1e-4

ACTS_ON: dict[str, tuple[str, ...]] = {
    "count_energy_j": ("pulse width",),
    "step_overhead_s": ("pulse width",),
    "sar_energy_factor": ("pulse width", "sampled macro", "fully parallel RRAM"),
    "neuron_energy_factor": ("fully parallel RRAM",),
    "rram_conductance_s": ("fully parallel RRAM",),
    "macro_conductance_s": ("sampled macro",),
    "rram_step_s": ("sampled macro", "fully parallel RRAM"),
    "neuron_step_s": ("fully parallel RRAM",),
    "charge_cell_energy_j": ("charge domain",),
    "sram_adc_factor": ("charge domain", "bit-line SRAM"),
    "bit_line_access_s": ("bit-line SRAM",),
    "bit_line_energy_j": ("bit-line SRAM",),
    "adder_activity": ("digital",),
    "converter_area_m2": ("pulse width", "fully parallel RRAM"),
    "periphery_area_exponent": ("pulse width", "fully parallel RRAM"),
    "array_share_of_chip": ("pulse width", "ISAAC-like RRAM"),
}
"""Which classes of chips a constant acts on: the others need not be computed again."""


def training_chips() -> list[Chip]:
    """The shipped chips that constants are fitted to: measured ones, and ISAAC's class of studies.

    Circuit projections of PCM tiles, vendor figures and tables without results are left out.
    """
    return list(_training_chips())


@functools.cache
def _training_chips() -> tuple[Chip, ...]:
    chips = []
    for row in read_table():
        try:
            chip = parse(row)
        except ValueError:
            continue
        study = chip.kind == "simulated" and chip_class(chip) == "ISAAC-like RRAM"
        if chip.measured and (chip.kind == "measured" or study):
            chips.append(chip)
    even = [chip for chip in survey_chips() if (survey_number(chip) or 0) % 2 == 0]
    return (*chips, *even)


def survey_number(chip: Chip) -> int | None:
    """Number of a paper in the survey; None for a chip of another table."""
    number = chip.family.removeprefix("survey")
    return int(number) if number != chip.family and number.isdigit() else None


@functools.cache
def survey_chips() -> tuple[Chip, ...]:
    """Macros of the shipped survey: those of even number are fitted to, the others never."""
    return tuple(parse(row) for row in read_table(SURVEY))


def _targets(chip: Chip) -> list[str]:
    """Quantities to fit: TOPS/W says the same as energy where a row has both at one level."""
    names: list[str] = [name for name in QUANTITIES if name in chip.measured]
    if "energy_j" in names and "tops_per_w" in names:
        names.remove("tops_per_w")
    return names


def _residuals(chip: Chip, constants: Constants) -> NDArray[np.float64]:
    """Softened log errors of one chip [targets, sets of constants]: beyond two scales an error
    counts with its square root.
    """
    predicted = predict(chip, constants)
    scale = RESIDUAL_SCALE if survey_number(chip) is None else SURVEY_SCALE
    errors = [
        np.log(predicted[name] / chip.measured[name]) / scale
        for name in _targets(chip)
        if name in predicted
    ]
    array = np.stack(np.broadcast_arrays(*map(np.atleast_1d, errors)))
    return np.sign(array) * np.sqrt(2 * (np.sqrt(1 + np.square(array)) - 1))


def _with(constants: Constants, logs: NDArray[np.float64]) -> Constants:
    values = {name: float(np.exp(value)) for name, value in zip(PRIORS, logs, strict=True)}
    return dataclasses.replace(constants, **values)


def _moved(constants: Constants, names: Sequence[str]) -> Constants:
    """These constants, and as many sets more: each of the names once moved by `STEP`, as arrays."""
    moved: dict[str, Any] = {}
    for place, name in enumerate(names):
        moved[name] = np.full(len(names) + 1, getattr(constants, name))
        moved[name][place + 1] *= np.exp(STEP)
    return dataclasses.replace(constants, **moved)


def _linearised(
    chips: Sequence[Chip], constants: Constants
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Residuals of chips, and their derivatives by the logarithm of each constant."""
    names = list(PRIORS)
    acting = {
        kind: [name for name in names if kind in ACTS_ON[name]]
        for kind in set(map(chip_class, chips))
    }
    moved = {kind: _moved(constants, found) for kind, found in acting.items()}
    here, slopes = [], []
    for chip in chips:
        kind = chip_class(chip)
        columns = [names.index(name) for name in acting[kind]]
        found = _residuals(chip, moved[kind])
        found = np.broadcast_to(found, (len(found), len(columns) + 1))  # where none acts, too
        slope = np.zeros((len(found), len(names)))
        slope[:, columns] = (found[:, 1:] - found[:, :1]) / STEP
        here.append(found[:, 0])
        slopes.append(slope)
    return np.concatenate(here), np.concatenate(slopes)


def fit(chips: Sequence[Chip], start: Constants | None = None) -> Constants:
    """Constants that agree best with these chips and with their published nominal values.

    Gauss-Newton on the logarithms (scipy least_squares); every constant is also drawn to its
    nominal value with the spread of published values, so that few chips cannot run away with it.
    """
    from scipy.optimize import least_squares

    nominal = np.log([getattr(Constants(), name) for name in PRIORS])
    spread = np.array(list(PRIORS.values()))
    base = Constants()

    @functools.lru_cache(maxsize=1)  # the derivatives are asked for where the residuals were
    def at(logs: bytes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return _linearised(chips, _with(base, np.frombuffer(logs)))

    def residuals(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([at(logs.tobytes())[0], (logs - nominal) / spread])

    def jacobian(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([at(logs.tobytes())[1], np.diag(1 / spread)])

    first = nominal if start is None else np.log([getattr(start, name) for name in PRIORS])
    result = least_squares(residuals, first, jac=jacobian, xtol=1e-4, ftol=1e-4)
    return _with(base, result.x)


@functools.cache
def fitted() -> Constants:
    """Constants fitted to all shipped training chips."""
    return fit(training_chips())


@functools.cache
def fitted_without(family: str) -> Constants:
    """Constants fitted to all shipped training chips but those of one family."""
    chips = training_chips()
    rest = [chip for chip in chips if chip.family != family]
    return fitted() if len(rest) == len(chips) else fit(rest, fitted())
