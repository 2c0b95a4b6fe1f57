"""One step of a design layer by layer: what runs where, for how long, and what it spends.

The formulas of the costs, not yet summed over layers. Neighbouring layers that do not differ are
one stretch, so that a design takes a dozen rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.cost import placement_tables
from dse.expert_tables import ExpertTables
from dse.latency import layer_stages, mvm_time_s
from dse.step import Step, energies, expert_energy, expert_work, mapped, part_times
from dse.uncertainty import Model, analog_modules, systems
from hwmodels.digital import step_time_s
from workloads.architecture import MoEArchitecture
from workloads.inventory import inventory

if TYPE_CHECKING:
    import pandas as pd

    from dse.cost import System

Array = NDArray[np.float64]

ACCELERATOR, TILES = "accelerator", "tiles"


@dataclass(frozen=True)
class Stage:
    """One module in one layer; arrays over designs.

    Attributes:
        resource: what it keeps busy; empty where the time is not told apart.
        start_s: when it starts in its layer.
        busy_s: for how long.
        energy_j: by component, of a step.
    """

    module: str
    resource: str
    start_s: Array
    busy_s: Array
    energy_j: dict[str, Array]


Place = tuple[Array, list[Stage]]
"""Length (s) and stages of a layer, or of what comes before or after the layers."""


def layer_table(model: Model, table: pd.DataFrame) -> pd.DataFrame:
    """The stages of a step of every design in a table of candidates.

    Returns:
        One row a stage and stretch of like layers: `trial`; `first_layer` and `last_layer` (-1 for
        the embedding, the number of layers for what follows the last); `module`; `resource`;
        `start_s` within a layer, `busy_s` and the layer's length `layer_s`, each of one layer;
        `energy_<component>_j_per_token` of all layers of the stretch.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    modules, work = analog_modules(table), model.workload
    tables = placement_tables(model.routing, model.orders.values(), work.tokens)
    for group in dict.fromkeys(modules):
        chosen = table[[own == group for own in modules]]
        step = Step(model.architecture, work.batch, work.context, work.mode == "prefill",
                    dict.fromkeys(group, True))  # fmt: skip
        places = _places(step, tables, *systems(model, chosen))
        for design, trial in enumerate(chosen["trial"]):
            rows += _stretches(int(trial), places, step.tokens, design)
    return pd.DataFrame(rows)


def _places(
    step: Step,
    tables: ExpertTables,
    system: System,
    order: NDArray[np.int64],
    digital: NDArray[np.int64],
) -> list[Place]:
    """The embedding, each layer, and what follows the last one."""
    zero = np.zeros(digital.shape)
    mapping, work = mapped(step, system, order, digital)
    times = part_times(step, system, mapping, work, zero)
    holders = _layers_of_parts(step.architecture)
    energy = {
        name: {key: value / len(holders.get(name, [0])) for key, value in parts.items()}
        for name, parts in energies(step, tables, system, mapping, work, zero).items()
    }
    experts = expert_work(step, tables, system, times)
    stages = layer_stages(experts, mapping, system.accelerator, mvm_time_s(system.tile))
    shared = experts.digital_shared_s + zero
    place = tables.place(mapping.order, mapping.digital_experts)
    places: list[Place] = []
    moe_layer = 0
    for layer in range(step.architecture.layers):
        now, found = zero, []
        for name in ("attention", "mamba", "dense_ffn", "router"):
            if layer not in holders.get(name, []):
                continue
            on, tiles = times[name][0] / len(holders[name]) + zero, times[name][1] + zero
            both = on.any() and tiles.any()
            where = TILES if tiles.any() and not both else ACCELERATOR
            found.append(Stage(name, where, now, on if both else on + tiles, energy[name]))
            if both:
                found.append(Stage(name, TILES, now + on, tiles, {}))
            now = now + on + tiles
        if layer in holders["routed_expert"]:
            stage = next(stages)
            found += _shared_stage(energy, now, shared, experts.analog_shared_s + zero)
            row = tables.row_in_layer[moe_layer].take(place)
            found += [
                Stage(
                    "digital_experts", ACCELERATOR, now + shared, stage.digital_s,
                    expert_energy(step, system, zero, tables.digital_tokens[moe_layer].take(row),
                                  tables.unique_digital[moe_layer].take(row)),
                ),
                Stage(
                    "analog_experts", TILES, now, stage.tiles_s,
                    expert_energy(step, system, tables.analog_tokens[moe_layer].take(row), zero,
                                  zero),
                ),
            ]  # fmt: skip
            now = now + shared + stage.stage_s
            moe_layer += 1
        places.append((now, found))
    head_s = times["lm_head"][0] + times["lm_head"][1] + zero
    overhead_s = step_time_s(system.accelerator, 0.0, 0.0, step.batch, 0) + zero
    where = TILES if step.is_analog("lm_head") else ACCELERATOR
    after = [
        Stage("lm_head", where, zero, head_s, energy["lm_head"]),
        Stage("overhead", ACCELERATOR, head_s, overhead_s, {}),
    ]
    look_up_s = times["embedding"][0] + zero if "embedding" in times else zero
    before = [Stage("embedding", ACCELERATOR, zero, look_up_s, energy.get("embedding", {}))]
    return [(look_up_s, before), *places, (head_s + overhead_s, after)]


