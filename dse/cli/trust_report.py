"""README section "How far to trust the numbers", written from what `dse validate` computes.

`python docs/generate.py` puts it into README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dse.cli.validation_sheet import QUANTITIES, percent, span, value

if TYPE_CHECKING:
    import pandas as pd

_INTRODUCTION = """\
`dse validate` predicts published chips, GPU runs and systems from their design parameters alone \
(node, device, array, bits, converters, phases) with constants that all chips of a class share; no \
chip has a factor of its own. *Left out* means that the constants were fitted without that chip. \
What is left out are constants, not insight: the formulas were written with these chips in view; \
the second table says what to expect of a macro that nobody looked at. `dse validate --chips \
FILE.csv` and `--gpus FILE.csv` do the same for a table of yours. This section is written by \
`python docs/generate.py`, and a test fails when it is out of date."""

_UNCERTAINTY = """\
**Ranges.** Every cost carries a low and a high end: each constant moved to the ends of its \
published range, constants independent of each other, effects combined as the root of the sum of \
squares. A constant that two designs share moves both; their ratio moves only by the difference, \
and the report calls two designs different only when the ratio's range leaves one out. The \
formulas' own errors above are not in the ranges. `dse tornado RUN` names the constants that \
decide; `--against TRIAL` compares two designs."""


def _table(headers: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> str:
    lines = [headers, ("---",) * len(headers), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): cell for name, cell in row.items()} for row in table.to_dict("records")]


def _chips() -> str:
    """Errors on chips by quantity, then each miss and its reason."""
    from hwmodels.validation import summarise_chips, validate_chips, worst_cases

    table = validate_chips()
    summary = summarise_chips(table).pivot(index="quantity", columns="prediction")
    rows = []
    for quantity in ("energy_j", "latency_s", "tops_per_w", "area_mm2"):
        one = summary.loc[quantity]
        rows.append(
            (
                QUANTITIES[quantity],
                f"{one['rows', 'left out']}",
                f"{100 * one['median_absolute_error', 'in sample']:.0f} %",
                f"{100 * one['median_absolute_error', 'left out']:.0f} %",
                f"{one['within_factor_2', 'left out']}",
                f"{one['worst_factor', 'left out']:.2g} times ({one['worst_chip', 'left out']})",
            )
        )
    headers = (
        "measured chips",
        "chips",
        "median error",
        "left out",
        "within x2",
        "worst, left out",
    )
    misses = [
        f"- {row['chip']}, {QUANTITIES[row['quantity']]}: predicted "
        f"{value(row['predicted_left_out'], row['quantity'])}, published "
        f"{value(row['measured'], row['quantity'])}; {row['note'] or 'no reason known'}."
        for row in _rows(worst_cases(table))
    ]
    text = "Off by more than a factor of 1.5 when left out, worst first:\n\n"
    return f"{_table(headers, rows)}\n\n{text}" + "\n".join(misses)


def _survey() -> str:
    """Errors on the macros of a survey, by class, with the half that was never fitted."""
    from hwmodels.validation import summarise_classes, validate_survey

    table = summarise_classes(validate_survey())
    rows = [
        (
            row["class"],
            row["chips"],
            f"{row['median_factor']:.2g} times",
            f"{row['bias']:.2g}",
            f"{row['within_factor_2']}",
            f"{row['worst_factor']:.2g} times",
        )
        for row in _rows(table[~table["fitted"]])
    ]
    headers = ("never fitted", "macros", "median off in TOPS/W", "bias", "within x2", "worst")
    text = (
        "Macros of a public survey (Shanbhag and Roy, CICC 2022) known by its normalised figures "
        "only. Papers of even number take part in the fit, those below, of odd number, never. "
        "Published figures of one class differ by several times at equal design parameters: "
        "sparsity, clocks and what is counted are not in the table. Trust a comparison of two "
        "designs of one technology, not the absolute TOPS/W of an unseen macro."
    )
    return f"{_table(headers, rows)}\n\n{text}"


def _gpus() -> str:
    """One sentence on decoding on GPUs."""
    from hwmodels.validation_gpu import validate_gpus

    table = validate_gpus()
    fitted, left_out = table["error"].abs(), table["error_left_out"].abs()
    return (
        f"**Digital.** {len(table)} measured times and energies of Qwen3-30B-A3B decoding on an "
        f"H100, batch {table['batch'].min():.0f} to {table['batch'].max():.0f}, with one "
        f"efficiency curve: median error {100 * fitted.median():.0f} %, worst "
        f"{100 * fitted.max():.0f} %; with each run left out of the fit "
        f"{100 * left_out.median():.0f} % and {100 * left_out.max():.0f} %."
    )


def _systems() -> str:
    from hwmodels.validation_system import validate_systems

    rows = [
        (row["system"], row["quantity"].replace("area_mm2", "area (mm2)"),
         f"{row['measured']:.3g}", f"{row['predicted']:.3g}", span(row["low"], row["high"]),
         percent(row["error"]), row["note"])
        for row in _rows(validate_systems())
    ]  # fmt: skip
    headers = ("from tile to system", "", "published", "predicted", "range", "error", "how")
    note = (
        "Range: the prediction within the published ranges of its constants (of converters the "
        "spread of the survey, 0.18 to 5.8 times)."
    )
    return f"{_table(headers, rows)}\n\n{note}"


def _seed() -> str:
    """The paper's Table 2, one row a machine, and what the analog row would take."""
    from dse.experiments.reproduce.table2 import (
        CONTEXT,
        SUSTAINED,
        analog_throughput_sentence,
        seed_table,
    )

    rows = []
    for name, part in seed_table().groupby("digital", sort=False):
        cells = []
        for quantity in ("parameters_percent", "tokens_per_s", "tokens_per_joule"):
            one = part[part["quantity"] == quantity].iloc[0]
            pair = (value(one[column], quantity) for column in ("published", "predicted"))
            exact = abs(one["predicted"] - one["published"]) < 0.005
            error = "exact" if exact else percent(float(one["error"]))
            cells.append(" / ".join(pair) + f" ({error})")
        rows.append((name, *cells))
    headers = ("Table 2 of arXiv 2603.02633: digital", "parameters", "tokens/s", "tokens/J")
    note = (
        "Published / predicted, OLMoE at batch 32 (`dse validate --seed`). The cache's length is "
        f"not published; {CONTEXT} tokens is what the second row leaves time for. Nor is the "
        f"A100's sustained bandwidth: {SUSTAINED:g} of the data sheet's has the least absolute "
        "error. The second and third row alone would give 0.997, the last row 0.905 (what H100s "
        "sustain above): no one bandwidth gives all three to within 3 %. Energy of the digital "
        "rows is 400 W times time, so that it errs as the throughput does."
    )
    return f"{_table(headers, rows)}\n\n{note} {analog_throughput_sentence()}"


def trust_section() -> str:
    """The section as markdown, without its heading."""
    parts = (_INTRODUCTION, _chips(), _survey(), _gpus(), _systems(), _seed(), _UNCERTAINTY)
    return "\n\n".join(parts)
