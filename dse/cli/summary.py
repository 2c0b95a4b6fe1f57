"""The end of a search in the terminal: the answer, the thinned front, the reference designs."""

from typing import TYPE_CHECKING, Any

import numpy as np

from dse import units
from dse.cli.console import number, print_table, records, say, si
from dse.metrics import metric, objective_values
from dse.pareto import thin
from dse.placement.parts import read_parts
from dse.runs import words
from dse.runs.folder import UNDER_WAY, Run

if TYPE_CHECKING:
    import pandas

    from dse.cost.workload import Traffic

SHOWN = 10


def thinned_front(run: Run, count: int = SHOWN) -> "pandas.DataFrame":
    """At most `count` designs of the front that spread over it, both answers among them."""
    front = run.front()
    if not len(front):
        return front
    objectives = [metric(name) for name in run.config["settings"]["objectives"]]
    values = objective_values(
        objectives, {m.column: front[m.column].to_numpy(dtype=float) for m in objectives}
    )
    answers = np.flatnonzero((front["recommended_of"] != "").to_numpy(dtype=bool))
    return front.iloc[thin(values, count, tuple(answers.tolist()))].reset_index(drop=True)


def references(run: Run) -> "pandas.DataFrame":
    """The reference rows of a run."""
    table = run.candidates
    return table[table["state"] == "reference"].reset_index(drop=True)


def run_document(run: Run) -> dict[str, Any]:
    """A run as one JSON document: what was asked, counted and found, breakdowns included."""
    names = ("model", "budget_area_mm2", "traffic", "outcome", "recommendation", "counts",
             "hypervolume", "recommended_trial", "accuracy_source", "checkpoint",
             "wall_seconds")  # fmt: skip
    return {
        "run": str(run.folder),
        "report": str(run.report) if run.report.exists() else None,
        **{name: run.config.get(name) for name in names},
        "front": records(run.front()),
        "references": records(references(run)),
    }


def traffic(run: Run) -> "Traffic":
    """What a run's designs serve."""
    from dse.cost.workload import Traffic

    given = {name: value for name, value in run.config["traffic"].items() if value is not None}
    return Traffic(**given)


def print_run(run: Run) -> None:
    """Print the answer, the short table of a run, and where its report is."""
    import typer

    config = run.config
    title = f"{config['model_title']} in {units.area(config['budget_area_mm2'])}, {traffic(run)}"
    front = thinned_front(run)
    rows = [cells(row) for _, row in front.iterrows()]
    rows += [cells(row) for _, row in references(run).iterrows()]
    print_answer(config.get("recommendation"))
    print_table(HEADERS, rows, title=title, left=3, whole=WHOLE)
    if not len(front):
        say("No design of this search has a simulated accuracy and meets the constraints.")
    for line in (*table_lines(run, front), *source_lines(config), *reference_lines(config)):
        say(line)
    if line := _unexplained(run, front):
        say(f"{line}.")
    if config.get("outcome") == UNDER_WAY:
        typer.echo(
            f"The search is under way: {config['counts']['trials']} of "
            f"{config['settings']['trials']} trials."
        )
    elif config.get("outcome") != "finished":
        typer.echo(f"The search was cut short; go on with --resume --output {run.folder}")
    place = run.report if run.report.exists() else run.folder
    typer.echo(f"Report: {place}")


def _unexplained(run: Run, front: "pandas.DataFrame") -> str:
    """The warning of designs that are shown and rest on a published loss no gain explains."""
    from dse.simulation.full_model import unexplained

    texts = [text for text in front.get("analog_modules", ()) if isinstance(text, str)]
    parts = {part for text in texts for part in read_parts(text)}
    return unexplained(str(run.config.get("model")), sorted(parts)) if parts else ""


FLIPS_SHOWN = 4


def print_answer(answer: dict[str, Any] | None) -> None:
    """The recommendation: the sentence, its rule, why, what a projection must deliver."""
    if not answer:
        return
    say(answer["sentence"])
    say(f"Rule: {answer['rule']}.")
    for line in answer["why"][:2]:
        say(line)
    if answer["projection"]["must_deliver"]:
        say(f"The projection must deliver {'; '.join(answer['projection']['must_deliver'])}.")
    if answer["flips"]:
        say("What would change it: " + " ".join(answer["flips"][:FLIPS_SHOWN]))
    if answer["at_bounds"]:
        say(f"At an end of the space: {'; '.join(map(_bound, answer['at_bounds']))}.")
    say("")


