"""One step of a design layer by layer: what runs where, for how long, and what it spends.

The formulas of the costs, not yet summed over layers. Neighbouring layers that do not differ are
one stretch, so that a design takes a dozen rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from dse.cost.energy import energies, expert_energy, unit_energies
from dse.cost.evaluate import placement_tables
from dse.cost.expert_load import ExpertTables
from dse.cost.mapping import Mapping, blocks
from dse.cost.recorded import Model, analog_modules, systems
from dse.cost.step import areas, expert_work, mapped, part_times
from dse.cost.timing import (
    DigitalWork,
    ExpertWork,
    LayerStages,
    layer_stages,
    mvm_time_s,
    stage_designs,
)
from dse.cost.workload import Step
from hwmodels.digital import stage_time_s, step_time_s
from hwmodels.tile import tile_latency_s
from workloads.architecture import MoEArchitecture
from workloads.inventory import inventory

if TYPE_CHECKING:
    import pandas as pd

    from dse.cost.hardware import System

Parts = dict[str, Array]

ACCELERATOR, TILES = "accelerator", "tiles"
#: Columns of the drill-down: what the names of a quantity's components begin and end with.
FAMILIES = {"energy": "_j_per_token", "latency": "_s_per_token", "area": "_mm2"}


@dataclass(frozen=True)
class Stage:
    """One module in one layer; arrays over designs.

    Attributes:
        resource: what it keeps busy; empty where the time is not told apart.
        start_s: when it starts in its layer.
        busy_s: for how long.
        energy_j: by component, of a step.
        path_s: what it adds to the layer's length; less than `busy_s` where others work meanwhile.
        shares: of its time, by component.
        blocks: tiers that its weights take.
    """

    module: str
    resource: str
    start_s: Array
    busy_s: Array
    energy_j: Parts
    path_s: Array
    shares: Parts
    blocks: Array | float = 0.0


Place = tuple[Array, list[Stage]]
"""Length (s) and stages of a layer, or of what comes before or after the layers."""


@dataclass(frozen=True)
class Placed:
    """Designs with their weights in place: what the stages of every layer are read from.

    Attributes:
        part_s: seconds by dense part, on the accelerator over all layers and on one layer's tiles.
        part_energy_j: by dense part and component, of one of the layers that hold the part.
        holders: layers that hold each part.
    """

    step: Step
    tables: ExpertTables
    system: System
    mapping: Mapping
    work: dict[str, DigitalWork]
    part_s: dict[str, tuple[Array, Array]]
    part_energy_j: dict[str, Parts]
    holders: dict[str, list[int]]
    zero: Array = field(repr=False)

    def accelerator_shares(self, name: str) -> Parts:
        """Shares of a dense part's time on the accelerator."""
        work, cache = self.work[name], self.step.cache_bytes if name == "attention" else 0
        stages = 0 if name == "embedding" else self.step.parts[name].layers
        return accelerator_shares(self.system, work, stages, cache)

    def part_blocks(self, name: str) -> Array:
        """Tiers that an analog dense part takes in one of its layers."""
        tile, part = self.system.tile, self.step.parts[name]
        taken = blocks(part.shapes, tile.rows, tile.cols) / part.layers
        return np.where(self.step.is_analog(name), taken, 0.0) + self.zero


