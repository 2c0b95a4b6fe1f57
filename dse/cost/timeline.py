"""One step of a design layer by layer: what runs where, for how long, and what it spends.

The formulas of the costs, not yet summed over layers. Neighbouring layers that do not differ are
one stretch, so that a design takes a dozen rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.arrays import Array
from dse.cost.energy import (
    UnitEnergies,
    crossing_energy_j,
    expert_energy,
    part_energies,
    unit_energies,
)
from dse.cost.evaluate import cut_tables
from dse.cost.expert_load import ExpertTables
from dse.cost.hardware import areas
from dse.cost.recorded import Model, analog_modules, systems
from dse.cost.step import (
    Placed,
    crossing_s,
    expert_work,
    overhead_s,
    part_times,
    part_works,
    placed,
)
from dse.cost.timing import (
    DigitalWork,
    ExpertWork,
    LayerStages,
    UnitTimes,
    digital_work,
    layer_stages,
    stage_designs,
)
from dse.cost.workload import Step
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
class Designs:
    """Designs with their weights in place: what the stages of every layer are read from.

    Attributes:
        at: where the weights lie.
        part_s: seconds by dense part, on the accelerator over all layers and on one layer's tiles.
        part_energy_j: by dense part and component, of one of the layers that hold the part.
        holders: layers that hold each part.
    """

    step: Step
    tables: ExpertTables
    at: Placed
    unit_j: UnitEnergies
    work: dict[str, DigitalWork]
    part_s: dict[str, tuple[Array, Array]]
    part_energy_j: dict[str, Parts]
    holders: dict[str, list[int]]
    zero: Array = field(repr=False)

    def accelerator_shares(self, name: str) -> Parts:
        """Shares of a dense part's time on the accelerator."""
        stages = 0 if name == "embedding" else self.step.parts[name].layers
        return accelerator_shares(self.at.unit_s, self.work[name], stages)

    def part_blocks(self, name: str) -> Array:
        """Tiers that an analog dense part takes in one of its layers."""
        if name not in self.at.laid:
            return self.zero
        taken = self.at.laid[name].blocks / self.step.parts[name].layers
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
    modules = analog_modules(table)
    count = table["micro_batches"].to_numpy(dtype=np.int64)
    cuts = np.unique(count)
    tables = cut_tables(model.routing, model.orders.values(), model.traffic, cuts)
    for group in dict.fromkeys(modules):
        rows_of = np.array([own == group for own in modules])
        chosen, own = table[rows_of], count[rows_of]
        step = Step(model.architecture, model.traffic, own, dict.fromkeys(group, True))
        system, order, digital = systems(model, chosen)
        order = tables.order(np.searchsorted(cuts, own), order)
        designs = _designs(step, tables.together, placed(step, system, order, digital))
        places, area = _places(designs), block_area_mm2(system)
        outputs = np.broadcast_to(step.output_tokens, own.shape)
        for design, trial in enumerate(chosen["trial"]):
            rows += _stretches(int(trial), places, float(outputs[design]), area, design)
    return pd.DataFrame(rows)


