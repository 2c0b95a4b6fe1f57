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

from dse.arrays import Array
from workloads.routing import Routing, suffix_loads


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
        least_load, most_load: same shape, those of the least and of the most used one.
        own_slots: same shape, expected load of the most loaded analog expert, and one more if it
            is used: its last token passes gate and up, then down.
        largest_deviation: same shape, standard deviation of that load and one more if used.
        load_deviation: same shape, standard deviation of an analog expert's tokens, their mean
            square, were experts independent.
        load_spread: same shape, the same with the differences between their means and without
            the first token of a step.
        total_deviation: same shape, standard deviation of the tokens on analog experts.
        used: same shape, chance that any analog expert is used.
        idle: same shape, chance that none is.
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
    most_load: Array
    own_slots: Array
    largest_deviation: Array
    load_deviation: Array
    load_spread: Array
    total_deviation: Array
    used: Array
    idle: Array
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
    def orders(self) -> int:
        return self.used.shape[1]

    @property
    def experts(self) -> int:
        """Experts of a layer."""
        return self.used.shape[2] - 1

    def rows(self, layers: slice, place: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where designs of these `place`s are in the tables of some layers [layers, designs].

        An index into all entries of a table, as `take` wants it.
        """
        first = np.arange(self.layers)[layers, None] * self.used[0].size
        found = self.row_in_layer.reshape(self.layers, -1)[layers].take(place, axis=1)
        return np.asarray(found + first, dtype=np.int64)

    def place(self, order: NDArray[np.int64], digital_experts: NDArray[np.int64]) -> Any:
        """Entry of designs in the tables over all experts of the model."""
        return order * self.analog_activations.shape[1] + digital_experts


@lru_cache(maxsize=64)
def stacked(tables: tuple[ExpertTables, ...]) -> ExpertTables:
    """Tables of several orders as one."""
    first = tables[0]
    before = np.cumsum([0, *(table.orders for table in tables)])
    rows = [
        table.row_in_layer + np.int32(number * (first.experts + 1))
        for number, table in zip(before, tables, strict=False)
    ]
    others = [field.name for field in fields(ExpertTables) if field.name != "row_in_layer"]
    joined = {
        # The last axis counts experts, the one before it orders.
        name: np.concatenate([getattr(table, name) for table in tables], axis=-2)
        for name in others
    }
    return ExpertTables(np.concatenate(rows, axis=1), **joined)


def between(below: ExpertTables, above: ExpertTables, share: float) -> ExpertTables:
    """Mean tables of steps of which a share is larger; of the same orders."""
    names = [field.name for field in fields(ExpertTables) if field.name != "row_in_layer"]
    mixed = {
        name: (1 - share) * getattr(below, name) + share * getattr(above, name) for name in names
    }
    return ExpertTables(below.row_in_layer, **mixed)


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
        "least_load": _of_last(np.minimum, mean),
        "most_load": _of_last(np.maximum, mean),
        "own_slots": loads.largest + used,
        "largest_deviation": np.sqrt(loads.deviation**2 + one_more),
        "load_deviation": np.sqrt(variance / some),
        "load_spread": np.sqrt(np.maximum(variance + uneven - used, 0.0) / some),
        "total_deviation": np.sqrt(shared),
        "used": used,
        "idle": 1 - used,
        "used_deviation": np.sqrt(used * (1 - used)),
        "digital_tokens": _prefix(mean),
        "unique_digital": _prefix(1 - unused),
        "unique_deviation": np.sqrt(_prefix(unused * (1 - unused)) * variance / everything),
    }


def _prefix(values: Array) -> Array:
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)


def _suffix(values: Array) -> Array:
    return _prefix(values[:, ::-1])[:, ::-1].copy()


def _of_last(choose: np.ufunc, values: Array) -> Array:
    """Smallest or largest of the last experts, [layers, experts + 1]; zero of none."""
    chosen = choose.accumulate(values[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([chosen, np.zeros((len(values), 1))], axis=1)
