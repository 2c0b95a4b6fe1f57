"""Each term of energy, time and area of a small model on a small machine, worked out by hand.

The model: 2 layers, 8 numbers wide, 4 experts of width 4 of which a token takes 2, 2 heads of 4,
vocabulary of 16. Weights: attention 4 matrices of 8 x 8 a layer, router 8 x 4, expert 3 of 8 x 4,
LM head 16 x 8. The machine's constants are read from its parts; how often each counts is said here.
"""

import dataclasses

import numpy as np
import pytest

from dse.cost.evaluate import evaluate
from dse.cost.hardware import System
from dse.cost.workload import Traffic
from hwmodels import digital
from hwmodels.components import scaling
from hwmodels.digital import load_accelerator
from hwmodels.memory import energy_j_per_byte, stack_energy_j_per_byte
from hwmodels.tile import Tile, load_technology, tile_area_mm2, tile_energy_j, tile_latency_s
from workloads.architecture import MoEArchitecture
from workloads.recurrent import mamba
from workloads.routing import uniform

ATTENTION, ROUTER, EXPERT, HEAD = 4 * 8 * 8, 8 * 4, 3 * 8 * 4, 8 * 16
CONTEXT, SERVED = 10, 4
SMALL = MoEArchitecture(
    name="small",
    title="small",
    family="olmoe",
    layers=2,
    hidden_size=8,
    vocab_size=16,
    heads=2,
    kv_heads=2,
    head_dim=4,
    moe_layer_indices=(0, 1),
    attention_layer_indices=(0, 1),
    routed_experts=4,
    experts_per_token=2,
    expert_intermediate_size=4,
)
BASE = load_accelerator("edge-7nm")
HBM = dataclasses.replace(BASE.memory, latency_s=0.0)  # no stream takes room on the chip
EDGE = dataclasses.replace(BASE, mac_units=64, sram_bytes=0.0, memory=HBM)
TILE = Tile(load_technology("pcm-3d"), 4, 4, dac_bits=8, adc_bits=6)
ALL = 2 * 4  # experts
DIGITAL, ANALOG = ALL, 0
UNUSED = (1 - 2 / 4) ** SERVED  # chance that no token takes an expert
UNIQUE = ALL * (1 - UNUSED)
CACHE = 2 * 8  # keys and values of a token in a layer


def cost(digital_experts, traffic=None, parts=(), model=SMALL, tiles=64, dies=1, **machine):
    accelerator = dataclasses.replace(EDGE, **machine)
    orders = {("any", "global"): np.arange(ALL)}
    return evaluate(
        model, uniform(2, 4, 2), orders, System(TILE, tiles, accelerator, dies), 0,
        digital_experts, traffic or Traffic(SERVED, CONTEXT), parts, micro_batches=1,
    )  # fmt: skip


def component(costs, name, sequences=SERVED):
    """Energy of one component in a step (J)."""
    return float(costs.energy_component[name]) * sequences


def test_multiply_accumulates_all_digital():
    """Weights once a token, scores and values over 10 tokens, products of the experts' gates."""
    weights = SERVED * (2 * ATTENTION + 2 * ROUTER + HEAD + 2 * 2 * EXPERT)
    attention = SERVED * 2 * (2 * 8 * CONTEXT)  # layers x (scores and values of 8 numbers)
    elementwise = SERVED * 2 * 2 * (2 * 4 + 8)  # layers x experts x (activation, gate; sum)
    expected = (weights + attention + elementwise) * digital.mac_energy_j(EDGE)
    assert component(cost(DIGITAL), "mac") == pytest.approx(expected, rel=1e-12)


def test_partial_sums_and_products_of_analog_experts():
    """Gate and up of 8 inputs lie in 2 rows of blocks: 4 sums each. Down of 4 inputs has one."""
    evaluations = SERVED * 2 * 2
    sums = evaluations * (4 + 4)
    elementwise = evaluations * (2 * 4 + 8)
    dense = SERVED * (2 * ATTENTION + 2 * ROUTER + HEAD) + SERVED * 2 * 2 * 8 * CONTEXT
    expected = (sums + elementwise + dense) * digital.mac_energy_j(EDGE)
    assert component(cost(ANALOG), "mac") == pytest.approx(expected, rel=1e-12)


