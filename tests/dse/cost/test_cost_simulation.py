"""Closed-form latency and throughput against a discrete-event simulation of the same systems."""

import dataclasses

import numpy as np
import pytest
from discrete_events import Design, Machine, top_k
from numpy.typing import NDArray

from dse.cost.evaluate import Costs, evaluate
from dse.cost.hardware import System
from dse.cost.workload import Traffic
from dse.placement.experts import digital_order
from hwmodels.digital import Accelerator, load_accelerator, stage_time_s
from hwmodels.tile import Tile, load_technology, tile_latency_s
from workloads.architecture import MoEArchitecture
from workloads.routing import Routing

DESIGNS = 40
HIDDEN, WIDTH = 256, 128


def small_model(layers: int, experts: int, k: int) -> MoEArchitecture:
    return MoEArchitecture(
        name="small",
        title="small",
        family="olmoe",
        layers=layers,
        hidden_size=HIDDEN,
        vocab_size=1000,
        heads=4,
        kv_heads=4,
        head_dim=64,
        moe_layer_indices=tuple(range(layers)),
        attention_layer_indices=tuple(range(layers)),
        routed_experts=experts,
        experts_per_token=k,
        expert_intermediate_size=WIDTH,
    )


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A random system, without its traffic."""

    seed: int
    model: MoEArchitecture
    logits: NDArray[np.float64]
    routing: Routing
    order: NDArray[np.int64]
    digital_count: int
    accelerator: Accelerator
    tile: Tile
    tiles: int
    size: int

    def traffic(self, micro_batches: int) -> Traffic:
        """Requests of which as many are served as fill so many micro-batches; every third system
        carries prompts, and every other has one sequence more than fits them evenly.
        """
        more = self.seed % 2 if micro_batches > 1 else 0
        count = self.size * micro_batches + more
        if self.seed % 3:
            return Traffic(count, context=64)
        return Traffic(count, prompt=60, output_tokens=(8, 120)[self.seed % 2])

    def costs(self, micro_batches: int) -> Costs:
        return evaluate(
            self.model,
            self.routing,
            {("drawn", "global"): self.order},
            System(self.tile, self.tiles, self.accelerator),
            0,
            self.digital_count,
            self.traffic(micro_batches),
            micro_batches=micro_batches,
        )

    def design(self, micro_batches: int) -> Design:
        """As the simulation sees it."""
        traffic = self.traffic(micro_batches)
        layers, experts = self.logits.shape
        digital = np.zeros(layers * experts, dtype=bool)
        digital[self.order[: self.digital_count]] = True
        return Design(
            logits=self.logits,
            digital=digital.reshape(layers, experts),
            experts_per_token=self.model.experts_per_token,
            tokens=traffic.round_tokens / micro_batches,
            micro_batches=micro_batches,
            tiles=self.tiles,
            blocks=blocks(self.tile),
            slot_s=float(sum(tile_latency_s(self.tile).values())),
            **accelerator_times(self.accelerator, traffic, micro_batches, experts),
        )

    def simulated_s(self, micro_batches: int, seed: int) -> float:
        """Mean seconds between steps."""
        design = self.design(micro_batches)
        rounds = 2 * (60 + int(600 / design.tokens)) // micro_batches
        if micro_batches == 1:
            rounds = 60 + int(600 / design.tokens)
        machine = Machine(design, self.routing.probability, seed)
        return machine.run(micro_batches * (1 + rounds), warm_up=micro_batches)


def blocks(tile: Tile) -> tuple[int, int]:
    """Of an expert's gate and up together, and of its down matrix."""
    rows, cols = int(tile.rows), int(tile.cols)
    gate_up = 2 * -(-HIDDEN // rows) * -(-WIDTH // cols)
    return gate_up, -(-WIDTH // rows) * -(-HIDDEN // cols)


def draw(seed: int) -> Drawn:
    rng = np.random.default_rng(seed)
    layers, experts = int(rng.integers(2, 5)), int(rng.choice([8, 16, 24]))
    k, size = int(rng.integers(1, 5)), int(rng.choice([1, 2, 4, 8, 16, 32]))
    logits = rng.choice([0.0, 0.5, 1.0]) * rng.normal(size=(layers, experts))
    counts = [
        np.bincount(top_k(row, k, 20_000, rng).reshape(-1), minlength=experts) for row in logits
    ]
    routing = Routing(np.array(counts) / 20_000, np.array(counts) / 20_000 / k, "drawn")
    order = digital_order(rng.random((layers, experts)), str(rng.choice(["global", "per_layer"])))
    digital_count = int(rng.integers(0, layers * experts))
    rows, cols = int(rng.choice([64, 128, 256])), int(rng.choice([64, 128]))
    edge = load_accelerator("edge-7nm")
    memory = dataclasses.replace(
        edge.memory,
        bandwidth_bytes_per_s=float(10 ** rng.uniform(10.5, 12)),
        latency_s=0.0,  # no on-chip memory here that a stream could fill
        capacity_bytes=1e15,
        ranges={},
    )
    accelerator = dataclasses.replace(
        edge,
        memory=memory,
        mac_units=int(2 ** rng.integers(9, 14)),
        sram_bytes=0,
        stage_overhead_s=float(10 ** rng.uniform(-7, -6)),
    )
    # Long input pulses in half of the designs, so that now tiles, now the accelerator decides.
    tile = Tile(load_technology("pcm-3d"), rows, cols, 1024, dac_bits=int(rng.integers(8, 14)))
    analog_blocks = (layers * experts - digital_count) * sum(blocks(tile))
    tiles = max(int(analog_blocks / rng.choice([0.9, 1.5, 2, 4, 7.3, 16, 40])), 1)
    model = small_model(layers, experts, k)
    return Drawn(seed, model, logits, routing, order, digital_count, accelerator, tile, tiles, size)


def accelerator_times(
    accelerator: Accelerator, traffic: Traffic, micro_batches: int, experts: int
) -> dict[str, float]:
    """Accelerator times of the small model, from its matrices by hand (16-bit weights).

    No activation finds room on the chip: each of a layer's two stages writes and reads four vectors
    of 256 numbers a token.
    """
    decoded = traffic.decoded_tokens / micro_batches
    prompts = traffic.prompt_tokens / micro_batches
    tokens, outputs = decoded + prompts, traffic.concurrency / micro_batches

    def time(weights: int, count: float, spilled: float = 0.0, **cached: float) -> float:
        macs, moved = count * weights, 2 * weights + spilled
        return float(stage_time_s(accelerator, macs, moved, weights=weights, **cached))

    # A token decodes at context 64, or 60 + half of 8 or 120; of prompts it sees 30 on average.
    context = 64 if traffic.prompt is None else 60 + traffic.output_tokens // 2
    chunks = 1 / min(max(prompts / 60, 1e-9), 1.0)
    written_and_read = prompts / 60 * 60 * (1 + (chunks + 1) / 2)
    cached = 2 * 2 * 256 * (decoded * (context + 1) + written_and_read)
    attended = 2 * 256 * (decoded * context + prompts * 30)
    spilled = 2 * 4 * 2 * HIDDEN * tokens
    attention = time(4 * HIDDEN * 256, tokens, spilled, cache_macs=attended, cache_bytes=cached)
    expert = 3 * HIDDEN * WIDTH
    fetched = float(stage_time_s(accelerator, 0, 2 * expert, 0))
    loaded = float(stage_time_s(accelerator, 0, 0, 0, weights=expert))
    return {
        "dense_s": attention + time(HIDDEN * experts, tokens, spilled),
        # The embedding of the step's tokens is read with the head.
        "head_s": time(HIDDEN * 1000, outputs)
        + float(stage_time_s(accelerator, 0, tokens * 512, 0)),
        "expert_byte_s": max(fetched, loaded),
        "expert_mac_s": float(stage_time_s(accelerator, expert, 0, 0)),
        "stage_s": float(stage_time_s(accelerator, 0, 0, 1)),
    }


def interval_s(costs: Costs) -> float:
    return float(costs.time_per_output_token_s) / float(costs.micro_batches)


def errors(seed: int) -> tuple[float, float]:
    """Relative error of the closed forms: latency, and time between many micro-batches' steps."""
    drawn = draw(seed)
    many = 2 * len(drawn.logits) + 4
    return (
        float(drawn.costs(1).latency_s_per_token) / drawn.simulated_s(1, seed) - 1,
        interval_s(drawn.costs(many)) / drawn.simulated_s(many, seed + 1) - 1,
    )


@pytest.mark.parametrize("part", range(4))
def test_closed_form_agrees_with_simulation(part: int) -> None:
    """The first systems of benchmarks/cost_simulation.py, which takes 200."""
    found = np.array([errors(10 * part + number) for number in range(DESIGNS // 4)])
    worst = np.abs(found).max(axis=0)
    assert worst[0] < 0.05, f"latency off by {worst[0]:.1%}"
    assert worst[1] < 0.05, f"throughput off by {worst[1]:.1%}"


def few_errors(seed: int) -> dict[int, float]:
    """Relative error of the closed form's interval by the number of micro-batches, if few.

    Empty for a system in which hardly more than one is under way with any number.
    """
    drawn = draw(seed)
    many = drawn.costs(2 * len(drawn.logits) + 4)
    if float(many.latency_s_per_token) / interval_s(many) <= 1.3:
        return {}
    return {
        count: interval_s(drawn.costs(count)) / drawn.simulated_s(count, seed + 1) - 1
        for count in (1, 2, 3, 4, 6)
    }


@pytest.mark.parametrize(
    ("seed", "reached"),
    [
        (18, 0.05),  # two layers on the busiest tile
        (47, 0.05),
        (53, 0.12),  # two layers on either of two tiles
        (103, 0.05),
        (125, 0.07),
        (189, 0.13),  # all layers on one tile
    ],
)
def test_few_micro_batches_wait_for_one_another(seed: int, reached: float) -> None:
    """Systems in which 1.4 to 2.1 micro-batches are under way if there are any number of them.

    The worst two of those among seeds 0 to 399 and four others. Where tiles are shared, two
    micro-batches come as far as 12 % from the closed form; any other number stays within 5 % here
    (not everywhere: of seeds 0 to 399 seed 78 is 9.5 % off with four).
    """
    found = few_errors(seed)
    assert abs(found.pop(1)) < 0.03
    assert abs(found.pop(2)) < reached
    assert max(map(abs, found.values())) < 0.05
