"""The noisy simulation of a checkpoint folder, with the weights of one layer in memory at a time.

The same noise, tokens, seeds and statistics as `dse.simulation.Simulator`, to the same numbers;
only the order differs: all placements and noise draws pass a layer before the next one is read,
so several placements cost one reading of the checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from dse.noisy_model import NoisyModel, PlacedModel, batches, dense_matrices, layer_of
from dse.simulation import Noise, SimulationResult, Simulator, _in_pairs, _Scores
from workloads.checkpoint import Miniature
from workloads.checkpoint_folder import (
    CheckpointFolder,
    decoder_config,
    layer_names,
    load_tokenizer,
    open_checkpoint,
    read_weights,
)
from workloads.families import FamilyConfig, family_weight_shapes
from workloads.moe import layer_forward
from workloads.tasks import Benchmark

_BATCH = 64
Progress = Callable[[int, int], None]
Mask = npt.NDArray[np.bool_]


def text_benchmark(
    name: str, text: str, tokenizer: Tokenizer, tokens: int = 8192, length: int = 128
) -> Benchmark:
    """The first `tokens` tokens of a text, every one of them scored, in rows of `length`.

    Raises ValueError when the text is shorter than that.
    """
    rows = tokens // length
    ids = tokenizer.encode(text).ids[: rows * (length + 1)]
    if rows < 1 or len(ids) < rows * (length + 1):
        raise ValueError(
            f"text {name!r} has {len(ids)} tokens; {tokens} scored ones in rows of {length} "
            f"need {max(rows, 1) * (length + 1)}"
        )
    unscored = torch.full((rows, length), -1)
    return Benchmark(name, "text", torch.tensor(ids).view(rows, -1), unscored == -1, unscored)


class LayerWeights(dict[str, Tensor]):
    """A checkpoint's tensors of `workloads.moe`; a name of another layer replaces the held one.

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
            names = layer_names(self.config, layer_of(name, self.config.layers))
        elif name == "embedding":
            names = ("embedding",)
        else:
            names = ("final_norm", "embedding" if self.config.tie_embeddings else "lm_head")
        read = read_weights(self.checkpoint, self.config, names, device=self.device)
        if self.config.tie_embeddings and name in ("final_norm", "lm_head"):
            read["lm_head"] = read.pop("embedding")
        if name not in read:
            raise KeyError(name)
        self.update(read)
        return self[name]


class _StreamedModel(NoisyModel):
    """A NoisyModel whose weights come from the checkpoint when they are asked for."""

    def __init__(
        self,
        checkpoint: CheckpointFolder,
        config: FamilyConfig,
        device: torch.device,
        cache_bytes: int,
    ) -> None:
        # NaN is refused when a tensor is read, and a tied head is an lm_head of its own.
        super().__init__(
            replace(config, tie_embeddings=False), {}, device=device, cache_bytes=cache_bytes
        )
        self.weights = LayerWeights(checkpoint, config, device)

    def enter(self, name: str) -> None:
        """Hold the weights of the layer of `name`; forget the tiles of the one before."""
        if name not in self.weights:
            self._programmed.clear()
            self._cached_bytes = 0
            _ = self.weights[name]


