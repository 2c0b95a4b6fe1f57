"""How the search went: what it found over time, and where the time went."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from reports.columns import plain, term
from reports.figures.theme import PALETTE, empty_figure, numeric, themed


def hypervolume_progress(progress: pd.DataFrame) -> go.Figure:
    """Hypervolume of the front over the trials: flat at the end means the search had settled."""
    values = numeric(progress, "hypervolume")
    if progress.empty or not values.notna().any():
        return empty_figure("This run recorded no search progress.")
    seconds = numeric(progress, "seconds")
    figure = go.Figure(
        go.Scatter(
            x=progress["trial"], y=values, mode="lines", customdata=seconds,
            line={"color": PALETTE[0], "shape": "hv", "width": 2},
            hovertemplate="after trial %{x} (%{customdata:.1f} s): %{y:.4~g}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title_text="Trial")
    figure.update_yaxes(title_text="Hypervolume (normalised objectives)", rangemode="tozero")
    return themed(figure, 300)


def time_split(seconds: dict[str, float]) -> go.Figure:
    """Wall time by what it was spent on, in seconds."""
    if not seconds:
        return empty_figure("This run recorded no wall times.", 160)
    figure = go.Figure()
    for index, (part, value) in enumerate(seconds.items()):
        figure.add_bar(
            x=[value], y=["wall time"], orientation="h",
            # The seconds stand in the legend, where no bar is too short for them.
            name=f"{plain(term(part))} {value:.1f} s",
            marker={"color": PALETTE[index % len(PALETTE)]},
            hovertemplate=f"{plain(term(part))}: %{{x:.1f}} s<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="Wall time (s)")
    figure.update_yaxes(visible=False)
    figure.update_layout(barmode="stack", legend={"traceorder": "normal"})
    return themed(figure, 300)
