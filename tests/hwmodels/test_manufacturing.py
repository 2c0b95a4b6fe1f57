"""What a package costs: yields and prices by hand, wafers by counting, limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels import manufacturing as made
from hwmodels.memory import ESTIMATES, load_memory, memory_names, stack_memories

areas = st.floats(1.0, 858.0)
nodes = st.sampled_from([3.0, 5.0, 7.0, 14.0, 28.0, 65.0])


@pytest.mark.parametrize(
    ("node", "actuary", "compass"),
    [
        # 8.26 cm2 x 0.09 = 0.7434, (1.07434)^-10; x 0.15 = 1.239, (1.413)^-3
        (7.0, 0.4882, 0.3545),
        # 8.26 x 0.11 = 0.9086, (1.09086)^-10; x 0.20 = 1.652, (1.5507)^-3
        (5.0, 0.4191, 0.2682),
        # 8.26 x 0.07 = 0.5782, (1.05782)^-10; x 0.05 = 0.413, (1.1377)^-3
        (28.0, 0.5700, 0.6791),
    ],
)
def test_yield_of_the_a100_die_by_both_sets(node: float, actuary: float, compass: float) -> None:
    one, other = made.die_yields(826, node)
    assert one == pytest.approx(actuary, abs=2e-4)
    assert other == pytest.approx(compass, abs=2e-4)


def test_clustering_of_defects_ends_at_poisson() -> None:
    """(1 + x/c)^-c tends to exp(-x), from above."""
    assert made.negative_binomial_yield(500, 0.1, 1e7) == pytest.approx(np.exp(-0.5), rel=1e-6)
    assert made.negative_binomial_yield(500, 0.1, 3) > np.exp(-0.5)


def counted(area_mm2: float) -> int:
    """Most whole squares with their scribe lanes on a disc of 290 mm, over shifts of the grid."""
    pitch = area_mm2**0.5 + 0.2
    best = 0
    for shift_x in (0.0, 0.5):
        for shift_y in (0.0, 0.5):
            x, y = (pitch * (np.arange(-400, 400) + shift) for shift in (shift_x, shift_y))
            far_x = np.maximum(np.abs(x), np.abs(x + pitch))
            far_y = np.maximum(np.abs(y), np.abs(y + pitch))
            best = max(best, int(np.sum(np.hypot(far_x[:, None], far_y) <= 145)))
    return best


@pytest.mark.parametrize("area_mm2", [25.0, 100.0, 200.0, 400.0, 826.0])
def test_dies_of_a_wafer_by_counting(area_mm2: float) -> None:
    assert made.gross_dies_per_wafer(area_mm2) == pytest.approx(counted(area_mm2), rel=0.08)


def test_a_good_die_of_the_a100() -> None:
    """66052 / 837.5 - 911.06 / 40.93 = 56.6 dies of a wafer of 9346 USD: 165.1 USD raw; over 0.4882
    and 0.3545: 338 and 466 USD, 402 between."""
    prices = [float(made.good_die_usd(826, 7, end)) for end in ESTIMATES]
    assert prices == pytest.approx([338.2, 402.0, 465.8], abs=0.2)


def test_wafer_prices() -> None:
    """Published nodes are met; 6 nm lies between on a log-log line."""
    assert made.wafer_usd([3, 5, 7, 14, 65]) == pytest.approx([30000, 16988, 9346, 3984, 1937])
    slope = np.log(16988 / 9346) / np.log(7 / 5)
    assert made.wafer_usd(6) == pytest.approx(9346 * (7 / 6) ** slope)


def test_interposer_by_hand() -> None:
    """1600 mm2: 66052 / 40.2^2 - 911.06 / (40.2 sqrt(2)) = 24.85 of a wafer; 0.96 defects:
    1.16^-6 = 0.4104; 1937 / 24.85 / 0.4104 = 189.9, and 8 USD of solder bumps."""
    assert made.interposer_usd(1600, "low") == pytest.approx(197.9, abs=0.3)
    assert made.interposer_usd(0) == 0


def test_a_package_by_hand() -> None:
    """Two dies of 400 mm2 at 7 nm with four stacks of HBM2e, at the high end.

    Each piece holds one die and two stacks of 110 mm2: 1.1 x 620 = 682 mm2 of interposer.
    """
    memory = load_memory("hbm2e")
    parts = made.package_cost_usd(memory, 4, 400, 7, 2, estimate="high")
    die = float(made.good_die_usd(400, 7, "high")) + 0.01 * 400
    memory_usd = 4 * 16 * 12
    silicon = float(made.interposer_usd(682, "high"))
    substrate = 2 * 682 * 4 * 0.005
    assert parts["die"] == pytest.approx(2 * die)
    assert parts["memory"] == pytest.approx(memory_usd)
    assert parts["interposer"] == pytest.approx(2 * silicon)
    assert parts["substrate"] == pytest.approx(substrate)
    piece = (die + memory_usd / 2 + silicon) / 0.95**3
    total = (2 * piece + substrate) / 0.99**2
    assert sum(parts.values()) == pytest.approx(total)


def test_a_package_without_silicon() -> None:
    """LPDDR5X stands on the substrate: no interposer, one die in a hundred lost with it."""
    parts = made.package_cost_usd(load_memory("lpddr5x"), 4, 200, 7)
    assert parts["interposer"] == 0
    assert parts["die"] == pytest.approx(made.good_die_usd(200, 7) + 0.005 * 200)
    assert parts["substrate"] == pytest.approx(200 * 4 * 0.005)
    kept = parts["die"] + parts["memory"] + parts["substrate"]
    assert parts["lost"] == pytest.approx(kept * (1 / 0.99 - 1))


def test_links_between_dies_may_need_silicon() -> None:
    memory = load_memory("lpddr5x")
    assert made.package_cost_usd(memory, 4, 200, 7, 2)["interposer"] > 0
    plain = made.package_cost_usd(memory, 4, 200, 7, 2, link_on_interposer=False)
    assert plain["interposer"] == 0


def test_bill_of_an_h100() -> None:
    """Bills of materials that analysts publish lie between 2 and 4.3 thousand USD (siliconanalysts,
    H200 4250 with larger memory): ours, without test and lid, has to reach that range."""
    low, high = (
        float(sum(made.package_cost_usd(load_memory("hbm3"), 5, 814, 5, estimate=end).values()))
        for end in ("low", "high")
    )
    assert low < 2500 < 3500 < high


def test_what_cannot_be_made() -> None:
    assert made.good_die_usd(900, 7) == np.inf
    assert made.good_die_usd(0, 7) == 0
    assert sum(made.package_cost_usd(load_memory("hbm2e"), 0, 900, 7).values()) == np.inf


@given(areas, nodes)
def test_yields_are_shares(area: float, node: float) -> None:
    assert all(0 < share < 1 for share in made.die_yields(area, node))


@given(areas, areas, nodes, st.sampled_from(ESTIMATES))
def test_a_larger_die_costs_more(one: float, other: float, node: float, estimate: str) -> None:
    small, large = sorted((one, other))
    assert 0 < made.good_die_usd(small, node, estimate) <= made.good_die_usd(large, node, estimate)


@given(st.sampled_from(memory_names()), st.integers(0, 8), areas, nodes, st.integers(1, 16))
def test_a_package_grows(kind: str, stacks: int, area: float, node: float, dies: int) -> None:
    memory = load_memory(kind)

    def total(stacks: int, area: float, estimate: str = "middle") -> float:
        parts = made.package_cost_usd(memory, stacks, area, node, dies, estimate=estimate)
        assert all(part >= 0 for part in parts.values())
        return float(sum(parts.values()))

    assert total(stacks, area, "low") < total(stacks, area) < total(stacks, area, "high")
    assert total(stacks, area) < total(stacks + 1, area)
    assert total(stacks, area / 2) < total(stacks, area)


def test_arrays_equal_scalars() -> None:
    generator = np.random.default_rng(4)
    index, dies = generator.integers(0, 4, 40), generator.integers(1, 17, 40)
    area, stacks = generator.uniform(20, 858, 40), generator.integers(0, 40, 40)
    memories = [load_memory(name) for name in memory_names()]
    for estimate in ESTIMATES:
        many = made.package_cost_usd(
            stack_memories(memories, index), stacks, area, 7.0, dies, estimate=estimate
        )
        for place in range(40):
            one = made.package_cost_usd(
                memories[index[place]], stacks[place], area[place], 7.0, dies[place],
                estimate=estimate,
            )  # fmt: skip
            for part, value in one.items():
                assert many[part][place] == pytest.approx(float(value), rel=1e-12, abs=1e-9)
