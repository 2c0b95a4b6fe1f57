"""Selection scores over the real experts of a checkpoint, without a forward pass.

One expert matrix a thread is in memory at a time, so a checkpoint of any size takes little memory
and the time of reading it once.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.placement.scores import REGISTER, Score
from dse.simulation.threads import in_threads, shares
from hwmodels.catalog import nearest
from workloads.checkpoint_folder import CheckpointFolder, read_tensors
from workloads.families import PARTS, stored_names

if TYPE_CHECKING:
    import pandas

WEIGHT_SCORES = tuple(name for name, score in REGISTER.items() if score.of_weights)
"""Scores that weights alone decide."""


def checkpoint_scores(
    checkpoint: CheckpointFolder,
    kind: str = "max_neuron_norm",
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Score of every routed expert, [moe_layers, experts]; a high one is worth a digital unit.

    The scores that weights alone decide, as `dse.placement.scores.expert_scores` defines them.
    `progress` is called with (layers done, layers).

    Raises:
        ValueError: another score, or NaN in a tensor, which is named with its file.
    """
    check_weight_score(kind)
    layers = checkpoint.architecture.moe_layer_indices
    rows = []
    for done, layer in enumerate(layers, start=1):
        rows.append(_layer_scores(checkpoint, REGISTER[kind], layer))
        if progress is not None:
            progress(done, len(layers))
    return np.stack(rows)


def check_weight_score(kind: str) -> None:
    """Raise ValueError, with the nearest, unless weights alone decide a score of this name."""
    if kind not in WEIGHT_SCORES:
        hint = nearest(kind, WEIGHT_SCORES)
        why = "needs a forward pass, not only weights" if kind in REGISTER else "is unknown"
        raise ValueError(f"score {kind!r} {why}: choose {' or '.join(WEIGHT_SCORES)}{hint}")


def _layer_scores(checkpoint: CheckpointFolder, score: Score, layer: int) -> NDArray[np.float64]:
    """Scores of one layer's experts, one matrix a thread in memory at a time."""
    family, experts = checkpoint.architecture.family, checkpoint.architecture.routed_experts
    here = f"layers.{layer}"
    if score.of_router is not None:
        ((_, router),) = read_tensors(checkpoint, stored_names(family, f"{here}.router", experts))
        return score.of_router(router.float())
    of_matrix = score.of_matrix
    assert of_matrix is not None
    names = [stored_names(family, f"{here}.experts.{part}", experts) for part in PARTS]
    factors: dict[str, float] = {}

    def read(some: Sequence[str]) -> None:
        for name, matrix in read_tensors(checkpoint, some):
            factors[name] = float(of_matrix(matrix.float()))

    in_threads([partial(read, some) for some in shares([*chain(*names)])])
    return np.prod([[factors[name] for name in one] for one in names], axis=0)


def score_frame(checkpoint: CheckpointFolder, scores: NDArray[np.float64]) -> "pandas.DataFrame":
    """One row a layer: lowest, median and highest score, their variation, and the top expert."""
    import pandas

    return pandas.DataFrame(
        {
            "layer": checkpoint.architecture.moe_layer_indices,
            "lowest": scores.min(axis=1),
            "median": np.median(scores, axis=1),
            "highest": scores.max(axis=1),
            "variation": scores.std(axis=1) / scores.mean(axis=1),
            "top_expert": scores.argmax(axis=1),
        }
    )


def score_document(
    checkpoint: CheckpointFolder, kind: str, scores: NDArray[np.float64]
) -> dict[str, Any]:
    """Every score, for JSON: one list of experts a layer."""
    layers = checkpoint.architecture.moe_layer_indices
    return {
        "checkpoint": str(checkpoint.path),
        "family": checkpoint.architecture.family,
        "score": kind,
        "source": checkpoint.source,
        "layers": [
            {"layer": layer, "scores": row.tolist()}
            for layer, row in zip(layers, scores, strict=True)
        ],
    }
