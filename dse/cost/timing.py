"""Times of one step of a placed model: stage after stage, and the slowest one.

A step is the way of one micro-batch through the model. Layers follow one another; in a layer
attention, router, and experts do, analog and digital experts at the same time. Tiles belong to
their layer, so that steps can follow one another through the layers; a die's digital accelerator is
one for all its layers, so that its times add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from dse.cost.expert_load import ExpertTables
from dse.cost.mapping import Layout, Mapping, Part
from dse.cost.normal_maxima import expected_maximum
from dse.cost.tile_slots import LayerSlots, own_tile_slots, shared_tile_slots
from hwmodels.digital import (
    Accelerator,
    cache_bandwidth_bytes_per_s,
    peak_macs_per_s,
    stream_bandwidth_bytes_per_s,
)
from hwmodels.tile import Tile, tile_latency_s

ANALOG_PHASES = {"attention": 2, "mamba": 4}
"""Analog phases with digital work between them; other parts pass tokens on without a break."""


AT_ONCE = 16_000
"""Layers times designs worked on at once: their arrays stay in the processor's cache."""


@dataclass(frozen=True)
class Times:
    """Seconds of one step (of one micro-batch); arrays of one length.

    Attributes:
        module_s: latency of one step by module; adds up to the step's latency.
        accelerator_s: time for which a step occupies the busiest digital accelerator.
        accelerators: how many there are, one a die.
        tiles_s: time for which a step occupies the busiest layer's tiles.
        shared_s2: squared time for which a step occupies a tile, summed over the tiles that
            several layers share (s2).
        deviation_s: standard deviation of a step's latency, from what the tokens choose.
    """

    module_s: dict[str, Array]
    accelerator_s: Array
    accelerators: Array
    tiles_s: Array
    shared_s2: Array
    deviation_s: Array

    @property
    def latency_s(self) -> Array:
        return np.asarray(sum(self.module_s.values()))


def interval_s(times: Times, micro_batches: Array) -> Array:
    """Seconds after which the next step can enter, with so many micro-batches under way.

    Whatever works longest sets it, or that each micro-batch needs the latency of a step and waits
    for others. With two, the mean value analysis of closed networks (Reiser and Lavenberg, J. ACM
    27, 1980) has one wait at a resource that works for D seconds of a latency L as long as D D / L:
    it finds the other there in a share D / L of all cases. A tile that layers share serves their
    tokens in turn and keeps to that. An accelerator takes its work in order, in regular pieces, so
    that less is waited for; layers with tiles of their own fall into step and wait for nothing.
    More micro-batches meet more of the others, up to twice as many before something is busy always.

    Between the two bounds scatter blurs: the more, the more a step's times scatter and the nearer
    a second resource is to the busiest. The three weights were fitted to simulations of events:
    benchmarks/cost_simulation.py shows the errors.
    """
    latency_s, others = times.latency_s, 1 - 1 / micro_batches
    busiest = np.maximum(times.accelerator_s, times.tiles_s)
    second = np.minimum(times.accelerator_s, times.tiles_s) / busiest
    width = np.minimum(0.65 * times.deviation_s / latency_s + 0.09 * second, 1.0)
    accelerators_s2 = times.accelerators * times.accelerator_s**2
    meets_s = (times.shared_s2 + 0.4 * accelerators_s2) / latency_s
    apart = (latency_s + 2 * others * meets_s) / micro_batches
    longer, shorter = np.maximum(busiest, apart), np.minimum(busiest, apart)
    blur = others * (shorter / longer) ** (1 / np.maximum(width, 1e-3))
    return np.minimum(longer * (1 + blur) ** width, latency_s)


@dataclass(frozen=True)
class DigitalWork:
    """Work of one step on the accelerator, all layers together.

    Attributes:
        macs: products with weights.
        weight_bytes: of weights from memory.
        loaded: weights that the arrays load, from memory or from on-chip memory.
        spilled_bytes: of activations that find no room on the chip.
        cache_macs: products with keys, values and recurrent states.
        cache_bytes, state_bytes: of keys and values, of recurrent states.
    """

    macs: Array
    weight_bytes: Array
    loaded: Array
    spilled_bytes: Array
    cache_macs: Array
    cache_bytes: Array
    state_bytes: Array


def digital_work(**amounts: Any) -> DigitalWork:
    """Work of the kinds that are given, and none of the others."""
    none = np.zeros(())
    every = dict.fromkeys(DigitalWork.__dataclass_fields__, none)
    return DigitalWork(**{**every, **amounts})


