"""What placement orders fix, for every number of digital experts at once.

Placements of one order are nested, so everything that depends on how many experts of a layer are
digital is a short table [layers, orders, experts + 1]; a design only looks up its entries, so that
designs of many orders are costed together. `take` with a row counts through orders and experts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.mapping import Mapping
from workloads.routing import Routing, suffix_loads

Array = NDArray[np.float64]

LARGEST_VARIES = 0.7
"""Standard deviation of the largest of a few standard normal numbers: 0.83 of two, 0.59 of ten."""

LARGEST_GROUP = 512
"""Tiles up to which the expected largest of their remainders is told apart."""


@dataclass(frozen=True, eq=False)
class ExpertTables:
    """Tables of one order or several, for steps of a given number of tokens.

    Attributes:
        row_in_layer: [layers, orders, total + 1], row of a layer's tables when n are digital: its
            digital experts d, and (experts + 1) for each order before.
        analog_tokens: [layers, orders, experts + 1], expected tokens on analog experts when d of
            the layer are digital (a token counts once an expert).
        analog_deviation: same shape, standard deviation of their sum, were they independent.
        analog_spread: same shape, the same with the differences between their means.
        total_deviation: same shape, standard deviation of the tokens on analog experts.
        evenness: same shape, load of the least used analog expert over their mean.
        largest_load: same shape, expected load of the most loaded analog expert.
        largest_deviation: same shape, standard deviation of that load and one more if used.
        used: same shape, chance that any analog expert is used.
        digital_tokens: same shape, expected tokens on digital experts.
        unique_digital: same shape, expected different digital experts in a step.
        unique_deviation: same shape, standard deviation of their number.
        analog_activations: [orders, total + 1], analog expert evaluations of a step, all layers.
        unique_total: [orders, total + 1], unique digital experts of a step, over all layers.
    """

    row_in_layer: NDArray[np.int32]
    analog_tokens: Array
    analog_deviation: Array
    analog_spread: Array
    total_deviation: Array
    evenness: Array
    largest_load: Array
    largest_deviation: Array
    used: Array
    digital_tokens: Array
    unique_digital: Array
    unique_deviation: Array
    analog_activations: Array
    unique_total: Array

    @property
    def layers(self) -> int:
        return len(self.used)

    @property
    def experts(self) -> int:
        """Experts of a layer."""
        return self.used.shape[2] - 1

    def first_row(self, order: NDArray[np.int64]) -> NDArray[np.int32]:
        """Row of no digital expert in the layers' tables; arrays over designs."""
        return np.asarray(order * (self.experts + 1), dtype=np.int32)

    def place(self, order: NDArray[np.int64], digital_experts: NDArray[np.int64]) -> Any:
        """Entry of designs in the tables over all experts of the model."""
        return order * self.analog_activations.shape[1] + digital_experts


@lru_cache(maxsize=4)
def stacked(tables: tuple[ExpertTables, ...]) -> ExpertTables:
    """Tables of several orders as one."""
    first = tables[0]
    rows = [
        table.row_in_layer + np.int32(number * (first.experts + 1))
        for number, table in enumerate(tables)
    ]
    others = [field.name for field in fields(ExpertTables) if field.name != "row_in_layer"]
    joined = {
        # The last axis counts experts, the one before it orders.
        name: np.concatenate([getattr(table, name) for table in tables], axis=-2)
        for name in others
    }
    return ExpertTables(np.concatenate(rows, axis=1), **joined)


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
    tables = _layer_tables(p, tokens)
    activations, unique = np.zeros(total + 1), np.zeros(total + 1)
    for layer in range(layers):  # in this order for every design: the same bits
        activations += tables["analog_tokens"][layer][digital_in_layer[layer]]
        unique += tables["unique_digital"][layer][digital_in_layer[layer]]
    return ExpertTables(
        digital_in_layer[:, None],
        analog_activations=activations[None],
        unique_total=unique[None],
        **{name: values[:, None] for name, values in tables.items()},
    )


