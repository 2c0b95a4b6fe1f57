"""A checkpoint's weights as they are asked for: one layer's dense ones, one group of experts.

Each expert's noise has a seed of its own: the size of the groups, which the memory allows, does
not change a result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from dse.simulation.mitigation import copy_of, program_expert
from dse.simulation.noisy_model import NoisyModel, input_of, layer_of
from dse.simulation.threads import in_threads, shares
from hwmodels.nonideality import Noise, ProgrammedMatrix, block_sizes
from workloads.checkpoint_folder import (
    CheckpointFolder,
    end_names,
    layer_names,
    read_tensors,
    read_weights,
)
from workloads.families import PARTS, FamilyConfig, family_weight_shapes, stacked, stored_names

Draw = tuple[int, int]
Slot = tuple[int, int]
"""Position in a group of the expert whose weights are held, and the expert whose tiles hold them
(another one when the first replaces it, see `dse.simulation.mitigation`)."""


class LayerWeights(dict[str, Tensor]):
    """A checkpoint's tensors of `workloads.moe` except experts; another layer's replace the held.

    `embedding` and what follows the last layer (`final_norm`, `lm_head`) are layers of their own.
    """

    def __init__(
        self, checkpoint: CheckpointFolder, config: FamilyConfig, device: torch.device
    ) -> None:
        super().__init__()
        self.checkpoint, self.config, self.device = checkpoint, config, device

    def __missing__(self, name: str) -> Tensor:
        self.clear()
        if name.startswith("layers."):
            every = layer_names(self.config, layer_of(name, self.config.layers))
            names = tuple(one for one in every if not stacked(one))
        elif name == "embedding":
            names = ("embedding",)
        else:
            names = end_names(self.config)
        read = read_weights(self.checkpoint, self.config, names, device=self.device)
        if self.config.tie_embeddings and name in ("final_norm", "lm_head"):
            read["lm_head"] = read.pop("embedding")
        if name not in read:
            raise KeyError(name)
        self.update(read)
        return self[name]


@dataclass(frozen=True)
class ExpertGroup:
    """Some of a layer's `total` experts: numbers, and matrices by part, [G, outputs, inputs].

    biases: of families that have them, `gate_bias` and so on, [G, outputs]; added digitally.
    """

    layer: int
    experts: range
    total: int
    weights: dict[str, Tensor]
    biases: dict[str, Tensor] = field(default_factory=dict)

    def with_bias(self, part: str, y: Tensor, which: Tensor, counts: Tensor) -> Tensor:
        """Outputs of rows sorted by expert (`which`: positions in the group) and their bias."""
        bias = self.biases.get(f"{part}_bias")
        return y if bias is None else y + bias[which].repeat_interleave(counts, dim=0)


class StreamedModel(NoisyModel):
    """A NoisyModel whose weights come from the checkpoint when they are asked for.

    group: experts that are held at a time. programmed_at_once: matrices, a thread each.
    """

    def __init__(
        self,
        checkpoint: CheckpointFolder,
        config: FamilyConfig,
        device: torch.device,
        group: int,
        cache_bytes: int,
        programmed_at_once: int = 1,
    ) -> None:
        # NaN is refused when a tensor is read, and a tied head is an lm_head of its own.
        super().__init__(
            replace(config, tie_embeddings=False), {}, device=device, cache_bytes=cache_bytes
        )
        self.checkpoint, self.family, self.group = checkpoint, config, group
        self.programmed_at_once = programmed_at_once
        self.weights = LayerWeights(checkpoint, config, device)
        self.shapes = family_weight_shapes(config)
        self.shapes.setdefault("lm_head", self.shapes["embedding"])

    def embed(self, tokens: Tensor) -> Tensor:
        """Hidden states [B*T, d] before the first layer; reads only the rows that occur.

        Raises ValueError for a token that the vocabulary does not have.
        """
        (name,) = stored_names(self.family.family, "embedding", 0)
        used, place = tokens.cpu().flatten().unique(return_inverse=True)
        if int(used[-1]) >= self.config.vocab_size:
            raise ValueError(
                f"{self.checkpoint.tensors[name].file}: tensor {name} has {self.config.vocab_size} "
                f"rows, but tokenizer.json makes a token {int(used[-1])}"
            )
        ((_, table),) = read_tensors(self.checkpoint, (name,))
        rows = table[used].float()[place].to(self.device)
        return rows * self.config.embedding_multiplier

    def enter(self, name: str) -> None:
        """Hold the dense weights of the layer of `name`; forget the tiles of the one before."""
        if name not in self.weights:
            self._programmed.clear()
            self._cached_bytes = 0
            _ = self.weights[name]

    def expert_groups(self, layer: int) -> Iterator[ExpertGroup]:
        """The experts of a layer in groups, read one after the other."""
        count = self.config.routed_experts
        for start in range(0, count, self.group):
            experts = range(start, min(start + self.group, count))
            weights = self._read_experts(layer, experts, PARTS)
            named = [f"{part}_bias" for part in PARTS]
            biased = [one for one in named if f"layers.{layer}.experts.{one}" in self.shapes]
            biases = self._read_experts(layer, experts, biased)
            yield ExpertGroup(layer, experts, count, weights, biases)

    def _read_experts(self, layer: int, experts: range, parts: Sequence[str]) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = {}
        places: dict[str, Tensor] = {}
        for part in parts:
            name = f"layers.{layer}.experts.{part}"
            shape = (len(experts), *self.shapes[name][1:])
            weights[part] = torch.empty(shape, device=self.device)
            stored = stored_names(self.family.family, name, self.config.routed_experts)
            places |= dict(zip(stored[experts.start : experts.stop], weights[part], strict=True))

        def read(names: Sequence[str]) -> None:
            for name, tensor in read_tensors(self.checkpoint, names):
                places[name].copy_(tensor)

        in_threads([partial(read, names) for names in shares(list(places))])
        return weights

    def sizes(self, name: str, tile_rows: int) -> tuple[int, ...]:
        """Row blocks of a matrix."""
        inputs = self.shapes[name][-1]
        return block_sizes(inputs, math.ceil(inputs / tile_rows))

    def input_range(self, name: str, noise: Noise) -> Tensor:
        """beta_inp of a matrix, [blocks] or [experts, blocks]; see NoisyModel."""
        if ".experts." not in name:
            return super().input_range(name, noise)
        deviation = self.moments[input_of(name)].deviation(self.sizes(name, noise.tile_rows))
        deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        return (noise.input_range_std * deviation).float()

    def program_experts(
        self, group: ExpertGroup, slots: Sequence[Slot], noise: Noise, draw: Draw
    ) -> dict[str, ProgrammedMatrix]:
        """Tiles that hold experts of a group, by part, for one noise draw.

        Each matrix is programmed on one thread, several at a time: their operations are too small
        to share, and the seed of each is its own.
        """

        def matrix(part: str, place: int, slot: int) -> ProgrammedMatrix:
            name = f"layers.{group.layer}.experts.{part}"
            own = name if group.experts[place] == slot else copy_of(name)
            sizes = self.sizes(name, noise.tile_rows)
            return program_expert(group.weights[part][place], sizes, noise, own, slot, draw)

        jobs = [partial(matrix, part, *slot) for part in PARTS for slot in slots]
        made = iter(in_threads(jobs, self.programmed_at_once))
        return {part: _together([next(made) for _ in slots]) for part in PARTS}


def _together(matrices: Sequence[ProgrammedMatrix]) -> ProgrammedMatrix:
    """Equal matrices as one with the experts in front."""
    weight = torch.stack([matrix.weight for matrix in matrices])
    return ProgrammedMatrix(
        weight, torch.stack([matrix.scale for matrix in matrices]), matrices[0].sizes
    )
