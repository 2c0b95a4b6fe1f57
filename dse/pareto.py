"""Fronts: which designs no other beats, how much they cover, which one is the knee.

Pure functions over arrays of shape [designs, objectives] in which smaller is better.
"""

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