def test_links_of_analog_experts():
    """Inputs to 1 + 1 + 2 columns of blocks, outputs from 2 + 2 + 1 rows of them; 64 tiles lie
    four hops from the middle; a router takes 20.74 pJ for 256 bits at 32 nm.
    """
    evaluations = SERVED * 2 * 2
    bits = (8 * 1 + 8 * 1 + 4 * 2) * 8 + (4 * 2 + 4 * 2 + 8 * 1) * 6
    per_bit = 20.74e-12 / 256 * scaling.energy_factor(32.0, 7.0)
    expected = evaluations * bits * 4 * per_bit
    assert component(cost(ANALOG), "link") == pytest.approx(expected, rel=1e-12)
    assert component(cost(DIGITAL), "link") == 0


def test_tiles_of_analog_experts():
    """Blocks of 4 x 4: 2 for gate, 2 for up, 2 for down, all full."""
    evaluations = SERVED * 2 * 2
    for name, energy in tile_energy_j(TILE).items():
        expected = evaluations * 6 * energy
        assert component(cost(ANALOG), f"tile_{name}") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("bits", "stored"), [(16, 16), (8, 8.25), (4, 4.25)])
def test_weights_from_memory(bits, stored):
    """Dense ones once a step, an expert's if any token takes it, an embedding's row a token; below
    16 bits with a scale of 16 for 64 of them.
    """
    weights = 2 * ATTENTION + 2 * ROUTER + HEAD + UNIQUE * EXPERT + SERVED * 8
    expected = weights * stored / 8 * energy_j_per_byte(EDGE.memory)
    found = component(cost(DIGITAL, weight_bits=bits), "weight_memory")
    assert found == pytest.approx(expected, rel=1e-12)


def test_widened_weights():
    """Those that are loaded, each once: not the embedding's."""
    weights = 2 * ATTENTION + 2 * ROUTER + HEAD + UNIQUE * EXPERT
    narrow = dataclasses.replace(EDGE, weight_bits=4)
    expected = weights * digital.dequantise_energy_j(narrow)
    assert component(cost(DIGITAL, weight_bits=4), "dequantise") == pytest.approx(expected)
    assert component(cost(DIGITAL), "dequantise") == 0 < expected


@pytest.mark.parametrize(("bits", "stored"), [(16, 16), (8, 8.125)])
def test_keys_and_values(bits, stored):
    """Those of 10 tokens read and those of one written, in both layers."""
    bytes_ = SERVED * 2 * CACHE * (CONTEXT + 1) * stored / 8
    expected = bytes_ * energy_j_per_byte(EDGE.memory)
    found = component(cost(DIGITAL, cache_bits=bits), "kv_cache")
    assert found == pytest.approx(expected, rel=1e-12)


def test_activations_that_find_no_room():
    """Four vectors of 8 numbers of 2 bytes a token, in two stages of each layer, out and in."""
    activations = SERVED * 4 * 8 * 2
    for room in (0, 100, activations, 10 * activations):
        expected = 2 * 2 * 2 * max(activations - room, 0) * energy_j_per_byte(EDGE.memory)
        found = component(cost(DIGITAL, sram_bytes=room), "spill")
        assert found == pytest.approx(expected, rel=1e-12)


def test_on_chip_memory_holds_weights_beside_activations_and_streams():
    """1000 bytes: 256 are activations, bandwidth x latency is under way, the rest holds weights."""
    stream = 409.6e9 * 1e-9
    memory = dataclasses.replace(EDGE.memory, latency_s=1e-9)
    found = component(cost(DIGITAL, sram_bytes=1000.0, memory=memory), "weight_memory")
    held = 1000 - stream - SERVED * 4 * 8 * 2
    dense = 2 * (2 * ATTENTION + 2 * ROUTER + HEAD)
    assert 0 < held < dense
    experts = 2 * UNIQUE * EXPERT + 2 * SERVED * 8
    expected = (dense - held + experts) * energy_j_per_byte(memory)
    assert found == pytest.approx(expected, rel=1e-12)


def test_what_passes_on_chip_memory():
    """Weights, keys and values, activations that went to memory, each once."""
    weights = 2 * (2 * ATTENTION + 2 * ROUTER + HEAD + UNIQUE * EXPERT)
    cached = 2 * SERVED * 2 * CACHE * (CONTEXT + 1)
    sram_bytes = 200.0
    spilled = 2 * 2 * 2 * (256 - 200)
    unit = digital.sram_energy_j_per_byte(dataclasses.replace(EDGE, sram_bytes=sram_bytes))
    found = component(cost(DIGITAL, sram_bytes=sram_bytes), "sram")
    assert found == pytest.approx((weights + cached + spilled) * unit, rel=1e-12)


