"""The selection scores: what makes an expert worth a digital unit.

Each is one entry of `REGISTER`: its name, its formula, and what the formula needs. Miniatures and
checkpoints are scored by the same formulas; a new score is a new entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dse.arrays import Array
from hwmodels.catalog import check_name
from workloads.routing import Routing

EXPERT_PARTS = ("gate", "up", "down")
"""The matrices of an expert."""


@dataclass(frozen=True)
class Observed:
    """What is known of a model's experts besides their weights.

    Attributes:
        routing: how often each is used.
        tokens: of a step.
        sensitivity: measured loss that each adds in analog [moe_layers, experts], where known.
        seed: of random scores.
    """

    routing: Routing
    tokens: int = 1
    sensitivity: Array | None = None
    seed: int = 0


@dataclass(frozen=True)
class Score:
    """One score; a high one is worth a digital unit. Of the three formulas it has one.

    Attributes:
        of_matrix: of weights [..., outputs, inputs], one number a matrix [...]; an expert has the
            product over gate, up and down.
        of_router: of the routing vectors [experts, inputs], one number an expert.
        of_use: of what was observed, [moe_layers, experts].
        measured: whether it needs the measured sensitivity of a miniature.
        searched: whether a search tries it unasked.
    """

    name: str
    of_matrix: Callable[[Any], Array] | None = None
    of_router: Callable[[Any], Array] | None = None
    of_use: Callable[[Observed], Array] | None = None
    measured: bool = False
    searched: bool = True

    @property
    def of_weights(self) -> bool:
        """Whether weights alone decide it."""
        return self.of_use is None


def row_norms(matrix: Any) -> Array:
    """l2 norm of the weights of each output neuron [..., outputs]; of an array or a tensor."""
    return np.asarray((matrix * matrix).sum(-1) ** 0.5, dtype=float)


def largest_row_norm(matrix: Any) -> Array:
    """Largest l2 norm of an output neuron's weights (arXiv 2603.02633, maximum neuron norm)."""
    return np.asarray(row_norms(matrix).max(-1))


def _random(observed: Observed) -> Array:
    return np.random.default_rng(observed.seed).random(observed.routing.probability.shape)


def _sensitivity(observed: Observed) -> Array:
    shape = observed.routing.probability.shape
    if observed.sensitivity is None or np.shape(observed.sensitivity) != shape:
        raise ValueError(f"the sensitivity score needs a measurement of shape {shape}")
    return np.asarray(observed.sensitivity, dtype=float)


def _sensitivity_per_fetch(observed: Observed) -> Array:
    """Sensitivity over the chance that a step needs the expert's weights."""
    fetched = 1 - (1 - observed.routing.probability) ** observed.tokens
    return np.asarray(_sensitivity(observed) / np.maximum(fetched, 1e-6))


REGISTER = {
    score.name: score
    for score in (
        Score("max_neuron_norm", of_matrix=largest_row_norm),
        Score("activation_frequency", of_use=lambda observed: observed.routing.probability.copy()),
        Score("activation_weight", of_use=lambda observed: observed.routing.weight.copy()),
        Score("router_norm", of_router=row_norms),
        # The control of a comparison.
        Score("random", of_use=_random, searched=False),
        Score("sensitivity", of_use=_sensitivity, measured=True),
        # Not told apart from the plain one in decoding a batch.
        Score(
            "sensitivity_per_fetch", of_use=_sensitivity_per_fetch, measured=True, searched=False
        ),
    )
}


def score_named(name: str) -> Score:
    """The score of a name.

    Raises:
        ValueError: unknown; the line names the nearest.
    """
    check_name("placement score", name, tuple(REGISTER))
    return REGISTER[name]


def expert_scores(
    name: str,
    weights: Mapping[str, Any] | None,
    routing: Routing,
    seed: int = 0,
    sensitivity: Array | None = None,
    tokens: int = 1,
) -> Array:
    """Score of every expert, [moe_layers, experts].

    Args:
        name: of the score.
        weights: flat dictionary of a decoder's tensors as in `workloads.moe`, with the experts of
            a layer in one; only scores of weights need it.
        routing, seed, sensitivity, tokens: see `Observed`.

    Raises:
        ValueError: unknown score, or what it needs is not given.
    """
    score = score_named(name)
    if score.of_use is not None:
        return score.of_use(Observed(routing, tokens, sensitivity, seed))
    if weights is None:
        raise ValueError(f"the score {name!r} needs the model's weights")
    scores = weight_scores(score, weights)
    if scores.shape != routing.probability.shape:
        expected = routing.probability.shape
        raise ValueError(f"weights of {scores.shape} experts, routing of {expected}")
    return scores


def weight_scores(score: Score, weights: Mapping[str, Any]) -> Array:
    """A score that weights alone decide, of all experts [moe_layers, experts]."""
    layers = sorted({int(key.split(".")[1]) for key in weights if key.endswith(".experts.gate")})
    return np.stack([_layer_score(score, weights, f"layers.{layer}") for layer in layers])


def _layer_score(score: Score, weights: Mapping[str, Any], layer: str) -> Array:
    """Score of weights of one layer's experts."""
    if score.of_router is not None:
        return score.of_router(_numbers(weights[f"{layer}.router"]))
    assert score.of_matrix is not None
    product: Array = np.ones(())
    for part in EXPERT_PARTS:
        product = product * score.of_matrix(_numbers(weights[f"{layer}.experts.{part}"]))
    return product


def _numbers(tensor: Any) -> Array:
    """A torch tensor or an array as float64."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().double().cpu().numpy()
    return np.asarray(tensor, dtype=float)
