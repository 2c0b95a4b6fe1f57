"""Miniature against checkpoint: how far the cheap simulation can be trusted for this model."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from reports.columns import plain
from reports.figures.theme import PALETTE, SYMBOLS, empty_figure, numeric, themed


def miniature_against_checkpoint(placements: pd.DataFrame) -> go.Figure:
    """Loss increase of placements on the checkpoint over that on the miniature, with errors.

    ``placements`` has the columns ``miniature_delta_loss_nats``, ``checkpoint_delta_loss_nats``,
    their ``..._stderr`` and ``noise_model``. Only the order can be expected to agree.
    """
    x = numeric(placements, "miniature_delta_loss_nats")
    y = numeric(placements, "checkpoint_delta_loss_nats")
    both = x.notna() & y.notna()
    if not both.any():
        return empty_figure("No placement was simulated on both.")
    figure = go.Figure()
    kinds = placements.loc[both, "noise_model"].astype(str)
    for index, kind in enumerate(sorted(kinds.unique())):
        rows = placements[both & (placements["noise_model"].astype(str) == kind)]
        figure.add_scatter(
            x=rows["miniature_delta_loss_nats"], y=rows["checkpoint_delta_loss_nats"],
            mode="markers", name=plain(f"{kind} cells"),
            marker={"size": 9, "color": PALETTE[index % len(PALETTE)],
                    "symbol": SYMBOLS[index % len(SYMBOLS)]},
            error_x={"array": rows["miniature_delta_loss_stderr"], "thickness": 1},
            error_y={"array": rows["checkpoint_delta_loss_stderr"], "thickness": 1},
            customdata=[plain(_words(row)) for _, row in rows.iterrows()],
            hovertemplate="%{customdata}<br>miniature %{x:.4f}, checkpoint %{y:.4f} nats/token"
            "<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="Loss increase on the miniature (nats/token)")
    figure.update_yaxes(title_text="Loss increase on the checkpoint (nats/token)")
    return themed(figure, 380)


def _words(row: pd.Series) -> str:
    """A placement in a few words."""
    share = 100 * float(row.get("digital_expert_fraction", float("nan")))
    return f"{row['noise_model']}, {row.get('adc_bits')}-bit ADC, {share:.0f} % of experts digital"
