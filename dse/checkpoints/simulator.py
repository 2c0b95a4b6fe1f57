"""The noisy simulation of a checkpoint folder within a given memory.

The same noise models, tokens, antithetic pairs and statistics as
`dse.simulation.simulator.Simulator`; only the order differs: all placements and noise draws pass a
group of experts before the next one is read (`dse.checkpoints.layers`), so several placements cost
one reading of the checkpoint, and those
of one noise also share its programmed tiles.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from dse.checkpoints.layers import LayerMitigation, Noisy, State, advance, begin, calibrate
from dse.checkpoints.memory import LOGITS_BYTES, MemoryPlan, plan_memory
from dse.checkpoints.stream import StreamedModel
from dse.simulation.digital_format import EXACT, DigitalFormat
from dse.simulation.mitigation_names import check_mitigation
from dse.simulation.noisy_model import dense_matrices, layer_of
from dse.simulation.placed_model import PlacedModel
from dse.simulation.result import Look, Scores, in_pairs
from dse.simulation.simulator import Noise, SimulationResult, Simulator
from workloads.checkpoint import Miniature
from workloads.checkpoint_folder import (
    CheckpointFolder,
    decoder_config,
    load_tokenizer,
    open_checkpoint,
)
from workloads.families import FamilyConfig, family_weight_shapes
from workloads.moe import Observe
from workloads.tasks import Benchmark

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


def check_seeds(seeds: int) -> None:
    """Raise ValueError unless noise draws make antithetic pairs, or are one."""
    if seeds != 1 and (seeds < 2 or seeds % 2):
        raise ValueError(f"seeds is {seeds}; 1 or an even number (antithetic pairs) is needed")


def check_modules(config: FamilyConfig, modules: Sequence[str]) -> None:
    """Raise ValueError unless a checkpoint has these analog dense parts; reads no weights."""
    dense_matrices(_matrix_names(config), tuple(modules))


def _matrix_names(config: FamilyConfig) -> dict[str, Tensor]:
    names = dict.fromkeys(family_weight_shapes(config), torch.empty(0))
    return names | ({"lm_head": torch.empty(0)} if config.tie_embeddings else {})


@dataclass(frozen=True)
class Placement:
    """What is simulated: `digital` [moe_layers, experts] and analog dense parts under a noise."""

    noise: Noise
    digital: Mask
    analog_modules: tuple[str, ...] = ()


class CheckpointSimulator(Simulator):
    """Scores placements of a checkpoint's experts on fixed benchmarks with fixed noise seeds.

    benchmarks: token sets in the checkpoint's own vocabulary (`text_benchmark`), all rows of one
    length. calibration_tokens [B, T] set the input ranges; take other text than is scored. seeds,
    device, first_seed: as in Simulator. mitigation: as there; it is fitted on the calibration
    tokens, which then travel along in rows as long as the benchmarks'. max_memory_bytes bounds the
    memory of this process (see `dse.checkpoints.memory`). observe sees the routing of the
    calibration tokens; progress is called with (layers done, layers) in the pass that this takes,
    and in later ones that bring none of their own.
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
        mitigation: Sequence[str] = (),
        first_seed: int = 0,
        max_memory_bytes: int | None = None,
        observe: Observe | None = None,
        progress: Progress | None = None,
    ) -> None:
        check_seeds(seeds)
        if not benchmarks:
            raise ValueError("at least one benchmark is needed")
        if not isinstance(checkpoint, CheckpointFolder):
            checkpoint = open_checkpoint(checkpoint)
        config = decoder_config(checkpoint)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.miniature = Miniature(
            checkpoint.architecture.name, config, {}, load_tokenizer(checkpoint), checkpoint.source
        )
        self.seeds, self.first_seed, self._progress = seeds, first_seed, progress
        self.mitigation = check_mitigation(mitigation)
        self._names = _matrix_names(config)
        self._load(benchmarks)
        both = (self._inputs.numel(), calibration_tokens.numel())
        rows = sum(both) if self.mitigation else max(both)
        self.plan: MemoryPlan = plan_memory(checkpoint, config, rows, seeds, max_memory_bytes)
        self.model: StreamedModel = StreamedModel(
            checkpoint,
            config,
            self.device,
            self.plan.group,
            self.plan.cache_bytes,
            self.plan.programmed,
        )
        clean = begin(self.model, self._inputs)
        calibrate(self.model, calibration_tokens, observe, progress, [clean])
        way = self._way(Placement(Noise(), self.all_digital()), frozenset(), config.layers, (0, 1))
        self._clean = self._head_scores(way.placed, clean.hidden)

    def clean(self) -> SimulationResult:
        """The result of the placement with every expert digital; costs nothing."""
        return self._result(self._clean, 0.0)

    def programmable(self, placement: Placement) -> bool:
        """Whether the memory is enough to program the dense matrices of a placement."""
        names = dense_matrices(self._names, placement.analog_modules)
        largest = max((math.prod(self.model.shapes[name]) for name in names), default=0)
        return largest <= self.plan.dense_weights

    races = False  # reading the weights takes the same time for few tokens

    def evaluate(
        self,
        noise: Noise,
        digital: Mask,
        analog_modules: Sequence[str] = (),
        look: Look | None = None,
        form: DigitalFormat = EXACT,
    ) -> SimulationResult:
        """Loss, top-1 and task accuracy of one placement under one noise; as in Simulator.

        Raises:
            ValueError: digital weights or caches of few bits: a checkpoint's are as stored.
        """
        if not form.exact:
            raise ValueError("a checkpoint's digital weights are simulated as they are stored")
        return self.evaluate_many(noise, [digital], analog_modules)[0]

    def evaluate_many(
        self,
        noise: Noise,
        placements: Sequence[Mask],
        analog_modules: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> list[SimulationResult]:
        """Results of several placements [moe_layers, experts] under one noise in one pass."""
        modules = tuple(analog_modules)
        placed = [Placement(noise, mask, modules) for mask in placements]
        results = []
        for result in self.evaluate_all(placed, progress):
            if isinstance(result, ValueError):
                raise result
            results.append(result)
        return results

    def evaluate_all(
        self, placements: Sequence[Placement], progress: Progress | None = None
    ) -> list[SimulationResult | ValueError]:
        """Results of several placements, each under its own noise, in one pass over the checkpoint.

        In place of a result that is not finite stands the ValueError that says so. `progress` is
        called with (layers done, layers); what it raises ends the pass. `seconds` of a result is
        its share.
        """
        start = time.perf_counter()
        shape = self.all_digital().shape
        for placement in placements:
            if placement.digital.shape != shape:
                raise ValueError(
                    f"the placement has shape {placement.digital.shape}; "
                    f"{self.miniature.name} needs {shape}"
                )
        scores = self._pass(placements, [self.draws(one.noise) for one in placements], progress)
        seconds = (time.perf_counter() - start) / max(len(placements), 1)
        results: list[SimulationResult | ValueError] = []
        for draws in scores:
            try:
                results.append(self._result(in_pairs(draws), seconds))
            except ValueError as error:
                results.append(error)
        return results

    @torch.no_grad()
    def _pass(
        self,
        placements: Sequence[Placement],
        draws: Sequence[Sequence[tuple[int, int]]],
        progress: Progress | None = None,
    ) -> list[list[Scores]]:
        """Scores [placements][draws]; until its first noise a placement shares the clean state."""
        progress = progress or self._progress
        layers = self.miniature.config.layers
        dense = [dense_matrices(self._names, one.analog_modules) for one in placements]
        first = [
            self._first_analog_layer(one.digital, analog)
            for one, analog in zip(placements, dense, strict=True)
        ]
        first_noisy = [layers if layer is None else layer for layer in first]
        clean = begin(self.model, self._tokens())
        states: dict[tuple[int, tuple[int, int]], State] = {}
        for layer in range(layers):
            self.model.enter(f"layers.{layer}.attention_norm")
            for number, placement in enumerate(placements):
                for draw in draws[number] if layer >= first_noisy[number] else ():
                    state = states.setdefault((number, draw), State(clean.hidden, clean.shape))
                    state.way = self._way(placement, dense[number], layer, draw)
            moving = [*states.values()]
            if layer < max(first_noisy):
                moving.append(clean)
            advance(self.model, layer, moving)
            if progress is not None:
                progress(layer + 1, layers)
        self.model.enter("final_norm")
        return [
            [
                self._head_scores(
                    self._way(placement, dense[number], layers, draw).placed,
                    states.get((number, draw), clean).hidden,
                )
                for draw in draws[number]
            ]
            for number, placement in enumerate(placements)
        ]

    def _tokens(self) -> Tensor:
        """Tokens of a pass [B, T]: those that are scored, then those that routers are fitted on."""
        if not self.mitigation:
            return self._inputs
        fitted = self.model.calibration_tokens
        assert fitted is not None
        return torch.cat((self._inputs, fitted.to(self._inputs.device)))

    def _way(
        self, placement: Placement, dense: frozenset[str], layer: int, draw: tuple[int, int]
    ) -> Noisy:
        """One layer of a placement under one draw."""
        config = self.miniature.config
        digital = np.ones(config.routed_experts, dtype=bool)
        if layer in config.moe_layers:
            digital = placement.digital[layer - config.dense_layers]
        own = frozenset(name for name in dense if layer_of(name, config.layers) == layer)
        clean = torch.from_numpy(self.all_digital())
        placed = PlacedModel(self.model, placement.noise, clean, own, *draw)
        way = Noisy(placed, placement.noise, draw, torch.from_numpy(digital))
        if self.mitigation and layer in config.moe_layers:
            fitted = self.model.calibration_tokens
            assert fitted is not None
            way.mitigation = LayerMitigation(
                self.mitigation,
                fitted.numel(),
                self.model.router_spread[f"layers.{layer}.router"],
                config.experts_per_token,
            )
        return way

    def _head_scores(self, placed: PlacedModel, hidden: Tensor) -> Scores:
        """Loss and top-1 of every scored token, some rows at a time to hold few logits."""
        at_once = max(1, LOGITS_BYTES // (4 * self.model.config.vocab_size))
        scored = self._mask.flatten().nonzero().flatten()
        targets = self._targets.flatten()
        loss = torch.zeros(len(targets), dtype=torch.float64, device=self.device)
        right = torch.zeros(len(targets), dtype=torch.bool, device=self.device)
        for some in scored.split(at_once):
            logits = placed.head(hidden[some])
            entropy = torch.nn.functional.cross_entropy(logits, targets[some], reduction="none")
            loss[some] = entropy.double()
            right[some] = logits.argmax(-1) == targets[some]
        shape = self._targets.shape
        return self._by_sequence(loss.view(shape), right.view(shape))
