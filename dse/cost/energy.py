"""Energy of one step of designs, by module and component: what computes, what moves, what leaks.

Energies are per step (J); `dse.cost.step` divides by the output tokens of the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.arrays import Array
from dse.cost.expert_load import ExpertTables
from dse.cost.hardware import DIE_LINK, idle_beside_accelerator_w, is_whole_chip
from dse.cost.mapping import Layout, Mapping, layout_energy_j, model_shape
from dse.cost.timing import DigitalWork, digital_work
from hwmodels import die
from hwmodels.components import link
from hwmodels.digital import (
    Accelerator,
    dequantise_energy_j,
    mac_energy_j,
    memory_energy_j_per_byte,
    sram_energy_j_per_byte,
    static_power_w,
    weight_bytes,
)
from hwmodels.memory import stack_energy_j_per_byte, total_idle_power_w
from hwmodels.tile import unit_energy_j

if TYPE_CHECKING:
    from dse.cost.hardware import System
    from dse.cost.workload import Step

Parts = dict[str, Array]
MEMORY_COMPONENTS = ("weight_memory", "kv_cache", "recurrent_state", "spill")
"""What is spent on bytes from and to the memory stacks."""
ACCELERATOR_COMPONENTS = ("mac", "dequantise", *MEMORY_COMPONENTS, "sram", "network", "static")


@dataclass(frozen=True)
class UnitEnergies:
    """What one unit of each kind of work costs (J): computed once for all modules.

    Attributes:
        mac, dequantise: a multiply-accumulate, a weight widened as it is loaded.
        memory, sram, network: a byte from the stacks, through on-chip memory, across the die.
        link: a byte between a tile and the digital units.
        tile: by component, as `hwmodels.tile.unit_energy_j`.
    """

    mac: Array
    dequantise: Array
    memory: Array
    sram: Array
    network: Array
    link: Array
    tile: Parts


def unit_energies(system: System, die_area_mm2: Array) -> UnitEnergies:
    """Of a system whose dies have this area each."""
    accelerator = system.accelerator
    node: Any = accelerator.node_nm
    across = np.zeros(())
    if not is_whole_chip(accelerator):
        across = die.network_energy_j(1.0, die_area_mm2)
    tiles = np.asarray(system.tiles, dtype=float) / np.asarray(system.dies)
    return UnitEnergies(
        mac_energy_j(accelerator),
        dequantise_energy_j(accelerator),
        memory_energy_j_per_byte(accelerator),
        sram_energy_j_per_byte(accelerator),
        across,
        link.energy_j(1.0, link.hops(tiles), node),
        unit_energy_j(system.tile),
    )


def analog_energy(laid: Layout, evaluations: Any, unit: UnitEnergies) -> Parts:
    """Energy of evaluating matrices on tiles: the tiles, the links, the digital sums (J)."""
    parts = {
        f"tile_{name}": evaluations * value
        for name, value in layout_energy_j(unit.tile, laid).items()
    }
    parts["link"] = evaluations * laid.moved_bytes * unit.link
    parts["mac"] = evaluations * laid.partial_sums * unit.mac
    return parts


def digital_energy(unit: UnitEnergies, work: DigitalWork, streamed: Array) -> Parts:
    """Energy of work on the accelerator (J); `streamed`: weight bytes that pass on-chip memory,
    wherever they come from.
    """
    cached = work.cache_bytes + work.state_bytes
    moved = work.weight_bytes + work.spilled_bytes + cached
    parts = {
        "mac": (work.macs + work.cache_macs) * unit.mac,
        "dequantise": work.loaded * unit.dequantise,
        "weight_memory": work.weight_bytes * unit.memory,
        "kv_cache": work.cache_bytes * unit.memory,
        "spill": work.spilled_bytes * unit.memory,
        "sram": (streamed + cached + work.spilled_bytes) * unit.sram,
        "network": moved * unit.network,
    }
    if np.any(work.state_bytes):
        parts["recurrent_state"] = work.state_bytes * unit.memory
    return parts


def expert_energy(
    step: Step,
    system: System,
    laid: Layout,
    unit: UnitEnergies,
    analog: Array,
    digital: Array,
    unique: Array,
) -> Parts:
    """Energy of routed experts (J): evaluations of analog ones and of digital ones, with the
    weights of the unique digital experts.
    """
    model = model_shape(step.architecture)
    parts = analog_energy(laid, analog, unit)
    # Activation function and product with the gate, and the weighted sum of the experts.
    elementwise = (analog + digital) * (2 * model.expert_width + model.hidden_size)
    loaded = unique * float(model.expert_weights)
    fetched = loaded * weight_bytes(system.accelerator)
    work = digital_work(
        macs=digital * float(model.expert_weights) + elementwise,
        weight_bytes=fetched,
        loaded=loaded,
    )
    return _add(parts, digital_energy(unit, work, fetched))


def part_energies(
    step: Step,
    system: System,
    laid: dict[str, Layout],
    work: dict[str, DigitalWork],
    unit: UnitEnergies,
) -> dict[str, Parts]:
    """Energy of each dense part, all its layers (J)."""
    energy = {}
    for name, part in step.parts.items():
        streamed = _streamed(step, name, part.weights, system.accelerator)
        parts = digital_energy(unit, work[name], streamed)
        if np.any(step.is_analog(name)):
            evaluations = np.where(step.is_analog(name), step.part_tokens(name), 0.0)
            parts = _add(parts, analog_energy(laid[name], evaluations, unit))
        energy[name] = parts
    return energy


def energies(
    step: Step,
    tables: ExpertTables,
    system: System,
    mapping: Mapping,
    laid: dict[str, Layout],
    work: dict[str, DigitalWork],
    unit: UnitEnergies,
    static_j: Array,
) -> dict[str, Parts]:
    """Energy of a step by module and component (J); static energy is a module of its own."""
    energy = part_energies(step, system, laid, work, unit)
    place = tables.place(mapping.order, mapping.digital_experts)
    evaluated = tables.analog_activations.take(place)
    all_analog = tables.analog_activations[:, 0].take(mapping.order)
    energy["routed_expert"] = expert_energy(
        step,
        system,
        laid["routed_expert"],
        unit,
        analog=evaluated,
        digital=all_analog - evaluated,
        unique=tables.unique_total.take(place),
    )
    energy["die_link"] = {"die_link": crossing_energy_j(step, system)}
    energy["static"] = {"static": static_j}
    return energy


def crossing_energy_j(step: Step, system: System) -> Array:
    """Energy of a step's activations on their way from die to die (J)."""
    crossings = np.asarray(system.dies, dtype=float) - 1
    return die.link_energy_j(DIE_LINK, crossings * step.crossing_bytes)


