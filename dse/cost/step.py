"""Energy, time and area of one step of designs.

Formulas in the order of a step: where weights lie, what the accelerator computes and moves, how
long each stage takes; `dse.cost.energy` says what each component spends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.arrays import Array
from dse.cost.energy import (
    energies,
    limited,
    prefill_energy_j,
    stack_energy_j,
    static_w,
    unit_energies,
)
from dse.cost.expert_load import ExpertTables
from dse.cost.hardware import DIE_LINK, areas, stacks_fit
from dse.cost.mapping import Flags, Layout, Mapping, Part, layouts, map_experts, model_shape
from dse.cost.timing import (
    DigitalWork,
    ExpertWork,
    Times,
    UnitTimes,
    analog_part_s,
    digital_work,
    expert_times,
    interval_s,
    mvm_time_s,
    unit_times,
)
from hwmodels.digital import (
    activation_room_bytes,
    cache_value_bytes,
    memory_capacity_bytes,
    spilled_bytes,
    token_time_s,
    weight_bytes,
)
from hwmodels.heat import power_density_w_per_mm2

if TYPE_CHECKING:
    from dse.cost.hardware import System
    from dse.cost.workload import Step

SPILLING = ("attention", "mamba", "router", "dense_ffn")
"""Each layer has a mixer and one of router and dense FFN; these stand for the layer's two stages
whose activations must find room on the chip."""


@dataclass(frozen=True)
class Placed:
    """Designs with their weights in place, however many micro-batches a round is cut into.

    Attributes:
        laid: matrices on tiles, by module.
        unit_s, slot_s: what a unit of work takes on an accelerator, and one MVM on a tile.
        weight_bytes, cache_value_bytes: of one weight, and of one key or value.
    """

    system: System
    laid: dict[str, Layout]
    mapping: Mapping
    unit_s: UnitTimes
    slot_s: Array
    weight_bytes: Array
    cache_value_bytes: Array


def placed(
    step: Step, system: System, order: NDArray[np.int64], digital_experts: NDArray[np.int64]
) -> Placed:
    """Where the weights lie, and what a unit of work takes."""
    model = model_shape(step.architecture)
    experts = step.architecture.moe_layers * step.architecture.routed_experts
    laid = layouts(model, system.tile, step.analog)
    mapping = map_experts(
        laid, experts, system.tile, system.tiles, order, digital_experts, step.analog
    )
    mapping = _broadcast(mapping, np.zeros(digital_experts.shape))
    accelerator = system.accelerator
    return Placed(
        system,
        laid,
        mapping,
        unit_times(accelerator),
        mvm_time_s(system.tile),
        weight_bytes(accelerator),
        cache_value_bytes(accelerator),
    )


def step_costs(step: Step, tables: ExpertTables, at: Placed) -> dict[str, Any]:
    """Fields of `dse.cost.evaluate.Costs` for designs, arrays of one length.

    `at.mapping.order` counts through the tables' orders: those of each design's micro-batches.
    """
    system, mapping = at.system, at.mapping
    zero = np.zeros(mapping.digital_experts.shape)
    work = part_works(step, at)
    times = step_times(step, tables, at, work, zero)
    interval = interval_s(times, step.micro_batches)
    outputs = step.output_tokens
    area = {name: value + zero for name, value in areas(system).items()}
    area_mm2 = _total(area)
    unit = unit_energies(system, area_mm2 / np.asarray(system.dies))
    energy = energies(
        step, tables, system, mapping, at.laid, work, unit, static_w(system, area) * interval
    )
    energy = limited(system.accelerator, energy, interval)
    components = _by_component(energy)
    total_j = _total(components)
    stacks_j = stack_energy_j(system, components, unit, interval)
    prompts_j = prefill_energy_j(step, energy, total_j, unit, cache_value_bytes(system.accelerator))
    found = {
        "area_mm2": area_mm2,
        "energy_j_per_token": total_j / outputs,
        "energy_prefill_share": prompts_j / total_j,
        "throughput_tokens_per_s": outputs / interval,
        "tokens_per_s_per_sequence": 1 / (interval * step.micro_batches),
        "time_per_output_token_s": interval * step.micro_batches,
        "time_to_first_token_s": _first_token_s(step, times.latency_s, interval),
        "latency_s_per_token": times.latency_s,
        "micro_batches": step.micro_batches,
        "power_density_w_per_mm2": power_density_w_per_mm2(
            total_j / interval, stacks_j / interval, area_mm2
        ),
        "energy_component": _over(components, outputs, zero),
        "energy_module": _over({n: _total(parts) for n, parts in energy.items()}, outputs, zero),
        "latency_module": {name: value + zero for name, value in times.module_s.items()},
        "interval_resource": {
            "accelerator": times.accelerator_s + zero,
            "tiles": times.tiles_s + zero,
            "sequences": times.latency_s / step.micro_batches + zero,
        },
        "area_component": area,
        **_fits(step, at, area_mm2),
    }
    return _unpriced(found, np.asarray(mapping.fits))


def _first_token_s(step: Step, latency_s: Array, interval: Array) -> Array:
    """From a request's turn to its first output token: its chunks follow one another (s)."""
    if not step.traffic.prompt:
        return np.full(latency_s.shape, np.nan)
    return latency_s + (step.chunks - 1) * interval