def layer_table(model: Model, table: pd.DataFrame) -> pd.DataFrame:
    """The stages of a step of every design in a table of candidates.

    Returns:
        One row a stage and stretch of like layers: `trial`; `first_layer` and `last_layer` (-1 for
        the embedding, the number of layers for what follows the last); `module`; `resource`;
        `start_s` within a layer, `busy_s` and the layer's length `layer_s`, each of one layer; of
        all layers of the stretch together, by component, `energy_<component>_j_per_token`,
        `latency_<component>_s_per_token` (adds up to the design's latency) and
        `area_<component>_mm2` (of the tiles: what its tiers take of them).
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    modules, work = analog_modules(table), model.workload
    tables = placement_tables(model.routing, model.orders.values(), work.tokens)
    for group in dict.fromkeys(modules):
        chosen = table[[own == group for own in modules]]
        step = Step(model.architecture, work.batch, work.context, work.mode == "prefill",
                    dict.fromkeys(group, True))  # fmt: skip
        placed = _placed(step, tables, *systems(model, chosen))
        places, area = _places(placed), block_area_mm2(placed.system)
        for design, trial in enumerate(chosen["trial"]):
            rows += _stretches(int(trial), places, step, area, design)
    return pd.DataFrame(rows)


def accelerator_shares(
    system: System, work: DigitalWork, stages: Any, cache_bytes: float = 0.0
) -> Parts:
    """Shares of a time on the accelerator: arithmetic or memory, whichever is longer, overhead."""
    one = system.accelerator
    arithmetic = np.minimum(stage_time_s(one, work.macs, 0.0, 0), 1e30)
    moving = np.minimum(stage_time_s(one, 0.0, work.memory_bytes, 0), 1e30)
    cache = np.minimum(cache_bytes / np.maximum(work.memory_bytes, 1.0), 1.0)
    waits = np.where(moving > arithmetic, moving, 0.0)
    return _shares({
        "mac": np.where(moving > arithmetic, 0.0, arithmetic),
        "weight_memory": waits * (1 - cache),
        "kv_cache": waits * cache,
        "stage_overhead": stage_time_s(one, 0.0, 0.0, stages),
    })  # fmt: skip


def tile_shares(system: System) -> Parts:
    """Shares of the time of an MVM."""
    return _shares({f"tile_{name}": t for name, t in tile_latency_s(system.tile).items()})


def _shares(times: Parts) -> Parts:
    total = np.maximum(sum(times.values(), np.zeros(())), 1e-300)
    return {name: time / total for name, time in times.items()}


def block_area_mm2(system: System) -> Parts:
    """Area of the tiles by component, for one of their tiers."""
    sites = np.asarray(system.tiles, dtype=float) * np.asarray(system.tile.tiers)
    return {name: area / np.maximum(sites, 1.0) for name, area in areas(system).items()
            if name.startswith("tile_")}  # fmt: skip


def _placed(
    step: Step,
    tables: ExpertTables,
    system: System,
    order: NDArray[np.int64],
    digital: NDArray[np.int64],
) -> Placed:
    zero = np.zeros(digital.shape)
    mapping, work = mapped(step, system, order, digital)
    holders = _layers_of_parts(step.architecture)
    energy = {
        name: {key: value / len(holders.get(name, [0])) for key, value in parts.items()}
        for name, parts in energies(step, tables, system, mapping, work, zero).items()
    }
    times = part_times(step, system, mapping, work, zero)
    return Placed(step, tables, system, mapping, work, times, energy, holders, zero)


def _places(placed: Placed) -> list[Place]:
    """The embedding, each layer, and what follows the last one."""
    system, zero = placed.system, placed.zero
    experts = expert_work(placed.step, placed.tables, system, placed.part_s)
    slot_s = mvm_time_s(system.tile)
    designs = stage_designs(experts, placed.mapping, system.accelerator, slot_s)
    together = layer_stages(placed.tables, designs)
    stages = (stage for some in together for stage in some.each())
    places, moe_layer = [_embedding(placed)], 0
    for layer in range(placed.step.architecture.layers):
        now, found = zero, []
        for name in ("attention", "mamba", "dense_ffn", "router"):
            if layer in placed.holders.get(name, []):
                found += _dense_stages(placed, name, now)
                now = now + placed.part_s[name][0] / len(placed.holders[name])
                now = now + placed.part_s[name][1]
        if layer in placed.holders["routed_expert"]:
            stage = next(stages)
            found += _expert_stages(placed, experts, stage, moe_layer, now)
            now = now + experts.digital_shared_s + stage.stage_s
            moe_layer += 1
        places.append((now, found))
    return [*places, _after_layers(placed)]


def _dense_stages(placed: Placed, name: str, now: Array) -> list[Stage]:
    """A dense part in one layer: on the accelerator, on tiles, or one after the other."""
    on = placed.part_s[name][0] / len(placed.holders.get(name, [0])) + placed.zero
    tiles = placed.part_s[name][1] + placed.zero
    energy, taken = placed.part_energy_j[name], placed.part_blocks(name)
    found = []
    if on.any() or not tiles.any():
        found.append(Stage(name, ACCELERATOR, now, on, energy, on, placed.accelerator_shares(name)))
    if tiles.any():
        found.append(Stage(name, TILES, now + on, tiles, {} if found else energy, tiles,
                           tile_shares(placed.system), taken))  # fmt: skip
    return found


def _expert_stages(
    placed: Placed, experts: ExpertWork, stage: LayerStages, moe_layer: int, now: Array
) -> list[Stage]:
    """Shared, digital and analog experts of one layer; the slowest sets what the layer waits for.

    What the expected slowest takes beyond each of them is told with the one that is slower.
    """
    step, system, tables = placed.step, placed.system, placed.tables
    zero, mapping = placed.zero, placed.mapping
    place = tables.place(mapping.order, mapping.digital_experts)
    (row,) = tables.rows(slice(moe_layer, moe_layer + 1), place)
    tokens, unique = tables.digital_tokens.take(row), tables.unique_digital.take(row)
    shared = experts.digital_shared_s + zero
    analog_shared = np.asarray(experts.analog_shared_s) + zero
    by_tiles = np.maximum(stage.tiles_s, analog_shared) - shared > stage.digital_s
    by_shared = by_tiles & (analog_shared > stage.tiles_s)
    work = DigitalWork(tokens * experts.macs, unique * experts.bytes)
    on_tiles, unit = tile_shares(system), unit_energies(system.accelerator)
    found = _shared_stages(placed, now, shared, analog_shared, by_shared * stage.stage_s)
    return [
        *found,
        Stage(
            "digital_experts", ACCELERATOR, now + shared, stage.digital_s,
            expert_energy(step, system, unit, zero, tokens, unique), ~by_tiles * stage.stage_s,
            accelerator_shares(system, work, unique > 0),
        ),
        Stage(
            "analog_experts", TILES, now, stage.tiles_s,
            expert_energy(step, system, unit, tables.analog_tokens.take(row), zero, zero),
            (by_tiles & ~by_shared) * stage.stage_s, on_tiles,
            tables.analog_experts.take(row) * mapping.expert_blocks,
        ),
    ]  # fmt: skip


def _shared_stages(
    placed: Placed, now: Array, digital_s: Array, analog_s: Array, path_s: Array
) -> list[Stage]:
    """The shared experts of one layer; `path_s` is what the layer waits for analog ones."""
    name = "shared_expert"
    if name not in placed.part_energy_j:
        return []
    energy = placed.part_energy_j[name]
    if analog_s.any():
        return [Stage(name, TILES, now, analog_s, energy, path_s, tile_shares(placed.system),
                      placed.part_blocks(name))]  # fmt: skip
    shares = placed.accelerator_shares(name)
    return [Stage(name, ACCELERATOR, now, digital_s, energy, digital_s, shares)]


def _embedding(placed: Placed) -> Place:
    """What comes before the first layer; a tied embedding is read, too, as LM head."""
    if "embedding" not in placed.part_s:
        return placed.zero, []
    look_up_s = placed.part_s["embedding"][0] + placed.zero
    return look_up_s, _dense_stages(placed, "embedding", placed.zero)


def _after_layers(placed: Placed) -> Place:
    head_s = sum(placed.part_s["lm_head"]) + placed.zero
    accelerator = placed.system.accelerator
    overhead_s = step_time_s(accelerator, 0.0, 0.0, placed.step.batch, 0) + placed.zero
    after = Stage("overhead", ACCELERATOR, head_s, overhead_s, {}, overhead_s,
                  {"step_overhead": np.ones(())})  # fmt: skip
    head = _dense_stages(placed, "lm_head", placed.zero)
    return head_s + overhead_s, [*head, after]


@lru_cache(maxsize=8)
def _layers_of_parts(architecture: MoEArchitecture) -> dict[str, list[int]]:
    """Layers that hold each part."""
    table = inventory(architecture)
    groups = table.dropna(subset=["layer"]).groupby("part")["layer"]
    return {str(part): sorted({int(layer) for layer in layers}) for part, layers in groups}


def _stretches(
    trial: int, places: list[Place], step: Step, area: Parts, design: int
) -> list[dict[str, Any]]:
    """Rows of one design (an index into the arrays), like neighbours together."""
    described = [_described(place, step, area, design) for place in places]
    rows: list[dict[str, Any]] = []
    first = 0
    for index in range(1, len(described) + 1):
        if index < len(described) and _alike(described[first], described[index]):
            continue
        for row in described[first]:
            count = index - first
            together = {
                key: value * count for key, value in row.items() if key.split("_")[0] in FAMILIES
            }
            rows.append(
                {"trial": trial, "first_layer": first - 1, "last_layer": index - 2} | row | together
            )
        first = index
    return rows


def _described(place: Place, step: Step, area: Parts, design: int) -> list[dict[str, Any]]:
    """Rows of one layer; stages that take no time, no energy and no tier are left out."""
    length, stages = place

    def own(value: Any) -> float:
        return float(np.broadcast_to(value, length.shape)[design])

    per = step.context if step.prefill else 1
    rows = []
    for stage in stages:
        parts = {
            "energy": {name: own(value) / step.tokens for name, value in stage.energy_j.items()},
            "latency": {n: own(share * stage.path_s) / per for n, share in stage.shares.items()},
            "area": {name: own(value * stage.blocks) for name, value in area.items()},
        }
        spent = {
            f"{quantity}_{name}{FAMILIES[quantity]}": value
            for quantity, components in parts.items()
            for name, value in components.items()
        }
        busy = own(stage.busy_s)
        if busy > 0 or any(value > 0 for value in spent.values()):
            rows.append({"module": stage.module, "resource": stage.resource,
                         "start_s": own(stage.start_s), "busy_s": busy,
                         "layer_s": own(length), **spent})  # fmt: skip
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
