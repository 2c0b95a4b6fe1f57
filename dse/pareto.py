"""Fronts: which designs no other beats, how much they cover, which one is the knee.

Pure functions over arrays of shape [designs, objectives] in which smaller is better.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array


def non_dominated(values: Array) -> NDArray[np.bool_]:
    """Mark the designs that no other design beats.

    Args:
        values: [designs, objectives], smaller is better. Rows with NaN never count.

    Returns:
        [designs] True where no other row is at least as good everywhere and better somewhere. Of
        identical rows the first is kept.
    """
    values = np.asarray(values, dtype=float)
    keep = np.zeros(len(values), dtype=bool)
    rows = np.flatnonzero(~np.isnan(values).any(axis=1))
    # In lexicographic order a row can only be beaten by one before it, so each survivor is final.
    rows = rows[np.lexsort(values[rows].T[::-1])] if len(rows) else rows
    while len(rows):
        best, rest = rows[0], rows[1:]
        keep[best] = True
        rows = rest[(values[rest] < values[best]).any(axis=1)]
    return keep


@dataclass(frozen=True)
class DistinctFront:
    """A front of designs that can be told apart.

    Attributes:
        rows: of the designs kept, ascending.
        stands_for: [kept] how many designs, itself included, cannot be told from each.
    """

    rows: NDArray[np.int64]
    stands_for: NDArray[np.int64]


def distinct_front(
    values: Array, tolerance: Array, errors: Array, prefer: Array, first: Sequence[int] = ()
) -> DistinctFront:
    """Thin a front to designs that differ by more than can be told.

    Two values of an objective cannot be told apart within its tolerance plus the root of the sum
    of the squares of their errors. A design covers another that is better by no more than that in
    any objective; two that cover each other are the same. Going from the least sum of objectives
    (each in units of what can be told) to the largest, a design that no earlier one covers becomes
    a centre; then the first of `prefer` among the designs that are the same as a centre takes its
    place, unless it is the same as another one kept.

    Args:
        values: [designs, objectives], smaller is better. Rows with NaN never count.
        tolerance: [objectives].
        errors: [designs, objectives], 0 where a value has none.
        prefer: [designs, keys] what decides between designs that are the same, smallest first.
        first: rows that are kept whatever the others are.

    Returns:
        Every design is covered by a centre, and every centre is the same as one kept, so that no
        design is better than those kept by more than twice what can be told. No two of them are
        the same, those in `first` aside.
    """
    values, errors = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    usable = np.flatnonzero(~np.isnan(values).any(axis=1))

    def better_by(some: NDArray[np.int64], row: int) -> Array:
        """By how much more than can be told the row is better than some, the most of them."""
        margin = tolerance + np.hypot(errors[some], errors[row])
        return np.asarray((values[some] - values[row] - margin).max(axis=1))

    def covers(some: NDArray[np.int64], row: int) -> NDArray[np.bool_]:
        return np.asarray(better_by(some, row) <= 0)

    def same(some: NDArray[np.int64], row: int) -> NDArray[np.bool_]:
        margin = tolerance + np.hypot(errors[some], errors[row])
        return np.asarray((np.abs(values[some] - values[row]) <= margin).all(axis=1))

    unit = tolerance + np.median(np.sqrt(2) * errors[usable], axis=0) if len(usable) else tolerance
    sums = (values[usable] / np.where(unit > 0, unit, 1.0)).sum(axis=1)
    kept = [int(row) for row in first]
    for row in usable[np.argsort(sums, kind="stable")].tolist():
        if not covers(np.array(kept, dtype=np.int64), row).any():
            kept.append(row)
    order = usable[np.lexsort(np.asarray(prefer, dtype=float)[usable].T[::-1])]
    for place in range(len(first), len(kept)):
        others = np.array(kept[:place] + kept[place + 1 :], dtype=np.int64)
        for row in order[same(order, kept[place])].tolist():
            if row == kept[place] or not same(others, row).any():
                kept[place] = row
                break
    rows = np.array(sorted(kept), dtype=np.int64)
    return DistinctFront(
        rows, np.array([same(usable, row).sum() for row in rows.tolist()], dtype=np.int64)
    )


def hypervolume(values: Array, reference: Array) -> float:
    """Volume between a set of designs and a reference point, by slicing the last objective.

    Args:
        values: [designs, objectives], smaller is better; rows beyond the reference add nothing.
        reference: [objectives], the worst corner of the volume.

    Returns:
        The volume that at least one design dominates, in the product of the objectives' units.
    """
    values = np.asarray(values, dtype=float)
    reference = np.asarray(reference, dtype=float)
    inside = values[(values < reference).all(axis=1)]
    return _sliced(inside[non_dominated(inside)], reference) if len(inside) else 0.0


def _sliced(front: Array, reference: Array) -> float:
    """Hypervolume of a non-empty front that lies inside the reference."""
    if front.shape[1] == 1:
        return float(reference[0] - front.min())
    if front.shape[1] == 2:
        # Two objectives need no recursion: the front is a staircase.
        steps = front[np.argsort(front[:, 0])]
        heights = np.minimum.accumulate(steps[:, 1])
        widths = np.diff(np.append(steps[:, 0], reference[0]))
        return float((widths * (reference[1] - heights)).sum())
    order = np.argsort(front[:, -1])
    depths = np.diff(np.append(front[order, -1], reference[-1]))
    volume = 0.0
    for count, depth in enumerate(depths, start=1):
        if depth > 0:
            slab = front[order[:count], :-1]
            if slab.shape[1] > 2:  # a staircase needs no sorting out
                slab = slab[non_dominated(slab)]
            volume += depth * _sliced(slab, reference[:-1])
    return volume


def normalise(values: Array) -> Array:
    """Scale each objective to 0 (best of the set) .. 1 (worst of the set); constant ones to 0."""
    low, high = values.min(axis=0), values.max(axis=0)
    return (values - low) / np.where(high > low, high - low, 1.0)


def knee(front: Array) -> int:
    """Row of the front nearest to its ideal point, each objective scaled to its range."""
    return int(np.argmin(np.linalg.norm(normalise(front), axis=1)))


def thin(front: Array, count: int, keep: tuple[int, ...] = ()) -> list[int]:
    """Choose at most `count` rows that spread over the front.

    Starts from `keep` and the best row of every objective, then adds the row farthest from those
    chosen until `count` is reached.

    Returns:
        Row numbers in ascending order.
    """
    scaled = normalise(front)
    chosen = list(dict.fromkeys((*keep, *(int(row) for row in scaled.argmin(axis=0)))))[:count]
    while len(chosen) < min(count, len(front)):
        distances = np.linalg.norm(scaled[:, None] - scaled[chosen], axis=2).min(axis=1)
        farthest = int(distances.argmax())
        if distances[farthest] == 0:
            break
        chosen.append(farthest)
    return sorted(chosen)
