"""Intervals: by hand, against scipy, and how often they hold the chips left out."""

import math

import numpy as np
import pytest
from scipy import stats

from hwmodels import intervals
from hwmodels.chip_tiles import CLASSES
from hwmodels.intervals import Error, class_interval, interval, left_out_errors, technology_class
from hwmodels.technology import load_technology


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six chips of one class off by 1/4, 1/2, 1, 1, 2, 4 times, and one of another off twice."""
    logs = math.log(2) * np.array([-2, -1, 0, 0, 1, 2])
    errors = [Error("digital", "energy_j", f"chip {i}", float(x)) for i, x in enumerate(logs)]
    errors.append(Error("pulse width", "energy_j", "alone", math.log(2)))
    monkeypatch.setattr(intervals, "left_out_errors", lambda: tuple(errors))
    intervals._class_interval.cache_clear()


@pytest.fixture(autouse=True)
def cleared() -> None:
    intervals._class_interval.cache_clear()


def test_by_hand(made_up: None) -> None:
    """In units of ln 2: mean absolute deviation 6/6 = 1, so a spread of 1.2533 x sqrt(6/5); all
    seven errors 7/7 = 1, so 1.2533. Variance (2 x 1.5708 + 5 x 1.8850) / 7 = 1.7952; half width
    t(7) x sqrt(1.7952 x 9/8) = 1.415 x 1.421.
    """
    found = class_interval("digital", "energy_j")
    quantile = stats.t.ppf(0.9, 7)
    half = quantile * math.sqrt((2 * math.pi / 2 + 5 * math.pi / 2 * 1.2) / 7 * 9 / 8)
    assert found.high == pytest.approx(2**half, rel=1e-6) and found.chips == 6 and not found.few
    assert found.low == pytest.approx(2**-half, rel=1e-6)
    assert found.high == pytest.approx(2 ** (1.415 * 1.421), rel=1e-3)


def test_a_single_chip_borrows_the_scatter_of_the_others(made_up: None) -> None:
    """Its centre is a third of its own error, its half width that of two degrees of freedom."""
    found = class_interval("pulse width", "energy_j")
    half = stats.t.ppf(0.9, 2) * math.sqrt(math.pi / 2 * 4 / 3)
    assert found.few and found.high == pytest.approx(2 ** (1 / 3 + half), rel=1e-6)
    without = class_interval("pulse width", "energy_j", without="alone")
    assert without.chips == 0 and without.low == pytest.approx(1 / without.high)


def test_efficiency_is_the_inverse_of_energy() -> None:
    for kind in (*CLASSES, "projection"):
        low, high = interval(kind, "energy_j")
        assert interval(kind, "tops_per_w") == pytest.approx((1 / high, 1 / low))
        assert 0 < low < high < math.inf


@pytest.mark.parametrize("quantity", ["energy_j", "latency_s", "area_mm2"])
def test_intervals_hold_chips_left_out(quantity: str) -> None:
    """At least 75 % of shipped silicon lies in the interval that the others of its class give."""
    errors = [error for error in left_out_errors() if error.quantity == quantity]
    inside = []
    for error in errors:
        found = class_interval(error.kind, quantity, without=error.family)
        inside.append(found.low <= math.exp(error.log) <= found.high)
    assert np.mean(inside) >= 0.75 and len(errors) >= (4 if quantity == "area_mm2" else 80)


@pytest.mark.parametrize("kind", [k for k in CLASSES if not class_interval(k, "energy_j").few])
def test_intervals_hold_in_each_class_of_five_chips(kind: str) -> None:
    """And they are no wider than they need be: less than 60 times from end to end."""
    errors = [e for e in left_out_errors() if e.quantity == "energy_j" and e.kind == kind]
    found = [class_interval(kind, "energy_j", without=e.family) for e in errors]
    inside = [i.low <= math.exp(e.log) <= i.high for i, e in zip(found, errors, strict=True)]
    assert np.mean(inside) >= 0.75
    low, high = interval(kind, "energy_j")
    assert high / low < 60


def test_a_projection_is_trusted_less_than_silicon() -> None:
    """Models fitted to silicon say 5.84 times the energy of the analog fabric tile's claim."""
    silicon, projected = interval("pulse width", "energy_j"), interval("projection", "energy_j")
    assert projected[1] / silicon[1] == pytest.approx(5.84, rel=0.05)
    assert projected[0] == silicon[0]
    assert class_interval("projection", "latency_s").few


def test_classes_of_technologies() -> None:
    found = {name: technology_class(load_technology(name)) for name in (
        "pcm-3d", "pcm-14nm", "flash-40nm", "rram-130nm", "rram-22nm", "rram-32nm", "sram-16nm"
    )}  # fmt: skip
    assert found == {
        "pcm-3d": "projection",
        "pcm-14nm": "pulse width",
        "flash-40nm": "pulse width",
        "rram-130nm": "integrating neuron",
        "rram-22nm": "sampled analog",
        "rram-32nm": "sliced study",
        "sram-16nm": "charge domain",
    }


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="nearest is pulse width"):
        interval("pulse widths", "energy_j")
    with pytest.raises(ValueError, match="nearest is latency_s"):
        interval("digital", "latency")
