"""What tests of the report in a browser do with a page."""

from __future__ import annotations

from typing import Any

# Plotly tells of a click or a drag only after its own delay for double clicks.
DOUBLE_CLICK_MS = 350
_TWO_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def settle(page: Any, delay_ms: float = 0) -> None:
    """Wait until every view shows the latest selection.

    delay_ms: of the event that selects, DOUBLE_CLICK_MS for a click or a drag in a figure.
    """
    if delay_ms:
        page.wait_for_timeout(delay_ms)
    page.evaluate(_TWO_FRAMES)  # by then the page knows which figures are near the window
    page.wait_for_selector("html[data-state=drawn]", timeout=60_000)


def see(page: Any, *names: str) -> None:
    """Scroll to figures, one after the other: a figure is drawn when it comes near the window."""
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
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=6)
    page.mouse.up()
    settle(page, DOUBLE_CLICK_MS)


def click_point(page: Any, name: str, place: int = 0) -> None:
    """Click the middle of a point of a figure."""
    points = page.locator(f"#plot-{name} .scatterlayer .trace path.point")
    box = points.nth(place).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    settle(page, DOUBLE_CLICK_MS)
