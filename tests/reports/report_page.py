"""What tests of the report in a browser do with a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: How long a test waits for what should happen at once.
PATIENCE_MS = 300_000
_TWO_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def settle(page: Any) -> None:
    """Wait until every view shows the latest selection."""
    page.evaluate(_TWO_FRAMES)
    page.wait_for_selector("html[data-state=drawn]")


def heard(page: Any, name: str, event: str, act: Callable[[], None]) -> None:
    """Do something to a figure, and wait until it has told of it: Plotly takes its time, for what
    begins like a click may become a double click."""
    page.evaluate(
        """([name, event]) => { window.heard = new Promise((done) =>
        document.getElementById("plot-" + name).on(event, () => done(true))); }""",
        [name, event],
    )
    act()
    page.evaluate("window.heard")
    settle(page)


def see(page: Any, *names: str) -> None:
    """Scroll to figures, one after the other, and wait until they are drawn."""
    for name in names:
        page.locator(f"#plot-{name}").scroll_into_view_if_needed()
        page.wait_for_selector(f"#plot-{name} svg.main-svg", state="attached")
    settle(page)


def all_figures(page: Any) -> list[str]:
    """Names of the figures on the page, from the top."""
    return page.eval_on_selector_all(".plot", "all => all.map(div => div.id.slice(5))")


def undrawn(page: Any) -> list[str]:
    """Names of the figures that are not drawn."""
    return page.eval_on_selector_all(
        ".plot", "all => all.filter(d => !d.querySelector('svg')).map(d => d.id.slice(5))"
    )


def drawn(page: Any, name: str) -> list[dict[str, Any]]:
    """Name, number of points, and selected points of each trace of a figure."""
    return page.evaluate(
        """name => document.getElementById("plot-" + name).data.map(t => ({name: t.name,
        points: (t.x || t.values || t.z || []).length, selected: t.selectedpoints ?? null}))""",
        name,
    )


def drag(page: Any, name: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag over the plot area of a figure; places are shares of its width and height."""
    see(page, name)
    area = page.locator(f"#plot-{name} .nsewdrag").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in (start, end)]

    def drawn_over() -> None:
        page.mouse.move(*places[0])
        page.mouse.down()
        page.mouse.move(*places[1], steps=6)
        page.mouse.up()

    heard(page, name, "plotly_selected", drawn_over)


def click_point(page: Any, name: str, place: int = 0) -> None:
    """Click the middle of a point of a figure."""
    points = page.locator(f"#plot-{name} .scatterlayer .trace path.point")
    box = points.nth(place).bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    heard(page, name, "plotly_click", lambda: page.mouse.click(*middle))
