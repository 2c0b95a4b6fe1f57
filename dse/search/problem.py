"""One question put to the tool: this model, under this budget, at this workload point.

Turns designs (choices of `dse.search.space`) into hardware, placement and cost as arrays, says what
rules a design out, and names the simulation whose result is its accuracy.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from dse.cost.evaluate import Costs, evaluate
from dse.cost.hardware import System, hardware
from dse.cost.mapping import placeable_parts
from dse.cost.workload import Workload
from dse.metrics import Limits, Metric
from dse.placement.experts import digital_mask
from dse.placement.parts import ANALOG_PARTS, join_parts, read_parts
from dse.search import surrogate
from dse.search.simulation_key import (
    CLEAN,
    NO_ORDER,
    Codes,
    Key,
    Packed,
    bits_of,
    miniature_digital,
    pack,
    parts_of,
    unpack,
)
from dse.search.space import Columns, Space
from hwmodels.digital import Accelerator, accelerator_area_mm2, load_accelerator
from hwmodels.technology import load_technology, stack_technologies
from hwmodels.tile import Tile, tile_area_mm2
from workloads.architecture import MoEArchitecture
from workloads.routing import Routing

if TYPE_CHECKING:
    from dse.checkpoints.model import RealModel
    from dse.simulation.simulator import Noise, Simulator

SIMULATED = ("delta_loss_nats", "delta_loss_stderr", "top1", "top1_stderr", "accuracy",
             "accuracy_stderr")  # fmt: skip
"""Columns whose numbers come from a simulation."""
DAMAGE = {
    "attention": 2.0,
    "mamba": 2.0,
    "router": 0.7,
    "shared_expert": 0.9,
    "dense_ffn": 2.5,
    "lm_head": 10.0,
}
"""Loss that a dense part adds when it is analog, over that of all routed experts: rounded from
`dse sensitivity` of deepseekmoe. The search's first guess only; simulations decide."""


@dataclass(frozen=True)
class Costed:
    """Designs with their cost: arrays of one length.

    Attributes:
        indices: choice numbers [designs, parameters].
        columns: hardware and placement as built, tiles and effective digital experts included.
        costs: what dse.cost.evaluate says.
        metrics: area_mm2, energy_j_per_token, throughput_tokens_per_s, latency_s_per_token,
            power_w.
        reason: why a design is ruled out; empty when it is not.
        excess: largest relative violation of a limit, 0 or less when all hold.
        codes: which simulation gives its accuracy; equal codes, one simulation.
    """

    indices: NDArray[np.int64]
    columns: Columns
    costs: Costs
    metrics: dict[str, Array]
    reason: NDArray[np.object_]
    excess: Array
    codes: Codes

    @property
    def feasible(self) -> NDArray[np.bool_]:
        return np.asarray(self.reason == "", dtype=bool)


