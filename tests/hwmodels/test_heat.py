"""Heat: machines that exist under the cooling that they have."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels import heat


@pytest.mark.parametrize(
    ("machine", "watts", "area_mm2", "air", "cold_plate"),
    [
        ("A100 on air", 400, 826, True, True),
        ("H100, with its memory", 700, 814, False, True),
        ("GB300 die", 1400, 1600, False, True),
        ("TPUv4 on air", 192, 600, True, True),
        ("1.5 W/mm2, a hot spot everywhere", 300, 200, False, False),
    ],
)
def test_published_machines(
    machine: str, watts: float, area_mm2: float, air: bool, cold_plate: bool
) -> None:
    density = heat.power_density_w_per_mm2(watts, 0, area_mm2)
    assert density == pytest.approx(watts / area_mm2)
    assert heat.stays_cool(density, "air") == air, machine
    assert heat.stays_cool(density, "cold-plate") == cold_plate, machine
    assert heat.stays_cool(density, "none")


def test_stacks_keep_their_own_heat() -> None:
    """150 W of which 30 W are the stacks' on 200 mm2: 0.6 W/mm2."""
    assert heat.power_density_w_per_mm2(150, 30, 200) == pytest.approx(0.6)
    assert heat.power_density_w_per_mm2([150, 0], [30, 0], [200, 0]).tolist() == [0.6, 0]


def test_limits() -> None:
    limits = heat.power_density_limit_w_per_mm2
    assert limits("air") == 0.5
    assert limits("cold-plate") == 1.0
    assert limits("none") == np.inf
    assert limits("cold-plate", [False, True]).tolist() == [1.0, 0.5]
    assert limits(np.array(["air", "none", "cold-plate"]), True).tolist() == [0.25, np.inf, 0.5]
    assert heat.stays_cool([0.5, 0.50001, 0.25], "air", [False, False, True]).tolist() == [
        True, False, True,
    ]  # fmt: skip


@given(st.floats(0, 1e4), st.sampled_from(["air", "cold-plate", "none"]))
def test_what_stays_cool_under_tiers_does_without(density: float, cooling: str) -> None:
    assert heat.stays_cool(density, cooling) or not heat.stays_cool(density, cooling, True)


@pytest.mark.parametrize(
    ("given", "near"), [("cold plate", "cold-plate"), ("airr", "air"), ("nothing", "none")]
)
def test_unknown_cooling(given: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"unknown cooling '{given}'; nearest is {near}") as caught:
        heat.power_density_limit_w_per_mm2(given)
    assert "\n" not in str(caught.value)
