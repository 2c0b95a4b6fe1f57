"""The first screen: what to build, what that reaches, why, what would change it, how sure.

What the run's config.json states is shown as stated; a run of an earlier version, which states
nothing, is put in words from its tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reports import evidence, why, words
from reports.choices import without_projection
from reports.columns import column, is_missing, listed, show, show_range
from reports.compare import Design, compare, keep_together
from reports.figures.theme import numeric
from reports.glossary import help_text
from reports.run_folder import Run, budget_mm2, name_of, recommended_row, stated, technology_kind

#: Cards of the recommended design; the first of each group that the run has.
CARDS = (
    ("full_points", "full_loss_nats", "delta_loss_nats"),
    ("energy_j_per_token",),
    ("throughput_tokens_per_s",),
    ("time_per_output_token_s", "latency_s_per_token"),
    ("area_mm2",),
    ("cost_usd",),
)
#: Results that stand under each of the two answers.
ANSWERED = ("full_points", "delta_loss_nats", "energy_j_per_token", "throughput_tokens_per_s",
            "area_mm2")  # fmt: skip
#: So many of the questions that change the answer stand on the first screen.
FIRST_FLIPS = 4


@dataclass(frozen=True)
class Card:
    """One headline number: its name, value, unit and range, and how it compares with digital."""

    label: str
    value: str
    unit: str
    range: str
    detail: str
    help: str


@dataclass(frozen=True)
class Answer:
    """One of the two answers: the best of measured silicon, or with projections.

    ``hardware`` names every part where the run says so; ``results`` are (name, value, range);
    ``must_deliver`` is what a projection has to become.
    """

    title: str
    sentence: str
    hardware: str
    results: list[tuple[str, str, str]]
    must_deliver: str
    row: Design | None


def sentences(run: Run) -> tuple[str, list[str]]:
    """The recommendation in a sentence, and the paragraphs that follow it: rule and hardware."""
    paragraphs = words.recommendation(run)
    sentence, rule, row = stated(run, "sentence"), stated(run, "rule"), recommended_row(run)
    if sentence is None:
        # Reasons stand under a heading of their own.
        return paragraphs[0], paragraphs[1:2] if row is not None else paragraphs[1:]
    rest = [f"Chosen by the rule: {str(rule).rstrip('.')}."] if rule else []
    return keep_together(str(sentence)), rest if row is None else [*rest, paragraphs[0]]


def reasons(run: Run) -> list[str]:
    """Why this design."""
    row = recommended_row(run)
    found = _texts(stated(run, "why"))
    if not found and row is not None:
        found = words.reasons(run, row) + why.doubt(run, row) + why.drivers(run, row)
    return [keep_together(text) for text in found]


def how_sure(run: Run) -> list[str]:
    """What the numbers rest on: as stated, what a technology has not shown, the models' errors."""
    row = recommended_row(run)
    found = _texts(stated(run, "how_sure")) or evidence.caveats(run)[:1]
    # What stands at an end of the space has a list of its own.
    found = [text for text in found if not text.startswith("At an end of the space")]
    beyond: Any = None if row is None else row.get("beyond_source")
    if isinstance(beyond, str) and beyond and beyond not in " ".join(found):
        found.append(f"Beyond what its source has shown: {beyond}.")
    errors = evidence.model_errors(run)
    if errors and not stated(run, "how_sure"):
        found.append(f"Cost model against published silicon: {errors[0][0]} {errors[0][1]}.")
    return [keep_together(text) for text in found]


def flips_table(run: Run) -> pd.DataFrame:
    """Every question, the one nearest to changing the answer first.

    Columns: question, now, unit, flips_at, becomes, sentence; one that the run lacks is empty.
    """
    names = ("question", "now", "unit", "flips_at", "becomes", "sentence")
    called = dict.fromkeys(("value now", "value_now", "value"), "now")
    table = run.flips.rename(columns=called).reindex(columns=list(names))
    then, now = numeric(table, "flips_at"), numeric(table, "now")
    # How far a question is from changing the answer: the factor between both values.
    distance = np.abs(np.log((then / now).where((then > 0) & (now > 0)).to_numpy()))
    return table.iloc[np.argsort(distance, kind="stable")]


def flips(run: Run) -> list[str]:
    """The questions whose answers change the recommendation, nearest first, in sentences."""
    table = flips_table(run)
    turning = table[table["flips_at"].notna() & table["sentence"].notna()]
    return [keep_together(str(text)) for text in turning["sentence"]]


def at_bounds(run: Run) -> list[str]:
    """Parameters of the recommended design at an end of the space, and what the next would give."""
    found = []
    for bound in stated(run, "at_bounds") or []:
        text = f"{column(str(bound.get('parameter', ''))).label} {_plain(bound.get('value'))}"
        if not is_missing(bound.get("next")):
            text += f": {_plain(bound['next'])} would give {bound.get('gives') or 'the same'}"
        found.append(keep_together(f"{text}."))
    return found


