"""One step of a design over its layers: which stage waits for which, and what each spends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import plain, si, term
from reports.figures.breakdown import design
from reports.figures.theme import MUTED, PALETTE, empty_figure, themed

#: Where the two resources of a layer stand in its row, and the height of their bars.
OFFSETS = {"accelerator": -0.21, "tiles": 0.21}
THICKNESS = 0.4
#: How many following steps are drawn behind the first.
FOLLOWING = 3
ROOT, STRETCH = "#8c8c8c", "#b9c0c9"
NOT_KEPT = "Layers are kept for designs on the front and for the references."
_ENERGY, _UNIT = "energy_", "_j_per_token"


def modules(layers: pd.DataFrame) -> list[str]:
    """Modules of a table of layers, in the order of a token's way."""
    return list(dict.fromkeys(layers["module"].astype(str))) if len(layers) else []


def look(layers: pd.DataFrame) -> dict[str, str]:
    """Colour of each module: the same in the timeline and in the drill-down."""
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(modules(layers))}


def layer_terms(layers: pd.DataFrame) -> dict[str, str]:
    """Field terms of the modules and components in a table of layers."""
    parts = [str(n)[len(_ENERGY) : -len(_UNIT)] for n in layers.columns if _is_energy(n)]
    return {name: term(name) for name in (*modules(layers), *parts)}


def _is_energy(name: object) -> bool:
    return str(name).startswith(_ENERGY) and str(name).endswith(_UNIT)


def step_bars(layers: pd.DataFrame, trial: int) -> pd.DataFrame:
    """One row a stage of every layer of a design: module, resource, layer, start and length (s)."""
    rows: list[dict[str, Any]] = []
    now = 0.0
    own = layers[layers["trial"] == trial]
    for _, stretch in own.groupby("first_layer", sort=True):
        first, last = int(stretch["first_layer"].iloc[0]), int(stretch["last_layer"].iloc[0])
        for layer in range(first, last + 1):
            rows += [
                {"module": row["module"], "resource": row["resource"], "layer": layer,
                 "start_s": now + row["start_s"], "busy_s": row["busy_s"]}
                for _, row in stretch.iterrows()
            ]  # fmt: skip
            now += float(stretch["layer_s"].iloc[0])
    columns = ["module", "resource", "layer", "start_s", "busy_s"]
    return pd.DataFrame(rows, columns=columns)


def step_timeline(layers: pd.DataFrame, trial: int, interval_s: float | None = None) -> go.Figure:
    """Every layer of one step: above what the accelerator does, below what the layer's tiles do.

    With ``interval_s``, the time after which the next step can enter, the following steps stand
    behind in grey: layers hold their weights, so that steps follow one another through them.
    """
    if layers.empty:
        return empty_figure("This run holds no table of layers.")
    bars = step_bars(layers, trial)
    if bars.empty:
        return empty_figure(NOT_KEPT)
    colours = look(layers)
    place = bars["layer"] + bars["resource"].map(OFFSETS)
    figure = go.Figure()
    later = [k * (interval_s or 0.0) for k in range(1, FOLLOWING + 1)] if interval_s else []
    figure.add_bar(
        y=np.concatenate([place] * len(later)) if later else [],
        x=np.concatenate([bars["busy_s"]] * len(later)) if later else [],
        base=np.concatenate([bars["start_s"] + shift for shift in later]) if later else [],
        orientation="h", width=THICKNESS, name="following steps", hoverinfo="skip",
        marker={"color": MUTED, "opacity": 0.35}, meta={"stage": "next"},
    )  # fmt: skip
    for name, colour in colours.items():
        own = bars[bars["module"] == name]
        figure.add_bar(
            y=place[own.index], x=own["busy_s"], base=own["start_s"], orientation="h",
            width=THICKNESS, name=plain(term(name)), marker={"color": colour},
            customdata=own["resource"], meta={"stage": name},
            hovertemplate=f"{plain(term(name))} on %{{customdata}}<br>from %{{base:.3s}}s for "
            "%{x:.3s}s<extra></extra>",
        )  # fmt: skip
    figure.update_layout(barmode="overlay", legend={"traceorder": "normal"})
    figure.update_xaxes(title_text="Time since the step entered (s)", tickformat="~s")
    figure.update_yaxes(title_text="Layer (after the last: LM head)", autorange="reversed",
                        zeroline=False)  # fmt: skip
    return themed(figure, 560)