def accelerator_shares(unit_s: UnitTimes, work: DigitalWork, stages: Any) -> Parts:
    """Shares of a time on the accelerator: of weights and of what is cached, arithmetic or memory,
    whichever is longer; overhead.
    """
    arithmetic, streaming = unit_s.arithmetic_s(work), unit_s.streaming_s(work)
    attending, reading = unit_s.attending_s(work)
    waits = np.where(streaming > arithmetic, streaming, 0.0)
    reads = np.where(reading > attending, reading, 0.0)
    spilled = work.spilled_bytes / np.maximum(work.weight_bytes + work.spilled_bytes, 1e-300)
    state = work.state_bytes / np.maximum(work.cache_bytes + work.state_bytes, 1e-300)
    products = np.where(streaming > arithmetic, 0.0, arithmetic)
    return _shares({
        "mac": products + np.where(reading > attending, 0.0, attending),
        "weight_memory": waits * (1 - spilled),
        "spill": waits * spilled,
        "kv_cache": reads * (1 - state),
        "recurrent_state": reads * state,
        "stage_overhead": stages * unit_s.overhead_s,
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


def _designs(step: Step, tables: ExpertTables, at: Placed) -> Designs:
    zero = np.zeros(at.mapping.digital_experts.shape)
    work = part_works(step, at)
    holders = _layers_of_parts(step.architecture)
    area_mm2 = sum(areas(at.system).values(), zero)
    unit_j = unit_energies(at.system, area_mm2 / np.asarray(at.system.dies))
    energy = {
        name: {key: value / len(holders.get(name, [0])) for key, value in parts.items()}
        for name, parts in part_energies(step, at.system, at.laid, work, unit_j).items()
    }
    times = part_times(step, at, work, zero)
    return Designs(step, tables, at, unit_j, work, times, energy, holders, zero)


def _places(placed: Designs) -> list[Place]:
    """The embedding, each layer, and what follows the last one."""
    at, zero = placed.at, placed.zero
    experts = expert_work(placed.step, placed.tables, at, placed.part_s)
    designs = stage_designs(experts, at.mapping, at.unit_s, at.slot_s)
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


def _dense_stages(placed: Designs, name: str, now: Array) -> list[Stage]:
    """A dense part in one layer: on the accelerator, on tiles, or one after the other."""
    on = placed.part_s[name][0] / len(placed.holders.get(name, [0])) + placed.zero
    tiles = placed.part_s[name][1] + placed.zero
    energy, taken = placed.part_energy_j[name], placed.part_blocks(name)
    found = []
    if on.any() or not tiles.any():
        found.append(Stage(name, ACCELERATOR, now, on, energy, on, placed.accelerator_shares(name)))
    if tiles.any():
        found.append(Stage(name, TILES, now + on, tiles, {} if found else energy, tiles,
                           tile_shares(placed.at.system), taken))  # fmt: skip
    return found


def _expert_stages(
    placed: Designs, experts: ExpertWork, stage: LayerStages, moe_layer: int, now: Array
) -> list[Stage]:
    """Shared, digital and analog experts of one layer; the slowest sets what the layer waits for.

    What the expected slowest takes beyond each of them is told with the one that is slower.
    """
    step, at, tables = placed.step, placed.at, placed.tables
    zero, mapping, laid = placed.zero, at.mapping, at.laid["routed_expert"]
    place = tables.place(mapping.order, mapping.digital_experts)
    (row,) = tables.rows(slice(moe_layer, moe_layer + 1), place)
    tokens, unique = tables.digital_tokens.take(row), tables.unique_digital.take(row)
    shared = experts.digital_shared_s + zero
    analog_shared = np.asarray(experts.analog_shared_s) + zero
    by_tiles = np.maximum(stage.tiles_s, analog_shared) - shared > stage.digital_s
    by_shared = by_tiles & (analog_shared > stage.tiles_s)
    work = digital_work(
        macs=tokens * experts.weights,
        weight_bytes=unique * experts.weight_bytes,
        loaded=unique * experts.weights,
    )
    on_tiles, unit = tile_shares(at.system), placed.unit_j
    spent = partial(expert_energy, step, at.system, laid, unit)
    found = _shared_stages(placed, now, shared, analog_shared, by_shared * stage.stage_s)
    return [
        *found,
        Stage(
            "digital_experts", ACCELERATOR, now + shared, stage.digital_s,
            spent(zero, tokens, unique), ~by_tiles * stage.stage_s,
            accelerator_shares(at.unit_s, work, unique > 0),
        ),
        Stage(
            "analog_experts", TILES, now, stage.tiles_s,
            spent(tables.analog_tokens.take(row), zero, zero),
            (by_tiles & ~by_shared) * stage.stage_s, on_tiles,
            tables.analog_experts.take(row) * mapping.expert_blocks,
        ),
    ]  # fmt: skip


def _shared_stages(
    placed: Designs, now: Array, digital_s: Array, analog_s: Array, path_s: Array
) -> list[Stage]:
    """The shared experts of one layer; `path_s` is what the layer waits for analog ones."""
    name = "shared_expert"
    if name not in placed.part_energy_j:
        return []
    energy = placed.part_energy_j[name]
    if analog_s.any():
        return [Stage(name, TILES, now, analog_s, energy, path_s, tile_shares(placed.at.system),
                      placed.part_blocks(name))]  # fmt: skip
    shares = placed.accelerator_shares(name)
    return [Stage(name, ACCELERATOR, now, digital_s, energy, digital_s, shares)]


def _embedding(placed: Designs) -> Place:
    """What comes before the first layer; a tied embedding is read, too, as LM head."""
    if "embedding" not in placed.part_s:
        return placed.zero, []
    look_up_s = placed.part_s["embedding"][0] + placed.zero
    return look_up_s, _dense_stages(placed, "embedding", placed.zero)


def _after_layers(placed: Designs) -> Place:
    """The LM head, and what belongs to no layer: overhead, the way from die to die."""
    step, system, now = placed.step, placed.at.system, sum(placed.part_s["lm_head"]) + placed.zero
    head = _dense_stages(placed, "lm_head", placed.zero)
    fixed_s, crossed_s = overhead_s(step, system) + placed.zero, crossing_s(step, system)
    crossed_s = crossed_s + placed.zero
    one = {"step_overhead": np.ones(())}
    overhead = Stage("overhead", ACCELERATOR, now, fixed_s, {}, fixed_s, one)
    spent = {"die_link": crossing_energy_j(step, system)}
    share = {"die_link": np.ones(())}
    link = Stage("die_link", "", now + fixed_s, crossed_s, spent, crossed_s, share)
    return now + fixed_s + crossed_s, [*head, overhead, link]


@lru_cache(maxsize=8)
def _layers_of_parts(architecture: MoEArchitecture) -> dict[str, list[int]]:
    """Layers that hold each part."""
    table = inventory(architecture)
    groups = table.dropna(subset=["layer"]).groupby("part")["layer"]
    return {str(part): sorted({int(layer) for layer in layers}) for part, layers in groups}


def _stretches(
    trial: int, places: list[Place], outputs: float, area: Parts, design: int
) -> list[dict[str, Any]]:
    """Rows of one design (an index into the arrays), like neighbours together."""
    described = [_described(place, outputs, area, design) for place in places]
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


def _described(place: Place, outputs: float, area: Parts, design: int) -> list[dict[str, Any]]:
    """Rows of one layer; stages that take no time, no energy and no tier are left out.

    `outputs`: output tokens of the step.
    """
    length, stages = place

    def own(value: Any) -> float:
        return float(np.broadcast_to(value, length.shape)[design])

    rows = []
    for stage in stages:
        parts = {
            "energy": {name: own(value) / outputs for name, value in stage.energy_j.items()},
            "latency": {n: own(share * stage.path_s) for n, share in stage.shares.items()},
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
