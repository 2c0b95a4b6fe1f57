"""How far a prediction can be off: 80 % intervals from the scatter of chips left out of the fit.

A chip's error is the logarithm of measured over predicted with constants fitted without it. Errors
of a class scatter about their mean; the interval of the next chip is the usual one of a normal
sample (Student's t), with the scatter of a small class drawn to that of all classes.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from hwmodels import catalog
from hwmodels.chip_model import QUANTITIES, predict
from hwmodels.chip_table import Chip
from hwmodels.chip_tiles import CLASSES, chip_class
from hwmodels.technology import Technology

COVERED = 0.8
"""Share of new chips that an interval is to cover."""
FEW = 5
"""Classes with fewer chips say so: their interval rests on the other classes' scatter."""
BORROWED = 2.0
"""Degrees of freedom that the scatter of all classes counts for in each: classes scatter 0.1 to 1.2
in logarithms, so that it says as much of the next class as two or three of its chips would."""
OWN = ("energy_j", "latency_s", "area_mm2")
"""Quantities with errors of their own; that of TOPS/W is the inverse of the energy's."""
MEAN_TO_SIGMA = math.sqrt(math.pi / 2)
"""Standard deviation over mean absolute deviation of a normal sample."""


@dataclass(frozen=True)
class Interval:
    """Factors on a prediction within which 80 % of new chips are, and what they rest on."""

    low: float
    high: float
    chips: int
    """Chips (families of rows) of the class."""

    @property
    def few(self) -> bool:
        """Whether the class has too few chips for a scatter of its own."""
        return self.chips < FEW


@dataclass(frozen=True)
class Error:
    """One left-out prediction: ln(measured / predicted)."""

    kind: str
    quantity: str
    family: str
    log: float


def error_of(chip: Chip, predicted: dict[str, float]) -> list[Error]:
    """Errors of one chip's predictions by quantity; energy from TOPS/W where a row has both."""
    found = []
    for quantity in OWN:
        measured, value = chip.measured.get(quantity), predicted.get(quantity)
        if quantity == "energy_j" and "tops_per_w" in chip.measured:
            value, measured = chip.measured["tops_per_w"], predicted.get("tops_per_w")
        if measured is not None and value is not None:
            log = math.log(measured / value)
            found.append(Error(chip_class(chip), quantity, chip.family, log))
    return found


@functools.cache
def left_out_errors() -> tuple[Error, ...]:
    """Errors of shipped silicon and of studies in the fit, each predicted without its family."""
    from hwmodels.fitting import fitted_without, shipped_chips

    found: list[Error] = []
    for chip in shipped_chips():
        if chip.measured and (chip.kind == "silicon" or chip.in_fit):
            try:
                found += error_of(chip, predict(chip, fitted_without(chip.family)))
            except ValueError:
                continue  # a device without a model
    return tuple(found)


def _spread(logs: np.ndarray) -> float:
    """Standard deviation of a normal sample with this mean absolute deviation: outliers count
    once, not squared.
    """
    centre = float(np.median(logs))
    few = math.sqrt(len(logs) / (len(logs) - 1))  # the median lies closer than the truth
    return float(np.abs(logs - centre).mean()) * MEAN_TO_SIGMA * few


def _by_class(quantity: str, without: str) -> dict[str, list[Error]]:
    classes: dict[str, list[Error]] = {name: [] for name in CLASSES}
    for error in left_out_errors():
        if error.quantity == quantity and error.family != without:
            classes[error.kind].append(error)
    return classes


@functools.cache
def _class_interval(kind: str, quantity: str, without: str) -> Interval:
    classes = _by_class(quantity, without)
    logs = {name: np.array([e.log for e in part]) for name, part in classes.items()}
    families = {name: len({e.family for e in part}) for name, part in classes.items()}
    own, chips = logs[kind], families[kind]
    everything = np.concatenate(list(logs.values()))
    common = float(np.abs(everything).mean()) * MEAN_TO_SIGMA if len(everything) else math.log(2)
    freedom = BORROWED + max(chips - 1, 0)
    variance = BORROWED * common**2
    if chips > 1:
        variance += (chips - 1) * _spread(own) ** 2
    # The mean of few chips is drawn to none: their models were fitted to them.
    centre = float(np.median(own)) * chips / (chips + BORROWED) if chips else 0.0
    half = _student(freedom) * math.sqrt(variance / freedom * (1 + 1 / (chips + BORROWED)))
    return Interval(math.exp(centre - half), math.exp(centre + half), chips)


def _student(freedom: float) -> float:
    """Two-sided 80 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + COVERED) / 2))


@functools.cache
def _projected(quantity: str) -> Interval:
    """Interval of a published projection: silicon may be as good as it claims, or as far from it
    as the models fitted to silicon are from the worst of the table's projections.
    """
    from hwmodels.fitting import fitted, shipped_chips

    claims: dict[str, float] = {}
    for chip in shipped_chips():
        if chip.kind == "projection":
            for error in error_of(chip, predict(chip, fitted())):
                if error.quantity == quantity:
                    claims[chip.family] = -error.log
    silicon = _class_interval("pulse width", quantity, "")
    worst = math.exp(max([0.0, *claims.values()]))
    return Interval(silicon.low, silicon.high * worst, len(claims))


KINDS = (*CLASSES, "projection")


def class_interval(kind: str, quantity: str, *, without: str = "") -> Interval:
    """The interval of a class of macros (or `projection`) for a quantity of QUANTITIES.

    `without` names a family that takes no part. Raises ValueError (nearest name) for others.
    """
    if kind not in KINDS:
        raise catalog.unknown("class", kind, KINDS)
    if quantity not in QUANTITIES:
        raise catalog.unknown("quantity", quantity, QUANTITIES)
    if quantity == "tops_per_w":
        energy = class_interval(kind, "energy_j", without=without)
        return Interval(1 / energy.high, 1 / energy.low, energy.chips)
    if kind == "projection":
        return _projected(quantity)
    return _class_interval(kind, quantity, without)


def interval(kind: str, quantity: str) -> tuple[float, float]:
    """Low and high factor on a prediction within which 80 % of new chips of a class are.

    kind: a class of CLASSES or `projection` (`technology_class` names that of a technology);
    quantity: energy_j, latency_s, tops_per_w or area_mm2. Raises ValueError for others.
    """
    found = class_interval(kind, quantity)
    return found.low, found.high


def technology_class(technology: Technology) -> str:
    """The class of macros whose scatter a technology (scalar fields) has, or `projection`."""
    if str(technology.kind) == "projection":
        return "projection"
    if str(technology.device) == "sram":
        return "charge domain"
    if float(technology.neuron_step_s) > 0:
        return "integrating neuron"
    if str(technology.input_mode) == "pwm":
        return "pulse width"
    return "sliced study" if float(technology.columns_per_weight) > 1 else "sampled analog"
