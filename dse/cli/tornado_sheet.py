"""`dse tornado`: a design's sensitivity to the published ranges of its constants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dse.cli.console import print_table, records, si
from dse.cost import uncertainty
from dse.cost.uncertainty import QUANTITIES
from dse.runs.tornado import position, read_run

if TYPE_CHECKING:
    from dse.runs.folder import Run

_UNITS = {"energy_j_per_token": "J", "throughput_tokens_per_s": "", "area_mm2": ""}
_LABELS = {
    "energy_j_per_token": "energy (J/token)",
    "throughput_tokens_per_s": "throughput (tokens/s)",
    "area_mm2": "area (mm2)",
}


def tornado_document(run: Run, trial: str | None, against: str | None) -> dict[str, Any]:
    """A design's tornado, its ranges, and its ratios to another design.

    Args:
        run: the run.
        trial: the design; the recommended one when None.
        against: a design to compare with; constants that both share cancel in the ratio.

    Raises:
        ValueError: no such trial, or the run was made by another version.
    """
    table, found = read_run(run)
    row = position(table, trial)
    constants = uncertainty.tornado(found, row)
    document: dict[str, Any] = {
        "run": str(run.folder),
        "design": str(table["design"].iloc[row]),
        "trial": int(table["trial"].iloc[row]),
        "ranges": _ends(found.values[:, row], *(end[:, row] for end in found.ranges())),
        "constants": records(constants),
    }
    if against is not None:
        other = position(table, against)
        low, high = found.ratio_ranges(other)
        ratio = found.values[:, row] / found.values[:, other]
        name = str(table["design"].iloc[other])
        document |= {"against": name, "ratios": _ends(ratio, low[:, row], high[:, row])}
    return document


def _ends(value: Any, low: Any, high: Any) -> dict[str, dict[str, float]]:
    return {
        name: {"value": float(value[n]), "low": float(low[n]), "high": float(high[n])}
        for n, name in enumerate(QUANTITIES)
    }


def _change(row: dict[str, Any], name: str) -> str:
    ends = [100 * row[f"{name}_change_{end}"] for end in ("low", "high")]
    if max(map(abs, ends)) < 0.05:
        return "–"
    return " ".join(f"{end:+.1f}" if abs(end) >= 0.05 else "0" for end in ends)


def print_tornado(document: dict[str, Any]) -> None:
    """Print the constants that matter, the ranges, and the ratios if asked."""
    rows = [
        (
            f"{row['constant']} ({row['part']})",
            f"x{row['low'] / row['nominal']:.2g} to {row['high'] / row['nominal']:.2g}",
            *(_change(row, name) for name in QUANTITIES),
        )
        for row in document["constants"]
    ]
    headers = ("constant", "published", "energy (%)", "throughput (%)", "area (%)")
    title = f"Design {document['design']}: change with each constant at its low and its high end"
    print_table(headers, [row for row in rows if set(row[2:]) != {"–"}], title=title)
    cells = []
    for name, ends in document["ranges"].items():
        numbers = (si(ends[end], _UNITS[name]) for end in ("value", "low", "high"))
        cells.append((_LABELS[name], *numbers))
    title = "All constants together (independent of each other: root of the sum of squares)"
    print_table(("quantity", "value", "low", "high"), cells, title=title)
    if "ratios" in document:
        title = f"Over design {document['against']}; what both share cancels"
        cells = [
            (_LABELS[name].partition(" ")[0], *(f"{ends[end]:.3g}" for end in ends), _verdict(ends))
            for name, ends in document["ratios"].items()
        ]
        print_table(("quantity", "ratio", "low", "high", ""), cells, title=title)


def _verdict(ends: dict[str, float]) -> str:
    tiny = 1e-9
    if ends["low"] > 1 + tiny:
        return "more"
    return "less" if ends["high"] < 1 - tiny else "not distinguishable"
