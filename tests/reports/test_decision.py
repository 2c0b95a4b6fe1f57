"""The first screen: what a run states is shown, with ranges; an old run says less, never breaks."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from decided import FLIPS

from reports import decision, evidence, read_run, write_report
from reports.columns import column, described_by, read_columns, show, show_range
from reports.run_folder import recommended_row


def first_screen(folder: Path) -> str:
    """Text of the first section without its tags."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="build"') : page.index("</section>")]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", section)).replace("\u00a0", " ")


def test_the_first_screen_holds_what_the_run_states(decided_folder: Path) -> None:
    told = read_run(decided_folder).config["recommendation"]
    text = first_screen(decided_folder)
    for words in (told["sentence"], told["rule"], *told["why"], *told["how_sure"],
                  told["silicon"]["sentence"], told["projection"]["sentence"],
                  told["projection"]["must_deliver"], told["references"][0]["text"],
                  "Tiers 256: 512 would give 4 % less area.",
                  FLIPS[0][5], FLIPS[1][5]):  # fmt: skip
        assert str(words) in text
    assert FLIPS[2][5] not in text, "what changes nothing is in the table below alone"


def test_every_card_of_a_decided_run_has_its_range(decided_folder: Path) -> None:
    run = read_run(decided_folder)
    row = recommended_row(run)
    assert row is not None and row["is_recommended"]
    cards = {card.label: card for card in decision.cards(run)}
    assert set(cards) >= {"Accuracy against digital", "Energy", "Throughput", "Area", "Cost"}
    # The cards whose columns have ends in the made-up run.
    for name in ("full_points", "energy_j_per_token", "throughput_tokens_per_s", "area_mm2",
                 "cost_usd"):  # fmt: skip
        assert show_range(row, name) in cards[column(name).label].range
    assert "68 %" in cards["Accuracy against digital"].range
    points = -31 * float(row["delta_loss_nats"])
    assert cards["Accuracy against digital"].value == f"−{abs(points):.2f}"


def test_a_range_has_one_unit() -> None:
    row = pd.Series({"energy_j_per_token": 0.012, "energy_j_per_token_low": 0.009,
                     "energy_j_per_token_high": 0.016})  # fmt: skip
    assert show_range(row, "energy_j_per_token") == "9 to 16 mJ/token"
    assert show_range(row.drop("energy_j_per_token_low"), "energy_j_per_token") == ""
    lost = pd.Series({"full_points": -0.4, "full_points_low": -0.9, "full_points_high": 0.001})
    assert show_range(lost, "full_points") == "−0.90 to 0.00 points"
    assert show(lost, "full_points") == "−0.40 points"


def test_the_two_answers_are_those_of_the_run(decided_folder: Path) -> None:
    run = read_run(decided_folder)
    silicon, projection = decision.answers(run)
    told = run.config["recommendation"]
    assert silicon.row is not None and silicon.row["trial"] == told["silicon"]["design"]
    assert projection.row is not None and projection.row["trial"] == told["projection"]["design"]
    # Without config.json's entry the table's marks decide.
    run.config.pop("recommendation")
    by_mark = decision.answers(run)
    assert [a.row["trial"] for a in by_mark if a.row is not None] == [
        told["silicon"]["design"], told["projection"]["design"]
    ]  # fmt: skip


def test_no_silicon_that_fits_is_said(make_run: Callable[..., Path]) -> None:
    def change(table: pd.DataFrame, config: dict[str, Any]) -> pd.DataFrame:
        config["recommendation"]["silicon"] = {
            "design": None, "sentence": "No measured silicon holds an expert in 200 mm²."
        }  # fmt: skip
        return table.assign(recommended_of="")

    folder = make_run(designs=120, decided=True, change=change)
    write_report(folder)
    assert "No measured silicon holds an expert in 200 mm²." in first_screen(folder)


def test_questions_come_nearest_first(decided_folder: Path) -> None:
    # 256 to 140 tiers is a factor of 1.8, the memory's energy one of 2.5.
    assert decision.flips(read_run(decided_folder)) == [FLIPS[0][5], FLIPS[1][5]]


def test_an_old_run_says_less(folder: Path) -> None:
    run = read_run(folder)
    text = first_screen(folder)
    assert decision.flips(run) == [] and decision.at_bounds(run) == []
    assert "What would change it" not in text and "Loss increase" in text
    assert "Build " in text and "knee of the front" in text


@pytest.mark.parametrize(
    "dropped",
    [["full_points"], ["full_points_low", "energy_j_per_token_low"], ["is_recommended"],
     ["recommended_of", "technology_kind"], ["full_loss_nats", "full_loss_stderr"],
     ["cost_usd", "memory", "ties", "time_per_output_token_s"]],
)  # fmt: skip
def test_a_run_without_some_columns_gives_a_report(
    make_run: Callable[..., Path], dropped: list[str]
) -> None:
    folder = make_run(
        designs=60, decided=True, change=lambda table, config: table.drop(columns=dropped)
    )
    write_report(folder)
    assert "nan" not in first_screen(folder)


@pytest.mark.parametrize("key", ["why", "how_sure", "silicon", "projection", "at_bounds", "rule",
                                 "references", "sentence"])  # fmt: skip
def test_a_recommendation_that_lacks_an_entry_gives_a_report(
    make_run: Callable[..., Path], key: str
) -> None:
    def change(table: pd.DataFrame, config: dict[str, Any]) -> pd.DataFrame:
        del config["recommendation"][key]
        return table

    folder = make_run(designs=60, decided=True, change=change)
    write_report(folder)
    assert "None" not in first_screen(folder)


def test_columns_are_called_as_the_run_calls_them(decided_folder: Path) -> None:
    run = read_run(decided_folder)
    with described_by(run.columns):
        assert column("energy_j_per_token").label == "Energy per token"
        assert column("tiers").help == "Layers of cells of one tile."
        assert column("area_mm2").label == "Area", "what the run does not describe is as ever"
    assert column("energy_j_per_token").label == "Energy"
    page = (decided_folder / "report.html").read_text(encoding="utf-8")
    assert '<span title="Energy of all parts for one token.">Energy per token</span>' in page


def test_a_column_nobody_knows_is_taken_as_described() -> None:
    (found,) = read_columns(
        [{"column": "yield_share", "name": "yield", "unit": "mm2/wafer", "direction": "higher",
          "scale": "log"}]
    ).values()  # fmt: skip
    assert (found.label, found.unit, found.better, found.log) == (
        "Yield", "mm²/wafer", "higher", True
    )  # fmt: skip


def test_columns_that_are_no_list_are_refused(make_run: Callable[..., Path]) -> None:
    folder = make_run(designs=5)
    (folder / "columns.json").write_text(json.dumps({"column": "area_mm2"}))
    with pytest.raises(ValueError, match=r"columns\.json must be a list of objects"):
        read_run(folder)


def test_counts_are_those_of_the_config(decided_folder: Path) -> None:
    run = read_run(decided_folder)
    told = run.config["counts"]
    assert evidence.counts(run) == (
        f"102,465 costed, 44 simulations, {told['designs_on_front']:,} on the front"
    )
    assert evidence.counts(run) in first_screen(decided_folder)
