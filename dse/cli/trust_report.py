"""README section "How far to trust the numbers", written from what `dse validate` computes.

`python docs/generate.py` puts it into README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dse.cli.validation_sheet import (
    CLASS_HEADERS,
    FEW_NOTE,
    QUANTITIES,
    SHOWN,
    class_cells,
    percent,
    span,
    value,
)

if TYPE_CHECKING:
    import pandas as pd

_INTRODUCTION = """\
`dse validate` predicts published chips, GPU runs and systems from their design parameters alone \
(node, device, array, bits, read-out, rows read together) with constants that all chips of a \
class share; no chip has a factor of its own. *Left out* means that the constants were fitted \
without that chip, and that its interval comes from the others of its class. What is left out are \
constants, not insight: the formulas were written with these chips in view. `dse validate \
--template` prints a table to fill in; `--chips FILE.csv` and `--gpus FILE.csv` predict yours. \
This section is written by `python docs/generate.py`, and a test fails when it is out of date."""

_UNCERTAINTY = """\
**Ranges.** Every cost carries a low and a high end: each constant moved to the ends of its \
published range, and the energy and latency of a tile to the ends of the 80 % interval of its \
class above (of a projection: from silicon's low end to what the models fitted to silicon say of \
the least credible projection), independent of each other, effects combined as the root of the sum \
of squares. What two designs share moves both; their ratio moves only by the difference, and the \
report calls two designs different only when the ratio's range leaves one out. `dse tornado RUN` \
names the constants that decide; `--against TRIAL` compares two designs."""


def _table(headers: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> str:
    lines = [headers, ("---",) * len(headers), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): cell for name, cell in row.items()} for row in table.to_dict("records")]


def _chips() -> str:
    """Left-out errors, coverage and intervals by class, worst first, then the worst misses."""
    from hwmodels.validation import summarise_chips, summarise_classes, validate_chips, worst_cases

    table = validate_chips()
    classes = summarise_classes(table).sort_values("median_factor", ascending=False)
    all_chips = summarise_chips(table)
    overall = [
        f"{QUANTITIES[row['quantity']]} of {row['rows']} rows: off "
        f"{row['median_factor']:.3g} times in the median, {row['within_factor_2']} within a "
        f"factor of 2, worst {row['worst_factor']:.2g} times ({row['worst_chip']}), "
        f"{100 * row['covered']:.0f} % in their 80 % interval"
        for row in _rows(all_chips[all_chips["prediction"] == "left out"])
        if row["quantity"] != "energy_j"  # TOPS/W says the same of more chips
    ]
    factor, most = SHOWN
    misses = [
        f"- {row['chip']}, {QUANTITIES[row['quantity']]}: predicted "
        f"{value(row['predicted_left_out'], row['quantity'])}, published "
        f"{value(row['measured'], row['quantity'])}; {row['note'] or 'no reason known'}."
        for row in _rows(worst_cases(table, factor).head(most))
    ]
    return (
        f"{_table(CLASS_HEADERS, list(map(class_cells, _rows(classes))))}\n\n{FEW_NOTE}\n\n"
        f"All chips, left out: {'; '.join(overall)}. Many macros stand in a public survey "
        "(Shanbhag and Roy, CICC 2022) by normalised figures only; figures of one class differ "
        "several times at equal design parameters, for sparsity, clocks and what is counted are "
        "not in the table. Trust a comparison of two designs of one technology, not the absolute "
        "TOPS/W of an unseen macro.\n\n"
        f"The worst, left out:\n\n" + "\n".join(misses)
    )


def _gpus() -> str:
    """Decoding on GPUs: errors by how the constants were fitted."""
    from hwmodels.validation_gpu import UNSEEN, summarise_gpus, validate_gpus
    from workloads.decoders import step_reads

    table = validate_gpus(step_reads)
    summary = summarise_gpus(table, validate_gpus(step_reads, UNSEEN))
    rows = [
        (
            row["prediction"],
            row["runs"],
            QUANTITIES[row["quantity"]],
            row["rows"],
            f"{100 * row['median_absolute_error']:.0f} %",
            f"{100 * row['within_30_percent']:.0f} %",
            f"{percent(row['worst_error'])} ({row['worst_run'].rpartition('/')[2]})",
        )
        for row in _rows(summary)
    ]
    headers = ("decoding on GPUs", "", "", "runs", "median error", "within 30 %", "worst")
    fitted = int(table["in_fit"].sum()) // 2
    text = (
        f"One set of constants for all boards, fitted to {fitted} runs of Qwen3-30B-A3B, Qwen3-8B "
        "and gpt-oss-20b on H100 and B200 (ML.ENERGY leaderboard), each model left out once. In "
        "some runs the GPU waits for its host: it draws less than a busy one at rest; they are "
        "predicted as if it did not, and not fitted. Leakage, clock and formulas are those of "
        "the accelerator that is searched. The form of the model was chosen with all these runs in "
        "view: what is left out are constants."
    )
    return f"{_table(headers, rows)}\n\n{text}"


def _digital() -> str:
    """Dies, boards and operations from published parameters, worst first."""
    from hwmodels.validation_digital import validate_digital
    from workloads.decoders import step_reads

    table = validate_digital(step_reads)
    table = table.loc[table["error"].abs().sort_values(ascending=False).index]
    rows = [
        (row["system"], row["quantity"], f"{row['measured']:.3g}", f"{row['predicted']:.3g}",
         percent(row["error"]), row["note"])
        for row in _rows(table)
    ]  # fmt: skip
    headers = ("digital machines", "", "published", "predicted", "error", "how")
    return f"Published parameters only, worst first:\n\n{_table(headers, rows)}"


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
    parts = (
        _INTRODUCTION,
        _chips(),
        _gpus(),
        _digital(),
        _systems(),
        _seed(),
        _UNCERTAINTY,
    )
    return "\n\n".join(parts)
