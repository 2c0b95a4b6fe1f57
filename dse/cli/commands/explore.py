"""`dse explore`: search, and say what came out."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dse import units
from dse.cli.commands import complete
from dse.cli.commands.options import (
    A_MODEL,
    AGE,
    JSON,
    MAGNITUDE,
    MAX_MEMORY,
    OF_MAX_LOSS,
    OF_PREFER,
    STORAGE,
    read_effort,
    read_memory,
)
from dse.cli.commands.progress import watch
from dse.search.interrupts import Ending, ended_by_signals

if TYPE_CHECKING:
    from dse.runs.folder import Run

_REQUIRED = "[required, but for --resume]"
_MODEL = typer.Option("", help=f"{A_MODEL}  {_REQUIRED}", autocompletion=complete.models)
_HEARTBEAT = typer.Option(
    "5s", help="Between signs of life; a worker that leaves out six is replaced."
)
_SAMPLER = typer.Option(
    "screening", help="screening, nsga2, nsga3, tpe, ...", autocompletion=complete.samplers
)
_OBJECTIVE = typer.Option(
    [],
    help="delta_loss, accuracy, top1, energy_per_token, throughput, ...; repeatable, or a,b.",
    autocompletion=complete.metrics,
)
_CONSTRAINT = typer.Option(
    [], help="Such as latency_per_token<=5ms; repeatable.", autocompletion=complete.metrics
)
_FIX = typer.Option(
    [],
    help="name=value, or name=a,b for several choices; more may follow, or repeat it. Names: "
    "technology, tile_rows, tile_cols, tiers, tiles_share, adc_bits, dac_bits, columns_per_adc, "
    "digital_expert_fraction, placement_score, placement_scope, analog_modules, "
    "digital_weight_bits, kv_bits, mac_units, array_rows, sram_mib, memory, hbm_stacks, dies.",
    autocompletion=complete.assignments,
)
_MORE = typer.Argument(
    None, metavar="[NAME=VALUE]...", help="More of --fix.", autocompletion=complete.assignments
)
_MITIGATION = typer.Option(
    [],
    help="router-recalibration or expert-replacement, on every placement; repeatable.",
    autocompletion=complete.mitigations,
)
_CHECKPOINT = typer.Option(
    None, help="Hugging Face folder of the model: the placements that matter run on it."
)


def explore(
    ctx: typer.Context,
    model: str = _MODEL,
    budget_area: str = typer.Option(
        "", help=f"Area of everything together, such as 200mm2.  {_REQUIRED}"
    ),
    concurrency: int = typer.Option(32, help="Sequences served at the same time."),
    context: int = typer.Option(1024, help="Tokens in the cache of each sequence that decodes."),
    prompt: int | None = typer.Option(None, help="Tokens of each request's prompt, instead."),
    output_tokens: int | None = typer.Option(None, help="Tokens that each request yields."),
    cooling: str = typer.Option(
        "cold-plate", help="air, cold-plate or none.", autocompletion=complete.cooling
    ),
    age: str = AGE,
    magnitude: float = MAGNITUDE,
    trials: int | None = typer.Option(
        None, help="Designs that the sampler proposes.  [default: 48]"
    ),
    timeout: str = typer.Option("", help="Stop searching after this time, such as 90s."),
    seed: int = typer.Option(0, help="Of the search; same seed, same result with --jobs 1."),
    jobs: int = typer.Option(1, help="Processes that search together."),
    storage: str = STORAGE,
    study: str = typer.Option("", help="Its name in --storage; that of the run folder by default."),
    heartbeat: str = _HEARTBEAT,
    sampler: str = _SAMPLER,
    objective: list[str] = _OBJECTIVE,
    constraint: list[str] = _CONSTRAINT,
    max_loss: str = typer.Option("1point", help=OF_MAX_LOSS),
    prefer: str = typer.Option("energy", help=OF_PREFER, autocompletion=complete.preferences),
    min_accuracy: float | None = typer.Option(None, help="Least task accuracy, 0 to 1."),
    budget_power: str = typer.Option("", help="Most power, such as 15W."),
    budget_energy: str = typer.Option("", help="Most energy per token, such as 5mJ."),
    budget_cost: str = typer.Option("", help="Most that a package may cost, such as 500USD."),
    fix: list[str] = _FIX,
    more: list[str] = _MORE,
    space: Path | None = typer.Option(None, help="TOML file with choices and ranges."),
    mitigation: list[str] = _MITIGATION,
    tokens: int = typer.Option(
        8192, help="Tokens that each accuracy is measured on, at least 1536."
    ),
    checkpoint: Path | None = _CHECKPOINT,
    checkpoint_time: str = typer.Option("30min", help="Time for simulations on the checkpoint."),
    checkpoint_tokens: int = typer.Option(2048, help="Tokens of each of those."),
    max_memory: str = MAX_MEMORY,
    output: Path | None = typer.Option(None, help="Run folder; a new one under runs/ by default."),
    go_on: bool = typer.Option(False, "--resume", help="Go on with the run in --output."),
    as_json: bool = JSON,
) -> None:
    """Find the best designs under an area budget.

    Those that no other beats in accuracy, energy and throughput.
    """
    timeout_s = read_effort(timeout, jobs)
    with ended_by_signals() as ending, one_exit_code(ending):
        asked = _asked(ctx)
        _check_together(ctx, asked)
        heartbeat_s, checkpoint_s = (
            units.parse(text, "time") for text in (heartbeat, checkpoint_time)
        )
        memory = read_memory(max_memory)
        if go_on:
            search = _resumed(output, asked, storage, "storage" in _given(ctx))
        else:
            search = _begun(output, asked, storage, study)
        from dse import explorer
        from dse.search.checkpoint_stage import Effort

        effort = Effort(checkpoint_s, memory)
        session = explorer.Session(timeout_s, jobs, heartbeat_s, effort=effort)
        with watch(as_json) as callbacks:
            run = search(session=replace(session, callbacks=callbacks))
        show_result(run, as_json)


@contextmanager
def one_exit_code(ending: Ending) -> Iterator[None]:
    """Leave with the code of the signal that came, if one did, also when all was written."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(ending.exit_code or 128 + signal.SIGINT) from None
    if ending.exit_code is not None:
        raise typer.Exit(ending.exit_code)


