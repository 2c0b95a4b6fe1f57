"""What a simulation scores and how scores become a result with standard errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import isfinite, nan
from typing import Any, NamedTuple

import numpy as np

from dse.simulation.statistics import Array, stratified_mean


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
    seeds: int
    tokens: int
    seconds: float
    source: str
    loss_by_sequence: Array = field(repr=False, compare=False)
    accuracy_by_task: Array = field(repr=False, compare=False)


@dataclass(frozen=True)
class Simulated:
    """What the search keeps of a simulation; numbers that it did not give are NaN.

    Attributes:
        failed: why there are no numbers; empty when there are.
    """

    delta_loss_nats: float = nan
    delta_loss_stderr: float = nan
    top1: float = nan
    top1_stderr: float = nan
    accuracy: float = nan
    accuracy_stderr: float = nan
    accuracy_source: str = ""
    seconds: float = nan
    failed: str = ""

    @classmethod
    def of(cls, result: SimulationResult, tasks: bool = True) -> Simulated:
        """The numbers of a result; without `tasks`, as on a checkpoint's text, no task accuracy.

        A number that is not finite is a failure that names it.
        """
        names = [name for name in SIMULATED if tasks or "accuracy" not in name]
        values: dict[str, Any] = {
            name: float(getattr(result, name.removesuffix("_nats"))) for name in names
        }
        if bad := [name for name, value in values.items() if not isfinite(value)]:
            return cls(failed=f"the simulation gave no finite {bad[0]}")
        return cls(**values, accuracy_source=result.source, seconds=float(result.seconds))

    def document(self) -> dict[str, Any]:
        """As a study or a cache holds it: what is known, JSON throughout."""
        return {name: value for name, value in vars(self).items() if value != "" and value == value}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Simulated:
        """What `document` wrote.

        Raises:
            ValueError: a key that no simulation has, as one of another version may.
        """
        known = {entry.name for entry in fields(cls)}
        if unknown := sorted(set(document) - known):
            raise ValueError(f"a simulation of another version of dse: it has {unknown[0]!r}")
        return cls(**document)


SIMULATED = (
    "delta_loss_nats",
    "delta_loss_stderr",
    "top1",
    "top1_stderr",
    "accuracy",
    "accuracy_stderr",
)
"""Columns whose numbers come from a simulation."""


@dataclass(frozen=True)
class Scores:
    """Sums over each sequence, [draws, sequences]; of a clean pass [1, sequences]."""

    loss: Array
    top1: Array
    solved: Array


@dataclass(frozen=True)
class Stratum:
    """The rows of one benchmark and how many tokens and instances each row scores."""

    kind: str
    rows: slice
    tokens: Array
    instances: Array


@dataclass(frozen=True)
class Look:
    """First look at a placement: mean loss (nats) and top-1 of half the text sequences.

    Arrays [pairs, sequences looked at]; two looks of one simulator can be paired.
    """

    loss: Array
    top1: Array


def summarise(
    scores: Scores,
    clean: Scores,
    strata: Sequence[Stratum],
    *,
    seeds: int,
    seconds: float,
    source: str,
) -> SimulationResult:
    """The result of noisy scores [pairs, sequences] beside the clean ones [1, sequences].

    Raises ValueError when a loss is not finite.
    """
    if not np.isfinite(scores.loss).all():
        raise ValueError("the simulated loss is not finite; the noise is beyond the model")
    text = [item for item in strata if item.kind == "text"] or list(strata)
    tasks = [item for item in strata if item.kind == "task"]
    share = np.array([item.tokens.sum() for item in text])
    loss = _change(scores.loss, clean.loss, text, "tokens", share / share.sum())
    top1 = _change(scores.top1, clean.top1, text, "tokens", share / share.sum())
    even = np.full(len(tasks), 1 / max(len(tasks), 1))
    solved = _change(scores.solved, clean.solved, tasks, "instances", even)
    by_sequence = [scores.loss[:, item.rows] / item.tokens for item in text]
    by_task = [scores.solved[:, item.rows].sum(1) / item.instances.sum() for item in tasks]
    return SimulationResult(
        loss=loss.clean + loss.change,
        delta_loss=loss.change,
        delta_loss_stderr=loss.error,
        top1=top1.clean + top1.change,
        top1_stderr=top1.error,
        accuracy=solved.clean + solved.change,
        accuracy_stderr=solved.error,
        clean_loss=loss.clean,
        seeds=seeds,
        tokens=int(sum(item.tokens.sum() for item in strata)),
        seconds=seconds,
        source=source,
        loss_by_sequence=np.concatenate(by_sequence, axis=1),
        accuracy_by_task=np.stack(by_task, axis=1) if tasks else np.empty((len(scores.loss), 0)),
    )


class _Change(NamedTuple):
    """A clean mean, its change under noise, and the standard error of the change."""

    clean: float
    change: float
    error: float


def _change(
    noisy: Array, clean: Array, strata: Sequence[Stratum], unit: str, share: Array
) -> _Change:
    mean, _ = _mean(clean, strata, unit, share)
    return _Change(mean, *_mean(noisy - clean, strata, unit, share))


def in_pairs(scores: Sequence[Scores]) -> Scores:
    """Draws in a row become antithetic pair means, [pairs, sequences]."""

    def average(arrays: list[Array]) -> Array:
        stacked = np.concatenate(arrays)
        if len(stacked) == 1:
            return stacked
        mean: Array = (stacked[0::2] + stacked[1::2]) / 2
        return mean

    return Scores(
        average([item.loss for item in scores]),
        average([item.top1 for item in scores]),
        average([item.solved for item in scores]),
    )


def _mean(sums: Array, strata: Sequence[Stratum], unit: str, share: Array) -> tuple[float, float]:
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