def static_w(system: System, area: Parts) -> Array:
    """Power that is drawn all the time (W): dies, stacks in standby, interfaces."""
    count = np.asarray(system.dies, dtype=float)
    dies_w = count * static_power_w(system.accelerator)
    return dies_w + idle_beside_accelerator_w(system, area)


def stack_energy_j(system: System, components: Parts, unit: UnitEnergies, time_s: Array) -> Array:
    """Energy of a step that turns to heat in the memory stacks, not on the dies (J)."""
    memory = system.accelerator.memory
    moved_j: Any = sum(components.get(name, np.zeros(())) for name in MEMORY_COMPONENTS)
    share = np.minimum(stack_energy_j_per_byte(memory) / np.maximum(unit.memory, 1e-300), 1.0)
    stacks = np.asarray(system.dies) * np.asarray(system.accelerator.hbm_stacks, dtype=float)
    return np.asarray(moved_j * share + total_idle_power_w(memory, stacks) * time_s)


def prefill_energy_j(
    step: Step, energy: dict[str, Parts], total_j: Array, unit: UnitEnergies, cache_byte: Array
) -> Array:
    """Energy of a step that prompts take (J): attention over them, a share of the first output
    token's logits, and of the rest their share of the tokens.
    """
    if not step.traffic.output_tokens:
        return np.zeros(())
    byte_j = unit.memory + unit.sram + unit.network
    attended_j = step.attention_macs * unit.mac + step.cache_elements * cache_byte * byte_j
    own_j = step.prefill_attention_macs * unit.mac
    own_j = own_j + step.prefill_cache_elements * cache_byte * byte_j
    head_j: Any = sum(energy["lm_head"].values())
    share = step.prefilled / step.tokens
    return own_j + (total_j - attended_j - head_j) * share + head_j / step.traffic.output_tokens


def _streamed(step: Step, name: str, weights: int, accelerator: Accelerator) -> Array:
    """Weight bytes of a dense part that pass through SRAM in a step."""
    if name == "embedding":
        return np.zeros(())
    return np.where(step.is_analog(name), 0.0, weights * weight_bytes(accelerator))


def _add(first: Parts, second: Parts) -> Parts:
    return {
        name: first[name] + second[name]
        if name in first and name in second
        else first.get(name, second.get(name, np.zeros(())))
        for name in dict.fromkeys((*first, *second))
    }


def limited(accelerator: Accelerator, energy: dict[str, Parts], time_s: Array) -> dict[str, Parts]:
    """The accelerator's energy scaled down to its board limit, where there is one."""
    if accelerator.max_power_w is None:
        return energy
    spent: Array = np.zeros(())
    for parts in energy.values():
        for name in ACCELERATOR_COMPONENTS:
            spent = spent + parts.get(name, np.zeros(()))
    limit = np.asarray(accelerator.max_power_w) * time_s
    factor = np.minimum(limit / np.maximum(spent, 1e-300), 1.0)
    return {
        module: {
            name: value * factor if name in ACCELERATOR_COMPONENTS else value
            for name, value in parts.items()
        }
        for module, parts in energy.items()
    }
