"""Sweeps: any measured column against two parameters, and any matrix of pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import column, in_unit, plain, si, term, with_error
from reports.figures.theme import (
    PALETTE,
    SEQUENTIAL,
    SYMBOLS,
    colour_scale,
    numeric,
    style_axis,
    themed,
)


def heat_map(table: pd.DataFrame, x: str, y: str, value: str, stderr: str = "") -> go.Figure:
    """A column of a sweep over two parameters, each cell labelled with its value.

    Colours are logarithmic where the values span a factor of 100.
    ``stderr`` names the column of the value's standard error. A cell whose value is missing stays
    empty; of several rows for one cell the last counts.
    """
    spec = column(value)
    known = numeric(table, value).dropna()
    # Over many decades, equal steps of colour are equal ratios.
    log = bool(len(known) and known.min() > 0 and known.max() >= 100 * known.min())
    bar = colour_scale(known, replace(spec, log=log))["colorbar"]
    ticks = {name: bar[name] for name in ("tickmode", "tickvals", "ticktext") if name in bar}
    cells = table.drop_duplicates([x, y], keep="last")
    grid = cells.assign(_value=numeric(cells, value)).pivot(index=y, columns=x, values="_value")
    errors = cells.assign(_error=numeric(cells, stderr)).pivot(index=y, columns=x, values="_error")
    texts = [
        [_label(number, error, spec.kind == "si", bool(stderr)) for number, error in pairs]
        for pairs in (
            zip(numbers, error_row, strict=True)
            for numbers, error_row in zip(grid.to_numpy(), errors.to_numpy(), strict=True)
        )
    ]
    figure = go.Figure(
        go.Heatmap(
            z=np.log10(grid) if log else grid, x=[plain(term(str(name))) for name in grid.columns],
            y=[plain(term(str(name))) for name in grid.index], text=texts, texttemplate="%{text}",
            colorscale=[list(stop) for stop in SEQUENTIAL], xgap=2, ygap=2, hoverongaps=False,
            colorbar={"title": {"text": plain(spec.title), "side": "right", "font": {"size": 12}},
                      "thickness": 12, "outlinewidth": 0, "exponentformat": "SI", **ticks},
            hovertemplate=f"{plain(column(x).label)} %{{x}}, {plain(column(y).label)} %{{y}}<br>"
            f"{plain(spec.title)}: %{{text}}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title_text=plain(column(x).title), type="category", showgrid=False)
    figure.update_yaxes(title_text=plain(column(y).title), type="category", showgrid=False)
    return themed(figure, 380)


def _label(number: float, error: float, prefixed: bool, with_stderr: bool) -> str:
    if not np.isfinite(number):
        return ""
    if with_stderr:
        return with_error(float(number), error)
    if prefixed:
        return si(float(number), "")
    return f"{number:.3g}" if number < 1000 else f"{float(f'{number:.3g}'):,.0f}"


def lines(
    table: pd.DataFrame, x: str, y: str, group: str | None = None, stderr: str = ""
) -> go.Figure:
    """A column against a parameter, one line for each value of ``group``."""
    figure = go.Figure()
    factors = [in_unit(numeric(table, name), column(name))[0] for name in (x, y)]
    groups = [("", table)] if group is None else list(table.groupby(group, sort=False))
    for index, (name, rows) in enumerate(groups):
        ordered = rows.sort_values(x)
        figure.add_scatter(
            x=ordered[x] if factors[0] == 1 else factors[0] * ordered[x],
            y=factors[1] * numeric(ordered, y), mode="lines+markers", name=plain(name),
            marker={"symbol": SYMBOLS[index % len(SYMBOLS)], "size": 7},
            line={"color": PALETTE[index % len(PALETTE)]}, showlegend=group is not None,
            error_y={"array": factors[1] * numeric(ordered, stderr)} if stderr else None,
        )  # fmt: skip
    figure.update_xaxes(**style_axis(column(x), numeric(table, x)))
    figure.update_yaxes(**style_axis(column(y), numeric(table, y)))
    figure.update_layout(legend_title_text="" if group is None else plain(column(group).label))
    return themed(figure, 400)


def parts_bar(parts: dict[str, dict[str, float]], unit: str, title: str) -> go.Figure:
    """Breakdowns side by side: {design: {part: value}}, one stacked bar a design."""
    figure = go.Figure()
    names = list(dict.fromkeys(part for values in parts.values() for part in values))
    for index, name in enumerate(names):
        figure.add_bar(
            y=[plain(design) for design in parts], orientation="h",
            x=[float(values.get(name, np.nan)) for values in parts.values()],
            name=plain(column(name).label), marker={"color": PALETTE[index % len(PALETTE)]},
            hovertemplate=f"{plain(column(name).label)}: %{{x:.3s}}{unit}<extra>%{{y}}</extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text=f"{plain(title)} ({unit})", tickformat="~s", ticksuffix=unit)
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(barmode="stack", legend={"traceorder": "normal"})
    return themed(figure, 130 + 50 * len(parts))