def _layer_tables(p: Array, tokens: int) -> dict[str, Array]:
    """The tables [layers, experts + 1] from probabilities in the order of becoming digital."""
    loads = suffix_loads(p, tokens)
    used, mean = loads.used, tokens * p
    variance = _suffix(mean * (1 - p))
    experts = np.arange(p.shape[1], -1, -1)
    uneven = _suffix(mean**2) - _suffix(mean) ** 2 / np.maximum(experts, 1)
    everything = np.maximum(variance[:, :1], 1e-300)
    # The k experts of a token are k for certain: what analog experts gain, digital ones lose.
    shared = variance * (everything - variance) / everything
    unused = (1 - np.clip(p, 0, 1)) ** tokens
    one_more = used * (1 - used) + 2 * loads.largest * (1 - used)
    return {
        "analog_tokens": _suffix(mean),
        "analog_deviation": np.sqrt(variance),
        "analog_spread": np.sqrt(variance + np.maximum(uneven, 0.0)),
        "total_deviation": np.sqrt(shared),
        "evenness": _least(mean) * experts / np.maximum(_suffix(mean), 1e-300),
        "largest_load": loads.largest,
        "largest_deviation": np.sqrt(loads.deviation**2 + one_more),
        "used": used,
        "digital_tokens": _prefix(mean),
        "unique_digital": _prefix(1 - unused),
        "unique_deviation": np.sqrt(_prefix(unused * (1 - unused)) * variance / everything),
    }


def _prefix(values: Array) -> Array:
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)


def _suffix(values: Array) -> Array:
    return _prefix(values[:, ::-1])[:, ::-1].copy()


