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
from dse.cost.step import SPILLING, Placed, busiest_die_s, overhead_s
from dse.cost.timing import ANALOG_PHASES
from dse.cost.workload import Step
from hwmodels.digital import activation_room_bytes


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
    """Which of the steps lets most tokens pass: an index, arrays of designs.

    `steps`: one for each number of micro-batches, ascending from one. Designs whose busiest part
    is busy nearly all the time with the first are not asked about the others.
    """
    designs = _designs(steps[0], at)
    round_s, busiest_s = _estimated_round_s(steps[0], designs, means[0])
    best = np.zeros(round_s.shape, dtype=np.int64)
    idle = np.flatnonzero(round_s > WORTH * busiest_s)
    designs, least = designs.some(idle), round_s[idle]
    for number in range(1, len(steps) if len(idle) else 0):
        round_s, _ = _estimated_round_s(steps[number], designs, means[number])
        faster = round_s * CLEARLY < least
        best[idle[faster]] = number
        least = np.where(faster, round_s, least)
    return best


WORTH, CLEARLY = 1.02, 1.005
"""What cutting a round at all must promise, and each further cut."""


@dataclass(frozen=True)
class _Designs:
    """What the estimate needs of designs, whatever the number of micro-batches; arrays.

    Attributes:
        token_macs, head_macs: products with digital dense weights: of each token, of each output.
        weights: digital dense weights; stages: on the accelerators, of all dense parts.
        token_slots, busiest_slots: slots of each token on dense parts' tiles: of all that follow
            one another, of one tile; shared_slots: on shared experts', beside the routed ones.
        head_slots: of each output token on the LM head's.
        place: entry in the tables over all experts.
        analog: analog experts, at least one.
        expert_mac_s, expert_arrives_s: of one digital expert: a token, and its weights.
    """

    token_macs: Array
    head_macs: Array
    weights: Array
    stages: Array
    token_slots: Array
    busiest_slots: Array
    head_slots: Array
    shared_slots: Array
    room_bytes: Array
    weight_bytes: Array
    cache_value_bytes: Array
    dies: Array
    mac_s: Array
    load_s: Array
    byte_s: Array
    cache_byte_s: Array
    overhead_s: Array
    step_overhead_s: Array
    slot_s: Array
    place: NDArray[np.int64]
    analog: Array
    sharing: Array
    expert_blocks: Array
    expert_mac_s: Array
    expert_arrives_s: Array

    def some(self, designs: NDArray[np.int64]) -> _Designs:
        """Those of some designs; what all have in common stays one number."""
        return _Designs(
            **{name: value[designs] if np.ndim(value) else value
               for name, value in vars(self).items()}
        )  # fmt: skip


def _designs(step: Step, at: Placed) -> _Designs:
    mapping, unit_s, model = at.mapping, at.unit_s, model_shape(step.architecture)
    experts = step.architecture.moe_layers * step.architecture.routed_experts
    sums: dict[str, Any] = dict.fromkeys(
        ("token_macs", "head_macs", "weights", "stages", "token_slots", "busiest_slots",
         "head_slots", "shared_slots"), 0.0
    )  # fmt: skip
    for name, part in step.parts.items():
        if name == "embedding":
            continue
        digital, head = 1.0 - np.asarray(step.is_analog(name)), name == "lm_head"
        sums["head_macs" if head else "token_macs"] += digital * part.macs_per_token
        sums["weights"] += digital * part.weights
        sums["stages"] += part.layers * (1.0 if name == "attention" else digital)
        if np.any(step.is_analog(name)):
            serial = np.minimum(mapping.sharing, at.laid[name].blocks / part.layers)
            slots = (1 - digital) * ANALOG_PHASES.get(name, 1) * serial
            if name == "shared_expert":
                sums["shared_slots"] = slots
            else:
                sums["head_slots" if head else "token_slots"] += part.layers * slots
            if not head:
                sums["busiest_slots"] = np.maximum(sums["busiest_slots"], slots)
    arrives_s = np.maximum(unit_s.byte_s * at.weight_bytes, unit_s.load_s)
    return _Designs(
        **{name: np.asarray(value) for name, value in sums.items()},
        room_bytes=activation_room_bytes(at.system.accelerator),
        weight_bytes=at.weight_bytes,
        cache_value_bytes=at.cache_value_bytes,
        dies=np.asarray(at.system.dies, dtype=float),
        **vars(unit_s),
        step_overhead_s=np.asarray(overhead_s(step, at.system)),
        slot_s=at.slot_s,
        place=mapping.order * (experts + 1) + mapping.digital_experts,
        analog=np.maximum(experts - mapping.digital_experts, 1.0),
        sharing=mapping.sharing,
        expert_blocks=mapping.expert_blocks,
        expert_mac_s=unit_s.mac_s * model.expert_weights,
        expert_arrives_s=arrives_s * model.expert_weights,
    )


