"""Which simulation is worth its time: cost thousands of designs as arrays, simulate one.

A pool of designs evolves on the cost side alone, where a design costs microseconds. Each gets the
loss of its simulation where that is known and a prediction where it is not. The placement whose
simulation promises the largest gain of the front, summed over every design that would share it,
is simulated next; all those designs are then complete at once.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from dse.arrays import Array
from dse.metrics import objective_values
from dse.pareto import hypervolume, non_dominated
from dse.placement.parts import NO_PARTS
from dse.search import surrogate
from dse.search.costing import cost
from dse.search.pool import Looks, Pool, Results, pool_of, reached, simulated_columns
from dse.search.problem import Problem
from dse.search.simulating import features, look, simulate
from dse.search.simulation_key import CLEAN, least_loss
from dse.search.smallest import nothing_fits, smallest_designs

# A loss increase of 0.05 nats is a perplexity 5 % higher; beyond it the hypervolume counts nothing.
LOSS_REFERENCE_NATS = 0.05
# Quantiles of a normal distribution at the middles of four equal parts.
_QUARTERS = np.array([-1.15, -0.32, 0.32, 1.15])
_POINTS = 1024
_POOL = 2500
_CHILDREN = 3000
_FIRST_GENERATIONS = 12
# Costing a generation takes a hundred milliseconds for a large model, a simulation changes little
# of what is worth costing: one generation every so many proposals.
_EVERY = 12
# After a look at half the text a design counts as beaten when it is this many standard errors of
# the paired difference worse. It never reaches the front with a look alone.
_SURE = 2.0
_ANCHOR = {"digital_expert_fraction": 0, "adc_bits": 8, "dac_bits": 8, "analog_modules": NO_PARTS}


@dataclass
class Screening:
    """The state of one search: the pool, what is known, how much was costed.

    Attributes:
        problem: the question.
        results: simulations by key code, shared with the search loop, which adds to it; the clean
            model's (CLEAN) is made here when it is missing.
        seed: of every random choice here.
        looks: first looks by key code (`dse.search.simulating.look`), of finished simulations too.
        costed: designs costed so far.

    Raises ValueError, one line with the smallest budget that would do, when nothing fits.
    """

    problem: Problem
    results: Results
    seed: int
    looks: Looks = field(default_factory=dict)
    costed: int = 0
    proposed: int = field(init=False, default=0)
    _beaten: set[int] = field(init=False, default_factory=set)
    _differences: dict[tuple[int, int], tuple[float, float]] = field(
        init=False, default_factory=dict
    )
    pool: Pool = field(init=False)
    archive: Pool | None = field(init=False, default=None)
    corner: Array = field(init=False)
    ideal: Array = field(init=False)

    def __post_init__(self) -> None:
        generator = np.random.default_rng([self.seed, 0])
        start = self._cost(self.problem.space.random(4 * _CHILDREN, generator))
        if not len(start):  # a tight budget leaves a corner that few draws reach
            designs, least_mm2 = smallest_designs(self.problem)
            start = self._cost(designs)
            if not len(start):
                raise ValueError(nothing_fits(self.problem, least_mm2))
        self.pool = start
        if CLEAN not in self.results:
            self.results[CLEAN] = simulate(self.problem, CLEAN)
        if CLEAN not in self.looks and (first := look(self.problem, CLEAN)) is not None:
            self.looks[CLEAN] = first
        losses = np.full(len(start), LOSS_REFERENCE_NATS)
        values = self._objectives(start, losses)
        # The corner is set by designs drawn before anything was learnt, so it never moves.
        self.corner = np.quantile(values, 0.9, axis=0)
        self.ideal = np.minimum(values.min(axis=0), self.corner - 1e-6)
        simulated = [wanted.simulated for wanted in self.problem.objectives]
        lossless = self._objectives(start.take(np.arange(1)), np.zeros(1))[0]
        self.ideal[simulated] = lossless[simulated]
        for _ in range(_FIRST_GENERATIONS):
            self.evolve(generator)

    def cost_one(self, design: NDArray[np.int64]) -> tuple[Pool, str, float]:
        """One design [parameters], why it is ruled out (or ""), and by how much."""
        same = np.flatnonzero((self.pool.indices == design).all(axis=1))
        if len(same):  # all in the pool are within the limits
            return self.pool.take(same), "", 0.0
        costed = cost(self.problem, design[None])
        self.costed += 1
        return pool_of(costed), str(costed.reason[0]), float(costed.excess[0])

    def _cost(self, indices: NDArray[np.int64]) -> Pool:
        """Cost designs and keep those that no limit rules out."""
        costed = cost(self.problem, np.unique(indices, axis=0))
        self.costed += len(costed.indices)
        return pool_of(costed).take(np.flatnonzero(costed.feasible))

    def _objectives(self, pool: Pool, loss_nats: Array) -> Array:
        """Objectives of a pool, with simulated metrics estimated from a loss increase."""
        values = dict(pool.metrics)
        for wanted in self.problem.objectives:
            if wanted.simulated:
                values[wanted.column] = self._estimate(wanted.column, loss_nats)
        return objective_values(self.problem.objectives, values)

    def _estimate(self, column: str, loss_nats: Array) -> Array:
        """A simulated metric from the loss increase: itself, or in proportion to it."""
        if column == "delta_loss_nats":
            return loss_nats
        good = [result for result in self.results.values() if not result.failed]
        clean = getattr(self.results[CLEAN], column) if CLEAN in self.results else 1.0
        losses = np.array([result.delta_loss_nats for result in good] or [0.0])
        drops = np.array([clean - getattr(result, column) for result in good] or [0.0])
        # A least-squares line through the clean point; 0.3 a nat until anything is known.
        slope = float(losses @ drops / (losses @ losses)) if losses @ losses > 1e-6 else 0.3
        return np.asarray(clean - slope * loss_nats, dtype=float)

    def known(self, pool: Pool) -> NDArray[np.bool_]:
        """Which designs have a simulated accuracy."""
        good = [code for code, result in self.results.items() if not result.failed]
        return np.isin(pool.codes, np.array(good, dtype=np.int64))

    def complete(self, pool: Pool) -> tuple[Pool, Array]:
        """Designs whose accuracy is known and allowed, with their objective values."""
        chosen = pool.take(np.flatnonzero(self.known(pool)))
        simulated = simulated_columns(self.results, chosen.codes)
        allowed = np.ones(len(chosen), dtype=bool)
        for constraint in self.problem.limits.on_accuracy:
            allowed &= constraint.excess(simulated[constraint.metric.column]) <= 0
        values = objective_values(self.problem.objectives, {**chosen.metrics, **simulated})
        return chosen.take(allowed), values[allowed]

    def losses(self, pool: Pool) -> tuple[Array, Array]:
        """Loss increase of each design (nats) and the standard deviation of its logarithm."""
        codes, inverse = np.unique(pool.codes, return_inverse=True)
        measured = {code: self._looked_at(code) for code in self.looks if code != CLEAN}
        for code, result in self.results.items():
            if not result.failed and code != CLEAN:
                measured[code] = (result.delta_loss_nats, 0.0)
        known = np.array(list(measured), dtype=np.int64)
        median, spread = surrogate.predict(
            features(self.problem, known),
            np.array([loss for loss, _ in measured.values()]),
            features(self.problem, codes),
        )
        for row, code in enumerate(codes.tolist()):
            if code in measured:
                median[row], spread[row] = measured[code]
            elif code == CLEAN or code in self.results:
                median[row], spread[row] = 0.0 if code == CLEAN else np.nan, 0.0
        return median[inverse], spread[inverse]

    def _looked_at(self, code: int) -> tuple[float, float]:
        """Loss increase (nats) that a look found, and the standard deviation of its logarithm."""
        loss, error = self._difference(code, CLEAN)
        loss = max(loss, surrogate.RESOLUTION_NATS / 10)
        return loss, min(error / loss, 1.0)

    def _difference(self, code: int, other: int) -> tuple[float, float]:
        """Loss of one look less that of another (nats), and its standard error, paired."""
        pair = (code, other)
        if pair not in self._differences:
            first, second = (np.array(self.looks[key]["loss"]) for key in pair)
            self._differences[pair] = surrogate.mean_and_error(first - second)
        return self._differences[pair]

    def beaten(self, code: int, proposed: Pool | None = None) -> bool:
        """Whether a look suffices: all designs that would share the simulation are surely beaten.

        A design is, when a complete one costs no more in any objective and its loss, on the same
        tokens and noise draws, is smaller by `_SURE` standard errors of the difference.

        Args:
            code: a key that was looked at.
            proposed: a design of that key which is not in the pool.
        """
        sharing = self.pool.take(np.flatnonzero(self.pool.codes == code))
        if proposed is not None:
            sharing = sharing.join(proposed)
        front, _ = self._front()
        if not len(front):
            return False
        surely = []
        for other in front.codes.tolist():
            mean, error = self._difference(code, other) if other in self.looks else (0.0, 1.0)
            surely.append(mean > _SURE * error)
        cheaper = self._costs(front.take(np.flatnonzero(np.array(surely, dtype=bool))))
        beaten = bool(reached(cheaper, self._costs(sharing)).all())
        if beaten:
            self._beaten.add(code)
        return beaten

    def _front(self) -> tuple[Pool, Array]:
        """Complete designs, at least all those on the front, and their objective values."""
        return self.complete(self.pool if self.archive is None else self.archive)

    def _costs(self, pool: Pool) -> Array:
        """The objectives that need no simulation, [designs, objectives]."""
        wanted = tuple(w for w in self.problem.objectives if not w.simulated)
        if not wanted:
            return np.zeros((len(pool), 0))
        return objective_values(wanted, pool.metrics)

    def evolve(self, generator: np.random.Generator) -> None:
        """One generation: neighbours of the pool and newcomers; the best by estimate survive."""
        space = self.problem.space
        parents = self.pool.indices[generator.integers(0, len(self.pool), _CHILDREN)]
        newcomers = space.random(_CHILDREN // 6, generator)
        children = self._cost(np.concatenate([space.mutate(parents, generator), newcomers]))
        joined = self.pool.join(children)
        if self.archive is not None:
            joined = joined.join(self.archive)
        # By a hopeful estimate: what is merely uncertain must stay in the pool to be simulated.
        median, spread = self.losses(joined)
        values = self._objectives(joined, np.round(median * np.exp(-spread), 4))
        front = np.flatnonzero(non_dominated(values))
        if len(front) > _POOL:
            front = generator.choice(front, _POOL, replace=False)
        self.pool = joined.take(np.sort(front))

    def front_hypervolume(self) -> float:
        """Share of the box between the corner and the ideal that complete designs dominate.

        Keeps those designs in `archive`, so that the front never shrinks when the pool moves on.
        """
        joined = self.pool if self.archive is None else self.archive.join(self.pool)
        complete, values = self.complete(joined)
        front = np.flatnonzero(non_dominated(values))
        self.archive = complete.take(front)
        return self.hypervolume(values[front])

    def remember(self, indices: NDArray[np.int64]) -> None:
        """Put designs of an earlier session [designs, parameters] into the pool."""
        if len(indices):
            self.pool = self.pool.join(self._cost(indices))

    def refine(self, generations: int = 12) -> Pool:
        """Last look at the cost side: neighbours of the front that share its simulations.

        Returns:
            Designs with a known accuracy, the front among them.
        """
        generator = np.random.default_rng([self.seed, 3])
        self.front_hypervolume()
        best = self.pool if self.archive is None else self.archive
        seen = best
        if not len(best):
            return best
        for _ in range(generations):
            parents = best.indices[generator.integers(0, len(best), _CHILDREN)]
            children = self._cost(self.problem.space.mutate(parents, generator))
            seen = seen.join(children.take(self.known(children)))
            best, values = self.complete(best.join(children))
            best = best.take(np.flatnonzero(non_dominated(values)))
        self.archive = best
        return seen

    def hypervolume(self, values: Array) -> float:
        """Hypervolume of objective values as a share of the box from the corner to the ideal."""
        if not len(values):
            return 0.0
        scaled = (np.maximum(values, self.ideal) - self.ideal) / (self.corner - self.ideal)
        return hypervolume(scaled, np.ones(scaled.shape[1]))

    def propose(self, number: int, pending: frozenset[int] = frozenset()) -> NDArray[np.int64]:
        """The design whose simulation promises most.

        Args:
            number: of the trial; with the seed it fixes every random choice.
            pending: key codes that other workers are simulating.

        Returns:
            Choice numbers [parameters].
        """
        generator = np.random.default_rng([self.seed, 1, number])
        if self.proposed % _EVERY == 0:
            self.evolve(generator)
            looked = [code for code in self.looks if code not in self.results]
            self._beaten = {code for code in looked if self.beaten(code)}
        self.proposed += 1
        candidates = self._candidates(pending)
        if not len(candidates):  # nothing costed could move the front: try a neighbour of it
            near = self.pool.indices[generator.integers(0, len(self.pool), 1)]
            return np.asarray(self.problem.space.mutate(near, generator)[0])
        median, spread = self.losses(candidates)
        _, first, inverse = np.unique(candidates.codes, return_index=True, return_inverse=True)
        gains, of_design = self._gains(candidates, inverse, median[first], spread[first])
        best = int(gains.argmax())
        if gains[best] == 0:  # nothing promises a gain: look where least is known
            best = int(inverse[spread.argmax()])
        members = np.flatnonzero(inverse == best)
        return np.asarray(candidates.indices[members[of_design[members].argmax()]])

    def _candidates(self, pending: frozenset[int]) -> Pool:
        """Designs of the pool whose simulation could still move the front."""
        done = [*self.results, *self._beaten, *pending, CLEAN]
        unknown = self.pool.take(np.flatnonzero(~np.isin(self.pool.codes, done)))
        return unknown.take(np.flatnonzero(~self.hopeless(unknown)))

    def anchors(self) -> NDArray[np.int64]:
        """Designs to begin with [n, parameters]: for each kind of cell, every expert analog.

        With 8-bit converters where the space has them; of those that fit, the one with the least
        energy per token over throughput. They tell what the cells alone cost. Made from the pool,
        where the rest of a design is good already, and put into it.
        """
        problem = self.problem
        space, generator = problem.space, np.random.default_rng([self.seed, 5])
        indices = self.pool.indices[generator.integers(0, len(self.pool), _CHILDREN)]
        technology = space.names.index("technology")
        indices[:, technology] = space.random(_CHILDREN, generator)[:, technology]
        for name, wanted in _ANCHOR.items():
            choices = list(space[name].choices)
            if wanted in choices:
                indices[:, space.names.index(name)] = choices.index(wanted)
        costed = cost(problem, np.unique(indices, axis=0))
        self.costed += len(costed.indices)
        usable = costed.feasible & (costed.codes != CLEAN)
        product = costed.metrics["energy_j_per_token"] / costed.metrics["throughput_tokens_per_s"]
        kinds = problem.keys.unpack(costed.codes)["noise_model"]
        found = []
        for kind in np.unique(kinds[usable]):
            rows = np.flatnonzero(usable & (kinds == kind))
            # Most analog experts first; energy over throughput among equals.
            order = np.lexsort((product[rows], costed.columns["digital_experts"][rows]))
            found.append(rows[order[0]])
        chosen = pool_of(costed).take(np.array(found, dtype=np.int64))
        self.pool = self.pool.join(chosen)
        return chosen.indices

    def _gains(
        self, candidates: Pool, key: NDArray[np.int64], median: Array, spread: Array
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many sample points of the box the front would win by each simulation.

        Points that designs of a key reach by cost are won at those of four quantiles of its loss
        that are small enough.

        Args:
            key: [candidates] row of its key in `median` and `spread` [keys].

        Returns:
            Points by key, summed over the quantiles; points that a candidate reaches by cost.
        """
        _, values = self._front()
        points = self.ideal + _sobol(len(self.corner)) * (self.corner - self.ideal)
        front = values[non_dominated(values)]
        points = points[~reached(front, points)]
        simulated = np.array([wanted.simulated for wanted in self.problem.objectives])
        by_cost = np.ones((len(candidates), len(points)), dtype=bool)
        for column, point in zip(self._costs(candidates).T, points[:, ~simulated].T, strict=True):
            by_cost &= column[:, None] <= point
        order = np.argsort(key, kind="stable")
        starts = np.searchsorted(key[order], np.arange(len(median)))
        by_key = np.logical_or.reduceat(by_cost[order], starts, axis=0)
        one_each = candidates.take(order[starts])
        gains = np.zeros(len(median), dtype=np.int64)
        for quantile in _QUARTERS:
            guess = self._objectives(one_each, median * np.exp(quantile * spread))[:, simulated]
            good = (guess[:, None] <= points[None, :, simulated]).all(axis=2)
            gains += (by_key & good).sum(axis=1)
        return gains, by_cost.sum(axis=1)

    def hopeless(self, pool: Pool) -> NDArray[np.bool_]:
        """Designs that known ones beat even at the least loss that they could have.

        The least loss is that of a simulated placement with cleaner converters and more digital
        experts, all else equal, less two standard errors; nothing below zero.
        """
        _, values = self._front()
        estimated = any(
            wanted.simulated and wanted.column != "delta_loss_nats"
            for wanted in self.problem.objectives
        )
        if estimated or not len(values):  # accuracies have no such bound
            return np.zeros(len(pool), dtype=bool)
        least = self._objectives(pool, least_loss(self.problem.keys, pool.codes, self.results))
        return reached(values, least)


@lru_cache(maxsize=8)
def _sobol(objectives: int) -> Array:
    """Sample points of the unit box."""
    return np.asarray(qmc.Sobol(objectives, seed=0).random(_POINTS))