def test_network_on_the_chip():
    """All that memory moves goes 5/6 of a side of the die at 0.045 pJ a bit and mm."""
    costs = cost(DIGITAL)
    moved = sum(component(costs, name) for name in ("weight_memory", "kv_cache", "spill"))
    bits = 8 * moved / energy_j_per_byte(EDGE.memory)
    expected = bits * 0.045e-12 * 5 / 6 * np.sqrt(costs.area_mm2)
    assert component(costs, "network") == pytest.approx(expected, rel=1e-12)


def test_what_is_drawn_all_the_time():
    """Leakage of logic and SRAM, the clock, stacks in standby, host and network, for a step's time.

    0.15 of PCIe's 128 GB/s at 6.5 pJ a bit; the network leaks and is clocked as logic.
    """
    costs = cost(DIGITAL, sram_bytes=2.0**20)
    area = {name: float(value) for name, value in costs.area_component.items()}
    logic = EDGE.logic_leakage_w_per_mm2 + EDGE.clock_energy_j_per_mm2 * EDGE.clock_hz
    power = logic * (area["accelerator_mac"] + area["accelerator_hbm_controller"] + area["network"])
    power += EDGE.sram_leakage_w_per_mm2 * area["accelerator_sram"] + EDGE.memory.idle_power_w
    power += 0.15 * 8 * 128e9 * 6.5e-12
    found = component(costs, "static") / float(costs.time_per_output_token_s)
    assert found == pytest.approx(power, rel=1e-12)


def test_heat_is_that_of_the_dies():
    costs = cost(DIGITAL)
    step_s = float(costs.time_per_output_token_s)
    moved = sum(component(costs, name) for name in ("weight_memory", "kv_cache", "spill"))
    in_stacks = moved * stack_energy_j_per_byte(EDGE.memory) / energy_j_per_byte(EDGE.memory)
    in_stacks += EDGE.memory.idle_power_w * step_s
    own = float(costs.energy_j_per_token) * SERVED - in_stacks
    expected = own / step_s / float(costs.area_mm2)
    assert float(costs.power_density_w_per_mm2) == pytest.approx(expected, rel=1e-12)


def test_area():
    """Tiles with a quarter of an ISAAC router each; a square of 128 MACs in 14 mm2, times 1.5;
    HBM2e's interface 9.67 and controller 5.3 mm2; PCIe; the network 7 % of all but tiles.
    """
    costs = cost(ANALOG, sram_bytes=2.0**20, tiles=5)
    tiles = 5 * float(sum(tile_area_mm2(TILE).values()))
    routers = 5 * 0.15 / 4 * scaling.area_factor(32.0, 7.0)
    mac, sram = 1.5 * 64 * 14 / 128**2, 112 / 128
    beside = 1.07 * (mac + sram + 9.67 + 5.3 + 10.24 + 16 * 5.3721 / 91.2)
    assert float(costs.area_mm2) == pytest.approx(tiles + routers + beside, rel=1e-9)


def test_time_of_digital_stages():
    """A stage takes the longest of products, of loading 128 rows a weight, and of memory; then its
    keys and values; then a microsecond. An embedding is looked up.
    """
    rate = 64 * 1.05e9 * 0.7  # MACs a second
    stream = 409.6e9 * 0.85
    costs = cost(DIGITAL, sram_bytes=256.0)  # room for activations alone

    def stage_s(weights, tokens=SERVED):
        return max(tokens * weights / rate, 128 * weights / rate, 2 * weights / stream)

    attended = max(SERVED * 2 * 8 * CONTEXT / rate, 2 * SERVED * CACHE * (CONTEXT + 1) / stream)
    experts = max(SERVED * 2 * EXPERT / rate, UNIQUE / 2 * 128 * EXPERT / rate)
    expected = {
        "attention": 2 * (stage_s(ATTENTION) + attended + 1e-6),
        "router": 2 * (stage_s(ROUTER) + 1e-6),
        "lm_head": stage_s(HEAD) + 1e-6,
        "embedding": SERVED * 8 * 2 / stream,
        "routed_expert": 2 * (experts + 1e-6),
        "overhead": 0.0,
        "die_link": 0.0,
    }
    for name, seconds in expected.items():
        assert float(costs.latency_module[name]) == pytest.approx(seconds, rel=1e-9), name
    assert set(costs.latency_module) == set(expected)


