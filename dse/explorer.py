"""From a question to a finished run folder: what `dse explore` and `dse.explore()` call."""

import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from dse import converter_ranges, layers, search, slots, tables, uncertainty, units, workers
from dse import run as runs
from dse.checkpoint_search import (
    Effort,
    Stage,
    adopt,
    checkpoint_frame,
    score_front,
    stage_document,
)
from dse.problem import CLEAN, Problem
from dse.references import reference_table
from dse.screening import Screening
from dse.settings import Settings, slug
from dse.setup import expert_table, make_problem, settings_architecture
from dse.smallest import SAMPLE, out_of_reach, smallest_budget_mm2
from dse.storage import Place, hide, shared_place, shown
from dse.validation_sheet import model_error

_VERSIONS = ("dse", "torch", "aihwkit", "numpy", "pandas", "scipy", "optuna")


@dataclass(frozen=True)
class Callbacks:
    """What a caller wants to hear: stages of the set-up, progress after each trial, and layers
    done of a pass over a checkpoint."""

    stage: Callable[[str], None] = lambda text: None
    progress: Callable[[search.Progress], None] = lambda progress: None
    layers: Callable[[str, int, int], None] = lambda text, done, total: None


def explore(
    model: str = "",
    budget_area: str | float = "200mm2",
    *,
    checkpoint: str | Path | None = None,
    checkpoint_time_s: float = Effort.time_s,
    max_memory_bytes: int | None = None,
    output: str | Path | None = None,
    timeout_s: float | None = None,
    jobs: int = 1,
    report: bool = True,
    **options: Any,
) -> runs.Run:
    """Search the designs for a model under an area budget.

    Args:
        model: a name of `dse models`, or the path of a Hugging Face config.json.
        budget_area: such as "200mm2", or a number in mm2.
        checkpoint: Hugging Face folder of the model; then `model` may be left out.
        checkpoint_time_s, max_memory_bytes: for the simulations on it.
        output: folder of the run; by default a new one under runs/.
        timeout_s: stop the search after this time.
        jobs: processes that search together.
        report: write report.html too.
        options: further fields of `dse.settings.Settings`: batch, context, mode, trials, seed,
            sampler, objectives, constraints, choices, tokens, noise_seeds.

    Returns:
        The run; `run.front()` is the Pareto front.

    Raises:
        ValueError: one line on what was wrong with the input or the folder.
    """
    area = units.parse(budget_area, "area") if isinstance(budget_area, str) else budget_area
    if checkpoint is not None:
        options["checkpoint"] = str(Path(checkpoint).resolve())
        model = model or options["checkpoint"]
    settings = Settings(model=model, budget_area_mm2=float(area), **options)
    folder = Path(output) if output is not None else default_folder(settings)
    effort = Effort(checkpoint_time_s, max_memory_bytes)
    return start(settings, folder, timeout_s=timeout_s, jobs=jobs, report=report, effort=effort)


def default_folder(settings: Settings) -> Path:
    """A new folder under runs/ named after model and budget."""
    return runs.fresh_folder(
        Path("runs"), f"{slug(settings.model)}-{settings.budget_area_mm2:g}mm2"
    )


def start(
    settings: Settings,
    folder: Path,
    *,
    place: Place | None = None,
    timeout_s: float | None = None,
    jobs: int = 1,
    heartbeat_s: float = slots.HEARTBEAT_S,
    report: bool = True,
    callbacks: Callbacks | None = None,
    effort: Effort | None = None,
) -> runs.Run:
    """Run a new search into `folder` (see `explore`).

    Args:
        place: where its study lies; in the folder's journal by default.
        heartbeat_s: how often its workers give a sign of life.
    """
    settings_architecture(settings)  # an unknown model is told before anything is written
    place = place or _journal(folder)
    effort, callbacks = effort or Effort(), callbacks or Callbacks()
    objectives = len(settings.metrics)
    with (
        runs.created(folder, _config(settings)),
        place.errors(),
        workers.reserved(place, objectives),
    ):
        return _search(
            settings, folder, place, timeout_s, jobs, heartbeat_s, report, callbacks, effort
        )


