"""How far the models can be trusted: predictions against published silicon, as tables.

Every prediction uses design parameters only (chip_table keeps measured results apart) and constants
that all chips of a class share. `left_out` predictions use constants fitted without that chip, and
intervals the scatter of the others of its class. What is left out are constants, not insight: the
formulas of a class were written with its chips in view.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwmodels import chip_table
from hwmodels.chip_model import QUANTITIES, Constants, chip_class, predict, why_not
from hwmodels.chip_table import Chip
from hwmodels.chip_tiles import CLASSES
from hwmodels.fitting import SCATTERED, fitted, fitted_without
from hwmodels.intervals import class_interval

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = ("measured", "predicted", "error", "predicted_left_out", "error_left_out", "low", "high")
CHIP_COLUMNS = (
    "chip",
    "title",
    "kind",
    "class",
    "quantity",
    *NUMBERS,
    "in_fit",
    "reason",
    "note",
)

SCATTER = "published macros of this kind differ several times at equal design parameters"
NOTES = {
    ("integrating neuron", "latency_s"): "the step of a voltage-mode neuron is scaled from ISAAC's "
    "read; left out, this checks the count of steps and that scale",
    ("integrating neuron", "area_mm2"): "left out, nothing tells how high-voltage drivers shrink",
    ("sampled analog", "latency_s"): "one step of an input bit for all, scaled by node",
    ("sensed macro", "latency_s"): "one access time for all, scaled by node",
    ("bit-line discharge", "latency_s"): "one access time for all: published ones span 1 to 155 ns",
    ("bit-line current", "latency_s"): "one access time for all",
    ("charge domain", "latency_s"): "one settling time a row for all",
    ("digital", "latency_s"): "a cycle is the adder tree's delay; pipelining is not in the columns",
    ("digital", "energy_j"): "sparse inputs and approximate adders are not in the table's columns",
}


def _note(chip: Chip, quantity: str) -> str:
    """What is known about a prediction's error; the source's own doubt first."""
    if chip.kind == "projection":
        return "a projection, several times better than silicon; not in the statistics"
    if chip.kind == "vendor":
        return "vendor figure at an unstated operating point; not in the statistics"
    if chip.doubt:
        return f"doubtful in its source: {chip.doubt}"
    if quantity == "tops_per_w" and chip.counts in ("chip", "system"):
        share = "arrays take a fixed share of a chip's energy, after ISAAC"
        if chip.readout == "ramp_to_pulses":
            share = "tiles and the counters at the landing pads"
        more = "; digital operations as in a 14 nm processor" if chip.counts == "system" else ""
        return f"{chip.counts} level: {share}{more}"
    if quantity == "latency_s" and chip.clock_hz:
        return "the step time is a stated design parameter: this checks the count of steps"
    if chip.column_sum == "ladder":
        return "the only C-2C ladder: three charge-domain capacitors a bit, the survey's converter"
    quantity = "energy_j" if quantity == "tops_per_w" else quantity
    named = NOTES.get((chip_class(chip), quantity), "")
    scattered = quantity == "energy_j" and chip_class(chip) in SCATTERED
    return named or (SCATTER if scattered else "")


def _rows_of(chip: Chip, constants: Constants, without: Constants) -> list[dict[str, Any]]:
    predicted, left_out = predict(chip, constants), predict(chip, without)
    kind = "projection" if chip.kind == "projection" else chip_class(chip)
    rows = []
    for quantity in QUANTITIES:
        measured = chip.measured.get(quantity)
        reason = why_not(chip, quantity) if quantity not in predicted else ""
        if measured is None and not reason:
            reason = chip.missing.get(quantity, "no published value to compare with")
        value, other = predicted.get(quantity), left_out.get(quantity)
        row = {
            "chip": chip.id,
            "title": chip.title,
            "kind": chip.kind,
            "class": chip_class(chip),
            "quantity": quantity,
            "measured": measured,
            "predicted": value,
            "predicted_left_out": other,
            "in_fit": chip.in_fit,
            "reason": reason,
            "note": _note(chip, quantity) if measured is not None and value is not None else "",
        }
        if other is not None and kind != "projection":
            found = class_interval(kind, quantity, without=chip.family)
            row |= {"low": found.low * other, "high": found.high * other}
        for error, number in (("error", value), ("error_left_out", other)):
            row[error] = number / measured - 1 if number is not None and measured else None
        rows.append(row)
    return rows


def validate_chips(path: str | Path | None = None) -> pd.DataFrame:
    """Predictions beside published results for a table of chips (the shipped one by default).

    One row a chip and quantity: energy of one MVM (energy_j), its latency (latency_s), TOPS/W and
    area (area_mm2). `predicted` uses constants fitted to the shipped chips, `predicted_left_out`
    constants fitted without chips of the same family (for a chip that is not shipped the two are
    the same), `low` and `high` are its 80 % interval from the others of its class. Errors are
    predicted / measured - 1. `reason` says why a number is missing, `note` what is known of an
    error. Raises ValueError in one line for a file that is no such table.
    """
    import dataclasses

    import pandas as pd

    rows: list[dict[str, Any]] = []
    for entry in chip_table.read_table(path):
        try:
            chip = chip_table.parse(entry)
            if path is not None:  # a row of one's own is in no fit, whatever it says
                chip = dataclasses.replace(chip, in_fit=False)
            rows += _rows_of(chip, fitted(), fitted_without(chip.family))
        except ValueError as error:
            blank: dict[str, Any] = dict.fromkeys(CHIP_COLUMNS)
            texts = {"chip": entry["id"], "title": entry["title"], "class": "", "note": ""}
            kind = entry["kind"] or "silicon"
            rows.append(blank | texts | {"kind": kind, "quantity": "", "in_fit": False,
                                         "reason": str(error)})  # fmt: skip
    table = pd.DataFrame(rows, columns=list(CHIP_COLUMNS))
    return table.astype(dict.fromkeys(NUMBERS, float))


def _counted(table: pd.DataFrame) -> pd.DataFrame:
    """Rows with a left-out error whose results are measured or stand in the fit.

    Projections and vendor figures do not count.
    """
    rows = table[(table["kind"] == "silicon") | table["in_fit"].astype(bool)]
    return rows.dropna(subset=["error_left_out"])


def _figures(part: pd.DataFrame, column: str) -> dict[str, Any]:
    """Number of rows, median and worst error, and how many intervals hold the measured value."""
    import numpy as np

    factor = np.exp(np.abs(np.log1p(part[column].to_numpy())))
    return {
        "rows": len(part),
        "median_absolute_error": float(part[column].abs().median()),
        "median_factor": float(np.median(factor)),
        "within_factor_2": int((factor <= 2).sum()),
        "worst_factor": float(factor.max()),
        "worst_chip": str(part["chip"].to_numpy()[int(factor.argmax())]),
        "covered": float(part["measured"].between(part["low"], part["high"]).mean()),
    }


def summarise_chips(table: pd.DataFrame) -> pd.DataFrame:
    """Errors by quantity, in sample and left out, over a table of validate_chips.

    `worst_factor` is the largest of predicted/measured and its inverse; `covered` the share of
    measured values within the left-out prediction's 80 % interval.
    """
    import pandas as pd

    silicon = _counted(table)
    rows = []
    for quantity in QUANTITIES:
        part = silicon[silicon["quantity"] == quantity]
        for label, column in (("in sample", "error"), ("left out", "error_left_out")):
            if len(part):
                rows.append({"quantity": quantity, "prediction": label} | _figures(part, column))
    return pd.DataFrame(rows)


def summarise_classes(table: pd.DataFrame) -> pd.DataFrame:
    """Left-out errors by class and quantity (TOPS/W, latency, area) over a table of validate_chips.

    With the interval that a new chip of the class gets (`low`, `high`: factors on a prediction),
    the number of shipped chips that it rests on, and whether these are too few.
    """
    import pandas as pd

    silicon = _counted(table)
    rows = []
    for kind in CLASSES:
        for quantity in ("tops_per_w", "latency_s", "area_mm2"):
            part = silicon[(silicon["class"] == kind) & (silicon["quantity"] == quantity)]
            if part.empty:
                continue
            found = class_interval(kind, quantity)
            own = {"low": found.low, "high": found.high, "chips": found.chips, "few": found.few}
            figures = _figures(part, "error_left_out")
            rows.append({"class": kind, "quantity": quantity} | figures | own)
    return pd.DataFrame(rows)


def worst_cases(table: pd.DataFrame, factor: float = 1.5) -> pd.DataFrame:
    """Left-out predictions that miss by more than a factor, worst first, with the reason if known.

    Silicon and projections alike; the latter do not count in `summarise_chips`. Energy per MVM is
    left out where the same chip's TOPS/W is listed: it says the same again.
    """
    import numpy as np

    rows = table.dropna(subset=["error_left_out"]).copy()
    rows["factor"] = np.exp(np.abs(np.log1p(rows["error_left_out"])))
    rows = rows[rows["factor"] > factor]
    efficient = set(rows.loc[rows["quantity"] == "tops_per_w", "chip"])
    rows = rows[(rows["quantity"] != "energy_j") | ~rows["chip"].isin(efficient)]
    columns = [
        "chip",
        "quantity",
        "measured",
        "predicted_left_out",
        "low",
        "high",
        "factor",
        "note",
    ]
    return rows.sort_values("factor", ascending=False)[columns].reset_index(drop=True)


def not_predicted(table: pd.DataFrame) -> pd.DataFrame:
    """What the models do not express: chips and quantities by reason.

    Chips that lack only a published value to compare with are predicted, and not listed.
    """
    rows = table[table["predicted"].isna() & (table["reason"].astype(str) != "")]
    grouped = rows.groupby("reason", sort=False)
    return grouped.agg(
        chips=("chip", lambda names: ", ".join(dict.fromkeys(names))),
        quantities=("quantity", lambda names: ", ".join(dict.fromkeys(filter(None, names)))),
    ).reset_index()


def model_error() -> dict[str, str]:
    """How far the cost models are off on published chips that the fit did not see, in words."""
    names = {"energy_j": "energy/MVM", "latency_s": "latency/MVM", "tops_per_w": "TOPS/W",
             "area_mm2": "area"}  # fmt: skip
    summary = summarise_chips(validate_chips())
    left_out = summary[summary["prediction"] == "left out"]
    return {
        names[row["quantity"]]: f"median error {100 * row['median_absolute_error']:.0f} % on "
        f"{row['rows']} chips, {row['within_factor_2']} within a factor of 2; worst "
        f"{row['worst_factor']:.2g} times ({row['worst_chip']})"
        for row in left_out.to_dict("records")
    }
