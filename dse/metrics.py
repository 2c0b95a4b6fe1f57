"""What is wanted and what is allowed: objectives, budgets and constraints on named metrics."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dse import units
from dse.arrays import Array
from hwmodels.catalog import nearest


@dataclass(frozen=True)
class Metric:
    """A quantity that designs are judged by.

    Attributes:
        column: name in candidates.parquet.
        alias: name on the command line.
        label, unit: for people.
        kind: of unit accepted in a constraint ("" for a plain number).
        larger_is_better: direction.
        simulated: needs the noisy simulation; the others follow from the cost models alone.
        logarithmic: compared by ratio in hypervolumes and distances.
        help: what it is, in a sentence.
    """

    column: str
    alias: str
    label: str
    unit: str = ""
    kind: str = ""
    larger_is_better: bool = False
    simulated: bool = False
    logarithmic: bool = True
    help: str = ""

    @property
    def error_column(self) -> str:
        """Column of the standard error of a simulated metric."""
        return f"{self.column.removesuffix('_nats')}_stderr"

    def text(self, value: float) -> str:
        """A value for people: `12.4 mJ`, `131 mm2`, `0.0614 nats`."""
        if self.unit == "mm2":
            return units.area(value)
        if self.unit == "USD":
            return f"{value:,.0f} USD"
        if self.unit in ("", "nats", "W/mm2"):
            number = "0" if abs(value) < 5e-5 else f"{value:.3g}"
            return f"{number} {self.unit}".rstrip()
        return units.si(value, self.unit)


METRICS = (
    Metric("delta_loss_nats", "delta_loss", "loss increase", "nats", simulated=True,
           logarithmic=False, help="Loss a token that a placement adds to the noise-free model."),
    Metric("accuracy", "accuracy", "accuracy", larger_is_better=True, simulated=True,
           logarithmic=False, help="Share of the miniature's task instances solved."),
    Metric("top1", "top1", "top-1", larger_is_better=True, simulated=True, logarithmic=False,
           help="Share of tokens whose likeliest prediction is right."),
    Metric("energy_j_per_token", "energy_per_token", "energy per token", "J", "energy",
           help="Energy of the whole machine a token."),
    Metric("throughput_tokens_per_s", "throughput", "throughput", "tok/s", "",
           larger_is_better=True, help="Tokens a second of all sequences together."),
    Metric("latency_s_per_token", "latency_per_token", "latency per token", "s", "time",
           help="Time of one step of a sequence."),
    Metric("time_per_output_token_s", "time_per_output_token", "time per output token", "s",
           "time", help="Between two tokens of one sequence."),
    Metric("time_to_first_token_s", "time_to_first_token", "time to first token", "s", "time",
           help="From a request to its first output token."),
    Metric("tokens_per_s_per_sequence", "throughput_per_sequence", "throughput of a sequence",
           "tok/s", "", larger_is_better=True, help="Tokens a second of one sequence."),
    Metric("power_w", "power", "power", "W", "power", help="Energy per token times throughput."),
    Metric("power_density_w_per_mm2", "power_density", "power density", "W/mm2",
           help="Heat of the dies over their area, the memory stacks' own aside."),
    Metric("cost_usd", "cost", "cost", "USD", "money",
           help="Good dies, memory, interposer and bonding; no margin."),
    Metric("area_mm2", "area", "area", "mm2", "area",
           help="Tiles, accelerator and memory interfaces together."),
)  # fmt: skip
DEFAULT_OBJECTIVES = ("delta_loss", "energy_per_token", "throughput")


def metric(name: str) -> Metric:
    """Find a metric by its alias or its column.

    Raises:
        ValueError: one line with the nearest names.
    """
    for known in METRICS:
        if name.lower() in (known.alias, known.column):
            return known
    aliases = [known.alias for known in METRICS]
    hint = nearest(name, [*aliases, *(known.column for known in METRICS)])
    raise ValueError(f"unknown metric {name!r}: choose from {', '.join(aliases)}{hint}")


def objective_values(objectives: Sequence[Metric], values: Mapping[str, Array]) -> Array:
    """Objectives as a matrix [designs, objectives] in which smaller is better.

    Energy, throughput, latency, power and area enter as their log10, so that a hypervolume counts a
    halving the same wherever it happens.
    """
    columns = []
    for wanted in objectives:
        column = np.asarray(values[wanted.column], dtype=float)
        if wanted.logarithmic:
            with np.errstate(divide="ignore", invalid="ignore"):
                column = np.log10(column)
        columns.append(-column if wanted.larger_is_better else column)
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class Constraint:
    """`metric <= bound` or `metric >= bound`."""

    metric: Metric
    at_most: bool
    bound: float

    def excess(self, value: Array) -> Array:
        """Relative violation: 0 or less where the constraint holds, NaN where value is missing."""
        difference = value - self.bound if self.at_most else self.bound - value
        return np.asarray(difference / (abs(self.bound) or 1.0), dtype=float)

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        unit = self.metric.unit
        plain = ("", "nats", "mm2", "USD", "W/mm2")
        bound = f"{self.bound:g}" if unit in plain else units.si(self.bound, unit)
        return f"{self.metric.alias}{sign}{bound}{f' {unit}' if unit in plain[2:] else ''}"


_SIGN = r"<=|>=|=<|=>|≤|≥|<|>"
_CONSTRAINT = re.compile(rf"\s*(\w+)\s*({_SIGN})\s*(.+)")
_PLAIN = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([kMG]?)\s*(\S*)\s*")
_PREFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_WORDS = {
    "tok/s": ("tok/s", "tokens/s", "token/s"),
    "W/mm2": ("W/mm2",),
    "nats": ("nats", "nat"),
    "": ("%",),
}
"""What may stand behind a plain number, by the metric's unit."""