@dataclass(frozen=True)
class Problem:
    """Model, budget, workload and everything derived once: routing, scores, orders.

    Attributes:
        space: its analog parts are those of `dense_parts`, see `Space.for_parts`.
        scores: of the full model's experts [moe_layers, experts], by name.
        orders: experts of the full model, most digital-worthy first, by (score, scope).
        miniature_orders: the same for the miniature.
        miniature_shape: MoE layers and experts of the miniature.
        base: the accelerator whose MACs, SRAM and HBM stacks the designs vary.
        real: the model's checkpoint, where there is one.
    """

    architecture: MoEArchitecture
    routing: Routing
    space: Space
    workload: Workload
    limits: Limits
    objectives: tuple[Metric, ...]
    scores: Mapping[str, Array]
    orders: Mapping[tuple[str, str], NDArray[np.int64]]
    miniature_orders: Mapping[tuple[str, str], NDArray[np.int64]]
    miniature_shape: tuple[int, int]
    simulator: "Simulator | None"
    base: Accelerator = field(default_factory=lambda: load_accelerator("edge-7nm"))
    real: "RealModel | None" = None

    @cached_property
    def experts(self) -> int:
        """Routed experts of the full model, all layers."""
        return self.architecture.moe_layers * self.architecture.routed_experts

    @cached_property
    def order_names(self) -> list[tuple[str, str]]:
        return list(self.orders)

    @cached_property
    def technologies(self) -> list[Any]:
        return [load_technology(str(name)) for name in self.space["technology"].choices]

    @cached_property
    def noise_models(self) -> list[str]:
        return sorted({str(technology.noise_model) for technology in self.technologies})

    def system(self, columns: Columns, technology_index: NDArray[np.int64]) -> System:
        """Hardware of designs, with as many tiles as their share of the area left for them.

        Adds `tiles` to the columns and limits `tiers` to what the technology allows.
        """
        tile, accelerator = self.parts(columns, technology_index)
        left = np.maximum(self.limits.area_mm2 - _total(accelerator_area_mm2(accelerator)), 0.0)
        each = _total(tile_area_mm2(tile)) + System.overhead_area_mm2_per_tile(accelerator)
        idle = (columns["digital_expert_fraction"] >= 1) & (self._modules(columns) == 0)
        share = np.where(idle, 0.0, columns["tiles_share"])
        columns["tiles"] = np.floor(left * share / each).astype(int)
        return System(tile, columns["tiles"], accelerator)

    def parts(
        self, columns: Columns, technology_index: NDArray[np.int64]
    ) -> tuple[Tile, Accelerator]:
        """Tile and accelerator of designs; limits `tiers` in the columns to what there can be."""
        technology = stack_technologies(self.technologies, technology_index)
        most = np.broadcast_to(np.asarray(technology.max_tiers), columns["tiers"].shape)
        columns["tiers"] = np.minimum(columns["tiers"], most.astype(int))
        columns["columns_per_adc"] = np.minimum(columns["columns_per_adc"], columns["tile_cols"])
        tile, accelerator = hardware(technology, self.base, columns)
        columns["tile_area_mm2"] = _total(tile_area_mm2(tile))
        return tile, accelerator

    @cached_property
    def dense_parts(self) -> tuple[str, ...]:
        """Dense parts that can be analog: those that the simulation has, too."""
        stored = None if self.simulator is None else self.simulator.miniature.weights
        return placeable_parts(self.architecture, stored)

    def cost(self, indices: NDArray[np.int64]) -> Costed:
        """Cost designs given by their choice numbers [designs, parameters]."""
        columns = self.space.values(indices)
        technology_index = indices[:, self.space.names.index("technology")]
        system = self.system(columns, technology_index)
        return self.cost_system(indices, columns, system, technology_index)

    def cost_system(
        self,
        indices: NDArray[np.int64],
        columns: Columns,
        system: System,
        technology_index: NDArray[np.int64],
    ) -> Costed:
        """Cost given hardware and placements; `indices` are carried along."""
        order_index = self._order_index(columns)
        wanted = np.ceil(columns["digital_expert_fraction"] * self.experts - 1e-9).astype(int)
        modules = self._modules(columns)
        sets, which = np.unique(modules, return_inverse=True)
        columns["analog_modules"] = np.array([join_parts(parts_of(n)) for n in sets])[which]
        costs = evaluate(
            self.architecture,
            self.routing,
            self.orders,
            system,
            order_index,
            wanted,
            self.workload,
            {part: modules & bits_of((part,)) > 0 for part in self.dense_parts},
        )
        metrics = _metrics(costs)
        digital = np.asarray(costs.digital_experts, dtype=int)
        columns["digital_experts"] = digital
        reason, excess = self._verdict(costs, metrics, np.asarray(system.tiles), modules > 0)
        noise = np.array([self.noise_models.index(str(t.noise_model)) for t in self.technologies])
        codes = self._codes(columns, noise[technology_index], order_index, digital, modules)
        return Costed(indices, columns, costs, metrics, reason, excess, codes)

    def _modules(self, columns: Columns) -> NDArray[np.int64]:
        """Analog dense parts of designs, one bit each, in the order of ANALOG_PARTS."""
        texts, which = np.unique(columns["analog_modules"], return_inverse=True)
        bits = [bits_of(set(read_parts(str(text))) & set(self.dense_parts)) for text in texts]
        return np.array(bits, dtype=np.int64)[which]

    def _order_index(self, columns: Columns) -> NDArray[np.int64]:
        scores = [score for score, _ in self.order_names]
        scopes = [scope for _, scope in self.order_names]
        index = np.zeros(len(columns["placement_score"]), dtype=np.int64)
        for number, (score, scope) in enumerate(zip(scores, scopes, strict=True)):
            chosen = columns["placement_score"] == score
            index[chosen & (columns["placement_scope"] == scope)] = number
        return index

    def _verdict(
        self,
        costs: Costs,
        metrics: dict[str, Array],
        tiles: NDArray[Any],
        modules: NDArray[np.bool_],
    ) -> tuple[NDArray[np.object_], Array]:
        """Why each design is ruled out ("" when it is not), and by how much.

        `modules`: whether a design has analog dense parts.
        """
        fits = np.asarray(costs.memory_fits, dtype=bool)
        memory = "the digital weights exceed the memory"
        either = f"the analog parts do not fit on the tiles, or {memory}"
        reason = np.where(fits, "", np.where(modules, either, memory)).astype(object)
        idle = (tiles > 0) & (np.asarray(costs.digital_experts) >= self.experts) & ~modules
        reason = np.where(idle & fits, "no expert fits on the tiles", reason)
        excess = np.where(fits & ~idle, 0.0, 1.0)
        for constraint in self.limits.on_cost:
            violation = constraint.excess(metrics[constraint.metric.column])
            broken = ~(violation <= 1e-9)  # also true for NaN
            reason = np.where(broken & (reason == ""), f"breaks {constraint}", reason)
            excess = np.maximum(excess, np.where(broken, np.nan_to_num(violation, nan=1e9), 0.0))
        return reason, np.minimum(excess, 1e9)

    def _codes(
        self,
        columns: Columns,
        noise: NDArray[np.int64],
        order_index: NDArray[np.int64],
        digital: NDArray[np.int64],
        modules: NDArray[np.int64],
    ) -> Codes:
        total = int(np.prod(self.miniature_shape))
        digital_there = miniature_digital(digital, self.experts, total)
        alike = (digital_there == 0) | (digital_there == total)
        codes = pack(
            Packed(
                modules,
                noise,
                -(-self.architecture.hidden_size // columns["tile_rows"]),
                -(-self.architecture.expert_intermediate_size // columns["tile_rows"]),
                columns["dac_bits"],
                columns["adc_bits"],
                np.where(alike, NO_ORDER, order_index),
                digital_there,
            )
        )
        return np.where((digital >= self.experts) & (modules == 0), CLEAN, codes)

    def key(self, code: int) -> Key:
        """What a key code stands for."""
        if code == CLEAN:
            raise ValueError("the clean model has no key")
        modules, noise, inputs, hidden, dac, adc, order, digital = (
            int(number[0]) for number in unpack(np.array([code]))
        )
        blocks = (inputs, hidden)
        rows = [int(choice) for choice in self.space["tile_rows"].choices]
        dimensions = (self.architecture.hidden_size, self.architecture.expert_intermediate_size)
        height = next(r for r in rows if tuple(-(-d // r) for d in dimensions) == blocks)
        score, scope = ("", "") if order == NO_ORDER else self.order_names[order]
        cells = self.noise_models[noise]
        return Key(cells, blocks, height, dac, adc, score, scope, digital, parts_of(modules))

    def features(self, codes: Codes) -> surrogate.Features:
        """What the loss of simulations depends on, for the surrogate."""
        modules, noise, inputs, hidden, dac, adc, order, digital = unpack(codes)
        names = [*self.order_names, ("", "")]
        scores, scopes = (sorted({name[n] for name in names}) for n in (0, 1))
        order = np.minimum(order, len(self.order_names))
        score = np.array([scores.index(name) for name, _ in names])[order]
        scope = np.array([scopes.index(name) for _, name in names])[order]
        analog = 1 - digital / np.prod(self.miniature_shape)
        for number, part in enumerate(ANALOG_PARTS):
            analog = analog + DAMAGE[part] * (modules >> number & 1)
        blocks = np.sqrt(inputs * hidden)
        return surrogate.features(blocks, dac, adc, analog, noise, score, scope)

    def simulate(self, code: int, look: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run the noisy simulation that a key code names, or the rest of it after a look.

        Returns:
            delta_loss_nats, top1, accuracy, each with its standard error, per benchmark, source
            and seconds; or `reason` when a number is not finite.
        """
        from dse.simulation.simulator import Look

        noise, digital, modules = self._placed(code)
        after = {}
        if look is not None:
            after["look"] = Look(np.array(look["loss"]), np.array(look["top1"]))
        assert self.simulator is not None
        try:
            result = self.simulator.evaluate(noise, digital, analog_modules=modules, **after)
        except ValueError as error:  # the simulator's word for a loss that is not finite
            return {"reason": str(error)}
        return result_columns(result)

    def look(self, code: int) -> dict[str, Any] | None:
        """First look at a simulation: enough to see that its designs are beaten.

        Returns:
            loss and top1 [pairs, sequences] as lists, seconds; None when a look would save nothing.
        """
        wanted = [objective.column for objective in self.objectives if objective.simulated]
        if not getattr(self.simulator, "races", False) or wanted != ["delta_loss_nats"]:
            return None
        assert self.simulator is not None
        before = time.perf_counter()
        look = self.simulator.look(*self._placed(code))
        if not np.isfinite(look.loss).all():
            return None  # the whole simulation says what is wrong
        seconds = time.perf_counter() - before
        return {"loss": look.loss.tolist(), "top1": look.top1.tolist(), "seconds": seconds}

    def _placed(self, code: int) -> "tuple[Noise, NDArray[np.bool_], tuple[str, ...]]":
        """Noise, placement [layers, experts] and analog dense parts that a key code names."""
        from dse.simulation.converter_ranges import with_ranges
        from dse.simulation.simulator import Noise

        if self.simulator is None:
            raise ValueError("this problem was made without a simulator")
        if code == CLEAN:
            return Noise(), np.ones(self.miniature_shape, dtype=bool), ()
        key = self.key(code)
        noise = Noise(
            noise_model=key.noise_model,
            tile_rows=key.tile_rows,
            dac_bits=key.dac_bits,
            adc_bits=key.adc_bits,
        )
        noise = with_ranges(noise, self.simulator.miniature.name)
        name = (key.score, key.scope) if key.score else self.order_names[0]
        order = self.miniature_orders[name]
        return noise, digital_mask(order, key.digital, self.miniature_shape), key.analog_modules


def result_columns(result: Any, tasks: bool = True) -> dict[str, Any]:
    """A simulation's numbers by column name; a `reason` instead when one is not finite.

    Without `tasks`, as on a checkpoint's text, no task accuracy is among them.
    """
    names = SIMULATED if tasks else [name for name in SIMULATED if "accuracy" not in name]
    columns = {name: float(getattr(result, name.removesuffix("_nats"))) for name in names}
    if bad := [name for name, value in columns.items() if not np.isfinite(value)]:
        return {"reason": f"the simulation gave no finite {bad[0]}"}
    return {**columns, "accuracy_source": result.source, "seconds": float(result.seconds)}


def _total(parts: Mapping[str, Any]) -> Array:
    """Sum of a breakdown."""
    return np.asarray(sum(parts.values()), dtype=float)


def _metrics(costs: Costs) -> dict[str, Array]:
    energy = np.asarray(costs.energy_j_per_token, dtype=float)
    throughput = np.asarray(costs.throughput_tokens_per_s, dtype=float)
    return {
        "area_mm2": np.asarray(costs.area_mm2, dtype=float),
        "energy_j_per_token": energy,
        "throughput_tokens_per_s": throughput,
        "latency_s_per_token": np.asarray(costs.latency_s_per_token, dtype=float),
        "power_w": energy * throughput,
    }
