"""Times of one step of a placed model: stage after stage, and the slowest one.

A step is one decode step of a batch, or the prefill of one. Layers follow one another; in a layer
attention, router, and experts do, analog and digital experts at the same time. Tiles belong to
their layer, so that steps can follow one another through the layers; the digital accelerator is
one for all layers, so that its times add up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import erfc, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.expert_tables import ExpertTables, own_tile_slots, shared_tile_slots
from dse.mapping import Mapping, Part, blocks
from hwmodels.digital import Accelerator, stage_time_s
from hwmodels.tile import Tile, tile_latency_s

Array = NDArray[np.float64]

ANALOG_PHASES = {"attention": 2, "mamba": 4}
"""Analog phases with digital work between them; other parts pass tokens on without a break."""


EXCESS_STEPS = 256
_POINTS = (np.arange(6 * EXCESS_STEPS) + 0.5) / EXCESS_STEPS
_BEYOND = np.array([erfc(x / sqrt(2)) / 2 for x in _POINTS])
EXCESS = np.append(np.exp(-(_POINTS**2) / 2) / sqrt(2 * pi) - _POINTS * _BEYOND, 0.0)
"""Mean of what a standard normal number exceeds x by, at steps of x; nothing from x = 6."""
TWICE_BEYOND = np.append(2 * _BEYOND, 0.0)
"""Twice the chance that a standard normal number exceeds x, at the same steps."""


@dataclass(frozen=True)
class Times:
    """Seconds of one step; arrays of one length.

    Attributes:
        module_s: latency of one step by module; adds up to the step's latency.
        accelerator_s: time for which a step occupies the digital accelerator.
        tiles_s: time for which a step occupies the busiest layer's tiles.
        deviation_s: standard deviation of a step's latency, from what the tokens choose.
    """

    module_s: dict[str, Array]
    accelerator_s: Array
    tiles_s: Array
    deviation_s: Array

    @property
    def latency_s(self) -> Array:
        return np.asarray(sum(self.module_s.values()))


def interval_s(times: Times, batches: Array) -> Array:
    """Seconds after which the next step can enter, with so many batches under way at a time.

    Whatever works longest sets it, or that each batch needs the latency of a step. A simulation of
    events comes to that bound with one batch and with plenty. In between, batches wait for one
    another: the more, the more their times scatter and the nearer a second resource is to the
    busiest. Both numbers below were fitted to such simulations, whose errors are in
    benchmarks/cost_simulation.py.
    """
    busiest = np.maximum(times.accelerator_s, times.tiles_s)
    latency_s, batches = times.latency_s, np.maximum(batches, 1.0)
    second = np.minimum(times.accelerator_s, times.tiles_s) / busiest
    width = np.minimum(times.deviation_s / latency_s + 0.2 * second, 1.0)
    apart = latency_s / batches
    longer, shorter = np.maximum(busiest, apart), np.minimum(busiest, apart)
    waits = (1 - 1 / batches) * (shorter / longer) ** (1 / np.maximum(width, 1e-3))
    return np.minimum(longer * (1 + waits) ** width, latency_s)


@dataclass(frozen=True)
class DigitalWork:
    """Work of one step on the accelerator: multiply-accumulates and bytes from memory."""

    macs: Array
    memory_bytes: Array


def mvm_time_s(tile: Tile) -> Array:
    """Time of one MVM (s)."""
    total: Any = 0.0
    for part in tile_latency_s(tile).values():
        total = total + part
    return np.asarray(total, dtype=float)


def analog_part_s(part: Part, tile: Tile, sharing: Array, tokens: int, slot_s: Array) -> Array:
    """Time of one layer's dense part on tiles: every token passes every block (s)."""
    part_blocks = blocks(part.shapes, tile.rows, tile.cols) / part.layers
    serial = np.minimum(sharing, part_blocks)
    phases = ANALOG_PHASES.get(part.name, 1)
    stages = 1 if part.name in ("router", "lm_head") else 2
    slots = phases * tokens * serial + (stages - 1 if phases == 1 else 0)
    return np.asarray(slots * slot_s, dtype=float)


@dataclass(frozen=True)
class ExpertWork:
    """What the experts' times need: the orders' tables, and one expert on the accelerator."""

    tables: ExpertTables
    macs: int
    bytes: Array
    analog_shared_s: Array
    digital_shared_s: Array