def read_constraint(text: str) -> Constraint:
    """Read `latency_per_token<=5ms`, `throughput>=1 k tok/s`, `accuracy>=60%`; < means <=.

    Raises:
        ValueError: one line that says what is accepted.
    """
    match = _CONSTRAINT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no constraint: write for instance latency_per_token<=5ms")
    name, sign, bound = match.groups()
    wanted = metric(name)
    if re.search(_SIGN, bound):
        raise ValueError(f"{text!r} is more than one constraint: write --constraint before each")
    if wanted.kind:
        bound = re.sub(r"\s*/\s*tok(en)?\s*$", "", bound) if "per_token" in wanted.alias else bound
        value = units.parse(bound, wanted.kind)
    else:
        value = _plain_bound(wanted, bound, text)
    return Constraint(wanted, sign[0] in "<≤" or sign == "=<", value)


def _plain_bound(wanted: Metric, bound: str, text: str) -> float:
    """A bound without a unit of its own: a rate, a share or nats."""
    match, words = _PLAIN.fullmatch(bound), _WORDS[wanted.unit]
    if match is None or match[3] not in ("", *words):
        raise ValueError(f"{text!r}: {wanted.alias} takes a plain number, or one with {words[0]}")
    value = float(match[1]) * _PREFIX[match[2]] * (0.01 if match[3] == "%" else 1.0)
    if not np.isfinite(value):
        raise ValueError(f"{text!r}: {wanted.alias} takes a finite number")
    if wanted.column in ("accuracy", "top1") and not 0 <= value <= 1:
        raise ValueError(f"{text!r}: {wanted.alias} is a share from 0 to 1")
    if wanted.unit == "tok/s" and value <= 0:
        raise ValueError(f"{text!r}: {wanted.alias} must be greater than zero")
    return value


@dataclass(frozen=True)
class Limits:
    """The area budget and every other constraint of a search."""

    area_mm2: float
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError where two of them leave nothing between."""
        most: dict[str, Constraint] = {}
        for one in (*self.on_cost, *self.on_accuracy):
            tightest = most.get(one.metric.column, one)
            if one.at_most and one.bound <= tightest.bound:
                most[one.metric.column] = one
        for one in self.constraints:
            above = most.get(one.metric.column)
            if above is not None and not one.at_most and one.bound > above.bound:
                raise ValueError(f"no design has both {one} and {above}")

    @property
    def on_cost(self) -> tuple[Constraint, ...]:
        """Constraints that cost alone decides, the area budget first."""
        area = Constraint(metric("area"), True, self.area_mm2)
        return (area, *(c for c in self.constraints if not c.metric.simulated))

    @property
    def on_accuracy(self) -> tuple[Constraint, ...]:
        """Constraints that need the simulation."""
        return tuple(c for c in self.constraints if c.metric.simulated)
