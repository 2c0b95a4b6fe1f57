"""The short list: the recommended design, its alternatives and the references, and its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports import why
from reports.columns import STANDARD_ERRORS, analog_parts, column, is_missing, show
from reports.compare import COMPARED, Design, compare, distinguishable, keep_together, trade
from reports.run_folder import Run, budget_mm2, recommended_row, technology_kind

#: An alternative has to be better than the recommendation by this share in what it is best at.
WORTH_A_LINE = 0.01


@dataclass(frozen=True)
class Figure:
    """One headline number: its name, value, unit, and how it compares with all digital."""

    label: str
    value: str
    unit: str
    detail: str


@dataclass(frozen=True)
class Choice:
    """One design of the short list: role, row, and what it trades against the recommendation."""

    role: str
    row: Design
    trade: str
    name: str


def headline_figures(run: Run) -> list[Figure]:
    """The recommended design's results as headline numbers; empty when nothing is recommended."""
    row = recommended_row(run)
    if row is None:
        return []
    references = run.candidates[run.candidates["reference_name"] == "all digital"]
    budget = budget_mm2(run)
    figures = []
    for name in COMPARED:
        detail = ""
        if name == "area_mm2" and budget is not None:
            detail = f"budget {budget:,.4g} mm²"
        elif name == "delta_loss_nats":
            detail = "against the noise-free model"
            if not is_missing(row.get("accuracy")):
                detail = keep_together(f"task accuracy {show(row, 'accuracy')}")
        elif len(references) and not is_missing(references.iloc[0].get(name)):
            words = compare(row, references.iloc[0], name)
            label = f" {column(name).label.lower()}"
            detail = words.removesuffix(label) + " than all digital"
            if "not distinguishable" in words:
                detail = "not distinguishable from all digital"
            elif words.startswith("same"):
                detail = "the same as all digital"
        # The value with its error up to the last space, the unit after it.
        value, _, unit = show(row, name).rpartition(" ")
        if is_missing(row.get(name)):
            value, unit = show(row, name), ""
        figures.append(Figure(column(name).label, value, unit, detail))
    return figures


def short_list(run: Run) -> list[Choice]:
    """Recommended design, the best at each objective, and the references, each with its trade.

    An alternative that does not differ from the recommendation, or is it, is left out. A
    recommendation in a projected technology is joined by the best that needs none.
    """
    table = run.candidates
    row = recommended_row(run)
    complete = table[table["state"] == "complete"]
    choices = [] if row is None else [Choice("Recommended", row, "the knee of the front", "")]
    seen = set() if row is None else {row.name}
    for role, name in (
        ("Best accuracy", "delta_loss_nats"),
        ("Least energy", "energy_j_per_token"),
        ("Most throughput", "throughput_tokens_per_s"),
    ):
        best = best_at(complete, name)
        if best is None or best.name in seen or (row is not None and _alike(best, row, name)):
            continue
        if row is not None and distinguishable(best, row, name) is False:
            continue
        seen.add(best.name)
        choices.append(Choice(role, best, trade(best, row), ""))
    other = None if row is None else why.rival(run, row)
    if other is not None and other["state"] == "complete" and other.name not in seen:
        seen.add(other.name)
        choices.append(Choice("Perhaps better", other, trade(other, row), ""))
    smaller = why.in_less_area(run, budget_mm2(run), row)
    if smaller is not None and smaller.name not in seen:
        seen.add(smaller.name)
        choices.append(Choice("In less area", smaller, trade(smaller, row), ""))
    built = without_projection(run)
    if built is not None and built.name not in seen:
        choices.append(Choice("Without projections", built, trade(built, row), ""))
    for _, reference in table[table["state"] == "reference"].iterrows():
        choices.append(
            Choice("Reference", reference, trade(reference, row), str(reference["reference_name"]))
        )
    return choices


def _alike(best: Design, row: Design, name: str) -> bool:
    """Whether a design is too little better in a cost to be worth a line of the short list."""
    x: Any = best.get(name)
    y: Any = row.get(name)
    if column(name).stderr or is_missing(x) or is_missing(y):
        return False
    return abs(float(x) / float(y) - 1) < WORTH_A_LINE if y else False


def best_at(designs: pd.DataFrame, name: str) -> Design | None:
    """The design with the best value in a column; None when no design has one.

    Where the column has standard errors, the best that is sure: two of them count against a
    design. Of designs that share one simulation, the one with the least energy.
    """
    spec = column(name)
    if name not in designs.columns or not designs[name].notna().any():
        return None
    sign = -1.0 if spec.better == "higher" else 1.0
    cost = sign * pd.to_numeric(designs[name], errors="coerce").astype(float)
    if spec.stderr:
        cost = cost + STANDARD_ERRORS * pd.to_numeric(designs[spec.stderr], errors="coerce")
    ordered = designs.assign(_cost=cost.astype(float)).dropna(subset=["_cost"])
    if ordered.empty:
        return None
    ordered = ordered.sort_values(["_cost", "energy_j_per_token"])
    return designs.loc[ordered.index[0]]


def without_projection(run: Run) -> Design | None:
    """Where the recommended design is a projection: the one of least energy that is none.

    It may have no analog tiles; None when the recommended design is no projection.
    """
    row = recommended_row(run)
    if row is None or technology_kind(run, row) != "projection":
        return None
    complete = run.candidates[run.candidates["state"] == "complete"]
    built = [technology_kind(run, other) != "projection" for _, other in complete.iterrows()]
    return best_at(complete[built], "energy_j_per_token")


def summary(row: Design) -> str:
    """One design in a few words for a table: technology, tiles, converter bits, digital share."""
    parts = []
    if not is_missing(row.get("technology")):
        parts.append(str(row["technology"]))
    if row.get("tiles") == 0 or is_missing(row.get("technology")):
        return ", ".join([*parts, "no analog tiles, all experts digital"])
    if not is_missing(row.get("tiles")):
        size = "×".join(
            f"{int(row[name])}"
            for name in ("tile_rows", "tile_cols", "tiers")
            if not is_missing(row.get(name))
        )
        parts.append(f"{show(row, 'tiles')} tiles of {size}" if size else show(row, "tiles"))
    if not is_missing(row.get("adc_bits")):
        parts.append(f"{int(row['adc_bits'])}-bit ADC")
    share: Any = row.get("digital_expert_fraction")
    if not is_missing(share):
        digital = f"{show(row, 'digital_expert_fraction')} of experts digital"
        parts.append(digital if share > 0 else "all experts analog")
    if dense := analog_parts(row.get("analog_modules")):
        parts.append(f"{' and '.join(dense)} analog" if len(dense) < 3 else "dense parts analog")
    return keep_together(", ".join(parts))
