"""Designs with just enough tiles, and the smallest of them: what a tight budget still allows.

And the line that says so, where nothing fits.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dse import units
from dse.arrays import Array
from dse.cost.hardware import System
from dse.cost.mapping import layouts, model_shape, placeable_parts
from dse.cost.workload import Traffic
from dse.metrics import Constraint, Limits
from dse.placement.parts import read_parts
from dse.search.costing import Costed, cost, cost_system, tile_and_accelerator
from dse.search.problem import Problem
from dse.search.settings import Settings
from workloads.architecture import MoEArchitecture
from workloads.routing import Routing

SAMPLE, ROUNDS = 6000, 8
ANY_AREA_MM2 = 1e9


def exact_fit(problem: Problem, indices: NDArray[np.int64]) -> Costed:
    """Cost designs with just as many tiles as their placement needs, whatever the budget."""
    columns = problem.space.values(indices)
    technology_index = indices[:, problem.space.names.index("technology")]
    tile, accelerator = tile_and_accelerator(problem, columns, technology_index)
    shape = model_shape(problem.architecture)
    laid = layouts(shape, tile, dict.fromkeys(problem.dense_parts, True))
    digital = np.ceil(columns["digital_expert_fraction"] * problem.experts - 1e-9).astype(int)
    needed = (problem.experts - digital) * laid["routed_expert"].blocks
    modules = columns["analog_modules"]
    for part in shape.parts:
        if part.name in problem.dense_parts:
            analog = np.array([part.name in read_parts(str(text)) for text in modules])
            needed = needed + np.where(analog, laid[part.name].blocks, 0)
    dies = columns["dies"]
    columns["tiles"] = (np.ceil(needed / columns["tiers"] / dies) * dies).astype(int)
    system = System(tile, columns["tiles"], accelerator, dies)
    return cost_system(problem, indices, columns, system, technology_index)


def ranked(costed: Costed, budget_mm2: float) -> Array:
    """Designs by least energy per token over throughput within a budget: smaller is better.

    Where none fits, by area; of those that could not be built at any area, if all are.
    """
    area = costed.metrics["area_mm2"]
    product = costed.metrics["energy_j_per_token"] / costed.metrics["throughput_tokens_per_s"]
    fits = costed.feasible & (area <= budget_mm2)
    if fits.any():
        return np.where(fits, product, np.inf)
    could = costed.feasible if costed.feasible.any() else costed.costs.memory_fits
    return np.where(could, area, np.inf)


def best_design(
    problem: Problem, budget_mm2: float, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Choices [1, parameters] of the best design by `ranked` that a search by mutation finds."""
    indices = problem.space.random(SAMPLE, generator)
    for _ in range(ROUNDS):
        order = np.argsort(ranked(exact_fit(problem, indices), budget_mm2), kind="stable")[:50]
        best = indices[order]
        near = problem.space.mutate(np.repeat(best, 40, axis=0), generator, rate=0.3)
        indices = np.concatenate([best, near])
    return best[:1]


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
    for _ in range(ROUNDS):
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


def _usual_reason(problem: Problem) -> str:
    """Why most designs that hold the model are ruled out at any area."""
    unlimited = replace(problem, limits=Limits(ANY_AREA_MM2))
    indices = problem.space.random(SAMPLE, np.random.default_rng(0))
    costed = exact_fit(unlimited, indices)
    reasons, counts = np.unique(costed.reason[costed.costs.memory_fits], return_counts=True)
    return str(reasons[counts.argmax()]) if len(reasons) else ""


def nothing_fits(problem: Problem, least_mm2: float) -> str:
    """One line for a question that no design answers, with the smallest budget that would.

    Args:
        least_mm2: the least area that `smallest_designs` found.
    """
    if not np.isfinite(least_mm2) and not problem.limits.constraints:
        if (reason := _usual_reason(problem)).endswith("heat away"):
            return f"{reason} from any of {SAMPLE:,} designs tried: choose cold-plate or none"
        traffic = problem.traffic
        return (
            f"{problem.architecture.title} with a cache of {traffic.concurrency} x "
            f"{traffic.held_context} tokens does not fit the memory of any accelerator here: take "
            "a smaller concurrency or context, or let hbm_stacks and dies go higher"
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


def refuse_small_budget(settings: Settings, architecture: MoEArchitecture) -> None:
    """Say at once that nothing fits the area, from costs alone, before anything is simulated.

    Neither areas nor what fits memory and edges depend on how tokens are routed, so that an even
    routing does; heat and constraints, which may, are left to the search.

    Raises:
        ValueError: one line with the smallest budget that would do.
    """
    shape = (architecture.moe_layers, architecture.routed_experts)
    even = np.full(shape, architecture.experts_per_token / architecture.routed_experts)
    space = settings.space().for_parts(placeable_parts(architecture, None))
    orders = {
        (str(score), str(scope)): np.arange(even.size)
        for score in space["placement_score"].choices[:1]
        for scope in space["placement_scope"].choices[:1]
    }
    problem = Problem(
        architecture=architecture,
        routing=Routing(even, np.zeros(shape), "even"),
        space=space,
        traffic=Traffic(
            settings.concurrency, settings.context, settings.prompt, settings.output_tokens
        ),
        cooling="none",
        limits=Limits(settings.budget_area_mm2),
        objectives=settings.metrics,
        scores={},
        orders=orders,
        miniature_orders=orders,
        miniature_shape=shape,
        simulator=None,
    )
    if cost(problem, space.random(SAMPLE, np.random.default_rng(0))).feasible.any():
        return
    _, least_mm2 = smallest_designs(problem)
    if least_mm2 > settings.budget_area_mm2:
        raise ValueError(nothing_fits(problem, least_mm2))
