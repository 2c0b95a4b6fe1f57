"""Why a design comes out as it does: where its energy and time go, and what a smaller one loses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports.columns import (
    STANDARD_ERRORS,
    TOTALS,
    analog_parts,
    breakdown_columns,
    column,
    is_missing,
    listed,
    si,
    term,
)
from reports.compare import COSTS, compare, distinguishable
from reports.evidence import round_tokens, searched_objectives
from reports.figures.budget import knees_by_area
from reports.figures.step import pace
from reports.figures.theme import numeric
from reports.run_folder import Run, name_of

#: Share of the budget that the smaller alternative may take.
LESS_AREA = 2 / 3
#: By how much a design must be better at a cost to rival the recommended one.
WORTH_A_LOOK = 1.05
#: The share of all digital's energy that analog has to save to be worth its risk.
PAYS = 0.1


def dense_parts(row: pd.Series) -> str:
    """Where a design's dense modules are computed, as one sentence; "" where not recorded."""
    if "analog_modules" not in row.index:
        return ""
    analog = analog_parts(row.get("analog_modules"))
    if not analog:
        return "All other modules are digital."
    return f"Of the other modules, {listed(analog)} are analog; the rest is digital."


def drivers(run: Run, row: pd.Series) -> list[str]:
    """Where the design's energy and time go, and which part saves against all digital."""
    table, sentences = run.candidates, []
    parts = [
        f"{term(part)} {share:.0%} of its {quantity}".replace("%", " %")
        for quantity, by in (("energy", "component"), ("latency", "module"), ("area", "component"))
        for part, share in largest(table, row, quantity, by)
    ]
    if parts:
        sentences.append(f"The largest parts: {listed(parts)}.")
    if found := pace(run.layers, row, round_tokens(run)):
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
    if not ours or difference <= 0 or row.get("tiles") == 0:
        return []
    if difference < PAYS * sum(theirs.values()):
        facts = listed([compare(row, digital, name) for name in COSTS])
        return [f"Analog hardly pays here. Against all digital: {facts}."]
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


def rival(run: Run, row: pd.Series) -> pd.Series | None:
    """The design or reference that may well be better than the recommended one.

    Its loss cannot be told from that one's, no searched cost is worse, and one is better by more
    than the cost model's range. Of several, the one that is better by the largest factor.
    """
    loss, stderr = "delta_loss_nats", "delta_loss_stderr"
    costs = [name for name in searched_objectives(run) if not column(name).stderr]
    table = run.candidates
    if not costs or is_missing(row.get(loss)) or is_missing(row.get(stderr)):
        return None
    apart = (numeric(table, loss) - float(row[loss])).abs()
    chance = np.hypot(numeric(table, stderr), float(row[stderr]))
    alike = table["state"].isin(["complete", "reference"]) & (apart <= STANDARD_ERRORS * chance)
    if "reason" in table.columns:
        alike &= table["reason"].isna()
    factors = pd.DataFrame({name: _factor(table[alike], row, name) for name in costs})
    better = factors[(factors >= 1).all(axis=1) & (factors.max(axis=1) >= WORTH_A_LOOK)]
    for index in better.prod(axis=1).sort_values(ascending=False).index:
        other = table.loc[index]
        sure = [name for name in costs if distinguishable(other, row, name)]
        if any(factors.loc[index, name] >= WORTH_A_LOOK for name in sure):
            return other
    return None


def _factor(rows: pd.DataFrame, row: pd.Series, name: str) -> pd.Series:
    """How many times better than a design others are at a cost; missing where one is."""
    better = numeric(rows, name) / float(row[name])
    return better if column(name).better == "higher" else 1 / better


def doubt(run: Run, row: pd.Series) -> list[str]:
    """That a rival may be better, as a sentence; nothing where there is none."""
    other = rival(run, row)
    if other is None:
        return []
    costs = [name for name in searched_objectives(run) if not column(name).stderr]
    gains = [compare(other, row, name) for name in costs if distinguishable(other, row, name)]
    return [
        f"Look at {name_of(other)}, too: {listed(gains)}, and its difference in loss may be "
        "chance. More tokens or trials would tell."
    ]
