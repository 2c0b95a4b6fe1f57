"""Fronts against brute force over the definition, hypervolume against inclusion-exclusion."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dse import pareto

points = st.tuples(st.integers(1, 9), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 6).map(float))
)


def brute_force_front(values: np.ndarray) -> list[int]:
    kept: list[int] = []
    for i, row in enumerate(values):
        beaten = any((other <= row).all() and (other < row).any() for other in values)
        repeated = any((values[j] == row).all() for j in range(i))
        if not beaten and not repeated:
            kept.append(i)
    return kept


def inclusion_exclusion(values: np.ndarray, reference: np.ndarray) -> float:
    total = 0.0
    for size in range(1, len(values) + 1):
        for subset in combinations(range(len(values)), size):
            corner = values[list(subset)].max(axis=0)
            total += (-1) ** (size + 1) * float(np.maximum(reference - corner, 0).prod())
    return total


@given(points)
def test_front_is_what_the_definition_says(values: np.ndarray) -> None:
    assert np.flatnonzero(pareto.non_dominated(values)).tolist() == brute_force_front(values)


@given(points)
def test_hypervolume_is_the_volume_of_the_union_of_boxes(values: np.ndarray) -> None:
    reference = np.full(values.shape[1], 5.0)
    expected = inclusion_exclusion(values, reference)
    assert pareto.hypervolume(values, reference) == pytest.approx(expected, abs=1e-9)


@given(points, st.integers(1, 12))
def test_thinning_keeps_the_best_of_each_objective(values: np.ndarray, count: int) -> None:
    front = values[pareto.non_dominated(values)]
    chosen = pareto.thin(front, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(front))
    if count >= front.shape[1]:
        assert (front[chosen].min(axis=0) == front.min(axis=0)).all()


def test_rows_with_missing_values_are_never_on_the_front() -> None:
    values = np.array([[np.nan, 0.0], [1.0, 1.0]])
    assert pareto.non_dominated(values).tolist() == [False, True]


def test_the_knee_of_a_corner_is_the_corner() -> None:
    front = np.array([[0.0, 10.0], [1.0, 1.0], [10.0, 0.0]])
    assert pareto.knee(front) == 1
