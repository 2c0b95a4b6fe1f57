"""Tables of `dse validate` on a terminal: one row a chip, a run, a machine; failures by name."""

from __future__ import annotations

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
        "systems": print_systems,
        "seed": print_seed,
    }
    for name, table in tables.items():
        if name in printers:  # the survey's macros by class only
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


def print_chips(table: pd.DataFrame) -> None:
    """Predictions for each chip with their errors, then misses and what is not expressed."""
    from hwmodels.validation import not_predicted, worst_cases

    names = ("energy_j", "latency_s", "tops_per_w", "area_mm2")
    known = table[table["quantity"] != ""]
    rows = [
        (str(chip), *(_pivot(part, n, "predicted_left_out", "error_left_out") for n in names))
        for chip, part in known.groupby("chip", sort=False)
    ]
    print_table(
        ("chip", *(QUANTITIES[name] for name in names)),
        rows,
        title="Predicted with constants fitted without the chip, and the error if it is measured",
    )
    worst = worst_cases(table)
    if len(worst):
        cells = [
            (
                str(row["chip"]),
                QUANTITIES[row["quantity"]],
                value(row["measured"], row["quantity"]),
                value(row["predicted_left_out"], row["quantity"]),
                str(row["note"]) or "no reason known",
            )
            for row in _rows(worst)
        ]
        headers = ("chip", "quantity", "measured", "predicted", "why")
        print_table(headers, cells, title="Off by more than a factor of 1.5", left=5)
    refused = not_predicted(table)
    if len(refused):
        reasons = [
            (str(row["chips"]), _names(str(row["quantities"])), str(row["reason"]))
            for row in _rows(refused)
        ]
        print_table(("chips", "quantities", "not predicted because"), reasons, left=3)


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
            f"{100 * row['median_absolute_error']:.1f} %",
            f"{row['within_factor_2']}",
            f"x{row['worst_factor']:.2g}",
            str(row["worst_chip"]),
        )
        for row in _rows(table)
    ]
    headers = ("quantity", "prediction", "chips", "median error", "within x2", "worst", "of chip")
    print_table(headers, rows, title="Errors over all measured chips", left=2)


def print_classes(table: pd.DataFrame) -> None:
    """TOPS/W by class of macro: chips in the fit, and chips that no constant was fitted to."""
    rows = [
        (
            str(row["class"]),
            "fitted" if row["fitted"] else "never fitted",
            f"{row['chips']}",
            f"x{row['median_factor']:.2g}",
            f"x{row['bias']:.2g}",
            f"{row['within_factor_2']}",
            f"x{row['worst_factor']:.2g}",
            str(row["worst_chip"]),
        )
        for row in _rows(table)
    ]
    headers = ("class", "constants", "macros", "median off", "bias", "within x2", "worst", "of")
    if rows:
        print_table(headers, rows, title="TOPS/W of macros, by how they are built", left=2)


def print_gpus(table: pd.DataFrame) -> None:
    """Decode steps of GPUs: time and energy with their errors, fitted and, if it was, left out."""
    rows, told = [], []
    several = [name for name in ("gpu", "precision") if table[name].nunique() > 1]
    kinds = [("predicted", "error"), ("predicted_left_out", "error_left_out")]
    kinds = kinds if table["in_fit"].any() else kinds[:1]
    quantities = ("step_time_s", "energy_j_per_token")
    for _, part in table.groupby("run"):
        first = part.iloc[0]
        if part["predicted"].isna().all():
            told.append(f"row {first['run']}, {first['model']}: {first['reason']}")
            continue
        cells = [_pivot(part, quantity, *kind) for quantity in quantities for kind in kinds]
        name = str(first["model"]).rpartition("/")[2].removesuffix("-2507")
        rows.append((name, *(str(first[n]) for n in several), f"{first['batch']:.4g}", *cells))
    named = [(QUANTITIES[name], "left out")[: len(kinds)] for name in quantities]
    headers = ("model", *several, "batch", *named[0], *named[1])
    title = "Decoding on GPUs: predicted with one efficiency curve"
    title += ", and without the run" if len(kinds) > 1 else ""
    if rows:
        print_table(headers, rows, title=title, left=1 + len(several))
    _say([f"{note}." for note in table["note"].unique() if note] + told)


def print_systems(table: pd.DataFrame) -> None:
    """Steps from tile to chip to system."""
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
    headers = ("system", "quantity", "published", "predicted", "range", "error")
    print_table(headers, rows, title="From tile to chip to system", left=2)


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


def _say(lines: list[str]) -> None:
    for line in lines:
        say(line)