def resume(
    folder: Path,
    *,
    trials: int | None = None,
    storage: str = "",
    timeout_s: float | None = None,
    jobs: int = 1,
    report: bool = True,
    callbacks: Callbacks | None = None,
    effort: Effort | None = None,
) -> runs.Run:
    """Go on with an interrupted search, or with a finished one up to more `trials`.

    Args:
        storage: URL of the storage that holds its study, if the folder's journal does not.
    """
    settings = read_settings(folder)
    if trials is not None:
        settings = replace(settings, trials=trials)
    place = find_study(folder, storage)
    effort, callbacks = effort or Effort(), callbacks or Callbacks()
    with runs.locked(folder), place.errors():
        return _search(
            settings, folder, place, timeout_s, jobs, slots.HEARTBEAT_S, report, callbacks, effort
        )


def _journal(folder: Path) -> Place:
    return Place(str(folder / runs.JOURNAL))


def find_study(folder: Path, storage: str = "") -> Place:
    """Where the study of a run lies, which the run knows, password aside.

    Args:
        storage: URL with the password; a run with a journal needs none.

    Raises:
        ValueError: the URL is missing.
    """
    config = runs.read_config(folder)
    if "study" not in config:
        return _journal(folder)
    if not storage:
        raise ValueError(f"the study of {folder} lies in {config['storage']}: add --storage URL")
    return shared_place(storage, config["study"])


def read_settings(folder: Path) -> Settings:
    """The settings of an existing run."""
    return Settings.read(runs.read_config(folder)["settings"])


def _search(
    settings: Settings,
    folder: Path,
    place: Place,
    timeout_s: float | None,
    jobs: int,
    heartbeat_s: float,
    report: bool,
    callbacks: Callbacks,
    effort: Effort,
) -> runs.Run:
    started = time.perf_counter()
    callbacks.stage("reading the model and measuring its miniature")
    problem = make_problem(settings, memory_bytes=effort.memory_bytes, layers=callbacks.layers)
    callbacks.stage("costing designs")
    with runs.one_line_errors(folder):
        study = search.open_study(place.open(), problem, place.study)
        if place.is_journal:
            slots.requeue(study)
        screening = _screening(settings, problem, study)
        if not len(screening.pool):
            raise ValueError(nothing_fits(problem))
        if not place.is_journal:
            heartbeat_s = study.user_attrs.get(workers.HEARTBEAT, heartbeat_s)
            _share(settings, folder, place, study, heartbeat_s)
        study.sampler = search.make_sampler(
            settings.sampler, screening, settings.seed + len(search.finished(study))
        )
        set_up = time.perf_counter() - started
        clock = search.Clock()
        with workers.helpers(settings, place, jobs - 1, timeout_s, heartbeat_s):
            outcome = search.run_search(
                study,
                problem,
                screening,
                trials=settings.trials,
                timeout_s=timeout_s,
                clock=clock,
                show=callbacks.progress,
                heartbeat_s=heartbeat_s,
            )
        screening.results.update(search.load_results(study))
        stage = None
        if problem.real is not None:
            callbacks.stage("simulating on the checkpoint")
            effort = replace(effort, time_s=0.0) if outcome == "interrupted" else effort
            stage = score_front(problem, screening, effort, callbacks.layers)
    callbacks.stage("writing the tables")
    times = {"set_up": set_up, "cost": clock.cost, "simulation": clock.simulation}
    times["overhead"] = max(clock.total - clock.cost - clock.simulation, 0.0)
    if stage is not None:
        times["checkpoint"] = stage.seconds
        outcome = "interrupted" if stage.outcome == "interrupted" else outcome
    finish(settings, folder, problem, study, screening, outcome, times, stage)
    if report:
        callbacks.stage("drawing the report")
        write_report(folder)
    return runs.load_run(folder)


