"""What a reader decides with: the filter, the address, two designs side by side, few Tab stops."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_page import drawn, see, settle

from reports import read_run, write_report


def counted(page: Any) -> int:
    return int(page.inner_text("#page-words").split()[0].replace(",", ""))


@pytest.mark.parametrize(
    ("words", "query"),
    [
        ("energy<3mJ", "energy_j_per_token < 0.003"),
        ("energy < 3 mJ", "energy_j_per_token < 0.003"),
        ("energy<3", "energy_j_per_token < 0.003"),  # the heading says mJ/token
        ("energy<3000 µJ/token", "energy_j_per_token < 0.003"),
        ("energy_j_per_token<0.003", "energy_j_per_token < 0.003"),
        ("accuracy>65", "accuracy > 0.65"),
        ("accuracy>65%", "accuracy > 0.65"),
        ("technology==pcm-14nm", "technology == 'pcm-14nm'"),
        ("technology!=pcm-14nm", "technology != 'pcm-14nm' and technology.notna()"),
        ("throughput>=50k", "throughput_tokens_per_s >= 50000"),
        ("throughput>=50,000 tok/s", "throughput_tokens_per_s >= 50000"),
        ('area<=150mm2 "tile rows"=256', "area_mm2 <= 150 and tile_rows == 256"),
        ("58", "trial == 58"),
        ("pcm-3d tiers>=16", "technology == 'pcm-3d' and tiers >= 16"),
    ],
)
def test_the_filter_knows_words_and_units(
    folder: Path, open_page: Callable[..., Any], words: str, query: str
) -> None:
    page = open_page(folder / "report.html")
    page.fill("#filter", words)
    expected = read_run(folder).candidates.query(query)
    assert 0 < len(expected) == counted(page)
    assert page.inner_text("#filter-words") == ""


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("enrgy<3", "No column is called “enrgy”"),
        ("energy<3mm2", "Energy is in mJ/token, not “mm2”"),
        ("energy<", "“energy<” lacks a value: Energy is "),
        ("energy<little", "“little” is not a number"),
        ("technology==pcm14", "Technology is never “pcm14”; it is "),
        ("technology<pcm-3d", "compare it with == or !="),
        ("<3", "lacks a heading before its sign"),
        ("energy<1fJ tiers>0", "No design matches."),
        ("9999", "No design matches."),
    ],
)
def test_a_filter_that_errs_or_matches_nothing_says_so(
    folder: Path, open_page: Callable[..., Any], words: str, answer: str
) -> None:
    page = open_page(folder / "report.html")
    page.fill("#filter", words)
    assert answer in page.inner_text("#filter-words")
    assert counted(page) == 0 and page.get_attribute("#filter", "aria-invalid") == "true"
    page.fill("#filter", "")
    assert page.inner_text("#filter-words") == "" and counted(page) > 0


def formulas(table: pd.DataFrame, config: dict[str, Any]) -> pd.DataFrame:
    table["technology"] = ["=1+1", "+1", "-1", "@x", " =1", "a,b"] * (len(table) // 6) + ["a"] * (
        len(table) % 6
    )
    return table


def test_a_spreadsheet_takes_texts_of_the_csv_as_texts(
    make_run: Callable[..., Path], open_page: Callable[..., Any]
) -> None:
    folder = make_run(designs=60, change=formulas)
    page = open_page(write_report(folder))
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "candidates.csv"
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == len(read_run(folder).candidates)
    technologies = {row["technology"] for row in rows}
    assert technologies == {"'=1+1", "'+1", "'-1", "'@x", "' =1", "a,b", "a"} & technologies
    assert {"'=1+1", "'-1", "'@x", "a,b"} <= technologies
    # Numbers stay numbers, those below zero too.
    assert {"-1", "-2"} <= {row["trial"] for row in rows}
    assert "Downloaded 62 designs" in page.inner_text("#filter-words")


def test_the_address_holds_what_is_selected(
    decided_folder: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(decided_folder / "report.html")
    page.click("#next")
    page.fill("#filter", "energy<3mJ")
    page.select_option("#against", label="all analog: reference")
    address, chosen, count = page.url, page.inner_text("#selected-name"), counted(page)
    assert "design=" in address
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("html[data-ready]")
    assert page.inner_text("#selected-name") == chosen
    assert counted(page) == count and page.input_value("#filter") == "energy<3mJ"
    assert "all analog" in page.inner_text("#differ-head")
    page.goto(address.partition("?")[0] + "?design=no-such-design#trade")
    page.wait_for_selector("html[data-ready]")
    assert "(recommended)" in page.inner_text("#selected-name")


@pytest.mark.parametrize("run", ["folder", "decided_folder"])
def test_ten_tab_stops_lead_to_the_table(
    run: str, request: pytest.FixtureRequest, open_page: Callable[..., Any]
) -> None:
    page = open_page(request.getfixturevalue(run) / "report.html")
    stops = 0
    while not page.evaluate("Boolean(document.activeElement.closest('#table .scroll'))"):
        page.keyboard.press("Tab")
        stops += 1
        assert stops <= 11, "the table is the eleventh at the latest"


def test_arrow_keys_move_inside_a_group(folder: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(folder / "report.html")
    page.focus("nav a")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == "Trade"
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.textContent") == "Glossary"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == "What to build"


def test_two_designs_side_by_side_show_what_differs(
    decided_folder: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(decided_folder / "report.html")
    table = read_run(decided_folder).candidates
    own = table[table["is_recommended"]].iloc[0]
    page.select_option("#against", label="all digital: reference")
    digital = table[table["reference_name"] == "all digital"].iloc[0]
    rows = dict(
        page.eval_on_selector_all(
            "#differ tr", "all => all.map(r => [r.cells[0].textContent, r.cells[3].textContent])"
        )
    )
    ratio = digital["energy_j_per_token"] / own["energy_j_per_token"]
    assert ratio > 2 and rows["Energy per token"] == f"{ratio:.3g}× less"
    points = own["full_points"] - digital["full_points"]
    assert rows["Accuracy against digital"] == f"−{abs(points):.2g} points"
    # 0.8 to 1.25 times each: ranges overlap below a factor of 1.5625.
    assert own["area_mm2"] / digital["area_mm2"] < 1.5625
    assert rows["Area"].endswith("ranges overlap")
    assert "Dies 1" in page.inner_text("#same") and "Dies" not in rows
    page.click("#next")
    page.click("#pin")
    assert "Choose another design" in page.inner_text("#same")


def neighbours(table: pd.DataFrame, config: dict[str, Any]) -> pd.DataFrame:
    """The references a tenth apart in energy, where their names would lie over each other."""
    named = table["reference_name"].notna()
    table.loc[named, ["energy_j_per_token", "delta_loss_nats"]] = [[5e-3, 0.001], [5.5e-3, 0.001]]
    return table


def test_names_of_references_cover_no_other(
    make_run: Callable[..., Path], open_page: Callable[..., Any]
) -> None:
    page = open_page(write_report(make_run(change=neighbours)))
    see(page, "pareto")
    boxes = page.eval_on_selector_all(
        "#plot-pareto .annotation",
        "all => all.map(a => {const b = a.querySelector('text').getBoundingClientRect();"
        "return [a.textContent, b.left, b.top, b.right, b.bottom]})",
    )
    assert {box[0] for box in boxes} == {"all digital", "all analog"}
    (_, l1, t1, r1, b1), (_, l2, t2, r2, b2) = boxes
    assert r1 <= l2 or r2 <= l1 or b1 <= t2 or b2 <= t1


def test_ticks_carry_units_also_after_zooming(folder: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(folder / "report.html")
    see(page, "pareto")
    ticks = "document.querySelectorAll('#plot-pareto .xtick text')"
    texts = f"[...{ticks}].map(t => t.textContent)"
    assert all(text.endswith(" mJ") for text in page.evaluate(texts))
    page.check("#everything")
    settle(page)
    page.evaluate("Plotly.relayout('plot-pareto', {'xaxis.range': [Math.log10(2), Math.log10(6)]})")
    assert page.evaluate(texts) == ["2 mJ", "3 mJ", "4 mJ", "5 mJ", "6 mJ"]


def test_a_narrow_figure_shows_that_it_scrolls(folder: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(folder / "report.html", width=390)
    told = page.evaluate(
        """[...document.querySelectorAll('[data-scrolls]')].map(box => [
        box.scrollWidth > box.clientWidth + 1,
        getComputedStyle(box, '::before').content.includes('scroll'), box.tabIndex])"""
    )
    assert sum(wide for wide, _, _ in told) >= 3
    for wide, says, stop in told:
        assert wide == says == (stop == 0)
    see(page, "parallel")
    page.evaluate("document.querySelector('#plot-parallel').parentElement.scrollLeft = 1e4")
    page.wait_for_selector("#figure-parallel .wide.end")


def test_a_whole_page_is_captured_with_every_figure(
    decided_folder: Path, open_page: Callable[..., Any]
) -> None:
    """At the event that the page has loaded, without a turn of waiting."""
    page = open_page(decided_folder / "report.html")
    page.add_init_script(
        "addEventListener('load', () => { window.atLoad = [...document.querySelectorAll('.plot')]"
        ".filter(d => !d.querySelector('svg.main-svg')).length; })"
    )
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate("window.atLoad") == 0


def test_the_roofline_follows_the_selection(
    decided_folder: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(decided_folder / "report.html")
    page.click("#next")
    see(page, "roofline")
    trial = int(page.inner_text("#selected-name").split()[-1])
    layers = read_run(decided_folder).layers
    stages = layers[(layers["trial"] == trial) & (layers["memory_bytes"] > 0)]
    points = sum(t["points"] for t in drawn(page, "roofline") if t["name"] != "roof")
    assert points == len(stages) > 0


def test_words_are_explained(decided_folder: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(decided_folder / "report.html")
    tips = page.eval_on_selector_all("#head th, #card dt", "all => all.map(e => e.title)")
    assert sum(bool(tip) for tip in tips) > 15
    assert "Layers of cells of one tile." in tips
    assert page.locator("#glossary dt").count() > 15
