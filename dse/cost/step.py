"""Energy, time and area of one step of designs.

Formulas in the order of a step: where weights lie, what the accelerator computes and moves, how
long each stage takes; `dse.cost.energy` says what each component spends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from dse.cost.energy import energies, weight_bytes
from dse.cost.expert_load import ExpertTables
from dse.cost.mapping import Mapping, Part, map_experts, model_shape
from dse.cost.timing import (
    DigitalWork,
    ExpertWork,
    Times,
    analog_part_s,
    expert_stages,
    interval_s,
    mvm_time_s,
)
from dse.cost.workload import ACTIVATION_BYTES, Step
from hwmodels.components import link
from hwmodels.digital import (
    Accelerator,
    accelerator_area_mm2,
    memory_capacity_bytes,
    stage_time_s,
    step_time_s,
)
from hwmodels.tile import tile_area_mm2

if TYPE_CHECKING:
    from dse.cost.hardware import System


def step_costs(
    step: Step,
    tables: ExpertTables,
    system: System,
    order: NDArray[np.int64],
    digital_experts: NDArray[np.int64],
) -> dict[str, Any]:
    """Fields of `dse.cost.evaluate.Costs` for designs, arrays of one length."""
    zero, accelerator = np.zeros(digital_experts.shape), system.accelerator
    mapping, work = mapped(step, system, order, digital_experts)
    times = _times(step, tables, system, mapping, work, zero)
    batches = _batches_held(step, accelerator, mapping)
    interval = interval_s(times, batches)
    apart = {"accelerator": times.accelerator_s, "tiles": times.tiles_s,
             "memory": times.latency_s / np.maximum(batches, 1.0)}  # fmt: skip
    energy = energies(step, tables, system, mapping, work, interval)
    tokens = step.tokens
    components = _per_token(_by_component(energy), tokens, zero)
    energy_modules = {name: _total(parts) for name, parts in energy.items()}
    area = {name: value + zero for name, value in areas(system).items()}
    modules = _per_token(times.module_s, _per(step), zero)
    return {
        "area_mm2": _total(area),
        "energy_j_per_token": _total(components),
        "throughput_tokens_per_s": tokens / interval,
        "latency_s_per_token": _total(modules),
        "digital_experts": mapping.digital_experts,
        "memory_fits": mapping.fits & (batches >= 1),
        "utilisation": mapping.utilisation,
        "occupancy": mapping.occupancy,
        "energy_component": components,
        "energy_module": _per_token(energy_modules, tokens, zero),
        "latency_module": modules,
        "interval_resource": {name: value + zero for name, value in apart.items()},
        "area_component": area,
    }


def mapped(
    step: Step, system: System, order: NDArray[np.int64], digital_experts: NDArray[np.int64]
) -> tuple[Mapping, dict[str, DigitalWork]]:
    """Where the weights lie, and the accelerator's work by dense part."""
    model = model_shape(step.architecture)
    experts = step.architecture.moe_layers * step.architecture.routed_experts
    mapping = map_experts(
        model, experts, system.tile, system.tiles, order, digital_experts, step.analog
    )
    resident = _resident_share(step, system.accelerator)
    work = {p.name: _part_work(step, p, system.accelerator, resident) for p in model.parts}
    return _broadcast(mapping, np.zeros(digital_experts.shape)), work


def _per(step: Step) -> int:
    """Tokens of one sequence in a step: a step's latency over them is the latency per token."""
    return step.context if step.prefill else 1


def _per_token(parts: dict[str, Array], tokens: int, zero: Array) -> dict[str, Array]:
    return {name: value / tokens + zero for name, value in parts.items()}


def _total(parts: dict[str, Array]) -> Array:
    total: Array = np.zeros(())
    for part in parts.values():
        total = total + part
    return total


def _by_component(energy: dict[str, dict[str, Array]]) -> dict[str, Array]:
    totals: dict[str, Array] = {}
    for parts in energy.values():
        for name, value in parts.items():
            totals[name] = totals[name] + value if name in totals else value
    return totals


def _broadcast(mapping: Mapping, zero: Array) -> Mapping:
    fields = vars(mapping)
    return Mapping(**{name: np.broadcast_to(value, zero.shape) for name, value in fields.items()})


def _resident_share(step: Step, accelerator: Accelerator) -> Array:
    """Share of the dense digital weights that stay in SRAM from step to step.

    A scratchpad pins what fits beside the activations. The cache of an existing chip that streams
    more than it holds evicts each weight before its next use: all or nothing.
    """
    weights = _digital_weights(step, "embedding")
    activations = 4 * step.tokens * step.architecture.hidden_size * ACTIVATION_BYTES
    room = np.maximum(np.asarray(accelerator.sram_bytes, dtype=float) - activations, 0.0)
    share = np.minimum(room / np.maximum(weights * weight_bytes(accelerator), 1.0), 1.0)
    return np.floor(share) if accelerator.kind == "silicon" else share