def test_memory_bound_stages():
    """With 64 k MACs and 0.1 GB/s, the same stages wait for memory."""
    slow = dataclasses.replace(EDGE.memory, bandwidth_bytes_per_s=1e8)
    costs = cost(DIGITAL, mac_units=65536, memory=slow)
    spilled = 2 * SERVED * 4 * 8 * 2
    stream = 0.85 * 1e8
    attention = (2 * ATTENTION + spilled + 2 * SERVED * CACHE * (CONTEXT + 1)) / stream
    assert float(costs.latency_module["attention"]) == pytest.approx(2 * (attention + 1e-6))
    experts = 2 * UNIQUE / 2 * EXPERT / stream
    found = float(costs.latency_module["routed_expert"])
    assert found == pytest.approx(2 * (experts + 1e-6), rel=0.02)  # the number of experts varies


@pytest.mark.parametrize(("part", "phases"), [("attention", 2), ("router", 1), ("lm_head", 1)])
def test_time_of_analog_parts(part, phases):
    """Attention passes its tiles twice, with scores between. Each token takes a slot of each."""
    slot = float(sum(tile_latency_s(TILE).values()))
    layers = 1 if part == "lm_head" else 2
    costs = cost(DIGITAL, parts=(part,), tiles=1000, sram_bytes=2.0**20)
    cached = 2 * SERVED * CACHE * (CONTEXT + 1) / (409.6e9 * 0.85)
    attended = max(SERVED * 2 * 8 * CONTEXT / (64 * 1.05e9 * 0.7), cached) + 1e-6
    beside = attended if part == "attention" else 0.0
    expected = layers * (phases * SERVED * slot + beside)
    assert float(costs.latency_module[part]) == pytest.approx(expected, rel=1e-9)


def test_prompts_see_half_of_themselves():
    """4 requests of 6 tokens, one output token each: 24 tokens, of which each sees 3; keys and
    values are written once and read once; only the last of a prompt has logits.
    """
    traffic = Traffic(SERVED, prompt=6, output_tokens=1)
    costs = cost(DIGITAL, traffic)
    tokens = SERVED * 6
    weights = tokens * (2 * ATTENTION + 2 * ROUTER + 2 * 2 * EXPERT) + SERVED * HEAD
    attention = tokens * 2 * (2 * 8 * 3)
    elementwise = tokens * 2 * 2 * (2 * 4 + 8)
    expected = (weights + attention + elementwise) * digital.mac_energy_j(EDGE)
    assert component(costs, "mac") == pytest.approx(expected, rel=1e-12)
    cached = 2 * SERVED * 2 * CACHE * 6 * 2
    expected = cached * energy_j_per_byte(EDGE.memory)
    assert component(costs, "kv_cache") == pytest.approx(expected, rel=1e-12)
    assert float(costs.energy_prefill_share) == pytest.approx(1)
    assert float(costs.time_to_first_token_s) == float(costs.latency_s_per_token)


def test_a_mix_of_prompts_and_decoding():
    """4 sequences of 6 prompt and 8 output tokens: a round decodes 4 x 7/8 tokens at context 10 and
    carries 4 x 6/8 tokens of prompts, half a prompt: 2 chunks, of which each reads those before.
    """
    traffic = Traffic(SERVED, prompt=6, output_tokens=8)
    costs = cost(DIGITAL, traffic)
    decoded, prompts = 3.5, 3.0
    attended = decoded * 2 * 2 * 8 * 10 + prompts * 2 * 2 * 8 * 3
    weights = (decoded + prompts) * (2 * ATTENTION + 2 * ROUTER + 2 * 2 * (EXPERT + 2 * 4 + 8))
    expected = (weights + SERVED * HEAD + attended) * digital.mac_energy_j(EDGE)
    assert component(costs, "mac") == pytest.approx(expected, rel=1e-12)
    of_prompts = 0.5 * 6 * (1 + 1.5)  # written once; of two chunks, read (1 + 2) / 2 times
    cached = 2 * 2 * CACHE * (decoded * (10 + 1) + of_prompts)
    assert component(costs, "kv_cache") == pytest.approx(cached * energy_j_per_byte(EDGE.memory))
    latency, step = float(costs.latency_s_per_token), float(costs.time_per_output_token_s)
    assert float(costs.time_to_first_token_s) == pytest.approx(latency + step)


