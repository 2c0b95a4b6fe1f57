"""Selection scores over the real experts of a checkpoint, without a forward pass.

One expert matrix is in memory at a time, so a checkpoint of any size takes little memory and the
time of reading it once.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dse.placement.experts import SCORES
from hwmodels.catalog import nearest
from workloads.checkpoint_folder import CheckpointFolder, read_tensors
from workloads.families import PARTS, stored_names

if TYPE_CHECKING:
    import pandas

WEIGHT_SCORES = ("max_neuron_norm", "router_norm")


def checkpoint_scores(
    checkpoint: CheckpointFolder,
    kind: str = "max_neuron_norm",
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Score of every routed expert, [moe_layers, experts]; a high one is worth a digital unit.

    The two scores that weights alone decide, as `dse.placement.experts.expert_scores` defines them.
    `progress` is called with (layers done, layers).

    Raises:
        ValueError: another score, or NaN in a tensor, which is named with its file.
    """
    if kind not in WEIGHT_SCORES:
        hint = nearest(kind, WEIGHT_SCORES)
        why = "needs a forward pass, not only weights" if kind in SCORES else "is unknown"
        raise ValueError(f"score {kind!r} {why}: choose {' or '.join(WEIGHT_SCORES)}{hint}")
    layers = checkpoint.architecture.moe_layer_indices
    rows = []
    for done, layer in enumerate(layers, start=1):
        rows.append(_layer_scores(checkpoint, kind, layer))
        if progress is not None:
            progress(done, len(layers))
    return np.stack(rows)


def _layer_scores(checkpoint: CheckpointFolder, kind: str, layer: int) -> NDArray[np.float64]:
    family, experts = checkpoint.architecture.family, checkpoint.architecture.routed_experts
    here = f"layers.{layer}"
    if kind == "router_norm":
        ((_, router),) = read_tensors(checkpoint, stored_names(family, f"{here}.router", experts))
        return _row_norms(router).numpy()
    expert_of = {
        name: expert
        for part in PARTS
        for expert, name in enumerate(stored_names(family, f"{here}.experts.{part}", experts))
    }
    scores = np.ones(experts)
    for name, matrix in read_tensors(checkpoint, expert_of):
        scores[expert_of[name]] *= float(_row_norms(matrix).max())
    return scores


def _row_norms(matrix: Tensor) -> Tensor:
    """l2 norm of every output neuron's weights; summed in float32, kept in float64."""
    return torch.linalg.vector_norm(matrix.float(), dim=1).double()


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