def layer_icicle(layers: pd.DataFrame, candidates: pd.DataFrame, trial: int) -> go.Figure:
    """Energy of one design as a drill-down: system, layers, modules, components."""
    if layers.empty:
        return empty_figure("This run holds no table of layers.")
    row = design(candidates, trial)
    nodes = layer_nodes(layers, row)
    colours = look(layers)
    if not nodes:
        return empty_figure(NOT_KEPT)
    values = [node["value"] for node in nodes]
    figure = go.Figure(
        go.Icicle(
            ids=[n["id"] for n in nodes], labels=[plain(n["label"]) for n in nodes],
            parents=[n["parent"] for n in nodes], values=values, branchvalues="total",
            text=[si(value, "J/token") for value in values], textinfo="label+text+percent root",
            tiling={"orientation": "h"}, root={"color": ROOT}, leaf={"opacity": 1.0},
            hovertemplate="%{label}<br>%{text}<br>%{percentRoot:.1%} of the total<extra></extra>",
            marker={"colors": [colours.get(n["module"], STRETCH if n["parent"] else ROOT)
                               for n in nodes],
                    "line": {"width": 1, "color": "rgba(255,255,255,0.6)"}},
            meta={"layers": colours, "unit": "J/token"},
        )
    )  # fmt: skip
    themed(figure, 420)
    return figure.update_layout(
        margin={"l": 8, "r": 8, "t": 8, "b": 8}, uniformtext={"minsize": 10, "mode": "hide"}
    )


def layer_nodes(layers: pd.DataFrame, row: pd.Series) -> list[dict[str, Any]]:
    """Nodes of the drill-down, root first: id, label, parent, module and energy (J/token)."""
    own = layers[layers["trial"] == row["trial"]]
    if own.empty:
        return []
    components = [str(n) for n in own.columns if _is_energy(n)]
    nodes: list[dict[str, Any]] = []
    static: Any = row.get("energy_module_static_j_per_token")
    if not pd.isna(static):
        nodes.append(_node("static", "static power", "total", "", float(static)))
    last_layer = int(own["last_layer"].max()) - 1
    for first, stretch in own.groupby("first_layer", sort=True):
        name = stretch_name(int(first), int(stretch["last_layer"].iloc[0]), last_layer)
        inner = []
        for _, stage in stretch.iterrows():
            module = str(stage["module"])
            parts = {n: float(stage[n]) for n in components if stage[n] > 0}
            place = f"{first}/{module}/{stage['resource']}"
            inner.append(_node(place, term(module), str(first), module, sum(parts.values())))
            inner += [
                _node(f"{place}/{n}", term(n[len(_ENERGY) : -len(_UNIT)]), place, module, value)
                for n, value in parts.items()
            ]
        total = sum(node["value"] for node in inner if node["parent"] == str(first))
        nodes += [_node(str(first), name, "total", "", total), *inner]
    total = sum(node["value"] for node in nodes if node["parent"] == "total")
    return [_node("total", "total", "", "", total), *(n for n in nodes if n["value"] > 0)]


def _node(place: str, label: str, parent: str, module: str, value: float) -> dict[str, Any]:
    return {"id": place, "label": label, "parent": parent, "module": module, "value": value}


def stretch_name(first: int, last: int, last_layer: int) -> str:
    """A stretch of layers in words; before and after them stand embedding and LM head."""
    if last < 0:
        return "embedding"
    if first > last_layer:
        return "after the layers"
    return f"layer {first}" if first == last else f"layers {first} to {last}"
