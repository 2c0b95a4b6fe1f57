"""What to build, in words: sentences whose every number is read from the run's tables."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports import why
from reports.columns import STANDARD_ERRORS, Column, column, is_missing, show, term
from reports.run_folder import Run, recommended_row

ACCURACIES = ("delta_loss_nats", "accuracy", "top1")
#: An alternative has to be better than the recommendation by this share in what it is best at.
WORTH_A_LINE = 0.01

COMPARED = ("delta_loss_nats", "energy_j_per_token", "throughput_tokens_per_s", "area_mm2")

Design = pd.Series


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


def distinguishable(a: Design, b: Design, name: str) -> bool | None:
    """Whether two designs differ in a column by more than chance.

    A column with standard errors needs more than two of them between the values, a column with a
    low and a high end (``<name>_low``, ``<name>_high``) ranges that do not overlap. Where one of
    the two is the design that ``<name>_ratio_low`` and ``_high`` refer to, those decide instead:
    in a ratio the uncertain constants that both designs share cancel. None when either value is
    missing, or an accuracy lacks its standard error.
    """
    x: Any = a.get(name)
    y: Any = b.get(name)
    if is_missing(x) or is_missing(y):
        return None
    stderr = column(name).stderr
    if stderr:
        errors: list[Any] = [a.get(stderr), b.get(stderr)]
        if any(is_missing(error) for error in errors):
            return None
        return abs(float(x) - float(y)) > STANDARD_ERRORS * math.hypot(*map(float, errors))
    ratios: list[Any] = [
        row.get(f"{name}_ratio_{end}") for row in (a, b) for end in ("low", "high")
    ]
    if not any(is_missing(end) for end in ratios):
        for (one, other), to in ((ratios[:2], ratios[2:]), (ratios[2:], ratios[:2])):
            if list(to) == [1.0, 1.0]:
                return bool(one > 1 or other < 1)
    ends: list[Any] = [row.get(f"{name}_{end}") for row in (a, b) for end in ("low", "high")]
    if not any(is_missing(end) for end in ends):
        low_a, high_a, low_b, high_b = map(float, ends)
        return low_a > high_b or low_b > high_a
    return bool(x != y)


def compare(row: Design, other: Design, name: str) -> str:
    """How ``row`` stands against ``other`` in one column: '3.2× less energy', or a missing note."""
    spec = column(name)
    label = spec.label.lower()
    different = distinguishable(row, other, name)
    if different is None:
        return f"{label} cannot be compared (a value or its standard error is missing)"
    if not different:
        return f"{label} not distinguishable"
    x, y = float(row[name]), float(other[name])
    if name == "delta_loss_nats":
        return f"{abs(x - y):.2g} nats/token {'less' if x < y else 'more'} loss"
    if spec.kind == "percent":
        return f"{100 * abs(x - y):.2g} points {'lower' if x < y else 'higher'} {label}"
    return _ratio(x, y, label, spec)


def _ratio(x: float, y: float, label: str, spec: Column) -> str:
    if x <= 0 or y <= 0:
        return f"{label} {show(pd.Series({spec.name: x}), spec.name)}"
    ratio = max(x, y) / min(x, y)
    amount = f"{ratio:.3g}×" if ratio >= 2 else f"{100 * abs(x / y - 1):.2g} %"
    words = ("lower", "higher") if spec.name == "latency_s_per_token" else ("less", "more")
    return f"{amount} {words[0] if x < y else words[1]} {label}"


def recommendation(run: Run) -> list[str]:
    """Paragraphs that say what to build under the budget and why; or why there is nothing."""
    row = recommended_row(run)
    if row is None:
        return _nothing_to_recommend(run)
    paragraphs = [
        f"Build {hardware(row)}. {placement(row)} {why.dense_parts(row)}".strip(),
        expectation(run, row),
    ]
    paragraphs += reasons(run, row) + why.drivers(run.candidates, row)
    return [keep_together(text) for text in paragraphs]


def keep_together(text: str) -> str:
    """The text with spaces that no line breaks at between a number and what belongs to it."""
    text = text.replace("-bit", "\u2011bit")
    return re.sub(r"(?<=[\d×]) (?=%|±|[×µm]|[kMG]?tokens/s|nats|MiB|W\b)|(?<=±) ", "\u00a0", text)


def hardware(row: Design) -> str:
    """The machine of one design as a noun phrase; leaves out what the table lacks."""
    tiles = ""
    if row.get("tiles") == 0 or is_missing(row.get("technology")):
        tiles = "a machine without analog tiles"
    elif not is_missing(row.get("tiles")):
        tiles = f"{show(row, 'tiles')} analog tiles"
        if not is_missing(row.get("technology")):
            tiles += f" in {row['technology']}"
        size = [show(row, n) for n in ("tile_rows", "tile_cols") if not is_missing(row.get(n))]
        if size:
            tiles += f", {' × '.join(size)} cells each"
        if not is_missing(row.get("tiers")):
            tiers = int(row["tiers"])
            tiles += f" in {tiers:,} tiers" if tiers > 1 else " in one tier"
    converters = [
        f"{int(row[name])}-bit {label}"
        for name, label in (("dac_bits", "DACs"), ("adc_bits", "ADCs"))
        if not is_missing(row.get(name))
    ]
    text = tiles or "the design below"
    if converters:
        text += f", with {' and '.join(converters)}"
        shared = row.get("columns_per_adc")
        if not is_missing(shared):
            text += f" (each ADC serves {_count(shared, 'column')})"
    digital = [
        part
        for name, part in (
            ("mac_units", f"{show(row, 'mac_units')} MAC units"),
            ("sram_mib", f"{show(row, 'sram_mib')} of SRAM"),
            ("hbm_stacks", _count(row.get("hbm_stacks"), "HBM stack")),
        )
        if not is_missing(row.get(name))
    ]
    if digital:
        text += f"; beside them a digital accelerator with {', '.join(digital)}"
    return text


def placement(row: Design) -> str:
    """Which experts are digital in one design, as one sentence."""
    share = row.get("digital_expert_fraction")
    count: Any = row.get("digital_experts")
    if is_missing(share) and is_missing(count):
        return "The run does not say which experts are digital."
    amount = show(row, "digital_expert_fraction") if not is_missing(share) else ""
    if not is_missing(count):
        amount = f"{amount} of the routed experts ({show(row, 'digital_experts')})".strip()
    elif amount:
        amount += " of the routed experts"
    if not is_missing(count) and int(count) == 0:
        return "Compute all routed experts in analog."
    score = row.get("placement_score")
    chosen = ""
    if score == "random":
        chosen = ", chosen at random"
    elif not is_missing(score):
        chosen = f", those with the highest {term(str(score))}"
    if not is_missing(row.get("placement_scope")):
        chosen += f" ({term(str(row['placement_scope']))})"
    return f"Compute {amount} digitally{chosen}; the other experts are analog."


def expectation(run: Run, row: Design) -> str:
    """What one design is expected to reach, as one sentence, accuracy with error and source."""
    results = [
        f"{column(name).label.lower()} {show(row, name)}"
        for name in ("throughput_tokens_per_s", "energy_j_per_token", "area_mm2")
        if not is_missing(row.get(name))
    ]
    budget = budget_mm2(run)
    if budget is not None and not is_missing(row.get("area_mm2")):
        results[-1] += f" of the {budget:,.4g} mm² allowed"
    text = f"Expect {', '.join(results)}." if results else ""
    accuracies = [
        f"{column(name).label.lower()} {show(row, name)}"
        for name in ACCURACIES
        if not is_missing(row.get(name))
    ]
    if not accuracies:
        return f"{text} Its accuracy was not simulated.".strip()
    source = row.get("accuracy_source")
    where = "source not recorded" if is_missing(source) else str(source)
    return f"{text} Simulated: {', '.join(accuracies)} (± one standard error; {where}).".strip()


def reasons(run: Run, row: Design) -> list[str]:
    """Why this design: how it stands against the references, and how it was chosen."""
    table = run.candidates
    front = int(table.loc[table["state"] == "complete", "on_front"].sum())
    sentences = [
        f"It is the knee of the front: of the {_count(front, 'design')} that no other beats, the "
        "one nearest to having the best of every objective at once."
    ]
    kind = technology_kind(run, row)
    if kind not in ("", "silicon"):
        sentences.append(f"{row['technology']} is a {kind}, not measured silicon.")
    for _, reference in table[table["state"] == "reference"].iterrows():
        name = reference["reference_name"]
        facts = [
            compare(row, reference, c)
            for c in COMPARED
            if not (is_missing(row.get(c)) or is_missing(reference.get(c)))
        ]
        if facts:
            sentences.append(f"Against {name}: {', '.join(facts)}.")
    return sentences


def technology_kind(run: Run, row: Design) -> str:
    """Kind of a design's technology (silicon, simulation, projection); "" when not recorded."""
    kinds = run.config.get("technology_kinds")
    return str(kinds.get(str(row.get("technology")), "")) if isinstance(kinds, dict) else ""


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


