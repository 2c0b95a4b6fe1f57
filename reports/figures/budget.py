"""What moves when the budget moves: the best that each area would have bought."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reports.columns import STANDARD_ERRORS, column, plain
from reports.figures.theme import PALETTE, SYMBOLS, empty_figure, numeric, style_axis, themed
from reports.figures.trade import error_bars

RESULTS = ("delta_loss_nats", "energy_j_per_token", "throughput_tokens_per_s")


def best_against_area(
    candidates: pd.DataFrame, budget_mm2: float | None = None, results: tuple[str, ...] = RESULTS
) -> go.Figure:
    """The best value of each result among the simulated designs up to each area.

    Every step is a design that was found, not a fit; areas between two steps bought nothing.
    """
    rows = candidates[candidates["state"] == "complete"]
    shown = [name for name in results if numeric(rows, name).notna().any()]
    if rows.empty or not shown:
        return empty_figure("No simulated design fits this budget.")
    titles = [plain(column(name).title) for name in shown]
    figure = make_subplots(cols=len(shown), rows=1, subplot_titles=titles, horizontal_spacing=0.08)
    for index, name in enumerate(shown, start=1):
        spec = column(name)
        best = best_so_far(rows, name)
        figure.add_scatter(
            x=best["area_mm2"], y=best[name], mode="lines+markers", line={"shape": "hv"},
            marker={"color": PALETTE[index - 1], "symbol": SYMBOLS[index - 1], "size": 7},
            error_y=error_bars(best, spec), customdata=best["trial"], row=1, col=index,
            name=plain(spec.label), showlegend=False,
            hovertemplate="design %{customdata}<br>%{x:.4g} mm²: %{y:.4~g}<extra></extra>",
        )  # fmt: skip
        if budget_mm2 is not None and len(best):
            # What was best at the last step stays so up to the budget.
            figure.add_scatter(
                x=[best["area_mm2"].iloc[-1], budget_mm2], y=[best[name].iloc[-1]] * 2,
                mode="lines", line={"color": PALETTE[index - 1]}, showlegend=False,
                hoverinfo="skip", row=1, col=index,
            )  # fmt: skip
        figure.update_yaxes(**style_axis(spec, best[name]), row=1, col=index)
        figure.update_yaxes(title_text="", row=1, col=index)
    figure.update_xaxes(title_text="Area (mm²)")
    figure.update_annotations(font_size=13)
    if budget_mm2 is not None and np.isfinite(budget_mm2):
        figure.add_vline(x=budget_mm2, line={"dash": "dot", "width": 1.5, "color": PALETTE[5]})
    return themed(figure, 330)


def best_so_far(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The designs that improve on every smaller one in column ``name``, by growing area.

    Where the column has standard errors, only by more than two of the difference's.
    """
    spec = column(name)
    sign = -1.0 if spec.better == "higher" else 1.0
    ordered = rows.assign(_value=sign * numeric(rows, name)).dropna(subset=["_value", "area_mm2"])
    ordered = ordered.sort_values(["area_mm2", "_value"])
    errors = numeric(ordered, spec.stderr).fillna(0.0) if spec.stderr else 0.0 * ordered["_value"]
    kept: list[int] = []
    best, best_error = np.inf, 0.0
    for place, (value, error) in enumerate(zip(ordered["_value"], errors, strict=True)):
        if value < best - STANDARD_ERRORS * np.hypot(error, best_error):
            best, best_error = value, error
            kept.append(place)
    return ordered.iloc[kept].drop(columns="_value")
