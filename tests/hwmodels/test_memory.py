"""Memory by kind: data sheets and die photos, ranges, arrays against scalars."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwmodels
from hwmodels import memory as model
from hwmodels.memory import ESTIMATES, NUMBERS, load_memory, memory_names, stack_memories
from hwmodels.uncertainty import memory_ranges, perturbed

KINDS = ("hbm2e", "hbm3", "hbm3e", "lpddr5x")
PRESETS = Path(hwmodels.__file__).parent / "presets" / "memory"


def test_kinds() -> None:
    assert memory_names() == KINDS
    for name in KINDS:
        assert load_memory(name).name == name
        assert len(str(load_memory(name).source)) > 200


@pytest.mark.parametrize(
    ("name", "stacks", "gigabytes_per_s", "gigabytes"),
    [
        ("hbm2e", 5, 2039, 80),  # A100 SXM4 80 GB
        ("hbm3", 5, 3350, 80),  # H100 SXM5
        ("hbm3", 8, 5300, 128),  # MI300X's rate; its stacks of 24 GB are the larger kind
        ("hbm3e", 8, 8000, 192),  # B200
        ("lpddr5x", 4, 546, 128),  # Grace: 512 bits
    ],
)
def test_data_sheets(name: str, stacks: int, gigabytes_per_s: float, gigabytes: float) -> None:
    memory = load_memory(name)
    bandwidth = 1e-9 * model.total_bandwidth_bytes_per_s(memory, stacks)
    assert bandwidth == pytest.approx(gigabytes_per_s, rel=0.012)
    assert 1e-9 * model.total_capacity_bytes(memory, stacks) == pytest.approx(gigabytes)


def test_h200_lies_in_the_range() -> None:
    """Six stacks of HBM3e at 4.8 TB/s: 800 GB/s each."""
    low, high = load_memory("hbm3e").ranges["bandwidth_bytes_per_s"]
    assert low <= 4.8e12 / 6 <= high


def test_die_photo_of_the_a100() -> None:
    """Six interfaces of GA100 take 58.0 mm2, their controllers 31.77 mm2 (LLMCompass)."""
    area = model.interface_area_mm2(load_memory("hbm2e"), 6, 7.0)
    assert area["phy"] == pytest.approx(58.0, rel=0.002)
    assert area["controller"] == pytest.approx(31.77, rel=0.002)


def test_bump_maps() -> None:
    """HBM3: 2.62 x 7.728 mm = 20.25 mm2, twice or thrice HBM2e's 6.54 to 10.45 mm2."""
    new, old = load_memory("hbm3"), load_memory("hbm2e")
    assert new.phy_area_mm2 == pytest.approx(2.62 * 7.728, rel=1e-3)
    assert 20.25 / 10.45 < new.phy_area_mm2 / old.phy_area_mm2 < 20.25 / 6.54
    assert old.ranges["phy_area_mm2"][0] == pytest.approx(1.081 * 6.0475, rel=1e-3)


def test_only_the_controller_scales() -> None:
    """From N7 to N5 logic is 1.84 times denser (Yeap et al., IEDM 2019); bumps are not."""
    at_7, at_5 = (model.interface_area_mm2(load_memory("hbm3"), 2, node) for node in (7.0, 5.0))
    assert at_5["phy"] == at_7["phy"] == pytest.approx(2 * 20.25)
    assert at_7["controller"] == pytest.approx(2 * 8.0)
    assert at_5["controller"] == pytest.approx(2 * 8.0 / 1.84)


@pytest.mark.parametrize("name", ["hbm2e", "hbm3", "hbm3e"])
def test_an_interface_with_its_controller(name: str) -> None:
    """At 7 nm no stack takes less than A100's 9.7 + 5.3 mm2."""
    assert sum(model.interface_area_mm2(load_memory(name), 1, 7.0).values()) >= 14.9