def _nothing_to_recommend(run: Run) -> list[str]:
    table = run.candidates
    complete = table[table["state"] == "complete"]
    if len(complete):
        return [
            f"{_count(len(complete), 'design')} fitted the budget, but the run names none as "
            "recommended. The table below lists them all."
        ]
    searched = table[table["state"] != "reference"]
    if searched.empty:
        return ["The run holds no design: it stopped before the first one was costed."]
    text = f"None of the {_count(len(searched), 'design')} in this run fits the budget."
    budget, smallest = budget_mm2(run), searched["area_mm2"].min()
    if budget is not None and not is_missing(smallest) and smallest > budget:
        text += f" The smallest takes {smallest:,.4g} mm², the budget allows {budget:,.4g} mm²."
    return [text, *reason_counts(table)]


def reason_counts(table: pd.DataFrame) -> list[str]:
    """How many designs were ruled out for which reason, most frequent first, one line each."""
    if "reason" not in table.columns:
        return []
    # Reasons may end in numbers of the design ("... 312 mm² > 200 mm²"): count what stays alike.
    reasons_given = table.loc[table["state"] == "ruled_out", "reason"].dropna().astype(str)
    counts = reasons_given.str.replace(r"[-+]?\d[\d.,e+-]*", "…", regex=True).value_counts()
    return [
        f"{_count(int(n), 'design')} ruled out: {reason}" for reason, n in counts.head(4).items()
    ]


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
        elif len(references) and not is_missing(references.iloc[0].get(name)):
            words = compare(row, references.iloc[0], name)
            label = f" {column(name).label.lower()}"
            detail = words.removesuffix(label) + " than all digital"
            if "not distinguishable" in words:
                detail = "not distinguishable from all digital"
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


