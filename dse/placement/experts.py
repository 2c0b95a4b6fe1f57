"""Which experts are computed digitally: scores, orders, masks.

A score says how much an expert deserves to be digital. Experts ranked by one score in one scope
form one order; a placement is how many of its first experts are digital, so placements of one
order are nested. "random" with scope "per_layer" is the layer-matched random baseline.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from hwmodels.catalog import check_name
from workloads.routing import relative_positions

SCOPES = ("global", "per_layer")


def digital_order(scores: Array, scope: str) -> NDArray[np.int64]:
    """Experts from most to least digital-worthy, as flat indices layer * experts + expert.

    Args:
        scores: [moe_layers, experts], finite.
        scope: "global" ranks all experts together; "per_layer" takes one of every layer in turn,
            so that any prefix holds equally many of each layer, give or take one. Equal scores
            keep their order.

    Returns:
        A permutation of moe_layers * experts.
    """
    check_name("placement scope", scope, SCOPES)
    if not np.all(np.isfinite(scores)):
        raise ValueError("expert scores must be finite")
    if scope == "global":
        return np.argsort(-scores.reshape(-1), kind="stable").astype(np.int64)
    layers, experts = scores.shape
    ranked = np.argsort(-scores, axis=1, kind="stable")
    # Which layers a last, incomplete round takes: those spread evenly over the depth first.
    turn = np.argsort((np.arange(layers) * 0.6180339887498949) % 1.0, kind="stable")
    flat = turn[:, None] * experts + ranked[turn]
    return flat.T.reshape(-1).astype(np.int64)


def digital_mask(order: NDArray[np.int64], count: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The first `count` experts of `order` as a mask [moe_layers, experts], True = digital."""
    if not 0 <= count <= len(order) or len(order) != shape[0] * shape[1]:
        raise ValueError(f"{count} digital experts of an order of {len(order)} for shape {shape}")
    mask = np.zeros(shape[0] * shape[1], dtype=bool)
    mask[order[:count]] = True
    return mask.reshape(shape)


def stretch(scores: Array, moe_layers: int, experts: int) -> Array:
    """A miniature's scores for a full model, by relative depth and relative expert position.

    The same map as `workloads.routing.resample`: an expert's score and load stay together.
    """
    layers = relative_positions(moe_layers, scores.shape[0])
    columns = relative_positions(experts, scores.shape[1])
    return scores[np.ix_(layers, columns)]
