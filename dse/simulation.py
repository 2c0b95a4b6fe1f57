"""The noisy simulation of a mixture-of-experts model: a placement and a noise -> accuracy.

Every candidate sees the same tokens and the same noise seeds, in antithetic pairs (seed 2i and
2i + 1 have noise of opposite sign), so that differences between candidates are paired. Results
come from a miniature that stands for the full model: they rank designs, they do not promise the
full model's percentage points.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dse.mitigation import MitigatedModel
from dse.noisy_model import (
    PARTS,
    FullModel,
    NoisyModel,
    PlacedModel,
    batches,
    dense_matrices,
    full_inputs,
    layer_of,
)
from dse.placement import check_mitigation
from dse.statistics import FloatArray, stratified_mean
from hwmodels.nonideality import NOISE_MODELS, Noise
from workloads.checkpoint import Miniature
from workloads.moe import attention_half, feed_forward_half
from workloads.tasks import Benchmark
from workloads.tasks import benchmarks as text_and_tasks

__all__ = [
    "NOISE_MODELS",
    "PARTS",
    "BenchmarkResult",
    "Noise",
    "SimulationResult",
    "Simulator",
    "paired_difference",
    "stratified_mean",
]

# Sequences a forward pass: large enough for full matrix products, small enough for the cache.
_BATCH = 32


@dataclass(frozen=True)
class BenchmarkResult:
    """One benchmark: mean loss (nats) and top-1 over its scored tokens; accuracy of a task is the
    share of its instances with every answer token right, None for text. Each with the standard
    error of its change from the clean model (see SimulationResult)."""

    kind: str
    loss: float
    loss_stderr: float
    top1: float
    top1_stderr: float
    accuracy: float | None
    accuracy_stderr: float | None


@dataclass(frozen=True)
class SimulationResult:
    """What a placement does to a model.

    loss (nats) and top1 are means over the scored tokens of the text benchmarks, accuracy is the
    mean over the tasks of the share of instances solved; all averaged over the noise seeds.

    Each standard error is that of the CHANGE from the clean model on the same tokens, for drawing
    both new noise and new text: with change d[p, i] of antithetic pair p on sequence i,
    variance = var_p(mean_i d) / pairs + var_i(mean_p d) / sequences - var(residual) / (pairs *
    sequences), sequences being drawn within each benchmark. The last term is the interaction,
    which the first two both contain. With a single pair the first term cannot be estimated and
    the error covers text only. The error of an all-digital placement is exactly zero.

    Arrays for pairing with another result: loss_by_sequence [pairs, text sequences] in nats a
    token and accuracy_by_task [pairs, tasks].
    """

    loss: float
    delta_loss: float
    delta_loss_stderr: float
    top1: float
    top1_stderr: float
    accuracy: float
    accuracy_stderr: float
    clean_loss: float
    clean_top1: float
    clean_accuracy: float
    per_benchmark: dict[str, BenchmarkResult]
    seeds: int
    tokens: int
    seconds: float
    source: str
    loss_by_sequence: FloatArray = field(repr=False, compare=False)
    accuracy_by_task: FloatArray = field(repr=False, compare=False)


@dataclass(frozen=True)
class _Scores:
    """Sums over each sequence, [draws, sequences]; of a clean pass [1, sequences]."""

    loss: FloatArray
    top1: FloatArray
    solved: FloatArray


@dataclass(frozen=True)
class _Stratum:
    """The rows of one benchmark and how many tokens and instances each row scores."""

    name: str
    kind: str
    rows: slice
    tokens: FloatArray
    instances: FloatArray


@dataclass(frozen=True)
class Look:
    """First look at a placement: mean loss (nats) and top-1 of half the text sequences.

    Arrays [pairs, sequences looked at]; two looks of one simulator can be paired.
    """

    loss: FloatArray
    top1: FloatArray


class Simulator:
    """Scores placements of one model on fixed benchmarks with fixed noise seeds.

    miniature: name, config, weights, source. benchmarks: token sets whose tokens all have one
    length. full_model: the architecture that the miniature stands for (None: itself); a tile of
    its hardware cuts each matrix of the miniature into as many row blocks as at full size.
    seeds: 1, or an even number (antithetic pairs). calibration_tokens [B, T] set the input ranges
    (default: the calibration split of the miniature's own benchmarks). device: torch device,
    default a GPU if there is one. mitigation: names of `dse.placement.MITIGATIONS` that every
    placement gets. Raises ValueError for NaN weights, naming the tensor.
    races: whether a look costs much less than a whole evaluation.
    """

    races = True
    mitigation: tuple[str, ...] = ()

    def __init__(
        self,
        miniature: Miniature,
        benchmarks: Sequence[Benchmark],
        full_model: FullModel | None = None,
        seeds: int = 4,
        device: str | torch.device | None = None,
        *,
        first_seed: int = 0,
        calibration_tokens: Tensor | None = None,
        cache_bytes: int = 1 << 30,
        mitigation: Sequence[str] = (),
    ) -> None:
        self.mitigation = check_mitigation(mitigation)
        if seeds != 1 and (seeds < 2 or seeds % 2):
            raise ValueError(f"seeds is {seeds}; 1 or an even number (antithetic pairs) is needed")
        if not benchmarks:
            raise ValueError("at least one benchmark is needed")
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.device = torch.device(chosen)
        self.miniature = miniature
        self.seeds = seeds
        self.first_seed = first_seed
        self.model = NoisyModel(
            miniature.config,
            miniature.weights,
            row_inputs=full_inputs(full_model) if full_model is not None else None,
            device=self.device,
            cache_bytes=cache_bytes,
        )
        self.model.calibrate(
            _calibration_tokens(miniature) if calibration_tokens is None else calibration_tokens
        )
        self._load(benchmarks)
        self._clean_hidden = self._clean_states()
        self._clean = self._score(
            self._placed(Noise(), self.all_digital(), frozenset(), 0, 1), None
        )

    @property
    def source(self) -> str:
        """What a report writes under every accuracy."""
        return ", ".join((self.miniature.source, *self.mitigation))

    def all_digital(self) -> npt.NDArray[np.bool_]:
        """The placement [moe_layers, experts] with every expert digital."""
        config = self.miniature.config
        return np.ones((len(config.moe_layers), config.routed_experts), dtype=bool)

    def evaluate(
        self,
        noise: Noise,
        digital: npt.NDArray[np.bool_],
        analog_modules: Sequence[str] = (),
        look: Look | None = None,
    ) -> SimulationResult:
        """Loss, top-1 and task accuracy of one placement under one noise.

        digital [moe_layers, experts]: True where the expert is digital. analog_modules: dense
        parts computed in analog ("attention", "shared_expert", "dense_ffn", "router", "lm_head",
        or the beginning of a weight's name); by default none. look: what `look` said of the same
        placement; its sequences are not computed again. Raises ValueError for a mask of the
        wrong shape, a module the model does not have, or a result that is not finite.
        """
        start = time.perf_counter()
        everything = np.arange(len(self._inputs))
        rows = everything if look is None else np.setdiff1d(everything, self._look_rows)
        scores = self._noisy(noise, digital, analog_modules, rows)
        if scores is None:
            return self._result(self._clean, time.perf_counter() - start)
        if look is not None:
            scores = self._joined(scores, rows, look)
        return self._result(scores, time.perf_counter() - start)

    def look(
        self,
        noise: Noise,
        digital: npt.NDArray[np.bool_],
        analog_modules: Sequence[str] = (),
    ) -> Look:
        """The part of `evaluate` that a quarter of its time buys: half the text, every draw."""
        rows = self._look_rows
        scores = self._noisy(noise, digital, analog_modules, rows)
        scores = scores or _Scores(*(part[:, rows] for part in vars(self._clean).values()))
        tokens = self._row_tokens[rows]
        return Look(scores.loss / tokens, scores.top1 / tokens)

    def _joined(self, rest: _Scores, rows: npt.NDArray[np.int64], look: Look) -> _Scores:
        """Scores of all sequences from those of a look and of the rest."""
        tokens = self._row_tokens[self._look_rows]
        looked = (look.loss * tokens, look.top1 * tokens, np.zeros_like(look.loss))
        joined = []
        for part, first in zip(vars(rest).values(), looked, strict=True):
            whole = np.empty((len(part), len(self._inputs)))
            whole[:, rows], whole[:, self._look_rows] = part, first
            joined.append(whole)
        return _Scores(*joined)

    def _noisy(
        self,
        noise: Noise,
        digital: npt.NDArray[np.bool_],
        analog_modules: Sequence[str],
        rows: npt.NDArray[np.int64],
    ) -> _Scores | None:
        """Scores of some sequences [pairs, rows]; None when nothing is analog."""
        digital = np.asarray(digital, dtype=bool)
        if digital.shape != self.all_digital().shape:
            raise ValueError(
                f"the placement has shape {digital.shape}; "
                f"{self.miniature.name} needs {self.all_digital().shape}"
            )
        dense = dense_matrices(self.model.weights, tuple(analog_modules))
        first = self._first_analog_layer(digital, dense)
        if first is None:
            return None
        return _in_pairs(
            [
                self._score(self._placed(noise, digital, dense, seed, sign), first, rows)
                for seed, sign in self._draws(noise)
            ]
        )

    def _draws(self, noise: Noise) -> list[tuple[int, int]]:
        if noise.magnitude == 0 and noise.time_s is None:
            return [(self.first_seed, 1)]
        if self.seeds == 1:
            return [(self.first_seed, 1)]
        return [
            (self.first_seed + pair, sign) for pair in range(self.seeds // 2) for sign in (1, -1)
        ]

    def _placed(
        self,
        noise: Noise,
        digital: npt.NDArray[np.bool_],
        dense: frozenset[str],
        seed: int,
        sign: int,
    ) -> PlacedModel:
        with torch.no_grad():
            parts = (self.model, noise, torch.from_numpy(digital), dense, seed, sign)
            if self.mitigation:
                return MitigatedModel(*parts, self.mitigation)
            return PlacedModel(*parts)

    def _first_analog_layer(
        self, digital: npt.NDArray[np.bool_], dense: frozenset[str]
    ) -> int | None:
        config = self.miniature.config
        layers = [layer_of(name, config.layers) for name in dense]
        layers += [
            layer for layer, row in zip(config.moe_layers, digital, strict=True) if not row.all()
        ]
        return min(layers, default=None)

    def _load(self, benchmarks: Sequence[Benchmark]) -> None:
        tokens = torch.cat([bench.tokens for bench in benchmarks]).to(self.device)
        self._inputs, self._targets = tokens[:, :-1], tokens[:, 1:]
        self._mask = torch.cat([bench.answer_mask for bench in benchmarks]).to(self.device)
        self._strata: list[_Stratum] = []
        instance_rows, offset, start = [], 0, 0
        for bench in benchmarks:
            stop = start + len(bench.tokens)
            instance = bench.instance.to(self.device)
            instance_rows.append(torch.where(instance >= 0, instance + offset, instance))
            offset += int(instance.max()) + 1 if bench.kind == "task" else 0
            tokens_per_row = bench.answer_mask.sum(1).double().numpy()
            per_row = [len(set(row[row >= 0].tolist())) for row in bench.instance]
            self._strata.append(
                _Stratum(bench.name, bench.kind, slice(start, stop), tokens_per_row,
                         np.array(per_row, dtype=float))
            )  # fmt: skip
            start = stop
        self._instance = torch.cat(instance_rows)
        self._instances = offset
        self._row_tokens = self._mask.sum(1).double().cpu().numpy()
        text = [np.arange(s.rows.start, s.rows.stop)[::2] for s in self._strata if s.kind == "text"]
        self._look_rows = np.concatenate(text) if text else np.arange(len(self._inputs))
        self.tokens = int(self._mask.sum())

    @torch.no_grad()
    def _clean_states(self) -> list[Tensor]:
        """Clean hidden states before each layer and after the last, each [sequences * T, d].

        What each layer's attention returns goes to `_clean_attended`.
        """
        rows, length = self._inputs.shape
        config, weights = self.model.config, self.model.weights
        states: list[list[Tensor]] = [[] for _ in range(config.layers + 1)]
        attended: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(config.layers)]
        for batch in batches(rows, _BATCH):
            hidden = self.model.embed(self._inputs[batch])
            states[0].append(hidden)
            shape = (batch.stop - batch.start, length)
            for layer in range(config.layers):
                half = attention_half(config, weights, hidden, layer, shape)
                attended[layer].append(half)
                hidden = feed_forward_half(config, weights, *half, layer)
                states[layer + 1].append(hidden)
        self._clean_attended = [
            tuple(torch.cat(part) for part in zip(*parts, strict=True)) for parts in attended
        ]
        return [torch.cat(parts) for parts in states]

    @torch.no_grad()
    def _score(
        self,
        placed: PlacedModel,
        first: int | None,
        rows: npt.NDArray[np.int64] | None = None,
        *,
        reuse: bool = True,
    ) -> _Scores:
        """One pass of some sequences (None: all) from layer `first` on.

        None for `first`: only the head, on clean states. reuse: attention of the first layer is
        not computed again where it is clean.
        """
        chosen = torch.arange(len(self._inputs)) if rows is None else torch.from_numpy(rows)
        chosen = chosen.to(self.device)
        length = self._inputs.shape[1]
        first = self.miniature.config.layers if first is None else first
        attention = f"layers.{first}.attention."
        reuse = reuse and first < self.miniature.config.layers
        reuse = reuse and not any(name.startswith(attention) for name in placed.matrices)
        clean = self._clean_attended[first] if reuse else (self._clean_hidden[first],)
        by_row = [part.unflatten(0, (-1, length)) for part in clean]
        loss = torch.zeros(len(chosen), length, dtype=torch.float64, device=self.device)
        right = torch.zeros(len(chosen), length, dtype=torch.bool, device=self.device)
        for batch in batches(len(chosen), _BATCH):
            picked = chosen[batch]
            states = [part[picked].flatten(0, 1) for part in by_row]
            shape = (len(picked), length)
            if reuse:
                hidden = placed.layers_after_attention(states[0], states[1], first, shape)
            else:
                hidden = placed.layers(states[0], first, shape)
            mask = self._mask[picked]
            logits = placed.head(hidden[mask.flatten()])
            targets = self._targets[picked][mask]
            loss[batch][mask] = torch.nn.functional.cross_entropy(
                logits, targets, reduction="none"
            ).double()
            right[batch][mask] = logits.argmax(-1) == targets
        return self._by_sequence(loss, right, chosen)

    def _by_sequence(self, loss: Tensor, right: Tensor, chosen: Tensor | None = None) -> _Scores:
        """Sums a sequence; an instance is solved when none of its scored tokens is wrong."""
        instance, mask = self._instance, self._mask
        if chosen is not None:
            instance, mask = instance[chosen], mask[chosen]
        known = (instance >= 0) & mask
        right_tokens = right[known].long()
        tokens = torch.zeros(self._instances + 1, dtype=torch.int64, device=self.device)
        tokens.index_add_(0, instance[known], torch.ones_like(right_tokens))
        correct = torch.zeros_like(tokens).index_add_(0, instance[known], right_tokens)
        owner = torch.zeros_like(tokens)
        row = torch.arange(len(loss), device=self.device).unsqueeze(1).expand_as(instance)
        owner[instance[known]] = row[known]
        solved = torch.zeros(len(loss), dtype=torch.float64, device=self.device)
        solved.index_add_(0, owner, ((tokens > 0) & (correct == tokens)).double())
        return _Scores(
            loss.sum(1).cpu().numpy()[None],
            right.sum(1).double().cpu().numpy()[None],
            solved.cpu().numpy()[None],
        )

    def _result(self, scores: _Scores, seconds: float) -> SimulationResult:
        if not np.isfinite(scores.loss).all():
            raise ValueError("the simulated loss is not finite; the noise is beyond the model")
        text = [item for item in self._strata if item.kind == "text"] or self._strata
        tasks = [item for item in self._strata if item.kind == "task"]
        share = np.array([item.tokens.sum() for item in text])
        share = share / share.sum()
        clean_loss, _ = _mean(self._clean.loss, text, "tokens", share)
        clean_top1, _ = _mean(self._clean.top1, text, "tokens", share)
        delta, delta_error = _mean(scores.loss - self._clean.loss, text, "tokens", share)
        top1, top1_error = _mean(scores.top1 - self._clean.top1, text, "tokens", share)
        even = np.full(len(tasks), 1 / max(len(tasks), 1))
        clean_accuracy, _ = _mean(self._clean.solved, tasks, "instances", even)
        accuracy, accuracy_error = _mean(
            scores.solved - self._clean.solved, tasks, "instances", even
        )
        by_sequence = [scores.loss[:, item.rows] / item.tokens for item in text]
        by_task = [scores.solved[:, item.rows].sum(1) / item.instances.sum() for item in tasks]
        return SimulationResult(
            loss=clean_loss + delta,
            delta_loss=delta,
            delta_loss_stderr=delta_error,
            top1=clean_top1 + top1,
            top1_stderr=top1_error,
            accuracy=clean_accuracy + accuracy,
            accuracy_stderr=accuracy_error,
            clean_loss=clean_loss,
            clean_top1=clean_top1,
            clean_accuracy=clean_accuracy,
            per_benchmark={item.name: self._one(scores, item) for item in self._strata},
            seeds=self.seeds,
            tokens=self.tokens,
            seconds=seconds,
            source=self.source,
            loss_by_sequence=np.concatenate(by_sequence, axis=1),
            accuracy_by_task=np.stack(by_task, axis=1)
            if tasks
            else np.empty((len(scores.loss), 0)),
        )

    def _one(self, scores: _Scores, item: _Stratum) -> BenchmarkResult:
        one = np.ones(1)
        clean_loss, _ = _mean(self._clean.loss, [item], "tokens", one)
        loss, loss_error = _mean(scores.loss - self._clean.loss, [item], "tokens", one)
        clean_top1, _ = _mean(self._clean.top1, [item], "tokens", one)
        top1, top1_error = _mean(scores.top1 - self._clean.top1, [item], "tokens", one)
        accuracy, accuracy_error = None, None
        if item.kind == "task":
            clean, _ = _mean(self._clean.solved, [item], "instances", one)
            change, accuracy_error = _mean(
                scores.solved - self._clean.solved, [item], "instances", one
            )
            accuracy = clean + change
        return BenchmarkResult(
            item.kind, clean_loss + loss, loss_error, clean_top1 + top1, top1_error,
            accuracy, accuracy_error,
        )  # fmt: skip


def _calibration_tokens(miniature: Miniature) -> Tensor:
    parts = text_and_tasks(miniature, tokens=4096, split="calibration")
    return torch.cat([part.tokens[:, :-1] for part in parts])


def _in_pairs(scores: Sequence[_Scores]) -> _Scores:
    """Draws in a row become antithetic pair means, [pairs, sequences]."""

    def average(arrays: list[FloatArray]) -> FloatArray:
        stacked = np.concatenate(arrays)
        if len(stacked) == 1:
            return stacked
        mean: FloatArray = (stacked[0::2] + stacked[1::2]) / 2
        return mean

    return _Scores(
        average([item.loss for item in scores]),
        average([item.top1 for item in scores]),
        average([item.solved for item in scores]),
    )


def _mean(
    sums: FloatArray, strata: Sequence[_Stratum], unit: str, share: FloatArray
) -> tuple[float, float]:
    parts = [(sums[:, item.rows], getattr(item, unit)) for item in strata]
    return stratified_mean(parts, share)


def paired_difference(first: SimulationResult, second: SimulationResult) -> tuple[float, float]:
    """Loss of `first` minus that of `second` (nats) and its standard error.

    Both must come from one simulator, so that they share tokens and noise seeds; what the two
    have in common cancels. Raises ValueError when their arrays do not match.
    """
    left, right = first.loss_by_sequence, second.loss_by_sequence
    if left.shape[1] != right.shape[1]:
        raise ValueError("the two results do not share their tokens")
    difference = left - right
    units = np.ones(difference.shape[1])
    return stratified_mean([(difference, units)], np.ones(1))