def _digital_weights(step: Step, *but: str) -> Any:
    """Weights of the digital dense parts, some left out."""
    parts = (part for name, part in step.parts.items() if name not in but)
    return sum(np.where(step.is_analog(part.name), 0, part.weights) for part in parts)


def _part_work(step: Step, part: Part, accelerator: Accelerator, resident: Array) -> DigitalWork:
    """Work of one dense part in a step, all layers together; none on the weights if analog."""
    tokens, analog = step.part_tokens(part.name), step.is_analog(part.name)
    if part.name == "embedding":
        looked_up = tokens * step.architecture.hidden_size
        return DigitalWork(np.zeros(()), looked_up * weight_bytes(accelerator))
    macs = np.where(analog, 0.0, tokens * part.macs_per_token)
    memory = np.where(analog, 0.0, part.weights * weight_bytes(accelerator) * (1 - resident))
    if part.name == "attention":
        macs = macs + step.attention_macs
        memory = memory + step.cache_bytes
    return DigitalWork(macs, memory)


def part_times(
    step: Step, system: System, mapping: Mapping, work: dict[str, DigitalWork], zero: Array
) -> dict[str, tuple[Array, Array]]:
    """Of each dense part: seconds on the accelerator over all layers, and on one layer's tiles."""
    accelerator = system.accelerator
    times: dict[str, tuple[Array, Array]] = {}
    for name, part in step.parts.items():
        analog = step.is_analog(name)
        idle = name == "embedding" or (analog if name != "attention" else False)
        stages = np.where(idle, 0, part.layers)
        digital = stage_time_s(accelerator, work[name].macs, work[name].memory_bytes, stages)
        one = zero
        if np.any(analog):
            tokens = step.part_tokens(name)
            slot_s = mvm_time_s(system.tile)
            one = analog_part_s(part, system.tile, mapping.sharing, tokens, slot_s)
            one = np.where(analog, one, zero)
        times[name] = (digital, one)
    return times


def expert_work(
    step: Step, tables: ExpertTables, system: System, parts: dict[str, tuple[Array, Array]]
) -> ExpertWork:
    """What the experts' stages need, from the times of the dense parts."""
    layers, model = step.architecture.moe_layers, model_shape(step.architecture)
    zero = np.zeros(())
    shared_digital, shared_analog = parts.get("shared_expert", (zero, zero))
    return ExpertWork(
        tables,
        model.expert_weights,
        model.expert_weights * weight_bytes(system.accelerator),
        shared_analog,
        shared_digital / layers,
    )


def _times(
    step: Step,
    tables: ExpertTables,
    system: System,
    mapping: Mapping,
    work: dict[str, DigitalWork],
    zero: Array,
) -> Times:
    """Stage times of one step; the shared experts' time is a part of the experts' stage."""
    accelerator = system.accelerator
    module_s: dict[str, Array] = {"embedding": zero}  # a tied embedding is read, too, as LM head
    accelerator_s, tiles_s = zero, zero
    parts = part_times(step, system, mapping, work, zero)
    for name, (digital, one) in parts.items():
        accelerator_s = accelerator_s + digital
        tiles_s = np.maximum(tiles_s, one)
        if name != "shared_expert":
            module_s[name] = digital + step.parts[name].layers * one
    experts = expert_work(step, tables, system, parts)
    slot_s = mvm_time_s(system.tile)
    stage, experts_s, busiest, deviation = expert_stages(experts, mapping, accelerator, slot_s)
    module_s["routed_expert"] = stage
    if "shared_expert" in step.parts:
        module_s["shared_expert"] = step.architecture.moe_layers * experts.digital_shared_s
    overhead = step_time_s(accelerator, 0.0, 0.0, step.batch, 0)
    module_s["overhead"] = overhead + zero
    accelerator_s = accelerator_s + experts_s + overhead
    return Times(module_s, accelerator_s, np.maximum(tiles_s, busiest), deviation)


def areas(system: System) -> dict[str, Array]:
    """Area by component (mm2): tiles, their routers, the accelerator."""
    count = np.asarray(system.tiles, dtype=float)
    node: Any = system.accelerator.node_nm
    parts = {f"tile_{name}": count * area for name, area in tile_area_mm2(system.tile).items()}
    parts["link"] = 1e6 * link.area_m2(count, node)
    for name, area in accelerator_area_mm2(system.accelerator).items():
        parts[f"accelerator_{name}"] = np.asarray(area, dtype=float)
    return parts


def _batches_held(step: Step, accelerator: Accelerator, mapping: Mapping) -> Array:
    """Batches whose KV caches the memory stacks hold beside the digital weights.

    As many can be under way in the layers at the same time: `dse.cost.timing.interval_s`.
    """
    dense = _digital_weights(step)
    expert = float(model_shape(step.architecture).expert_weights)
    weights = (dense + mapping.digital_experts * expert) * weight_bytes(accelerator)
    room = memory_capacity_bytes(accelerator) - weights
    return np.floor(room / step.held_cache_bytes)
