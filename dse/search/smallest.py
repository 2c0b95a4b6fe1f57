"""Designs with just enough tiles, and the smallest of them: what a tight budget still allows.

And the line that says so, where nothing fits.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dse import units
from dse.cost.hardware import System
from dse.cost.mapping import blocks, model_shape
from dse.metrics import Constraint, Limits
from dse.placement.parts import read_parts
from dse.search.costing import Costed, cost, cost_system, tile_and_accelerator
from dse.search.problem import Problem

SAMPLE = 6000
ANY_AREA_MM2 = 1e9


def exact_fit(problem: Problem, indices: NDArray[np.int64]) -> Costed:
    """Cost designs with just as many tiles as their placement needs, whatever the budget."""
    columns = problem.space.values(indices)
    technology_index = indices[:, problem.space.names.index("technology")]
    tile, accelerator = tile_and_accelerator(problem, columns, technology_index)
    shape = model_shape(problem.architecture)
    rows, cols = columns["tile_rows"], columns["tile_cols"]
    digital = np.ceil(columns["digital_expert_fraction"] * problem.experts - 1e-9).astype(int)
    needed = (problem.experts - digital) * blocks(shape.expert_shapes, rows, cols)
    modules = columns["analog_modules"]
    for part in shape.parts:
        if part.name in problem.dense_parts:
            analog = np.array([part.name in read_parts(str(text)) for text in modules])
            needed = needed + np.where(analog, blocks(part.shapes, rows, cols), 0)
    columns["tiles"] = np.ceil(needed / columns["tiers"]).astype(int)
    system = System(tile, columns["tiles"], accelerator)
    return cost_system(problem, indices, columns, system, technology_index)


def best_row(costed: Costed, budget_mm2: float) -> tuple[int, bool]:
    """The design of least energy per token over throughput within a budget, and whether any fits.

    Where none does, the smallest.
    """
    area = costed.metrics["area_mm2"]
    product = costed.metrics["energy_j_per_token"] / costed.metrics["throughput_tokens_per_s"]
    fits = costed.feasible & (area <= budget_mm2)
    any_fits = bool(fits.any())
    rank = np.where(fits, product, np.inf) if any_fits else np.where(costed.feasible, area, np.inf)
    return int(rank.argmin()), any_fits


def smallest_designs(problem: Problem) -> tuple[NDArray[np.int64], float]:
    """Choices of the fifty smallest designs that meet every limit but the area, and the least area.

    They take all of the area that the budget leaves for tiles, so that the smallest one fits a
    budget of its own area. The area is infinite when no design meets the other limits at any.
    """
    unlimited = replace(problem, limits=Limits(ANY_AREA_MM2, problem.limits.constraints))
    generator = np.random.default_rng(0)
    indices = problem.space.random(SAMPLE, generator)
    share = problem.space.names.index("tiles_share")
    full = int(np.argmax(problem.space.parameters[share].choices))
    best, least = indices[:0], np.inf
    for _ in range(8):
        indices[:, share] = full
        costed = exact_fit(unlimited, indices)
        area = np.where(costed.feasible, costed.metrics["area_mm2"], np.inf)
        order = np.argsort(area, kind="stable")[:50]
        best, least = indices[order], min(least, float(area[order[0]]))
        indices = np.concatenate(
            [best, problem.space.mutate(np.repeat(best, 40, axis=0), generator, rate=0.3)]
        )
    return best, least


def out_of_reach(problem: Problem) -> list[Constraint]:
    """Constraints on cost that no design tried within the area meets, each with the best value.

    A sample of the space, so that a somewhat better value may exist.
    """
    roomy = replace(problem, limits=Limits(problem.limits.area_mm2))
    costed = cost(roomy, problem.space.random(SAMPLE, np.random.default_rng(0)))
    found = []
    for constraint in problem.limits.on_cost[1:]:
        values = costed.metrics[constraint.metric.column][costed.feasible]
        values = values[np.isfinite(values)]
        if len(values) and (constraint.excess(values) > 0).all():
            best = values.min() if constraint.at_most else values.max()
            found.append(replace(constraint, bound=float(best)))
    return found


def round_up_mm2(least_mm2: float) -> float:
    """An area as a budget: rounded up to 0.1 mm2."""
    return float(np.ceil(least_mm2 * 10 + 1e-6) / 10)


def nothing_fits(problem: Problem, least_mm2: float) -> str:
    """One line for a question that no design answers, with the smallest budget that would.

    Args:
        least_mm2: the least area that `smallest_designs` found.
    """
    if not np.isfinite(least_mm2) and not problem.limits.constraints:
        workload = problem.workload
        return (
            f"{problem.architecture.title} with a cache of {workload.batch} x {workload.context} "
            "tokens does not fit the memory of any accelerator here: take a smaller batch or "
            "context, or let hbm_stacks go higher"
        )
    smallest = round_up_mm2(least_mm2)
    if problem.limits.area_mm2 < smallest < np.inf:
        return (
            f"nothing fits in {units.area(problem.limits.area_mm2)}: the smallest budget that "
            f"works for {problem.architecture.title} here is {units.area(smallest)}"
        )
    line = f"no design meets all of: {', '.join(map(str, problem.limits.on_cost))}"
    nearest = ", ".join(map(str, out_of_reach(problem)))
    return f"{line}; {SAMPLE:,} designs tried come no nearer than {nearest}" if nearest else line
