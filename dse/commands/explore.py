"""`dse explore`: search, and say what came out."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dse import units
from dse.commands import complete

if TYPE_CHECKING:
    from dse.checkpoint_search import Effort
    from dse.explorer import Callbacks
    from dse.run import Run

STORAGE = typer.Option(
    "",
    envvar="DSE_STORAGE",
    help="Database that machines share: postgresql://user:password@host/db, mysql://..., "
    "or grpc://host:port of a dse storage-proxy.",
)


def explore(
    model: str = typer.Option(
        "",
        help="A name of `dse models`, or the path of a Hugging Face config.json.",
        autocompletion=complete.models,
    ),
    budget_area: str = typer.Option("", help="Area of everything together, such as 200mm2."),
    batch: int = typer.Option(32, help="Sequences decoded (or prefilled) together."),
    context: int = typer.Option(1024, help="Tokens in the cache of each sequence."),
    mode: str = typer.Option("decode", help="decode or prefill."),
    trials: int | None = typer.Option(None, help="Designs that the sampler proposes.  [48]"),
    timeout: str = typer.Option("", help="Stop searching after this time, such as 90s."),
    seed: int = typer.Option(0, help="Of the search; same seed, same result with --jobs 1."),
    jobs: int = typer.Option(1, help="Processes that search together."),
    storage: str = STORAGE,
    study: str = typer.Option("", help="Its name in --storage; that of the run folder by default."),
    heartbeat: str = typer.Option(
        "5s", help="Between signs of life; a worker that leaves out six is replaced."
    ),
    sampler: str = typer.Option("screening", help="screening, nsga2, nsga3, tpe, ..."),
    objective: list[str] = typer.Option(
        [], help="delta_loss, accuracy, top1, energy_per_token, throughput, ...; repeatable."
    ),
    constraint: list[str] = typer.Option([], help="Such as latency_per_token<=5ms; repeatable."),
    min_accuracy: float | None = typer.Option(None, help="Least task accuracy, 0 to 1."),
    budget_power: str = typer.Option("", help="Most power, such as 15W."),
    budget_energy: str = typer.Option("", help="Most energy per token, such as 5mJ."),
    fix: list[str] = typer.Option(
        [],
        help="name=value, or name=a,b for several choices; more may follow, or repeat it.",
        autocompletion=complete.assignments,
    ),
    more: list[str] = typer.Argument(None, metavar="[NAME=VALUE]...", help="More of --fix."),
    space: Path | None = typer.Option(None, help="TOML file with choices and ranges."),
    mitigation: list[str] = typer.Option(
        [], help="router-recalibration or expert-replacement, on every placement; repeatable."
    ),
    tokens: int = typer.Option(8192, help="Tokens that each accuracy is measured on."),
    checkpoint: Path | None = typer.Option(
        None, help="Hugging Face folder of the model: the placements that matter run on it."
    ),
    checkpoint_time: str = typer.Option("30min", help="Time for simulations on the checkpoint."),
    checkpoint_tokens: int = typer.Option(2048, help="Tokens of each of those."),
    max_memory: str = typer.Option("", help="Memory with a checkpoint, such as 8GiB."),
    output: Path | None = typer.Option(None, help="Run folder; a new one under runs/ by default."),
    resume: bool = typer.Option(False, "--resume", help="Go on with the run in --output."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> None:
    """Find the designs that no other beats in accuracy, energy and throughput under a budget."""
    timeout_s = read_effort(timeout, jobs)
    checkpoint_time_s = units.parse(checkpoint_time, "time")
    memory = int(units.parse(max_memory, "memory size")) if max_memory else None
    real = str(checkpoint.resolve()) if checkpoint is not None else None
    with watch(as_json) as callbacks:
        if resume:
            from dse.checkpoint_search import Effort

            run = _resume(
                output, model, real, budget_area, trials, storage, timeout_s, jobs, callbacks,
                Effort(checkpoint_time_s, memory),
            )  # fmt: skip
        else:
            from dse.checkpoint_search import Effort
            from dse.explorer import default_folder, start
            from dse.settings import budget_constraints
            from dse.space import more_of
            from dse.storage import shared_place

            model = model or real or ""
            if not model or not budget_area:
                raise ValueError(
                    "give --model and --budget-area, for instance "
                    "dse explore --model deepseekmoe --budget-area 200mm2"
                )
            shorthand = budget_constraints(
                budget_power or None, budget_energy or None, min_accuracy
            )
            settings = _settings(
                model=model,
                budget_area_mm2=units.parse(budget_area, "area"),
                batch=batch,
                context=context,
                mode=mode,
                trials=48 if trials is None else trials,
                seed=seed,
                sampler=sampler,
                objectives=tuple(objective),
                constraints=(*constraint, *shorthand),
                choices=_choices([*fix, *more_of("--fix", fix, more)], space),
                tokens=tokens,
                mitigation=tuple(mitigation),
                checkpoint=real,
                checkpoint_tokens=checkpoint_tokens,
            )
            folder = output if output is not None else default_folder(settings)
            run = start(
                settings,
                folder,
                place=shared_place(storage, study or folder.name) if storage else None,
                timeout_s=timeout_s,
                jobs=jobs,
                heartbeat_s=units.parse(heartbeat, "time"),
                callbacks=callbacks,
                effort=Effort(checkpoint_time_s, memory),
            )
    show_result(run, as_json)


def read_effort(timeout: str, jobs: int) -> float | None:
    """Seconds of --timeout, none without it; --jobs is checked."""
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}: at least 1")
    return units.parse(timeout, "time") if timeout else None


def _settings(**values: Any) -> Any:
    from dse.settings import Settings

    if not values["objectives"]:
        del values["objectives"]
    return Settings(**values)


def _choices(fix: list[str], space: Path | None) -> dict[str, list[Any]]:
    """Choices from the space file, then from --fix, which wins."""
    from dse.space import read_assignments, read_space_file

    choices: dict[str, list[Any]] = dict(read_space_file(space)) if space is not None else {}
    choices.update(read_assignments(fix))
    return choices


def _resume(
    output: Path | None,
    model: str,
    checkpoint: str | None,
    budget_area: str,
    trials: int | None,
    storage: str,
    timeout_s: float | None,
    jobs: int,
    callbacks: "Callbacks",
    effort: "Effort",
) -> "Run":
    from dse.explorer import read_settings, resume

    if output is None:
        raise ValueError("--resume needs the run folder: add --output RUN")
    settings = read_settings(output)
    if model and model != settings.model:
        raise ValueError(f"{output} explores {settings.model}, not {model}: leave out --model")
    if budget_area and units.parse(budget_area, "area") != settings.budget_area_mm2:
        raise ValueError(
            f"{output} has a budget of {units.area(settings.budget_area_mm2)}, not {budget_area}"
        )
    if checkpoint is not None and checkpoint != settings.checkpoint:
        known = settings.checkpoint or "no checkpoint"
        raise ValueError(f"{output} uses {known}: leave out --checkpoint, or start a new run")
    return resume(
        output,
        trials=trials,
        storage=storage,
        timeout_s=timeout_s,
        jobs=jobs,
        callbacks=callbacks,
        effort=effort,
    )


@contextmanager
def watch(quiet: bool) -> Iterator["Callbacks"]:
    """Progress on standard error: a bar on a terminal, a line every few seconds in a pipe."""
    from dse.explorer import Callbacks

    if quiet:
        yield Callbacks()
    elif sys.stderr.isatty():
        with _bar() as callbacks:
            yield callbacks
    else:
        last = [0.0]

        def line(progress: Any) -> None:
            if time.monotonic() - last[0] > 10:
                last[0] = time.monotonic()
                typer.echo(f"trial {progress.trial + 1}: {_state(progress)}", err=True)

        def layer(text: str, done: int, total: int) -> None:
            if time.monotonic() - last[0] > 10:
                last[0] = time.monotonic()
                typer.echo(f"{text}: layer {done} of {total}", err=True)

        yield Callbacks(progress=line, layers=layer)


@contextmanager
def _bar() -> Iterator["Callbacks"]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from dse.console import console
    from dse.explorer import Callbacks

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console(stderr=True),
    ) as bar:
        task = bar.add_task("starting", total=None)

        def advance(progress: Any) -> None:
            bar.update(
                task,
                completed=progress.finished,
                total=progress.wanted,
                description=_state(progress),
            )

        def layer(text: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=f"{text}, layer")

        yield Callbacks(
            stage=lambda text: bar.update(task, description=text), progress=advance, layers=layer
        )


def _state(progress: Any) -> str:
    return (
        f"hypervolume {progress.hypervolume:.4f}, {progress.simulated} simulated, "
        f"{progress.costed:,} costed"
    )


def show_result(run: "Run", as_json: bool) -> None:
    """Print the end of a search: the thinned front, reference designs, where the report is."""
    from dse.summary import print_run, run_document

    if as_json:
        from dse.console import print_json

        print_json(run_document(run))
    else:
        print_run(run)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explore)
