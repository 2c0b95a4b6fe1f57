"""Log-likelihoods of text under a placed checkpoint: what question benchmarks are scored by.

Clean and noisy models see the same requests in the same pass over the checkpoint, so that their
accuracies are paired. Results are kept on disk request by request: an interrupted evaluation
goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from dse.checkpoints.fingerprint import fingerprint
from dse.checkpoints.memory import plan_memory
from dse.checkpoints.scores import check_weight_score, checkpoint_scores
from dse.checkpoints.simulator import (
    CheckpointSimulator,
    Mask,
    Placement,
    check_modules,
    check_seeds,
)
from dse.files import held, write_atomically
from dse.placement.experts import SCOPES, digital_mask, digital_order
from dse.simulation.statistics import Array
from hwmodels.catalog import check_name
from hwmodels.nonideality import Noise
from workloads.cache import cache_folder
from workloads.checkpoint_folder import CheckpointFolder, decoder_config, load_tokenizer
from workloads.miniature import corpus
from workloads.tasks import LENGTH, Benchmark

Request = tuple[list[int], list[int]]
"""Tokens of a context (at least one) and of the continuation whose likelihood is asked for."""
Layers = Callable[[str, int, int], None]

_PASS_TOKENS, _FEWEST_TOKENS = 1 << 17, 1 << 10
_CALIBRATION_TOKENS = 4096


@dataclass(frozen=True)
class EvaluationSettings:
    """A placement of a checkpoint's experts, the noise it is under, and its noise seeds.

    digital_share: of the routed experts, those with the highest `score` over the whole model
    ("global") or within each layer ("per_layer"). analog_modules: dense parts that are analog
    too. seeds: 1, or an even number (antithetic pairs).
    """

    noise: Noise = field(default_factory=Noise)
    digital_share: float = 0.25
    score: str = "max_neuron_norm"
    scope: str = "global"
    analog_modules: tuple[str, ...] = ()
    seeds: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.digital_share <= 1:
            raise ValueError(f"the digital share is {self.digital_share}; from 0 to 1 is needed")
        check_seeds(self.seeds)
        check_weight_score(self.score)
        check_name("placement scope", self.scope, SCOPES)

    def placement(self, checkpoint: CheckpointFolder) -> Mask:
        """Digital experts [moe_layers, experts]."""
        shape = (len(checkpoint.architecture.moe_layer_indices),
                 checkpoint.architecture.routed_experts)  # fmt: skip
        count = round(self.digital_share * shape[0] * shape[1])
        if count in (0, shape[0] * shape[1]):  # no score is needed
            return np.full(shape, count > 0)
        order = digital_order(checkpoint_scores(checkpoint, self.score), self.scope)
        return digital_mask(order, count, shape)


class _RowSimulator(CheckpointSimulator):
    """Scores rows of tokens one by one, clean and under every noise draw, in one pass."""

    def rows(
        self, bench: Benchmark, noise: Noise, digital: Mask, modules: tuple[str, ...]
    ) -> Array:
        """Log-likelihood and right tokens of each row: [1 + draws, rows, 2], clean first."""
        self._load([bench])
        placements = [Placement(Noise(), self.all_digital()), Placement(noise, digital, modules)]
        clean, noisy = self._pass(placements, [[(0, 1)], self.draws(noise)])
        return np.stack([np.stack((-one.loss[0], one.top1[0]), axis=1) for one in (*clean, *noisy)])


class Scorer:
    """Log-likelihoods of requests under a checkpoint, clean and with noise, kept in a file.

    file: JSON lines, first the settings, then one request each; None takes one in the user's
    cache folder, named after checkpoint and settings. layers is called with words, layers done and
    layers in each pass. Raises ValueError for what cannot be read and a file of other settings.
    """

    def __init__(
        self,
        checkpoint: CheckpointFolder,
        settings: EvaluationSettings,
        *,
        file: Path | None = None,
        max_memory_bytes: int | None = None,
        device: str | torch.device | None = None,
        layers: Layers = lambda *_: None,
    ) -> None:
        self.checkpoint, self.settings = checkpoint, settings
        self._layers, self._words = layers, ""
        self.config = decoder_config(checkpoint)
        self.tokenizer = load_tokenizer(checkpoint)
        self.views = 1 + settings.seeds
        self._max_memory_bytes, self._device = max_memory_bytes, device
        check_modules(self.config, settings.analog_modules)  # before the first pass, not after it
        self._digital = settings.placement(checkpoint)
        self._simulator: _RowSimulator | None = None
        header = {"checkpoint": fingerprint(checkpoint), **asdict(settings)}
        self._header = json.dumps(header, sort_keys=True)
        name = f"{hashlib.sha256(self._header.encode()).hexdigest()[:16]}.jsonl"
        self.file = file or cache_folder("evaluations") / name
        self._known = _read_results(self.file, self._header)

    def scores(self, requests: Sequence[Request]) -> Array:
        """[1 + draws, requests, 2]: log-likelihood (nats), and whether greedy decoding says it.

        The clean model comes first.
        """
        keys = [_key(request) for request in requests]
        missing = {
            key: request
            for key, request in zip(keys, requests, strict=True)
            if key not in self._known
        }
        tokens = self._pass_tokens()
        done = len(set(keys)) - len(missing)
        for some in _passes(missing, tokens):
            self._words = f"{done:,} of {len(set(keys)):,} requests"
            found = self._compute([missing[key] for key in some])
            self._keep(dict(zip(some, found.swapaxes(0, 1).tolist(), strict=True)))
            done += len(some)
        return np.array([self._known[key] for key in keys]).swapaxes(0, 1)

    def _pass_tokens(self) -> int:
        """Tokens of one pass over the checkpoint: as many as the memory holds states of."""
        tokens = _PASS_TOKENS
        while tokens > _FEWEST_TOKENS:
            try:
                plan_memory(self.checkpoint, self.config, tokens, self.settings.seeds,
                            self._max_memory_bytes)  # fmt: skip
            except ValueError:
                tokens //= 2
            else:
                break
        return tokens

    def _compute(self, requests: Sequence[Request]) -> Array:
        bench = _benchmark(requests)
        if self._simulator is None:
            self._simulator = _RowSimulator(
                self.checkpoint,
                [bench],
                calibration_tokens(self.tokenizer),
                self.settings.seeds,
                self._device,
                max_memory_bytes=self._max_memory_bytes,
                progress=lambda done, total: self._layers(self._words, done, total),
            )
        settings = self.settings
        rows = self._simulator.rows(bench, settings.noise, self._digital, settings.analog_modules)
        if not np.isfinite(rows).all():
            raise ValueError("a log-likelihood is not finite; the noise is beyond the model")
        if len(rows) < self.views:  # without programming noise all draws are one
            rows = np.concatenate((rows[:1], *[rows[1:2]] * settings.seeds))
        lengths = np.array([len(continuation) for _, continuation in requests])
        rows[..., 1] = rows[..., 1] == lengths
        return rows

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the file, with all that it holds by now; ValueError when another evaluation does."""
        lock = self.file.with_name(f".{self.file.name}.lock")
        with held(lock, f"another evaluation is writing into {self.file}: wait for it"):
            self._known = _read_results(self.file, self._header)
            yield

    def _keep(self, found: dict[str, Any]) -> None:
        self._known |= found
        if not self.file.exists():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            header = self._header + "\n"  # cut short it would be another's
            write_atomically(self.file, lambda file: file.write_text(header, encoding="utf-8"))
        cut = not self.file.read_bytes().endswith(b"\n")
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write("\n" if cut else "")
            lines.writelines(json.dumps([key, value]) + "\n" for key, value in found.items())
            lines.flush()
            os.fsync(lines.fileno())


