"""Quantities in and out, against values worked out by hand and round-trip properties."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse import units


@pytest.mark.parametrize(
    ("text", "expected_mm2"),
    [("200mm2", 200.0), ("2cm2", 200.0), ("2 cm2", 200.0), ("1.5e2mm²", 150.0), ("5e5 µm2", 0.5)],
)
def test_areas_are_read_in_mm2(text: str, expected_mm2: float) -> None:
    assert units.parse(text, "area") == pytest.approx(expected_mm2, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("200", "write 200mm2"),
        ("200 mm", "accepted are um2, mm2, cm2, m2"),
        ("-5mm2", "greater than zero"),
        ("0mm2", "greater than zero"),
        ("1e99mm2", "300 mm wafer"),
        ("nanmm2", "write a number and a unit"),
        ("", "write a number and a unit"),
        ("200mm2 of silicon", "write a number and a unit"),
    ],
)
def test_bad_areas_say_what_is_accepted(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        units.parse(text, "area")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1.5e-6, "J", "1.5 uJ"),
        (12_000, "tok/s", "12 k tok/s"),
        (768, "tok/s", "768 tok/s"),
        (999.96, "tok/s", "1 k tok/s"),
        (0.0, "J", "0 J"),
        (3.2e-12, "J", "3.2 pJ"),
        (0.00512, "s", "5.12 ms"),
        (math.nan, "J", "–"),
    ],
)
def test_formatting(value: float, unit: str, expected: str) -> None:
    assert units.si(value, unit) == expected


def test_large_numbers_are_not_powers_of_ten() -> None:
    assert units.area(10417.3) == "10,417 mm2"
    assert units.area(9823.1) == "9823 mm2"
    assert units.plain_number(9823.1, 3) == "9,823"
    assert units.plain_number(0.01237, 3) == "0.0124"


@given(st.floats(min_value=1e-9, max_value=1e5), st.sampled_from(["J", "W", "s"]))
def test_formatted_values_read_back(value: float, unit: str) -> None:
    kind = {"J": "energy", "W": "power", "s": "time"}[unit]
    text = units.si(value, unit, digits=4)
    number, symbol = text.split()
    prefixes = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6}
    read_back = float(number) * prefixes[symbol[:-1]]
    assert read_back == pytest.approx(value, rel=1e-3)
    if f"{symbol}" in {"uW", "mW", "W", "kW", "uJ", "mJ", "J", "us", "ms", "s"}:
        assert units.parse(text, kind) == pytest.approx(value, rel=1e-3)


@given(st.text(max_size=20))
def test_any_text_is_a_positive_area_or_one_clear_line(text: str) -> None:
    try:
        value = units.parse(text, "area")
    except ValueError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert 0 < value < math.inf


def test_memory_and_durations():
    assert units.parse("8GiB", "memory size") == 8 * 2**30
    assert units.parse("30min", "time") == 1800
    assert units.memory(2.0**31 + 1, up=True) == "2.1 GiB"
    assert [units.duration(s) for s in (45, 720, 12600)] == ["45 s", "12 min", "3.5 h"]
