"""Which parameters matter: the share of a result's variance that each one alone explains."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import PARAMETER_NAMES, column, plain
from reports.figures.theme import PALETTE, SYMBOLS, empty_figure, numeric, themed
from reports.figures.trade import NO_CHOICE, credited_scores
from reports.run_folder import with_marks

RESULTS = ("full_points", "delta_loss_nats", "energy_j_per_token", "throughput_tokens_per_s")
#: Numbers of more values than this are put into so many groups of equal size.
GROUPS = 8
#: What follows from other parameters is none.
DERIVED = ("tiles", "digital_experts", "tile_area_mm2", "utilisation", "occupancy",
           "energy_prefill_share", "concurrency")  # fmt: skip
MOST = 12


def importances(candidates: pd.DataFrame) -> pd.DataFrame:
    """Share of the variance of each result between groups of designs that agree in a parameter.

    One row a parameter and result: ``parameter``, ``result``, ``share`` (epsilon squared, the
    correlation ratio less what chance gives as many groups; 0 to 1). Costs by their logarithm.
    Over simulated designs that have the parameter; a score counts where it chose something.
    """
    rows = with_marks(candidates)
    rows = rows[rows["state"] == "complete"]
    for name in {"placement_score", "placement_scope"} & set(rows.columns):
        rows = rows.assign(**{name: rows[name].where(credited_scores(rows) != NO_CHOICE)})
    names = [n for n in PARAMETER_NAMES if n in rows.columns and n not in DERIVED]
    results = [n for n in RESULTS if numeric(rows, n).notna().any()]
    if "full_points" in results and "delta_loss_nats" in results:
        results.remove("delta_loss_nats")
    found = [
        {"parameter": name, "result": result, "share": _explained(rows[name], rows, result)}
        for name in names
        for result in results
    ]
    return pd.DataFrame(found, columns=["parameter", "result", "share"])


def _explained(parameter: pd.Series, rows: pd.DataFrame, result: str) -> float:
    values = numeric(rows, result)
    if column(result).log:
        values = np.log(values.where(values > 0))
    known = values.notna() & parameter.notna()
    values, groups = values[known], _groups(parameter[known])
    count, kinds = len(values), groups.nunique()
    total = float(((values - values.mean()) ** 2).sum())
    if kinds < 2 or count <= kinds or total <= 0:
        return 0.0
    inside = float(((values - values.groupby(groups).transform("mean")) ** 2).sum())
    return max(0.0, 1 - inside / (count - kinds) / (total / (count - 1)))


def _groups(parameter: pd.Series) -> pd.Series:
    """The group of each design by a parameter, as text."""
    if pd.api.types.is_numeric_dtype(parameter) and parameter.nunique() > GROUPS:
        parameter = pd.qcut(parameter.astype(float), GROUPS, duplicates="drop")
    return parameter.astype("string")


def importance_bars(candidates: pd.DataFrame) -> go.Figure:
    """Parameters by how much of each result's variance they explain, the most important on top."""
    table = importances(candidates)
    wide = table.pivot(index="parameter", columns="result", values="share")
    wide = wide[wide.max(axis=1) >= 0.005] if len(wide) else wide
    if wide.empty:
        return empty_figure("No parameter differs between the simulated designs.")
    wide = wide.loc[wide.max(axis=1).sort_values().index[-MOST:]]
    figure = go.Figure()
    for place, result in enumerate(name for name in RESULTS if name in wide.columns):
        figure.add_scatter(
            x=wide[result], y=[plain(column(name).label) for name in wide.index], mode="markers",
            name=plain(column(result).label),
            marker={"color": PALETTE[place], "symbol": SYMBOLS[place], "size": 11},
            hovertemplate=f"%{{y}}: %{{x:.0%}} of the variance of {plain(column(result).label)}"
            "<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="Share of the variance explained", tickformat=".0%",
                        range=[-0.02, 1.02])  # fmt: skip
    return themed(figure, 130 + 28 * len(wide))