@dataclass(frozen=True)
class UnitTimes:
    """Seconds of one unit of each kind of work on the accelerator of one die.

    `hwmodels.digital.stage_time_s` of each alone; `stage_s` puts them together as it does, for the
    accelerator of many stages in a fraction of the time.
    """

    mac_s: Array
    load_s: Array
    byte_s: Array
    cache_byte_s: Array
    overhead_s: Array

    def arithmetic_s(self, work: DigitalWork) -> Array:
        return np.maximum(work.macs * self.mac_s, work.loaded * self.load_s)

    def streaming_s(self, work: DigitalWork) -> Array:
        return (work.weight_bytes + work.spilled_bytes) * self.byte_s

    def attending_s(self, work: DigitalWork) -> tuple[Array, Array]:
        """Arithmetic on keys, values and states, and their stream."""
        streamed = work.cache_bytes + work.state_bytes
        return work.cache_macs * self.mac_s, streamed * self.cache_byte_s

    def stage_s(self, work: DigitalWork, stages: Any) -> Array:
        weights = np.maximum(self.arithmetic_s(work), self.streaming_s(work))
        return weights + np.maximum(*self.attending_s(work)) + stages * self.overhead_s


def unit_times(accelerator: Accelerator) -> UnitTimes:
    """What one unit of each kind of work takes; on a unit that does not exist very long."""
    rate = peak_macs_per_s(accelerator) * np.asarray(accelerator.compute_efficiency, dtype=float)
    with np.errstate(divide="ignore"):
        mac_s = np.minimum(1 / rate, 1e30)
        byte_s = np.minimum(1 / stream_bandwidth_bytes_per_s(accelerator), 1e30)
        cache_byte_s = np.minimum(1 / cache_bandwidth_bytes_per_s(accelerator), 1e30)
    load_s = mac_s * np.asarray(accelerator.array_rows, dtype=float)
    overhead_s = np.asarray(accelerator.stage_overhead_s, dtype=float)
    return UnitTimes(mac_s, load_s, byte_s, cache_byte_s, overhead_s)


def mvm_time_s(tile: Tile) -> Array:
    """Time of one MVM (s)."""
    total: Any = 0.0
    for part in tile_latency_s(tile).values():
        total = total + part
    return np.asarray(total, dtype=float)


def analog_part_s(part: Part, laid: Layout, sharing: Array, tokens: Array, slot_s: Array) -> Array:
    """Time of one layer's dense part on tiles: every token passes every block (s)."""
    serial = np.minimum(sharing, laid.blocks / part.layers)
    phases = ANALOG_PHASES.get(part.name, 1)
    stages = 1 if part.name in ("router", "lm_head") else 2
    slots = phases * tokens * serial + (stages - 1 if phases == 1 else 0)
    return np.asarray(slots * slot_s, dtype=float)


@dataclass(frozen=True)
class ExpertWork:
    """What the experts' times need: the orders' tables, and one expert on the accelerator."""

    tables: ExpertTables
    weights: int
    weight_bytes: Array
    analog_shared_s: Array
    digital_shared_s: Array


@dataclass(frozen=True)
class LayerStages:
    """The experts' stages of some layers; arrays [layers, designs], or of one layer [designs].

    Attributes:
        stage_s: what they take beyond the digital shared experts.
        digital_s: time of the digital experts on the accelerator.
        tiles_s: time for which the busiest of a layer's tiles is occupied.
        deviation_s: standard deviation of the difference between tiles and accelerator.
        tile: a number that a layer has in common with those on the same tile.
    """

    stage_s: Array
    digital_s: Array
    tiles_s: Array
    deviation_s: Array
    tile: Array

    def each(self) -> Iterator[LayerStages]:
        """Layer by layer."""
        for values in zip(*vars(self).values(), strict=True):
            yield LayerStages(*values)


@dataclass(frozen=True)
class StageDesigns:
    """What the experts' stages need of each design; arrays of one length.

    Attributes:
        mac_s, byte_s: time of an expert's arithmetic for a token, and of fetching and loading its
            weights.
        overhead_s: time that the digital experts of a layer take beyond these, if any is used.
        slot_s: time of one MVM.
        analog_shared_s, digital_shared_s: time of a layer's shared experts, on tiles and on the
            accelerator.
    """

    mapping: Mapping
    mac_s: Array
    byte_s: Array
    overhead_s: Array
    slot_s: Array
    analog_shared_s: Array
    digital_shared_s: Array

    def some(self, designs: NDArray[np.int64]) -> StageDesigns:
        """Those of some designs."""
        times = {name: np.broadcast_to(value, self.mapping.sharing.shape)[designs]
                 for name, value in vars(self).items() if name != "mapping"}  # fmt: skip
        mapping = {name: value[designs] for name, value in vars(self.mapping).items()}
        return StageDesigns(Mapping(**mapping), **times)


def stage_designs(
    work: ExpertWork, mapping: Mapping, unit_s: UnitTimes, slot_s: Array
) -> StageDesigns:
    """What the experts' stages need of designs."""
    return StageDesigns(
        mapping,
        unit_s.mac_s * work.weights,
        # Used or not by many tokens, an expert's weights come from memory and enter the arrays.
        np.maximum(unit_s.byte_s * work.weight_bytes, unit_s.load_s * work.weights),
        unit_s.overhead_s,
        slot_s,
        work.analog_shared_s,
        work.digital_shared_s,
    )


