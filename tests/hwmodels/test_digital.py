"""The digital accelerator: data sheets, closed forms, limits."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels import digital
from hwmodels.digital import load_accelerator


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
