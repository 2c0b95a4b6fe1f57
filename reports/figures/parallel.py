"""Parallel coordinates: one line a design across its parameters and its results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import Column, column, is_rate, plain, si, term
from reports.figures.theme import (
    ACCENT,
    MUTED,
    PALETTE,
    empty_figure,
    numeric,
    themed,
    tick_text,
    tick_unit,
)
from reports.figures.trade import credited_scores, design_groups
from reports.run_folder import with_marks

DIMENSIONS = (
    "technology", "tile_rows", "tiers", "tiles", "adc_bits", "digital_weight_bits",
    "digital_expert_fraction", "placement_score", "area_mm2", "throughput_tokens_per_s",
    "energy_j_per_token", "delta_loss_nats", "full_points",
)  # fmt: skip


def parallel_coordinates(
    candidates: pd.DataFrame, dimensions: tuple[str, ...] = DIMENSIONS
) -> go.Figure:
    """Simulated designs as lines over one vertical axis a column; the front is drawn on top.

    Axes of results point upwards to the better end. A value that is missing breaks its line.
    Drawn with ordinary lines, not WebGL, so that it works anywhere and downloads as SVG.
    """
    candidates = credited(with_marks(candidates))
    rows = candidates[candidates["state"] == "complete"]
    scales = axis_scales(rows, dimensions)
    if rows.empty or len(scales) < 2:
        return empty_figure("No simulated design to draw.")
    figure = go.Figure()
    groups = design_groups(rows)
    # The last two hold what a reader of the page chooses.
    for group, name, look in (
        ("behind", "simulated", {"color": MUTED, "width": 0.8}),
        ("front", "Pareto front", {"color": PALETTE[0], "width": 1.6}),
        ("recommended", "recommended", {"color": ACCENT, "width": 3.5}),
        ("marked", "highlighted", {"color": PALETTE[2], "width": 1.6}),
        ("selected", "selected", {"color": ACCENT, "width": 3.5, "dash": "dot"}),
    ):
        x, y, trial = lines(rows[groups[group]] if group in groups else rows[:0], scales)
        crowd = group == "behind"
        figure.add_scatter(
            x=x, y=y, mode="lines", line=look, name=name, text=[f"design {t}" for t in trial],
            customdata=trial, opacity=0.35 if crowd else 0.9, visible=len(x) > 0,
            hovertemplate=None if crowd else "%{text}<extra></extra>",
            hoverinfo="skip" if crowd else None, meta={"lines": group},
        )  # fmt: skip
    for position, scale in enumerate(scales):
        _add_axis(figure, position, scale)
    labels = [_broken(scale["title"]) for scale in scales]
    figure.update_xaxes(
        tickvals=list(range(len(scales))), ticktext=labels, range=[-0.35, len(scales) - 0.35],
        showgrid=False, zeroline=False, side="bottom", fixedrange=True, tickangle=0,
    )  # fmt: skip
    figure.update_yaxes(visible=False, range=[-0.15, 1.1], fixedrange=True)
    figure.update_layout(dragmode="select")
    return themed(figure, 460)


def credited(candidates: pd.DataFrame) -> pd.DataFrame:
    """The designs, with no score where all or none of the experts are digital: none chose them."""
    if "placement_score" not in candidates.columns:
        return candidates
    return candidates.assign(placement_score=credited_scores(candidates))


def axis_scales(rows: pd.DataFrame, dimensions: tuple[str, ...]) -> list[dict[str, Any]]:
    """How each column maps to 0..1: {column, title, low, high, log, flip} or {categories}.

    Columns that are absent, all missing, or the same in every design are left out.
    """
    scales: list[dict[str, Any]] = []
    if numeric(rows, "full_points").notna().any():
        dimensions = tuple(name for name in dimensions if name != "delta_loss_nats")
    for name in dimensions:
        spec = column(name)
        if name not in rows.columns:
            continue
        if spec.kind == "text":
            categories = sorted(rows[name].dropna().astype(str).unique())
            if len(categories) > 1:
                scales.append({"column": name, "title": spec.label, "categories": categories})
            continue
        values = numeric(rows, name)
        low, high = values.min(), values.max()
        if not np.isfinite(low) or low == high or _tick(low, spec) == _tick(high, spec):
            continue
        log = spec.log and low > 0
        scales.append(
            {"column": name, "title": spec.label, "low": float(low), "high": float(high),
             "log": bool(log), "flip": spec.better == "lower"}
        )  # fmt: skip
    return scales


def position(values: pd.Series, scale: dict[str, Any]) -> pd.Series:
    """Height of each value on its axis, 0 at the bottom and 1 at the top; NaN where missing."""
    if "categories" in scale:
        places = {name: index for index, name in enumerate(scale["categories"])}
        return values.map(places).astype(float) / (len(places) - 1)
    numbers = pd.to_numeric(values, errors="coerce").astype(float).to_numpy()
    low, high = scale["low"], scale["high"]
    if scale["log"]:
        numbers = np.where(numbers > 0, numbers, np.nan)  # no place on a logarithmic axis
        numbers, low, high = np.log(numbers), np.log(low), np.log(high)
    height = pd.Series((numbers - low) / (high - low), index=values.index)
    return 1 - height if scale["flip"] else height


def lines(
    rows: pd.DataFrame, scales: list[dict[str, Any]]
) -> tuple[list[float], list[float], list[Any]]:
    """x, y and trial of one polyline a design, polylines separated by a gap."""
    count, steps = len(rows), len(scales) + 1
    y = np.full((count, steps), np.nan)
    for index, scale in enumerate(scales):
        y[:, index] = position(rows[scale["column"]], scale)
    x = np.tile(np.append(np.arange(len(scales), dtype=float), np.nan), count)
    return list(x), list(y.ravel()), list(np.repeat(rows["trial"].to_numpy(), steps))


def _add_axis(figure: go.Figure, place: int, scale: dict[str, Any]) -> None:
    """One vertical axis line with its end values, or its categories, as labels."""
    figure.add_shape(
        type="line", x0=place, x1=place, y0=0, y1=1, line={"color": MUTED, "width": 1.2},
        layer="below",
    )  # fmt: skip
    spec = column(scale["column"])
    if "categories" in scale:
        last = len(scale["categories"]) - 1
        marks = [(i / last, term(name)) for i, name in enumerate(scale["categories"])]
        # Long names break, so that they end before the next axis.
    else:
        ends = (scale["high"], scale["low"]) if scale["flip"] else (scale["low"], scale["high"])
        marks = [(0.0, _tick(ends[0], spec)), (1.0, _tick(ends[1], spec))]
    for height, text in marks:
        figure.add_annotation(
            x=place, y=height, text=_broken(text), showarrow=False, xanchor="left", xshift=4,
            yanchor="bottom" if height > 0.5 else "top" if height == 0 else "middle",
            font={"size": 11},
        )  # fmt: skip


def _tick(value: float, spec: Column) -> str:
    if spec.kind == "si":
        if is_rate(spec.unit):
            return f"{tick_text(float(f'{value:.3g}'))} tok/s"
        return si(value, tick_unit(spec.unit))
    if spec.kind == "percent":
        return f"{100 * value:.3g} %"
    if spec.kind == "count":
        return f"{value:,.0f} {spec.unit}".strip()
    number = "0" if spec.stderr and abs(value) < 5e-5 else f"{value:.3g}"
    return f"{number} {tick_unit(spec.unit)}".strip()


def _broken(text: str) -> str:
    """A name of several words on lines of their own; a number and its unit stay together."""
    words = [text] if text[:1].isdigit() or text[:1] == "-" else text.split(" ")
    return "<br>".join(map(plain, words))
