"""How long the analog experts of a layer occupy their tiles, in slots of one MVM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from dse.cost.expert_load import ExpertTables
from dse.cost.mapping import Mapping
from dse.cost.normal_maxima import expected_maximum, largest_of_normals

LARGEST_GROUP = 512
"""Tiles up to which the expected largest of their remainders is told apart."""


@dataclass(frozen=True)
class LayerSlots:
    """MVM slots of the analog experts of layers in a step; arrays [layers, designs].

    Attributes:
        slots: for which the busiest tile holds up the stage, expected.
        deviation: its standard deviation.
    """

    slots: Array
    deviation: Array


def own_tile_slots(tables: ExpertTables, row: NDArray[np.int64]) -> LayerSlots:
    """Slots of layers whose experts have tiles of their own: the most loaded expert decides."""
    return LayerSlots(tables.own_slots.take(row), tables.largest_deviation.take(row))


def shared_tile_slots(
    tables: ExpertTables,
    row: NDArray[np.int64],
    analog: Array,
    mapping: Mapping,
    tiles: Array,
) -> LayerSlots:
    """Slots of layers whose `analog` experts lie on `tiles` tiles, of designs that share tiles.

    Up to one block a tile, experts have tiles of their own. Beyond, a layer's tiles form groups
    that hold several experts, and the most loaded group decides. With less than one group, all
    experts of the layer share its tiles.
    """
    found = _one_group(tables, row, analog, mapping, tiles)
    layer, design = several = np.nonzero(analog >= mapping.sharing)  # at least one group
    if len(layer):
        these = fullest_group(tables, row[several], analog[several], mapping.sharing[design])
        found.slots[several], found.deviation[several] = these.slots, these.deviation
    return found


def fullest_group(
    tables: ExpertTables,
    row: NDArray[np.int64],
    analog: Array,
    sharing: Array,
) -> LayerSlots:
    """Slots of layers whose tiles form groups that hold several experts.

    The most loaded group decides, or the most loaded expert if that is more: the larger one of the
    expected largest of full groups and of those that lack an expert, loads being normal. Experts
    are dealt from the busiest down, back and forth. If one group is full, it holds the two least
    used experts, and if that is an odd number, the busiest one with them; of many full groups less
    is known, and if all are full, they hold the mean. The group of the busiest expert holds the
    least used one and others halfway between that and the usual. These means are guesses at the
    deal: held against draws they are up to 13 % too low where routing is very uneven.
    """
    own = own_tile_slots(tables, row)
    groups = np.floor(analog / sharing)
    size = np.ceil(analog / groups)
    lacking = groups * size - analog
    full = np.maximum(groups - lacking, 0)
    mean, least = tables.mean_load.take(row), tables.least_load.take(row)
    most, odd = tables.most_load.take(row), size % 2
    edge = 2 * least + odd * (most - mean) - 2 * mean
    full_load = size * mean + lacking / groups * edge
    other_load = (analog * mean - full * full_load) / np.maximum(lacking, 1)
    largest, varies = largest_of_normals(tables.experts)
    deviation = tables.load_deviation.take(row)
    many_full, many_lacking = full.astype(np.int64), lacking.astype(np.int64)
    of_full, of_others = np.sqrt(size) * deviation, np.sqrt(size - 1) * deviation
    load = expected_maximum(
        full_load + of_full * largest.take(many_full),
        other_load + of_others * largest.take(many_lacking),
        np.hypot(of_full * varies.take(many_full), of_others * varies.take(many_lacking)),
        np.zeros_like(mean),
    )
    # The busiest expert's group is a full one if the last round goes its way.
    with_it = size - 1 - (1 - odd) * (lacking > 0)
    usual = (analog * mean - most) / np.maximum(analog - 1, 1)
    load = np.maximum(load, most + least + (with_it - 1) * (least + usual) / 2)
    slots = np.maximum(own.slots, load + tables.used.take(row))
    spread = np.sqrt(analog / groups) * deviation
    spread = np.maximum(own.deviation, spread * varies.take(groups.astype(np.int64)))
    shares = sharing > 1
    return LayerSlots(np.where(shares, slots, own.slots), np.where(shares, spread, own.deviation))


def _one_group(
    tables: ExpertTables,
    row: NDArray[np.int64],
    analog: Array,
    mapping: Mapping,
    tiles: Array,
) -> LayerSlots:
    """Slots of layers whose experts share all their tiles.

    Blocks are dealt in turn: of each expert a tile has the integer part of blocks over tiles, and
    of what is left the fullest tile has one block of some experts. To the mean work come the
    expected largest of these remainders and what the last token waits because down cannot start
    before gate and up.
    """
    per_tile = mapping.expert_blocks / tiles
    whole = np.floor(per_tile)
    left = mapping.expert_blocks - tiles * whole
    left *= analog
    left /= tiles  # of whole numbers: its ceil is exact
    most_left = np.ceil(left)  # blocks that the fullest tile has of these
    uneven = tables.load_beyond_first.take(row)
    uneven *= most_left - left
    largest, _ = largest_of_normals(LARGEST_GROUP)
    spread = largest.take(tiles.astype(np.int64), mode="clip")
    spread *= tables.load_spread.take(row)
    bubble = np.ceil(mapping.up_blocks / tiles)
    bubble += np.ceil(mapping.down_blocks / tiles)
    bubble -= per_tile
    # Three reasons to wait that do not add: they are the same tile's only now and then.
    waits = spread**2 * most_left
    waits *= 1 - (per_tile - whole)
    waits += uneven**2
    waits += (tables.used.take(row) * bubble) ** 2
    slots = tables.analog_tokens.take(row)
    slots *= per_tile
    slots += np.sqrt(waits, out=waits)
    deviation = tables.total_deviation.take(row)
    deviation *= per_tile
    deviation += bubble * tables.used_deviation.take(row)
    return LayerSlots(slots, deviation)
