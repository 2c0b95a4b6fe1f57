"""The run as compact JSON for the page: each column once, figures without their data."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import COLUMNS, OBJECTIVES, PARAMETERS, column, is_missing, term
from reports.figures.theme import SEQUENTIAL, colour_scale, numeric, style_axis
from reports.run_folder import STATES

#: Designs that travel with the page. Ruled-out ones beyond this are thinned evenly; the page says
#: how many, and candidates.parquet has them all.
MOST_DESIGNS = 5000


def thin(candidates: pd.DataFrame, most: int = MOST_DESIGNS) -> pd.DataFrame:
    """At most ``most`` designs: simulated and reference ones first, the rest evenly thinned."""
    if len(candidates) <= most:
        return candidates
    kept = candidates["state"].isin(["complete", "reference"])
    kept_rows, others = candidates[kept], candidates[~kept]
    if len(kept_rows) >= most:
        important = (
            kept_rows["on_front"] | kept_rows["is_knee"] | (kept_rows["state"] == "reference")
        )
        room = max(0, most - int(important.sum()))
        rows = pd.concat([kept_rows[important], _evenly(kept_rows[~important], room)])
    else:
        rows = pd.concat([kept_rows, _evenly(others, most - len(kept_rows))])
    return rows.sort_index().reset_index(drop=True)


def _evenly(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    return (
        rows.iloc[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))]
        if count
        else rows[:0]
    )


def pack(table: pd.DataFrame) -> dict[str, Any]:
    """A table as JSON: numbers as base64 of little-endian float32 (NaN where missing), text as
    codes into its distinct values (-1 where missing).
    """
    return {str(name): _pack_column(table[name]) for name in table.columns}


def _pack_column(values: pd.Series) -> dict[str, Any]:
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        numbers = values.astype("Float64").to_numpy(dtype="<f4", na_value=np.nan)
        return {"numbers": base64.b64encode(numbers.tobytes()).decode("ascii")}
    codes, distinct = pd.factorize(values.astype("string"))
    return {"codes": codes.tolist(), "texts": [str(text) for text in distinct]}


def column_specs(candidates: pd.DataFrame) -> dict[str, Any]:
    """How the page shows each column: label, unit, kind, and the settings of an axis."""
    specs = {}
    for name in candidates.columns:
        spec = column(str(name))
        known = str(name) in COLUMNS
        is_number = pd.api.types.is_numeric_dtype(candidates[name])
        entry: dict[str, Any] = {
            "label": spec.label, "unit": "%" if spec.kind == "percent" else spec.unit,
            "kind": spec.kind if known or is_number else "text",
            "better": spec.better, "stderr": spec.stderr,
        }  # fmt: skip
        if spec in OBJECTIVES or (spec in PARAMETERS and spec.kind != "text"):
            entry["axis"] = style_axis(spec, numeric(candidates, spec.name))
            scale = colour_scale(numeric(candidates, spec.name), spec)
            scale["log"] = "tickvals" in scale["colorbar"]
            del scale["color"]
            entry["colour"] = scale
        specs[str(name)] = entry
    return specs


def strip(figure: go.Figure) -> dict[str, Any]:
    """A figure as JSON without the data that the page fills in from the columns (traces with
    ``meta``) and without its template, which the page chooses by theme.
    """
    plain_figure = copy.deepcopy(json.loads(figure.to_json()))
    for trace in plain_figure["data"]:
        if trace.get("meta"):
            for name in ("x", "y", "z", "text", "customdata", "values", "base"):
                keep = name in ("x", "y") and not {
                    "column", "placement", "share", "timeline", "order"
                }.isdisjoint(trace["meta"])  # fmt: skip
                if not keep:
                    trace.pop(name, None)
            if isinstance(trace.get("marker"), dict) and "colour" in trace["meta"]:
                trace["marker"].pop("color", None)
    plain_figure["layout"].pop("template", None)
    return plain_figure


def script_safe(value: Any) -> str:
    """JSON that stands safely inside a script element, whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def terms(candidates: pd.DataFrame, experts: pd.DataFrame) -> dict[str, str]:
    """Field terms for the names that occur as values or columns on the page."""
    names = {str(c) for c in experts.columns} | set(STATES)
    for source in ("placement_score", "placement_scope"):
        if source in candidates.columns:
            names |= {str(v) for v in candidates[source].dropna().unique()}
    return {name: term(name) for name in sorted(names)}


def sequential() -> list[list[Any]]:
    """The colour scale of ordered values."""
    return [list(stop) for stop in SEQUENTIAL]


def row_index(candidates: pd.DataFrame, row: pd.Series | None) -> int:
    """Position of a design in the packed table by trial and state, -1 when it is not there."""
    if row is None:
        return -1
    same = (candidates["trial"] == row["trial"]) & (candidates["state"] == row["state"])
    if not is_missing(row["reference_name"]):
        same = candidates["reference_name"] == row["reference_name"]
    found = np.flatnonzero(same.fillna(False).to_numpy(dtype=bool))
    return int(found[0]) if len(found) else -1
