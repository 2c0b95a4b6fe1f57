"""The report in a real browser: table, keyboard, names for screen readers, odd and large runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_page import PATIENCE_MS, all_figures, see, settle, undrawn

from reports import read_run, write_report
from reports.run_folder import recommended_row

HOSTILE = "</script><img src=x onerror=window.hacked=1><b>bold</b>"


def test_the_table_filters_and_sorts(folder: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(folder / "report.html")
    table = read_run(folder).candidates
    page.fill("#filter", "technology=pcm-3d adc_bits>=8 area_mm2<150")
    expected = table[
        (table["technology"] == "pcm-3d") & (table["adc_bits"] >= 8) & (table["area_mm2"] < 150)
    ]
    assert page.inner_text("#page-words").startswith(f"{len(expected)} designs")
    page.click("#head th[data-name=energy_j_per_token] button")
    names = page.locator("#rows tr td:first-child").all_inner_texts()
    ordered = expected.sort_values("energy_j_per_token")
    wanted = ordered["reference_name"].fillna("design " + ordered["trial"].astype(str))
    assert names == list(wanted)[: len(names)]
    page.click("#head th[data-name=delta_loss_nats] button")
    page.click("#head th[data-name=delta_loss_nats] button")
    assert page.get_attribute("#head th[data-name=delta_loss_nats]", "aria-sort") == "descending"
    first = page.locator("#rows tr td:nth-child(3)").all_inner_texts()
    missing = [text.startswith("–") for text in first]
    assert missing == sorted(missing), "missing values come last"
    page.fill("#filter", "nosuchcolumn>3")
    assert "No column is called “nosuchcolumn”" in page.inner_text("#filter-words")


def test_csv_holds_the_filtered_table(
    folder: Path, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    page = open_page(folder / "report.html")
    page.select_option("#which", "shortlist")
    page.click("#copy")
    page.wait_for_selector("#filter-words:has-text('Copied')")
    (tmp_path / "copied.csv").write_text(page.evaluate("navigator.clipboard.readText()"))
    copied = pd.read_csv(tmp_path / "copied.csv").sort_values("trial")
    table = read_run(folder).candidates
    front = table[table["on_front"] | (table["state"] == "reference")].sort_values("trial")
    assert list(copied["trial"]) == list(front["trial"])
    for name in ("energy_j_per_token", "delta_loss_nats"):
        pd.testing.assert_series_equal(
            copied[name], front[name], rtol=1e-5, check_index=False, check_dtype=False
        )


def test_filtered_designs_are_highlighted_by_keyboard(
    folder: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(folder / "report.html")
    page.fill("#filter", "technology=pcm-3d state=complete")
    count = int(page.inner_text("#page-words").split()[0])
    page.focus("#highlight")
    page.keyboard.press("Enter")
    settle(page)
    assert int(page.inner_text("#marked-count").split()[0]) == count


def test_keyboard_alone_selects_a_design(folder: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(folder / "report.html")
    page.focus("#next")
    before = page.inner_text("#selected-name")
    page.keyboard.press("Enter")
    assert page.inner_text("#selected-name") != before
    page.focus("#head th[data-name=area_mm2] button")
    page.keyboard.press("Enter")
    assert page.get_attribute("#head th[data-name=area_mm2]", "aria-sort") == "ascending"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    see(page, "map")
    page.focus("#map-count")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#map-output").startswith("1 of ")


def test_every_control_has_a_name(folder: Path, open_page: Callable[..., Any]) -> None:
    """Names as a screen reader computes them."""
    page = open_page(folder / "report.html")
    named = {
        "combobox": ["Vertical", "Horizontal", "Colour", "Show", "Darkness", "Other design"],
        "slider": ["Digital experts"],
        "searchbox": ["Filter"],
        "button": ["Previous design on the front", "Next design on the front", "Copy as CSV",
                   "Highlight these in every view", "Download as SVG: Pareto front"],
        "region": ["Table of designs", "Selected design"],
    }  # fmt: skip
    for role, names in named.items():
        for name in names:
            assert page.get_by_role(role, name=name).count() > 0, (role, name)
        if role in ("combobox", "slider", "searchbox"):
            every = page.get_by_role(role).count()
            assert every == sum(page.get_by_role(role, name=name).count() for name in names)
    downloads = page.locator(".card [data-svg]").count()
    assert page.get_by_role("button", name="Download as SVG: ").count() == downloads > 10


def test_every_figure_has_a_text_of_its_own(folder: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(folder / "report.html")
    texts = page.evaluate(
        """[...document.querySelectorAll('.plot')].map(plot => [plot.id, document.getElementById(
        plot.getAttribute('aria-labelledby')).textContent, document.getElementById(
        plot.getAttribute('aria-describedby')).textContent])"""
    )
    assert len(texts) == len({text for _, _, text in texts}) > 10
    for name, title, text in texts:
        assert title.strip() and len(text) > 20, name
    told = {name: text for name, _, text in texts}
    table = read_run(folder).candidates
    complete = table[table["state"] == "complete"]
    # Numbers in the texts are the run's own.
    assert f"{len(complete)} simulated designs" in told["plot-pareto"]
    assert f"{int(complete['on_front'].sum())} on the Pareto front" in told["plot-pareto"]
    assert "+20 %" in told["plot-tornado"] and "2 placements" in told["plot-fidelity"]


def hostile(table: pd.DataFrame, config: dict) -> pd.DataFrame:
    config["model_title"] = config["command"] = HOSTILE
    table.loc[table["technology"].notna(), "technology"] = HOSTILE
    table["placement_score"] = HOSTILE
    table["accuracy_source"] = HOSTILE
    table.loc[table["reference_name"] == "all digital", "reference_name"] = HOSTILE
    return table.rename(
        columns={"energy_component_adc_j_per_token": f"energy_component_{HOSTILE}_j_per_token"}
    )


def test_hostile_text_is_shown_as_text(
    make_run: Callable[..., Path], open_page: Callable[..., Any]
) -> None:
    page = open_page(write_report(make_run(designs=120, change=hostile, extra=HOSTILE)))
    page.click("#next")
    see(page, *all_figures(page))
    assert page.evaluate("window.hacked") is None
    assert HOSTILE in page.inner_text("h1")
    assert HOSTILE in page.inner_text("#card")
    assert page.locator("main img, .plot b, .plot image[href='x']").count() == 0
    for name in ("share", "tornado", "fidelity", "bars"):
        shown = page.evaluate(f"document.getElementById('plot-{name}').textContent")
        assert "<b>bold</b>" in shown, name
    point = page.locator("#plot-pareto .scatterlayer .trace path.point").first.bounding_box()
    page.locator("#plot-pareto").scroll_into_view_if_needed()
    point = page.locator("#plot-pareto .scatterlayer .trace path.point").first.bounding_box()
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.wait_for_selector("#plot-pareto .hoverlayer text")
    assert "<b>bold</b>" in page.evaluate(
        "document.querySelector('#plot-pareto .hoverlayer').textContent"
    )
    assert page.evaluate("window.hacked") is None


def test_the_recommended_design_can_be_found_again(
    folder: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(folder / "report.html")
    row = recommended_row(read_run(folder))
    assert row is not None
    page.click("#next")
    page.click("#home")
    assert page.inner_text("#selected-name") == f"Selected: design {row['trial']} (recommended)"


EARLY = """new MutationObserver(() => { if (document.documentElement.dataset.ready)
  window.early ??= [...document.querySelectorAll(".plot")]
    .filter((div) => div.querySelector("svg.main-svg")).length; })
  .observe(document, {attributes: true, subtree: true});"""


def test_five_thousand_designs_can_be_used_before_their_figures_are_drawn(
    large_report: Path, chromium: Any
) -> None:
    """In a new page, which knows nothing of reports yet."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE_MS)
    page.add_init_script(EARLY)
    page.goto(large_report.as_uri())
    page.wait_for_selector("html[data-ready]")
    # What happened within the turn that made the page ready, however fast the machine is.
    assert page.evaluate("window.early") <= 1, "one figure a turn"
    assert page.locator("#rows tr").count() > 10
    settle(page)
    assert undrawn(page) == []
    # A figure of thousands of designs is drawn from few elements, or it would take its time.
    assert page.evaluate("document.querySelectorAll('.plot svg *').length") < 60_000
    page.close()


@pytest.mark.parametrize("state", ["ruled_out", "reference"])
def test_a_run_without_a_feasible_design_renders(
    make_run: Callable[..., Path], open_page: Callable[..., Any], state: str
) -> None:
    def change(table: pd.DataFrame, config: dict) -> pd.DataFrame:
        config["recommended_trial"] = None
        return table[table["state"] == state]

    page = open_page(write_report(make_run(designs=60, change=change)))
    assert page.locator("#rows tr").count() > 0


def test_the_picture_for_a_readme_is_small(chromium: Any, folder: Path, tmp_path: Path) -> None:
    from reports.screenshot import screenshot

    picture = screenshot(folder, tmp_path / "report.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 400_000