def _bound(bound: dict[str, Any]) -> str:
    """`hbm_stacks 8 (10 would give 21 % more throughput)`."""
    further = f" ({bound['next']:g} would give {bound['gives']})" if bound["next"] else ""
    return f"{bound['parameter']} {bound['value']:g}{further}"


def table_lines(run: Run, front: "pandas.DataFrame") -> list[str]:
    """What the table shows: how many of how many, chosen how, and what its marks mean."""
    counts = run.config.get("counts", {})
    simulations, found = counts.get("simulations", 0), counts.get("designs_on_front", 0)
    line = (
        f"{counts.get('designs_costed', 0):,} designs costed, "
        f"{simulations} {'accuracy' if simulations == 1 else 'accuracies'} simulated, "
        f"{found} {'design' if found == 1 else 'designs'} on the front that can be told apart."
    )
    chosen = "both answers, the best in each objective, then those farthest from these"
    if found > len(front):
        line += f" Shown are {len(front)}: {chosen}."
    marks = "* is recommended, s the best of measured silicon; tiles x rows x columns x tiers."
    lost = "Points lost: of average accuracy against digital, with a 68 % band."
    return [line, f"{marks} {lost}"]


def reference_lines(config: dict[str, Any]) -> list[str]:
    """Of the references, those that do not fit."""
    answer = config.get("recommendation") or {}
    return [
        f"{one['name']}: needs {one['text']}."
        for one in answer.get("references", ())
        if "times the budget" in one["text"]
    ]


def source_lines(config: dict[str, Any]) -> list[str]:
    """Where a run's accuracies come from, and how miniature and checkpoint agree."""
    miniature = (
        f"Loss and points are estimates for the full model, from the "
        f"{config.get('accuracy_source') or 'miniature'} with errors scaled to published losses; "
        "points are of eight benchmarks' average, with a 68 % band."
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


HEADERS = (
    "design",
    "tiles",
    "also on tiles",
    "experts digital",
    "DAC/ADC bits",
    "points lost",
    "mJ per token",
    "tok/s",
    "mm2",
)
WHOLE = (5,)
"""The column whose number and band stay in one line."""


def cells(row: Any) -> tuple[str, ...]:
    """One design as cells of the short table."""
    value, _, band = words.points_text(row).replace(" points", "").partition(" ")
    return (
        _name(row),
        hardware(row),
        dense(row),
        f"{100 * float(row['digital_expert_fraction']):.0f} %",
        "–" if _no_tiles(row) else f"{int(row['dac_bits'])}/{int(row['adc_bits'])}",
        f"{value} {band}".rstrip(),
        number(1e3 * float(row["energy_j_per_token"]), 3),
        si(row["throughput_tokens_per_s"], "").replace(" ", ""),  # no line breaks in 11.7k
        number(row["area_mm2"], 3),
    )


def _name(row: Any) -> str:
    """A reference by its name, a design by its number and what it is the answer to."""
    if isinstance(row["reference_name"], str):
        return str(row["reference_name"])
    best = str(row.get("recommended_of") or "")
    return f"{row['trial']}{'*' if bool(row['is_recommended']) else ''}" + (
        " s" if "silicon" in best else ""
    )


def _no_tiles(row: Any) -> bool:
    return str(row["tile_rows"]) in ("<NA>", "nan", "None")


def hardware(row: Any) -> str:
    """Tiles of a design in a few characters: `9 pcm-3d 512x512x64`, rows, columns and tiers."""
    if _no_tiles(row):
        return f"none, {int(row['digital_weight_bits'])}-bit weights"
    size = f"{int(row['tile_rows'])}x{int(row['tile_cols'])}"
    tiers = f"x{int(row['tiers'])}" if int(row["tiers"]) > 1 else ""
    return f"{int(row['tiles']):,} {row['technology']} {size}{tiers}"


def dense(row: Any) -> str:
    """Dense parts of a design that lie on tiles."""
    text = row.get("analog_modules")
    parts = read_parts(text) if isinstance(text, str) else ()
    if "lm_head" in parts and "attention" in parts:
        return "all"
    return ", ".join(words.PARTS[part].removeprefix("the ") for part in parts) or "–"
