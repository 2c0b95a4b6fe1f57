"""Which experts are computed digitally: scores, orders, masks.

A score says how much an expert deserves to be digital. Experts ranked by one score in one scope
form one order; a placement is how many of its first experts are digital, so placements of one
order are nested. "random" with scope "per_layer" is the layer-matched random baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from hwmodels.catalog import check_name
from workloads.routing import Routing, relative_positions

SCORES = (
    "max_neuron_norm",
    "activation_frequency",
    "activation_weight",
    "router_norm",
    "random",
    "sensitivity",
    "sensitivity_per_fetch",
)
MEASURED = ("sensitivity", "sensitivity_per_fetch")
"""Scores that need the measured sensitivity."""
SCOPES = ("global", "per_layer")


def expert_scores(
    kind: str,
    weights: Mapping[str, Any] | None,
    routing: Routing,
    seed: int = 0,
    sensitivity: Array | None = None,
    tokens: int = 1,
) -> Array:
    """Score of every expert, [moe_layers, experts]; a high one is worth a digital unit.

    Args:
        kind: one of SCORES. `max_neuron_norm`: product over gate, up and down of the largest l2
            norm of a neuron's weight vector (arXiv 2603.02633); `activation_frequency`: share of
            tokens; `activation_weight`: mean routing weight; `router_norm`: l2 norm of the
            expert's routing vector; `random`: drawn by `seed`; `sensitivity`: as measured, given;
            `sensitivity_per_fetch`: that over the chance that a step needs the expert's weights.
        weights: flat dictionary of a decoder's tensors as in `workloads.moe`; only the two norms
            need it.
        routing: the experts' use, of the same layers and experts.
        seed: of the random score.
        sensitivity: loss per expert, [moe_layers, experts], for those scores.
        tokens: of a step, for the last score.

    Raises:
        ValueError: unknown score, or what it needs is not given.
    """
    check_name("placement score", kind, SCORES)
    shape = routing.probability.shape
    if kind == "activation_frequency":
        return routing.probability.copy()
    if kind == "activation_weight":
        return routing.weight.copy()
    if kind == "random":
        return np.random.default_rng(seed).random(shape)
    if kind in MEASURED:
        if sensitivity is None or np.shape(sensitivity) != shape:
            raise ValueError(f"the sensitivity score needs a measurement of shape {shape}")
        if kind == "sensitivity":
            return np.asarray(sensitivity, dtype=float)
        fetched = 1 - (1 - routing.probability) ** tokens
        return np.asarray(sensitivity / np.maximum(fetched, 1e-6), dtype=float)
    if weights is None:
        raise ValueError(f"the score {kind!r} needs the model's weights")
    layers = sorted({int(name.split(".")[1]) for name in weights if name.endswith(".experts.gate")})
    scores = np.stack([_norm_score(kind, weights, layer) for layer in layers])
    if scores.shape != shape:
        raise ValueError(f"weights of {scores.shape} experts, routing of {shape}")
    return scores


def _norm_score(kind: str, weights: Mapping[str, Any], layer: int) -> Array:
    """Norm score of one layer's experts from [experts, outputs, inputs] weights."""
    if kind == "router_norm":
        return np.linalg.norm(_numbers(weights[f"layers.{layer}.router"]), axis=1)
    score = np.ones(())
    for part in ("gate", "up", "down"):
        neurons = np.linalg.norm(_numbers(weights[f"layers.{layer}.experts.{part}"]), axis=2)
        score = score * neurons.max(axis=1)
    return score


def _numbers(tensor: Any) -> Array:
    """A torch tensor or an array as float64."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().double().cpu().numpy()
    return np.asarray(tensor, dtype=float)


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
