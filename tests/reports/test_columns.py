"""Numbers as text: units, prefixes, standard errors, and values that are not there."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.columns import (
    NOT_COMPUTED,
    breakdown_columns,
    plain,
    show,
    si,
    with_error,
)

FACTORS = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6,
           "G": 1e9, "T": 1e12}  # fmt: skip


@given(st.floats(1e-14, 9e13))
def test_a_prefixed_number_reads_back_as_itself(value: float) -> None:
    number, unit = si(value, "J").split(" ")
    assert math.isclose(float(number) * FACTORS[unit.removesuffix("J")], value, rel_tol=0.006)
    assert 1 <= float(number) < 1000


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00123, "1.23 mJ"), (999.96, "1.00 kJ"), (0.0, "0 J"), (6.27e-4, "627 µJ")],
)
def test_prefixes(value: float, text: str) -> None:
    assert si(value, "J") == text


def test_an_error_decides_the_digits() -> None:
    assert with_error(0.021347, 0.0042) == "0.0213 ± 0.0042"
    assert with_error(0.6194, 0.006, 100) == "61.94 ± 0.60"
    assert with_error(0.0, 0.0) == "0 ± 0"
    assert with_error(-3e-8, 1e-7) == "0.0000 ± 0.0000"  # no minus before zero
    assert with_error(0.00062, 0.00019) == "0.0006 ± 0.0002"
    assert with_error(0.92067, 0.00081, 100) == "92.07 ± 0.08"


def test_an_accuracy_is_never_shown_without_its_error() -> None:
    row = pd.Series({"delta_loss_nats": 0.02, "delta_loss_stderr": float("nan")})
    assert NOT_COMPUTED in show(row, "delta_loss_nats")


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_missing_is_said_and_never_zero(missing: object) -> None:
    assert show(pd.Series({"energy_j_per_token": missing}), "energy_j_per_token") == NOT_COMPUTED


def test_breakdown_columns_leave_out_what_never_occurs() -> None:
    table = pd.DataFrame(
        {
            "energy_component_adc_j_per_token": [1e-6, 2e-6],
            "energy_component_dac_j_per_token": [0.0, 0.0],
            "energy_module_lm_head_j_per_token": [1e-6, None],
            "energy_j_per_token": [1.0, 1.0],
        }
    )
    assert breakdown_columns(table, "energy", "component") == {
        "adc": "energy_component_adc_j_per_token"
    }
    assert list(breakdown_columns(table, "energy", "module")) == ["lm_head"]


def test_plotly_labels_are_escaped() -> None:
    assert plain("<b>x</b> & y") == "&lt;b&gt;x&lt;/b&gt; &amp; y"
