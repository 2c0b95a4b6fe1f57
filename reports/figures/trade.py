"""The trade: what a design costs against what it gives, one point a design."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import HOVER, Column, column, in_unit, plain, show, term
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
#: What decides are designs that lose at most this, or at most twice what the recommended one
#: loses; 1 point is 0.032 nats at the 31 points a nat of models of 62 to 66 % (OLMo ladder).
DECIDING_LOSS = {"full_points": 1.0, "full_loss_nats": 0.032, "delta_loss_nats": 0.032}
#: Room around the designs that decide, as a share of what they span.
MARGIN = 0.08
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
        "recommended": complete & candidates["is_recommended"],
    }


def score_groups(candidates: pd.DataFrame) -> dict[str, pd.Series]:
    """Simulated designs by the score that chose their digital experts, as masks over the table."""
    if "placement_score" not in candidates.columns:
        return {}
    scores = credited_scores(candidates)
    complete = candidates["state"] == "complete"
    return {str(score): complete & (scores == score) for score in sorted(scores[complete].unique())}


def credited_scores(candidates: pd.DataFrame) -> pd.Series:
    """The score that chose each design's digital experts; where all or none are, none did."""
    share = numeric(candidates, "digital_expert_fraction")
    scores = candidates["placement_score"].astype("string")
    return scores.mask(share.isin([0.0, 1.0])).fillna(NO_CHOICE)


def pareto_front(
    candidates: pd.DataFrame,
    x: str = "energy_j_per_token",
    y: str = "delta_loss_nats",
    colour: str = "throughput_tokens_per_s",
) -> go.Figure:
    """Every design in two objectives, a third as colour; first shown is the region that decides.

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
    factors = [in_unit(numeric(finite, spec.name), spec)[0] for spec in specs[:2]]
    figure.add_scatter(
        x=factors[0] * numeric(stairs, x), y=factors[1] * numeric(stairs, y), mode="lines",
        name="front in these two",
        line={"color": MUTED, "width": 1.5, "shape": "hv"},
        hoverinfo="skip", meta={"rows": "stairs"},
    )  # fmt: skip
    for group, rows in groups.items():
        figure.add_scatter(**_points(group, rows, (x, y, colour), colours, factors))
    figure.add_scatter(**_ring(x, y))
    figure.update_layout(xaxis=first_axis(finite, specs[0]), yaxis=first_axis(finite, specs[1]))
    return themed(figure, 760)


def _points(
    group: str,
    rows: pd.DataFrame,
    names: tuple[str, str, str],
    colours: dict[str, Any],
    factors: list[float],
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
        "recommended": ("recommended", {"size": 20, "symbol": "star-open", "color": ACCENT,
                                        "line": {"width": 2}}),
    }  # fmt: skip
    label, marker = looks[group]
    meta: dict[str, Any] = {"rows": group, "x": x, "y": y}
    if group in ("behind", "front"):
        shown = colours["color"].reindex(rows.index)
        marker = {**colours, **marker, "color": shown, "showscale": group == scaled}
        meta["colour"] = colour
    trace: dict[str, Any] = {
        "name": label, "mode": "markers", "marker": marker, "x": factors[0] * numeric(rows, x),
        "y": factors[1] * numeric(rows, y), "customdata": rows["trial"],
        "hovertext": hover_text(rows),
        "hovertemplate": "%{hovertext}<extra></extra>", "meta": meta, **FADED,
    }  # fmt: skip
    if group == "reference":
        trace |= {"mode": "markers+text", "textposition": "top center",
                  "text": rows["reference_name"].map(plain)}  # fmt: skip
    if group in ("front", "reference"):
        trace |= {f"error_{axis}": error_bars(rows, column(name), factor)
                  for axis, name, factor in zip("xy", (x, y), factors, strict=True)}  # fmt: skip
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


def deciding(candidates: pd.DataFrame) -> pd.Series:
    """Which designs decide: the recommended one, and of the front and the references that keep
    all limits those that lose little; a design that loses much would only take their room.
    """
    candidates = with_marks(candidates)
    fits = candidates["state"].isin(["complete", "reference"])
    if "reason" in candidates.columns:
        fits &= candidates["reason"].isna()
    recommended = candidates["is_recommended"]
    judged = fits & (candidates["on_front"] | (candidates["state"] == "reference"))
    for name, least in DECIDING_LOSS.items():
        lost = numeric(candidates, name) * (-1 if column(name).better == "higher" else 1)
        if lost.notna().any():
            judged &= lost <= max([least, *(2 * lost[recommended].dropna())])
            break
    return judged | recommended


def first_axis(candidates: pd.DataFrame, spec: Column, everything: bool = False) -> dict[str, Any]:
    """The axis of one column with the ends of its first view: where the designs that decide are.

    ``everything``: the axis that shows all designs.
    """
    values = numeric(candidates, spec.name)
    near = values[deciding(candidates) & np.isfinite(values)]
    if everything or len(near) < 2:
        return style_axis(spec, values) | {"range": None, "autorange": True}
    axis, factor = style_axis(spec, values, near), in_unit(values, spec)[0]
    ends = np.array([near.min(), near.max()]) * factor
    if axis["type"] == "log":
        ends = np.log10([near[near > 0].min() * factor, ends[1]])
    elif spec.stderr or spec.name in DECIDING_LOSS:
        if spec.better == "lower":
            ends[0] = min(ends[0], 0.0)
        if spec.unit.startswith("nats"):
            ends = np.array(least_range(near) or ends)
    room = MARGIN * (ends[1] - ends[0] or abs(ends[0]) or 1.0)
    return axis | {"range": [float(ends[0] - room), float(ends[1] + room)]}


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


def error_bars(rows: pd.DataFrame, spec: Column, factor: float = 1.0) -> dict[str, Any]:
    """One standard error either side; where the table has none but a low and a high, those.

    ``factor``: of the axis that they stand on.
    """
    look = {"color": ERROR, "thickness": 1.2, "width": 3}
    columns = [factor * numeric(rows, name) for name in error_columns(rows, spec)]
    if not columns:
        return {"visible": False, **look}
    if len(columns) == 1:
        return {"type": "data", "array": columns[0], "visible": True, **look}
    value, (low, high) = factor * numeric(rows, spec.name), columns
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
    figure.update_layout(yaxis=first_axis(candidates, spec))
    return themed(figure, 440)
