"""What a search puts on record in its run folder: config.json before and after it, the tables."""

import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna

from dse.cost import timeline as layers
from dse.cost import uncertainty
from dse.cost.recorded import Model, run_model
from dse.runs import flips, recommendation, tables
from dse.runs import folder as runs
from dse.runs.bounds import at_bounds
from dse.runs.columns import described_columns
from dse.runs.document import SCHEMA
from dse.runs.recommend import SILICON, mark, with_reference_designs
from dse.search import loop as search
from dse.search.answers import seek_answers
from dse.search.checkpoint_stage import Stage, adopt, checkpoint_frame, stage_document
from dse.search.fingerprints import fingerprints, versions
from dse.search.pool import Results
from dse.search.problem import Problem
from dse.search.references import least_analog_area_mm2, reference_table
from dse.search.screening import Screening
from dse.search.settings import Settings
from dse.search.setup import expert_table, settings_architecture
from dse.search.study.storage import hide
from dse.simulation import converter_ranges
from hwmodels.validation import model_error

if TYPE_CHECKING:
    import pandas


def first_config(settings: Settings) -> dict[str, Any]:
    """What is known before the search: enough to repeat it."""
    architecture = settings_architecture(settings)
    return {
        "schema": SCHEMA,
        "command": shlex.join(["dse", *map(hide, sys.argv[1:])]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": architecture.name,
        "model_title": architecture.title,
        "model_source": architecture.source,
        "budget_area_mm2": settings.budget_area_mm2,
        "traffic": {
            "concurrency": settings.concurrency,
            "context": settings.context if settings.prompt is None else None,
            "prompt": settings.prompt,
            "output_tokens": settings.output_tokens,
        },
        "seed": settings.seed,
        "versions": versions(),
        "fingerprints": fingerprints(settings, architecture),
        "settings": settings.document(),
    }


def finish(
    settings: Settings,
    folder: Path,
    study: optuna.Study,
    screening: Screening,
    outcome: str,
    times: dict[str, float],
    stage: Stage | None = None,
    instead_of: str | None = None,
) -> None:
    """Write the tables and the final config.json from the study and the costed designs.

    Where a checkpoint was simulated (`stage`), its results alone decide the front.

    Args:
        times: seconds of this session by kind of work; what this takes is added to "cost".
        instead_of: generation of tables that these replace; nothing is written over another.
    """
    before = time.perf_counter()
    problem = screening.problem
    table, cheap = _candidates(settings, study, screening, stage)
    experts = expert_table(problem)
    model = run_model(problem.architecture, problem.traffic, experts)
    table, tornado = uncertainty.with_tornado(model, table)
    turning, answer = _recommendation(settings, screening, model, table)
    times["cost"] += time.perf_counter() - before
    shown = table["on_front"] | (table["state"] == "reference")
    written = {
        "candidates": table,
        "tornado": tornado,
        "flips": turning,
        "layers": layers.layer_table(model, table[shown]),
        "experts": experts,
        "progress": tables.progress_table(search.progress_rows(study)),
    }
    config = runs.read_config(folder)
    best = table[table["is_recommended"]]
    counts = tables.counts(problem, screening, table, cheap)
    config |= {
        "outcome": outcome,
        "recommendation": answer,
        "recommended_trial": int(best["trial"].iloc[0]) if len(best) else None,
        "recommended_design": str(best["design"].iloc[0]) if len(best) else None,
        "counts": counts | {"trials": len(search.finished(study))},
        "hypervolume": screening.front_hypervolume(),
        "wall_seconds": _added(config.get("wall_seconds", {}), times),
        "settings": settings.document(),
        **_sources(problem, cheap is not None),
    }
    if stage is not None and problem.real is not None:
        miniature = cheap or screening.results
        config["checkpoint"] = stage_document(problem.real, stage, miniature)
        written["checkpoint"] = checkpoint_frame(problem, stage, miniature)
    described = {runs.COLUMNS: described_columns(problem.space)}
    runs.write_generation(folder, written, config, described, instead_of=instead_of)


def _candidates(
    settings: Settings, study: optuna.Study, screening: Screening, stage: Stage | None
) -> "tuple[pandas.DataFrame, Results | None]":
    """The table of candidates; the miniature's results where those of a checkpoint replace them."""
    problem, finished = screening.problem, search.finished(study)
    names = problem.space.names
    # A run of an earlier version may lack a parameter: it had the first choice.
    designs = [[trial.params.get(name, 0) for name in names] for trial in finished]
    proposed = tables.Chosen(
        np.array(designs, dtype=np.int64).reshape(-1, len(names)),
        np.array([trial.number for trial in finished], dtype=np.int64),
    )
    reasons = {t.number: t.user_attrs["reason"] for t in finished if "reason" in t.user_attrs}
    pool, cheap = screening.refine(), None
    sought = seek_answers(problem, screening, settings.rule(), simulate=stage is None)
    pool = pool.join(sought)
    if stage is not None and stage.codes:
        cheap, candidates = adopt(screening, stage, pool)
        proposed = tables.Chosen(
            np.concatenate([proposed.indices, candidates]),
            np.concatenate([proposed.trial, np.full(len(candidates), -1)]),
        )
        pool = screening.refine()
    chosen = tables.choose(problem, screening, proposed, pool, settings.seed)
    table = tables.candidates_table(problem, screening.results, chosen, reasons, cheap)
    table = reference_table(problem, screening, table, simulate=cheap is None)
    table = with_reference_designs(table, (*problem.limits.on_cost, *problem.limits.on_accuracy))
    return mark(table, settings.rule(), problem.objectives), cheap


def _recommendation(
    settings: Settings, screening: Screening, model: Model, table: "pandas.DataFrame"
) -> "tuple[pandas.DataFrame, dict[str, Any]]":
    """What would change the answer, and the answer in words."""
    problem = screening.problem
    turning = flips.flips(flips.ground(model, table, settings))
    chosen = table[table["is_recommended"]]
    bounds = at_bounds(model, chosen, problem.space, settings) if len(chosen) else []
    facts = recommendation.Facts(
        experts=problem.experts,
        budget_mm2=problem.limits.area_mm2,
        kinds={str(one.name): str(one.kind) for one in problem.technologies},
        silicon_mm2=least_analog_area_mm2(problem, SILICON, screening.seed),
        accuracy_source=_sources(problem, settings.checkpoint is not None)["accuracy_source"],
    )
    return turning, recommendation.document(table, settings.rule(), facts, turning, bounds)


def _sources(problem: Problem, real: bool) -> dict[str, Any]:
    """Where the numbers come from; `real`: the front's accuracies are those of a checkpoint."""
    simulator, accuracy, ranges = problem.simulator, None, None
    if simulator is not None:
        accuracy = simulator.source
        ranges = converter_ranges.record(simulator.miniature.name)
    if real and problem.real is not None:
        accuracy = problem.real.source
    return {
        "accuracy_source": accuracy,
        "converter_ranges": ranges,
        "routing_source": problem.routing.source,
        "technologies": {t.name: f"{t.title} ({t.kind}). {t.source}" for t in problem.technologies},
        "technology_kinds": {t.name: str(t.kind) for t in problem.technologies},
        "accelerator": f"{problem.base.title} ({problem.base.kind}). {problem.base.source}",
        "model_error": model_error(),
    }


def _added(earlier: dict[str, float], times: dict[str, float]) -> dict[str, float]:
    """Seconds of this session on top of those of earlier ones."""
    return {name: round(earlier.get(name, 0.0) + value, 3) for name, value in times.items()}


def write_report(folder: Path) -> Path:
    """Draw report.html from the run folder."""
    from reports import write_report as write

    with runs.writing(folder), runs.one_line_errors(folder):
        return write(folder)
