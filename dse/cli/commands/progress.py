"""What long commands say on standard error while they work."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from dse.explorer import Callbacks

_EVERY_S = 10.0  # between lines in a pipe


@contextmanager
def watch(quiet: bool) -> Iterator["Callbacks"]:
    """Progress on standard error: a bar on a terminal, a line every few seconds in a pipe."""
    from dse.explorer import Callbacks

    if quiet:
        yield Callbacks(note=_note)
    elif sys.stderr.isatty():
        with _bar("starting") as update:

            def advance(progress: Any) -> None:
                update(_state(progress), completed=progress.finished, total=progress.wanted)

            yield Callbacks(
                stage=update,
                progress=advance,
                layers=lambda text, done, total: update(
                    f"{text}, layer", completed=done, total=total
                ),
                note=_note,
            )
    else:
        say = _now_and_then()
        yield Callbacks(
            progress=lambda progress: say(f"trial {progress.trial + 1}: {_state(progress)}"),
            layers=lambda text, done, total: say(f"{text}: layer {done} of {total}"),
            note=_note,
        )


def _note(line: str) -> None:
    typer.echo(f"dse: {line}", err=True)


@contextmanager
def steps(quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Told what is in work, parts done and in all: a bar on a terminal, else a line in a while."""
    if quiet:
        yield lambda _text, _done, _total: None
    elif sys.stderr.isatty():
        with _bar("", transient=True) as update:
            yield lambda text, done, total: update(text, completed=done, total=total)
    else:
        say = _now_and_then()
        yield lambda text, done, total: say(f"{text}: {done} of {total} done")


@contextmanager
def _bar(start: str, transient: bool = False) -> Iterator[Callable[..., None]]:
    """A bar; what it yields takes its words and, by name, `completed` and `total`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True, highlight=False),
        transient=transient,
    ) as bar:
        task = bar.add_task(start, total=None)
        yield lambda text, **counts: bar.update(task, description=text, **counts)


def _now_and_then() -> Callable[[str], None]:
    """Says a line unless another was said a moment ago."""
    last = -_EVERY_S

    def say(line: str) -> None:
        nonlocal last
        if time.monotonic() - last > _EVERY_S:
            last = time.monotonic()
            typer.echo(line, err=True)

    return say


def _state(progress: Any) -> str:
    return (
        f"hypervolume {progress.hypervolume:.4f}, {progress.simulated} simulated, "
        f"{progress.costed:,} costed"
    )
