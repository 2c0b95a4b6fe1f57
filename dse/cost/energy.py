"""Energy of one step of designs, by module and component: what computes, what moves, what leaks.

Energies are per step (J); `dse.cost.step` divides by the step's tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.arrays import Array
from dse.cost.expert_load import ExpertTables
from dse.cost.mapping import Mapping, Part, matrix_energy_j, model_shape, moved_bytes, partial_sums
from dse.cost.timing import DigitalWork
from hwmodels.components import link
from hwmodels.digital import (
    Accelerator,
    mac_energy_j,
    memory_energy_j_per_byte,
    sram_energy_j_per_byte,
    static_power_w,
)
from hwmodels.tile import Tile

if TYPE_CHECKING:
    from dse.cost.hardware import System
    from dse.cost.workload import Step

ACCELERATOR_COMPONENTS = ("mac", "weight_memory", "kv_cache", "sram", "static")


def weight_bytes(accelerator: Accelerator) -> Array:
    """Bytes of one weight on the accelerator."""
    return np.asarray(accelerator.weight_bits, dtype=float) / 8


@dataclass(frozen=True)
class UnitEnergies:
    """What one multiply-accumulate, one byte of memory and one of SRAM cost (J)."""

    mac_j: Array
    memory_j: Array
    sram_j: Array


def unit_energies(accelerator: Accelerator) -> UnitEnergies:
    """Of the accelerator, computed once for all modules."""
    return UnitEnergies(
        mac_energy_j(accelerator),
        memory_energy_j_per_byte(accelerator),
        sram_energy_j_per_byte(accelerator),
    )


def _analog_energy(
    shapes: tuple[tuple[int, int, int], ...], evaluations: Any, system: System, unit: UnitEnergies
) -> dict[str, Array]:
    """Energy of evaluating matrices on tiles: the tiles, the links, the digital sums (J)."""
    tile: Tile = system.tile
    node: Any = system.accelerator.node_nm
    parts = {
        f"tile_{name}": evaluations * value for name, value in matrix_energy_j(tile, shapes).items()
    }
    moved = evaluations * moved_bytes(tile, shapes)
    parts["link"] = link.energy_j(moved, link.hops(np.asarray(system.tiles)), node)
    sums = evaluations * partial_sums(shapes, tile.rows)
    parts["mac"] = sums * unit.mac_j
    return parts


def energies(
    step: Step,
    tables: ExpertTables,
    system: System,
    mapping: Mapping,
    work: dict[str, DigitalWork],
    interval: Array,
) -> dict[str, dict[str, Array]]:
    """Energy of a step by module and component (J); static energy is a module of its own."""
    accelerator, unit = system.accelerator, unit_energies(system.accelerator)
    energy = {}
    for name, part in step.parts.items():
        cache = step.cache_bytes if name == "attention" else 0
        parts = _digital_energy(unit, work[name], cache, _streamed(step, part, accelerator))
        if np.any(step.is_analog(name)):
            evaluations = np.where(step.is_analog(name), float(step.part_tokens(name)), 0.0)
            parts = _add(parts, _analog_energy(part.shapes, evaluations, system, unit))
        energy[name] = parts
    place = tables.place(mapping.order, mapping.digital_experts)
    evaluated = tables.analog_activations.take(place)
    all_analog = tables.analog_activations[:, 0].take(mapping.order)
    energy["routed_expert"] = expert_energy(
        step,
        system,
        unit,
        analog=evaluated,
        digital=all_analog - evaluated,
        unique=tables.unique_total.take(place),
    )
    energy["static"] = {"static": static_power_w(accelerator) * interval}
    return _limit(accelerator, energy, interval)


def _streamed(step: Step, part: Part, accelerator: Accelerator) -> Array:
    """Weight bytes of a dense part that pass through SRAM in a step."""
    if part.name == "embedding":
        return np.zeros(())
    return np.where(step.is_analog(part.name), 0.0, part.weights * weight_bytes(accelerator))


def _digital_energy(
    unit: UnitEnergies, work: DigitalWork, cache_bytes: int, streamed: Array
) -> dict[str, Array]:
    return {
        "mac": work.macs * unit.mac_j,
        "weight_memory": (work.memory_bytes - cache_bytes) * unit.memory_j,
        "kv_cache": cache_bytes * unit.memory_j,
        "sram": (streamed + cache_bytes) * unit.sram_j,
    }


def expert_energy(
    step: Step, system: System, unit: UnitEnergies, analog: Array, digital: Array, unique: Array
) -> dict[str, Array]:
    """Energy of routed experts: evaluations of analog ones and of digital ones, with the weights
    of the unique digital experts.
    """
    model, accelerator = model_shape(step.architecture), system.accelerator
    parts = _analog_energy(model.expert_shapes, analog, system, unit)
    # Activation function and product with the gate, and the weighted sum of the experts.
    elementwise = analog * (2 * model.expert_width + model.hidden_size)
    macs = digital * float(model.expert_weights) + elementwise
    fetched = unique * (model.expert_weights * weight_bytes(accelerator))
    work = DigitalWork(macs, fetched)
    return _add(parts, _digital_energy(unit, work, 0, fetched))


def _add(first: dict[str, Array], second: dict[str, Array]) -> dict[str, Array]:
    return {
        name: first[name] + second[name]
        if name in first and name in second
        else first.get(name, second.get(name, np.zeros(())))
        for name in dict.fromkeys((*first, *second))
    }


def _limit(
    accelerator: Accelerator, energy: dict[str, dict[str, Array]], interval: Array
) -> dict[str, dict[str, Array]]:
    """Scale the accelerator's energy down to its board limit, where there is one."""
    if accelerator.max_power_w is None:
        return energy
    spent: Array = np.zeros(())
    for parts in energy.values():
        for name in ACCELERATOR_COMPONENTS:
            spent = spent + parts.get(name, np.zeros(()))
    limit = np.asarray(accelerator.max_power_w) * interval
    factor = np.minimum(limit / np.maximum(spent, 1e-300), 1.0)
    return {
        module: {
            name: value * factor if name in ACCELERATOR_COMPONENTS else value
            for name, value in parts.items()
        }
        for module, parts in energy.items()
    }
