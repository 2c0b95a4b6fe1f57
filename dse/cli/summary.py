"""The end of a search in the terminal: the thinned front, the knee, the reference designs."""

from typing import TYPE_CHECKING, Any

import numpy as np

from dse import units
from dse.cli.console import number, print_table, records, say, si
from dse.metrics import metric, objective_values
from dse.pareto import knee, thin
from dse.placement.parts import read_parts
from dse.runs.folder import UNDER_WAY, Run
from dse.search.references import EXPERTS_ANALOG

if TYPE_CHECKING:
    import pandas

SHOWN = 10


def thinned_front(run: Run, count: int = SHOWN) -> "pandas.DataFrame":
    """At most `count` designs of the front that spread over it, the knee among them."""
    front = run.front()
    if not len(front):
        return front
    objectives = [metric(name) for name in run.config["settings"]["objectives"]]
    values = objective_values(
        objectives, {m.column: front[m.column].to_numpy(dtype=float) for m in objectives}
    )
    marked = np.flatnonzero(front["is_knee"].to_numpy(dtype=bool))
    keep = (int(marked[0]),) if len(marked) else (knee(values),)
    return front.iloc[thin(values, count, keep)].reset_index(drop=True)


def references(run: Run) -> "pandas.DataFrame":
    """The reference rows of a run."""
    table = run.candidates
    return table[table["state"] == "reference"].reset_index(drop=True)


def run_document(run: Run) -> dict[str, Any]:
    """A run as one JSON document: what was asked, counted and found, breakdowns included."""
    names = ("model", "budget_area_mm2", "workload", "outcome", "counts", "hypervolume",
             "recommended_design", "recommended_trial", "accuracy_source", "checkpoint",
             "wall_seconds")  # fmt: skip
    return {
        "run": str(run.folder),
        "report": str(run.report) if run.report.exists() else None,
        **{name: run.config.get(name) for name in names},
        "front": records(run.front()),
        "references": records(references(run)),
    }


def print_run(run: Run) -> None:
    """Print the short table of a run and where its report is."""
    config, counts = run.config, run.config.get("counts", {})
    workload = config["workload"]
    title = (
        f"{config['model_title']} in {units.area(config['budget_area_mm2'])}, {workload['mode']} "
        f"of {workload['batch']} x {workload['context']} tokens"
    )
    front = thinned_front(run)
    rows = [cells(row) for _, row in front.iterrows()]
    rows += [cells(row) for _, row in references(run).iterrows()]
    print_table(HEADERS, rows, title=title, left=2, whole=(1, 4))
    import typer

    if not len(front):
        say("No design of this search has a simulated accuracy and meets the constraints.")
    simulations, found = counts.get("simulations", 0), counts.get("designs_on_front", 0)
    say(
        f"{counts.get('designs_costed', 0):,} designs costed, "
        f"{simulations} {'accuracy' if simulations == 1 else 'accuracies'} simulated, "
        f"{found} {'design' if found == 1 else 'designs'} on the front "
        f"({len(front)} shown, * is the knee)."
    )
    for line in source_lines(config):
        say(line)
    say("hardware: tiles, technology, rows x columns (x tiers), bits of DAC/ADC.")
    if set(map(dense, (row for _, row in front.iterrows()))) - {"–"}:
        say(
            "dense: parts on tiles beside experts; A attention, S shared experts, all: LM head too."
        )
    projected = [n for n, kind in config.get("technology_kinds", {}).items() if kind != "silicon"]
    for name in sorted(set(front["technology"].dropna()) & set(projected)):
        say(f"{name} is a {config['technology_kinds'][name]}, not measured silicon.")
    for _, row in references(run).iterrows():
        if row["reason"] and str(row["reason"]) not in ("None", "nan"):
            say(f"{row['reference_name']}: {row['reason']}.")
    if config.get("outcome") == UNDER_WAY:
        typer.echo(
            f"The search is under way: {config['counts']['trials']} of "
            f"{config['settings']['trials']} trials."
        )
    elif config.get("outcome") != "finished":
        typer.echo(f"The search was cut short; go on with --resume --output {run.folder}")
    place = run.report if run.report.exists() else run.folder
    typer.echo(f"Report: {place}")


def source_lines(config: dict[str, Any]) -> list[str]:
    """Where a run's accuracies come from, and how miniature and checkpoint agree."""
    miniature = (
        f"Accuracy is of the {config.get('accuracy_source') or 'miniature'}; "
        "it ranks designs, the full model's percentage points differ."
    )
    real = config.get("checkpoint")
    if not real:
        return [miniature]
    if not real["placements_simulated"]:
        return [miniature, f"Nothing was simulated on the checkpoint: {real['outcome']}."]
    told = real["rank_correlation"]
    agreement = f"too few placements ({told['points']}) for a rank correlation"
    if told["spearman"] is not None:
        agreement = (
            f"rank correlation with the miniature {told['spearman']:.2f} (95 % interval "
            f"{told['low']:.2f} to {told['high']:.2f}, {told['points']} placements)"
        )
    return [
        f"Accuracy is of the {real['source']}, on {real['tokens']:,} tokens of text.",
        f"{real['placements_simulated']} of {real['placements_wanted']} placements ran on it "
        f"({real['reused']} known before) in {units.duration(real['seconds'])}; {agreement}.",
    ]


SHORT = {EXPERTS_ANALOG: "exp. analog"}
"""Names of reference designs that would not fit the table."""

_LETTERS = {"attention": "A", "shared_expert": "S", "dense_ffn": "F", "router": "R"}
HEADERS = (
    "design",
    "hardware",
    "dense",
    "dig. %",
    "loss +",
    "accuracy %",
    "J/token",
    "tok/s",
    "mm2",
)


def cells(row: Any) -> tuple[str, ...]:
    """One design as cells of the short table."""
    reference = row["reference_name"]
    name = (
        SHORT.get(reference, str(reference)) if isinstance(reference, str) else str(row["design"])
    )
    return (
        name + ("*" if bool(row["is_knee"]) else ""),
        hardware(row),
        dense(row),
        f"{100 * float(row['digital_expert_fraction']):.0f}",
        units.plus_minus(float(row["delta_loss_nats"]), float(row["delta_loss_stderr"]), digits=3),
        _percent(row["accuracy"], row["accuracy_stderr"]),
        si(row["energy_j_per_token"], "J"),
        si(row["throughput_tokens_per_s"], "").replace(" ", ""),  # no line breaks in 11.7k
        number(row["area_mm2"], 3),
    )


def hardware(row: Any) -> str:
    """Tiles of a design in a few characters: `9 pcm-3d 512x512x64 7/8`, DAC and ADC bits."""
    if str(row["tile_rows"]) in ("<NA>", "nan", "None"):
        return "no tiles"
    size = f"{int(row['tile_rows'])}x{int(row['tile_cols'])}"
    tiers = f"x{int(row['tiers'])}" if int(row["tiers"]) > 1 else ""
    bits = f"{int(row['dac_bits'])}/{int(row['adc_bits'])}"
    return f"{int(row['tiles'])} {row['technology']} {size}{tiers} {bits}"


def dense(row: Any) -> str:
    """Dense parts of a design that lie on tiles, in a few characters."""
    text = row.get("analog_modules")
    parts = read_parts(text) if isinstance(text, str) else ()
    if "lm_head" in parts:
        return "all" if "attention" in parts else "L"
    return "+".join(letter for part, letter in _LETTERS.items() if part in parts) or "–"


def _percent(value: Any, error: Any) -> str:
    return units.plus_minus(100 * float(value), 100 * float(error), digits=1)