def _screening(settings: Settings, problem: Problem, study: optuna.Study) -> Screening:
    """Costed designs with what the study knows of their accuracy."""
    results = search.load_results(study)
    results[CLEAN] = problem.simulate(CLEAN)
    return Screening(problem, results, settings.seed)


def _share(
    settings: Settings, folder: Path, place: Place, study: optuna.Study, heartbeat_s: float
) -> None:
    """Let workers join, and the run folder know where its study lies."""
    config = runs.read_config(folder) | {
        "settings": settings.document(),
        "storage": shown(place.url),
        "study": place.study,
    }
    workers.announce(study, config, heartbeat_s)
    runs.write_json(folder / runs.CONFIG, config)


def draw(folder: Path, storage: str = "", name: str = "") -> Path:
    """Draw report.html: from the run's tables, or from its study while that is being worked on.

    Args:
        storage: URL of the storage that holds the study; the folder is made if need be.
        name: of the study there; the run's own by default.
    """
    config = runs.read_config(folder) if runs.is_run(folder) or not storage else None
    if config is not None and "study" not in config and name:
        raise ValueError(f"the study of {folder} lies in its own journal: leave out --study")
    if config is None and not name:
        raise ValueError(f"{folder} is no run folder, so name the study: add --study NAME")
    if storage and (config is None or "study" in config):
        _draw_study(folder, shared_place(storage, name or find_study(folder, storage).study))
    elif config is not None and config.get("outcome", runs.UNDER_WAY) == runs.UNDER_WAY:
        place = find_study(folder, storage)
        if not Path(place.url).exists():
            raise ValueError(f"{folder} has no {runs.JOURNAL} to draw a report from")
        _draw_study(folder, place)
    return write_report(folder)


def _draw_study(folder: Path, place: Place) -> None:
    """Write the tables of a study as it stands."""
    with place.errors(), runs.one_line_errors(folder):
        storage = place.open()
        if place.is_journal:
            carried = {"config": runs.read_config(folder)}
        else:
            carried = workers.read_announced(storage, place)
        with workers.usable_settings(carried) as settings:
            problem = make_problem(settings)
        study = search.open_study(storage, problem, place.study)
        screening = _screening(settings, problem, study)
        under_way = len(search.finished(study)) < settings.trials
        if not runs.is_run(folder):
            folder.mkdir(parents=True, exist_ok=True)
            home = {"storage": shown(place.url), "study": place.study}
            runs.write_json(folder / runs.CONFIG, carried["config"] | home)
        asked = Settings.read(carried["config"]["settings"])
        outcome = runs.UNDER_WAY if under_way else "finished"
        finish(asked, folder, problem, study, screening, outcome, {"cost": 0.0})


def nothing_fits(problem: Problem) -> str:
    """One line for a question that no design answers, with the smallest budget that would."""
    smallest = smallest_budget_mm2(problem)
    if np.isnan(smallest) and not problem.limits.constraints:
        workload = problem.workload
        return (
            f"{problem.architecture.title} with a cache of {workload.batch} x {workload.context} "
            "tokens does not fit the memory of any accelerator here: take a smaller batch or "
            "context, or let hbm_stacks go higher"
        )
    if problem.limits.area_mm2 < smallest:
        return (
            f"nothing fits in {units.area(problem.limits.area_mm2)}: the smallest budget that "
            f"works for {problem.architecture.title} here is {units.area(smallest)}"
        )
    line = f"no design meets all of: {', '.join(map(str, problem.limits.on_cost))}"
    nearest = ", ".join(map(str, out_of_reach(problem)))
    return f"{line}; {SAMPLE:,} designs tried come no nearer than {nearest}" if nearest else line


