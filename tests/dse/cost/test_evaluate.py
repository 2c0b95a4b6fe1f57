"""What must hold of every cost, and small systems worked out by hand."""

import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.cost.evaluate import evaluate
from dse.cost.hardware import System
from dse.cost.mapping import lay_out, layout_energy_j
from dse.cost.workload import Traffic
from dse.placement.experts import digital_order
from dse.placement.parts import ANALOG_PARTS
from hwmodels.digital import (
    accelerator_area_mm2,
    load_accelerator,
    memory_bandwidth_bytes_per_s,
)
from hwmodels.memory import Memory
from hwmodels.tile import (
    Tile,
    load_technology,
    stack_technologies,
    tile_area_mm2,
    tile_energy_j,
    tile_latency_s,
    unit_energy_j,
)
from workloads import load_model
from workloads.routing import uniform, zipf

EDGE = load_accelerator("edge-7nm")
A100 = load_accelerator("a100-400w")


def holding(capacity_bytes: float) -> Memory:
    """The accelerator's memory with stacks of another capacity."""
    return dataclasses.replace(EDGE.memory, capacity_bytes=capacity_bytes, ranges={})


NAMES = ("pcm-14nm", "pcm-3d", "rram-22nm")
TECHNOLOGIES = [load_technology(name) for name in NAMES]
MODELS = (
    "olmoe",
    "deepseekmoe",
    "gpt-oss-20b",
    "deepseek-v2-lite",
    "jamba-v0.1",
    "granite-1b-a400m",
)


def orders_of(routing):
    return {
        ("activation_frequency", scope): digital_order(routing.probability, scope)
        for scope in ("global", "per_layer")
    }


def draw_designs(model, count, seed):
    """Random systems and placements of a model."""
    rng = np.random.default_rng(seed)
    index = rng.integers(0, 3, count)
    tile = Tile(
        stack_technologies(TECHNOLOGIES, index),
        rows=2 ** rng.integers(6, 12, count),
        cols=2 ** rng.integers(6, 12, count),
        tiers=np.where(index == 1, 2 ** rng.integers(0, 11, count), 1),
        dac_bits=rng.integers(4, 9, count),
        adc_bits=rng.integers(4, 11, count),
        columns_per_adc=2 ** rng.integers(0, 6, count),
    )
    accelerator = dataclasses.replace(
        EDGE,
        mac_units=2 ** rng.integers(8, 17, count),
        sram_bytes=2.0 ** rng.integers(18, 27, count),
        hbm_stacks=rng.integers(1, 9, count),
    )
    tiles = rng.choice([0, 1, 7, 50, 300, 5000, 10**6], count)
    experts = model.moe_layers * model.routed_experts
    return (
        System(tile, tiles, accelerator),
        rng.integers(0, 2, count),
        rng.integers(0, experts + 1, count),
    )


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(MODELS),
    seed=st.integers(0, 1000),
    count_served=st.sampled_from([1, 3, 32, 200]),
    context=st.sampled_from([1, 128, 5000]),
    output_tokens=st.sampled_from([None, 1, 64]),
    analog=st.sets(st.sampled_from(ANALOG_PARTS)),
)
def test_every_cost_is_finite_and_adds_up(name, seed, count_served, context, output_tokens, analog):
    model = load_model(name)
    routing = zipf(model.moe_layers, model.routed_experts, model.experts_per_token, 0.7, seed)
    system, which, count = draw_designs(model, 20, seed)
    prompt = None if output_tokens is None else context
    traffic = Traffic(count_served, context, prompt, output_tokens)
    costs = evaluate(
        model, routing, orders_of(routing), system, which, count, traffic, tuple(analog)
    )
    frame = costs.to_frame()
    assert (frame["energy_j_per_token"].isna() == ~frame["tiles_fit"]).all()
    assert costs.tiles_fit.all() or analog
    assert frame["time_to_first_token_s"].isna().all() == (prompt is None) or analog
    missing = ["time_to_first_token_s"] if prompt is None else []
    numbers = frame[frame["tiles_fit"]].drop(columns=missing).to_numpy(dtype=float)
    assert np.all(np.isfinite(numbers))
    assert np.all(numbers >= 0)
    frame = frame[frame["tiles_fit"]]
    for total, prefixes in (
        ("energy_j_per_token", ("energy_component_", "energy_module_")),
        ("latency_s_per_token", ("latency_module_",)),
        ("area_mm2", ("area_component_",)),
    ):
        for prefix in prefixes:
            parts = frame[[column for column in frame if column.startswith(prefix)]]
            assert parts.sum(axis=1).to_numpy() == pytest.approx(frame[total].to_numpy(), rel=1e-12)
    apart_s = np.max(list(costs.interval_resource.values()), axis=0)[costs.tiles_fit]
    step_s = (frame["time_per_output_token_s"] / frame["micro_batches"]).to_numpy()
    alone_s = frame["latency_s_per_token"].to_numpy()  # one step after another
    assert np.all((apart_s <= step_s * (1 + 1e-9)) & (step_s <= alone_s * (1 + 1e-9)))
    rate = frame["throughput_tokens_per_s"].to_numpy()
    assert rate == pytest.approx(count_served / (step_s * frame["micro_batches"]))
    assert np.all(frame["micro_batches"] <= max(int(traffic.round_tokens), 1))
    assert np.all(frame["energy_prefill_share"] <= 1 + 1e-9)
    assert np.all(costs.digital_experts >= count)
    assert np.all((costs.utilisation > 0) & (costs.utilisation <= 1 + 1e-12))
    assert np.nanmax(costs.occupancy) <= 1 + 1e-12


