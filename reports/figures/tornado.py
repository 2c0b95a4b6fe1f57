"""Which constants decide: what a design's cost does over each one's published range."""

from __future__ import annotations

import re

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reports.columns import column, plain, si, term
from reports.figures.theme import ANALOG, DIGITAL, empty_figure, numeric, themed

QUANTITIES = ("energy_j_per_token", "throughput_tokens_per_s", "area_mm2")
#: Constants that move nothing by this much are left out, and beyond this many the least.
LEAST, MOST = 1e-3, 14


def tornado_bars(table: pd.DataFrame) -> go.Figure:
    """Bars of the change of energy, throughput and area with each constant at its two ends.

    ``table`` has a row a constant: part, constant, low, nominal, high, source, and for each
    quantity ``<quantity>_change_low`` and ``_change_high`` (relative). The constants that move
    energy most are on top.
    """
    shown = [name for name in QUANTITIES if f"{name}_change_low" in table.columns]
    columns = [f"{name}_change_{end}" for name in shown for end in ("low", "high")]
    if table.empty or not shown:
        return empty_figure("No constant moves this design.")
    largest = table[columns].abs().max(axis=1)
    rows = table[largest >= LEAST].head(MOST).iloc[::-1]
    if rows.empty:
        return empty_figure("No constant moves this design.")
    labels = [
        plain(f"{constant(str(name))} ({part})")
        for name, part in zip(rows["constant"], rows["part"], strict=True)
    ]
    titles = [plain(column(name).label) for name in shown]
    figure = make_subplots(
        cols=len(shown), rows=1, subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04
    )
    for index, name in enumerate(shown, start=1):
        for end, colour, pattern in (("low", DIGITAL, ""), ("high", ANALOG, "/")):
            figure.add_bar(
                x=numeric(rows, f"{name}_change_{end}"), y=labels, orientation="h",
                name=f"constant at its {end} end", legendgroup=end, showlegend=index == 1,
                marker={"color": colour, "pattern": {"shape": pattern}},
                customdata=_hover(rows), row=1, col=index,
                hovertemplate=f"%{{customdata}}<br>at its {end} end: %{{x:+.2~%}}<extra></extra>",
            )  # fmt: skip
    figure.update_layout(barmode="overlay", bargap=0.35, legend={"y": -0.2, "yanchor": "top"})
    figure.update_xaxes(tickformat="+.3~%", zeroline=True, nticks=5,
                        title_text="Change (%)")  # fmt: skip
    figure.update_annotations(font_size=13)
    return themed(figure, 170 + 26 * len(rows))


def constant(name: str) -> str:
    """A constant's name in words, without the unit at its end: the bars are relative."""
    return term(re.sub(r"_(j_per_byte|w_per_mm2|j|s|m2|m|w)$", "", name))


def _hover(rows: pd.DataFrame) -> list[str]:
    """The range of each constant and where it comes from."""
    texts = []
    for _, row in rows.iterrows():
        low, nominal, high = (si(float(row[end]), "") for end in ("low", "nominal", "high"))
        source = plain(row["source"])
        texts.append(f"{plain(row['constant'])}: {nominal}, from {low} to {high}<br>{source}")
    return texts
