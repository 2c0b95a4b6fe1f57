"""The checkpoint of a search: routing, scores and noisy simulation, each computed once.

What is known lies in the user's cache folder (`dse.checkpoints.fingerprint`), and is taken from
there.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dse.checkpoints.fingerprint import results_folder
from dse.checkpoints.memory import plan_memory
from dse.checkpoints.scores import WEIGHT_SCORES, checkpoint_scores
from dse.checkpoints.simulator import CheckpointSimulator, Placement, text_benchmark
from dse.kept import digest_of, keep_arrays, read_arrays
from dse.placement.scores import expert_scores
from workloads.architecture import MoEArchitecture, load_model
from workloads.checkpoint_folder import decoder_config, load_tokenizer, open_checkpoint
from workloads.miniature import corpus
from workloads.routing import Routing, UseCounter
from workloads.tasks import LENGTH, Benchmark

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Longer than any token of ordinary text, on average.
_CHARACTERS_PER_TOKEN = 8
Layers = Callable[[str, int, int], None]


def real_architecture(folder: str, model: str) -> MoEArchitecture:
    """The architecture of a checkpoint; that of a named model when both agree in every number.

    model: a name, a config.json, or the folder itself.

    Raises:
        ValueError: they differ, or the folder is no checkpoint; one line.
    """
    found = open_checkpoint(folder).architecture
    if model == folder:
        return found
    named = load_model(model)
    for name in ("family", "layers", "hidden_size", "heads", "kv_heads", "head_dim", "vocab_size",
                 "moe_layer_indices", "routed_experts", "experts_per_token",
                 "expert_intermediate_size", "dense_intermediate_size",
                 "shared_intermediate_size"):  # fmt: skip
        ours, theirs = getattr(found, name), getattr(named, name)
        if ours != theirs:
            raise ValueError(
                f"{found.source}: {name} is {_brief(ours)}, but {named.name} has "
                f"{_brief(theirs)}: leave out --model, or give the checkpoint of that model"
            )
    return named


def _brief(value: Any) -> str:
    return f"{len(value)} layers" if isinstance(value, tuple) else str(value)


def held_out_text(split: str, tokenizer: "Tokenizer", tokens: int) -> list[Benchmark]:
    """The installation's held-out text of a split in a checkpoint's own tokens, by domain."""
    each = tokens // len(corpus.DOMAINS) // LENGTH * LENGTH
    found = []
    for domain in corpus.DOMAINS:
        parts: list[str] = []
        for name in corpus.held_out(domain, split):
            parts.append(corpus.read_held_out(domain, split, name))
            if sum(map(len, parts)) > _CHARACTERS_PER_TOKEN * each:
                break
        found.append(text_benchmark(domain, "".join(parts), tokenizer, each, LENGTH))
    return found


class RealModel:
    """The checkpoint of a search: its routing and scores, and its noisy simulation when needed.

    tokens, seeds: size of one simulation. memory_bytes: of this process, see `plan_memory`.
    mitigation: of every placement. Raises ValueError for a folder that cannot be simulated, or not
    within the memory.
    """

    def __init__(
        self,
        folder: str | Path,
        tokens: int,
        seeds: int,
        memory_bytes: int | None = None,
        mitigation: Sequence[str] = (),
    ) -> None:
        self.checkpoint = open_checkpoint(folder)
        config = decoder_config(self.checkpoint)
        tokenizer = load_tokenizer(self.checkpoint)
        self.seeds, self.memory_bytes = seeds, memory_bytes
        self.mitigation = tuple(mitigation)
        self.texts = held_out_text("test", tokenizer, tokens)
        calibration = held_out_text("calibration", tokenizer, tokens)
        self.calibration = torch.cat([text.tokens[:, :-1] for text in calibration])
        rows = tokens + self.calibration.numel() if mitigation else tokens
        plan_memory(self.checkpoint, config, rows, seeds, memory_bytes)
        self.config = config
        self.folder = results_folder(self.checkpoint)
        self._simulator: CheckpointSimulator | None = None
        self._setting = digest_of(*(text.tokens.numpy() for text in self.texts),
                                  self.calibration.numpy(), seeds)  # fmt: skip

    @property
    def source(self) -> str:
        """What is written beside every number that comes from this checkpoint."""
        return self.checkpoint.source

    def simulator(self, layers: Layers = lambda *_: None) -> CheckpointSimulator:
        """The noisy simulation; the first call takes a pass over the checkpoint."""
        if self._simulator is None:
            counter = UseCounter(self.config)
            self._simulator = CheckpointSimulator(
                self.checkpoint,
                self.texts,
                self.calibration,
                self.seeds,
                mitigation=self.mitigation,
                max_memory_bytes=self.memory_bytes,
                observe=counter,
                progress=lambda done, total: layers("reading the checkpoint", done, total),
            )
            routing = counter.routing(self.source)
            use = {"probability": routing.probability, "weight": routing.weight}
            keep_arrays(self.folder, f"routing-{self._setting[:16]}", use)
        return self._simulator

    def routing(self, layers: Layers = lambda *_: None) -> Routing:
        """How often the calibration text uses each expert; from disk when it is known."""
        name = f"routing-{self._setting[:16]}"
        use = read_arrays(self.folder, name)
        if use is None:
            self.simulator(layers)
            use = read_arrays(self.folder, name)
            assert use is not None
        told = f"traced on {self.calibration.numel():,} tokens of {self.source}"
        return Routing(use["probability"], use["weight"], told)

    def scores(
        self, kind: str, routing: Routing, seed: int, layers: Layers = lambda *_: None
    ) -> NDArray[np.float64]:
        """Score of every expert [moe_layers, experts]; from disk when it is known."""
        if kind not in WEIGHT_SCORES:
            return expert_scores(kind, None, routing, seed=seed)
        kept = read_arrays(self.folder, kind)
        if kept is None:
            words = f"scoring experts: {kind}"
            scores = checkpoint_scores(
                self.checkpoint, kind, lambda done, total: layers(words, done, total)
            )
            kept = {"scores": scores}
            keep_arrays(self.folder, kind, kept)
        return kept["scores"]

    def key(self, placement: Placement) -> str:
        """Name of a simulation in the cache: everything that its result depends on."""
        modules = sorted(placement.analog_modules)
        parts = [self._setting, placement.noise, placement.digital, modules]
        return digest_of(*parts, *([self.mitigation] if self.mitigation else []))
