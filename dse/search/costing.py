"""Designs of a question as arrays: hardware, placement, cost, and what rules a design out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from dse.cost.evaluate import Costs, evaluate
from dse.cost.hardware import System, areas_beside_tiles, hardware
from dse.cost.package import cost_usd
from dse.metrics import Limits
from dse.placement.parts import join_parts, read_parts
from dse.search.problem import Problem
from dse.search.simulation_key import CLEAN, Codes, bits_of, miniature_digital, parts_of
from dse.search.space import Columns
from hwmodels.die import fits_reticle
from hwmodels.digital import Accelerator
from hwmodels.heat import power_density_limit_w_per_mm2
from hwmodels.technology import stack_technologies
from hwmodels.tile import Tile, tile_area_mm2


@dataclass(frozen=True)
class Costed:
    """Designs with their cost: arrays of one length.

    Attributes:
        indices: choice numbers [designs, parameters].
        columns: hardware and placement as built, tiles and effective digital experts included.
        costs: what dse.cost.evaluate says.
        system: the hardware.
        metrics: those of `dse.metrics.METRICS` that cost alone decides.
        reason: why a design is ruled out; empty when it is not.
        excess: largest relative violation of a limit, 0 or less when all hold.
        codes: which simulation gives its accuracy; equal codes, one simulation.
    """

    indices: NDArray[np.int64]
    columns: Columns
    system: System
    costs: Costs
    metrics: dict[str, Array]
    reason: NDArray[np.object_]
    excess: Array
    codes: Codes

    @property
    def feasible(self) -> NDArray[np.bool_]:
        return np.asarray(self.reason == "", dtype=bool)


def system_of(problem: Problem, columns: Columns, technology_index: NDArray[np.int64]) -> System:
    """Hardware of designs, with as many tiles as their share of the area left for them.

    Adds `tiles` to the columns, as many on each die, and limits `tiers` to what the technology
    allows.
    """
    tile, accelerator = tile_and_accelerator(problem, columns, technology_index)
    dies = columns["dies"]
    beside = _total(areas_beside_tiles(accelerator, dies))
    left = np.maximum(problem.limits.area_mm2 - beside, 0.0)
    each = _total(tile_area_mm2(tile)) + System.overhead_area_mm2_per_tile(accelerator)
    idle = (columns["digital_expert_fraction"] >= 1) & (_modules(problem, columns) == 0)
    share = np.where(idle, 0.0, columns["tiles_share"])
    columns["tiles"] = (np.floor(left * share / each / dies) * dies).astype(int)
    return System(tile, columns["tiles"], accelerator, dies)


def tile_and_accelerator(
    problem: Problem, columns: Columns, technology_index: NDArray[np.int64]
) -> tuple[Tile, Accelerator]:
    """Tile and accelerator of designs.

    Limits `tiers` in the columns to what there can be, and rounds `hbm_stacks` up to as many on
    each die.
    """
    technology = stack_technologies(problem.technologies, technology_index)
    most = np.broadcast_to(np.asarray(technology.max_tiers), columns["tiers"].shape)
    columns["tiers"] = np.minimum(columns["tiers"], most.astype(int))
    columns["columns_per_adc"] = np.minimum(columns["columns_per_adc"], columns["tile_cols"])
    each = -(-columns["hbm_stacks"] // columns["dies"])
    columns["hbm_stacks"] = each * columns["dies"]
    tile, accelerator = hardware(technology, problem.base, columns)
    columns["tile_area_mm2"] = _total(tile_area_mm2(tile))
    return tile, accelerator


def cost(problem: Problem, indices: NDArray[np.int64]) -> Costed:
    """Cost designs given by their choice numbers [designs, parameters]."""
    columns = problem.space.values(indices)
    technology_index = indices[:, problem.space.names.index("technology")]
    system = system_of(problem, columns, technology_index)
    return cost_system(problem, indices, columns, system, technology_index)


def cost_system(
    problem: Problem,
    indices: NDArray[np.int64],
    columns: Columns,
    system: System,
    technology_index: NDArray[np.int64],
) -> Costed:
    """Cost given hardware and placements; `indices` are carried along."""
    order_index = _order_index(problem, columns)
    wanted = np.ceil(columns["digital_expert_fraction"] * problem.experts - 1e-9).astype(int)
    modules = _modules(problem, columns)
    sets, which = np.unique(modules, return_inverse=True)
    columns["analog_modules"] = np.array([join_parts(parts_of(n)) for n in sets])[which]
    costs = evaluate(
        problem.architecture,
        problem.routing,
        problem.orders,
        system,
        order_index,
        wanted,
        problem.traffic,
        {part: modules & bits_of((part,)) > 0 for part in problem.dense_parts},
    )
    metrics = metrics_of(system, costs)
    digital = np.asarray(costs.digital_experts, dtype=int)
    columns["digital_experts"] = digital
    columns["micro_batches"] = np.asarray(costs.micro_batches, dtype=int)
    reason, excess = verdict(problem.cooling, problem.limits, system, costs, metrics)
    codes = _codes(problem, columns, technology_index, order_index, modules)
    return Costed(indices, columns, system, costs, metrics, reason, excess, codes)


def _modules(problem: Problem, columns: Columns) -> NDArray[np.int64]:
    """Analog dense parts of designs, one bit each, in the order of ANALOG_PARTS."""
    texts, which = np.unique(columns["analog_modules"], return_inverse=True)
    bits = [bits_of(set(read_parts(str(text))) & set(problem.dense_parts)) for text in texts]
    return np.array(bits, dtype=np.int64)[which]


def _order_index(problem: Problem, columns: Columns) -> NDArray[np.int64]:
    scores = [score for score, _ in problem.order_names]
    scopes = [scope for _, scope in problem.order_names]
    index = np.zeros(len(columns["placement_score"]), dtype=np.int64)
    for number, (score, scope) in enumerate(zip(scores, scopes, strict=True)):
        chosen = columns["placement_score"] == score
        index[chosen & (columns["placement_scope"] == scope)] = number
    return index


def verdict(
    cooling: str, limits: Limits, system: System, costs: Costs, metrics: dict[str, Array]
) -> tuple[NDArray[np.object_], Array]:
    """Why each design is ruled out ("" when it is not), and by how much."""
    count = len(costs.area_mm2)
    reason, excess = np.full(count, "", dtype=object), np.zeros(count)
    dies = np.asarray(system.dies)
    idle = (np.asarray(system.tiles) > 0) & (costs.analog_weights == 0)
    cool = power_density_limit_w_per_mm2(cooling, is_stacked(system))
    heat = np.where(costs.tiles_fit, metrics["power_density_w_per_mm2"] / cool - 1, 0.0)
    ruled_out = {
        "the analog parts do not fit on the tiles": ~costs.tiles_fit,
        "no expert fits on the tiles": idle,
        "the digital weights and what the sequences keep exceed the memory": ~costs.memory_fits,
        "the memory stacks do not fit the edge of the dies": ~costs.stacks_fit,
        "a die is larger than the reticle": ~fits_reticle(costs.area_mm2, dies),
        f"{cooling} cooling does not take the heat away": heat > 1e-9,
    }
    for words, out in ruled_out.items():
        reason[out & (reason == "")] = words
        excess = np.where(out, np.maximum(excess, 1.0), excess)
    for constraint in limits.on_cost:
        violation = constraint.excess(metrics[constraint.metric.column])
        broken = ~(violation <= 1e-9)  # also true for NaN
        reason = np.where(broken & (reason == ""), f"breaks {constraint}", reason)
        excess = np.maximum(excess, np.where(broken, np.nan_to_num(violation, nan=1e9), 0.0))
    return reason, np.minimum(excess, 1e9)


def is_stacked(system: System) -> NDArray[np.bool_]:
    """Whether a design's heat leaves through tiers of cells stacked on the logic."""
    return np.asarray((np.asarray(system.tile.tiers) > 1) & (np.asarray(system.tiles) > 0))