def calibration_tokens(tokenizer: Tokenizer) -> Tensor:
    """Rows of shipped text that no benchmark contains, [B, T], in a checkpoint's own tokens."""
    ids: list[int] = []
    share = _CALIBRATION_TOKENS // len(corpus.DOMAINS)
    for domain in corpus.DOMAINS:
        mine: list[int] = []
        for name in corpus.held_out(domain, "calibration"):
            if len(mine) >= share:
                break
            text = corpus.read_held_out(domain, "calibration", name)
            mine += tokenizer.encode(text, add_special_tokens=False).ids
        ids += mine[:share]
    rows = len(ids) // LENGTH
    return torch.tensor(ids[: rows * LENGTH]).view(rows, LENGTH)


def _passes(missing: dict[str, Request], tokens: int) -> Iterator[list[str]]:
    """Keys in groups of at most so many tokens once padded to the longest, longest first."""
    lengths = {key: len(context) + len(rest) for key, (context, rest) in missing.items()}
    group: list[str] = []
    for key in sorted(lengths, key=lambda key: -lengths[key]):
        if group and (len(group) + 1) * lengths[group[0]] > tokens:
            yield group
            group = []
        group.append(key)
    if group:
        yield group


def _benchmark(requests: Sequence[Request]) -> Benchmark:
    """Requests as rows of one length; what follows a request cannot change it."""
    length = max(len(context) + len(rest) for context, rest in requests)
    tokens = torch.zeros(len(requests), length, dtype=torch.int64)
    scored = torch.zeros(len(requests), length - 1, dtype=torch.bool)
    for row, (context, rest) in enumerate(requests):
        end = len(context) + len(rest)
        tokens[row, :end] = torch.tensor([*context, *rest])
        scored[row, len(context) - 1 : end - 1] = True
    return Benchmark("requests", "text", tokens, scored, torch.full(scored.shape, -1))


def _key(request: Request) -> str:
    return hashlib.blake2b(json.dumps(request).encode(), digest_size=12).hexdigest()


def _read_results(file: Path, header: str) -> dict[str, Any]:
    """Results of an earlier run, without lines that a kill cut short."""
    if not file.exists():
        return {}
    lines = file.read_text(encoding="utf-8").split("\n")
    if lines[0] != header:
        raise ValueError(f"{file} holds results of another checkpoint, placement or noise")
    known: dict[str, Any] = {}
    for line in lines[1:]:
        with suppress(ValueError):
            key, value = json.loads(line)
            known[key] = value
    return known
