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


TOLERANCE = 1.0
noisy = st.tuples(st.integers(1, 9), st.integers(1, 3)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float64, shape, elements=st.integers(0, 8).map(float)),
        arrays(np.float64, shape, elements=st.integers(0, 2).map(float)),
        arrays(np.float64, (shape[0], 1), elements=st.integers(0, 5).map(float)),
    )
)


def told_apart(values: np.ndarray, errors: np.ndarray, a: int, b: int) -> bool:
    """Whether two designs differ in some objective by more than can be told."""
    return any(
        abs(values[a, k] - values[b, k])
        > TOLERANCE + (errors[a, k] ** 2 + errors[b, k] ** 2) ** 0.5
        for k in range(values.shape[1])
    )


def distinct(values: np.ndarray, errors: np.ndarray, area: np.ndarray) -> pareto.DistinctFront:
    return pareto.distinct_front(values, np.full(values.shape[1], TOLERANCE), errors, area)


@given(noisy)
def test_no_two_designs_of_a_distinct_front_are_the_same(drawn) -> None:
    values, errors, area = drawn
    front = distinct(values, errors, area)
    assert all(told_apart(values, errors, a, b) for a, b in combinations(front.rows.tolist(), 2))
    for row, count in zip(front.rows, front.stands_for, strict=True):
        assert count == sum(not told_apart(values, errors, row, b) for b in range(len(values)))


@given(noisy)
def test_no_design_is_better_than_a_distinct_front_by_twice_what_can_be_told(drawn) -> None:
    values, errors, area = drawn
    front = distinct(values, errors, area)
    most = 2 * (TOLERANCE + np.sqrt(2) * errors.max(axis=0))
    for row in range(len(values)):
        assert any((values[one] <= values[row] + most).all() for one in front.rows)


@given(points)
def test_without_a_tolerance_a_distinct_front_is_the_front(values: np.ndarray) -> None:
    zero = np.zeros(values.shape[1])
    front = pareto.distinct_front(values, zero, np.zeros(values.shape), np.zeros((len(values), 1)))
    assert front.rows.tolist() == brute_force_front(values)


def test_area_decides_between_designs_that_are_the_same() -> None:
    # The first three lie within the tolerance of each other, the fourth is another trade, the
    # fifth is beaten by the fourth in one objective and no better in the other than can be told.
    values = np.array([[0.0, 9.0], [0.5, 9.5], [0.9, 9.0], [5.0, 2.0], [7.0, 1.5]])
    area = np.array([[200.0], [131.0], [150.0], [160.0], [90.0]])
    front = distinct(values, np.zeros((5, 2)), area)
    assert front.rows.tolist() == [1, 3]
    assert front.stands_for.tolist() == [3, 1]


def test_rows_asked_for_stay_on_a_distinct_front_and_missing_values_do_not() -> None:
    values = np.array([[0.0], [5.0], [np.nan]])
    nothing = np.zeros((3, 1))
    front = pareto.distinct_front(values, np.ones(1), nothing, nothing, first=(1,))
    assert front.rows.tolist() == [0, 1]