def layer_stages(tables: ExpertTables, designs: StageDesigns) -> Iterator[LayerStages]:
    """The experts' stages of all layers, as many layers at once as `AT_ONCE` allows.

    Analog experts, analog shared experts, and the accelerator (shared and digital experts, one
    after another) work at the same time; the slowest sets the stage.
    """
    mapping = designs.mapping
    place = tables.place(mapping.order, mapping.digital_experts)
    start = np.zeros(mapping.sharing.shape)  # tiles that the layers before take, not rounded
    own_tiles = mapping.sharing.max(initial=1.0) <= 1
    together = max(AT_ONCE // max(start.size, 1), 1)
    for first in range(0, tables.layers, together):
        row = tables.rows(slice(first, first + together), place)
        if own_tiles:
            found, tile = own_tile_slots(tables, row), np.full(row.shape, np.nan)
        else:
            analog = tables.analog_experts.take(row)
            bounds = _bounds(start, analog * mapping.tiles_per_expert)
            start = bounds[-1]
            # The whole tiles between rounded boundaries, or the tile of the middle.
            rounded = np.rint(bounds)
            tiles = np.maximum(rounded[1:] - rounded[:-1], 1.0)
            found = shared_tile_slots(tables, row, analog, mapping, tiles)
            # Less than a tile lies on that of its middle; more never shares: no whole number.
            tile = np.floor((bounds[:-1] + bounds[1:]) / 2)
            tile += (bounds[1:] - bounds[:-1] >= 1) * 0.5
        yield _stages(tables, designs, row, found, tile)


def _bounds(start: Array, lengths: Array) -> Array:
    """Where lengths [layers, designs] begin and end that follow one another from `start` on."""
    bounds = np.empty((len(lengths) + 1, *start.shape))
    bounds[0] = start
    for layer, length in enumerate(lengths):
        np.add(bounds[layer], length, out=bounds[layer + 1])
    return bounds


def _stages(
    tables: ExpertTables,
    designs: StageDesigns,
    row: NDArray[np.int64],
    found: LayerSlots,
    tile: Array,
) -> LayerStages:
    """Stages of layers whose analog experts take these slots."""
    unique = tables.unique_digital.take(row)
    arithmetic, streaming = tables.digital_tokens.take(row) * designs.mac_s, unique * designs.byte_s
    digital_s = np.maximum(arithmetic, streaming) + np.sign(unique) * designs.overhead_s
    slots_s = found.slots * designs.slot_s
    first_s = np.maximum(slots_s, designs.analog_shared_s) - designs.digital_shared_s
    streams = streaming > arithmetic
    varies_s = found.deviation * designs.slot_s + (
        # Not np.where, which takes several times as long where neighbours differ.
        streams * (tables.unique_deviation.take(row) * designs.byte_s)
        + ~streams * (tables.total_deviation.take(row) * designs.mac_s)
    )
    stage_s = expected_maximum(first_s, digital_s, varies_s, tables.idle.take(row))
    return LayerStages(stage_s, digital_s, slots_s, varies_s, tile)


@dataclass(frozen=True)
class ExpertTimes:
    """What the experts of all layers take; arrays of one length.

    Attributes:
        stage_s: sum of the stages beyond the digital shared experts.
        accelerator_s: sum of the digital experts' time on the accelerator.
        tiles_s, shared_s2: as of `Times`.
        variance_s2: of the sum of the stages.
    """

    stage_s: Array
    accelerator_s: Array
    tiles_s: Array
    shared_s2: Array
    variance_s2: Array


def expert_times(
    work: ExpertWork, mapping: Mapping, unit_s: UnitTimes, slot_s: Array
) -> ExpertTimes:
    """Times of the experts of all layers."""
    designs = stage_designs(work, mapping, unit_s, slot_s)
    found = np.empty((5, *mapping.sharing.shape))
    own = mapping.sharing <= 1  # these need no look at what shares a tile
    for group in (np.flatnonzero(own), np.flatnonzero(~own)):
        if len(group):
            stages = layer_stages(work.tables, designs.some(group))
            for total, some in zip(
                found, vars(over_layers(stages, len(group))).values(), strict=True
            ):
                total[group] = some
    return ExpertTimes(*found)


def over_layers(stages: Iterable[LayerStages], count: int) -> ExpertTimes:
    """Times of so many designs from the stages of all layers, in their order."""
    total, accelerator_s, busiest, shared, variance, crowd, layers = found = np.zeros((7, count))
    last = np.full(count, np.nan)
    for some in stages:
        for layer in some.each():
            total += layer.stage_s
            accelerator_s += layer.digital_s
            same = layer.tile == last  # layers on one tile take turns on it
            crowd *= same
            layers *= same
            shared -= crowd**2 * (layers > 1)
            crowd += layer.tiles_s
            layers += layer.tiles_s > 0
            shared += crowd**2 * (layers > 1)
            np.maximum(busiest, crowd, out=busiest)
            variance += layer.deviation_s**2
            last = layer.tile
    return ExpertTimes(*found[:5])