def _shared_stage(
    energy: dict[str, dict[str, Array]], now: Array, digital_s: Array, analog_s: Array
) -> list[Stage]:
    if "shared_expert" not in energy:
        return []
    resource = TILES if analog_s.any() else ACCELERATOR
    busy = analog_s if analog_s.any() else digital_s
    return [Stage("shared_expert", resource, now, busy, energy["shared_expert"])]


@lru_cache(maxsize=8)
def _layers_of_parts(architecture: MoEArchitecture) -> dict[str, list[int]]:
    """Layers that hold each part."""
    table = inventory(architecture)
    groups = table.dropna(subset=["layer"]).groupby("part")["layer"]
    return {str(part): sorted({int(layer) for layer in layers}) for part, layers in groups}


def _stretches(trial: int, places: list[Place], tokens: int, design: int) -> list[dict[str, Any]]:
    """Rows of one design (an index into the arrays), like neighbours together."""
    described = [_described(place, tokens, design) for place in places]
    rows: list[dict[str, Any]] = []
    first = 0
    for index in range(1, len(described) + 1):
        if index < len(described) and _alike(described[first], described[index]):
            continue
        for row in described[first]:
            count = index - first
            energies_of_all = {
                key: value * count for key, value in row.items() if key.startswith("energy_")
            }
            rows.append(
                {"trial": trial, "first_layer": first - 1, "last_layer": index - 2, **row}
                | energies_of_all
            )
        first = index
    return rows


def _described(place: Place, tokens: int, design: int) -> list[dict[str, Any]]:
    """Rows of one layer; stages that take neither time nor energy are left out."""
    length, stages = place
    rows = []
    for stage in stages:
        energy = {
            f"energy_{name}_j_per_token": float(np.broadcast_to(value, length.shape)[design])
            / tokens
            for name, value in stage.energy_j.items()
        }
        busy = float(stage.busy_s[design])
        if busy > 0 or any(value > 0 for value in energy.values()):
            rows.append(
                {"module": stage.module, "resource": stage.resource,
                 "start_s": float(stage.start_s[design]), "busy_s": busy,
                 "layer_s": float(length[design]), **energy}
            )  # fmt: skip
    return rows


def _alike(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    """Whether two layers have the same stages with the same numbers."""
    if [list(row) for row in one] != [list(row) for row in other]:
        return False
    return all(
        a == b or (not isinstance(a, str) and bool(np.isclose(a, b, rtol=1e-9, atol=0)))
        for row, also in zip(one, other, strict=True)
        for a, b in zip(row.values(), also.values(), strict=True)
    )
