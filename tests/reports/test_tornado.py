"""Uncertainty in the report: the tornado's bars, and what counts as different."""

import pandas as pd

from reports.compare import distinguishable
from reports.figures import tornado_bars


def test_tornado_bars_end_where_the_table_says() -> None:
    ends = {f"{name}_change_{end}": [sign * 0.3, sign * 0.1, 0.0]
            for name in ("energy_j_per_token", "throughput_tokens_per_s", "area_mm2")
            for end, sign in (("low", -1), ("high", 1))}  # fmt: skip
    texts = {"part": ["a", "a", "a"], "constant": ["mac_energy_j", "<b>", "nothing"]}
    numbers = {"low": [1e-12] * 3, "nominal": [2e-12] * 3, "high": [3e-12] * 3}
    table = pd.DataFrame({**texts, **numbers, "source": ["somebody 2020"] * 3, **ends})
    bars = tornado_bars(table).data
    assert len(bars) == 6
    for bar in bars:
        # Largest on top, which plotly draws last; what moves nothing is left out.
        assert list(bar.y) == ["&lt;b&gt; (a)", "MAC energy (a)"]
        assert list(map(abs, bar.x)) == [0.1, 0.3]
        assert "somebody 2020" in bar.customdata[0]
    assert not tornado_bars(table.iloc[:0]).data and not tornado_bars(table.iloc[2:]).data


def test_ratio_ranges_decide_against_their_design() -> None:
    """Bars overlap, but what both share cancels in the ratio."""
    wide = {"energy_j_per_token_low": 0.5, "energy_j_per_token_high": 2.0}
    ratio = "energy_j_per_token_ratio"
    to = pd.Series({"energy_j_per_token": 1.0, **wide, f"{ratio}_low": 1.0, f"{ratio}_high": 1.0})
    other = to.copy()
    other["energy_j_per_token"] = 1.2
    other[f"{ratio}_low"], other[f"{ratio}_high"] = 1.15, 1.25
    assert distinguishable(other, to, "energy_j_per_token")
    assert distinguishable(to, other, "energy_j_per_token")
    other[f"{ratio}_low"] = 0.9
    assert not distinguishable(to, other, "energy_j_per_token")
    third = other.copy()
    third[f"{ratio}_low"] = 1.19  # neither is the design of the ratios: the bars decide
    assert not distinguishable(third, other, "energy_j_per_token")
