"""Closed-form latency and throughput against a discrete-event simulation of the same systems."""

import dataclasses

import numpy as np
import pytest
from discrete_events import Design, Machine, top_k
from numpy.typing import NDArray

from dse.cost.evaluate import Costs, evaluate
from dse.cost.hardware import System
from dse.cost.workload import Workload
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


def draw(seed: int, held: int = 0) -> tuple[Design, Costs, NDArray[np.float64]]:
    """A random system: as the simulation sees it, and what the closed forms say of it.

    Its memory has room for `held` batches, or for very many.
    """
    rng = np.random.default_rng(seed)
    layers, experts = int(rng.integers(2, 5)), int(rng.choice([8, 16, 24]))
    k, batch = int(rng.integers(1, 5)), int(rng.choice([1, 2, 4, 8, 16, 32]))
    model = small_model(layers, experts, k)
    logits = rng.choice([0.0, 0.5, 1.0]) * rng.normal(size=(layers, experts))
    counts = [
        np.bincount(top_k(row, k, 20_000, rng).reshape(-1), minlength=experts) for row in logits
    ]
    routing = Routing(np.array(counts) / 20_000, np.array(counts) / 20_000 / k, "drawn")
    order = digital_order(rng.random((layers, experts)), str(rng.choice(["global", "per_layer"])))
    digital_count = int(rng.integers(0, layers * experts))
    rows, cols = int(rng.choice([64, 128, 256])), int(rng.choice([64, 128]))
    accelerator = dataclasses.replace(
        load_accelerator("edge-7nm"),
        mac_units=int(2 ** rng.integers(9, 14)),
        sram_bytes=0,
        hbm_bandwidth_bytes_per_s=float(10 ** rng.uniform(10.5, 12)),
        stage_overhead_s=float(10 ** rng.uniform(-7, -6)),
    )
    if held:
        room = memory_bytes(layers, experts, digital_count, batch, held + 0.5)
        accelerator = dataclasses.replace(accelerator, hbm_stacks=1, hbm_capacity_bytes=room)
    gate_up = 2 * -(-HIDDEN // rows) * -(-WIDTH // cols)
    down = -(-WIDTH // rows) * -(-HIDDEN // cols)
    analog_blocks = (layers * experts - digital_count) * (gate_up + down)
    tiles = max(int(analog_blocks / rng.choice([0.9, 1.5, 2, 4, 7.3, 16, 40])), 1)
    # Long input pulses in half of the designs, so that now tiles, now the accelerator decides.
    tile = Tile(load_technology("pcm-3d"), rows, cols, 1024, dac_bits=int(rng.integers(8, 14)))
    costs = evaluate(
        model,
        routing,
        {("drawn", "global"): order},
        System(tile, tiles, accelerator),
        0,
        digital_count,
        Workload(batch=batch, context=64),
    )
    digital = np.zeros(layers * experts, dtype=bool)
    digital[order[:digital_count]] = True
    design = Design(
        logits=logits,
        digital=digital.reshape(layers, experts),
        experts_per_token=k,
        batch=batch,
        tiles=tiles,
        blocks=(gate_up, down),
        slot_s=float(sum(tile_latency_s(tile).values())),
        **accelerator_times(accelerator, batch, experts),
    )
    return design, costs, routing.probability


def memory_bytes(
    layers: int, experts: int, digital_experts: int, batch: int, batches: float
) -> float:
    """Of the small model's digital weights and the KV caches of batches (16 bits each)."""
    dense = layers * (4 * HIDDEN * 256 + HIDDEN * experts) + 2 * HIDDEN * 1000
    cache = layers * batch * 2 * 256 * 64
    return 2.0 * (dense + digital_experts * 3 * HIDDEN * WIDTH + batches * cache)


def accelerator_times(accelerator: Accelerator, batch: int, experts: int) -> dict[str, float]:
    """Accelerator times of the small model, from its matrices by hand (16-bit weights)."""

    def time(weights: int, other_macs: int = 0, other_bytes: int = 0) -> float:
        macs, moved = batch * weights + other_macs, 2 * weights + other_bytes
        return float(stage_time_s(accelerator, macs, moved))

    scores, cache = batch * 2 * 256 * 64, batch * 2 * 256 * (64 + 1) * 2
    attention = time(4 * HIDDEN * 256, scores, cache)
    expert = 3 * HIDDEN * WIDTH
    return {
        "dense_s": attention + time(HIDDEN * experts),
        # The embedding of the step's tokens is read with the head.
        "head_s": time(HIDDEN * 1000) + float(stage_time_s(accelerator, 0, batch * 512, 0)),
        "expert_byte_s": float(stage_time_s(accelerator, 0, 2 * expert, 0)),
        "expert_mac_s": float(stage_time_s(accelerator, expert, 0, 0)),
        "stage_s": float(stage_time_s(accelerator, 0, 0, 1)),
    }


def errors(seed: int) -> tuple[float, float]:
    """Relative error of the closed forms: latency, throughput."""
    design, costs, probability = draw(seed)
    steps = 60 + 600 // design.batch
    latency = Machine(design, probability, seed).run(in_flight=1, steps=steps, warm_up=1)
    many = 2 * len(design.logits) + 4
    machine = Machine(design, probability, seed + 1)
    period = machine.run(in_flight=many, steps=many * (1 + 2 * steps // many), warm_up=many)
    return (
        float(costs.latency_s_per_token) / latency - 1,
        design.batch / float(costs.throughput_tokens_per_s) / period - 1,
    )


@pytest.mark.parametrize("part", range(4))
def test_closed_form_agrees_with_simulation(part: int) -> None:
    """A part of the systems of benchmarks/cost_simulation.py, which takes 200."""
    found = np.array([errors(10 * part + number) for number in range(DESIGNS // 4)])
    worst = np.abs(found).max(axis=0)
    assert worst[0] < 0.05, f"latency off by {worst[0]:.1%}"
    assert worst[1] < 0.05, f"throughput off by {worst[1]:.1%}"


def held_errors(seed: int) -> dict[int, float]:
    """Relative error of the closed form's throughput by how many batches the memory holds.

    Empty for a system in which hardly more than one is under way with any number.
    """
    design, costs, probability = draw(seed)
    interval = design.batch / float(costs.throughput_tokens_per_s)
    if float(costs.latency_s_per_token) / interval <= 1.3:
        return {}
    found = {}
    for batches in (1, 2, 3, 4, 6):
        steps = batches * (1 + 2 * (60 + 600 // design.batch) // batches)
        period = Machine(design, probability, seed + 1).run(batches, steps, warm_up=batches)
        costs = draw(seed, batches)[1]
        found[batches] = float(costs.throughput_tokens_per_s) * period / design.batch - 1
    return found


@pytest.mark.parametrize("seed", [0, 6, 10, 11])
def test_few_batches_under_way_wait_for_one_another(seed: int) -> None:
    """Systems in which 1.4 to 3.4 batches are under way when memory holds any number of them."""
    found = held_errors(seed)
    assert abs(found.pop(1)) < 0.03
    assert max(map(abs, found.values())) < 0.08
