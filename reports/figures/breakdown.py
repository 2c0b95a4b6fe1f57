"""Where it goes: energy, latency and area of a design as a drill-down and side by side.

Both figures are drawn from the same leaves, so that a part has one colour and one name in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from reports.columns import TOTALS, breakdown_columns, column, in_unit, plain, show, term
from reports.figures.theme import PALETTE, empty_figure, numeric, style_axis, themed
from reports.run_folder import design, name_of

NOT_KEPT = "Layers are kept for designs on the front and for the references."
#: Nodes of several parts; the total takes the ground, on which its text is set.
BRANCH, GROUND = "#b9c0c9", "rgba(0,0,0,0)"

#: Which system a component or module belongs to, for the middle ring of the drill-down. Parts are
#: matched by the longest prefix; what matches none stands directly under the total.
GROUPS = {
    "analog": "analog tiles", "tile": "analog tiles", "adc": "analog tiles", "dac": "analog tiles",
    "cell": "analog tiles", "array": "analog tiles",
    "digital": "digital accelerator", "mac": "digital accelerator", "sram": "digital accelerator",
    "accelerator": "digital accelerator", "hbm": "memory", "dram": "memory", "memory": "memory",
    "weight": "memory", "kv": "memory", "link": "links", "static": "static power",
    "query": "attention", "key": "attention", "value": "attention", "output": "attention",
}  # fmt: skip

#: Parts keep their colour in every figure; others take what is left of the palette, in turn.
COLOURS = {
    "attention": "#0072B2", "routed_expert": "#E69F00", "analog_experts": "#E69F00",
    "digital_experts": "#D55E00", "shared_expert": "#56B4E9", "dense_ffn": "#009E73",
    "lm_head": "#CC79A7", "router": "#F0E442", "mamba": "#004a78", "embedding": "#5e6b78",
    "static": "#9aa3ad", "empty_tiers": "#d9d2c5", "overhead": "#5e6b78",
    "digital_accelerator": "#7d8ea3", "link": "#5e6b78",
    "kv_cache": "#0072B2", "weight_memory": "#56B4E9", "mac": "#D55E00", "sram": "#CC79A7",
    "tile_adc": "#E69F00", "tile_array": "#009E73", "tile_cells": "#009E73",
    "tile_input": "#F0E442", "tile_drivers": "#F0E442", "tile_digital": "#8a6d00",
    "tile_control": "#c9b48a", "tile_tiers": "#4d7c5f", "accelerator_mac": "#D55E00",
    "accelerator_sram": "#CC79A7", "accelerator_hbm_phy": "#56B4E9",
}  # fmt: skip


@dataclass(frozen=True)
class Leaf:
    """One part of a design's total: its place under the total, what it counts as, its value."""

    path: tuple[str, ...]
    part: str
    value: float


def colour_of(part: str, index: int = 0) -> str:
    """The colour of a part in every figure; ``index`` places one that has none of its own."""
    return COLOURS.get(part, PALETTE[index % len(PALETTE)])


def part_paths(candidates: pd.DataFrame, quantity: str, by: str) -> dict[str, tuple[str, ...]]:
    """Place of each component or module under the total, by the name of its column."""
    parts = breakdown_columns(candidates, quantity, by)
    groups = {part: _group(part) if by == "component" else "" for part in parts}
    # A group of one part would only repeat that part.
    many = {group for group in groups.values() if list(groups.values()).count(group) > 1} - {""}
    return {
        source: (groups[part], term(part)) if groups[part] in many else (term(part),)
        for part, source in parts.items()
    }


def leaves(
    candidates: pd.DataFrame,
    trial: Any,
    quantity: str = "energy",
    by: str = "component",
    layers: pd.DataFrame | None = None,
) -> list[Leaf]:
    """What a design's total is made of; ``by`` "layer" reads the table of ``layers``."""
    row = design(candidates, trial)
    if by == "layer":
        own = None if layers is None else layers[layers["trial"] == row["trial"]]
        return [] if own is None else _layer_leaves(drill_table(own, candidates), row, quantity)
    parts = breakdown_columns(candidates, quantity, by)
    paths = part_paths(candidates, quantity, by)
    return [
        Leaf(paths[source], part, float(row[source]))
        for part, source in parts.items()
        if not pd.isna(row[source]) and row[source] > 0
    ]


