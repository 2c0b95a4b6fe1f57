"""Every weight matrix of a model as one table: the only description of a model that costs see."""

import numpy as np
import pandas as pd

from workloads.architecture import MoEArchitecture, weight_matrices

COLUMNS = (
    "layer",
    "module",
    "part",
    "expert",
    "inputs",
    "outputs",
    "evaluations_per_token",
    "sparse",
)


def inventory(architecture: MoEArchitecture) -> pd.DataFrame:
    """One row per weight matrix, routed experts one by one.

    Columns: `layer` (missing for embedding and LM head), `module` (query, key, value, output,
    router, expert_gate, ...), `part` (attention, mamba, router, routed_expert, shared_expert,
    dense_ffn, embedding, lm_head), `expert` (missing where dense), `inputs`, `outputs`,
    `evaluations_per_token` (mean; routed experts as if used evenly, an input embedding is looked
    up and has 0) and `sparse` (True for routed experts). A tied embedding is listed once, as
    `lm_head`. The sum of inputs * outputs is the number of weights in matrices.
    """
    matrices = weight_matrices(architecture)
    copies = np.array([matrix.copies for matrix in matrices])
    routed = np.array([matrix.part == "routed_expert" for matrix in matrices])
    table = pd.DataFrame(
        {
            "layer": pd.array([matrix.layer for matrix in matrices], dtype="Int64"),
            "module": [matrix.module for matrix in matrices],
            "part": [matrix.part for matrix in matrices],
            "inputs": [matrix.inputs for matrix in matrices],
            "outputs": [matrix.outputs for matrix in matrices],
            "evaluations_per_token": [matrix.evaluations_per_token for matrix in matrices],
            "sparse": routed,
        }
    )
    table = table.loc[np.repeat(np.arange(len(matrices)), copies)].reset_index(drop=True)
    expert = np.concatenate([np.arange(count) for count in copies])
    table["expert"] = pd.array(expert, dtype="Int64")
    table.loc[~table["sparse"], "expert"] = pd.NA
    return table[list(COLUMNS)]
