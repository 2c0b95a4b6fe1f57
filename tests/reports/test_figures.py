"""Figures against the table they are drawn from, by independent means."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports import figures, read_run
from reports.columns import column
from reports.figures.budget import knees_by_area
from reports.figures.importance import importances
from reports.figures.parallel import axis_scales, credited, position
from reports.figures.trade import deciding, first_axis, least_range, staircase
from reports.run_folder import Run


@pytest.fixture
def run(make_run: Callable[..., Path]) -> Run:
    return read_run(make_run())


def brute_force_front(rows: pd.DataFrame, x: str, y: str) -> set[int]:
    points = rows[[x, y]].to_numpy(dtype=float)
    beaten = [((points <= p).all(axis=1) & (points < p).any(axis=1)).any() for p in points]
    return set(rows.index[~np.array(beaten)])


def test_staircase_is_the_front_in_two_objectives(run: Run) -> None:
    rows = run.candidates[run.candidates["state"] == "complete"]
    stairs = staircase(rows, "energy_j_per_token", "delta_loss_nats")
    assert set(stairs.index) == brute_force_front(rows, "energy_j_per_token", "delta_loss_nats")


def test_every_design_with_both_values_is_drawn_once(run: Run) -> None:
    figure = figures.pareto_front(run.candidates)
    groups = [t for t in figure.data if t.meta["rows"] in ("behind", "front", "ruled_out")]
    drawn = sorted(int(n) for t in groups for n in t.customdata)
    finite = run.candidates.dropna(subset=["energy_j_per_token", "delta_loss_nats"])
    assert drawn == sorted(finite.loc[finite["state"] != "reference", "trial"])
    # At the place and in the units that the axes name.
    assert figure.layout.xaxis.title.text == "Energy (mJ/token)"
    assert figure.layout.xaxis.ticksuffix == " mJ"
    assert figure.layout.yaxis.title.text == "Loss increase (nats/token)"
    by_trial = run.candidates.set_index("trial")
    for trace in groups:
        rows = by_trial.loc[[int(trial) for trial in trace.customdata]]
        millijoules = 1e3 * rows["energy_j_per_token"]
        np.testing.assert_allclose(np.array(trace.x, float), millijoules, rtol=1e-5)
        np.testing.assert_allclose(np.array(trace.y, float), rows["delta_loss_nats"], rtol=1e-5)


@pytest.mark.parametrize("quantity", ["energy", "latency", "area"])
def test_a_drill_down_adds_up_to_the_total(run: Run, quantity: str) -> None:
    row = run.candidates.iloc[3]
    by = "module" if quantity == "latency" else "component"
    icicle = figures.breakdown_icicle(run.candidates, row["trial"], quantity, by).data[0]
    totals = {"energy": "energy_j_per_token", "latency": "latency_s_per_token", "area": "area_mm2"}
    assert icicle.values[0] == pytest.approx(row[totals[quantity]])
    for identity, value in zip(icicle.ids, icicle.values, strict=True):
        parts = [v for v, p in zip(icicle.values, icicle.parents, strict=True) if p == identity]
        assert not parts or sum(parts) == pytest.approx(value)


def test_stages_of_the_timeline_join_end_to_end(run: Run) -> None:
    bar = figures.decode_timeline(run.candidates, 3).data[0]
    assert bar.base[0] == 0
    starts, lengths = (np.array(values, dtype=float) for values in (bar.base, bar.x))
    np.testing.assert_allclose((starts + lengths)[:-1], starts[1:])


def test_the_map_shows_each_expert_once(run: Run) -> None:
    digital = run.experts["rank_random_global"] < 100
    figure = figures.placement_map(run.experts, digital, "load")
    cells = {t.name: np.isfinite(np.array(t.z, dtype=float)) for t in figure.data
             if t.type == "heatmap"}  # fmt: skip
    assert cells["digital"].sum() == 100
    assert cells["digital"].sum() + cells["analog"].sum() == len(run.experts)
    assert not (cells["digital"] & cells["analog"]).any()


def test_utilisation_is_shown_where_there_are_tiles(run: Run) -> None:
    table = run.candidates.copy()
    table.loc[table["reference_name"] == "all digital", "tiles"] = 0
    figure = figures.tile_utilisation(table, [3, "all digital", "all analog"])
    row = table[table["trial"] == 3].iloc[0]
    for trace in figure.data:
        share = row["occupancy" if "all tiles" in trace.name else "utilisation"]
        assert trace.x[0] == pytest.approx(share)
        assert trace.x[1] is None and trace.x[2] > 0
    assert figure.data[0].text[0].startswith(f"{row['tiles']:,} tiles")
    assert (
        figures.tile_utilisation(table.drop(columns=["occupancy", "utilisation"]), [3]).data == ()
    )


def test_coverage_runs_from_nothing_to_everything(run: Run) -> None:
    for trace in figures.digital_coverage(run.experts).data:
        assert trace.y[0] == 0 and trace.y[-1] == pytest.approx(1)
        assert (np.diff(trace.y) >= 0).all()


def test_results_point_upwards_to_the_better_end(run: Run) -> None:
    rows = run.candidates[run.candidates["state"] == "complete"]
    for scale in axis_scales(rows, ("energy_j_per_token", "throughput_tokens_per_s")):
        height = position(rows[scale["column"]], scale)
        best = height.idxmax()
        values = rows[scale["column"]]
        assert values[best] == (values.min() if "energy" in scale["column"] else values.max())
        assert height.between(0, 1).all()


def test_the_knee_at_the_full_budget_is_the_recommended_design(run: Run) -> None:
    objectives = ("delta_loss_nats", "energy_j_per_token", "throughput_tokens_per_s")
    knees = knees_by_area(run.candidates, objectives)
    marked = run.candidates.loc[run.candidates["is_knee"], "trial"].iloc[0]
    assert knees["trial"].iloc[-1] == marked
    assert knees["budget_from_mm2"].is_monotonic_increasing
    assert (knees["area_mm2"] <= knees["budget_from_mm2"]).all()


def test_a_score_that_chose_nothing_is_not_credited(run: Run) -> None:
    table = run.candidates.copy()
    table.loc[table["state"] == "complete", "digital_expert_fraction"] = 0.0
    named = [t for t in figures.accuracy_against_digital_share(table).data if len(t.x)]
    assert [t.name for t in named] == ["all or none digital"]


def test_a_sweep_over_decades_is_coloured_by_ratio() -> None:
    cells = [(a, b, 10.0 ** (a + b)) for a in (0, 1) for b in (0, 1, 2)]
    table = pd.DataFrame(cells, columns=["tiers", "tile_rows", "area_mm2"])
    shown = figures.heat_map(table, "tiers", "tile_rows", "area_mm2").data[0]
    np.testing.assert_allclose(np.diff(np.array(shown.z), axis=0), 1.0)
    assert shown.text[2][1] == "1,000" and "1,000 mm²" in shown.colorbar.ticktext


NUMBERS = (
    "trial",
    "area_mm2",
    "energy_j_per_token",
    "throughput_tokens_per_s",
    "delta_loss_nats",
    "digital_expert_fraction",
)
EMPTY = pd.DataFrame({name: pd.Series(dtype=float) for name in NUMBERS}).assign(
    state=pd.Series(dtype=str), on_front=False, is_knee=False, reference_name=None
)


def test_empty_tables_give_figures_that_say_so() -> None:
    for figure in (
        figures.pareto_front(EMPTY),
        figures.accuracy_against_digital_share(EMPTY),
        figures.parallel_coordinates(EMPTY),
        figures.knee_against_budget(EMPTY),
        figures.hypervolume_progress(pd.DataFrame()),
        figures.digital_coverage(pd.DataFrame()),
        figures.time_split({}),
        figures.importance_bars(EMPTY),
        figures.flip_factors(EMPTY),
    ):
        assert figure.layout.annotations[0].text.endswith(".") and not figure.data


def test_a_front_first_shows_what_decides() -> None:
    spec = column("delta_loss_nats")
    table = pd.DataFrame(
        {
            "delta_loss_nats": [0.01, 0.02, 0.5, 0.06, 0.0],
            "energy_j_per_token": [0.015, 0.012, 0.001, 0.002, 0.060],
            "state": ["complete"] * 3 + ["reference"] * 2,
            "on_front": [True, True, True, False, False],
            "is_recommended": [True, False, False, False, False],
        }
    )
    # A point is 0.032 nats: 0.5 and 0.06 lose more, and more than twice the recommended 0.01.
    assert list(deciding(table)) == [True, True, False, False, True]
    low, high = first_axis(table, spec)["range"]
    assert low < 0.0 and 0.02 < high < 0.03
    low, high = first_axis(table, column("energy_j_per_token"))["range"]
    assert 0 < 10**low < 12 and 60 < 10**high < 80, "logarithmic, in mJ: 60 is 5 times 12"
    assert first_axis(table, spec, everything=True)["range"] is None
    # What loses as much as twice the recommended design decides, however much that is.
    assert list(deciding(table.assign(delta_loss_nats=[0.3, 0.02, 0.5, 0.06, 0.0]))) == [True] * 5
    table["reason"] = ["", None, None, None, "312 mm² > 200 mm²"]
    assert not deciding(table)[4], "a reference beyond the budget takes no room"
    # Losses that differ by 1e-8 are not stretched over the figure.
    low, high = least_range(pd.Series([0.3, 0.3 + 1e-8])) or (0, 0)
    assert low < 0.2995 and high > 0.3005
    assert least_range(pd.Series([0.0, 0.1])) is None


def test_parallel_coordinates_credit_no_score_that_chose_nothing(run: Run) -> None:
    table = run.candidates.copy()
    complete = table["state"] == "complete"
    table.loc[complete, "digital_expert_fraction"] = 0.0
    table.loc[table.index[complete][0], "digital_expert_fraction"] = 0.5
    scale = next(s for s in axis_scales(credited(table)[complete], ("placement_score",)))
    chosen = table.loc[table.index[complete][0], "placement_score"]
    assert scale["categories"] == ["all or none digital", chosen]


def test_importance_is_the_share_of_variance_between_groups() -> None:
    # Two groups of two: means 1.5 and 5.5 around 3.5, so 4 * 2^2 = 16 between and 4 * 0.5^2 = 1
    # inside; of 17, by degrees of freedom, 1 - (1 / 2) / (17 / 3).
    table = pd.DataFrame(
        {"adc_bits": [8, 8, 10, 10], "dac_bits": [8, 6, 8, 6], "delta_loss_nats": [1.0, 2, 5, 6]}
    )
    shares = importances(table).set_index("parameter")["share"]
    assert shares["adc_bits"] == pytest.approx(1 - (1 / 2) / (17 / 3))
    # Means 3 and 4: 1 between and 16 inside, less than chance gives two groups.
    assert shares["dac_bits"] == 0.0
    # A design without tiles has no resolution: it says nothing of what resolutions do.
    without = pd.DataFrame({"adc_bits": [None], "dac_bits": [None], "delta_loss_nats": [99.0]})
    more = importances(pd.concat([table, without])).set_index("parameter")["share"]
    assert more["adc_bits"] == shares["adc_bits"]


def test_importance_of_a_cost_counts_ratios() -> None:
    table = pd.DataFrame({"tiers": [1, 1, 4, 4], "energy_j_per_token": [0.001, 0.002, 0.01, 0.02]})
    # Logarithms to ten -3, -3 + l | -2, -2 + l with l = lg 2: the means are 1 apart, so 1 between,
    # and 4 (l / 2)^2 = l^2 inside.
    inside = np.log10(2) ** 2
    expected = 1 - (inside / 2) / ((1 + inside) / 3)
    assert importances(table)["share"].tolist() == [pytest.approx(expected)]


def test_a_flip_stands_at_its_multiple_of_today() -> None:
    table = pd.DataFrame(
        {"question": ["tiers", "memory energy", "batch"], "now": [256.0, 5e-11, 32.0],
         "unit": ["", "J/byte", ""], "flips_at": [64.0, 1e-10, np.nan],
         "becomes": ["no tiles", "no tiles", ""]}
    )  # fmt: skip
    flips = next(t for t in figures.flip_factors(table).data if t.name == "the answer changes")
    assert dict(zip(flips.y, flips.x, strict=True)) == {"tiers": 0.25, "memory energy": 2.0}
    assert "100 pJ/byte" in flips.text
    today = next(t for t in figures.flip_factors(table).data if t.name == "today")
    assert set(today.y) == {"tiers", "memory energy", "batch"} and set(today.x) == {1.0}


def test_a_roof_bends_where_memory_and_arithmetic_take_as_long() -> None:
    layers = pd.DataFrame(
        {"trial": 5, "module": ["attention", "lm_head"], "macs": [2e9, 8e12],
         "memory_bytes": [1e9, 4e10], "busy_s": [1e-3, 0.2]}
    )  # fmt: skip
    row = pd.Series({"trial": 5, "peak_macs_per_s": 40e12, "memory_bytes_per_s": 1e12})
    roof, attention, head = figures.roofline(layers, row).data
    # 40 TMAC/s over 1 TB/s: 40 MAC/byte; attention has 2 MAC/byte at 2 TMAC/s, the slope's end.
    assert roof.x[1] == 40.0 and roof.y[1] == roof.y[2] == 40_000.0 and roof.y[0] < 2000.0
    assert (attention.x[0], attention.y[0]) == pytest.approx((2.0, 2000.0))
    assert (head.x[0], head.y[0]) == pytest.approx((200.0, 40_000.0))
    assert not figures.roofline(layers, row.drop("peak_macs_per_s")).data
