"""The trade: what a design costs against what it gives, one point a design."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import HOVER, Column, column, plain, show, term
from reports.figures.theme import (
    ACCENT,
    ERROR,
    MUTED,
    PALETTE,
    colour_scale,
    empty_figure,
    numeric,
    score_look,
    style_axis,
    themed,
)
from reports.run_folder import with_marks

#: Losses nearer than this (nats a token) are no difference worth a figure.
LEAST_SPAN = 1e-3
#: How far beyond the largest loss that matters the first view of a loss axis goes.
ROOM = 1.5
#: Stands for a selection score where there was nothing to select.
NO_CHOICE = "all or none digital"


def design_groups(candidates: pd.DataFrame) -> dict[str, pd.Series]:
    """The groups in which designs are drawn, in drawing order, as masks over the table."""
    state, front = candidates["state"], candidates["on_front"]
    complete = state == "complete"
    return {
        "ruled_out": state.isin(["ruled_out", "failed"]),
        "behind": complete & ~front,
        "front": complete & front,
        "reference": state == "reference",
        "knee": complete & candidates["is_knee"],
    }


def score_groups(candidates: pd.DataFrame) -> dict[str, pd.Series]:
    """Simulated designs by the score that chose their digital experts, as masks over the table."""
    if "placement_score" not in candidates.columns:
        return {}
    share = numeric(candidates, "digital_expert_fraction")
    scores = (
        candidates["placement_score"]
        .astype("string")
        .mask(share.isin([0.0, 1.0]))
        .fillna(NO_CHOICE)
    )
    complete = candidates["state"] == "complete"
    return {str(score): complete & (scores == score) for score in sorted(scores[complete].unique())}


def pareto_front(
    candidates: pd.DataFrame,
    x: str = "energy_j_per_token",
    y: str = "delta_loss_nats",
    colour: str = "throughput_tokens_per_s",
) -> go.Figure:
    """Every design in two objectives, a third as colour.

    Designs on the front carry error bars where the table has standard errors; a staircase joins
    the designs that no other beats in these two objectives alone. Designs without either value
    are left out.
    """
    if candidates.empty:
        return empty_figure("This run holds no design.")
    candidates = with_marks(candidates)
    specs = column(x), column(y), column(colour)
    figure = go.Figure()
    finite = candidates[np.isfinite(numeric(candidates, x)) & np.isfinite(numeric(candidates, y))]
    searched = finite[finite["state"] == "complete"]
    colours = colour_scale(numeric(searched, colour), specs[2])
    colours["front"] = bool(searched["on_front"].any())
    groups = {group: finite[mask] for group, mask in design_groups(finite).items()}
    stairs = staircase(searched, x, y)
    figure.add_scatter(
        x=numeric(stairs, x), y=numeric(stairs, y), mode="lines", name="front in these two",
        line={"color": MUTED, "width": 1.5, "shape": "hv"},
        hoverinfo="skip", meta={"rows": "stairs"},
    )  # fmt: skip
    for group, rows in groups.items():
        figure.add_scatter(**_points(group, rows, (x, y, colour), colours))
    figure.add_scatter(**_ring(x, y))
    figure.update_xaxes(**style_axis(specs[0], numeric(finite, x)))
    figure.update_yaxes(**style_axis(specs[1], numeric(finite, y)))
    figure.update_xaxes(range=first_range(finite, specs[0]))
    figure.update_yaxes(range=first_range(finite, specs[1]))
    return themed(figure, 800)


def _points(
    group: str, rows: pd.DataFrame, names: tuple[str, str, str], colours: dict[str, Any]
) -> dict[str, Any]:
    """The scatter trace of one group of designs."""
    x, y, colour = names
    # One colour bar, at the front's points; at the others' when nothing is on the front.
    scaled = "front" if colours["front"] else "behind"
    colours = {name: value for name, value in colours.items() if name != "front"}
    looks: dict[str, tuple[str, dict[str, Any]]] = {
        "ruled_out": ("ruled out", {"size": 5, "symbol": "x-thin-open", "color": MUTED,
                                    "opacity": 0.55}),
        "behind": ("simulated", {"size": 6, "opacity": 0.75}),
        "front": ("Pareto front", {"size": 10, "line": {"width": 1.2, "color": MUTED}}),
        "reference": ("reference", {"size": 13, "symbol": "diamond", "color": PALETTE[3]}),
        "knee": ("recommended", {"size": 20, "symbol": "star-open", "color": ACCENT,
                                 "line": {"width": 2}}),
    }  # fmt: skip
    label, marker = looks[group]
    meta: dict[str, Any] = {"rows": group, "x": x, "y": y}
    if group in ("behind", "front"):
        shown = colours["color"].reindex(rows.index)
        marker = {**colours, **marker, "color": shown, "showscale": group == scaled}
        meta["colour"] = colour
    trace: dict[str, Any] = {
        "name": label, "mode": "markers", "marker": marker, "x": numeric(rows, x),
        "y": numeric(rows, y), "customdata": rows["trial"], "hovertext": hover_text(rows),
        "hovertemplate": "%{hovertext}<extra></extra>", "meta": meta, **FADED,
    }  # fmt: skip
    if group == "reference":
        trace |= {"mode": "markers+text", "texttemplate": "%{text}", "textposition": "top center",
                  "text": rows["reference_name"].map(plain),
                  "textfont": {"shadow": "auto", "weight": 600}}  # fmt: skip
    if group in ("front", "reference"):
        trace |= {f"error_{axis}": error_bars(rows, column(name))
                  for axis, name in (("x", x), ("y", y))}  # fmt: skip
    return trace


#: What a selection leaves out stays in sight, faintly.
FADED: dict[str, Any] = {"unselected": {"marker": {"opacity": 0.1}}}


def _ring(x: str, y: str) -> dict[str, Any]:
    """The trace that rings the design a reader selects on a page; empty until then."""
    return {
        "name": "selected", "mode": "markers", "visible": False, "hoverinfo": "skip",
        "x": [], "y": [], "unselected": {"marker": {"opacity": 1}},
        "marker": {"symbol": "circle-open", "size": 24, "color": ACCENT, "line": {"width": 3}},
        "meta": {"rows": "selected", "x": x, "y": y},
    }  # fmt: skip


def first_range(candidates: pd.DataFrame, spec: Column) -> list[float] | None:
    """Ends of a loss axis on the first view; None where all designs have room on it.

    A few designs of very large loss would press all others against zero, so the view ends where
    the recommended design and the references still have room.
    """
    if spec.name != "delta_loss_nats":
        return None
    candidates = with_marks(candidates)
    loss = numeric(candidates, spec.name)
    simulated = candidates["state"].isin(["complete", "reference"]) & np.isfinite(loss)
    low, high = float(loss[simulated].min()), float(loss[simulated].max())
    kept = loss[simulated & ((candidates["state"] == "reference") | candidates["is_knee"])]
    end = ROOM * float(kept.max()) if len(kept) else high
    if not low < end < high / ROOM:
        return least_range(loss[simulated])
    return [min(low, 0.0) - 0.05 * end, end]


def least_range(losses: pd.Series) -> list[float] | None:
    """Ends of an axis for losses that differ by nothing, so that it does not magnify them."""
    low, high = float(losses.min()), float(losses.max())
    if not high - low < LEAST_SPAN:
        return None
    return [(low + high) / 2 - LEAST_SPAN, (low + high) / 2 + LEAST_SPAN]


def error_columns(table: pd.DataFrame, spec: Column) -> list[str]:
    """The column of a column's standard error; where there is none, those of its two ends."""
    if spec.stderr:
        return [spec.stderr] if spec.stderr in table.columns else []
    ends = [f"{spec.name}_{end}" for end in ("low", "high")]
    return ends if all(numeric(table, end).notna().any() for end in ends) else []


