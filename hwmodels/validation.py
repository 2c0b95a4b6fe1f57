"""How far the models can be trusted: predictions against published silicon, as tables.

Every prediction uses design parameters only (chip_table keeps measured results apart) and constants
that all chips of a class share. `left_out` predictions use constants fitted without that chip. What
is left out are constants, not insight: the formulas of a class were written with its chips in view.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from hwmodels import chip_table
from hwmodels.chip_model import QUANTITIES, Constants, chip_class, predict, why_not
from hwmodels.chip_table import Chip

if TYPE_CHECKING:
    import pandas as pd

CHIP_COLUMNS = (
    "chip",
    "title",
    "kind",
    "class",
    "quantity",
    "measured",
    "predicted",
    "error",
    "predicted_left_out",
    "error_left_out",
    "in_fit",
    "reason",
    "note",
)

SCATTER = "published macros of this kind differ several times at equal design parameters"
NOTES = {
    ("neuron", "latency_s"): "the step of a voltage-mode neuron is scaled from ISAAC's read; "
    "left out, this checks the count of steps and that scale",
    ("pulse width", "latency_s"): "the row states no time of a pulse-width step: 1 ns as in HERMES",
    ("sampled macro", "latency_s"): "one access time for all, scaled by node",
    ("ladder", "energy_j"): "the only C-2C ladder: its capacitors are taken for three "
    "charge-domain ones a bit, its converter for the survey's best",
    ("sampled macro", "energy_j"): SCATTER,
    ("bit-line SRAM", "energy_j"): SCATTER,
    ("bit-line SRAM", "latency_s"): "one access time for all, in the median off 3.6 times where "
    "never fitted: published ones span 1 to 155 ns",
    ("capacitor", "energy_j"): SCATTER,
    (
        "digital",
        "energy_j",
    ): "clocking, registers and sparse inputs of adder trees are not modelled",
    ("large", "energy_j"): "a current-mode cell, taken for a charge-domain one",
    ("fully parallel RRAM", "area_mm2"): "left out, nothing tells how high-voltage drivers shrink",
}


def _note(chip: Chip, quantity: str) -> str:
    if chip.kind.startswith("simulated") and chip_class(chip) == "pulse width":
        return "a circuit projection, several times better than silicon; not in the statistics"
    if chip.kind == "vendor":
        return "vendor figure at an unstated operating point; not in the statistics"
    if quantity == "tops_per_w" and chip.level != "tile":
        share = "arrays take a fixed share of a chip's energy, after ISAAC"
        if chip.durations:
            share = "tiles and the counters at the landing pads"
        more = "; digital operations as in a 14 nm processor" if chip.level == "system" else ""
        return f"{chip.level} level: {share}{more}"
    if quantity == "latency_s" and (chip.slot_s or chip_class(chip) == "ISAAC-like RRAM"):
        return "the step time is a stated design parameter: this checks the count of steps"
    quantity = "energy_j" if quantity == "tops_per_w" else quantity
    if chip.neuron and quantity == "latency_s":
        return NOTES["neuron", quantity]
    return NOTES.get((chip.cell or chip_class(chip), quantity), "")


def _rows_of(
    chip: Chip, constants: Constants, without: Constants, in_fit: bool
) -> list[dict[str, Any]]:
    predicted, left_out = predict(chip, constants), predict(chip, without)
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
            "in_fit": in_fit,
            "reason": reason,
            "note": _note(chip, quantity) if measured is not None and value is not None else "",
        }
        for error, number in (("error", value), ("error_left_out", other)):
            row[error] = number / measured - 1 if number is not None and measured else None
        rows.append(row)
    return rows


def validate_chips(path: str | Path | None = None) -> pd.DataFrame:
    """Predictions beside published results for a table of chips (the shipped one by default).

    One row a chip and quantity: energy of one MVM (energy_j), its latency (latency_s), TOPS/W and
    area (area_mm2). `predicted` uses constants fitted to all shipped chips, `predicted_left_out`
    constants fitted without chips of the same family (for a chip that is not shipped the two are
    the same). Errors are predicted / measured - 1. `reason` says why a number is missing, `note`
    where a class is known to fail. Macros of the survey are not left out one by one: half of them
    are never fitted. Raises ValueError in one line for a file that is no such table.
    """
    import pandas as pd

    from hwmodels.fitting import fitted, fitted_without, survey_number, training_chips

    trained = {chip.id for chip in training_chips()}
    rows: list[dict[str, Any]] = []
    for entry in chip_table.read_table(path):
        try:
            chip = chip_table.parse(entry)
            surveyed = survey_number(chip) is not None
            without = fitted() if surveyed else fitted_without(chip.family)
            rows += _rows_of(chip, fitted(), without, chip.id in trained)
        except ValueError as error:
            blank = dict.fromkeys(CHIP_COLUMNS)
            texts = {"chip": entry["id"], "title": entry["chip_or_macro"], "class": "", "note": ""}
            kind = entry["kind(measured|simulated)"]
            blank.update(
                texts, kind=kind, quantity="", in_fit=False, reason=shorten(str(error), 200)
            )
            rows.append(blank)
    table = pd.DataFrame(rows, columns=list(CHIP_COLUMNS))
    numbers = ["measured", "predicted", "error", "predicted_left_out", "error_left_out"]
    return table.astype(dict.fromkeys(numbers, float))


def summarise_chips(table: pd.DataFrame) -> pd.DataFrame:
    """Median and worst error by quantity, in sample and left out, over a table of validate_chips.

    Only chips whose results are measured or stand in the fit count; circuit projections and vendor
    figures do not. `worst_factor` is the largest of predicted/measured and its inverse.
    """
    import numpy as np
    import pandas as pd

    silicon = table[(table["kind"] == "measured") | table["in_fit"].astype(bool)]
    rows = []
    for quantity in QUANTITIES:
        for label, column in (("in sample", "error"), ("left out", "error_left_out")):
            part = silicon[silicon["quantity"] == quantity].dropna(subset=[column])
            if part.empty:
                continue
            factor = np.exp(np.abs(np.log1p(part[column].to_numpy())))
            rows.append(
                {
                    "quantity": quantity,
                    "prediction": label,
                    "rows": len(part),
                    "median_absolute_error": float(part[column].abs().median()),
                    "within_factor_2": int((factor <= 2).sum()),
                    "worst_factor": float(factor.max()),
                    "worst_chip": str(part["chip"].to_numpy()[int(factor.argmax())]),
                }
            )
    return pd.DataFrame(rows)


def validate_survey() -> pd.DataFrame:
    """validate_chips for the macros of the shipped survey: `in_fit` is false for half of them.

    The survey is that of the University of Illinois (Shanbhag and Roy, CICC 2022; MIT licence),
    without the chips of the shipped table and without devices and nodes that are not modelled.
    """
    return validate_chips(chip_table.SURVEY)


def summarise_classes(table: pd.DataFrame) -> pd.DataFrame:
    """How far energy an operation is off, by class of chip: factors, for macros scatter by factors.

    Over the TOPS/W of a table of validate_chips (energy of an MVM where it gives none), for chips
    in the fit and chips never fitted apart. `median_factor` is the median of predicted/measured or
    its inverse, `bias` the median of predicted over measured efficiency.
    """
    import numpy as np
    import pandas as pd

    known = table[table["quantity"].isin(("tops_per_w", "energy_j"))].dropna(subset=["error"])
    known = known.sort_values("quantity").drop_duplicates("chip", keep="last")
    rows = []
    for (name, fitted), part in known.groupby(["class", known["in_fit"].astype(bool)]):
        ratio = np.log1p(part["error"].to_numpy())
        ratio = np.where(part["quantity"] == "energy_j", -ratio, ratio)
        worst = int(np.abs(ratio).argmax())
        rows.append(
            {
                "class": name,
                "fitted": bool(fitted),
                "chips": len(part),
                "median_factor": float(np.exp(np.median(np.abs(ratio)))),
                "bias": float(np.exp(np.median(ratio))),
                "within_factor_2": int((np.abs(ratio) <= np.log(2)).sum()),
                "worst_factor": float(np.exp(np.abs(ratio[worst]))),
                "worst_chip": str(part["chip"].to_numpy()[worst]),
            }
        )
    columns = ["class", "fitted", "chips", "median_factor", "bias", "within_factor_2"]
    return pd.DataFrame(rows, columns=[*columns, "worst_factor", "worst_chip"])


def worst_cases(table: pd.DataFrame, factor: float = 1.5) -> pd.DataFrame:
    """Left-out predictions that miss by more than a factor, worst first, with the reason if known.

    Silicon and projections alike; the latter do not count in `summarise_chips`. TOPS/W is left out
    where the same chip's energy per MVM is listed: it says the same again.
    """
    import numpy as np

    rows = table.dropna(subset=["error_left_out"]).copy()
    rows["factor"] = np.exp(np.abs(np.log1p(rows["error_left_out"])))
    rows = rows[rows["factor"] > factor]
    energies = set(rows.loc[rows["quantity"] == "energy_j", "chip"])
    rows = rows[(rows["quantity"] != "tops_per_w") | ~rows["chip"].isin(energies)]
    columns = ["chip", "quantity", "measured", "predicted_left_out", "factor", "note"]
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
