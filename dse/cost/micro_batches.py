"""Into how many micro-batches a design cuts a round: the fastest of a few, by a short estimate.

More micro-batches keep more layers busy at the same time, and make each fetch weights for itself.
The estimate takes all layers for alike; the costs of the choice are then computed without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from dse.cost.expert_load import ExpertTables
from dse.cost.mapping import model_shape
from dse.cost.step import Placed, busiest_die_s, overhead_s, part_works
from dse.cost.timing import ANALOG_PHASES, DigitalWork
from dse.cost.workload import Step
from hwmodels.digital import weight_bytes


@dataclass(frozen=True, eq=False)
class MeanLayer:
    """Tables of orders over the number of digital experts [orders, total + 1], of a mean layer.

    Attributes:
        own_slots: `ExpertTables.own_slots`.
        unique: different digital experts in a step.
        analog_tokens, digital_tokens: evaluations of analog and of digital experts.
    """

    own_slots: Array
    unique: Array
    analog_tokens: Array
    digital_tokens: Array


def mean_layer(tables: ExpertTables) -> MeanLayer:
    """The mean over the layers of an order's tables, or of several orders'."""
    own = np.zeros(tables.analog_activations.shape)
    for layer, row in enumerate(tables.row_in_layer):
        own += tables.own_slots[layer].reshape(-1)[row]
    analog = tables.analog_activations / tables.layers
    unique = tables.unique_total / tables.layers
    return MeanLayer(own / tables.layers, unique, analog, analog[:, :1] - analog)


def fastest(steps: Sequence[Step], at: Placed, means: Sequence[MeanLayer]) -> NDArray[np.int64]:
    """Which of the steps (one for each number of micro-batches) lets most tokens pass.

    The first of those that are alike: fewer micro-batches.
    """
    best = np.zeros(at.mapping.digital_experts.shape, dtype=np.int64)
    least: Array | None = None
    for number, (step, mean) in enumerate(zip(steps, means, strict=True)):
        round_s = step.micro_batches * _estimated_interval_s(step, at, mean)
        if least is None:
            least = round_s
            continue
        faster = round_s < least * (1 - 1e-6)
        best[faster] = number
        least = np.where(faster, round_s, least)
    return best


def _estimated_interval_s(step: Step, at: Placed, mean: MeanLayer) -> Array:
    """Seconds between steps, were all layers alike and nothing random."""
    layers = step.architecture.moe_layers
    dense_s, analog_s, slots_s = _dense_s(step, at)
    stage_s, digital_s, tiles_s = _experts_s(step, at, mean)
    accelerator_s = busiest_die_s(step, at.system, dense_s + layers * digital_s)
    latency_s = dense_s + analog_s + layers * stage_s + overhead_s(step, at.system)
    busiest_s = np.maximum(accelerator_s, np.maximum(tiles_s, slots_s))
    apart_s = latency_s / step.micro_batches
    longer, shorter = np.maximum(busiest_s, apart_s), np.minimum(busiest_s, apart_s)
    waits = np.square(np.square(shorter / longer)) * (1 - 1 / step.micro_batches) / 5
    return np.minimum(longer * (1 + waits), latency_s)


def _dense_s(step: Step, at: Placed) -> tuple[Array, Array, Array]:
    """Dense parts: on the accelerators, on tiles one after another, on the busiest tiles (s)."""
    work = part_works(step, at.system)
    names = DigitalWork.__dataclass_fields__
    together = DigitalWork(
        **{name: np.asarray(sum(getattr(one, name) for one in work.values())) for name in names}
    )
    stages: Any = 0.0
    on_tiles, busiest = np.zeros(()), np.zeros(())
    for name, part in step.parts.items():
        analog = step.is_analog(name)
        stages = stages + np.where(analog, 0, part.layers) * (name != "embedding")
        if np.any(analog):
            serial = np.minimum(at.mapping.sharing, at.laid[name].blocks / part.layers)
            slots = ANALOG_PHASES.get(name, 1) * step.part_tokens(name) * serial
            one = np.where(analog, slots * at.slot_s, 0.0)
            on_tiles, busiest = on_tiles + part.layers * one, np.maximum(busiest, one)
    return at.unit_s.stage_s(together, stages), on_tiles, busiest


def _experts_s(step: Step, at: Placed, mean: MeanLayer) -> tuple[Array, Array, Array]:
    """A mean layer's experts: the stage, their accelerator time, their busiest tiles (s)."""
    mapping, unit_s = at.mapping, at.unit_s
    model, layers = model_shape(step.architecture), step.architecture.moe_layers
    place = mapping.order * mean.unique.shape[1] + mapping.digital_experts
    unique = mean.unique.take(place)
    arriving_s = np.maximum(
        unit_s.byte_s * (model.expert_weights * weight_bytes(at.system.accelerator)),
        unit_s.load_s * model.expert_weights,
    )
    arithmetic_s = mean.digital_tokens.take(place) * (unit_s.mac_s * model.expert_weights)
    digital_s = np.maximum(arithmetic_s, unique * arriving_s) + np.sign(unique) * unit_s.overhead_s
    own = mean.own_slots.take(place)
    analog = np.maximum(layers * step.architecture.routed_experts - mapping.digital_experts, 1)
    load = layers * mean.analog_tokens.take(place) / analog  # of one expert
    group = load * mapping.sharing  # tokens on a tile that holds as many experts' blocks
    of_layer = load * np.minimum(mapping.sharing, analog / layers * mapping.expert_blocks)
    some = own > 0
    slots = np.maximum(own, of_layer + some)
    tiles_s = np.maximum(own, group + some) * at.slot_s
    return np.maximum(slots * at.slot_s, digital_s), digital_s, tiles_s
