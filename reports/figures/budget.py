"""What moves when the budget moves: the design that each smaller budget would have bought."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from reports.columns import column, in_unit, plain
from reports.figures.theme import (
    ACCENT,
    PALETTE,
    SYMBOLS,
    empty_figure,
    numeric,
    style_axis,
    themed,
)
from reports.figures.trade import error_bars, least_range
from reports.run_folder import with_marks

OBJECTIVES = ("delta_loss_nats", "energy_j_per_token", "throughput_tokens_per_s")
SHOWN = ("digital_expert_fraction", *OBJECTIVES)


def knee_against_budget(
    candidates: pd.DataFrame,
    budget_mm2: float | None = None,
    objectives: tuple[str, ...] = OBJECTIVES,
) -> go.Figure:
    """The knee of the front under each area budget up to the run's own: what it reaches.

    Every step is a simulated design of the run, not a fit. Accuracies carry one standard error.
    """
    knees = knees_by_area(candidates, objectives)
    shown = [name for name in SHOWN if numeric(knees, name).notna().any()]
    if knees.empty or not shown:
        return empty_figure("No simulated design fits this budget.")
    titles = [plain(column(name).label) for name in shown]
    figure = make_subplots(cols=len(shown), rows=1, subplot_titles=titles, horizontal_spacing=0.07)
    for place, name in enumerate(shown):
        _add_steps(figure, knees, name, place, budget_mm2)
    figure.update_xaxes(title_text="Area budget (mm²)", ticksuffix=" mm²", nticks=5)
    figure.update_annotations(font_size=13)
    if budget_mm2 is not None:
        figure.add_vline(x=budget_mm2, line={"dash": "dot", "width": 1.5, "color": PALETTE[5]})
    return themed(figure, 330)


def _add_steps(
    figure: go.Figure, knees: pd.DataFrame, name: str, place: int, budget_mm2: float | None
) -> None:
    """One column of the knees as steps over the budget, in the panel of that place."""
    spec, values = column(name), numeric(knees, name)
    axis, (factor, unit) = style_axis(spec, values), in_unit(values, spec)
    values = factor * values
    error = error_bars(knees, spec, factor) if name in knees.columns else {"visible": False}
    panel = {"row": 1, "col": place + 1}
    figure.add_scatter(
        x=knees["budget_from_mm2"], y=values, mode="lines+markers", error_y=error,
        line={"shape": "hv"}, name=plain(spec.label), showlegend=False,
        marker={"color": PALETTE[place], "symbol": SYMBOLS[place], "size": 7},
        selected={"marker": {"color": ACCENT, "size": 14}}, unselected={"marker": {"opacity": 1}},
        customdata=knees["trial"].tolist(), **panel,
        hovertemplate="design %{customdata}<br>%{x:.4g} mm²: %{y:.4~g} "
        f"{unit}<extra></extra>",
    )  # fmt: skip
    if budget_mm2 is not None:
        # What the last step bought stays the choice up to the budget.
        figure.add_scatter(
            x=[knees["budget_from_mm2"].iloc[-1], budget_mm2], y=[values.iloc[-1]] * 2,
            mode="lines", line={"color": PALETTE[place]}, showlegend=False, hoverinfo="skip",
            **panel,
        )  # fmt: skip
    axis |= {"title": {"text": ""}}
    if spec.kind == "percent" and not spec.stderr:
        axis["range"] = [-0.04, 1.04]
    elif name == "delta_loss_nats":
        axis["range"] = least_range(values)
    figure.update_yaxes(**axis, **panel)


def knees_by_area(candidates: pd.DataFrame, objectives: tuple[str, ...]) -> pd.DataFrame:
    """The knee among the simulated designs under each budget, one row for each change.

    ``budget_from_mm2`` is the budget from which on a row is the knee.

    The knee is the design of the front nearest to the best of every objective, each scaled to its
    range on the front (energy, throughput and other costs in logarithms). Designs that broke a
    limit (they carry a reason) do not count.
    """
    candidates = with_marks(candidates)
    rows = candidates[candidates["state"] == "complete"]
    if "reason" in rows.columns:
        rows = rows[rows["reason"].isna()]
    used = [name for name in objectives if numeric(rows, name).notna().any()]
    rows = rows.dropna(subset=[*used, "area_mm2"]).sort_values("area_mm2")
    if rows.empty or not used:
        return rows.iloc[:0].assign(budget_from_mm2=[])
    values = np.column_stack([_smaller_is_better(rows, name) for name in used])
    areas = rows["area_mm2"].to_numpy(dtype=float)
    front: list[int] = []
    knees: list[int] = []
    starts: list[float] = []
    for place, value in enumerate(values):
        if any((values[other] <= value).all() for other in front):
            continue
        front = [other for other in front if not (value <= values[other]).all()] + [place]
        knee = front[_nearest_to_ideal(values[front])]
        if not knees or knee != knees[-1]:
            knees.append(knee)
            starts.append(areas[place])
    return rows.iloc[knees].assign(budget_from_mm2=starts)


def _smaller_is_better(rows: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """A column turned so that smaller is better; costs by ratio, accuracies by difference."""
    values = rows[name].to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = values if column(name).stderr else np.log10(values)
    return -values if column(name).better == "higher" else values


def _nearest_to_ideal(front: NDArray[np.float64]) -> int:
    span = np.ptp(front, axis=0)
    scaled = (front - front.min(axis=0)) / np.where(span > 0, span, 1.0)
    return int(np.argmin((scaled**2).sum(axis=1)))