@pytest.mark.parametrize("name", ["olmoe", "deepseekmoe"])
def test_one_design_and_many_give_the_same_bits(name):
    model = load_model(name)
    routing = zipf(model.moe_layers, model.routed_experts, model.experts_per_token, 0.7)
    orders = orders_of(routing)
    system, which, count = draw_designs(model, 30_000, 5)
    many = evaluate(model, routing, orders, system, which, count).to_frame()
    for i in np.random.default_rng(1).integers(0, 30_000, 12):
        tile = dataclasses.replace(
            system.tile,
            technology=load_technology(str(system.tile.technology.name[i])),
            **{
                field: int(getattr(system.tile, field)[i])
                for field in ("rows", "cols", "tiers", "dac_bits", "adc_bits", "columns_per_adc")
            },
            phases=None,
            input_mode=None,
        )
        accelerator = dataclasses.replace(
            EDGE,
            **{
                field: getattr(system.accelerator, field)[i].item()
                for field in ("mac_units", "sram_bytes", "hbm_stacks")
            },
        )
        one = evaluate(
            model, routing, orders, System(tile, int(system.tiles[i]), accelerator),
            int(which[i]), int(count[i]),
        ).to_frame()  # fmt: skip
        pd.testing.assert_series_equal(
            one.iloc[0], many.iloc[i], check_names=False, check_exact=True
        )


def test_no_analog_expert_is_the_accelerator_alone():
    """Batch 32 of OLMoE on an A100: every weight once a step, and the cache, at its bandwidth."""
    model = load_model("olmoe")
    routing = uniform(16, 64, 8)
    tile = Tile(TECHNOLOGIES[1], 512, 512, 1024)
    costs = evaluate(
        model, routing, orders_of(routing), System(tile, 0, A100), 0, 0, Traffic(32, 128)
    )
    attention = 16 * 4 * 2048 * 2048
    used = 16 * 64 * (1 - (1 - 8 / 64) ** 32)
    weights = attention + 16 * 2048 * 64 + 2048 * 50304 + used * 3 * 2048 * 1024 + 32 * 2048
    cache = 32 * 2 * 2048 * 16 * 129
    seconds = 2 * (weights + cache) / float(memory_bandwidth_bytes_per_s(A100))
    assert costs.digital_experts == 1024
    assert costs.throughput_tokens_per_s == pytest.approx(32 / seconds, rel=1e-6)
    assert costs.latency_s_per_token == pytest.approx(seconds, rel=1e-6)
    assert costs.energy_j_per_token == pytest.approx(400 * seconds / 32, rel=1e-6)
    assert costs.area_mm2 == pytest.approx(826)