def trade(row: Design, against: Design | None) -> str:
    """What a design gives and costs against another, result by result."""
    if against is None:
        return ""
    facts = [
        compare(row, against, name)
        for name in COMPARED
        if not (is_missing(row.get(name)) and is_missing(against.get(name)))
    ]
    return keep_together("; ".join(facts))


def budget_mm2(run: Run) -> float | None:
    """The area budget of a run in mm², None when it had none."""
    value: Any = run.config.get("budget_area_mm2")
    return None if value is None or is_missing(value) else float(value)


def _count(number: Any, noun: str) -> str:
    if is_missing(number):
        return ""
    return f"{int(number):,} {noun}{'' if int(number) == 1 else 's'}"


def summary(row: Design) -> str:
    """One design in a few words for a table: technology, tiles, converter bits, digital share."""
    parts = []
    if not is_missing(row.get("technology")):
        parts.append(str(row["technology"]))
    if row.get("tiles") == 0 or is_missing(row.get("technology")):
        parts.append("no expert in analog")
    elif not is_missing(row.get("tiles")):
        size = "×".join(
            f"{int(row[name])}"
            for name in ("tile_rows", "tile_cols", "tiers")
            if not is_missing(row.get(name))
        )
        parts.append(f"{show(row, 'tiles')} tiles of {size}" if size else show(row, "tiles"))
    if not is_missing(row.get("adc_bits")):
        parts.append(f"{int(row['adc_bits'])}-bit ADC")
    if not is_missing(row.get("digital_expert_fraction")):
        parts.append(f"{show(row, 'digital_expert_fraction')} of experts digital")
    if dense := why.analog_dense(row):
        parts.append(f"{' and '.join(dense)} analog" if len(dense) < 3 else "dense parts analog")
    return keep_together(", ".join(parts))
