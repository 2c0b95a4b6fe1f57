"""The digital accelerator: data sheets, closed forms, limits."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels import digital
from hwmodels.digital import load_accelerator

EDGE = load_accelerator("edge-7nm")


@pytest.mark.parametrize(
    ("name", "tflops", "gigabytes_per_s", "gigabytes", "die_mm2"),
    [("a100", 311.9, 2039, 80, 826), ("h100", 989.4, 3350, 80, 814)],
)
def test_data_sheets(
    name: str, tflops: float, gigabytes_per_s: float, gigabytes: float, die_mm2: float
) -> None:
    accelerator = load_accelerator(name)
    assert 2e-12 * digital.peak_macs_per_s(accelerator) == pytest.approx(tflops, rel=0.001)
    bandwidth = 1e-9 * digital.memory_bandwidth_bytes_per_s(accelerator)
    assert bandwidth == pytest.approx(gigabytes_per_s, rel=0.001)
    assert 1e-9 * digital.memory_capacity_bytes(accelerator) == pytest.approx(gigabytes)
    assert sum(digital.accelerator_area_mm2(accelerator).values()) == pytest.approx(die_mm2)


def test_board_power_rule_of_the_a100() -> None:
    """Energy is 400 W times time whatever is computed."""
    accelerator = load_accelerator("a100-400w")
    assert digital.step_energy_j(accelerator, 2.0, 1e15, 1e12) == pytest.approx(800)


def test_published_a100_streaming() -> None:
    """OLMoE in 16 bit, batch 32: 6.919 G weights take at least 6.79 ms; 0.27 ms of cache."""
    time = float(digital.stage_time_s(load_accelerator("a100-400w"), 0, 2 * 6.919e9)) + 0.27e-3
    assert 32 / time == pytest.approx(4220, rel=0.10)


def test_roofline_turns_where_its_lines_cross() -> None:
    accelerator = load_accelerator("edge-7nm")
    rate = float(digital.peak_macs_per_s(accelerator)) * 0.7
    bandwidth = float(digital.memory_bandwidth_bytes_per_s(accelerator)) * 0.85
    crossing = rate / bandwidth
    moved = 1e9
    below, above = (
        float(digital.stage_time_s(accelerator, factor * crossing * moved, moved, stages=0))
        for factor in (0.5, 2.0)
    )
    assert below == pytest.approx(moved / bandwidth)
    assert above == pytest.approx(2 * moved / bandwidth)


def test_a_unit_that_is_not_there() -> None:
    """No MACs: work takes for ever, no work takes no time, and nothing has no area."""
    none = dataclasses.replace(
        load_accelerator("edge-7nm"), mac_units=0, sram_bytes=0, hbm_stacks=0
    )
    assert digital.stage_time_s(none, 0, 0, stages=0) == 0
    assert digital.stage_time_s(none, 1, 0) == np.inf
    assert digital.stage_time_s(none, 0, 1) == np.inf
    assert sum(digital.accelerator_area_mm2(none).values()) == 0


def test_area_of_tpu_parts() -> None:
    """Four 128 x 128 units of 14 mm2 and 128 MiB of 112 mm2, bare."""
    bare = dataclasses.replace(
        load_accelerator("edge-7nm"), mac_units=4 * 128**2, sram_bytes=2**27, mac_area_factor=1
    )
    area = digital.accelerator_area_mm2(bare)
    assert area["mac"] == pytest.approx(56)
    assert area["sram"] == pytest.approx(112)
    assert area["hbm_phy"] == pytest.approx(9.67)
    assert area["hbm_controller"] == pytest.approx(5.3)


@given(st.floats(0, 1e15), st.floats(0, 1e12), st.integers(1, 512))
def test_time_and_energy_are_finite_and_grow(macs: float, moved: float, batch: int) -> None:
    for name in ("a100", "h100", "edge-7nm"):
        accelerator = load_accelerator(name)
        time = digital.step_time_s(accelerator, macs, moved, batch)
        more = digital.step_time_s(accelerator, 2 * macs, 2 * moved, batch + 1)
        energy = digital.step_energy_j(accelerator, time, macs, moved)
        assert 0 <= time <= more < np.inf
        assert 0 <= energy < np.inf


def test_arrays_equal_scalars_bit_for_bit() -> None:
    generator = np.random.default_rng(2)
    units = generator.integers(1, 10**6, 100)
    memory = generator.integers(2**16, 2**28, 100)
    stacks = generator.integers(1, 8, 100)
    edge = load_accelerator("edge-7nm")
    many = dataclasses.replace(edge, mac_units=units, sram_bytes=memory, hbm_stacks=stacks)
    for index in range(100):
        one = dataclasses.replace(
            edge,
            mac_units=int(units[index]),
            sram_bytes=int(memory[index]),
            hbm_stacks=int(stacks[index]),
        )
        assert digital.stage_time_s(many, 1e9, 1e7)[index] == digital.stage_time_s(one, 1e9, 1e7)
        assert digital.static_power_w(many)[index] == digital.static_power_w(one)
        assert digital.sram_energy_j_per_byte(many)[index] == digital.sram_energy_j_per_byte(one)


@pytest.mark.parametrize(("field", "value"), [("mac_units", -1), ("clock_hz", float("nan"))])
def test_bad_values(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(load_accelerator("edge-7nm"), **{field: value})


@pytest.mark.parametrize(
    ("bits", "group", "stored"), [(16, 64, 16), (8, 64, 8.25), (4, 64, 4.25), (4, 128, 4.125)]
)
def test_a_group_shares_a_scale_of_16_bits(bits: float, group: float, stored: float) -> None:
    assert digital.stored_bits(bits, group) == stored
    edge = dataclasses.replace(EDGE, weight_bits=bits, group_size=group)
    assert digital.weight_bytes(edge) == stored / 8


def test_keys_and_values_share_a_scale_in_each_head() -> None:
    assert digital.cache_value_bytes(EDGE) == 2
    assert digital.cache_value_bytes(dataclasses.replace(EDGE, cache_bits=8)) == (8 + 1 / 8) / 8


def test_a_matrix_unit_loads_weights_a_row_a_cycle() -> None:
    """One 128 x 128 unit at 1.05 GHz loads 128 weights a cycle: 269 GB/s in 16 bits.

    So one token an expert takes as long as 128, and a quarter of the rows a quarter of the time.
    """
    one = dataclasses.replace(EDGE, mac_units=128**2, compute_efficiency=1.0)
    weights = 1e9
    seconds = float(digital.stage_time_s(one, weights * 1, 0, 0, weights=weights))
    assert 2 * weights / seconds == pytest.approx(2 * 128 * 1.05e9)
    assert 1e-9 * 2 * weights / seconds == pytest.approx(269, rel=0.01)
    full = float(digital.stage_time_s(one, weights * 128, 0, 0, weights=weights))
    assert full == pytest.approx(seconds)
    twice = float(digital.stage_time_s(one, weights * 256, 0, 0, weights=weights))
    assert twice == pytest.approx(2 * seconds)
    short = dataclasses.replace(one, array_rows=32)
    found = float(digital.stage_time_s(short, weights, 0, 0, weights=weights))
    assert found == pytest.approx(seconds / 4)
    assert digital.mac_energy_j(short) > digital.mac_energy_j(one)


def test_a_stream_needs_a_buffer() -> None:
    """Bandwidth times latency: eight stacks of 409.6 GB/s at 156 ns have 511 KB under way."""
    many = dataclasses.replace(EDGE, hbm_stacks=8, memory_efficiency=1.0)
    under_way = 8 * 409.6e9 * 156e-9
    assert digital.stream_buffer_bytes(many) == pytest.approx(under_way)
    assert digital.stream_bandwidth_bytes_per_s(many) == pytest.approx(8 * 409.6e9)
    little = dataclasses.replace(many, sram_bytes=under_way / 2)
    assert digital.stream_bandwidth_bytes_per_s(little) == pytest.approx(8 * 409.6e9 / 4)
    quick = dataclasses.replace(
        little, memory=dataclasses.replace(EDGE.memory, latency_s=0.0, ranges={})
    )
    assert digital.stream_bandwidth_bytes_per_s(quick) == pytest.approx(8 * 409.6e9)


def test_what_does_not_fit_is_written_and_read_back() -> None:
    """537 MB of activations beside 16 MiB, of which a stream holds 63.9 KB."""
    room = 16 * 2**20 - 409.6e9 * 156e-9
    assert digital.activation_room_bytes(EDGE) == pytest.approx(room)
    assert digital.spilled_bytes(EDGE, 537e6) == pytest.approx(2 * (537e6 - room))
    assert digital.spilled_bytes(EDGE, room / 2) == 0


@given(st.floats(2**10, 2**30), st.floats(1.0, 4.0), st.floats(0, 1e9))
def test_more_memory_on_chip_never_hurts(size: float, factor: float, activations: float) -> None:
    small, large = (dataclasses.replace(EDGE, sram_bytes=one) for one in (size, factor * size))
    assert digital.spilled_bytes(large, activations) <= digital.spilled_bytes(small, activations)
    slow, fast = (digital.stream_bandwidth_bytes_per_s(one) for one in (small, large))
    assert slow <= fast <= 0.85 * 409.6e9 * (1 + 1e-12)


def test_keys_and_values_stream_after_weights_at_their_own_share() -> None:
    split = dataclasses.replace(EDGE, cache_efficiency=0.425)
    weights = float(digital.stage_time_s(split, 0, 1e9, 0))
    both = float(digital.stage_time_s(split, 0, 1e9, 0, cache_bytes=1e9))
    assert both == pytest.approx(3 * weights)
    alone = float(digital.stage_time_s(split, 0, 0, 0, cache_macs=1e12))
    assert alone == pytest.approx(float(digital.stage_time_s(split, 1e12, 0, 0)))


def test_static_power_by_hand() -> None:
    """21 mm2 of arrays, 5.3 of controller: 0.06 W/mm2 and 114 pJ/mm2 at 1.05 GHz; SRAM, a stack."""
    logic, held = 14 * 1.5 + 5.3, 16 * 0.875
    idle = 0.06 * logic + 0.005 * held + 1.37
    assert digital.idle_power_w(EDGE) == pytest.approx(idle)
    assert digital.static_power_w(EDGE) == pytest.approx(idle + 114e-12 * 1.05e9 * logic)
    board = dataclasses.replace(EDGE, regulator_efficiency=0.9)
    assert digital.static_power_w(board) == pytest.approx(digital.static_power_w(EDGE) / 0.9)


def test_narrow_weights_cost_their_widening() -> None:
    """16-bit activations: the same product; 4-bit weights are widened at the rate of memory."""
    narrow = dataclasses.replace(EDGE, weight_bits=4)
    energy, wide = (digital.step_energy_j(one, 0, 0, 0, weights=1e9) for one in (narrow, EDGE))
    assert energy == pytest.approx(0.21e-3) and wide == 0
    units = 409.6e9 / (4.25 / 8) / 1.05e9
    added = digital.accelerator_area_mm2(narrow)["mac"] - digital.accelerator_area_mm2(EDGE)["mac"]
    assert added == pytest.approx(units * 0.21 / 0.59 * 14 / 128**2)


def test_weights_that_an_array_does_not_read_are_widened_first() -> None:
    """H100 reads 8 bits and no 4; B200 reads both."""
    h100, b200 = load_accelerator("h100"), load_accelerator("b200")
    assert digital.widening_time_s(h100, 1.93e13, 4.25) == pytest.approx(1.0)
    assert digital.widening_time_s(h100, 1e13, 8) == digital.widening_time_s(b200, 1e13, 4.25) == 0


def test_many_sequences_take_less_than_their_number() -> None:
    """98.4 us a sequence and 0.65 us in each of 36 stages, times batch to the power 0.8."""
    h100 = load_accelerator("h100")
    one, many = (float(digital.token_time_s(h100, batch, 36)) for batch in (1, 32))
    assert one == pytest.approx(98.4e-6 + 36 * 0.652e-6)
    assert many == pytest.approx(one * 16)  # 32 to the power 0.8
    assert digital.token_time_s(h100, 0, 36) == 0