# Options that are fields of `dse.search.settings.Settings` as they stand.
_AS_THEY_STAND = ("model", "concurrency", "context", "prompt", "output_tokens", "cooling",
                  "trials", "seed", "sampler", "tokens", "max_loss", "prefer", "checkpoint_tokens",
                  "magnitude")  # fmt: skip
_OPTIONS = {"budget_area_mm2": "budget-area", "age_s": "age", "objectives": "objective",
            "choices": "fix", "constraints": "constraint"}  # fmt: skip
_ON_A_CHECKPOINT = ("checkpoint_time", "checkpoint_tokens", "max_memory")


def _given(ctx: typer.Context) -> dict[str, Any]:
    """The options that stand on the command line, without those at their default."""
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return {
        name: ctx.params[name]
        for name, source in sources.items()
        if source is not None and source.name == "COMMANDLINE"
    }


def _asked(ctx: typer.Context) -> dict[str, Any]:
    """The fields of `dse.search.settings.Settings` that the command line gives."""
    given = _given(ctx)
    asked = {name: given[name] for name in _AS_THEY_STAND if name in given}
    if "checkpoint" in given:
        asked["checkpoint"] = str(given["checkpoint"].resolve())
        asked.setdefault("model", asked["checkpoint"])
    if "age" in given:
        asked["age_s"] = units.age(given["age"])
    if "budget_area" in given:
        asked["budget_area_mm2"] = units.parse(given["budget_area"], "area")
    if "objective" in given:
        names = ",".join(given["objective"]).split(",")
        asked["objectives"] = tuple(name.strip() for name in names)
    if "mitigation" in given:
        asked["mitigation"] = tuple(given["mitigation"])
    if constraints := _constraints(given):
        asked["constraints"] = constraints
    if choices := _choices(given):
        asked["choices"] = choices
    return asked


