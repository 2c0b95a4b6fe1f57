"""What one decode step of a published model reads and computes, from a few numbers of its config.

Wider than the architectures that are searched (`workloads.architecture`): any model that somebody
served on a GPU. Counts are of values, not bytes: a precision belongs to who serves it.
"""

from __future__ import annotations

import csv
import difflib
import functools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

TABLE = Path(__file__).parent / "decoders.csv"

ROUTING_EXPONENT = 0.8
"""Experts are used unequally: frequency falls as rank to this power. 0.7 to 0.84 agree alike with
measured steps of Qwen3-30B-A3B and gpt-oss-20b on GPUs."""


@dataclass(frozen=True)
class Decoder:
    """What a decode step of a model reads."""

    name: str
    layers: int
    moe_layers: int
    experts: int
    experts_per_token: int
    parameters_per_expert: int
    parameters_always_read: int
    """All but the routed experts and the input embedding."""
    kv_values_per_token: int
    kv_values_in_window: int
    """Of them in layers that look back no further than `window_tokens`."""
    macs_per_kv_value: float
    """Of scores and weighted values: query heads over heads of keys and values."""
    window_tokens: int


@dataclass(frozen=True)
class StepReads:
    """One decode step of a batch, in values and multiply-accumulates.

    Attributes:
        stages: layers; `grouped_stages`: those that sort tokens by expert.
        grouped_weights: of routed experts that some token uses; `held_grouped_weights`: of all.
        other_weights: of everything that every token uses.
        cache_values: keys and values of all sequences.
        macs: on weights; `cache_macs`: on keys and values.
    """

    stages: int
    grouped_stages: int
    grouped_weights: float
    held_grouped_weights: float
    other_weights: float
    cache_values: float
    macs: float
    cache_macs: float


@functools.cache
def decoders() -> dict[str, Decoder]:
    """The described models by lower-case name without organisation."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for row in rows:
        counts = {name: int(row[name]) for name in (*tuple(row)[1:9], "window_tokens")}
        ratio = float(row["macs_per_kv_value"])
        decoder = Decoder(row["model"], macs_per_kv_value=ratio, **counts)
        found[row["model"].split("/")[1].lower()] = decoder
    return found


def find_decoder(name: str) -> Decoder:
    """The longest described name that a model name begins with (suffixes are releases).

    Failing that, the only described name that begins with it ("OLMoE"). ValueError in one line,
    with the nearest names, for any other.
    """
    known = decoders()
    base = re.sub(r"[\s_]+", "-", name.strip().split("/")[-1].lower())
    base = base.replace("deepseekmoe", "deepseek-moe")
    stems = {re.sub(r"(-(v0\.\d|base|instruct|\d{4}))+$", "", key): key for key in known}
    matches = [
        key for stem, key in stems.items() if re.match(rf"{re.escape(stem)}(?![a-z0-9])", base)
    ]
    longer = [key for key in known if base and re.match(rf"{re.escape(base)}(?![a-z0-9])", key)]
    matches = matches or longer[:1] * (len(longer) == 1)
    if not matches or "distill" in base:
        near = difflib.get_close_matches(base, known, n=3, cutoff=0.0)
        raise ValueError(
            f"model {name!r} is not described; nearest of the {len(known)} that are: "
            f"{', '.join(near)}"
        )
    return known[max(matches, key=len)]


def routing_probabilities(experts: int, chosen: int, exponent: float) -> NDArray[np.float64]:
    """Chance that a token uses each expert: rank to minus `exponent`; adds up to `chosen`."""
    rank = np.arange(1, experts + 1, dtype=float)
    share = np.power(rank, -exponent)
    probability = np.zeros(experts)
    certain = np.zeros(experts, dtype=bool)
    for _ in range(experts):  # what would exceed 1 is certain; the rest share what is left
        left = chosen - certain.sum()
        probability = np.where(certain, 1.0, left * share / share[~certain].sum())
        over = (probability > 1) & ~certain
        if not over.any():
            break
        certain |= over
    return probability


def expected_unique_experts(probability: ArrayLike, batch: float) -> float:
    """Expected number of experts that at least one of `batch` independent tokens uses."""
    idle = np.power(1 - np.asarray(probability, dtype=float), batch)
    return float(np.sum(1 - idle))


def cached_values(decoder: Decoder, context: float) -> float:
    """Keys and values of one sequence of `context` tokens that a step reads."""
    whole = decoder.kv_values_per_token - decoder.kv_values_in_window
    return whole * context + decoder.kv_values_in_window * min(context, decoder.window_tokens)


def step_reads(model: str, batch: float, context: float) -> StepReads:
    """What a decode step of `batch` sequences of `context` tokens reads and computes.

    Raises ValueError in one line for a model that is not described.
    """
    decoder = find_decoder(model)
    expert = decoder.moe_layers * decoder.parameters_per_expert
    p = routing_probabilities(decoder.experts, decoder.experts_per_token, ROUTING_EXPONENT)
    values = batch * cached_values(decoder, context)
    return StepReads(
        stages=decoder.layers,
        grouped_stages=decoder.moe_layers,
        grouped_weights=expert * expected_unique_experts(p, batch),
        held_grouped_weights=expert * decoder.experts,
        other_weights=decoder.parameters_always_read,
        cache_values=values,
        macs=batch * (decoder.parameters_always_read + expert * decoder.experts_per_token),
        cache_macs=values * decoder.macs_per_kv_value,
    )
