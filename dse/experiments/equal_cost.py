"""Placements of equal cost compared: which choice of digital experts loses least.

On one machine, each way of choosing is given as many digital experts as it can afford: no more
energy per token and no less throughput than maximum neuron norm, global and per layer, at a given
share. The miniature's experts are placed; each stands for the full model's experts at its relative
position, so that the mask that is simulated is the mask that is costed. What chooses sees the
calibration text only; the judging noise seeds and text are others, the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from dse.cost.evaluate import evaluate
from dse.cost.hardware import System
from dse.cost.workload import Traffic
from dse.metrics import Limits
from dse.placement.experts import digital_mask, digital_order
from dse.placement.scores import expert_scores
from dse.search.problem import Problem
from dse.search.settings import Settings
from dse.search.setup import make_problem, traced_routing
from dse.search.smallest import ANY_AREA_MM2, best_design, exact_fit
from dse.simulation.anchors import published_gains
from dse.simulation.converter_ranges import said, with_ranges
from dse.simulation.measured_sensitivity import expert_sensitivity
from workloads.architecture import load_architecture
from workloads.checkpoint import load_miniature
from workloads.routing import relative_positions

if TYPE_CHECKING:
    import pandas

    from dse.simulation.simulator import Noise, SimulationResult

Mask = NDArray[np.bool_]

RIVALS = (("max_neuron_norm", "global"), ("max_neuron_norm", "per_layer"))
PER_FETCH = "sensitivity_per_fetch"
"""A knapsack of experts, filled by the loss recovered per expected weight fetch: the best within a
budget of memory traffic, but for the last expert."""
OTHERS = (
    ("sensitivity", "global"),
    ("sensitivity", "per_layer"),
    (PER_FETCH, "global"),
    ("activation_frequency", "global"),
    ("activation_weight", "global"),
    ("random", "per_layer"),
)
FIRST_SEED = 1000
"""Of the judging noise; the sensitivity was measured with seeds 0 and 1."""
STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class Machine:
    """One design's hardware with the costs of placements on it.

    Attributes:
        owner: [moe_layers, experts] of the full model: flat index of the miniature's expert.
    """

    problem: Problem
    system: System
    area_mm2: float
    name: str
    owner: NDArray[np.int64]

    def costs(self, order: NDArray[np.int64]) -> tuple[Array, Array]:
        """Energy per token and throughput with 0, 1, ... experts of a miniature's order digital."""
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        full = np.argsort(rank[self.owner].reshape(-1), kind="stable").astype(np.int64)
        sizes = np.bincount(self.owner.reshape(-1), minlength=len(order))[order]
        counts = np.concatenate([[0], np.cumsum(sizes)])
        problem = self.problem
        costs = evaluate(
            problem.architecture,
            problem.routing,
            {("order", "global"): full},
            self.system,
            0,
            counts,
            problem.traffic,
        )
        return np.asarray(costs.energy_j_per_token), np.asarray(costs.throughput_tokens_per_s)


def machine(problem: Problem, noise_model: str) -> Machine:
    """The best machine with these cells whose tiles hold every expert: least energy times time.

    Within the area budget where one fits, else the smallest.
    """
    from hwmodels.technology import load_technology

    cells = [
        str(name)
        for name in problem.space["technology"].choices
        if load_technology(str(name)).noise_model == noise_model
    ]
    if not cells:
        raise ValueError(f"no technology of the search has cells with {noise_model} noise")
    choices: dict[str, Sequence[object]] = {
        "technology": cells,
        "digital_expert_fraction": [0],
        "adc_bits": [8],
        "dac_bits": [8],
        "analog_modules": ["none"],
    }
    anything = replace(problem, space=problem.space.limit(choices), limits=Limits(ANY_AREA_MM2))
    best = best_design(anything, problem.limits.area_mm2, np.random.default_rng(0))
    chosen = exact_fit(anything, best)
    columns, tiles = chosen.columns, int(chosen.columns["tiles"][0])
    layers, experts = problem.routing.probability.shape
    small_layers, small_experts = problem.miniature_shape
    owner = (
        relative_positions(layers, small_layers)[:, None] * small_experts
        + relative_positions(experts, small_experts)[None]
    )
    size = f"{columns['tile_rows'][0]}x{columns['tile_cols'][0]}x{columns['tiers'][0]}"
    return Machine(
        problem,
        chosen.system,
        float(chosen.metrics["area_mm2"][0]),
        f"{tiles} {columns['technology'][0]} {size}",
        owner,
    )


def affordable(costs: tuple[Array, Array], energy: float, throughput: float) -> int:
    """Most experts of an order that can be digital at this energy and throughput."""
    within = (costs[0] <= energy * (1 + 1e-9)) & (costs[1] >= throughput * (1 - 1e-9))
    return int(np.flatnonzero(within).max(initial=0))


@dataclass(frozen=True)
class Comparison:
    """table: one row a share and placement; sentences: what it says, one a share."""

    table: pandas.DataFrame
    sentences: tuple[str, ...]
    machine: Machine
    source: str