class CheckpointSimulator(Simulator):
    """Scores placements of a checkpoint's experts on fixed benchmarks with fixed noise seeds.

    benchmarks: token sets in the checkpoint's own vocabulary (`text_benchmark`), all rows of one
    length. calibration_tokens [B, T] set the input ranges; take other text than is scored. seeds,
    device, first_seed: as in Simulator. cache_bytes bounds the programmed tiles of one layer.
    Raises ValueError for what cannot be read or computed, naming file and tensor.
    """

    def __init__(
        self,
        checkpoint: CheckpointFolder | str | Path,
        benchmarks: Sequence[Benchmark],
        calibration_tokens: Tensor,
        seeds: int = 4,
        device: str | torch.device | None = None,
        *,
        first_seed: int = 0,
        cache_bytes: int = 4 << 30,
    ) -> None:
        if seeds != 1 and (seeds < 2 or seeds % 2):
            raise ValueError(f"seeds is {seeds}; 1 or an even number (antithetic pairs) is needed")
        if not benchmarks:
            raise ValueError("at least one benchmark is needed")
        if not isinstance(checkpoint, CheckpointFolder):
            checkpoint = open_checkpoint(checkpoint)
        config = decoder_config(checkpoint)
        for tokens in (calibration_tokens, *(bench.tokens for bench in benchmarks)):
            if not 0 <= int(tokens.min()) <= int(tokens.max()) < config.vocab_size:
                raise ValueError(f"token numbers must be from 0 to {config.vocab_size - 1}")
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.miniature = Miniature(
            checkpoint.architecture.name, config, {}, load_tokenizer(checkpoint), checkpoint.source
        )
        self.seeds, self.first_seed = seeds, first_seed
        self._names = dict.fromkeys(family_weight_shapes(config), torch.empty(0))
        if config.tie_embeddings:
            self._names["lm_head"] = torch.empty(0)
        self.model: _StreamedModel = _StreamedModel(checkpoint, config, self.device, cache_bytes)
        self.model.calibrate(calibration_tokens)
        self._load(benchmarks)
        ((self._clean,),) = self._pass(Noise(), [self.all_digital()], frozenset(), [(0, 1)], None)

    def evaluate(
        self,
        noise: Noise,
        digital: Mask,
        analog_modules: Sequence[str] = (),
    ) -> SimulationResult:
        """Loss, top-1 and task accuracy of one placement under one noise; as in Simulator."""
        return self.evaluate_many(noise, [digital], analog_modules)[0]

    def evaluate_many(
        self,
        noise: Noise,
        placements: Sequence[Mask],
        analog_modules: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> list[SimulationResult]:
        """Results of several placements [moe_layers, experts] in one pass over the checkpoint.

        `progress` is called with (layers done, layers). `seconds` of a result is its share.
        """
        start = time.perf_counter()
        masks = [np.asarray(mask, dtype=bool) for mask in placements]
        for mask in masks:
            if mask.shape != self.all_digital().shape:
                raise ValueError(
                    f"the placement has shape {mask.shape}; "
                    f"{self.miniature.name} needs {self.all_digital().shape}"
                )
        dense = dense_matrices(self._names, tuple(analog_modules))
        scores = self._pass(noise, masks, dense, self._draws(noise), progress)
        seconds = (time.perf_counter() - start) / max(len(masks), 1)
        return [self._result(_in_pairs(draws), seconds) for draws in scores]

    @torch.no_grad()
    def _pass(
        self,
        noise: Noise,
        masks: Sequence[Mask],
        dense: frozenset[str],
        draws: Sequence[tuple[int, int]],
        progress: Progress | None,
    ) -> list[list[_Scores]]:
        """Scores [placements][draws]; a placement shares the clean states before its first noise.

        Both orders matter for memory: draws outside, so that the tiles of one draw are held.
        """
        layers = self.miniature.config.layers
        first = [self._first_analog_layer(mask, dense) for mask in masks]
        first_noisy = [layers if layer is None else layer for layer in first]
        clean = self.model.embed(self._inputs)
        states: dict[tuple[int, int], Tensor] = {}
        for layer in range(layers):
            self.model.enter(f"layers.{layer}.attention_norm")
            for index, (seed, sign) in enumerate(draws):
                for number, mask in enumerate(masks):
                    if layer >= first_noisy[number]:
                        placed = self._place(noise, mask, dense, layer, seed, sign)
                        before = states.get((number, index), clean)
                        states[number, index] = self._advance(placed, before, layer)
            if layer < max(first_noisy):
                plain = self._place(noise, self.all_digital(), frozenset(), layer, 0, 1)
                clean = self._advance(plain, clean, layer)
            if progress is not None:
                progress(layer + 1, layers)
        self.model.enter("final_norm")
        return [
            [
                self._head_scores(
                    self._place(noise, mask, dense, layers, seed, sign),
                    states.get((number, index), clean),
                )
                for index, (seed, sign) in enumerate(draws)
            ]
            for number, mask in enumerate(masks)
        ]

    def _place(
        self, noise: Noise, mask: Mask, dense: frozenset[str], layer: int, seed: int, sign: int
    ) -> PlacedModel:
        """One layer of a placement: elsewhere every expert is digital."""
        config = self.miniature.config
        here = self.all_digital()
        if layer in config.moe_layers:
            here[layer - config.dense_layers] = mask[layer - config.dense_layers]
        own = frozenset(name for name in dense if layer_of(name, config.layers) == layer)
        return PlacedModel(self.model, noise, torch.from_numpy(here), own, seed, sign)

    def _advance(self, placed: PlacedModel, hidden: Tensor, layer: int) -> Tensor:
        """Hidden states [sequences * T, d] after one layer."""
        rows, length = self._inputs.shape
        parts = [
            layer_forward(
                placed.config, placed.weights, hidden[batch.start * length : batch.stop * length],
                layer, (batch.stop - batch.start, length),
                linear=placed.linear, grouped_linear=placed.grouped_linear,
            )
            for batch in batches(rows, _BATCH)
        ]  # fmt: skip
        return torch.cat(parts)

    def _head_scores(self, placed: PlacedModel, hidden: Tensor) -> _Scores:
        rows, length = self._inputs.shape
        loss = torch.zeros(rows, length, dtype=torch.float64, device=self.device)
        right = torch.zeros(rows, length, dtype=torch.bool, device=self.device)
        for batch in batches(rows, _BATCH):
            mask = self._mask[batch]
            part = hidden[batch.start * length : batch.stop * length]
            logits = placed.head(part[mask.flatten()])
            targets = self._targets[batch][mask]
            loss[batch][mask] = torch.nn.functional.cross_entropy(
                logits, targets, reduction="none"
            ).double()
            right[batch][mask] = logits.argmax(-1) == targets
        return self._by_sequence(loss, right)