def _constraints(given: dict[str, Any]) -> tuple[str, ...]:
    """Constraints, those of the shorthand options last."""
    shorthand = {"budget_power", "budget_energy", "budget_cost", "min_accuracy"} & set(given)
    if not shorthand:
        return tuple(given.get("constraint", ()))
    from dse.search.settings import budget_constraints

    return (
        *given.get("constraint", ()),
        *budget_constraints(
            given.get("budget_power"),
            given.get("budget_energy"),
            given.get("min_accuracy"),
            given.get("budget_cost"),
        ),
    )


def _choices(given: dict[str, Any]) -> dict[str, list[Any]]:
    """Choices from the space file, then from --fix, which wins."""
    if not {"space", "fix", "more"} & set(given):
        return {}
    from dse.search.space import more_of, read_assignments, read_space_file

    fix = given.get("fix", [])
    choices: dict[str, list[Any]] = (
        dict(read_space_file(given["space"])) if "space" in given else {}
    )
    choices.update(read_assignments([*fix, *more_of("--fix", fix, given.get("more"))]))
    return choices


def _check_together(ctx: typer.Context, asked: dict[str, Any]) -> None:
    """Options that say nothing without another, or against it, are errors and not ignored."""
    given = _given(ctx)
    if given.get("go_on"):
        for name in {"study", "heartbeat"} & set(given):
            raise ValueError(f"--resume keeps the run's own {name}: leave out --{name}")
        return
    if "model" not in asked or "budget_area_mm2" not in asked:
        raise ValueError(
            "give --model and --budget-area, for instance "
            "dse explore --model deepseekmoe --budget-area 200mm2"
        )
    if "context" in given and "prompt" in given:
        raise ValueError("--context and --prompt exclude each other: a request's context follows")
    if "study" in given and not ctx.params["storage"]:
        raise ValueError("--study names it in a storage: add --storage URL, or leave it out")
    for name in _ON_A_CHECKPOINT:
        if name in given and "checkpoint" not in given:
            raise ValueError(
                f"--{name.replace('_', '-')} is for a checkpoint: add --checkpoint FOLDER"
            )


def _begun(
    output: Path | None, asked: dict[str, Any], storage: str, study: str
) -> "Callable[..., Run]":
    """A new search, to be called with its session."""
    from dse.search.settings import Settings
    from dse.search.setup import settings_architecture
    from dse.search.smallest import refuse_small_budget

    # What can be refused is refused before anything heavy is loaded.
    settings = Settings(**asked)
    refuse_small_budget(settings, settings_architecture(settings))
    from dse.explorer import default_folder, start
    from dse.search.study.storage import shared_place

    folder = output if output is not None else default_folder(settings)
    place = shared_place(storage, study or folder.name) if storage else None
    return partial(start, settings, folder, place=place)


def _resumed(
    output: Path | None, asked: dict[str, Any], storage: str, insists: bool
) -> "Callable[..., Run]":
    """The search of --output going on; what is asked for must be what it was started with.

    Args:
        insists: the storage stands on the command line, not only in the environment.
    """
    from dse.explorer import read_settings, resume
    from dse.runs.folder import read_config

    if output is None:
        raise ValueError("--resume needs the run folder: add --output RUN")
    started = read_settings(output).document()
    for name, value in asked.items():
        before = started[name]
        if name != "trials" and value != (tuple(before) if isinstance(value, tuple) else before):
            option = _OPTIONS.get(name, name.replace("_", "-"))
            raise ValueError(
                f"{output} was started with another --{option} ({before}, not {value}): "
                "leave it out to go on, or start a new run"
            )
    if not insists and "study" not in read_config(output):
        storage = ""
    return partial(resume, output, trials=asked.get("trials"), storage=storage)


def show_result(run: "Run", as_json: bool) -> None:
    """Print the end of a search: the thinned front, reference designs, where the report is."""
    from dse.cli.summary import print_run, run_document

    if as_json:
        from dse.cli.console import print_json

        print_json(run_document(run))
    else:
        print_run(run)
