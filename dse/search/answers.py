"""The designs that the rule would recommend, sought for their own sake: in silicon, and of all.

The search looks for a front; what the rule prefers is one point of it, and the best of measured
silicon may lie behind a projection, where no front search looks. So the cost side is searched once
more for what is preferred alone, and the simulations that the answer rests on are run.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dse.search.costing import cost
from dse.search.pool import Pool, pool_of
from dse.search.problem import Problem
from dse.search.rule import POINTS_PER_NAT, Judged, Rule, recommend, within_loss
from dse.search.screening import Screening
from dse.search.simulating import simulate as simulated

SILICON = "silicon"
TILES = "has_tiles"
"""Beside the metrics of designs here: whether they have tiles."""
GENERATIONS, CHILDREN, KEPT = 10, 2000, 300
SIMULATIONS = 4
"""At most so many for each answer: the first is most often the last."""


def seek_answers(problem: Problem, screening: Screening, rule: Rule, simulate: bool) -> Pool:
    """Designs around what the rule would choose of silicon, and of all technologies.

    Args:
        simulate: run the simulations that are missing (at most SIMULATIONS for each answer).
    """
    kinds = [str(technology.kind) for technology in problem.technologies]
    silicon = np.array([kind == SILICON for kind in kinds])
    scopes = [np.ones(len(kinds), dtype=bool)]
    if not silicon.all():
        scopes.append(silicon)
    found: Pool | None = None
    for number, scope in enumerate(scopes):
        generator = np.random.default_rng([screening.seed, 6, number])
        pool = _seek(problem, screening, rule, scope, generator)
        for _ in range(SIMULATIONS if simulate else 0):
            code = _missing(screening, rule, pool)
            if code is None:
                break
            screening.results[code] = simulated(problem, code)
        known = pool.take(np.flatnonzero(screening.known(pool)))
        found = known if found is None else found.join(known)
    assert found is not None
    return replace(found, metrics={n: v for n, v in found.metrics.items() if n != TILES})


def _seek(
    problem: Problem,
    screening: Screening,
    rule: Rule,
    scope: NDArray[np.bool_],
    generator: np.random.Generator,
) -> Pool:
    """Generations of designs on the cost side that are best by what the rule prefers."""
    space = problem.space
    technology = space.names.index("technology")
    choices = np.flatnonzero(scope)

    def costed(indices: NDArray[np.int64]) -> Pool:
        if len(choices):
            outside = ~scope[indices[:, technology]]
            indices[outside, technology] = generator.choice(choices, int(outside.sum()))
        else:  # no technology is of this kind: digital designs alone
            digital = space.names.index("digital_expert_fraction")
            modules = space.names.index("analog_modules")
            indices[:, digital] = len(space["digital_expert_fraction"].choices) - 1
            indices[:, modules] = 0
        result = cost(problem, np.unique(indices, axis=0))
        screening.costed += len(result.indices)
        pool = pool_of(result)
        marked = replace(
            pool,
            metrics=pool.metrics | {TILES: np.asarray(result.columns["tiles"] > 0, dtype=float)},
        )
        return marked.take(np.flatnonzero(result.feasible))

    known = screening.pool if screening.archive is None else screening.archive.join(screening.pool)
    pool = costed(np.concatenate([known.indices[:CHILDREN], space.random(CHILDREN, generator)]))
    for _ in range(GENERATIONS):
        if not len(pool):
            return pool
        pool = pool.take(_best_rows(screening, rule, pool))
        parents = pool.indices[generator.integers(0, len(pool), CHILDREN)]
        pool = pool.join(costed(space.mutate(parents, generator)))
    return pool.take(_best_rows(screening, rule, pool))


def _judged(screening: Screening, pool: Pool) -> Judged:
    """Designs as the rule sees them, with the loss predicted where it is not known."""
    loss, _ = screening.losses(pool)
    everything = np.ones(len(pool), dtype=bool)
    return Judged(pool.metrics, loss, POINTS_PER_NAT * loss, pool.metrics[TILES] > 0, everything)


def _best_rows(screening: Screening, rule: Rule, pool: Pool) -> NDArray[np.int64]:
    """Rows of the designs to go on with: the best of all that the rule allows, and of the digital
    ones; without any, those that lose least.
    """
    designs = _judged(screening, pool)
    allowed = within_loss(rule, designs)
    worse = designs.factor(rule.column, 0) if len(pool) else np.zeros(0)
    chosen = []
    for among in (allowed, allowed & ~designs.tiles):
        rows = np.flatnonzero(among)
        chosen.append(rows[np.argsort(worse[rows], kind="stable")[:KEPT]])
    rows = np.unique(np.concatenate(chosen))
    return rows if len(rows) else np.argsort(designs.loss_nats, kind="stable")[:KEPT]


def _missing(screening: Screening, rule: Rule, pool: Pool) -> int | None:
    """Key code whose simulation the rule's choice waits for."""
    if not len(pool):
        return None
    chosen = recommend(rule, _judged(screening, pool))
    if chosen is None:
        return None
    code = int(pool.codes[chosen])
    return None if code in screening.results else code
