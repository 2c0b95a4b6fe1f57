"""What a placement's order fixes, for every number of digital experts at once.

Placements of one order are nested, so everything that depends on how many experts of a layer are
digital is a short table [layers, experts + 1]; a design only looks up its entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from workloads.routing import Routing, suffix_loads

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ExpertTables:
    """Tables of one order, for steps of a given number of tokens.

    Attributes:
        digital_in_layer: [layers, total + 1], digital experts of a layer when n are digital.
        analog_tokens: [layers, experts + 1], expected tokens on analog experts when d of the layer
            are digital (a token counts once an expert).
        analog_deviation: same shape, standard deviation of their sum, were they independent.
        largest_load: same shape, expected load of the most loaded analog expert.
        used: same shape, chance that any analog expert is used.
        digital_tokens: same shape, expected tokens on digital experts.
        unique_digital: same shape, expected different digital experts in a step.
        analog_activations: [total + 1], analog expert evaluations of a step, over all layers.
        unique_total: [total + 1], unique digital experts of a step, over all layers.
    """

    digital_in_layer: NDArray[np.int32]
    analog_tokens: Array
    analog_deviation: Array
    largest_load: Array
    used: Array
    digital_tokens: Array
    unique_digital: Array
    analog_activations: Array
    unique_total: Array


def expert_tables(routing: Routing, order: NDArray[np.int64], tokens: int) -> ExpertTables:
    """Tables of an order of experts for steps of `tokens` tokens.

    Raises:
        ValueError: `order` is no permutation of the routing's experts.
    """
    layers, experts = routing.probability.shape
    total = layers * experts
    order = np.asarray(order, dtype=np.int64)
    if order.shape != (total,) or not np.array_equal(np.sort(order), np.arange(total)):
        raise ValueError(f"a placement order must be a permutation of {total} experts")
    layer_of = order // experts
    hits = layer_of[None, :] == np.arange(layers)[:, None]
    digital_in_layer = np.zeros((layers, total + 1), dtype=np.int32)
    np.cumsum(hits, axis=1, dtype=np.int32, out=digital_in_layer[:, 1:])
    p = np.stack([routing.probability.reshape(-1)[order[hit]] for hit in hits])
    largest, used = suffix_loads(p, tokens)
    unused = (1 - np.clip(p, 0, 1)) ** tokens
    tables = {
        "analog_tokens": _suffix(tokens * p),
        "analog_deviation": np.sqrt(_suffix(tokens * p * (1 - p))),
        "digital_tokens": _prefix(tokens * p),
        "unique_digital": _prefix(1 - unused),
    }
    activations, unique = np.zeros(total + 1), np.zeros(total + 1)
    for layer in range(layers):  # in this order for every design: the same bits
        activations += tables["analog_tokens"][layer][digital_in_layer[layer]]
        unique += tables["unique_digital"][layer][digital_in_layer[layer]]
    return ExpertTables(
        digital_in_layer,
        largest_load=largest,
        used=used,
        analog_activations=activations,
        unique_total=unique,
        **tables,
    )


def _prefix(values: Array) -> Array:
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)


def _suffix(values: Array) -> Array:
    return _prefix(values[:, ::-1])[:, ::-1].copy()


@lru_cache(maxsize=8)
def largest_of_normals(most: int) -> Array:
    """Expected largest of 0, 1, ..., `most` independent standard normal numbers.

    Integral of 1 - F^n - (1 - F)^n over the positive half line, F the normal distribution.
    """
    from scipy.special import ndtr

    x = np.linspace(0.0, 9.0, 3001)
    below, above = ndtr(x), ndtr(-x)
    n = np.arange(most + 1)[:, None]
    values = 1 - below**n - np.where(n > 0, above**n, 0.0)
    values[0] = 0.0
    step = x[1] - x[0]
    return np.asarray(np.trapezoid(values, dx=step, axis=1))


@lru_cache(maxsize=8)
def group_factors(most: int) -> tuple[Array, Array]:
    """For 0 to `most` groups: their inverse number, and the largest of normals over its root.

    No group at all counts as one.
    """
    groups = np.maximum(np.arange(most + 1), 1)
    return 1 / groups, largest_of_normals(most)[groups] / np.sqrt(groups)


def busiest_tile_slots(
    tables: ExpertTables,
    layer: int,
    digital: NDArray[np.int64],
    expert_blocks: NDArray[np.int64],
    sharing: Array,
) -> tuple[Array, Array]:
    """MVM slots for which a step occupies the busiest tile of a layer.

    Up to one block a tile, each expert has tiles of its own and the most loaded expert decides;
    its last token passes gate and up, then down: one slot more than its load. Beyond, a layer's
    tiles form groups that hold several experts, and the most loaded group decides: the expected
    largest of normal sums, or the most loaded expert if that is more. With less than one group,
    all experts of the layer share its tiles, and each tile does its part of every block.

    Args:
        digital: digital experts of the layer, one entry a design.
        expert_blocks, sharing: of the designs' mapping.

    Returns:
        Slots of the stage (latency), and slots that bound the rate of steps: more than the first
        where layers share a tile.
    """
    experts = tables.used.shape[1] - 1
    tokens = tables.analog_tokens[layer].take(digital)
    analog = experts - digital
    groups = (analog / sharing).astype(np.int64)
    inverse, largest_normal = group_factors(experts)
    grouped = tokens * inverse.take(groups)
    grouped += tables.analog_deviation[layer].take(digital) * largest_normal.take(groups)
    largest = tables.largest_load[layer].take(digital)
    own = np.where(sharing > 1, np.maximum(largest, grouped), largest)
    own += tables.used[layer].take(digital)
    layer_tiles = analog * (expert_blocks / sharing)
    shared = tokens * expert_blocks / np.maximum(layer_tiles, 1.0)
    latency = np.where(groups < 1, shared, own)
    if layer_tiles.size == 0 or layer_tiles.min() >= 1:
        return latency, latency
    share = np.where(layer_tiles > 0, np.minimum(layer_tiles, 1.0), 1.0)
    return latency, latency / share
