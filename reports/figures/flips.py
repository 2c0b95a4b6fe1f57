"""What would change the answer: for each question the value at which the recommendation flips."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import is_missing, plain, quantity
from reports.figures.theme import ACCENT, MUTED, PALETTE, empty_figure, log_ticks, numeric, themed

TODAY, FLIPS = "today", "the answer changes"


def flip_factors(table: pd.DataFrame) -> go.Figure:
    """Each question's turning point as a factor of today's value, nearest on top.

    ``table`` has a row a question: question, now, unit, flips_at, becomes. A question without a
    turning point shows today's value alone.
    """
    now, then = numeric(table, "now"), numeric(table, "flips_at")
    drawn = table[now > 0].assign(factor=(then / now).where(then > 0))
    if drawn.empty:
        return empty_figure("No question was asked that has a number for an answer.")
    distance = np.log(drawn["factor"]).abs()
    drawn = drawn.loc[distance.sort_values(na_position="last").index[::-1]]
    turning = drawn[drawn["factor"].notna()]
    names = [plain(name) for name in drawn["question"]]
    figure = go.Figure()
    for question, factor in zip(turning["question"], turning["factor"], strict=True):
        figure.add_scatter(
            x=[1.0, factor], y=[plain(question)] * 2, mode="lines", hoverinfo="skip",
            line={"color": MUTED, "width": 2}, showlegend=False,
        )  # fmt: skip
    figure.add_scatter(
        x=[1.0] * len(names), y=names, mode="markers+text", name=TODAY,
        marker={"color": PALETTE[0], "size": 9}, textposition="top center",
        text=[_amount(row, "now") for _, row in drawn.iterrows()],
        hovertemplate="%{y}: %{text} today<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=turning["factor"], y=[plain(name) for name in turning["question"]], mode="markers+text",
        name=FLIPS, marker={"color": ACCENT, "size": 11, "symbol": "diamond"},
        text=[_amount(row, "flips_at") for _, row in turning.iterrows()],
        textposition="top center", customdata=[plain(text) for text in turning["becomes"]],
        hovertemplate="%{y}: at %{text} %{customdata}<extra></extra>",
    )  # fmt: skip
    low, high = min(1.0, *turning["factor"], 1.0), max(1.0, *turning["factor"], 1.0)
    ends = [min(low, 0.5) / 1.6, max(high, 2.0) * 1.6]
    ticks = log_ticks(*ends)
    figure.update_xaxes(
        type="log", range=list(np.log10(ends)), tickvals=ticks,
        ticktext=[f"{tick:g}×" for tick in ticks],
        title_text="Value as a multiple of today's",
    )  # fmt: skip
    figure.update_yaxes(showgrid=False, range=[-0.6, len(names) - 0.2])
    figure.add_vline(x=1.0, line={"dash": "dot", "width": 1.2, "color": PALETTE[0]})
    return themed(figure, 110 + 44 * len(names))


def _amount(row: pd.Series, name: str) -> str:
    unit: Any = row.get("unit")
    return plain(quantity(float(row[name]), "" if is_missing(unit) else str(unit)))
