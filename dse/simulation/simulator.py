"""The noisy simulation of a mixture-of-experts model: a placement and a noise -> accuracy.

Every candidate sees the same tokens and the same noise seeds, in antithetic pairs (seed 2i and
2i + 1 have noise of opposite sign), so that differences between candidates are paired. Results
come from a miniature that stands for the full model: they rank designs, they do not promise the
full model's percentage points.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dse.simulation.digital_format import EXACT, DigitalFormat
from dse.simulation.gains import Gains
from dse.simulation.mitigation import MitigatedModel
from dse.simulation.mitigation_names import check_mitigation
from dse.simulation.noisy_model import (
    FullModel,
    NoisyModel,
    batches,
    dense_matrices,
    full_inputs,
    layer_of,
)
from dse.simulation.placed_model import PlacedModel
from dse.simulation.result import (
    Look,
    Scores,
    SimulationResult,
    Stratum,
    in_pairs,
    paired_difference,
    summarise,
)
from dse.simulation.threads import in_threads
from hwmodels.nonideality import Noise
from workloads.checkpoint import Miniature
from workloads.moe import attention_half, feed_forward_half
from workloads.tasks import Benchmark
from workloads.tasks import benchmarks as text_and_tasks

T = TypeVar("T")

__all__ = [
    "Look",
    "Noise",
    "SimulationResult",
    "Simulator",
    "paired_difference",
]


# Sequences a forward pass: enough for full matrix products, few enough for cache and allocator.
_BATCH = 32


class Simulator:
    """Scores placements of one model on fixed benchmarks with fixed noise seeds.

    miniature: name, config, weights, source. benchmarks: token sets whose tokens all have one
    length. full_model: the architecture that the miniature stands for (None: itself); a tile of
    its hardware cuts each matrix of the miniature into as many row blocks as at full size. gains:
    what makes its errors those of the full model, see `dse.simulation.full_model` (None: the
    losses are the miniature's own).
    seeds: 1, or an even number (antithetic pairs). calibration_tokens [B, T] set the input ranges
    (default: the calibration split of the miniature's own benchmarks). device: torch device,
    default a GPU if there is one. mitigation: names of `MITIGATIONS` that every placement
    gets. races: whether a look costs much less than a whole evaluation. Raises
    ValueError for NaN weights, naming the tensor.
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
        gains: Gains | None = None,
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
            gains=gains,
            device=self.device,
            cache_bytes=cache_bytes,
        )
        self.model.calibrate(
            _calibration_tokens(miniature) if calibration_tokens is None else calibration_tokens
        )
        self._load(benchmarks)
        self._clean_hidden = self._clean_states()
        self._clean = self.score(self.placed(Noise(), self.all_digital(), frozenset(), 0, 1), None)

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
        form: DigitalFormat = EXACT,
    ) -> SimulationResult:
        """Loss, top-1 and task accuracy of one placement under one noise.

        digital [moe_layers, experts]: True where the expert is digital. analog_modules: dense
        parts computed in analog ("attention", "shared_expert", "dense_ffn", "router", "lm_head",
        or the beginning of a weight's name); by default none. look: what `look` said of the same
        placement; its sequences are not computed again. form: bits of what is digital. Raises
        ValueError for a mask of the wrong shape, a module the model does not have, or a result
        that is not finite.
        """
        start = time.perf_counter()
        everything = np.arange(len(self._inputs))
        rows = everything if look is None else np.setdiff1d(everything, self._look_rows)
        scores = self._noisy(noise, digital, analog_modules, rows, form)
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
        form: DigitalFormat = EXACT,
    ) -> Look:
        """The part of `evaluate` that a quarter of its time buys: half the text, every draw."""
        rows = self._look_rows
        scores = self._noisy(noise, digital, analog_modules, rows, form)
        scores = scores or Scores(*(part[:, rows] for part in vars(self._clean).values()))
        tokens = self._row_tokens[rows]
        return Look(scores.loss / tokens, scores.top1 / tokens)

    def _joined(self, rest: Scores, rows: npt.NDArray[np.int64], look: Look) -> Scores:
        """Scores of all sequences from those of a look and of the rest."""
        tokens = self._row_tokens[self._look_rows]
        looked = (look.loss * tokens, look.top1 * tokens, np.zeros_like(look.loss))
        joined = []
        for part, first in zip(vars(rest).values(), looked, strict=True):
            whole = np.empty((len(part), len(self._inputs)))
            whole[:, rows], whole[:, self._look_rows] = part, first
            joined.append(whole)
        return Scores(*joined)

    def _noisy(
        self,
        noise: Noise,
        digital: npt.NDArray[np.bool_],
        analog_modules: Sequence[str],
        rows: npt.NDArray[np.int64],
        form: DigitalFormat,
    ) -> Scores | None:
        """Scores of some sequences [pairs, rows]; None when nothing is analog or rounded."""
        digital = np.asarray(digital, dtype=bool)
        if digital.shape != self.all_digital().shape:
            raise ValueError(
                f"the placement has shape {digital.shape}; "
                f"{self.miniature.name} needs {self.all_digital().shape}"
            )
        dense = dense_matrices(self.model.weights, tuple(analog_modules))
        first = self._first_analog_layer(digital, dense)
        if first is None and form.exact:
            return None
        draws = [(self.first_seed, 1)] if first is None else self.draws(noise)
        start = first if form.exact else 0

        def one(seed: int, sign: int) -> Scores:
            return self.score(self.placed(noise, digital, dense, seed, sign, form), start, rows)

        jobs = [partial(one, *draw) for draw in draws]
        return in_pairs(self._jobs(jobs))

    def _jobs(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """What independent jobs return; a GPU is busy with one at a time."""
        return in_threads(jobs) if self.device.type == "cpu" else [job() for job in jobs]

    def draws(self, noise: Noise) -> list[tuple[int, int]]:
        """Seed and sign of each noisy pass; one draw where nothing is drawn."""
        if noise.magnitude == 0 and noise.time_s is None:
            return [(self.first_seed, 1)]
        if self.seeds == 1:
            return [(self.first_seed, 1)]
        return [
            (self.first_seed + pair, sign) for pair in range(self.seeds // 2) for sign in (1, -1)
        ]

    def placed(
        self,
        noise: Noise,
        digital: npt.NDArray[np.bool_],
        dense: frozenset[str],
        seed: int,
        sign: int,
        form: DigitalFormat = EXACT,
    ) -> PlacedModel:
        """The model under one draw of noise, its analog weights programmed.

        digital, form: as `evaluate` takes them. dense: names of analog dense matrices.
        """
        with torch.no_grad():
            parts = (self.model, noise, torch.from_numpy(digital), dense, seed, sign)
            if self.mitigation:
                return MitigatedModel(*parts, self.mitigation, form=form)
            return PlacedModel(*parts, form=form)

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
        self._strata: list[Stratum] = []
        instance_rows, offset, start = [], 0, 0
        for bench in benchmarks:
            stop = start + len(bench.tokens)
            instance = bench.instance.to(self.device)
            instance_rows.append(torch.where(instance >= 0, instance + offset, instance))
            offset += int(instance.max()) + 1 if bench.kind == "task" else 0
            tokens_per_row = bench.answer_mask.sum(1).double().numpy()
            per_row = [len(set(row[row >= 0].tolist())) for row in bench.instance]
            instances = np.array(per_row, dtype=float)
            self._strata.append(Stratum(bench.kind, slice(start, stop), tokens_per_row, instances))
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
    def score(
        self,
        placed: PlacedModel,
        first: int | None,
        rows: npt.NDArray[np.int64] | None = None,
        *,
        reuse: bool = True,
    ) -> Scores:
        """One pass of some sequences (None: all) from layer `first` on: sums [1, rows].

        None for `first`: only the head, on clean states. reuse: attention of the first layer is
        not computed again where it is clean.
        """
        chosen = torch.arange(len(self._inputs)) if rows is None else torch.from_numpy(rows)
        chosen = chosen.to(self.device)
        shape = (len(chosen), self._inputs.shape[1])
        first = self.miniature.config.layers if first is None else first
        attention = f"layers.{first}.attention."
        reuse = reuse and first < self.miniature.config.layers and placed.form.exact
        reuse = reuse and not any(name.startswith(attention) for name in placed.matrices)
        clean = self._clean_attended[first] if reuse else (self._clean_hidden[first],)
        loss = torch.zeros(shape, dtype=torch.float64, device=self.device)
        right = torch.zeros(shape, dtype=torch.bool, device=self.device)
        jobs = [
            # A copy each: a placed model remembers the inputs of its last product. What copies make
            # for each other (gate and up as one matrix) is the same whichever makes it.
            partial(self._score_batch, copy(placed), first, clean, chosen[batch], loss[batch],
                    right[batch])
            for batch in batches(len(chosen), _BATCH)
        ]  # fmt: skip
        self._jobs(jobs)
        return self._by_sequence(loss, right, chosen)

    @torch.no_grad()
    def _score_batch(
        self,
        placed: PlacedModel,
        first: int,
        clean: Sequence[Tensor],
        rows: Tensor,
        loss: Tensor,
        right: Tensor,
    ) -> None:
        """Fill loss and right [rows, T] of some sequences from clean states before `first`.

        Two states: what follows the attention of layer `first`; one: before it.
        """
        shape = (len(rows), self._inputs.shape[1])
        states = [part.unflatten(0, (-1, shape[1]))[rows].flatten(0, 1) for part in clean]
        if len(states) == 2:
            hidden = placed.layers_after_attention(states[0], states[1], first, shape)
        else:
            hidden = placed.layers(states[0], first, shape)
        mask = self._mask[rows]
        entropy, best = placed.entropy(hidden[mask.flatten()], self._targets[rows][mask])
        loss[mask] = entropy.double()
        right[mask] = best

    def _by_sequence(self, loss: Tensor, right: Tensor, chosen: Tensor | None = None) -> Scores:
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
        return Scores(
            loss.sum(1).cpu().numpy()[None],
            right.sum(1).double().cpu().numpy()[None],
            solved.cpu().numpy()[None],
        )

    def _result(self, scores: Scores, seconds: float) -> SimulationResult:
        return summarise(
            scores, self._clean, self._strata,
            seeds=self.seeds, seconds=seconds, source=self.source,
        )  # fmt: skip


def _calibration_tokens(miniature: Miniature) -> Tensor:
    parts = text_and_tasks(miniature, tokens=4096, split="calibration")
    return torch.cat([part.tokens[:, :-1] for part in parts])