def test_share_of_prompts():
    """Attention as it is; logits of one output token of eight; all else by tokens."""
    traffic = Traffic(SERVED, prompt=6, output_tokens=8)
    costs = cost(DIGITAL, traffic)
    unit = digital.mac_energy_j(EDGE)
    byte = energy_j_per_byte(EDGE.memory) + digital.sram_energy_j_per_byte(EDGE)
    byte += 8 * 0.045e-12 * 5 / 6 * np.sqrt(costs.area_mm2)
    prompts = 3.0 * 2 * 2 * 8 * 3 * unit + 2 * 2 * CACHE * 0.5 * 6 * 2.5 * byte
    decoding = 3.5 * 2 * 2 * 8 * 10 * unit + 2 * 2 * CACHE * 3.5 * 11 * byte
    total = float(costs.energy_j_per_token) * SERVED
    head = float(costs.energy_module["lm_head"]) * SERVED
    own = prompts + (total - prompts - decoding - head) * 3.0 / 6.5 + head / 8
    assert float(costs.energy_prefill_share) == pytest.approx(own / total, rel=1e-9)


def test_recurrent_states_are_read_and_written():
    """A Mamba layer of 16 channels, state 4, convolution 3: 16 x 7 numbers of 2 bytes, twice."""
    mixer = mamba(8, inner=16, state=4, width=3, rank=2, conv_bias=True, bias=False)
    model = dataclasses.replace(SMALL, attention_layer_indices=(0,), recurrent=mixer)
    costs = cost(DIGITAL, model=model)
    expected = SERVED * 2 * 16 * 7 * 2 * energy_j_per_byte(EDGE.memory)
    assert component(costs, "recurrent_state") == pytest.approx(expected, rel=1e-12)
    with_macs, without = component(costs, "mac"), dataclasses.replace(mixer, state_macs=0)
    bare = cost(DIGITAL, model=dataclasses.replace(model, recurrent=without))
    expected = SERVED * 16 * (3 * 4 + 3) * digital.mac_energy_j(EDGE)
    assert with_macs - component(bare, "mac") == pytest.approx(expected, rel=1e-9)


def test_two_dies():
    """Half of everything on each: a layer takes twice as long, and both work at the same time.

    8 numbers of 2 bytes a token cross once, at 0.5 pJ a bit and 512 GB/s; a module of the link is
    0.4055 mm2 on each die; each die has its own host interface, which draws 1 W.
    """
    machine = {"sram_bytes": 2.0**20, "stage_overhead_s": 0.0}
    one, two = cost(DIGITAL, **machine, mac_units=128), cost(DIGITAL, **machine, dies=2)
    crossing_s = SERVED * 8 * 2 / 512e9
    assert component(two, "die_link") == pytest.approx(SERVED * 8 * 2 * 8 * 0.5e-12)
    assert float(two.latency_module["die_link"]) == pytest.approx(crossing_s)
    attention = 2 * float(one.latency_module["router"])
    assert float(two.latency_module["router"]) == pytest.approx(attention)
    work = float(two.latency_s_per_token) - crossing_s
    assert float(two.interval_resource["accelerator"]) == pytest.approx(work / 2, rel=0.02)
    area = two.area_component
    assert float(area["die_link"]) == pytest.approx(2 * 0.4055)
    assert float(area["host"]) == pytest.approx(2 * float(one.area_component["host"]))
    assert float(area["accelerator_mac"]) == pytest.approx(
        float(one.area_component["accelerator_mac"])
    )
    assert float(area["accelerator_hbm_phy"]) == pytest.approx(2 * 9.67)


def test_dense_parts_that_do_not_fit_have_no_price():
    costs = cost(DIGITAL, parts=("attention",), tiles=np.array([31, 32]))
    assert costs.tiles_fit.tolist() == [False, True]  # 2 layers x 4 matrices x 4 blocks
    for name in ("energy_j_per_token", "throughput_tokens_per_s", "occupancy"):
        assert np.isnan(getattr(costs, name)).tolist() == [True, False]
    assert np.isfinite(costs.area_mm2).all()


@pytest.mark.parametrize(("area", "most"), [(100.0, 2), (190.0, 4)])
def test_stacks_along_the_edge(area, most):
    """HBM2e is 11 mm wide on the interposer; four fifths of a square die's edge are for stacks."""
    assert int(0.8 * 4 * np.sqrt(area) / 11) == most
    router = 0.15 / 4 * scaling.area_factor(32.0, 7.0)
    each = float(sum(tile_area_mm2(TILE).values())) + router
    for stacks in (most, most + 1):
        alone = float(cost(DIGITAL, tiles=0, hbm_stacks=stacks).area_mm2)
        found = cost(DIGITAL, tiles=round((area - alone) / each), hbm_stacks=stacks)
        assert float(found.area_mm2) == pytest.approx(area, rel=1e-3)
        assert bool(found.stacks_fit) == (stacks == most)