def test_all_experts_analog_by_hand():
    """Own tiles: the busiest of 64 experts with top-8 and 32 tokens has 8.9 (simulated draws)."""
    model = load_model("olmoe")
    routing = uniform(16, 64, 8)
    tile = Tile(TECHNOLOGIES[0], 512, 512)
    blocks = 24 * 64 * 16
    fast = dataclasses.replace(A100, mac_units=1e12, hbm_stacks=1e6, sram_bytes=1e15)
    costs = evaluate(
        model, routing, orders_of(routing), System(tile, blocks, fast), 0, 0, micro_batches=1
    )
    slot = float(sum(tile_latency_s(tile).values()))
    assert costs.digital_experts == 0
    assert costs.utilisation == 1
    assert costs.occupancy == 1
    assert costs.interval_resource["tiles"] == pytest.approx((8.89 + 1) * slot, rel=0.01)
    experts = costs.latency_module["routed_expert"]
    assert experts == pytest.approx(16 * (8.89 + 1) * slot, rel=0.01)


def test_layers_on_one_tile_take_turns_with_a_digital_layer_between():
    """All routing is alike, so that it does not matter which two layers lie on the only tile."""
    model = load_model("olmoe")
    experts = np.arange(16 * 64)
    orders = {}
    for layers in ((3, 4), (3, 5), (3, 15)):
        analog = np.isin(experts // 64, layers) & (experts % 64 < 20)
        orders[str(layers), "global"] = np.concatenate([experts[~analog], experts[analog]])
    fast = dataclasses.replace(A100, mac_units=1e12, hbm_stacks=1e6, sram_bytes=1e15)
    system = System(Tile(TECHNOLOGIES[1], 512, 512, 1024), 1, fast)
    costs = evaluate(model, uniform(16, 64, 8), orders, system, np.arange(3), 16 * 64 - 40)
    assert costs.throughput_tokens_per_s[1:] == pytest.approx(costs.throughput_tokens_per_s[0])


def test_edges_of_blocks_cost_area_not_array_energy():
    """DeepSeekMoE experts of 2048 x 1408: at 512 they fill 2.75 of 3 blocks (reference: 0.917)."""
    model = load_model("deepseekmoe")
    routing = uniform(27, 64, 6)
    rows = np.array([256, 512, 1024])
    no_ir_drop = dataclasses.replace(TECHNOLOGIES[0], full_conductance_s=0.0)  # it grows with rows
    tile = Tile(no_ir_drop, rows, rows)
    costs = evaluate(model, routing, orders_of(routing), System(tile, 10**6, EDGE), 0, 0)
    assert costs.utilisation == pytest.approx([0.917, 0.917, 0.688], abs=5e-4)
    cells = costs.energy_component["tile_array"] / unit_energy_j(tile)["array"]
    assert cells == pytest.approx(np.full(3, 27 * 6 * 3 * 2048 * 1408), rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    inputs=st.integers(1, 300),
    outputs=st.integers(1, 300),
    rows=st.integers(1, 200),
    cols=st.integers(1, 200),
    at_once=st.none() | st.integers(1, 200),
)
def test_a_matrix_costs_what_its_blocks_cost(inputs, outputs, rows, cols, at_once):
    tile = Tile(TECHNOLOGIES[2], rows, cols, rows_at_once=at_once)
    blocks = [
        tile_energy_j(tile, min(rows, inputs - row), min(cols, outputs - col))
        for row in range(0, inputs, rows)
        for col in range(0, outputs, cols)
    ]
    laid = lay_out(((inputs, outputs, 3),), tile)
    for name, energy in layout_energy_j(unit_energy_j(tile), laid).items():
        assert energy == pytest.approx(3 * sum(block[name] for block in blocks))


def test_what_does_not_fit_becomes_digital():
    model = load_model("deepseekmoe")
    routing = uniform(27, 64, 6)
    tiles = np.array([0, 35, 36, 360, 36 * 27 * 64, 10**7])
    tile = Tile(TECHNOLOGIES[0], 512, 512)
    costs = evaluate(model, routing, orders_of(routing), System(tile, tiles, EDGE), 0, 5)
    assert costs.digital_experts.tolist() == [1728, 1728, 1727, 1718, 5, 5]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_more_adc_bits_never_cost_less(seed):
    model = load_model("deepseekmoe")
    routing = uniform(27, 64, 6)
    system, which, count = draw_designs(model, 1, seed)
    bits = np.arange(4, 12)
    tile = dataclasses.replace(system.tile, adc_bits=bits)
    costs = evaluate(
        model, routing, orders_of(routing), dataclasses.replace(system, tile=tile), which, count,
        micro_batches=1,
    )  # fmt: skip
    # Larger converters stand in other banks, and their wires may shrink: fJ beside pJ.
    adc = costs.energy_component["tile_adc"]
    assert np.all(np.diff(adc) >= -2e-3 * adc[:-1])
    assert np.all(np.diff(costs.energy_component["tile_digital"]) >= 0)
    assert np.all(np.diff(costs.area_mm2) >= 0)
    assert np.all(np.diff(costs.latency_s_per_token) >= -1e-15)


def test_analog_energy_scales_with_active_experts():
    model = load_model("olmoe")
    routing = uniform(16, 64, 8)
    tile = Tile(TECHNOLOGIES[1], 512, 512, 1024)
    count = np.array([0, 256, 512, 1024])
    costs = evaluate(model, routing, orders_of(routing), System(tile, 100, EDGE), 1, count)
    adc = costs.energy_component["tile_adc"]
    assert adc / adc[0] == pytest.approx([1, 0.75, 0.5, 0])


def test_area_is_additive():
    model = load_model("olmoe")
    routing = uniform(16, 64, 8)
    tile = Tile(TECHNOLOGIES[0], 256, 256)
    costs = evaluate(
        model, routing, orders_of(routing), System(tile, np.array([0, 1, 100]), EDGE), 0, 1024
    )
    # PCIe 5 x 16: 10.24 mm2 of circuits and 5.3721 M transistors a lane at 91.2 M/mm2; the network
    # on the chip takes 7 % of what it connects.
    accelerator = float(sum(accelerator_area_mm2(EDGE).values()))
    accelerator = 1.07 * (accelerator + 10.24 + 16 * 5.3721 / 91.2)
    one = float(sum(tile_area_mm2(tile).values()))
    one += float(System.overhead_area_mm2_per_tile(EDGE))
    assert costs.area_mm2 == pytest.approx(accelerator + one * np.array([0, 1, 100]))


def test_memory_that_is_too_small_is_said():
    model = load_model("mixtral")
    routing = uniform(32, 8, 2)
    tile = Tile(TECHNOLOGIES[1], 512, 512, 1024)
    stacks = dataclasses.replace(EDGE, hbm_stacks=np.array([1, 8]))
    costs = evaluate(model, routing, orders_of(routing), System(tile, 0, stacks), 0, 0)
    assert costs.memory_fits.tolist() == [False, True]


def test_memory_must_hold_what_every_sequence_keeps():
    """OLMoE on tiles but for embedding and router: 2 bytes a weight; 16 layers' keys and values."""
    model = load_model("olmoe")
    routing = uniform(16, 64, 8)
    tile = Tile(TECHNOLOGIES[0], 256, 256, dac_bits=12)
    digital = 2 * (50304 * 2048 + 16 * 2048 * 64)
    cache = 2 * 16 * 2 * 2048  # of one token

    def fits(spare_bytes, traffic):
        room = digital + traffic.concurrency * traffic.held_context * cache + spare_bytes
        accelerator = dataclasses.replace(EDGE, hbm_stacks=8, memory=holding(room / 8))
        system = System(tile, 200_000, accelerator)
        parts = ("attention", "lm_head")
        return evaluate(model, routing, orders_of(routing), system, 0, 0, traffic, parts)

    for traffic in (Traffic(7, 128), Traffic(5, prompt=100, output_tokens=28)):
        assert fits(1, traffic).memory_fits and not fits(-1, traffic).memory_fits


@pytest.mark.parametrize("prompt", [None, 512])
def test_the_fastest_cut_is_chosen(prompt):
    """Against all cuts of every design; where the estimate errs it costs little."""
    model = load_model("deepseekmoe")
    routing = zipf(27, 64, 6, 0.5)
    rng = np.random.default_rng(3)
    tile = Tile(TECHNOLOGIES[1], 512, 512, 1024, dac_bits=rng.integers(4, 13, 200))
    fast = dataclasses.replace(EDGE, mac_units=2 ** rng.integers(14, 20, 200), hbm_stacks=8)
    fast = dataclasses.replace(fast, sram_bytes=2.0 ** rng.integers(22, 30, 200))
    system, traffic = System(tile, 100, fast), Traffic(24, 128, prompt, prompt and 64)
    digital = rng.choice([0, 0, 400, 1200], 200)
    parts = {part: rng.random(200) < 0.7 for part in ("attention", "shared_expert", "lm_head")}
    cost = partial(evaluate, model, routing, orders_of(routing), system, 0, digital, traffic, parts)
    chosen = cost()
    every = [cost(micro_batches=cut).throughput_tokens_per_s for cut in traffic.micro_batches(28)]
    lost = 1 - chosen.throughput_tokens_per_s / np.max(every, axis=0)
    assert len(np.unique(chosen.micro_batches)) > 2
    assert np.quantile(lost, 0.95) < 0.03 and lost.mean() < 0.005


def test_more_sequences_never_pass_fewer_tokens():
    """Whatever their number: no batch that cannot be split."""
    model = load_model("deepseekmoe")
    routing = uniform(27, 64, 6)
    tile = Tile(TECHNOLOGIES[1], 512, 512, 1024)
    tiles = np.array([0, 22, 100, 300])
    fast = dataclasses.replace(EDGE, mac_units=65536, memory=holding(1e15))
    system, digital = System(tile, tiles, fast), np.array([1728, 0, 300, 0])
    cost = partial(evaluate, model, routing, orders_of(routing), system, 0, digital)
    served = (1, 2, 3, 7, 31, 32, 33, 47, 64)
    rates = np.stack([cost(Traffic(count, 64)).throughput_tokens_per_s for count in served])
    assert np.all(rates[1:] >= 0.99 * rates[:-1])


def test_prompts_share_weights_over_their_tokens():
    model = load_model("olmoe")
    routing = uniform(16, 64, 8)
    tile = Tile(TECHNOLOGIES[0], 256, 256)
    system = System(tile, 0, A100)
    decode = evaluate(model, routing, orders_of(routing), system, 0, 0, Traffic(8, 512))
    traffic = Traffic(8, prompt=512, output_tokens=1)
    prefill = evaluate(model, routing, orders_of(routing), system, 0, 0, traffic)
    prompt_tokens_per_s = 512 * prefill.throughput_tokens_per_s
    assert prompt_tokens_per_s > 10 * decode.throughput_tokens_per_s
    # Compute bound: 2 x active parameters without embeddings at the peak rate, or less.
    peak = 110592 * 1.41e9 / model.active_parameters("no_embeddings")
    assert 0.5 * peak < prompt_tokens_per_s < peak
    assert prefill.energy_prefill_share == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"concurrency": 0}, "concurrency is 0"),
        ({"context": 2.5}, "context is 2.5"),
        ({"prompt": 100}, "prompt without output_tokens"),
        ({"output_tokens": 100}, "output_tokens without prompt"),
        ({"prompt": 0, "output_tokens": 1}, "prompt is 0"),
    ],
)
def test_bad_traffic(change, words):
    with pytest.raises(ValueError, match=words):
        Traffic(**change)


def test_bad_arguments():
    model = load_model("olmoe")
    routing = uniform(16, 64, 8)
    tile = Tile(TECHNOLOGIES[0], 256, 256)
    system, orders = System(tile, 5, EDGE), orders_of(routing)
    with pytest.raises(ValueError, match="nearest is attention"):
        evaluate(model, routing, orders, system, 0, 0, analog_modules=("atention",))
    with pytest.raises(ValueError, match="digital_experts 1025"):
        evaluate(model, routing, orders, system, 0, 1025)
    with pytest.raises(ValueError, match="micro_batches 33 is not a whole number from 1 to 32"):
        evaluate(model, routing, orders, system, 0, 0, micro_batches=33)
    with pytest.raises(ValueError, match="order_index 2"):
        evaluate(model, routing, orders, system, 2, 0)
    with pytest.raises(ValueError, match="OLMoE"):
        evaluate(model, uniform(8, 64, 8), orders, system, 0, 0)
    with pytest.raises(ValueError, match="permutation"):
        evaluate(model, routing, {("a", "b"): np.zeros(1024, dtype=int)}, system, 0, 0)
    with pytest.raises(ValueError, match="number of tiles"):
        System(tile, -1, EDGE)
