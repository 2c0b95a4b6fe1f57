"""The short list: the recommended design, its alternatives and the references."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports import why
from reports.columns import STANDARD_ERRORS, analog_parts, column, is_missing, show
from reports.compare import Design, distinguishable, keep_together, trade
from reports.run_folder import Run, budget_mm2, recommended_row, stated, technology_kind

#: An alternative has to be better than the recommendation by this share in what it is best at.
WORTH_A_LINE = 0.01


@dataclass(frozen=True)
class Choice:
    """One design of the short list: role, row, and what it trades against the recommendation."""

    role: str
    row: Design
    trade: str
    name: str


def short_list(run: Run) -> list[Choice]:
    """Recommended design, the best at each objective, and the references, each with its trade.

    An alternative that does not differ from the recommendation, or is it, is left out.
    """
    row = recommended_row(run)
    table = run.candidates
    rule = stated(run, "rule")
    first = "chosen by the rule" if rule else "the knee of the front"
    choices = [] if row is None else [Choice("Recommended", row, first, "")]
    seen = set() if row is None else {row.name}
    for role, other in _alternatives(run, row):
        if other.name not in seen:
            seen.add(other.name)
            choices.append(Choice(role, other, trade(other, row), ""))
    texts = _reference_texts(run)
    for _, reference in table[table["state"] == "reference"].iterrows():
        name = str(reference["reference_name"])
        # What a reference that fits reaches stands in the columns.
        fits = is_missing(reference.get("reason"))
        text = "" if fits else texts.get(name) or texts.get(reference["trial"], "")
        words = "; ".join(filter(None, [text, trade(reference, row)]))
        choices.append(Choice("Reference", reference, words, name))
    return choices


def _reference_texts(run: Run) -> dict[Any, str]:
    """What the run says of each reference, by its name and by its trial."""
    found: dict[Any, str] = {}
    for reference in stated(run, "references") or []:
        text = str(reference.get("text") or "").rstrip(".")
        found |= {reference.get("name"): text, reference.get("trial"): text}
    return found


def _alternatives(run: Run, row: Design | None) -> list[tuple[str, Design]]:
    """What else could be built, by what speaks for it, in the order of the short list."""
    complete = run.candidates[run.candidates["state"] == "complete"]
    found: list[tuple[str, Design | None]] = []
    for role, name in (
        ("Best accuracy", "full_loss_nats"),
        ("Best accuracy", "delta_loss_nats"),
        ("Least energy", "energy_j_per_token"),
        ("Most throughput", "throughput_tokens_per_s"),
    ):
        if role in (r for r, other in found if other is not None):
            continue
        best = best_at(complete, name)
        told = row is None or best is None or distinguishable(best, row, name) is not False
        if best is not None and told and not (row is not None and _alike(best, row, name)):
            found.append((role, best))
    if row is not None and stated(run, "rule") is None:
        # A run of an earlier version recommends its knee, which these put in doubt.
        other = why.rival(run, row)
        rival = other if other is not None and other["state"] == "complete" else None
        found += [("Perhaps better", rival),
                  ("In less area", why.in_less_area(run, budget_mm2(run), row)),
                  ("Without projections", without_projection(run))]  # fmt: skip
    return [(role, other) for role, other in found if other is not None]


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