def drill_table(layers: pd.DataFrame, candidates: pd.DataFrame) -> pd.DataFrame:
    """The table of layers with what belongs to none, and with each row's place in words.

    Added are static power, the accelerator and the links, and tiers without weights. ``stretch``
    names the layers (or what a row is instead); ``begin_s`` is when its first stage begins.
    """
    if layers.empty or "stretch" in layers.columns:
        return layers
    layers = layers.sort_values(["trial", "first_layer"], kind="stable").reset_index(drop=True)
    last = layers.groupby("trial")["last_layer"].transform("max") - 1
    named = [stretch_name(*map(int, ends)) for ends in
             zip(layers["first_layer"], layers["last_layer"], last, strict=True)]  # fmt: skip
    places = layers.drop_duplicates(["trial", "first_layer"])
    length = places["layer_s"] * (places["last_layer"] - places["first_layer"] + 1)
    begin = length.groupby(places["trial"]).cumsum() - length
    key = pd.MultiIndex.from_frame(layers[["trial", "first_layer"]])
    begin.index = pd.MultiIndex.from_frame(places[["trial", "first_layer"]])
    layers = layers.assign(stretch=named, begin_s=begin.reindex(key).to_numpy() + layers["start_s"])
    own = candidates[candidates["trial"].isin(layers["trial"])]
    return pd.concat([layers, *_outside_layers(layers, own)], ignore_index=True)


