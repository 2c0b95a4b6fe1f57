"""Tables of the page as its template prints them: answers, alternatives, what would change it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from reports import choices, decision, payload
from reports.columns import column, is_missing, quantity, show
from reports.compare import keep_together
from reports.run_folder import Run, name_of, recommended_row

#: So many designs of the front can be chosen to compare with; others by the button above.
MOST_OTHERS = 200


def answers(run: Run, shown: pd.DataFrame) -> list[dict[str, Any]]:
    """The two answers as the template prints them."""
    best = recommended_row(run)
    return [
        {
            **asdict(replace(answer, row=None)),
            "name": "" if answer.row is None else name_of(answer.row),
            "index": payload.row_index(shown, answer.row),
            "recommended": answer.row is not None
            and best is not None
            and answer.row.name == best.name,
        }
        for answer in decision.answers(run)
    ]


def flips(run: Run) -> list[dict[str, str]]:
    """The table of what would change the recommendation as the template prints it."""
    rows = []
    for _, flip in decision.flips_table(run).iterrows():
        unit = "" if is_missing(flip["unit"]) else str(flip["unit"])
        now, at = (_amount(flip[name], unit) for name in ("now", "flips_at"))
        told = [str(flip[name]) for name in ("sentence", "becomes") if not is_missing(flip[name])]
        rows.append({"question": str(flip["question"]), "now": now or "–", "at": at or "never",
                     "then": keep_together(told[0]) if told else ""})  # fmt: skip
    return rows


def _amount(value: Any, unit: str) -> str:
    """A value of a question with its unit, one in words as it is; "" where there is none."""
    if is_missing(value):
        return ""
    return f"{value} {unit}".strip() if isinstance(value, str) else quantity(float(value), unit)


def others(run: Run, shown: pd.DataFrame) -> list[tuple[str, int]]:
    """Designs that another can be compared with: the short list, then the front."""
    found = {payload.row_index(shown, choice.row): f"{name_of(choice.row)}: {choice.role.lower()}"
             for choice in choices.short_list(run)}  # fmt: skip
    for place in np.flatnonzero(shown["on_front"])[:MOST_OTHERS]:
        found.setdefault(int(place), name_of(shown.iloc[place]))
    return [(name, place) for place, name in found.items() if place >= 0]


def short_list(run: Run, shown: pd.DataFrame) -> list[dict[str, Any]]:
    """The short list as the template prints it."""
    listed = choices.short_list(run)
    names = ("full_points", "delta_loss_nats", "accuracy", "energy_j_per_token",
             "throughput_tokens_per_s", "area_mm2", "cost_usd")  # fmt: skip
    used = [name for name in names if any(not is_missing(c.row.get(name)) for c in listed)]
    if "full_points" in used:
        used = [name for name in used if name not in ("delta_loss_nats", "accuracy")]
    return [
        {
            "role": choice.role,
            "name": choice.name or f"design {choice.row['trial']}",
            "hardware": choices.summary(choice.row),
            "cells": [_cell(choice.row, name) for name in used],
            "trade": choice.trade,
            "index": payload.row_index(shown, choice.row),
        }
        for choice in listed
    ]


def _cell(row: pd.Series, name: str) -> tuple[str, str, str]:
    """Heading, unit for the heading and value of one result in the short list."""
    spec, text = column(name), show(row, name)
    unit = ("%" if spec.kind == "percent" else spec.unit) if spec.stderr else ""
    return spec.label, unit, text.removesuffix(f" {unit}") if unit else text
