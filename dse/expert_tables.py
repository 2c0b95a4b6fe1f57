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
        analog_experts: [layers, orders, experts + 1], analog experts when d are digital.
        analog_tokens: same shape, expected tokens on analog experts (a token counts once an
            expert).
        mean_load: same shape, expected tokens of an analog expert, their mean.
        load_beyond_first: same shape, the same without the first token of a step.
        least_load: same shape, those of the least used one.
        largest_load: same shape, expected load of the most loaded analog expert.
        largest_deviation: same shape, standard deviation of that load and one more if used.
        load_deviation: same shape, standard deviation of an analog expert's tokens, their mean
            square, were experts independent.
        load_spread: same shape, the same with the differences between their means and without
            the first token of a step.
        total_deviation: same shape, standard deviation of the tokens on analog experts.
        used: same shape, chance that any analog expert is used.
        used_deviation: same shape, standard deviation of whether any is.
        digital_tokens: same shape, expected tokens on digital experts.
        unique_digital: same shape, expected different digital experts in a step.
        unique_deviation: same shape, standard deviation of their number.
        analog_activations: [orders, total + 1], analog expert evaluations of a step, all layers.
        unique_total: [orders, total + 1], unique digital experts of a step, over all layers.
    """

    row_in_layer: NDArray[np.int32]
    analog_experts: Array
    analog_tokens: Array
    mean_load: Array
    load_beyond_first: Array
    least_load: Array
    largest_load: Array
    largest_deviation: Array
    load_deviation: Array
    load_spread: Array
    total_deviation: Array
    used: Array
    used_deviation: Array
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

    def rows(self, layer: int, place: NDArray[np.int64]) -> LayerRows:
        """What designs of these `place`s have in a layer."""
        row = self.row_in_layer[layer].take(place).astype(np.int64)  # once for all that follows
        analog, used = self.analog_experts[layer].take(row), self.used[layer].take(row)
        return LayerRows(layer, row, analog, used)

    def place(self, order: NDArray[np.int64], digital_experts: NDArray[np.int64]) -> Any:
        """Entry of designs in the tables over all experts of the model."""
        return order * self.analog_activations.shape[1] + digital_experts


@dataclass(frozen=True)
class LayerRows:
    """One layer of designs: the row of its tables, analog experts, chance that any is used."""

    layer: int
    row: NDArray[np.int64]
    analog: Array
    used: Array


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
    tables = _layer_tables(p.tobytes(), p.shape, tokens)
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


@lru_cache(maxsize=32)
def _layer_tables(probability: bytes, shape: tuple[int, ...], tokens: int) -> dict[str, Array]:
    """The tables [layers, experts + 1] from probabilities in the order of becoming digital.

    Kept: a global order and one layer by layer often agree within the layers.
    """
    p = np.frombuffer(probability).reshape(shape)
    loads = suffix_loads(p, tokens)
    used, mean = loads.used, tokens * p
    variance = _suffix(mean * (1 - p))
    analog = np.broadcast_to(np.arange(p.shape[1], -1, -1.0), variance.shape)
    some, tokens_left = np.maximum(analog, 1), _suffix(mean)
    uneven = np.maximum(_suffix(mean**2) - tokens_left**2 / some, 0.0)
    everything = np.maximum(variance[:, :1], 1e-300)
    # The k experts of a token are k for certain: what analog experts gain, digital ones lose.
    shared = variance * (everything - variance) / everything
    unused = (1 - np.clip(p, 0, 1)) ** tokens
    one_more = used * (1 - used) + 2 * loads.largest * (1 - used)
    return {
        "analog_experts": analog,
        "analog_tokens": tokens_left,
        "mean_load": tokens_left / some,
        "load_beyond_first": (tokens_left - used) / some,
        "least_load": _least(mean),
        "largest_load": loads.largest,
        "largest_deviation": np.sqrt(loads.deviation**2 + one_more),
        "load_deviation": np.sqrt(variance / some),
        "load_spread": np.sqrt(np.maximum(variance + uneven - used, 0.0) / some),
        "total_deviation": np.sqrt(shared),
        "used": used,
        "used_deviation": np.sqrt(used * (1 - used)),
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
    values, all_below, all_above = np.zeros(most + 1), np.ones_like(x), np.ones_like(x)
    for n in range(1, most + 1):
        all_below, all_above = all_below * below, all_above * above
        values[n] = np.trapezoid(1 - all_below - all_above, dx=x[1])
    return values


@dataclass(frozen=True)
class LayerSlots:
    """MVM slots of one layer's analog experts in a step; arrays over designs.

    Attributes:
        slots: for which the busiest tile holds up the stage, expected.
        deviation: its standard deviation.
    """

    slots: Array
    deviation: Array


def own_tile_slots(tables: ExpertTables, rows: LayerRows) -> LayerSlots:
    """Slots of a layer whose experts have tiles of their own: the most loaded expert decides.

    Its last token passes gate and up, then down: one slot more than its load.
    """
    slots = tables.largest_load[rows.layer].take(rows.row) + rows.used
    return LayerSlots(slots, tables.largest_deviation[rows.layer].take(rows.row))


def shared_tile_slots(
    tables: ExpertTables, rows: LayerRows, mapping: Mapping, start: Array, end: Array
) -> LayerSlots:
    """Slots of a layer that lies on the tiles from `start` to `end`, not rounded.

    Up to one block a tile, experts have tiles of their own. Beyond, a layer's tiles form groups
    that hold several experts, and the most loaded group decides. With less than one group, all
    experts of the layer share its tiles.
    """
    found = _one_group(tables, rows, mapping, start, end)
    groups = np.floor(rows.analog / mapping.sharing)
    several = np.flatnonzero(groups >= 1)
    if len(several):
        row, analog, used = rows.row[several], rows.analog[several], rows.used[several]
        some = LayerRows(rows.layer, row, analog, used)
        these = _fullest_group(tables, some, mapping.sharing[several], groups[several])
        found.slots[several], found.deviation[several] = these.slots, these.deviation
    return found


def _fullest_group(
    tables: ExpertTables, rows: LayerRows, sharing: Array, groups: Array
) -> LayerSlots:
    """Slots of layers whose tiles form groups that hold several experts.

    The most loaded group has the expected largest of normal sums, or the most loaded expert if that
    is more. The fullest groups hold one expert more than others; busy experts share with idle ones,
    so that it is the least used one. Either one of these has the most, or one of all at their mean
    size.
    """
    own, layer, row = own_tile_slots(tables, rows), rows.layer, rows.row
    extreme = largest_of_normals(tables.experts)
    deviation = tables.load_deviation[layer].take(row)
    mean_size = rows.analog / groups
    size = np.ceil(mean_size)
    full = np.maximum(groups - (groups * size - rows.analog), 0).astype(np.int64)
    least = (size - mean_size) * tables.least_load[layer].take(row)
    largest = least + np.sqrt(size) * deviation * extreme.take(full)
    spread = np.sqrt(mean_size) * deviation
    largest = np.maximum(largest, spread * extreme.take(groups.astype(np.int64)))
    load = mean_size * tables.mean_load[layer].take(row) + largest
    slots = np.maximum(own.slots, load + rows.used)
    varies = np.maximum(own.deviation, LARGEST_VARIES * spread)
    shares = sharing > 1
    return LayerSlots(np.where(shares, slots, own.slots), np.where(shares, varies, own.deviation))


def _one_group(
    tables: ExpertTables, rows: LayerRows, mapping: Mapping, start: Array, end: Array
) -> LayerSlots:
    """Slots of layers whose experts share all their tiles.

    A layer has the whole tiles between its rounded boundaries, or lies on the tile of its middle.
    Blocks are dealt in turn: of each expert a tile has the integer part of blocks over tiles, and
    of what is left the fullest tile has one block of some experts. To the mean work come the
    expected largest of these remainders and what the last token waits because down cannot start
    before gate and up.
    """
    layer, row, blocks = rows.layer, rows.row, mapping.expert_blocks
    tiles = np.maximum(np.rint(end) - np.rint(start), 1.0)
    per_tile = blocks / tiles
    whole = np.floor(per_tile)
    share = per_tile - whole
    left = rows.analog * (blocks - tiles * whole) / tiles  # of whole numbers: its ceil is exact
    most_left = np.ceil(left)  # blocks that the fullest tile has of these
    uneven = tables.load_beyond_first[layer].take(row) * (most_left - left)
    most = largest_of_normals(LARGEST_GROUP)
    extreme = most.take(np.minimum(tiles, LARGEST_GROUP).astype(np.int64))
    spread = extreme * tables.load_spread[layer].take(row)
    bubble = np.ceil(mapping.up_blocks / tiles) + np.ceil(mapping.down_blocks / tiles) - per_tile
    # Three reasons to wait that do not add: they are the same tile's only now and then.
    waits = np.sqrt(uneven**2 + spread**2 * most_left * (1 - share) + (rows.used * bubble) ** 2)
    deviation = tables.total_deviation[layer].take(row) * per_tile
    deviation = deviation + bubble * tables.used_deviation[layer].take(row)
    return LayerSlots(tables.analog_tokens[layer].take(row) * per_tile + waits, deviation)
