"""Why a design comes out as it does: where its energy and time go, and what a smaller one loses."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from reports.columns import TOTALS, breakdown_columns, is_missing, si, term
from reports.evidence import searched_objectives, step_tokens
from reports.figures.budget import knees_by_area
from reports.figures.step import pace
from reports.run_folder import Run

#: Share of the budget that the smaller alternative may take.
LESS_AREA = 2 / 3


def analog_dense(row: pd.Series) -> list[str]:
    """Dense parts that a design computes on tiles, in words."""
    text = row.get("analog_modules")
    if is_missing(text) or str(text) in ("none", ""):
        return []
    return [
        # Scores and values stay digital, whatever the projections do.
        "attention projections" if name == "attention" else term(name)
        for name in re.split(r"[+,]", str(text))
    ]


def dense_parts(row: pd.Series) -> str:
    """Where a design's dense modules are computed, as one sentence; "" where not recorded."""
    if "analog_modules" not in row.index:
        return ""
    analog = analog_dense(row)
    if not analog:
        return "All other modules are digital."
    return f"Of the other modules, {' and '.join(analog)} are analog, too; the rest is digital."


def drivers(run: Run, row: pd.Series) -> list[str]:
    """Where the design's energy and time go, and which part saves against all digital."""
    table, sentences = run.candidates, []
    limits = [
        f"{share:.0%} of its {word} {verb} {term(part)}".replace("%", " %")
        for quantity, by, word, verb in (
            ("energy", "component", "energy", "is"),
            ("latency", "module", "latency", "goes into"),
        )
        for part, share in largest(table, row, quantity, by)
    ]
    if limits:
        sentences.append(f"What limits it now: {' and '.join(limits)}.")
    if found := pace(run.layers, row, step_tokens(run)):
        alone = f", with {found.in_words}" if found.steps > 1 else ""
        sentences.append(f"Throughput is set by {found.resource}{alone}.")
    digital = table[table["reference_name"] == "all digital"]
    if len(digital):
        sentences += _saved(table, row, digital.iloc[0])
    return sentences


def _values(table: pd.DataFrame, row: pd.Series, quantity: str, by: str) -> dict[str, float]:
    columns = breakdown_columns(table, quantity, by)
    found: dict[str, Any] = {part: row.get(name) for part, name in columns.items()}
    return {part: 0.0 if is_missing(value) else float(value) for part, value in found.items()}


def largest(table: pd.DataFrame, row: pd.Series, quantity: str, by: str) -> list[tuple[str, float]]:
    """The largest part of a quantity of a design with its share; nothing where not recorded."""
    values = _values(table, row, quantity, by)
    total = sum(values.values())
    if total <= 0:
        return []
    part = max(values, key=lambda name: values[name])
    return [(part, values[part] / total)]


def _saved(table: pd.DataFrame, row: pd.Series, digital: pd.Series) -> list[str]:
    """The component that makes most of the difference in energy to the all-digital reference."""
    ours = _values(table, row, "energy", "component")
    theirs = _values(table, digital, "energy", "component")
    difference = sum(theirs.values()) - sum(ours.values())
    if not ours or difference <= 0:
        return []
    part = max(ours, key=lambda name: theirs[name] - ours[name])
    share = (theirs[part] - ours[part]) / difference
    unit = TOTALS["energy"].unit
    return [
        f"What it saves against all digital is mostly {term(part)}: {si(ours[part], unit)} instead "
        f"of {si(theirs[part], unit)}."
        if share > 0.5
        else f"Its largest saving against all digital is {term(part)}: {si(ours[part], unit)} "
        f"instead of {si(theirs[part], unit)}."
    ]


def in_less_area(run: Run, budget_mm2: float | None, row: pd.Series | None) -> pd.Series | None:
    """The design that two thirds of the budget would have bought; None without a budget."""
    if budget_mm2 is None or row is None:
        return None
    knees = knees_by_area(run.candidates, searched_objectives(run))
    fitting = knees[knees["budget_from_mm2"] <= LESS_AREA * budget_mm2]
    if fitting.empty or float(row["area_mm2"]) <= LESS_AREA * budget_mm2:
        return None
    chosen: pd.Series = run.candidates.loc[fitting.index[-1]]
    return chosen
