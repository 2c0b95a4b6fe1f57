"""Where it goes: energy, latency and area of a design, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import TOTALS, breakdown_columns, plain, si, term
from reports.figures.theme import PALETTE, empty_figure, style_axis, themed
from reports.run_folder import with_marks

#: Which system a component or module belongs to, for the middle ring of the drill-down. Parts are
#: matched by the longest prefix; what matches none stands directly under the total.
GROUPS = {
    "analog": "analog tiles", "tile": "analog tiles", "adc": "analog tiles", "dac": "analog tiles",
    "cell": "analog tiles", "array": "analog tiles",
    "digital": "digital accelerator", "mac": "digital accelerator", "sram": "digital accelerator",
    "accelerator": "digital accelerator", "hbm": "memory", "dram": "memory", "memory": "memory",
    "weight": "memory", "kv": "memory", "link": "links", "static": "static power",
    "attention": "attention", "query": "attention", "key": "attention", "value": "attention",
    "output": "attention", "expert": "routed experts", "routed": "routed experts",
    "shared": "shared experts", "ffn": "dense FFN", "dense": "dense FFN", "router": "router",
}  # fmt: skip

#: The stages of a decoder in the order of a token's way.
STAGES = (
    "embedding", "attention", "router", "shared_expert", "shared_experts", "routed_expert",
    "routed_experts", "dense_ffn", "overhead", "static", "lm_head",
)  # fmt: skip


def breakdown_icicle(
    candidates: pd.DataFrame, trial: Any, quantity: str = "energy", by: str = "component"
) -> go.Figure:
    """One design's energy, latency or area as a drill-down: total, system, then each part.

    Click a part to enlarge it. ``quantity`` is "energy", "latency" or "area", ``by`` is
    "component" or "module".
    """
    row = design(candidates, trial)
    parts = breakdown_columns(candidates, quantity, by)
    if not parts:
        return empty_figure(f"This run holds no {quantity} by {by}.")
    nodes = tree(parts)
    values = [sum(_value(row, name) for name in node["columns"]) for node in nodes]
    total = TOTALS[quantity]
    figure = go.Figure(
        go.Icicle(
            ids=[node["id"] for node in nodes], labels=[plain(node["label"]) for node in nodes],
            parents=[node["parent"] for node in nodes], values=values, branchvalues="total",
            text=[si(value, total.unit) for value in values],
            textinfo="label+text+percent root", tiling={"orientation": "h"},
            hovertemplate="%{label}<br>%{text}<br>%{percentRoot:.1%} of the total<extra></extra>",
            marker={"colors": [_colour(nodes, node) for node in nodes],
                    "line": {"width": 1, "color": "rgba(255,255,255,0.6)"}},
            root={"color": "#8c8c8c"}, leaf={"opacity": 1.0},
            meta={"columns": [node["columns"] for node in nodes], "unit": total.unit},
        )
    )  # fmt: skip
    themed(figure, 420)
    return figure.update_layout(
        margin={"l": 8, "r": 8, "t": 8, "b": 8}, uniformtext={"minsize": 10, "mode": "hide"}
    )


def tree(parts: dict[str, str]) -> list[dict[str, Any]]:
    """Nodes of the drill-down, root first: id, label, parent and the columns that add up to it."""
    groups: dict[str, list[str]] = {}
    for part in parts:
        groups.setdefault(_group(part), []).append(part)
    nodes = [{"id": "total", "label": "total", "parent": "", "columns": list(parts.values())}]
    for group, members in groups.items():
        # A group of one part would only repeat that part.
        inner = bool(group) and len(members) > 1
        if inner:
            nodes.append({"id": f"group:{group}", "label": group, "parent": "total",
                          "columns": [parts[part] for part in members]})  # fmt: skip
        for part in members:
            nodes.append({"id": part, "label": term(part), "columns": [parts[part]],
                          "parent": f"group:{group}" if inner else "total"})  # fmt: skip
    return nodes


def breakdown_bars(
    candidates: pd.DataFrame,
    trials: Sequence[Any],
    quantity: str = "energy",
    by: str = "component",
) -> go.Figure:
    """Several designs side by side, each a bar stacked from its parts.

    ``trials`` names the designs: trial numbers, or names of reference designs.
    """
    parts = breakdown_columns(candidates, quantity, by)
    rows = [design(candidates, trial) for trial in trials]
    if not parts or not rows:
        return empty_figure(f"This run holds no {quantity} by {by}.")
    names = [plain(name_of(row)).replace(", ", ",<br>") for row in rows]
    figure = go.Figure()
    unit = TOTALS[quantity].unit
    for index, (part, source) in enumerate(parts.items()):
        values = [_value(row, source, missing=np.nan) for row in rows]
        figure.add_bar(
            y=names, x=values, orientation="h", name=plain(term(part)),
            marker={"color": PALETTE[index % len(PALETTE)],
                    "pattern": {"shape": ("", "/", ".")[index // len(PALETTE) % 3]}},
            hovertemplate=f"{plain(term(part))}: %{{x:.3s}}{unit}<extra>%{{y}}</extra>",
            meta={"column": source},
        )  # fmt: skip
    axis = style_axis(TOTALS[quantity]) | {"type": "linear", "dtick": None}
    figure.update_xaxes(**axis, rangemode="tozero")
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(barmode="stack", legend={"traceorder": "normal"})
    return themed(figure, 440)


def decode_timeline(candidates: pd.DataFrame, trial: Any) -> go.Figure:
    """One token's way through a design: each stage starts where the one before it ends."""
    parts = in_order(breakdown_columns(candidates, "latency", "module"))
    row = design(candidates, trial)
    if not parts:
        return empty_figure("This run holds no latency by module.")
    lengths = [_value(row, source) for source in parts.values()]
    starts = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    total = sum(lengths)
    unit = TOTALS["latency"].unit
    figure = go.Figure(
        go.Bar(
            y=[plain(term(part)) for part in parts], x=lengths, base=starts, orientation="h",
            marker={"color": PALETTE[0]}, textposition="auto", cliponaxis=False,
            text=[f"{si(x, 's')} ({x / total:.0%})" if total > 0 else "" for x in lengths],
            hovertemplate="%{y}<br>starts at %{base:.3s}s<br>%{text}<extra></extra>",
            meta={"timeline": list(parts.values()), "unit": unit},
        )
    )  # fmt: skip
    # Room at the right for the text of the last stage.
    figure.update_xaxes(range=[0, 1.12 * total] if total > 0 else None)
    figure.update_xaxes(title_text="Time within the step (s/token)", tickformat="~s")
    figure.update_yaxes(autorange="reversed")
    return themed(figure, max(240, 34 * len(parts) + 90))


