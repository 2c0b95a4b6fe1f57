"""Points to compare with: all digital, quantised, the paper's rule, experts and all analog."""

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
PAPERS_RULE = "paper's rule"
"""Dense parts digital, and of every layer the quarter of the experts with the largest maximum
neuron norm (arXiv 2603.02633)."""


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
    kinds: dict[str, Kind] = {ALL_DIGITAL: whole | digital}
    narrow: list[object] = [b for b in space["digital_weight_bits"].choices if b != 16]
    if narrow:
        kinds[QUANTISED] = digital | {"digital_weight_bits": narrow}
    experts: Kind = {"digital_expert_fraction": [0.0], "analog_modules": [NO_PARTS]}
    if ("max_neuron_norm", "per_layer") in problem.orders:  # if no other scores were asked for
        quarter: Kind = {"digital_expert_fraction": [0.25], "analog_modules": [NO_PARTS]}
        largest: Kind = {
            "placement_score": ["max_neuron_norm"],
            "placement_scope": ["per_layer"],
        }
        kinds[PAPERS_RULE] = whole | quarter | largest
    kinds[EXPERTS_ANALOG] = whole | experts
    kinds[ALL_ANALOG] = whole | experts | {"analog_modules": [join_parts(problem.dense_parts)]}
    return kinds


def least_analog_area_mm2(problem: Problem, kind: str, seed: int) -> float | None:
    """Smallest area found with every expert analog in technologies of a kind; None without any.

    Whether dies of it can be built or not.
    """
    names = [str(one.name) for one in problem.technologies if str(one.kind) == kind]
    if not names:
        return None
    choices: Kind = {**_kinds(problem)[EXPERTS_ANALOG], "technology": list(names)}
    same = replace(problem, space=problem.space.limit(choices), limits=Limits(ANY_AREA_MM2))
    costed = exact_fit(same, same.space.random(SAMPLE, np.random.default_rng([seed, 7])))
    return float(costed.metrics["area_mm2"].min())


def _choose(problem: Problem, seed: int, choices: Kind) -> tuple[Problem, Costed, str | None]:
    """The best design of a kind: the problem with that kind alone, the design, why it fits not."""
    same = replace(problem, space=problem.space.limit(choices))
    unlimited = replace(same, limits=Limits(ANY_AREA_MM2))
    generator = np.random.default_rng([seed, 4])
    best = exact_fit(unlimited, best_design(unlimited, problem.limits.area_mm2, generator))
    needed, reason = float(best.metrics["area_mm2"][0]), best.reason[0] or None
    if needed > problem.limits.area_mm2:
        reason = over_budget(needed, problem.limits.area_mm2)
    return same, best, reason


def over_budget(needed_mm2: float, budget_mm2: float) -> str:
    """Why a design over the budget is none: `needs 81,916 mm2, 410 times the budget`."""
    times = needed_mm2 / budget_mm2
    more = f"{times:,.0f}" if times >= 10 else f"{times:.2g}"
    return f"does not fit: needs {units.area(needed_mm2)}, {more} times the budget"


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
