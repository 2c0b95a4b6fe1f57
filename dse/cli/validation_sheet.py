"""Tables of `dse validate` on a terminal: one row a chip, a run, a machine; failures by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dse.cli.console import number, print_table, say, si

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = {
    "energy_j": "energy/MVM",
    "latency_s": "latency/MVM",
    "tops_per_w": "TOPS/W",
    "area_mm2": "area",
    "step_time_s": "step",
    "energy_j_per_token": "energy/token",
    "parameters_percent": "digital",
    "tokens_per_s": "tokens/s",
    "tokens_per_joule": "tokens/J",
    "power_w": "power",
}
UNITS = {"energy_j": "J", "latency_s": "s", "step_time_s": "s", "energy_j_per_token": "J"}
SUFFIX = {"area_mm2": " mm2", "parameters_percent": " %", "power_w": " W"}


def value(amount: object, quantity: str) -> str:
    """A number with the unit of its quantity; a dash when it is missing."""
    if quantity in UNITS:
        return si(amount, UNITS[quantity])
    if isinstance(amount, float) and 1000 <= amount < 1e6:
        return f"{amount:,.0f}" + SUFFIX.get(quantity, "")
    text = number(amount, 4 if quantity == "parameters_percent" else 3)
    return text if text == "–" else text + SUFFIX.get(quantity, "")


def percent(error: float) -> str:
    """A relative error: '+4 %', '-3.2 %'; as a factor from 2 on."""
    if error != error:
        return ""
    if error >= 1 or error <= -0.5:
        return f"x{1 + error:.2g}"
    return f"{100 * error:+.1f} %" if abs(error) < 0.0995 else f"{100 * error:+.0f} %"


def span(low: object, high: object) -> str:
    """The ends of a range; a dash where none is known."""
    ends = number(low, 3), number(high, 3)
    return "–" if "–" in ends else f"{ends[0]} to {ends[1]}"


def print_tables(tables: dict[str, pd.DataFrame]) -> None:
    """Print the tables that there are, in a fixed order, with what each can and cannot say."""
    printers = {
        "chips": print_chips,
        "summary": print_summary,
        "classes": print_classes,
        "gpus": print_gpus,
        "gpu_summary": print_gpu_summary,
        "digital": print_digital,
        "systems": print_systems,
        "seed": print_seed,
    }
    for name, table in tables.items():
        printers[name](table)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): cell for name, cell in row.items()} for row in table.to_dict("records")]


def _pivot(rows: pd.DataFrame, quantity: str, predicted: str, error: str) -> str:
    """Cell of one quantity: the prediction and its error."""
    row = rows[rows["quantity"] == quantity]
    if row.empty or row[predicted].isna().all():
        return "–"
    one = row.iloc[0]
    return f"{value(one[predicted], quantity)} {percent(one[error])}".strip()


MOST_CHIPS = 20
"""A longer table of chips is printed by class, with its worst misses, not chip by chip."""
SHOWN = 3.0, 15
"""Misses that are printed: left out by more than this factor, and at most so many."""


def _predictions(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """Chip by chip and quantity: prediction, its 80 % interval, published value and error."""
    rows: list[tuple[str, ...]] = []
    for row in _rows(table.dropna(subset=["predicted_left_out"])):
        name = row["quantity"]
        rows.append(
            (
                str(row["chip"]),
                str(row["class"]),
                QUANTITIES[name],
                value(row["predicted_left_out"], name),
                f"{value(row['low'], name)} to {value(row['high'], name)}"
                if row["low"] == row["low"]
                else "–",
                value(row["measured"], name),
                percent(row["error_left_out"]),
            )
        )
    return rows


def print_chips(table: pd.DataFrame) -> None:
    """Predictions with intervals of a short table; then misses, and what is not expressed."""
    from hwmodels.validation import not_predicted, worst_cases

    if table["chip"].nunique() <= MOST_CHIPS:
        columns = ("chip", "class", "quantity", "predicted", "80 % of such", "published", "error")
        title = "Predicted with constants fitted without the chip"
        print_table(columns, _predictions(table), title=title, left=3)
    else:
        say("Every chip's prediction and interval: --json.")
    factor, most = SHOWN
    worst = worst_cases(table, factor)
    if len(worst):
        cells = [
            (
                str(row["chip"]),
                QUANTITIES[row["quantity"]],
                value(row["measured"], row["quantity"]),
                value(row["predicted_left_out"], row["quantity"]),
                str(row["note"]) or "no reason known",
            )
            for row in _rows(worst.head(most))
        ]
        headers = ("chip", "quantity", "published", "predicted", "why")
        shown = f"the {len(cells)} worst of {len(worst)}" if len(worst) > most else "worst first"
        title = f"Off by more than a factor of {factor:g} when left out, {shown}"
        print_table(headers, cells, title=title, left=5)
    refused = not_predicted(table)
    if len(refused):
        reasons = [
            (_few(str(row["chips"])), _names(str(row["quantities"])), str(row["reason"]))
            for row in _rows(refused)
        ]
        print_table(("chips", "quantities", "not predicted because"), reasons, left=3)


def _few(chips: str) -> str:
    """Names of chips; of many, the first and their number."""
    names = chips.split(", ")
    return chips if len(names) <= 6 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _names(quantities: str) -> str:
    names = [QUANTITIES[name] for name in quantities.split(", ") if name]
    return ", ".join(names) or "everything"


def print_summary(table: pd.DataFrame) -> None:
    """Median and worst error by quantity; measured silicon and chips in the fit only."""
    rows = [
        (
            QUANTITIES[row["quantity"]],
            str(row["prediction"]),
            f"{row['rows']}",
            f"x{row['median_factor']:.3g}",
            f"{row['within_factor_2']}",
            f"x{row['worst_factor']:.2g}",
            str(row["worst_chip"]),
            f"{100 * row['covered']:.0f} %",
        )
        for row in _rows(table)
    ]
    headers = ("quantity", "prediction", "rows", "median off", "within x2", "worst", "of chip")
    if rows:
        title = "Errors over all measured chips, and how many lie in their 80 % interval"
        print_table((*headers, "covered"), rows, title=title, left=2)


def class_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """One class and quantity: chips, left-out errors, coverage and the interval of a new chip."""
    return (
        str(row["class"]),
        QUANTITIES[row["quantity"]],
        f"{row['chips']}{' (few)' if row['few'] else ''}",
        f"x{row['median_factor']:.3g}",
        f"x{row['worst_factor']:.2g}",
        f"{100 * row['covered']:.0f} %",
        f"x{row['low']:.2g} to x{row['high']:.2g}",
    )


CLASS_HEADERS = ("class", "quantity", "chips", "median off", "worst", "covered", "80 % interval")
FEW_NOTE = (
    "(few): fewer than 5 chips, so that the interval rests on the scatter of the other classes. "
    "Interval: what 80 % of new chips of the class measure, over the prediction. Covered: left-out "
    "results within the interval that the other chips of the class give."
)


def print_classes(table: pd.DataFrame) -> None:
    """Left-out errors, coverage and interval by class of macro, worst first."""
    if len(table):
        ordered = table.sort_values("median_factor", ascending=False)
        title = "By how a macro is built, left out, worst first"
        print_table(CLASS_HEADERS, map(class_cells, _rows(ordered)), title=title, left=2)
        _say([FEW_NOTE])


def print_gpus(table: pd.DataFrame) -> None:
    """Decode steps of GPUs: time and energy with their errors, fitted and, if it was, left out."""
    rows, told = [], []
    several = [name for name in ("gpu", "precision") if table[name].nunique() > 1]
    known = bool((table["predicted"] != table["predicted_left_out"]).where(table["in_fit"]).any())
    quantities = ("step_time_s", "energy_j_per_token")
    for _, part in table.groupby("run"):
        first = part.iloc[0]
        if part["predicted"].isna().all():
            told.append(f"row {first['run']}, {first['model']}: {first['reason']}")
            continue
        cells = []
        for quantity in quantities:
            cells.append(_pivot(part, quantity, "predicted", "error"))
            if known:
                without = part[part["quantity"] == quantity]["error_left_out"].iloc[0]
                cells.append(percent(without))
        name = str(first["model"]).rpartition("/")[2].removesuffix("-2507")
        mark = " *" if first["waits_for_host"] else ""
        batch = f"{first['batch']:.4g}{mark}"
        rows.append((name, *(str(first[n]) for n in several), batch, *cells))
    named = [(QUANTITIES[name], "left out")[: 1 + known] for name in quantities]
    headers = ("model", *several, "batch", *named[0], *named[1])
    title = "Decoding on GPUs: predicted with one set of constants"
    title += ", and the error without the model" if known else ""
    if rows:
        print_table(headers, rows, title=title, left=1 + len(several))
    _say([f"{_starred(note)}." for note in table["note"].unique() if note] + told)


def _starred(note: str) -> str:
    return f"* {note}" if note.startswith("the GPU waited") else note


def print_gpu_summary(table: pd.DataFrame) -> None:
    """Errors on GPU runs with their model left out, and on runs that were never fitted."""
    rows = [
        (
            str(row["prediction"]),
            str(row["runs"]),
            QUANTITIES[row["quantity"]],
            f"{row['rows']}",
            f"{100 * row['median_absolute_error']:.1f} %",
            f"{100 * row['within_30_percent']:.0f} %",
            percent(row["worst_error"]),
            str(row["worst_run"]).rpartition("/")[2].replace("-2507", "").replace(", batch", ","),
        )
        for row in _rows(table)
    ]
    headers = ("GPU runs", "", "quantity", "runs", "median error", "within 30 %", "worst", "of")
    print_table(headers, rows, title="Errors over GPU runs, each model left out once", left=3)


def print_digital(table: pd.DataFrame) -> None:
    """Dies, boards and operations of published digital machines."""
    print_figures(table, "machine", "Digital machines, from published parameters")


def print_systems(table: pd.DataFrame) -> None:
    """Steps from tile to chip to system."""
    print_figures(table, "system", "From tile to chip to system")


def print_figures(table: pd.DataFrame, what: str, title: str) -> None:
    """Published beside predicted figures, one row each."""
    rows = [
        (
            str(row["system"]),
            str(row["quantity"]),
            number(row["measured"], 3),
            number(row["predicted"], 3),
            span(row["low"], row["high"]),
            percent(float(row["error"])),
        )
        for row in _rows(table)
    ]
    headers = (what, "quantity", "published", "predicted", "range", "error")
    print_table(headers, rows, title=title, left=2)


def print_seed(table: pd.DataFrame) -> None:
    """Table 2 of the paper beside the prediction."""
    from dse.experiments.reproduce.table2 import CONTEXT, analog_throughput_sentence

    rows = [
        (
            str(row["digital"]),
            QUANTITIES[row["quantity"]],
            value(row["published"], row["quantity"]),
            value(row["predicted"], row["quantity"]),
            percent(float(row["error"])) if row["published"] else "",
        )
        for row in _rows(table)
    ]
    headers = ("digital", "quantity", "published", "predicted", "error")
    title = (
        "Chowdhury et al., arXiv 2603.02633, Table 2: OLMoE at batch 32; the cache's "
        f"length is not published, {CONTEXT} tokens here"
    )
    print_table(headers, rows, title=title, left=2)
    _say([analog_throughput_sentence()])


def print_accuracy(
    table: pd.DataFrame, gains: Sequence[dict[str, Any]], findings: Sequence[str]
) -> None:
    """Published losses beside predictions without them, worst first; then gains and findings."""
    rows = [
        (
            str(row["model"]).removesuffix("-Instruct"),
            f"{row['what']}, {row['perturbation']}",
            f"{row['published']:.3g} {'pt' if row['unit'] == 'points' else 'nat'}",
            number(row["predicted"], 3),
            number(row["left_out"], 3),
            span(row["low"], row["high"]),
            {True: "yes", False: "no", None: "–"}[row["covered"]],
        )
        for row in _rows(table)
    ]
    headers = ("model", "analog or rounded", "published", "fitted", "left out", "68 % band", "held")
    print_table(headers, rows, title="Losses of full-size models, worst row first", left=2)
    cells = [(row["parameter"], f"{row['value']:.2f} ± {row['stderr']:.2f}") for row in gains]
    print_table(("full model over miniature", "value"), cells)
    _say(list(findings))


def _say(lines: list[str]) -> None:
    for line in lines:
        say(line)
