"""Points to compare with: all digital, all analog, and everything dense digital."""

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
from dse.search.smallest import ANY_AREA_MM2, SAMPLE, best_row, exact_fit
from dse.simulation.result import Simulated

if TYPE_CHECKING:
    import pandas

ALL_DIGITAL = "all digital"
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
        _reference(problem, screening, simulate, name, *kind)
        for name, kind in _kinds(problem).items()
    ]
    first = int(table["trial"].max()) + 1 if len(table) else 0
    for number, row in enumerate(rows):
        row["trial"] = first + number
    return pandas.concat([table, *rows], ignore_index=True)


def reference_codes(problem: Problem, seed: int) -> list[int]:
    """Key codes of the simulations that the reference rows need, the clean model's aside."""
    codes = [int(_choose(problem, seed, *kind)[1].codes[0]) for kind in _kinds(problem).values()]
    return [code for code in codes if code != CLEAN]


def _kinds(problem: Problem) -> dict[str, tuple[float, str]]:
    """Digital share of the experts and analog dense parts of each reference, by its name."""
    return {
        ALL_DIGITAL: (1.0, NO_PARTS),
        EXPERTS_ANALOG: (0.0, NO_PARTS),
        ALL_ANALOG: (0.0, join_parts(problem.dense_parts)),
    }


def _choose(
    problem: Problem, seed: int, digital_fraction: float, analog_modules: str
) -> tuple[Problem, Costed, str | None]:
    """The best design of a kind: the problem with that kind alone, the design, why it fits not."""
    choices: dict[str, list[object]] = {
        "digital_expert_fraction": [digital_fraction],
        "analog_modules": [analog_modules],
    }
    # With 8-bit converters where the space has them, so that only the placement differs.
    for bits in ("adc_bits", "dac_bits"):
        if 8 in problem.space[bits].choices:
            choices[bits] = [8]
    same = replace(problem, space=problem.space.limit(choices))
    unlimited = replace(same, limits=Limits(ANY_AREA_MM2))
    generator = np.random.default_rng([seed, 4])
    costed = exact_fit(unlimited, same.space.random(SAMPLE, generator))
    row, fits = best_row(costed, problem.limits.area_mm2)
    needed = float(costed.metrics["area_mm2"][row])
    reason = None if fits else f"does not fit: needs {units.area(needed)}"
    return same, exact_fit(unlimited, costed.indices[row : row + 1]), reason


def _reference(
    problem: Problem,
    screening: Screening,
    simulate: bool,
    name: str,
    digital_fraction: float,
    analog_modules: str,
) -> "pandas.DataFrame":
    """One reference design as a table of one row."""
    same, chosen, reason = _choose(problem, screening.seed, digital_fraction, analog_modules)
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
