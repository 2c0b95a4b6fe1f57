"""How far a checkpoint's largest weights lie above the others, by layer and group of matrices.

What programming noise does to a matrix depends on its columns' peaks: noise is relative to the
largest weight of a tile's column. One matrix is in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from dse.simulation.noisy_model import group_of, kind_of, layer_of
from workloads.checkpoint_folder import CheckpointFolder, decoder_config, read_tensors
from workloads.families import family_weight_shapes, stored_names

if TYPE_CHECKING:
    import pandas

LOAD_TOKENS = 2048
"""Of text that loads are counted on."""
GAUSSIAN = 100.0
"""Degrees of freedom from which Student's t is as good as Gaussian here."""


@dataclass
class _Sums:
    """Of weights w: count, sums of w, w^2 and w^4; and of blocks: count, sum of peak / rms."""

    weights: int = 0
    second: float = 0.0
    fourth: float = 0.0
    blocks: int = 0
    peaks: float = 0.0

    def add(self, matrix: Tensor, rows: int) -> None:
        """Weights of one matrix [outputs, inputs], its columns cut into blocks of `rows` inputs."""
        values = matrix.float()
        self.weights += values.numel()
        square = values.square()
        self.second += float(square.sum(dtype=square.dtype).double())
        self.fourth += float(square.square().double().sum())
        for block in values.split(rows, dim=1):
            size = block.square().mean(1).sqrt()
            filled = size > 0
            self.blocks += int(filled.sum())
            self.peaks += float((block.abs().amax(1)[filled] / size[filled]).double().sum())

    @property
    def tail_index(self) -> float:
        """Degrees of freedom of the Student's t of this kurtosis: 4 + 6 / (kurtosis - 3)."""
        excess = self.weights * self.fourth / self.second**2 - 3
        return min(4 + 6 / excess, GAUSSIAN) if excess > 0 else GAUSSIAN


def weight_tails(
    checkpoint: CheckpointFolder,
    tile_rows: int = 512,
    progress: Callable[[int, int], None] | None = None,
) -> pandas.DataFrame:
    """One row a layer and group of matrices: peak over rms of a tile's columns, tail index.

    peak_over_rms: mean over the columns of tiles with `tile_rows` rows. tail_index: degrees of
    freedom of the Student's t with the same kurtosis; missing where it is as good as Gaussian.
    `progress` is called with (layers done, layers).

    Raises:
        ValueError: tile_rows below 1, or NaN in a tensor, which is named with its file.
    """
    import pandas

    if tile_rows < 1:
        raise ValueError(f"tile_rows is {tile_rows}; at least 1 is needed")
    config = decoder_config(checkpoint)
    family, experts = checkpoint.architecture.family, checkpoint.architecture.routed_experts
    found: dict[tuple[int, str], _Sums] = {}
    for layer in range(config.layers + 1):
        for name, shape in family_weight_shapes(config).items():
            matrix = len(shape) > 1 and name != "embedding"
            if not matrix or layer_of(name, config.layers) != layer:
                continue
            sums = found.setdefault((layer, _group(name)), _Sums())
            for _, tensor in read_tensors(checkpoint, stored_names(family, name, experts)):
                if tensor.ndim == 2:
                    sums.add(tensor, tile_rows)
        if progress is not None:
            progress(layer + 1, config.layers + 1)
    rows = [
        {
            "layer": layer if layer < config.layers else None,
            "group": group,
            "weights": sums.weights,
            "peak_over_rms": sums.peaks / max(sums.blocks, 1),
            "tail_index": sums.tail_index if sums.tail_index < GAUSSIAN else math.nan,
        }
        for (layer, group), sums in found.items()
        if sums.weights
    ]
    return pandas.DataFrame(rows).astype({"layer": "Int64"})


def load_variation(
    folder: str | Path, told: Callable[[str, int, int], None] = lambda *_: None
) -> pandas.DataFrame:
    """One row a MoE layer: coefficient of variation of its experts' loads, and the largest one.

    Loads are shares of tokens over the even share, on held-out text; takes a pass over the
    checkpoint, of which `told` hears words, layers done and layers.
    """
    import pandas

    from dse.checkpoints.model import RealModel

    model = RealModel(folder, tokens=LOAD_TOKENS, seeds=2, memory_bytes=None)
    load = model.routing(told).probability
    load = load / load.mean(axis=1, keepdims=True)
    return pandas.DataFrame(
        {
            "layer": model.checkpoint.architecture.moe_layer_indices,
            "load_variation": load.std(axis=1),
            "largest_load": load.max(axis=1),
        }
    )


def _group(name: str) -> str:
    return "router" if kind_of(name) == "router" else group_of(name)