def expected_maximum(first: Array, second: Array, deviation: Array, idle: Array) -> Array:
    """Expected larger of two times with these means, as of normal numbers (Clark 1961).

    `deviation` is the standard deviation of their difference. Times are not negative: the larger
    one falls below the other in twice the normal tail at most, or when it is `idle` (its chance),
    and then by no more than the other's mean.
    """
    larger, smaller = np.maximum(first, second), np.minimum(first, second)
    place = (larger - smaller) * (EXCESS_STEPS / np.maximum(deviation, 1e-300))
    step = np.minimum(place, len(EXCESS) - 1.0).astype(np.int64)
    most = np.maximum(smaller, 0.0) * np.maximum(TWICE_BEYOND.take(step), idle)
    return larger + np.minimum(deviation * EXCESS.take(step), most)


@dataclass(frozen=True)
class LayerStage:
    """The experts' stage of one layer; arrays over designs.

    Attributes:
        stage_s: what it takes beyond the digital shared experts.
        digital_s: time of the digital experts on the accelerator.
        tiles_s: time for which the busiest of the layer's tiles is occupied.
        deviation_s: standard deviation of the difference between tiles and accelerator.
        tile: a number that it has in common with the layers on the same tile.
    """

    stage_s: Array
    digital_s: Array
    tiles_s: Array
    deviation_s: Array
    tile: Array


def layer_stages(
    work: ExpertWork, mapping: Mapping, accelerator: Accelerator, slot_s: Array
) -> Iterator[LayerStage]:
    """The experts' stage of each layer.

    Analog experts, analog shared experts, and the accelerator (shared and digital experts, one
    after another) work at the same time; the slowest sets the stage.
    """
    tables = work.tables
    mac_s = np.minimum(stage_time_s(accelerator, 1.0, 0.0, 0), 1e30) * work.macs
    byte_s = np.minimum(stage_time_s(accelerator, 0.0, 1.0, 0), 1e30) * work.bytes
    overhead = stage_time_s(accelerator, 0.0, 0.0, 1)
    start = np.zeros(mapping.sharing.shape)  # tiles that the layers before take, not rounded
    tile = np.full(start.shape, np.nan)
    own_tiles = mapping.sharing.max(initial=1.0) <= 1
    place = tables.place(mapping.order, mapping.digital_experts)
    for layer in range(tables.layers):
        rows = tables.rows(layer, place)
        row = rows.row
        if own_tiles:
            found = own_tile_slots(tables, rows)
        else:
            end = start + rows.analog * mapping.tiles_per_expert
            found = shared_tile_slots(tables, rows, mapping, start, end)
            # Less than a tile lies on that of its middle; more never shares: no whole number.
            tile = np.floor((start + end) / 2) + (end - start >= 1) * 0.5
            start = end
        unique = tables.unique_digital[layer].take(row)
        arithmetic, streaming = tables.digital_tokens[layer].take(row) * mac_s, unique * byte_s
        digital_s = np.maximum(arithmetic, streaming) + (unique > 0) * overhead
        slots_s = found.slots * slot_s
        analog_s = np.maximum(slots_s, work.analog_shared_s)
        varies_s = found.deviation * slot_s + np.where(
            streaming > arithmetic,
            tables.unique_deviation[layer].take(row) * byte_s,
            tables.total_deviation[layer].take(row) * mac_s,
        )
        first_s = analog_s - work.digital_shared_s
        stage = expected_maximum(first_s, digital_s, varies_s, 1 - rows.used)
        yield LayerStage(stage, digital_s, slots_s, varies_s, tile)


def expert_stages(
    work: ExpertWork, mapping: Mapping, accelerator: Accelerator, slot_s: Array
) -> tuple[Array, Array, Array, Array]:
    """Sum over layers of the experts' stage beyond the digital shared experts and of its digital
    part, the busiest tiles, and the standard deviation of the sum (s).
    """
    stages = np.zeros(mapping.sharing.shape)
    accelerator_s, busiest, crowd, variance = (stages.copy() for _ in range(4))
    last = np.full(stages.shape, np.nan)
    for layer in layer_stages(work, mapping, accelerator, slot_s):
        stages = stages + layer.stage_s
        accelerator_s = accelerator_s + layer.digital_s
        crowd = crowd * (layer.tile == last) + layer.tiles_s  # layers on one tile take turns on it
        busiest, last = np.maximum(busiest, crowd), layer.tile
        variance = variance + layer.deviation_s**2
    return stages, accelerator_s, busiest, np.sqrt(variance)