def finish(
    settings: Settings,
    folder: Path,
    problem: Problem,
    study: optuna.Study,
    screening: Screening,
    outcome: str,
    times: dict[str, float],
    stage: Stage | None = None,
) -> None:
    """Write the tables and the final config.json from the study and the costed designs.

    Where a checkpoint was simulated (`stage`), its results alone decide the front.
    """
    before = time.perf_counter()
    finished = search.finished(study)
    names = problem.space.names
    proposed = tables.Chosen(
        # A run of an earlier version may lack a parameter: it had the first choice.
        np.array([[t.params.get(n, 0) for n in names] for t in finished], dtype=np.int64).reshape(
            -1, len(names)
        ),
        np.array([t.number for t in finished], dtype=np.int64),
    )
    reasons = {t.number: t.user_attrs["reason"] for t in finished if "reason" in t.user_attrs}
    pool, cheap = screening.refine(), None
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
    experts = expert_table(problem)
    model = uncertainty.run_model(problem.architecture, problem.workload, experts)
    table, tornado = uncertainty.with_tornado(model, table)
    times["cost"] += time.perf_counter() - before
    runs.write_table(folder, "candidates", table)
    runs.write_table(folder, "tornado", tornado)
    shown = table["on_front"] | (table["state"] == "reference")
    runs.write_table(folder, "layers", layers.layer_table(model, table[shown]))
    runs.write_table(folder, "experts", experts)
    runs.write_table(folder, "progress", tables.progress_table(search.progress_rows(study)))
    config = runs.read_config(folder)
    knees = table.loc[table["is_knee"], "trial"]
    config |= {
        "outcome": outcome,
        "recommended_trial": int(knees.iloc[0]) if len(knees) else None,
        "counts": tables.counts(problem, screening, table, cheap) | {"trials": len(finished)},
        "hypervolume": screening.front_hypervolume(),
        "accuracy_source": _source(problem, cheap is not None),
        "converter_ranges": converter_ranges.record(problem.simulator.miniature.name)
        if problem.simulator
        else None,
        "routing_source": problem.routing.source,
        "technologies": {t.name: f"{t.title} ({t.kind}). {t.source}" for t in problem.technologies},
        "technology_kinds": {t.name: str(t.kind) for t in problem.technologies},
        "accelerator": f"{problem.base.title} ({problem.base.kind}). {problem.base.source}",
        "model_error": model_error(),
        "wall_seconds": _added(config.get("wall_seconds", {}), times),
        "settings": settings.document(),
    }
    if stage is not None and problem.real is not None:
        miniature = cheap or screening.results
        config["checkpoint"] = stage_document(problem.real, stage, miniature)
        runs.write_table(folder, "checkpoint", checkpoint_frame(problem, stage, miniature))
    runs.write_json(folder / runs.CONFIG, config)


def _source(problem: Problem, real: bool) -> str | None:
    """Where the front's accuracies come from."""
    if real and problem.real is not None:
        return problem.real.source
    return problem.simulator.source if problem.simulator else None


def _added(earlier: dict[str, float], times: dict[str, float]) -> dict[str, float]:
    """Seconds of this session on top of those of earlier ones."""
    return {name: round(earlier.get(name, 0.0) + value, 3) for name, value in times.items()}


def _config(settings: Settings) -> dict[str, Any]:
    """What is known before the search: enough to repeat it."""
    architecture = settings_architecture(settings)
    return {
        "command": shlex.join(["dse", *map(hide, sys.argv[1:])]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": architecture.name,
        "model_title": architecture.title,
        "model_source": architecture.source,
        "budget_area_mm2": settings.budget_area_mm2,
        "workload": {
            "batch": settings.batch,
            "context": settings.context,
            "mode": settings.mode,
        },
        "seed": settings.seed,
        "versions": {"python": platform.python_version(), **_versions(_VERSIONS)},
        "settings": settings.document(),
    }


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def write_report(folder: Path) -> Path:
    """Draw report.html from the run folder."""
    from reports import write_report as write

    with runs.one_line_errors(folder):
        return write(folder)
