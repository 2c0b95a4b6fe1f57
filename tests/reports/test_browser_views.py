"""The report's figures in a real browser: they render, are linked, and can be taken away.

Screenshots at both widths and in both colour schemes are kept in tests/output/reports/.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_page import all_figures, click_point, drag, drawn, see, settle, undrawn

from reports import read_run, write_report
from reports.figures import breakdown_bars, breakdown_icicle, step_timeline
from reports.figures.trade import staircase

SCREENSHOTS = Path(__file__).parents[1] / "output" / "reports"

#: Texts of the page with less contrast to their ground than WCAG 2 asks for (AA: 4.5 to 1).
FAINT = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (s) => (s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) =>
    0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const own = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  return [...document.querySelectorAll("body :not(svg *, script, option, .alt, :disabled)")]
    .filter((e) => own(e) && e.getClientRects().length).map((e) => {
      const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
      return [e.textContent.slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    }).filter(([, contrast]) => contrast < 4.5);
}"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_renders(
    folder: Path, open_page: Callable[..., Any], width: int, scheme: str
) -> None:
    page = open_page(folder / "report.html", width, scheme)
    height = page.evaluate("document.documentElement.scrollHeight")
    assert undrawn(page) == [], "no figure waits to be seen"
    see(page, *all_figures(page))
    # Room for a figure is kept before it is drawn, or links to sections would miss.
    assert page.evaluate("document.documentElement.scrollHeight") == pytest.approx(height, rel=0.03)
    page.evaluate("scrollTo(0, 0)")
    settle(page)
    # A design is confidential: plotly's button that uploads a chart must not be there.
    titles = page.eval_on_selector_all(".modebar-btn", "all => all.map(b => b.dataset.title)")
    assert titles and not [title for title in titles if "hare" in title]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(FAINT) == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == (scheme == "dark")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    paper = "document.querySelector('#plot-pareto .main-svg').style.background"
    page.emulate_media(color_scheme="light" if scheme == "dark" else "dark")
    see(page, "pareto")
    other = page.evaluate(paper)
    page.emulate_media(color_scheme=scheme)
    see(page, "pareto")
    assert page.evaluate(paper) != other, "figures follow the reader's colour scheme"
    page.evaluate("scrollTo(0, 0)")
    settle(page)
    page.screenshot(path=SCREENSHOTS / f"report-{width}-{scheme}.png", full_page=True)


def test_a_selected_design_is_selected_everywhere(
    folder: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(folder / "report.html")
    table = read_run(folder).candidates
    front = table[table["on_front"] & ~table["is_knee"]]
    trial = int(front["trial"].iloc[0])
    row = front.iloc[0]
    page.fill("#filter", f"trial={trial}")
    page.click(f"#rows tr:has-text('design {trial}') button")
    page.wait_for_function(
        f"document.querySelector('.selected-label').textContent == 'design {trial}'"
    )
    settle(page)
    assert f"{row['tiles']:,}" in page.inner_text("#card")
    assert "±" in page.inner_text("#card")
    see(page, "pareto", "icicle", "timeline", "map")
    ring = page.evaluate("document.getElementById('plot-pareto').data.at(-1).x[0]")
    assert ring == pytest.approx(1e3 * row["energy_j_per_token"], rel=1e-6), "in mJ"
    page.select_option("#quantity", "energy:component")
    assert page.inner_text("#levels") == "system, subsystem, component"
    total = page.evaluate("document.getElementById('plot-icicle').data[0].values[0]")
    assert total == pytest.approx(row["energy_j_per_token"], rel=1e-5)
    step = page.evaluate(
        "document.getElementById('plot-timeline').data[0].x.reduce((a, b) => a + b)"
    )
    # In the unit of all designs: their latencies are around a millisecond.
    assert step == pytest.approx(1e6 * row["latency_s_per_token"], rel=1e-5)
    digital = page.evaluate(
        "document.getElementById('plot-map').data[0].z.flat().filter(v => v !== null).length"
    )
    assert digital == row["digital_experts"]


def test_a_click_on_a_point_selects_its_design(folder: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(folder / "report.html")
    see(page, "pareto")
    page.locator("#plot-pareto").scroll_into_view_if_needed()
    before = page.inner_text("#selected-name")
    for place in range(2):  # one of them may be selected already
        click_point(page, "pareto", place)
    assert page.inner_text("#selected-name") != before


@pytest.mark.parametrize("view", ["pareto", "parallel", "share"])
def test_a_box_in_one_view_highlights_in_all(
    folder: Path, open_page: Callable[..., Any], view: str
) -> None:
    page = open_page(folder / "report.html")
    drag(page, view, (0.02, 0.45), (0.5, 0.98))
    count = int(page.inner_text("#marked-count").split()[0])
    assert count > 0
    see(page, "pareto", "share", "parallel")
    for name in ("pareto", "share"):
        # The ring around the selected design is no design of its own.
        designs = [trace for trace in drawn(page, name) if trace["name"] != "selected"]
        selected = sum(len(trace["selected"] or []) for trace in designs)
        # The recommended design is drawn twice in the front view: as a point and as a star.
        assert count <= selected + 2 and selected <= count + 1
    lines = {trace["name"]: trace["points"] for trace in drawn(page, "parallel")}
    assert lines["highlighted"] > 0
    page.select_option("#which", "marked")
    assert page.inner_text("#page-words").startswith(f"{count} designs")
    page.keyboard.press("Escape")
    settle(page)
    assert page.inner_text("#marked-count") == ""


def test_the_step_and_its_layers_follow_the_selection(
    folder: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(folder / "report.html")
    page.click("#next")
    see(page, "step", "icicle")
    trial = int(page.inner_text("#selected-name").split()[-1])
    run = read_run(folder)
    row = run.candidates[run.candidates["trial"] == trial].iloc[0]
    wanted = step_timeline(run.layers, trial, 32 / row["throughput_tokens_per_s"])
    for mine, theirs in zip(
        page.evaluate("document.getElementById('plot-step').data.map(t => [...t.base])"),
        wanted.data,
        strict=True,
    ):
        # Following steps are in another order.
        assert sorted(mine) == pytest.approx(sorted(theirs.base), rel=1e-5, abs=1e-9)
    assert "pace is set by" in page.inner_text("#pace")


def test_every_drill_down_follows_the_selection_in_the_same_colours(
    folder: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(folder / "report.html")
    page.click("#next")
    see(page, "icicle", "bars")
    trial = int(page.inner_text("#selected-name").split()[-1])
    run = read_run(folder)
    compared = [trial, "all digital", "all analog"]
    keys = page.eval_on_selector_all("#quantity option", "all => all.map(o => o.value)")
    assert {"energy:layer", "latency:layer", "area:layer", "area:component"} <= set(keys)
    for key in keys:
        page.select_option("#quantity", key)
        settle(page)
        tree, bars = page.evaluate(
            """(() => {const of = (n) => document.getElementById('plot-' + n).data;
            const t = of('icicle')[0];
            return [t.ids.map((id, k) => [id, t.values[k], t.marker.colors[k]]),
                    of('bars').map(b => [b.name, b.x, b.marker.color])];})()"""
        )
        split = key.split(":")
        wanted = breakdown_icicle(run.candidates, trial, *split, run.layers).data[0]
        named = {place: value for place, value, _ in tree}
        assert named == pytest.approx(dict(zip(wanted.ids, wanted.values, strict=True)), rel=1e-5)
        assert {(i, c) for i, _, c in tree} == set(zip(wanted.ids, wanted.marker.colors,
                                                       strict=True))  # fmt: skip
        beside = breakdown_bars(run.candidates, compared, *split, run.layers)
        for (name, values, colour), trace in zip(bars, beside.data, strict=True):
            assert (name, colour) == (trace.name, trace.marker.color)
            assert values == pytest.approx(list(trace.x), rel=1e-5)
        # What the selected design has, both figures show in one colour.
        shown = {colour for _, values, colour in bars if values[0] > 0}
        assert shown <= {colour for _, _, colour in tree}


def test_a_point_of_the_budget_selects_its_design_everywhere(
    folder: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(folder / "report.html")
    see(page, "budget")
    trials = page.evaluate("document.getElementById('plot-budget').data[0].customdata")
    click_point(page, "budget")
    assert page.inner_text("#selected-name") == f"Selected: design {trials[0]}"
    chosen = page.evaluate("document.getElementById('plot-budget').data[0].selectedpoints")
    assert chosen == [0]
    see(page, "pareto")
    table = read_run(folder).candidates
    energy = table.loc[table["trial"] == trials[0], "energy_j_per_token"].iloc[0]
    ring = page.evaluate("document.getElementById('plot-pareto').data.at(-1).x[0]")
    assert ring == pytest.approx(1e3 * energy, rel=1e-6)


def test_axes_can_be_chosen_and_figures_download(
    folder: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(folder / "report.html")
    page.select_option("#axis-x", "area_mm2")
    page.select_option("#axis-y", "throughput_tokens_per_s")
    title = page.evaluate("document.getElementById('plot-pareto').layout.xaxis.title.text")
    assert title == "Area (mm²)"
    assert any(t["name"] == "ruled out" and t["points"] > 100 for t in drawn(page, "pareto"))
    rows = read_run(folder).candidates.query("state == 'complete'")
    stairs = staircase(rows, "area_mm2", "throughput_tokens_per_s")
    shown = page.evaluate("document.getElementById('plot-pareto').data[0].x")
    assert shown == pytest.approx(list(stairs["area_mm2"]), rel=1e-6)


def test_every_figure_downloads_as_svg(folder: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(folder / "report.html")
    names = all_figures(page)
    assert {"tornado", "fidelity", "budget", "icicle", "step", "utilisation"} <= set(names)
    for name in names:
        with page.expect_download() as download:
            page.click(f"#figure-{name} [data-svg]")
        assert download.value.suggested_filename == f"{name}.svg"
        text = Path(download.value.path()).read_text(encoding="utf-8")
        assert "<svg" in text[:300] and len(text) > 3000


def test_a_print_shows_every_figure(folder: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(folder / "report.html")
    waiting = page.evaluate("select(run.rows.front[0]), stale.size")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert waiting > 3 and page.evaluate("stale.size") == 0, "each shows what is selected"
    page.emulate_media(media="print")
    # Names and headings are buttons, and are printed all the same.
    assert page.locator("table.choices tbody button").first.is_visible()
    assert page.locator("#head button").first.is_visible()
    assert not page.locator("#copy").is_visible()


def with_an_outlier(table: pd.DataFrame, config: dict) -> pd.DataFrame:
    place = table.index[table["on_front"] & ~table["is_knee"]][0]
    table.loc[place, "delta_loss_nats"] = 3.0
    return table


def test_a_box_shows_losses_beyond_the_first_view(
    make_run: Callable[..., Path], open_page: Callable[..., Any]
) -> None:
    page = open_page(write_report(make_run(change=with_an_outlier)))
    see(page, "pareto", "share")
    top = "name => document.getElementById('plot-' + name).layout.yaxis.range[1]"
    first = [page.evaluate(top, name) for name in ("pareto", "share")]
    assert max(first) < 1.0
    page.get_by_label("all designs, whatever they lose").check()
    see(page, "pareto", "share")
    assert min(page.evaluate(top, name) for name in ("pareto", "share")) > 3.0
    page.get_by_label("all designs, whatever they lose").uncheck()
    see(page, "pareto", "share")
    assert [page.evaluate(top, name) for name in ("pareto", "share")] == pytest.approx(first)
    page.select_option("#axis-y", "area_mm2")
    settle(page)
    areas = page.evaluate("document.getElementById('plot-pareto').layout.yaxis.range")
    assert areas[1] > 100, "another quantity has an axis of its own"