def _outside_layers(layers: pd.DataFrame, own: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows of what no layer has to itself, one a design and kind."""
    area = {f"area_{part}_mm2": source
            for part, source in breakdown_columns(own, "area", "component").items()}  # fmt: skip
    tiers = {name: source for name, source in area.items() if name in layers.columns}
    links = {name: source for name, source in area.items() if name == "area_link_mm2"}
    rest = {name: source for name, source in area.items() if name not in {**tiers, **links}}
    static = {"energy_static_j_per_token": "energy_module_static_j_per_token"}
    groups = {"static": static if set(static.values()) <= set(own.columns) else {}}
    if any(str(name).startswith("area_") for name in layers.columns):
        groups |= {"link": links, "digital_accelerator": rest, "empty_tiers": tiers}
    made = []
    for module, columns in groups.items():
        rows = pd.DataFrame({n: own[source].to_numpy(dtype=float) for n, source in columns.items()})
        if module == "empty_tiers":
            used = layers.groupby("trial")[list(columns)].sum().reindex(own["trial"]).to_numpy()
            # What rounding leaves of a full machine is nothing.
            rows = (rows - used).where(rows - used > 1e-9 * rows, 0.0)
        made.append(rows.assign(trial=own["trial"].to_numpy(), module=module, stretch=term(module)))
    return [rows for rows in made if len(rows.columns) > 3]


def _layer_leaves(table: pd.DataFrame, row: pd.Series, quantity: str) -> list[Leaf]:
    if table.empty:
        return []
    own, columns = table[table["trial"] == row["trial"]], layer_columns(table, quantity)
    return [
        Leaf(layer_path(str(stage["stretch"]), str(stage["module"]), part), str(stage["module"]),
             float(stage[source]))
        for _, stage in own.iterrows()
        for part, source in columns.items()
        if stage[source] > 0
    ]  # fmt: skip


def layer_columns(table: pd.DataFrame, quantity: str) -> dict[str, str]:
    """Columns of a table of layers that hold a quantity, by component."""
    ending = {"energy": "_j_per_token", "latency": "_s_per_token", "area": "_mm2"}[quantity]
    names = [str(n) for n in table.columns if str(n).startswith(f"{quantity}_")]
    return {n[len(quantity) + 1 : -len(ending)]: n for n in names if n.endswith(ending)}


def layer_path(stretch: str, module: str, part: str) -> tuple[str, ...]:
    """Place under the total: layers, module, component; nothing twice."""
    return tuple(dict.fromkeys((stretch, term(module), term(part))))


def stretch_name(first: int, last: int, last_layer: int) -> str:
    """A stretch of layers in words; before and after them stand embedding and LM head."""
    if last < 0:
        return "embedding"
    if first > last_layer:
        return "after the layers"
    return f"layer {first}" if first == last else f"layers {first} to {last}"


def breakdown_icicle(
    candidates: pd.DataFrame,
    trial: Any,
    quantity: str = "energy",
    by: str = "component",
    layers: pd.DataFrame | None = None,
) -> go.Figure:
    """One design's energy, latency or area: the total, then part by part.

    Click a part to enlarge it. ``quantity`` is "energy", "latency" or "area"; ``by`` is
    "component", "module", or, with the table of ``layers``, "layer": layers, modules, components.
    """
    if by != "layer" and not breakdown_columns(candidates, quantity, by):
        return empty_figure(f"This run holds no {quantity} by {by}.")
    found = leaves(candidates, trial, quantity, by, layers)
    if not found:
        return empty_figure(NOT_KEPT if by == "layer" else f"No {quantity} by {by} of this design.")
    nodes, spec = tree(found), TOTALS[quantity]
    figure = go.Figure(
        go.Icicle(
            ids=list(nodes), labels=[plain(node["label"]) for node in nodes.values()],
            parents=[node["parent"] for node in nodes.values()],
            values=[node["value"] for node in nodes.values()], branchvalues="total",
            text=[show(pd.Series({spec.name: n["value"]}), spec.name) for n in nodes.values()],
            textinfo="label+text+percent root", tiling={"orientation": "h"},
            hovertemplate="%{label}<br>%{text}<br>%{percentRoot:.1%} of the total<extra></extra>",
            marker={"colors": [node["colour"] for node in nodes.values()],
                    "line": {"width": 1, "color": "rgba(255,255,255,0.6)"}},
            leaf={"opacity": 1.0},
            meta={"drill": f"{quantity}:{by}"},
        )
    )  # fmt: skip
    themed(figure, 460)
    return figure.update_layout(
        margin={"l": 8, "r": 8, "t": 8, "b": 8}, uniformtext={"minsize": 10, "mode": "hide"}
    )


def tree(found: Sequence[Leaf]) -> dict[str, dict[str, Any]]:
    """Nodes of the drill-down by id, root first: label, parent, colour and value."""
    parts = list(dict.fromkeys(leaf.part for leaf in found))
    nodes: dict[str, dict[str, Any]] = {}
    for leaf in found:
        path = ("total", *leaf.path)
        for depth in range(len(path)):
            place, parent = "/".join(path[: depth + 1]), "/".join(path[:depth])
            new = {"label": path[depth], "parent": parent, "value": 0.0, "parts": set()}
            node = nodes.setdefault(place, new)
            node["value"] += leaf.value
            node["parts"].add(leaf.part)
    for node in nodes.values():
        one = node.pop("parts")
        part = next(iter(one)) if len(one) == 1 else ""
        node["colour"] = colour_of(part, parts.index(part)) if part else BRANCH
    if nodes:
        nodes["total"]["colour"] = GROUND
    return nodes


def breakdown_bars(
    candidates: pd.DataFrame,
    trials: Sequence[Any],
    quantity: str = "energy",
    by: str = "component",
    layers: pd.DataFrame | None = None,
) -> go.Figure:
    """Several designs side by side, each a bar stacked from its parts (by layer: its modules).

    ``trials`` names the designs: trial numbers, or names of reference designs.
    """
    found = [leaves(candidates, trial, quantity, by, layers) for trial in trials]
    names = [plain(name_of(design(candidates, trial))) for trial in trials]
    parts = part_names(candidates, quantity, by, layers)
    if not parts or not trials:
        return empty_figure(f"This run holds no {quantity} by {by}.")
    figure, spec = go.Figure(), column(TOTALS[quantity].name)
    totals = numeric(candidates, spec.name)
    factor, unit = in_unit(totals, spec)
    for index, part in enumerate(parts):
        sums = [sum(leaf.value for leaf in own if leaf.part == part) for own in found]
        figure.add_bar(
            y=names, x=[factor * value for value in sums], orientation="h", name=plain(term(part)),
            marker={"color": colour_of(part, index)},
            hovertemplate=f"{plain(term(part))}: %{{x:.3~g}} {unit}<extra>%{{y}}</extra>",
            meta={"part": part, "drill": f"{quantity}:{by}"},
        )  # fmt: skip
    figure.update_xaxes(**style_axis(replace(spec, log=False), totals), rangemode="tozero")
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(barmode="stack", legend={"traceorder": "normal"})
    return themed(figure, 460)


def part_names(
    candidates: pd.DataFrame, quantity: str, by: str, layers: pd.DataFrame | None = None
) -> list[str]:
    """Parts that any design has, in the order of the table."""
    if by != "layer":
        return list(breakdown_columns(candidates, quantity, by))
    if layers is None or layers.empty:
        return []
    table = drill_table(layers, candidates)
    columns = list(layer_columns(table, quantity).values())
    used = table[(table[columns] > 0).any(axis=1)] if columns else table[:0]
    return list(dict.fromkeys(used["module"].astype(str)))


def _group(part: str) -> str:
    matching = [prefix for prefix in GROUPS if part.startswith(prefix)]
    return GROUPS[max(matching, key=len)] if matching else ""