def test_energy_a_bit_by_hand() -> None:
    """HBM2e: 4.3 in the stack, 0.6 + 1.2 pJ/bit on the die."""
    memory = load_memory("hbm2e")
    assert model.stack_energy_j_per_byte(memory) == pytest.approx(8 * 4.3e-12)
    assert model.die_energy_j_per_byte(memory) == pytest.approx(8 * 1.8e-12)
    assert model.energy_j_per_byte(memory) == pytest.approx(8 * 6.1e-12)
    assert model.energy_j_per_byte(memory, "low") == pytest.approx(8 * (3.92 + 0.3 + 0.5) * 1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_energy_lies_between_the_device_and_a_gpu(name: str) -> None:
    """Above the device alone; below the whole path of any GPU, 11.68 pJ/bit (SC 2025)."""
    memory = load_memory(name)
    low, middle, high = (model.energy_j_per_byte(memory, end) / 8e-12 for end in ESTIMATES)
    assert 2.3 < low < middle < high < 11.68


def test_published_simulator_of_lpddr() -> None:
    """0.2467 W at 5.332 GB/s: 5.78 pJ/bit (IBM 3D-CiM simulator)."""
    energy = model.energy_j_per_byte(load_memory("lpddr5x"))
    assert energy == pytest.approx(0.2467 / 5.332e9, rel=0.01)


def test_idle_power_by_hand() -> None:
    """1087.4 mA at 1.2 V of 36 measured stacks, and 0.035 W of refresh for each 8 GB."""
    hand = 1.0874 * 1.2 + 2 * 0.035
    assert model.total_idle_power_w(load_memory("hbm2e"), 3) == pytest.approx(3 * hand, rel=0.01)
    assert model.total_idle_power_w(load_memory("hbm2e"), 1, "high") == pytest.approx(6.4)


def test_buffer_of_a_stream() -> None:
    """Little: 409.6 GB/s for 156 ns are 63.9 kB on their way, for each stack."""
    assert model.stream_buffer_bytes(load_memory("hbm2e"), 2) == pytest.approx(2 * 63.9e3, rel=1e-3)


def test_price_by_hand() -> None:
    """Five stacks of 16 GB at 7, 10 and 12 USD a GB."""
    prices = [float(model.price_usd(load_memory("hbm2e"), 5, end)) for end in ESTIMATES]
    assert prices == pytest.approx([560, 800, 960])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(0, 16))
def test_arrays_equal_scalars_bit_for_bit(index: list[int], stacks: int) -> None:
    memories = [load_memory(name) for name in KINDS]
    many = stack_memories(memories, np.array(index))
    for place, kind in enumerate(index):
        one = memories[kind]
        for name in NUMBERS:
            for end in ESTIMATES:
                value = np.broadcast_to(model.at(many, name, end), len(index))[place]
                assert value == model.at(one, name, end)
        for quantity in (model.price_usd, model.total_idle_power_w):
            for end in ESTIMATES:
                value = np.broadcast_to(quantity(many, stacks, end), len(index))[place]
                assert value == quantity(one, stacks, end)


@given(st.sampled_from(KINDS), st.integers(0, 15), st.sampled_from([3.0, 5.0, 7.0, 14.0]))
def test_more_stacks_take_more(name: str, stacks: int, node: float) -> None:
    memory = load_memory(name)
    less, more = (model.interface_area_mm2(memory, count, node) for count in (stacks, stacks + 1))
    assert all(0 <= less[part] < more[part] for part in ("phy", "controller"))
    assert model.total_idle_power_w(memory, stacks) < model.total_idle_power_w(memory, stacks + 1)


def test_ranges_for_a_tornado_chart() -> None:
    memory = load_memory("hbm3")
    found = {one.name: one for one in memory_ranges(memory)}
    assert found["idle_power_w"].low == 0.4
    assert found["idle_power_w"].nominal == 1.37
    assert found["idle_power_w"].high == 6.4
    for one in found.values():
        assert one.low < one.high
        assert one.low <= one.nominal <= one.high
    assert perturbed(memory, "idle_power_w", 6.4).idle_power_w == 6.4


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="unknown memory 'hbm4'; nearest is hbm3") as caught:
        load_memory("hbm4")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("edge_mm = 6.05", "edgemm = 6.05", "edgemm.*nearest is edge_mm"),
        ("edge_mm = 6.05", "", "lacks the key 'edge_mm'"),
        ("edge_mm = 6.05", "edge_mm = -1", "edge_mm is -1"),
        (
            "latency_s = 156e-9",
            "latency_s = 1",
            "latency_s of memory .* is 1; its range is 1e-07 to",
        ),
        ("latency_s = [", "latency = [", "'latency'; nearest is latency_s"),
    ],
)
def test_files_of_ones_own(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = (PRESETS / "hbm2e.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert load_memory(path).name == "hbm2e"
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=says) as caught:
        load_memory(path)
    assert "\n" not in str(caught.value)


def test_notebooks_show_a_table() -> None:
    assert "<td>hbm3</td>" in load_memory("hbm3")._repr_html_()
