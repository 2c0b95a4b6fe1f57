"""One question put to the tool: this model, under this budget, with this traffic.

Data only, derived once. `dse.search.costing` costs its designs, `dse.search.simulating` runs the
simulation that gives a design its accuracy, `dse.search.simulation_key` says which one that is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from dse.cost.mapping import placeable_parts
from dse.cost.workload import Traffic
from dse.metrics import Limits, Metric
from dse.placement.parts import ANALOG_PARTS
from dse.search.simulation_key import KeySpace
from dse.search.space import Space
from hwmodels.digital import Accelerator, load_accelerator
from hwmodels.technology import Technology, load_technology
from workloads.architecture import MoEArchitecture
from workloads.routing import Routing

if TYPE_CHECKING:
    from dse.checkpoints.model import RealModel
    from dse.simulation.simulator import Simulator


@dataclass(frozen=True)
class Problem:
    """Model, budget, traffic and everything derived once: routing, scores, orders.

    Attributes:
        space: its analog parts are those of `dense_parts`, see `Space.for_parts`.
        scores: of the full model's experts [moe_layers, experts], by name.
        orders: experts of the full model, most digital-worthy first, by (score, scope).
        miniature_orders: the same for the miniature.
        miniature_shape: MoE layers and experts of the miniature.
        cooling: what takes the heat away, see hwmodels.heat.
        base: the accelerator whose MACs, SRAM and HBM stacks the designs vary.
        real: the model's checkpoint, where there is one.
        age_s, magnitude: of the question, see `Settings`.
    """

    architecture: MoEArchitecture
    routing: Routing
    space: Space
    traffic: Traffic
    limits: Limits
    objectives: tuple[Metric, ...]
    scores: Mapping[str, Array]
    orders: Mapping[tuple[str, str], NDArray[np.int64]]
    miniature_orders: Mapping[tuple[str, str], NDArray[np.int64]]
    miniature_shape: tuple[int, int]
    simulator: "Simulator | None"
    cooling: str = "cold-plate"
    base: Accelerator = field(default_factory=lambda: load_accelerator("edge-7nm"))
    real: "RealModel | None" = None
    age_s: float = 0.0
    magnitude: float = 1.0

    @cached_property
    def experts(self) -> int:
        """Routed experts of the full model, all layers."""
        return self.architecture.moe_layers * self.architecture.routed_experts

    @cached_property
    def order_names(self) -> list[tuple[str, str]]:
        return list(self.orders)

    @cached_property
    def technologies(self) -> list[Technology]:
        return [load_technology(str(name)) for name in self.space["technology"].choices]

    @cached_property
    def dense_parts(self) -> tuple[str, ...]:
        """Dense parts that can be analog: those that the simulation has, too."""
        stored = None if self.simulator is None else self.simulator.miniature.weights
        return placeable_parts(self.architecture, stored)

    @cached_property
    def keys(self) -> KeySpace:
        """All values that a user may give the fields of a simulation, chosen or not.

        So that a part of the space, as of a reference, names simulations as the whole one does.
        Converters and digital experts ascend, from the least accurate; of tiles the tallest, which
        cut matrices into the fewest blocks, come first.
        """
        values: dict[str, Sequence[Any]] = {
            "analog_modules": range(2 ** len(ANALOG_PARTS)),
            "noise_model": sorted({str(one.noise_model) for one in self.technologies}),
            "tile_rows": self.space["tile_rows"].whole_range[::-1],
            "dac_bits": self.space["dac_bits"].whole_range,
            "adc_bits": self.space["adc_bits"].whole_range,
            "digital_weight_bits": self.space["digital_weight_bits"].listed,
            "kv_bits": self.space["kv_bits"].listed,
            "order": [*self.order_names, ("", "")],
            "digital": range(int(np.prod(self.miniature_shape)) + 1),
        }
        return KeySpace(values)
