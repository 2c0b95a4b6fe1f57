"""Dies and their edges: machines that exist, closed forms, limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels import die
from hwmodels.memory import load_memory, memory_names, stack_memories

areas = st.floats(1.0, 858.0)
kinds = st.sampled_from(memory_names())


@pytest.mark.parametrize(
    ("machine", "kind", "stacks", "area_mm2", "dies"),
    [
        ("A100, five of six sites used", "hbm2e", 6, 826, 1),
        ("H100, five of six sites used", "hbm3", 6, 814, 1),
        ("B200", "hbm3e", 8, 1600, 2),
        ("MI300X: eight stacks on four base dies", "hbm3", 8, 4 * 370, 4),
        ("TPUv4i: 614 GB/s of HBM2", "hbm2e", 2, 400, 1),
        ("Grace-class: 512 bits", "lpddr5x", 4, 400, 1),
    ],
)
def test_machines_that_exist_fit(
    machine: str, kind: str, stacks: int, area_mm2: float, dies: int
) -> None:
    assert die.stacks_fit(load_memory(kind), stacks, area_mm2, dies), machine


@pytest.mark.parametrize("kind", ["hbm2e", "hbm3", "hbm3e"])
def test_four_stacks_on_200_mm2(kind: str) -> None:
    """Four fifths of 4 x 14.14 mm are 45.3 mm: four stacks of 11 mm, not eight."""
    memory = load_memory(kind)
    assert die.most_stacks(memory, 200) == 4
    assert die.stacks_fit(memory, 4, 200)
    assert not die.stacks_fit(memory, 8, 200)
    assert die.stacks_fit(memory, 8, 400, dies=2)


def test_packages_on_the_substrate_need_the_interface_only() -> None:
    """45.3 mm of edge over 5.8 mm of LPDDR5 interface: seven."""
    assert die.most_stacks(load_memory("lpddr5x"), 200) == 7


def test_host_and_links_take_the_edge_of_a_small_die() -> None:
    """25 mm2: 20 mm of edge less 5.85 mm of host and 3 of links leaves 11.15 mm, not 16: one."""
    memory = load_memory("hbm2e")
    assert die.PCIE5_X16.edge_mm == pytest.approx(10.24 / 1.75)
    assert die.memory_edge_mm(25, link_edge_mm=3) == pytest.approx(20 - 10.24 / 1.75 - 3)
    assert die.most_stacks(memory, 25) == 1
    assert die.most_stacks(memory, 25, link_edge_mm=3) == 1
    assert die.most_stacks(memory, 25, link_edge_mm=4) == 0
    assert die.memory_edge_mm(25, link_edge_mm=30) == 0


@given(kinds, areas, st.floats(0, 50))
def test_never_more_than_four_fifths_of_the_edge(kind: str, area: float, links: float) -> None:
    memory = load_memory(kind)
    stacks = die.most_stacks(memory, area, link_edge_mm=links)
    edge = 4 * area**0.5
    for width in (memory.edge_mm, memory.stack_width_mm):
        assert stacks * width <= 0.8 * edge + 1e-9
        assert stacks * width <= max(edge - die.PCIE5_X16.edge_mm - links, 0) + 1e-9
    wider = max(memory.edge_mm, memory.stack_width_mm)
    room = min(0.8 * edge, edge - die.PCIE5_X16.edge_mm - links)
    assert (stacks + 1) * wider > room - 1e-9


@given(kinds, areas, areas)
def test_a_larger_die_never_takes_fewer(kind: str, one: float, other: float) -> None:
    memory = load_memory(kind)
    small, large = sorted((one, other))
    assert 0 <= die.most_stacks(memory, small) <= die.most_stacks(memory, large)


@given(st.floats(200, 5000), st.integers(1, 15))
def test_more_dies_have_more_edge(area: float, dies: int) -> None:
    """n squares of area A/n have sqrt(n) times the edge of one, where hosts fit the fifth."""
    one, many = (count * die.memory_edge_mm(area / count) for count in (1, dies))
    assert area / dies < 53.5 or many == pytest.approx(dies**0.5 * one)
    assert many <= dies**0.5 * one * (1 + 1e-9)


def test_reticle() -> None:
    assert die.RETICLE_MM2 == 858
    assert die.fits_reticle(858)
    assert not die.fits_reticle(858.1)
    assert die.fits_reticle(8000, 10)
    assert not die.fits_reticle(8000, 9)
    assert die.fewest_dies([1, 858, 859, 1716, 8000]).tolist() == [1, 1, 2, 2, 10]
    assert die.die_area_mm2([100, 800], [1, 4]).tolist() == [100, 200]


@pytest.mark.parametrize("dies", [0, 17, 1.5])
def test_dies_out_of_range(dies: float) -> None:
    with pytest.raises(ValueError, match=r"dies is .* from 1 to 16"):
        die.die_area_mm2(100, dies)


@pytest.mark.parametrize(
    ("link", "gigabytes_per_s_mm", "gigabytes_per_s_mm2"),
    [("ucie-advanced", 1317, 1350), ("ucie-standard", 224, 170)],
)
def test_densities_of_the_ucie_specification(
    link: str, gigabytes_per_s_mm: float, gigabytes_per_s_mm2: float
) -> None:
    """Tables of the specification beside a bump map of its modules (areal density is `up to`)."""
    one = die.LINKS[link]
    rate = 1e-9 * one.module_bandwidth_bytes_per_s
    assert rate / one.module_edge_mm == pytest.approx(gigabytes_per_s_mm, rel=0.01)
    assert rate / one.module_area_mm2 == pytest.approx(gigabytes_per_s_mm2, rel=0.07)
    assert one.energy_low_j_per_bit <= one.energy_j_per_bit <= one.energy_high_j_per_bit


def test_link_by_hand() -> None:
    """600 GB/s need two modules of 512; 1 GB at 0.5 pJ/bit is 4 mJ; idle 15 % of 2.048 W each."""
    link = die.UCIE_ADVANCED
    assert die.link_modules(link, [0, 1, 512e9, 600e9]).tolist() == [0, 1, 1, 2]
    assert die.neighbours([1, 2, 3, 16]).tolist() == [0, 1, 2, 2]
    assert die.link_edge_mm(link, 2) == pytest.approx(0.7776)
    assert die.link_area_mm2(link, 2) == pytest.approx(0.811)
    assert die.link_energy_j(link, 1e9) == pytest.approx(4e-3)
    assert die.link_idle_power_w(link, 2) == pytest.approx(2 * 0.15 * 4096e9 * 0.5e-12)


def test_host_by_hand() -> None:
    """PCIe 5 x16: 64 GB/s a direction; 16 lanes of 0.64 mm2 and 5.372 M transistors at 91.2 M."""
    host = die.PCIE5_X16
    assert host.bandwidth_bytes_per_s == 128e9
    assert die.host_area_mm2(host, 7) == pytest.approx(10.24 + 0.9425, rel=1e-4)
    assert die.host_area_mm2(host, 5) == pytest.approx(10.24 + 0.9425 / 1.84, rel=1e-4)
    assert die.host_idle_power_w(host) == pytest.approx(0.15 * 1024e9 * 6.5e-12)


def test_network_against_random_places() -> None:
    """Mean Manhattan distance from the edge of a square of 10 mm to a place on it, by drawing."""
    generator = np.random.default_rng(5)
    along, across, depth = generator.uniform(0, 10, (3, 400_000))
    distance = np.abs(along - across) + depth
    energy = die.network_energy_j(1, 100)
    wire = 8 * die.NETWORK.energy_j_per_bit_mm
    assert energy == pytest.approx(wire * distance.mean(), rel=3e-3)
    assert wire / 8 == pytest.approx(0.25 * 0.2e-12 * 0.75**2 * 1.6)


def test_arrays_equal_scalars() -> None:
    generator = np.random.default_rng(3)
    index, dies = generator.integers(0, 4, 50), generator.integers(1, 17, 50)
    area, stacks = generator.uniform(20, 8000, 50), generator.integers(0, 40, 50)
    memories = [load_memory(name) for name in memory_names()]
    many = die.stacks_fit(stack_memories(memories, index), stacks, area, dies)
    assert 0 < many.sum() < 50
    for place in range(50):
        one = die.stacks_fit(memories[index[place]], stacks[place], area[place], dies[place])
        assert one == many[place]