def _least(values: Array) -> Array:
    """Smallest of the last experts, [layers, experts + 1]; zero of none."""
    least = np.minimum.accumulate(values[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([least, np.zeros((len(values), 1))], axis=1)


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


@dataclass(frozen=True)
class LayerSlots:
    """MVM slots of one layer's analog experts in a step; arrays over designs.

    Attributes:
        slots: for which the busiest tile holds up the stage, expected.
        deviation: its standard deviation.
        tile: index of the tile that a layer without one of its own shares with others; else -1.
    """

    slots: Array
    deviation: Array
    tile: NDArray[np.int64]


def busiest_tile_slots(
    tables: ExpertTables,
    layer: int,
    row: NDArray[np.int64],
    digital: NDArray[Any],
    mapping: Mapping,
    start: Array,
) -> tuple[LayerSlots, Array]:
    """Slots of a layer, and where the next layer's tiles start.

    Up to one block a tile, each expert has tiles of its own and the most loaded expert decides;
    its last token passes gate and up, then down: one slot more than its load. Beyond, a layer's
    tiles form groups that hold several experts, and the most loaded group decides: the expected
    largest of normal sums, or the most loaded expert if that is more. With less than one group,
    all experts of the layer share its tiles (`_one_group`).

    Args:
        row: of the layer's tables, one entry a design.
        digital: digital experts of the layer.
        start: tiles that the layers before this one take, not rounded.
    """
    experts = tables.experts
    slots = tables.largest_load[layer].take(row)
    varies = tables.largest_deviation[layer].take(row)
    tile = np.full(slots.shape, -1)
    if mapping.sharing.size == 0 or mapping.sharing.max() <= 1:
        return LayerSlots(slots + tables.used[layer].take(row), varies, tile), start
    analog = experts - digital
    tokens = tables.analog_tokens[layer].take(row)
    groups = (analog / mapping.sharing).astype(np.int64)
    grouped, deviation = _fullest_group(tables, layer, row, analog, tokens, groups)
    shares = mapping.sharing > 1
    slots = np.where(shares, np.maximum(slots, grouped), slots)
    slots += tables.used[layer].take(row)
    varies = np.where(shares, np.maximum(varies, deviation), varies)
    end = start + analog * mapping.tiles_per_expert
    few = np.flatnonzero((groups < 1) & (analog > 0))
    if len(few):
        spread = tables.analog_spread[layer].take(row[few])
        used = tables.used[layer].take(row[few])
        slots[few], bubble, tile[few] = _one_group(
            analog[few],
            tokens[few],
            spread,
            used,
            mapping.expert_blocks[few],
            mapping.down_blocks[few],
            start[few],
            end[few],
        )
        total = tables.total_deviation[layer].take(row[few])
        varies[few] = total * bubble[0] + bubble[1]
    return LayerSlots(slots, varies, tile), end


def _fullest_group(
    tables: ExpertTables,
    layer: int,
    row: NDArray[np.int64],
    analog: NDArray[Any],
    tokens: Array,
    groups: NDArray[np.int64],
) -> tuple[Array, Array]:
    """Expected load of the most loaded group of experts, and its standard deviation.

    The fullest groups hold one expert more than others; busy experts share with idle ones, so that
    it is the least used one. Either one of these has the most, or one of all at their mean size.
    """
    extreme = largest_of_normals(tables.experts)
    some = np.maximum(analog, 1)
    each = tokens / some
    deviation = tables.analog_deviation[layer].take(row) / np.sqrt(some)
    mean_size = analog / np.maximum(groups, 1)
    size = np.ceil(mean_size)
    full = np.maximum(groups - (groups * size - analog), 0).astype(np.int64)
    more = (size - mean_size) * tables.evenness[layer].take(row)
    largest = (mean_size + more) * each + np.sqrt(size) * deviation * extreme.take(full)
    spread = np.sqrt(mean_size) * deviation
    return np.maximum(largest, mean_size * each + spread * extreme.take(groups)), (
        LARGEST_VARIES * spread
    )


def _one_group(
    analog: Array,
    tokens: Array,
    spread: Array,
    used: Array,
    expert_blocks: NDArray[np.int64],
    down: NDArray[np.int64],
    start: Array,
    end: Array,
) -> tuple[Array, tuple[Array, Array], NDArray[np.int64]]:
    """Slots of layers whose experts share all their tiles; how they vary; which tile is shared.

    A layer has the whole tiles between its rounded boundaries, or lies on the tile of its middle.
    Blocks are dealt in turn: of each expert a tile has the integer part of blocks over tiles, and
    of what is left the fullest tile has one block of some experts. To the mean work come the
    expected largest of these remainders and what the last token waits because down cannot start
    before gate and up.

    Returns:
        Slots; slots that vary with each token and with whether there is any; tile or -1.
    """
    width = np.rint(end) - np.rint(start)
    whole = end - start >= 1
    tiles = np.where(whole, np.maximum(width, 1.0), 1.0)
    per_tile = expert_blocks / tiles
    left = expert_blocks - tiles * np.floor(per_tile)  # whole numbers: exact, and faster than mod
    most_left = np.ceil(analog * left / tiles)  # blocks that the fullest tile has of these
    uneven = (tokens - used) * (most_left / analog - left / tiles)
    variance = np.maximum(spread**2 - used, 0.0) / analog * most_left * (1 - left / tiles)
    most = largest_of_normals(LARGEST_GROUP)
    extreme = most.take(np.minimum(tiles, LARGEST_GROUP).astype(np.int64))
    chain = np.ceil((expert_blocks - down) / tiles) + np.ceil(down / tiles)
    # Three reasons to wait that do not add: they are the same tile's only now and then.
    wait = used * (chain - per_tile)
    slots = tokens * per_tile + np.sqrt(uneven**2 + extreme**2 * variance + wait**2)
    any_token = (chain - per_tile) * np.sqrt(used * (1 - used))
    shared_tile = np.where(whole, -1, np.floor((start + end) / 2)).astype(np.int64)
    return slots, (per_tile, any_token), shared_tile