def error_bars(rows: pd.DataFrame, spec: Column) -> dict[str, Any]:
    """One standard error either side; where the table has none but a low and a high, those."""
    look = {"color": ERROR, "thickness": 1.2, "width": 3}
    columns = [numeric(rows, name) for name in error_columns(rows, spec)]
    if not columns:
        return {"visible": False, **look}
    if len(columns) == 1:
        return {"type": "data", "array": columns[0], "visible": True, **look}
    value, (low, high) = numeric(rows, spec.name), columns
    return {"type": "data", "array": high - value, "arrayminus": value - low,
            "visible": True, **look}  # fmt: skip


def hover_text(rows: pd.DataFrame) -> list[str]:
    """What the pointer shows over each design: its parameters and every result, escaped."""
    texts = []
    for _, row in rows.iterrows():
        lines = [f"<b>design {plain(row['trial'])}</b>"]
        lines += [
            f"{plain(column(name).label)}: {plain(show(row, name))}"
            for name in HOVER
            if name in rows.columns and not (name == "reason" and pd.isna(row[name]))
        ]
        texts.append("<br>".join(lines))
    return texts


def staircase(rows: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """The designs that no other beats in columns ``x`` and ``y``, from the best ``x`` on.

    Joined horizontal-then-vertical in this order, they bound what the designs reach.
    """
    sign_x = -1.0 if column(x).better == "higher" else 1.0
    sign_y = -1.0 if column(y).better == "higher" else 1.0
    order = pd.DataFrame({"x": sign_x * numeric(rows, x), "y": sign_y * numeric(rows, y)})
    order = order.dropna().sort_values(["x", "y"])
    best_before = order["y"].cummin().shift(fill_value=np.inf)
    return rows.loc[order.index[order["y"] < best_before]]


def accuracy_against_digital_share(
    candidates: pd.DataFrame, accuracy: str = "delta_loss_nats"
) -> go.Figure:
    """Simulated accuracy of each design against its share of digital experts, per score."""
    candidates = with_marks(candidates)
    spec = column(accuracy)
    rows = candidates[
        (candidates["state"] == "complete")
        & np.isfinite(numeric(candidates, accuracy))
        & np.isfinite(numeric(candidates, "digital_expert_fraction"))
    ]
    if rows.empty or "placement_score" not in rows.columns:
        return empty_figure("No simulated design has a share of digital experts.")
    figure = go.Figure()
    for score, mask in score_groups(rows).items():
        chosen = rows[mask]
        colour, symbol = score_look(score)
        figure.add_scatter(
            x=numeric(chosen, "digital_expert_fraction"), y=numeric(chosen, accuracy),
            error_y=error_bars(chosen, spec) | {"color": colour, "width": 2, "thickness": 1},
            mode="markers", name=plain(term(score)), customdata=chosen["trial"],
            marker={"color": colour, "symbol": symbol, "size": 7},
            hovertext=hover_text(chosen), hovertemplate="%{hovertext}<extra></extra>",
            meta={"rows": f"score:{score}", "x": "digital_expert_fraction", "y": accuracy}, **FADED,
        )  # fmt: skip
    figure.add_scatter(**_ring("digital_expert_fraction", accuracy))
    figure.update_xaxes(**style_axis(column("digital_expert_fraction")))
    figure.update_xaxes(title_text="Routed experts computed digitally (%)", range=[-0.04, 1.04])
    figure.update_yaxes(**style_axis(spec))
    shown = first_range(candidates, spec) or least_range(numeric(rows, spec.name))
    figure.update_yaxes(range=shown if spec.name == "delta_loss_nats" else None)
    return themed(figure, 440)
