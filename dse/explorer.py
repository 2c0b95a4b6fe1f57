"""From a question to a finished run folder: what `dse explore` and `dse.explore()` call."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna

from dse import units
from dse.runs import folder as runs
from dse.runs.record import finish, first_config, write_report
from dse.runs.study import check_same_program, find_study, journal_place, open_storage
from dse.search import interrupts, workers
from dse.search import loop as search
from dse.search.checkpoint_stage import Effort, Stage, score_front
from dse.search.loop import screen
from dse.search.screening import Screening
from dse.search.settings import Settings, slug
from dse.search.setup import make_problem, settings_architecture
from dse.search.smallest import refuse_small_budget
from dse.search.study import slots
from dse.search.study.storage import Place, has_secret, shown
from hwmodels.catalog import nearest


@dataclass(frozen=True)
class Callbacks:
    """What a caller wants to hear: stages of the set-up, progress after each trial, layers done of
    a pass over a checkpoint, and what is worth a line of its own."""

    stage: Callable[[str], None] = lambda text: None
    progress: Callable[[search.Progress], None] = lambda progress: None
    layers: Callable[[str, int, int], None] = lambda text, done, total: None
    note: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Session:
    """How a search is worked on, which no setting of it says.

    Attributes:
        timeout_s: stop after this time.
        jobs: processes that search together.
        heartbeat_s: how often its workers give a sign of life.
        report: write report.html too.
        effort: for the simulations on a checkpoint.
    """

    timeout_s: float | None = None
    jobs: int = 1
    heartbeat_s: float = slots.HEARTBEAT_S
    report: bool = True
    callbacks: Callbacks = field(default_factory=Callbacks)
    effort: Effort = field(default_factory=Effort)

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"jobs is {self.jobs}: at least 1")


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
        options: further fields of `dse.search.settings.Settings`: concurrency, context, age_s,
            trials, seed, sampler, objectives, constraints, choices, tokens, noise_seeds.

    Returns:
        The run; `run.front()` is the Pareto front.

    Raises:
        ValueError: one line on what was wrong with the input or the folder.
    """
    area = budget_area if isinstance(budget_area, int | float) else units.parse(
        str(budget_area), "area"
    )  # fmt: skip
    options = _read_options(options)
    if checkpoint is not None:
        options["checkpoint"] = str(Path(checkpoint).resolve())
        model = model or options["checkpoint"]
    settings = Settings(model=model, budget_area_mm2=float(area), **options)
    refuse_small_budget(settings, settings_architecture(settings))
    folder = Path(output) if output is not None else default_folder(settings)
    effort = Effort(checkpoint_time_s, max_memory_bytes)
    return start(settings, folder, Session(timeout_s, jobs, report=report, effort=effort))


def _read_options(options: dict[str, Any]) -> dict[str, Any]:
    """Fields of `Settings` by name; one text stands for a tuple of one, or of several with commas.

    Raises:
        ValueError: a name that is none of them.
    """
    known = [entry.name for entry in fields(Settings)]
    for name in options:
        if name not in known:
            hint = nearest(name, [*known, "timeout_s", "jobs", "output"])
            hint = hint or f"; there are {', '.join(known)}"
            raise ValueError(f"unknown option {name!r}{hint}")
    texts: dict[str, Any] = {}
    for name in {"objectives", "constraints", "mitigation"} & set(options):
        given = options[name]
        several = given.split(",") if isinstance(given, str) else given
        texts[name] = tuple(str(text).strip() for text in several)
    return options | texts


def default_folder(settings: Settings) -> Path:
    """A new folder under runs/ named after model and budget."""
    return runs.fresh_folder(
        Path("runs"), f"{slug(settings.model)}-{settings.budget_area_mm2:g}mm2"
    )


def start(
    settings: Settings, folder: Path, session: Session, *, place: Place | None = None
) -> runs.Run:
    """Run a new search into `folder` (see `explore`).

    Args:
        place: where its study lies; in the folder's journal by default.
    """
    config = first_config(settings)  # an unknown model is told before anything is written
    place = place or journal_place(folder)
    if not place.is_journal:
        config |= {"storage": shown(place.url), "study": place.study}
    with (
        runs.created(folder, config, private=has_secret(place.url)),
        place.errors(),
        workers.reserved(place, len(settings.metrics)),
    ):
        return _search(settings, folder, place.open(), place, session)


def resume(
    folder: Path, session: Session, *, trials: int | None = None, storage: str = ""
) -> runs.Run:
    """Go on with an interrupted search, or with a finished one up to more `trials`.

    A search with nothing left to do is left as it is, byte for byte.

    Args:
        storage: URL of the storage that holds its study, if the folder's journal does not.
    """
    settings = read_settings(folder)
    place = find_study(folder, storage)
    with runs.locked(folder), place.errors():
        config = runs.read_config(folder)
        check_same_program(config, f"the run in {folder}")
        opened = open_storage(config, place)
        done = _finished(opened, place)
        if trials is not None and trials <= done:
            session.callbacks.note(
                f"{folder} has {done} finished trials: the total of {trials} is reached"
            )
        if trials is not None:
            settings = replace(settings, trials=max(trials, done))
        if _nothing_left(folder, config, settings, done, session):
            return runs.load_run(folder)
        return _search(settings, folder, opened, place, session)


