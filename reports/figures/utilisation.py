"""How well a design's tiles are used: cells of the blocks that hold weights, and of all tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from reports.columns import is_missing, plain
from reports.figures.theme import PALETTE, empty_figure, numeric, themed
from reports.run_folder import design, name_of

#: Columns of the table and what each says in the legend.
SHARES = {
    "occupancy": "cells used, of all tiles and tiers",
    "utilisation": "cells used, of the blocks that hold weights",
}


def tile_utilisation(candidates: pd.DataFrame, trials: Sequence[Any]) -> go.Figure:
    """Shares of cells that hold weights, for several designs side by side.

    ``trials`` names the designs: trial numbers, or names of reference designs. The space between
    the two bars is tiers and blocks that hold nothing. A design without tiles says so.
    """
    shown = {n: text for n, text in SHARES.items() if numeric(candidates, n).notna().any()}
    rows = [design(candidates, trial) for trial in trials]
    if not shown or not rows:
        return empty_figure("This run holds no utilisation of tiles.")
    names = [plain(name_of(row)) + ("" if _tiles(row) else ",<br>no tiles") for row in rows]
    figure = go.Figure()
    for index, (column, text) in enumerate(shown.items()):
        values = [None if not _tiles(row) or is_missing(row[column]) else float(row[column])
                  for row in rows]  # fmt: skip
        figure.add_bar(
            y=names, x=values, orientation="h", name=text, marker={"color": PALETTE[index]},
            text=[tiles_in_words(row) for row in rows] if not index else None,
            textposition="inside", insidetextanchor="start",
            hovertemplate=f"{text}: %{{x:.1%}}<extra>%{{y}}</extra>",
            meta={"share": column, "tiles": not index},
        )  # fmt: skip
    figure.update_xaxes(title_text="Cells that hold weights (%)", tickformat=".0%",
                        range=[0, 1.02])  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(barmode="group", legend={"traceorder": "normal"})
    return themed(figure, 320)


def _tiles(row: pd.Series) -> float:
    count: Any = row.get("tiles")
    return 0.0 if is_missing(count) else float(count)


def tiles_in_words(row: pd.Series) -> str:
    """Tiles and tiers of a design: '24 tiles of 512 tiers'; nothing for a design without tiles."""
    tiers: Any = row.get("tiers")
    if not _tiles(row) or is_missing(tiers):
        return ""
    return f"{_tiles(row):,.0f} tiles of {float(tiers):,.0f} tiers"