def _fits(step: Step, at: Placed, area_mm2: Array) -> dict[str, NDArray[Any]]:
    """What of a design finds its place, and how full its tiles are."""
    mapping, system = at.mapping, at.system
    return {
        "digital_experts": mapping.digital_experts,
        "memory_fits": _memory_fits(step, at),
        "tiles_fit": mapping.fits,
        "stacks_fit": stacks_fit(system, area_mm2),
        "analog_weights": mapping.analog_weights,
        "utilisation": mapping.utilisation,
        "occupancy": mapping.occupancy,
    }


def _unpriced(found: dict[str, Any], fits: NDArray[np.bool_]) -> dict[str, Any]:
    """Without energy, times and rates of designs whose analog parts do not fit their tiles."""
    if fits.all():
        return found
    kept = ("area_mm2", "area_component", "micro_batches", "utilisation")

    def masked(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: masked(part) for name, part in value.items()}
        return np.where(fits, value, np.nan) if value.dtype.kind == "f" else value

    return {name: value if name in kept else masked(value) for name, value in found.items()}


def _over(parts: dict[str, Array], by: Any, zero: Array) -> dict[str, Array]:
    return {name: value / by + zero for name, value in parts.items()}


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


def _resident_share(step: Step, at: Placed) -> Array:
    """Share of the dense digital weights that stay in SRAM from step to step.

    A scratchpad pins what fits beside activations and streams under way. The cache of an existing
    chip that streams more than it holds evicts each weight before its next use: all or nothing.
    """
    accelerator = at.system.accelerator
    weights = _digital_weights(step, "embedding") / np.asarray(at.system.dies)
    room = np.maximum(activation_room_bytes(accelerator) - step.activation_bytes, 0.0)
    share = np.minimum(room / np.maximum(weights * at.weight_bytes, 1.0), 1.0)
    return np.floor(share) if accelerator.kind == "silicon" else share


def _digital_weights(step: Step, *but: str) -> Any:
    """Weights of the digital dense parts, some left out."""
    parts = (part for name, part in step.parts.items() if name not in but)
    return sum(_unless(step.is_analog(part.name), float(part.weights)) for part in parts)


def _unless(analog: Flags, value: Any) -> Any:
    """The value where a part is digital, else nothing; a scalar where no design has it analog."""
    return value if analog is False else np.where(analog, 0.0, value)


def part_works(step: Step, at: Placed) -> dict[str, DigitalWork]:
    """The accelerators' work in a step by dense part."""
    resident = _resident_share(step, at)
    spilled = spilled_bytes(at.system.accelerator, step.activation_bytes)
    fetched = at.weight_bytes * (1 - resident)  # bytes of each weight in use, from memory
    return {name: _part_work(step, part, at, fetched, spilled) for name, part in step.parts.items()}


def _part_work(step: Step, part: Part, at: Placed, fetched: Array, spilled: Array) -> DigitalWork:
    """Work of one dense part in a step, all layers together; none on the weights if analog."""
    tokens, analog = step.part_tokens(part.name), step.is_analog(part.name)
    if part.name == "embedding":
        looked_up = tokens * step.architecture.hidden_size
        return digital_work(weight_bytes=looked_up * at.weight_bytes)
    loaded = _unless(analog, np.asarray(float(part.weights)))
    amounts: dict[str, Any] = {
        "macs": _unless(analog, tokens * part.macs_per_token),
        "weight_bytes": loaded * fetched,
        "loaded": loaded,
    }
    if part.name in SPILLING:
        amounts["spilled_bytes"] = part.layers * spilled
    if part.name == "attention":
        amounts["cache_macs"] = step.attention_macs
        amounts["cache_bytes"] = step.cache_elements * at.cache_value_bytes
    mixer = step.architecture.recurrent
    if mixer is not None and mixer.part == part.name:
        macs = tokens * step.architecture.recurrent_macs
        amounts["cache_macs"] = amounts.get("cache_macs", 0.0) + macs
        amounts["state_bytes"] = step.state_bytes
    return digital_work(**amounts)