def _estimated_round_s(step: Step, of: _Designs, mean: MeanLayer) -> tuple[Array, Array]:
    """Seconds of a round, and for how many of them the busiest part works."""
    layers, count = step.architecture.moe_layers, step.micro_batches
    dense_s = _dense_s(step, of)
    stage_s, digital_s, tiles_s = _experts_s(step, of, mean)
    slots = step.tokens * of.token_slots + step.output_tokens * of.head_slots
    busiest_slots = np.maximum(step.tokens * of.busiest_slots, step.output_tokens * of.head_slots)
    accelerator_s = busiest_die_s(step, of.dies, dense_s + layers * digital_s)
    latency_s = dense_s + slots * of.slot_s + layers * stage_s + of.step_overhead_s
    busiest_s = np.maximum(accelerator_s, np.maximum(tiles_s, busiest_slots * of.slot_s))
    apart_s = latency_s / count
    longer, shorter = np.maximum(busiest_s, apart_s), np.minimum(busiest_s, apart_s)
    waits = np.square(np.square(shorter / longer)) * ((1 - 1 / count) / 5)
    return count * np.minimum(longer * (1 + waits), latency_s), count * busiest_s


def _dense_s(step: Step, of: _Designs) -> Array:
    """Dense parts on the accelerators, as if they were one stage (s)."""
    parts = step.parts
    spills = sum(parts[name].layers for name in SPILLING if name in parts)
    held = np.maximum(of.room_bytes - step.activation_bytes, 0.0) * of.dies
    moved = np.maximum(of.weights * of.weight_bytes - held, 0.0)
    moved = moved + spills * 2 * np.maximum(step.activation_bytes - of.room_bytes, 0.0)
    macs = step.tokens * of.token_macs + step.output_tokens * of.head_macs
    arithmetic_s = np.maximum(macs * of.mac_s, of.weights * of.load_s)
    cached = step.cache_elements * of.cache_value_bytes + step.state_bytes
    attending = step.attention_macs + step.tokens * step.architecture.recurrent_macs
    attended_s = np.maximum(attending * of.mac_s, cached * of.cache_byte_s)
    return np.maximum(arithmetic_s, moved * of.byte_s) + attended_s + of.stages * of.overhead_s


def _experts_s(step: Step, of: _Designs, mean: MeanLayer) -> tuple[Array, Array, Array]:
    """A mean layer's experts: the stage, their accelerator time, their busiest tiles (s)."""
    layers = step.architecture.moe_layers
    unique = mean.unique.take(of.place)
    arithmetic_s = mean.digital_tokens.take(of.place) * of.expert_mac_s
    digital_s = np.maximum(arithmetic_s, unique * of.expert_arrives_s)
    digital_s = digital_s + np.sign(unique) * of.overhead_s
    own = mean.own_slots.take(of.place)
    some = own > 0
    load = layers * mean.analog_tokens.take(of.place) / of.analog  # of one expert
    in_layer = np.minimum(of.sharing, of.analog / layers * of.expert_blocks)
    beside = step.tokens * of.shared_slots
    slots_s = np.maximum(np.maximum(own, load * in_layer + some), beside) * of.slot_s
    # On a tile that holds as many experts' blocks, of as many layers as it takes.
    tiles_s = np.maximum(own, load * of.sharing + some) * of.slot_s
    return np.maximum(slots_s, digital_s), digital_s, tiles_s
