"""The run as compact JSON for the page: each column once, figures without their data."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import (
    COLUMNS,
    OBJECTIVES,
    PARAMETER_NAMES,
    RESULT_NAMES,
    STANDARD_ERRORS,
    TOTALS,
    breakdown_columns,
    column,
    in_unit,
    is_missing,
    term,
    value_term,
)
from reports.figures.breakdown import (
    BRANCH,
    GROUND,
    colour_of,
    layer_columns,
    part_names,
    part_paths,
)
from reports.figures.parallel import axis_scales, credited, position
from reports.figures.theme import colour_scale, numeric
from reports.figures.trade import (
    design_groups,
    error_columns,
    first_axis,
    score_groups,
    staircase,
)
from reports.glossary import help_text
from reports.run_folder import STATES

#: Designs that travel with the page. Ruled-out ones beyond this are thinned evenly; the page says
#: how many, and candidates.parquet has them all.
MOST_DESIGNS = 5000
#: Stages of layers that travel with the page; beyond them designs of the front go without.
MOST_STAGES = 6000


def thin(candidates: pd.DataFrame, most: int = MOST_DESIGNS) -> pd.DataFrame:
    """At most ``most`` designs: simulated and reference ones first, the rest evenly thinned."""
    if len(candidates) <= most:
        return candidates
    kept = candidates["state"].isin(["complete", "reference"])
    kept_rows, others = candidates[kept], candidates[~kept]
    if len(kept_rows) >= most:
        important = (
            kept_rows["on_front"]
            | kept_rows["is_recommended"]
            | (kept_rows["state"] == "reference")
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
    """A table as JSON, each column as short as it can be.

    Numbers are base64 of little-endian float32 (NaN where missing). A column of few distinct
    values is base64 of bytes that point into them (255 where missing), text of many a list of
    such places (-1 where missing).
    """
    return {str(name): _pack_column(table[name]) for name in table.columns}


def _pack_column(values: pd.Series) -> dict[str, Any]:
    number = pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)
    plain = values.astype("Float64") if number else values.astype("string")
    codes, distinct = pd.factorize(plain)
    known = [float(v) for v in distinct] if number else [str(v) for v in distinct]
    kind = {} if number else {"text": True}
    if len(known) < 255 and np.isfinite(known if number else []).all():
        return {"data": _base64(codes.astype(np.uint8)), "values": known, **kind}
    if number:
        return {"data": _base64(plain.to_numpy(dtype="<f4", na_value=np.nan))}
    return {"data": codes.tolist(), "values": known, **kind}


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def thin_layers(layers: pd.DataFrame, keep: list[Any], most: int = MOST_STAGES) -> pd.DataFrame:
    """At most about ``most`` rows: the designs of the trials to ``keep``, others evenly."""
    if len(layers) <= most:
        return layers
    trials = list(dict.fromkeys(layers["trial"]))
    others = [trial for trial in trials if trial not in keep]
    kept = layers[layers["trial"].isin(keep)]
    rows = layers[layers["trial"].isin(others)]
    count = int(len(others) * max(0, most - len(kept)) / max(1, len(rows)))
    places: Any = np.unique(np.linspace(0, len(others) - 1, count).astype(int)) if count else []
    return layers[layers["trial"].isin([*keep, *(others[place] for place in places)])]


def alike(candidates: pd.DataFrame, row: pd.Series | None) -> dict[str, Any]:
    """For each accuracy, which designs cannot be told from one design, packed."""
    found = {}
    for spec in OBJECTIVES:
        if row is None or not {spec.name, spec.stderr} <= set(candidates.columns):
            continue
        apart = (numeric(candidates, spec.name) - float(row[spec.name])).abs()
        error = np.hypot(numeric(candidates, spec.stderr), float(row[spec.stderr]))
        found[spec.name] = pack(pd.DataFrame({"alike": apart <= STANDARD_ERRORS * error}))["alike"]
    return found


def row_sets(candidates: pd.DataFrame) -> dict[str, list[int]]:
    """Positions of the designs of each group of the figures, and of each choice above the table."""
    groups = design_groups(candidates)
    complete = candidates["state"] == "complete"
    shown = complete & candidates["on_front"] | groups["reference"]
    groups |= {"all": candidates["state"].notna(), "complete": complete, "shortlist": shown}
    groups |= {f"score:{score}": mask for score, mask in score_groups(candidates).items()}
    return {name: np.flatnonzero(mask).tolist() for name, mask in groups.items()}


def stairs(candidates: pd.DataFrame, objectives: list[str]) -> dict[str, list[int]]:
    """Positions of the front in any two objectives alone, by their names "x y"."""
    complete = candidates.reset_index(drop=True)
    complete = complete[complete["state"] == "complete"]
    pairs = [(x, y) for x in objectives for y in objectives if x != y]
    return {f"{x} {y}": staircase(complete, x, y).index.tolist() for x, y in pairs}


def heights(candidates: pd.DataFrame, dimensions: tuple[str, ...]) -> list[dict[str, Any]]:
    """Height of each simulated design on each axis of the parallel coordinates, packed."""
    complete = candidates["state"] == "complete"
    candidates = credited(candidates)
    scales = axis_scales(candidates[complete], dimensions)
    if len(scales) < 2:
        return []
    return [
        _pack_column(position(candidates[scale["column"]], scale).where(complete))
        for scale in scales
    ]


def drills(
    candidates: pd.DataFrame, layers: pd.DataFrame, breakdowns: dict[str, str]
) -> dict[str, Any]:
    """For each drill-down what its parts are read from, and how they are called and coloured."""
    found = {}
    for key, levels in breakdowns.items():
        quantity, by = key.split(":")
        parts = part_names(candidates, quantity, by, layers)
        entry: dict[str, Any] = {
            "levels": levels,
            "total": TOTALS[quantity].name,
            "branch": BRANCH,
            "root": GROUND,
            "colours": {part: colour_of(part, place) for place, part in enumerate(parts)},
        }
        if by == "layer":
            entry["layers"] = {term(n): c for n, c in layer_columns(layers, quantity).items()}
        else:
            paths = part_paths(candidates, quantity, by)
            entry["leaves"] = [
                {"path": paths[source], "part": part, "column": source}
                for part, source in breakdown_columns(candidates, quantity, by).items()
            ]
        found[key] = entry
    return found


def column_specs(candidates: pd.DataFrame) -> dict[str, Any]:
    """How the page shows each column: label, unit, kind, and the settings of an axis."""
    specs = {}
    # Colour is for simulated designs alone: those ruled out would only take their contrast.
    coloured = candidates[candidates["state"] == "complete"]
    coloured = coloured if len(coloured) else candidates
    for name in candidates.columns:
        spec = column(str(name))
        known = str(name) in COLUMNS
        is_number = pd.api.types.is_numeric_dtype(candidates[name])
        scale, unit = in_unit(numeric(candidates, str(name)), spec) if is_number else (1.0, "")
        entry: dict[str, Any] = {
            "label": spec.label, "unit": "%" if spec.kind == "percent" else spec.unit,
            "kind": spec.kind if known or is_number else "text", "help": help_text(spec),
            "stderr": spec.stderr, "error": error_columns(candidates, spec), "better": spec.better,
            "scale": scale, "headingUnit": unit,
            "heading": f"{spec.label} ({unit})" if unit else spec.label,
        }  # fmt: skip
        if name in RESULT_NAMES or (name in PARAMETER_NAMES and spec.kind != "text"):
            entry["axis"] = first_axis(candidates, spec)
            entry["wholeAxis"] = first_axis(candidates, spec, everything=True)
            colours = colour_scale(numeric(coloured, spec.name), spec)
            colours["log"] = "tickvals" in colours["colorbar"]
            del colours["color"]
            entry["colour"] = colours
        specs[str(name)] = entry
    return specs


def strip(figure: go.Figure) -> dict[str, Any]:
    """A figure as JSON without the data that the page fills in from the columns (traces with
    ``meta``) and without its template, which the page chooses by theme.
    """
    plain_figure = copy.deepcopy(json.loads(figure.to_json()))
    for trace in plain_figure["data"]:
        if trace.get("meta"):
            for name in ("x", "y", "z", "text", "hovertext", "customdata", "values", "base", "ids",
                         "labels", "parents"):  # fmt: skip
                keep = name in ("x", "y") and not {"placement", "order"}.isdisjoint(trace["meta"])
                if not keep:
                    trace.pop(name, None)
            for bar in ("error_x", "error_y"):
                for ends in ("array", "arrayminus"):
                    trace.get(bar, {}).pop(ends, None)
            if "drill" in trace["meta"] and trace["type"] == "icicle":
                trace["marker"].pop("colors", None)
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


def terms(candidates: pd.DataFrame, experts: pd.DataFrame, layers: pd.DataFrame) -> dict[str, str]:
    """Field terms for the names that occur as values or columns on the page."""
    names = {str(c) for c in experts.columns} | set(STATES)
    if "module" in layers.columns:
        names |= {str(v) for v in layers["module"].unique()}
    found = {name: term(name) for name in sorted(names)}
    for source in ("placement_score", "placement_scope", "analog_modules"):
        if source in candidates.columns:
            values = sorted(candidates[source].dropna().astype(str).unique())
            found |= {value: value_term(source, value) for value in values}
    return found


def row_index(candidates: pd.DataFrame, row: pd.Series | None) -> int:
    """Position of a design in the packed table by trial and state, -1 when it is not there."""
    if row is None:
        return -1
    same = (candidates["trial"] == row["trial"]) & (candidates["state"] == row["state"])
    if not is_missing(row["reference_name"]):
        same = candidates["reference_name"] == row["reference_name"]
    found = np.flatnonzero(same.fillna(False).to_numpy(dtype=bool))
    return int(found[0]) if len(found) else -1
