"""The trade: what a design costs against what it gives, one point a design."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import HOVER, Column, column, plain, show, term
from reports.figures.theme import (
    ACCENT,
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
    candidates = with_marks(candidates)
    specs = column(x), column(y), column(colour)
    figure = go.Figure()
    finite = candidates[np.isfinite(numeric(candidates, x)) & np.isfinite(numeric(candidates, y))]
    searched = finite[finite["state"] == "complete"]
    colours = colour_scale(numeric(searched, colour), specs[2])
    colours["front"] = bool(searched["on_front"].any())
    groups = {
        "ruled_out": finite[finite["state"].isin(["ruled_out", "failed"])],
        "behind": searched[~searched["on_front"]],
        "front": searched[searched["on_front"]],
        "reference": finite[finite["state"] == "reference"],
        "knee": searched[searched["is_knee"]],
    }
    stairs = staircase(searched, x, y)
    figure.add_scatter(
        x=numeric(stairs, x), y=numeric(stairs, y), mode="lines", name="front in these two",
        line={"color": MUTED, "width": 1.5, "shape": "hv"},
        hoverinfo="skip", meta={"rows": "stairs"},
    )  # fmt: skip
    for group, rows in groups.items():
        figure.add_scatter(**_points(group, rows, (x, y, colour), colours))
    figure.update_xaxes(**style_axis(specs[0], numeric(finite, x)))
    figure.update_yaxes(**style_axis(specs[1], numeric(finite, y)))
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
        "reference": ("reference", {"size": 12, "symbol": "diamond", "color": PALETTE[2]}),
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
        "y": numeric(rows, y), "customdata": rows["trial"], "text": hover_text(rows),
        "hovertemplate": "%{text}<extra></extra>", "meta": meta,
    }  # fmt: skip
    if group == "reference":
        trace |= {"mode": "markers+text", "texttemplate": "%{customdata}",
                  "textposition": "top center",
                  "customdata": rows["reference_name"].map(plain)}  # fmt: skip
    if group in ("front", "reference"):
        meta["error"] = True
        trace |= {f"error_{axis}": error_bars(rows, column(name))
                  for axis, name in (("x", x), ("y", y))}  # fmt: skip
    return trace


def error_bars(rows: pd.DataFrame, spec: Column) -> dict[str, Any]:
    """One standard error either side; where the table has none but a low and a high, those."""
    look = {"color": MUTED, "thickness": 1.2, "width": 3}
    if spec.stderr and spec.stderr in rows.columns:
        return {"type": "data", "array": numeric(rows, spec.stderr), "visible": True, **look}
    low, high = numeric(rows, f"{spec.name}_low"), numeric(rows, f"{spec.name}_high")
    if low.notna().any() and high.notna().any():
        value = numeric(rows, spec.name)
        return {"type": "data", "array": high - value, "arrayminus": value - low,
                "visible": True, **look}  # fmt: skip
    return {"visible": False}


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
    scores = rows["placement_score"].astype("string").fillna("none given")
    for score in sorted(scores.unique()):
        chosen = rows[scores == score]
        colour, symbol = score_look(str(score))
        figure.add_scatter(
            x=numeric(chosen, "digital_expert_fraction"), y=numeric(chosen, accuracy),
            error_y=error_bars(chosen, spec) | {"color": colour, "width": 2, "thickness": 1},
            mode="markers", name=plain(term(str(score))), customdata=chosen["trial"],
            marker={"color": colour, "symbol": symbol, "size": 7},
            text=hover_text(chosen), hovertemplate="%{text}<extra></extra>",
            meta={"rows": f"score:{score}", "x": "digital_expert_fraction", "y": accuracy,
                  "error": True},
        )  # fmt: skip
    figure.update_xaxes(**style_axis(column("digital_expert_fraction")))
    figure.update_xaxes(title_text="Routed experts computed digitally (%)")
    figure.update_yaxes(**style_axis(spec))
    return themed(figure, 440)
