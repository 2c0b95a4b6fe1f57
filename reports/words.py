"""What to build, in words: sentences whose every number is read from the run's tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from reports import why
from reports.columns import column, is_missing, listed, show, term
from reports.compare import Design, keep_together
from reports.run_folder import Run, budget_mm2, recommended_row, technology_kind

ACCURACIES = ("full_points", "full_loss_nats", "delta_loss_nats", "accuracy", "top1")


def recommendation(run: Run) -> list[str]:
    """Paragraphs that say what to build under the budget and why; or why there is nothing."""
    row = recommended_row(run)
    if row is None:
        return _nothing_to_recommend(run)
    paragraphs = [
        f"Build {hardware(row)}."
        + ("" if without_tiles(row) else f" {placement(row)} {why.dense_parts(row)}".rstrip()),
        expectation(run, row),
    ]
    paragraphs += reasons(run, row) + why.doubt(run, row) + why.drivers(run, row)
    return [keep_together(text) for text in paragraphs]


def hardware(row: Design) -> str:
    """The machine of one design as a noun phrase; leaves out what the table lacks."""
    tiles, accelerator = "", _accelerator(row)
    if without_tiles(row):
        return f"no analog tiles, only {accelerator or 'a digital accelerator'}"
    if not is_missing(row.get("tiles")):
        tiles = f"{show(row, 'tiles')} analog tiles"
        tiles += f" in {row['technology']}"
        size = [show(row, n) for n in ("tile_rows", "tile_cols") if not is_missing(row.get(n))]
        tiers = 1 if is_missing(row.get("tiers")) else int(row["tiers"])
        if size:
            stack = f"{tiers:,} tiers of " if tiers > 1 else ""
            tiles += f", each {stack}{' × '.join(size)} cells"
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
            text += f" (one ADC for {'each column' if shared == 1 else _count(shared, 'column')})"
    return f"{text}; beside them {accelerator}" if accelerator else text


def without_tiles(row: Design) -> bool:
    """Whether a design is a digital accelerator alone."""
    return row.get("tiles") == 0 or is_missing(row.get("technology"))


def _accelerator(row: Design) -> str:
    """The digital accelerator of one design; "" where nothing of it is recorded."""
    digital = [
        part
        for name, part in (
            ("mac_units", f"{show(row, 'mac_units')} MAC units"),
            ("sram_mib", f"{show(row, 'sram_mib')} of SRAM"),
            ("hbm_stacks", _count(row.get("hbm_stacks"), "HBM stack")),
        )
        if not is_missing(row.get(name))
    ]
    return f"a digital accelerator with {listed(digital)}" if digital else ""


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
    if not is_missing(share) and share == 1:
        return "Compute all routed experts digitally."
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
        f"{show(row, name)}{words}"
        for name, words in (
            ("throughput_tokens_per_s", ""),
            ("latency_s_per_token", " from end to end"),
            ("energy_j_per_token", ""),
            ("power_w", ""),
            ("area_mm2", ""),
        )
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
    where = "source not recorded" if is_missing(source) else f"on {source}"
    return f"{text} Simulated {where}: {', '.join(accuracies)} (± one standard error).".strip()


def reasons(run: Run, row: Design) -> list[str]:
    """Why this design: how it was chosen, and what its technology is."""
    table = run.candidates
    front = int(table.loc[table["state"] == "complete", "on_front"].sum())
    sentences = []
    if row["is_knee"]:
        sentences.append(
            f"It is the knee of the front: of the {_count(front, 'design')} that no other beats, "
            "the one nearest to having the best of every objective at once."
        )
    kind = technology_kind(run, row)
    if kind not in ("", "silicon"):
        # The run says of a technology: title (kind). source.
        told = run.config.get("technologies")
        title = str(told.get(row["technology"], "") if isinstance(told, dict) else "")
        words = f", {title.partition(' (')[0]}," if " (" in title else ""
        sentences.append(f"{row['technology']}{words} is a {kind}, not measured silicon.")
    return sentences


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


def _count(number: Any, noun: str) -> str:
    if is_missing(number):
        return ""
    return f"{int(number):,} {noun}{'' if int(number) == 1 else 's'}"