def _codes(
    problem: Problem,
    columns: Columns,
    technology_index: NDArray[np.int64],
    order_index: NDArray[np.int64],
    modules: NDArray[np.int64],
) -> Codes:
    """Which simulation gives each design its accuracy."""
    counted = ("tile_rows", "dac_bits", "adc_bits", "digital_weight_bits", "kv_bits")
    keys, total = problem.keys, int(np.prod(problem.miniature_shape))
    names = list(keys.values["noise_model"])
    noise = np.array([names.index(str(one.noise_model)) for one in problem.technologies])
    digital = miniature_digital(columns["digital_experts"], problem.experts, total)
    alike = (digital == 0) | (digital == total)
    analog = (columns["digital_experts"] < problem.experts) | (modules > 0)
    digits = {
        "analog_modules": modules,
        "noise_model": noise[technology_index],
        "order": np.where(alike, len(problem.order_names), order_index),
        "digital": digital,
        **{name: keys.digits(name, columns[name]) for name in counted},
    }
    of_tiles = ("noise_model", "tile_rows", "dac_bits", "adc_bits")
    digits |= {name: np.where(analog, digits[name], 0) for name in of_tiles}
    whole = (columns["digital_weight_bits"] == 16) & (columns["kv_bits"] == 16)
    return np.where(whole & ~analog, CLEAN, keys.pack(digits))


def _total(parts: Mapping[str, Any]) -> Array:
    """Sum of a breakdown."""
    return np.asarray(sum(parts.values()), dtype=float)


def metrics_of(system: System, costs: Costs) -> dict[str, Array]:
    """Metrics of designs that cost alone decides, by column."""
    energy = np.asarray(costs.energy_j_per_token, dtype=float)
    throughput = np.asarray(costs.throughput_tokens_per_s, dtype=float)
    same = ("area_mm2", "latency_s_per_token", "time_per_output_token_s", "time_to_first_token_s",
            "tokens_per_s_per_sequence", "power_density_w_per_mm2")  # fmt: skip
    return {
        "energy_j_per_token": energy,
        "throughput_tokens_per_s": throughput,
        **{name: np.asarray(getattr(costs, name), dtype=float) for name in same},
        "power_w": energy * throughput,
        "cost_usd": cost_usd(system, costs.area_mm2),
    }