def compare_placements(
    settings: Settings,
    noise: Noise,
    shares: Sequence[float] = (0.125, 0.25, 0.5),
    *,
    seeds: int = 16,
    progress: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """Every way of choosing digital experts, at the cost of maximum neuron norm at each share.

    Args:
        settings: model, area budget, traffic and tokens.
        noise: of the judging simulations.
        seeds: noise draws, in antithetic pairs; at least 8.

    Raises:
        ValueError: a share outside 0 to 1, too few seeds, or cells that no technology has.
    """
    import pandas

    from dse.simulation.simulator import Simulator
    from workloads.tasks import benchmarks

    if not shares or not all(0 < share < 1 for share in shares):
        given = ", ".join(f"{share:g}" for share in shares) or "nothing"
        raise ValueError(f"share is {given}: a number between 0 and 1")
    if seeds < 8:
        raise ValueError(f"seeds is {seeds}: at least 8, to tell placements apart")
    load_architecture(settings.model)  # an unknown model is told before anything else
    progress("reading the model and measuring its miniature")
    problem = make_problem(settings, simulate=False)
    found = machine(problem, noise.noise_model)
    scores = score_values(settings, problem.traffic)
    architecture = load_architecture(settings.model)
    miniature = load_miniature(architecture.stand_in)
    test = benchmarks(miniature, tokens=settings.tokens, split="test")
    gains = published_gains(miniature.name)
    simulator = Simulator(
        miniature, test, architecture, seeds=seeds, gains=gains, first_seed=FIRST_SEED
    )
    noise = with_ranges(noise, miniature.name)
    rows: list[dict[str, Any]] = []
    for share in shares:
        masks = masks_at_equal_cost(found, scores, share)
        done: dict[bytes, SimulationResult] = {}
        for name, (mask, _, _) in masks.items():
            progress(f"{100 * share:g} %: {', '.join(name)}")
            if mask.tobytes() not in done:
                placed = mask.reshape(problem.miniature_shape)
                done[mask.tobytes()] = simulator.evaluate(noise, placed)
        rows += _rows(share, masks, done)
    table = pandas.DataFrame(rows)
    sentences = tuple(verdict(table[table["share"] == share]) for share in shares)
    return Comparison(table, sentences, found, f"{miniature.source}; {said(noise)}")


def score_values(settings: Settings, traffic: Traffic) -> dict[str, Array]:
    """Scores of the miniature's experts by name, all from its weights and calibration text."""
    architecture = load_architecture(settings.model)
    miniature = load_miniature(architecture.stand_in)
    routing = traced_routing(miniature)
    measured = expert_sensitivity(miniature, architecture)
    names = {score for score, _ in (*RIVALS, *OTHERS)}
    seed, tokens = settings.seed, max(round(traffic.round_tokens), 1)
    return {
        name: expert_scores(name, miniature.weights, routing, seed, measured, tokens)
        for name in names
    }


def masks_at_equal_cost(
    machine: Machine, scores: dict[str, Array], share: float
) -> dict[tuple[str, str], tuple[Mask, float, float]]:
    """Digital experts of each way of choosing, with energy per token and throughput."""
    shape = machine.problem.miniature_shape
    total = shape[0] * shape[1]
    count = round(share * total)
    orders = {
        (score, scope): digital_order(scores[score], scope) for score, scope in (*RIVALS, *OTHERS)
    }
    costs = {name: machine.costs(order) for name, order in orders.items()}
    energy = min(float(costs[name][0][count]) for name in RIVALS)
    throughput = max(float(costs[name][1][count]) for name in RIVALS)
    masks = {}
    for name, own in costs.items():
        number = count if name in RIVALS else affordable(own, energy, throughput)
        mask = digital_mask(orders[name], number, shape).reshape(-1)
        masks[name] = (mask, float(own[0][number]), float(own[1][number]))
    return masks


def _rows(
    share: float,
    masks: dict[tuple[str, str], tuple[Mask, float, float]],
    done: dict[bytes, SimulationResult],
) -> list[dict[str, Any]]:
    """One row a placement, with its paired loss difference to both rivals."""
    from dse.simulation.simulator import paired_difference

    rows = []
    for (score, scope), (mask, energy, throughput) in masks.items():
        result = done[mask.tobytes()]
        row: dict[str, Any] = {
            "share": share,
            "score": score,
            "scope": scope,
            "digital_expert_fraction": float(mask.mean()),
            "energy_j_per_token": energy,
            "throughput_tokens_per_s": throughput,
            "delta_loss_nats": result.delta_loss,
            "delta_loss_stderr": result.delta_loss_stderr,
            "accuracy": result.accuracy,
            "accuracy_stderr": result.accuracy_stderr,
        }
        for rival in RIVALS:
            difference, error = paired_difference(result, done[masks[rival][0].tobytes()])
            row[f"loss_against_{rival[1]}_nats"] = difference
            row[f"loss_against_{rival[1]}_stderr"] = error
        rows.append(row)
    return rows


def wins(row: Any) -> bool:
    """Whether a placement loses less than both rivals beyond two standard errors."""
    return all(
        row[f"loss_against_{scope}_nats"]
        < -STANDARD_ERRORS * row[f"loss_against_{scope}_stderr"]
        for _, scope in RIVALS
    )  # fmt: skip


def verdict(table: pandas.DataFrame) -> str:
    """What the rows of one share say, in one sentence."""
    share = f"At the cost of {100 * float(table['share'].iloc[0]):g} % digital experts"
    others = table[~table["score"].isin(["max_neuron_norm", "random"])]
    best = others.sort_values("delta_loss_nats", kind="stable").iloc[0]
    winners = [row for _, row in others.iterrows() if wins(row)]
    if winners:
        best = min(winners, key=lambda row: float(row["delta_loss_nats"]))
    name = f"{best['score'].replace('_', ' ')} ({best['scope'].replace('_', ' ')})"
    gaps = " and ".join(
        f"{1e3 * best[f'loss_against_{scope}_nats']:+.2f} ± "
        f"{1e3 * best[f'loss_against_{scope}_stderr']:.2f} mnat against max neuron norm "
        f"{scope.replace('_', ' ')}"
        for _, scope in RIVALS
    )
    if winners:
        return f"{share}, {name} loses less: {gaps}."
    return f"{share}, nothing beats both max neuron norms beyond the error; best is {name}: {gaps}."
