"""Sets of designs as the search carries them: choices, costs, and the simulation each needs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from dse.search.costing import Costed
from dse.simulation.result import SIMULATED, Simulated

Results = dict[int, Simulated]
"""What was simulated, by key code."""

Looks = dict[int, dict[str, Any]]
"""First looks by key code (`dse.search.simulating.look`)."""


@dataclass(frozen=True)
class Pool:
    """Designs with what the search needs of them, one entry each."""

    indices: NDArray[np.int64]
    metrics: dict[str, Array]
    codes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: NDArray[Any]) -> "Pool":
        metrics = {name: values[rows] for name, values in self.metrics.items()}
        return Pool(self.indices[rows], metrics, self.codes[rows])

    def join(self, other: "Pool") -> "Pool":
        metrics = {n: np.concatenate([v, other.metrics[n]]) for n, v in self.metrics.items()}
        indices = np.concatenate([self.indices, other.indices])
        rows = np.ascontiguousarray(indices, dtype=np.uint16).view(f"V{2 * indices.shape[1]}")
        _, first = np.unique(rows[:, 0], return_index=True)
        joined = Pool(indices, metrics, np.concatenate([self.codes, other.codes]))
        return joined.take(np.sort(first))


def pool_of(costed: Costed) -> Pool:
    """The part of costed designs that the search carries along."""
    return Pool(costed.indices, costed.metrics, costed.codes)


def simulated_columns(results: Results, codes: NDArray[np.int64]) -> dict[str, Array]:
    """Simulated numbers of designs by column; missing where nothing was simulated."""
    unique, inverse = np.unique(codes, return_inverse=True)
    table = {
        name: np.array([getattr(results.get(code, Simulated()), name) for code in unique.tolist()])
        for name in SIMULATED
    }
    return {name: values[inverse].astype(float) for name, values in table.items()}


def reached(values: Array, points: Array) -> NDArray[np.bool_]:
    """Which points [n, objectives] a value [m, objectives] equals or beats in every objective."""
    within = np.ones((len(points), len(values)), dtype=bool)
    for value, point in zip(values.T, points.T, strict=True):
        within &= value <= point[:, None]
    return np.asarray(within.any(axis=1))
