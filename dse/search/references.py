"""Points to compare with: all digital at 16 bits and quantised, all analog, experts analog."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dse import units
from dse.metrics import Limits
from dse.placement.parts import NO_PARTS, join_parts
from dse.search.costed_table import costed_frame
from dse.search.costing import Costed
from dse.search.pool import Results
from dse.search.problem import Problem
from dse.search.screening import Screening
from dse.search.simulating import simulate as simulated
from dse.search.simulation_key import CLEAN
from dse.search.smallest import ANY_AREA_MM2, SAMPLE, best_design, exact_fit
from dse.simulation.result import Simulated

if TYPE_CHECKING:
    import pandas

ALL_DIGITAL = "all digital"
QUANTISED = "all digital, quantised"
ALL_ANALOG = "all analog"
EXPERTS_ANALOG = "all experts analog"


def reference_table(
    problem: Problem, screening: Screening, table: "pandas.DataFrame", simulate: bool = True
) -> "pandas.DataFrame":
    """Add the reference rows: each the best of its kind within the budget.

    Best is the least energy per token over throughput. Where none of its kind fits, the row is
    the smallest one and its `reason` says which area it needs. Without `simulate` accuracies that
    the search does not know stay missing.
    """
    import pandas

    rows = [
        _reference(problem, screening, simulate, name, kind)
        for name, kind in _kinds(problem).items()
    ]
    first = int(table["trial"].max()) + 1 if len(table) else 0
    for number, row in enumerate(rows):
        row["trial"] = first + number
    return pandas.concat([table, *rows], ignore_index=True)


def reference_codes(problem: Problem, seed: int) -> list[int]:
    """Key codes of the simulations that the reference rows need, the clean model's aside."""
    codes = [int(_choose(problem, seed, kind)[1].codes[0]) for kind in _kinds(problem).values()]
    return [code for code in codes if code != CLEAN]


Kind = dict[str, list[object]]
"""Choices of the parameters that make a reference what it is."""


def _kinds(problem: Problem) -> dict[str, Kind]:
    """What each reference may choose from, by its name.

    With 8-bit converters and 16 bits in digital modules where the space has them, so that only the
    placement differs; the quantised one has what else the space has, if there is anything.
    """
    space = problem.space
    whole: Kind = {
        name: [bits]
        for name, bits in (("adc_bits", 8), ("dac_bits", 8), ("digital_weight_bits", 16),
                           ("kv_bits", 16))
        if bits in space[name].choices
    }  # fmt: skip
    digital: Kind = {"digital_expert_fraction": [1.0], "analog_modules": [NO_PARTS]}
    kinds = {ALL_DIGITAL: whole | digital}
    narrow = [bits for bits in space["digital_weight_bits"].choices if bits != 16]
    if narrow:
        kinds[QUANTISED] = digital | {"digital_weight_bits": narrow}
    experts: Kind = {"digital_expert_fraction": [0.0], "analog_modules": [NO_PARTS]}
    kinds[EXPERTS_ANALOG] = whole | experts
    kinds[ALL_ANALOG] = whole | experts | {"analog_modules": [join_parts(problem.dense_parts)]}
    return kinds


def _choose(problem: Problem, seed: int, choices: Kind) -> tuple[Problem, Costed, str | None]:
    """The best design of a kind: the problem with that kind alone, the design, why it fits not."""
    same = replace(problem, space=problem.space.limit(choices))
    unlimited = replace(same, limits=Limits(ANY_AREA_MM2))
    generator = np.random.default_rng([seed, 4])
    best = exact_fit(unlimited, best_design(unlimited, problem.limits.area_mm2, generator))
    needed, reason = float(best.metrics["area_mm2"][0]), best.reason[0] or None
    if needed > problem.limits.area_mm2:
        reason = f"does not fit: needs {units.area(needed)}{f'; {reason}' if reason else ''}"
    return same, best, reason


def _reference(
    problem: Problem,
    screening: Screening,
    simulate: bool,
    name: str,
    kind: Kind,
) -> "pandas.DataFrame":
    """One reference design as a table of one row."""
    same, chosen, reason = _choose(problem, screening.seed, kind)
    screening.costed += SAMPLE
    code = int(chosen.codes[0])
    if code in screening.results:
        result = screening.results[code]
    elif simulate:
        result = simulated(same, code)
    else:
        result = Simulated(failed="not simulated on the checkpoint")
    results: Results = {code: result}
    frame = costed_frame(same, chosen, results)
    reason = reason or result.failed or None
    for column, value in (("state", "reference"), ("reason", reason), ("reference_name", name),
                          ("searched", False), ("on_front", False),
                          ("is_knee", False)):  # fmt: skip
        frame[column] = value
    return frame