def part_times(
    step: Step, at: Placed, work: dict[str, DigitalWork], zero: Array
) -> dict[str, tuple[Array, Array]]:
    """Of each dense part: seconds on the accelerator over all layers, and on one layer's tiles."""
    times: dict[str, tuple[Array, Array]] = {}
    for name, part in step.parts.items():
        analog = step.is_analog(name)
        idle = name == "embedding" or (analog if name != "attention" else False)
        digital = at.unit_s.stage_s(work[name], np.where(idle, 0, part.layers))
        one = zero
        if np.any(analog):
            tokens, sharing = step.part_tokens(name), at.mapping.sharing
            one = analog_part_s(part, at.laid[name], sharing, tokens, at.slot_s)
            one = np.where(analog, one, zero)
        times[name] = (digital, one)
    return times


def expert_work(
    step: Step, tables: ExpertTables, at: Placed, parts: dict[str, tuple[Array, Array]]
) -> ExpertWork:
    """What the experts' stages need, from the times of the dense parts."""
    layers, model = step.architecture.moe_layers, model_shape(step.architecture)
    zero = np.zeros(())
    shared_digital, shared_analog = parts.get("shared_expert", (zero, zero))
    return ExpertWork(
        tables,
        model.expert_weights,
        model.expert_weights * at.weight_bytes,
        shared_analog,
        shared_digital / layers,
    )


def step_times(
    step: Step, tables: ExpertTables, at: Placed, work: dict[str, DigitalWork], zero: Array
) -> Times:
    """Stage times of one step; the shared experts' time is a part of the experts' stage."""
    module_s: dict[str, Array] = {"embedding": zero}  # a tied embedding is read, too, as LM head
    accelerator_s, tiles_s = zero, zero
    parts = part_times(step, at, work, zero)
    for name, (digital, one) in parts.items():
        accelerator_s = accelerator_s + digital
        tiles_s = np.maximum(tiles_s, one)
        if name != "shared_expert":
            module_s[name] = digital + step.parts[name].layers * one
    experts = expert_work(step, tables, at, parts)
    routed = expert_times(experts, at.mapping, at.unit_s, at.slot_s)
    module_s["routed_expert"] = routed.stage_s
    if "shared_expert" in step.parts:
        module_s["shared_expert"] = step.architecture.moe_layers * experts.digital_shared_s
    overhead = overhead_s(step, at.system)
    module_s["overhead"] = overhead + zero
    module_s["die_link"] = crossing_s(step, at.system) + zero
    accelerator_s = accelerator_s + routed.accelerator_s
    return Times(
        module_s,
        accelerator_s=busiest_die_s(step, at.system.dies, accelerator_s) + overhead,
        accelerators=np.asarray(at.system.dies, dtype=float),
        tiles_s=np.maximum(tiles_s, routed.tiles_s),
        shared_s2=routed.shared_s2,
        deviation_s=np.sqrt(routed.variance_s2),
    )


def overhead_s(step: Step, system: System) -> Array:
    """Time of a step beside its stages (s)."""
    fixed = np.asarray(system.accelerator.step_overhead_s, dtype=float)
    return fixed + token_time_s(system.accelerator, step.output_tokens, 0)


def crossing_s(step: Step, system: System) -> Array:
    """Time in which a step's activations pass from die to die (s)."""
    crossings = np.asarray(system.dies, dtype=float) - 1
    return crossings * step.crossing_bytes / DIE_LINK.module_bandwidth_bytes_per_s


def busiest_die_s(step: Step, dies: ArrayLike, accelerator_s: Array) -> Array:
    """Time of the die with the most layers, of a time that all accelerators together work (s)."""
    count = np.asarray(dies, dtype=float)
    layers = step.architecture.layers
    return accelerator_s * (np.ceil(layers / count) / layers)


def _memory_fits(step: Step, at: Placed) -> NDArray[np.bool_]:
    """Whether the stacks hold the digital weights and what all sequences keep, at their longest."""
    expert = float(model_shape(step.architecture).expert_weights)
    weights = _digital_weights(step) + at.mapping.digital_experts * expert
    held = weights * at.weight_bytes + step.held_state_bytes
    held = held + step.held_cache_elements * at.cache_value_bytes
    room = np.asarray(at.system.dies) * memory_capacity_bytes(at.system.accelerator)
    return np.asarray(held <= room)