def in_order(parts: dict[str, str]) -> dict[str, str]:
    """Stages in the order in which a token passes them; unknown ones after the experts."""
    place = {part: index for index, part in enumerate(STAGES)}
    unknown = place["dense_ffn"]
    return dict(sorted(parts.items(), key=lambda item: place.get(item[0], unknown)))


def design(candidates: pd.DataFrame, trial: Any) -> pd.Series:
    """The row of a trial number or of a reference's name; ValueError when there is none."""
    candidates = with_marks(candidates)
    for name in ("reference_name", "trial"):
        if name in candidates.columns:
            found = candidates[(candidates[name] == trial).fillna(False)]
            if len(found):
                return found.iloc[0]
    raise ValueError(f"no design {trial!r} in this run")


def _value(row: pd.Series, name: str, missing: float = 0.0) -> float:
    value = row.get(name)
    return missing if value is None or pd.isna(value) else float(value)


def name_of(row: pd.Series) -> str:
    """A reference by its name, a design by its trial."""
    reference = row.get("reference_name")
    return str(reference) if not pd.isna(reference) else f"design {row['trial']}"


def _group(part: str) -> str:
    matching = [prefix for prefix in GROUPS if part.startswith(prefix)]
    return GROUPS[max(matching, key=len)] if matching else ""


def _colour(nodes: list[dict[str, Any]], node: dict[str, Any]) -> str:
    """Root grey; every top-level branch its own colour, its parts the same."""
    if not node["parent"]:
        return "#8c8c8c"
    branches = [other["id"] for other in nodes if other["parent"] == "total"]
    branch = node["id"] if node["parent"] == "total" else node["parent"]
    return PALETTE[branches.index(branch) % len(PALETTE)]
