"""What accuracy is measured on: held-out text and generated tasks with one right answer.

Half of the tokens are text, in equal parts from four domains (see miniature/corpus.py for what
is held out), scored by next-token loss and top-1. The other half are instances of generated
tasks that training never saw, scored by whether every token of the answer is the likeliest.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import torch
from torch import Tensor
from torch.nn import functional

from workloads.checkpoint import Miniature
from workloads.miniature import corpus, generated

LENGTH = 128  # tokens that are predicted per sequence, as in training
SPLITS = ("test", "calibration")


@dataclass(frozen=True)
class Benchmark:
    """Token sequences and what is scored in them; T = 128 predicted tokens a sequence."""

    name: str
    kind: str  # "text" or "task"
    tokens: Tensor  # int64 [N, T + 1]
    answer_mask: Tensor  # bool [N, T]: scored positions of tokens[:, 1:]
    instance: Tensor  # int64 [N, T]: the task instance whose answer a token is part of, or -1

    @property
    def instances(self) -> int:
        """Number of task instances that are scored (0 for text)."""
        return int(self.instance.max()) + 1


@dataclass(frozen=True)
class Score:
    """How well logits predict a benchmark."""

    loss: float  # mean loss in nats over the scored tokens
    top1: float  # share of the scored tokens that are the likeliest
    accuracy: float | None  # share of the task instances answered without a mistake; None for text


def benchmarks(
    miniature: Miniature, tokens: int = 8192, split: str = "test"
) -> tuple[Benchmark, ...]:
    """Four text and six task benchmarks of together about `tokens` predicted tokens.

    `split` is "test" or, for calibrating converters, "calibration"; the two are disjoint, and
    disjoint from what the miniature was trained on. The same call gives the same tokens.
    Raises ValueError when the packages that the text comes from are missing or changed.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    half = tokens // 2 // LENGTH
    if half < len(generated.TASKS):
        needed = 2 * len(generated.TASKS) * LENGTH
        raise ValueError(f"{tokens} tokens are too few for all benchmarks: at least {needed}")
    text = [
        _text(name, split, rows)
        for name, rows in zip(corpus.DOMAINS, _shares(half, len(corpus.DOMAINS)), strict=True)
    ]
    ids = corpus.word_ids(miniature.tokenizer)
    task = [
        _task(name, split, rows, ids)
        for name, rows in zip(generated.TASKS, _shares(half, len(generated.TASKS)), strict=True)
    ]
    return (*text, *task)


def score(logits: Tensor, benchmark: Benchmark) -> Score:
    """Score the logits [N, T, V] of a benchmark's tokens[:, :-1]."""
    mask = benchmark.answer_mask
    target = benchmark.tokens[:, 1:][mask].to(logits.device)
    scored = logits[mask.to(logits.device)]
    right = scored.argmax(-1) == target
    accuracy = None
    if benchmark.kind == "task":
        wrong = torch.zeros(benchmark.instances, device=logits.device)
        wrong.index_add_(0, benchmark.instance[mask].to(logits.device), (~right).float())
        accuracy = float((wrong == 0).float().mean())
    loss = functional.cross_entropy(scored, target)
    return Score(float(loss), float(right.float().mean()), accuracy)


def _shares(rows: int, parts: int) -> list[int]:
    return [rows // parts + (part < rows % parts) for part in range(parts)]


@lru_cache(maxsize=64)
def _text(domain: str, split: str, rows: int) -> Benchmark:
    chosen = []
    for row in _text_rows(domain, split):
        chosen.append(row)
        if len(chosen) == rows:
            break
    else:
        most = len(chosen) * len(corpus.DOMAINS) * LENGTH * 2
        raise ValueError(f"the held-out text is too short: at most {most} tokens")
    unscored = torch.full((rows, LENGTH), -1)
    return Benchmark(domain, "text", torch.tensor(chosen), unscored == -1, unscored)


def _text_rows(domain: str, split: str) -> Iterator[list[int]]:
    """Pieces of the held-out units, one of each in turn, from the middle of the unit on."""
    tokenizer = corpus.load_tokenizer()
    names = corpus.held_out(domain, split)
    encoded: dict[str, list[int]] = {}
    for turn in count():
        found = False
        for name in names:
            if name not in encoded:
                encoded[name] = tokenizer.encode(corpus.read_held_out(domain, split, name)).ids
            pieces = len(encoded[name]) // (LENGTH + 1)
            if turn < pieces:
                found = True
                start = (pieces // 2 + turn) % pieces * (LENGTH + 1)
                yield encoded[name][start : start + LENGTH + 1]
        if not found:
            return


def _task(task: str, split: str, rows: int, ids: dict[str, int]) -> Benchmark:
    tokens, instances, offset = [], [], 0
    for row in range(rows):
        rng = random.Random(f"{split}/{task}/{row}")
        sequence, scored = generated.fill(task, split, rng, ids, LENGTH + 1)
        tokens.append(sequence)
        instances.append([number + offset if number >= 0 else -1 for number in scored[1:]])
        offset = max(offset, max(instances[-1]) + 1)
    instance = torch.tensor(instances)
    return Benchmark(task, "task", torch.tensor(tokens), instance >= 0, instance)
