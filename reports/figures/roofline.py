"""The roofline of a design's accelerator: which stages wait for memory and which for arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import is_missing, plain, term
from reports.figures.breakdown import colour_of
from reports.figures.theme import MUTED, empty_figure, numeric, themed

#: Columns of the table of layers and of the candidates that a roofline is drawn from.
STAGE = ("macs", "memory_bytes")
PEAKS = ("peak_macs_per_s", "memory_bytes_per_s")
GIGA = 1e9


def has_roofline(layers: pd.DataFrame, candidates: pd.DataFrame) -> bool:
    """Whether a run records what a roofline needs."""
    return all(numeric(layers, name).notna().any() for name in STAGE) and all(
        numeric(candidates, name).notna().any() for name in PEAKS
    )


def roofline(layers: pd.DataFrame, row: pd.Series) -> go.Figure:
    """Multiply-accumulates a second over multiply-accumulates a byte, one point a stage.

    ``layers`` has for each stage of a layer ``macs``, ``memory_bytes`` and ``busy_s``; the row has
    ``peak_macs_per_s`` and ``memory_bytes_per_s``. The roof is the lower of peak and bandwidth.
    """
    peaks: list[Any] = [row.get(name) for name in PEAKS]
    own = layers[layers["trial"] == row["trial"]] if len(layers) else layers
    own = own[(numeric(own, "memory_bytes") > 0) & (numeric(own, "busy_s") > 0)]
    if any(is_missing(peak) for peak in peaks) or own.empty:
        return empty_figure("Stages are kept for designs on the front and for the references.")
    intensity = numeric(own, "macs") / numeric(own, "memory_bytes")
    figure = go.Figure()
    ridge = float(peaks[0]) / float(peaks[1])
    x = roof_ends(intensity, ridge)
    figure.add_scatter(
        x=x, y=[min(peaks[0], peaks[1] * one) / GIGA for one in x], mode="lines", name="roof",
        line={"color": MUTED, "width": 2}, hoverinfo="skip", meta={"roof": True},
    )  # fmt: skip
    for place, module in enumerate(dict.fromkeys(layers["module"].astype(str))):
        stage = own[own["module"] == module]
        figure.add_scatter(
            x=intensity[stage.index], y=numeric(stage, "macs") / numeric(stage, "busy_s") / GIGA,
            mode="markers", name=plain(term(module)), meta={"roofStage": module},
            marker={"color": colour_of(module, place), "size": 11},
            hovertemplate=f"{plain(term(module))}<br>%{{x:.3~g}} MAC/byte, %{{y:.3~g}} GMAC/s"
            "<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="Arithmetic intensity (MAC/byte)", type="log", dtick=1)
    figure.update_yaxes(title_text="Arithmetic reached (GMAC/s)", type="log", dtick=1,
                        ticksuffix=" GMAC/s")  # fmt: skip
    return themed(figure, 380)


def roof_ends(intensity: pd.Series, ridge: float) -> list[float]:
    """Where the roof begins, bends and ends: around the stages and the ridge."""
    low, high = np.nanmin([*intensity, ridge]), np.nanmax([*intensity, ridge])
    return [float(low) / 2, ridge, float(high) * 2]