def _plain(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:,g}" if number else str(value)


def _texts(value: Any) -> list[str]:
    """One text or several as a list."""
    return [value] if isinstance(value, str) and value else [str(text) for text in value or []]


def cards(run: Run) -> list[Card]:
    """The recommended design's results, each with its range; empty when none is recommended."""
    row = recommended_row(run)
    if row is None:
        return []
    found = []
    for names in CARDS:
        name = next((n for n in names if not is_missing(row.get(n))), None)
        if name is not None:
            found.append(_card(run, row, name))
    return found


def _card(run: Run, row: Design, name: str) -> Card:
    """One card. The value with its error up to the last space, the unit after it."""
    value, _, unit = show(row, name).rpartition(" ")
    spread = show_range(row, name)
    spread = f"{spread} (68 % band)" if spread and name == "full_points" else spread
    spec = column(name)
    return Card(
        spec.label,
        value,
        unit,
        spread,
        keep_together(_detail(run, row, name)),
        help_text(spec),
    )


def _detail(run: Run, row: Design, name: str) -> str:
    """What a card's number compares with."""
    budget, rival = budget_mm2(run), digital_rival(run)
    if name == "area_mm2" and budget is not None:
        return f"budget {budget:,.4g} mm²"
    if name == "full_points":
        loss = show(row, "full_loss_nats").removesuffix("/token")
        return "" if is_missing(row.get("full_loss_nats")) else f"loss added {loss}"
    if column(name).stderr:
        if is_missing(row.get("accuracy")):
            return "against the noise-free model"
        return f"task accuracy {show(row, 'accuracy')}"
    if rival is None or is_missing(rival.get(name)):
        return ""
    told, label = compare(row, rival, name), f" {column(name).label.lower()}"
    if "not distinguishable" in told:
        return f"not distinguishable from {name_of(rival)}"
    if told.startswith("same"):
        return f"the same as {name_of(rival)}"
    return f"{told.removesuffix(label)} than {name_of(rival)}"


def digital_rival(run: Run) -> Design | None:
    """The digital reference of least energy, which analog has to beat; None without one."""
    table = run.candidates
    digital = table["reference_name"].notna() & (numeric(table, "digital_expert_fraction") == 1)
    if "tiles" in table.columns and numeric(table, "tiles").notna().any():
        digital &= (numeric(table, "tiles") == 0) | (table["reference_name"] == "all digital")
    rows = table[digital]
    if "reason" in rows.columns:
        rows = rows[rows["reason"].isna()] if rows["reason"].isna().any() else rows
    if rows.empty:
        return None
    energy = numeric(rows, "energy_j_per_token").fillna(float("inf")).to_numpy()
    return rows.iloc[int(energy.argmin())]


def answers(run: Run) -> list[Answer]:
    """The best of measured silicon and the best with projections, side by side.

    Nothing where the run knows of no technology that is projected.
    """
    row = recommended_row(run)
    silicon, projection = _answer_row(run, "silicon"), _answer_row(run, "all")
    if stated(run, "silicon") is None and stated(run, "projection") is None and silicon is None:
        if row is None or technology_kind(run, row) != "projection":
            return []
        silicon, projection = without_projection(run), row
    found = []
    for key, title, chosen in (("silicon", "In measured silicon", silicon),
                               ("projection", "With projections", projection)):  # fmt: skip
        sentence = stated(run, key, "sentence") or (
            "No design fits." if chosen is None else f"Build {words.hardware(chosen)}."
        )
        if chosen is None and stated(run, key) is None:
            continue
        needs = listed(_texts(stated(run, key, "must_deliver")))
        hardware = str(stated(run, key, "hardware") or "")
        sentence = keep_together(str(sentence))
        found.append(Answer(title, sentence, hardware, _results(chosen), needs, chosen))
    return found


def _answer_row(run: Run, which: str) -> Design | None:
    """The row of one answer: as config.json names it, else as the table marks it."""
    table = run.candidates
    trial = stated(run, "silicon" if which == "silicon" else "projection", "design")
    marks = table.get("recommended_of", pd.Series(None, index=table.index, dtype=object))
    marked = marks.astype("string").str.split(r"[^a-z]+").apply(
        lambda words: isinstance(words, list) and which in words
    )  # fmt: skip
    named = (table["trial"] == trial) | (table["reference_name"] == trial)
    for mask in (named, marked):
        chosen = table[mask.fillna(False).astype(bool)]
        if len(chosen):
            return chosen.iloc[0]
    return None


def _results(row: Design | None) -> list[tuple[str, str, str]]:
    if row is None:
        return []
    names = [name for name in ANSWERED if not is_missing(row.get(name))]
    if "full_points" in names and "delta_loss_nats" in names:
        names.remove("delta_loss_nats")
    return [(column(name).label, show(row, name), show_range(row, name)) for name in names]