def _finished(storage: optuna.storages.BaseStorage, place: Place) -> int:
    """Finished trials of a study, none before it exists."""
    with suppress(KeyError):
        return len(search.finished(optuna.load_study(study_name=place.study, storage=storage)))
    return 0


def _nothing_left(
    folder: Path, config: dict[str, Any], settings: Settings, done: int, session: Session
) -> bool:
    """Whether the run is what a search with these settings would leave."""
    stage = config.get("checkpoint")
    return (
        config.get("outcome") == "finished"
        and config["settings"] == json.loads(json.dumps(settings.document()))
        and done == config["counts"]["trials"] >= settings.trials
        and (stage is None or stage["placements_simulated"] == stage["placements_wanted"])
        and (not session.report or (folder / runs.REPORT).exists())
        and runs.load_run(folder).is_whole()
    )


def read_settings(folder: Path) -> Settings:
    """The settings of an existing run."""
    return Settings.read(runs.read_config(folder)["settings"])


def _search(
    settings: Settings,
    folder: Path,
    storage: optuna.storages.BaseStorage,
    place: Place,
    session: Session,
) -> runs.Run:
    """Set up, run the trials, simulate on the checkpoint, write the run."""
    started = time.perf_counter()
    tell = session.callbacks
    tell.stage("reading the model and measuring its miniature")
    problem = make_problem(settings, memory_bytes=session.effort.memory_bytes, layers=tell.layers)
    tell.stage("costing designs")
    with runs.one_line_errors(folder):
        study = search.open_study(storage, problem, place.study)
        if place.is_journal:
            slots.requeue(study)
        screening = screen(settings, problem, study)
        if not place.is_journal:
            beat = study.user_attrs.get(workers.HEARTBEAT, session.heartbeat_s)
            session = replace(session, heartbeat_s=beat)
            _share(settings, folder, place, study, beat)
        set_up = time.perf_counter() - started
        clock = search.Clock()
        outcome = _run_trials(settings, place, session, study, screening, clock)
        if outcome == "finished" and place.is_journal:
            slots.close_waiting(study)
        stage, outcome = _on_checkpoint(screening, session, outcome)
    with interrupts.put_off():  # what was searched is written whatever comes
        tell.stage("writing the tables")
        times = {"set_up": set_up, "cost": clock.cost, "simulation": clock.simulation}
        times["overhead"] = max(clock.total - clock.cost - clock.simulation, 0.0)
        if stage is not None:
            times["checkpoint"] = stage.seconds
        finish(settings, folder, study, screening, outcome, times, stage)
        if session.report:
            tell.stage("drawing the report")
            write_report(folder)
    return runs.load_run(folder)


def _share(
    settings: Settings, folder: Path, place: Place, study: optuna.Study, heartbeat_s: float
) -> None:
    """Let workers join, and the run folder know where its study lies."""
    config = runs.update_config(
        folder,
        {
            "settings": settings.document(),
            runs.ANNOUNCED: datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
    workers.announce(study, config, heartbeat_s)


def _run_trials(
    settings: Settings,
    place: Place,
    session: Session,
    study: optuna.Study,
    screening: Screening,
    clock: search.Clock,
) -> str:
    """Run trials, with helper processes if there are more jobs; the outcome of `run_search`."""
    done = len(search.finished(study))
    study.sampler = search.make_sampler(settings.sampler, screening, settings.seed + done)
    beat, timeout_s = session.heartbeat_s, session.timeout_s
    outcome = "interrupted"
    with (
        suppress(KeyboardInterrupt),  # between two trials, or while helpers start or end
        workers.helpers(settings, place, session.jobs - 1, timeout_s, beat),
    ):
        outcome = search.run_search(
            study,
            screening.problem,
            screening,
            trials=settings.trials,
            timeout_s=timeout_s,
            clock=clock,
            show=session.callbacks.progress,
            heartbeat_s=beat,
        )
    screening.results.update(search.load_results(study))
    return outcome


def _on_checkpoint(
    screening: Screening, session: Session, outcome: str
) -> tuple[Stage | None, str]:
    """Simulate what matters on the checkpoint, if there is one; for no time after Ctrl-C.

    Returns:
        What it said, and the outcome of the search with it.
    """
    if screening.problem.real is None:
        return None, outcome
    session.callbacks.stage("simulating on the checkpoint")
    effort, layers = session.effort, session.callbacks.layers
    if outcome != "interrupted":
        with suppress(KeyboardInterrupt):
            stage = score_front(screening.problem, screening, effort, layers)
            return stage, "interrupted" if stage.outcome == "interrupted" else outcome
    effort = replace(effort, time_s=0.0)
    return score_front(screening.problem, screening, effort, layers), "interrupted"
