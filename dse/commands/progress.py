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
        yield Callbacks()
    elif sys.stderr.isatty():
        with _bar() as callbacks:
            yield callbacks
    else:
        last = [-_EVERY_S]

        def line(progress: Any) -> None:
            if time.monotonic() - last[0] > _EVERY_S:
                last[0] = time.monotonic()
                typer.echo(f"trial {progress.trial + 1}: {_state(progress)}", err=True)

        def layer(text: str, done: int, total: int) -> None:
            if time.monotonic() - last[0] > _EVERY_S:
                last[0] = time.monotonic()
                typer.echo(f"{text}: layer {done} of {total}", err=True)

        yield Callbacks(progress=line, layers=layer)


@contextmanager
def _bar() -> Iterator["Callbacks"]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from dse.console import error_console
    from dse.explorer import Callbacks

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=error_console(),
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


@contextmanager
def progress_bar(of: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar of what is counted, on standard error, when that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with steps() as told:
        yield lambda done, total: told(of, done, total)


@contextmanager
def steps(quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Told what is in work, parts done and in all: a bar on a terminal, else a line in a while."""
    if quiet:
        yield lambda _text, _done, _total: None
        return
    if sys.stderr.isatty():
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        from dse.console import error_console

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=error_console(), transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda text, done, total: bar.update(
                task, description=text, completed=done, total=total
            )
        return
    last = [-_EVERY_S]

    def line(text: str, done: int, total: int) -> None:
        if time.monotonic() - last[0] > _EVERY_S:
            last[0] = time.monotonic()
            typer.echo(f"{text}: {done} of {total} done", err=True)

    yield line
