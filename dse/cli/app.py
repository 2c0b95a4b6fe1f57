"""The command line. Commands live in dse/cli/commands: parse, call one function, print."""

import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import Abort, TyperException

from dse.cli.commands.accuracy import calibrate, mitigate, reproduce, sensitivity
from dse.cli.commands.benchmark import benchmark
from dse.cli.commands.explore import explore
from dse.cli.commands.hardware import tile
from dse.cli.commands.inspect import best, compare, export, models, report, show
from dse.cli.commands.placements import placements
from dse.cli.commands.scores import scores
from dse.cli.commands.study import study
from dse.cli.commands.validate import tornado, validate
from dse.cli.commands.worker import storage_proxy, worker

_INTERRUPTED = 130
# By exit code, what is said: of Ctrl-C, SIGTERM and SIGHUP.
_ENDED = {_INTERRUPTED: "interrupted", 143: "ended by SIGTERM", 129: "ended by SIGHUP"}
_URL = re.compile(r"[a-z][\w+.-]*://", re.IGNORECASE)
_SECRET = re.compile(r"([a-z][\w+.-]*:/+)[^\n]*@", re.IGNORECASE)  # a path keeps one slash
_MASK = r"\1***@"


class OneLineErrors(TyperGroup):
    """Bad input, from whatever depth, is one line on standard error and exit code 2."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        given = args[0] if args else extra.pop("args", None)
        words = list(sys.argv[1:] if given is None else given) or ["--help"]
        extra["standalone_mode"] = False
        run = partial(super().main, words, *args[1:], **extra)
        if not standalone_mode:
            return run()
        _open_missing_streams()
        if isinstance(sys.stdout, TextIOWrapper):  # a help text or name that ASCII lacks
            sys.stdout.reconfigure(errors="replace")
        try:
            _refuse_empty(words)
            _refuse_urls(words)
            code = run()
        except typer.BadParameter as error:
            _fail(_with_value(error))
        except TyperException as error:
            _fail(error.format_message())
        except ValueError as error:
            _fail(str(error))
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            _fail(f"{place}{error.strerror or error}")
        except Abort as abort:
            _fail(str(abort) or "interrupted", _INTERRUPTED)
        if code in _ENDED:
            _fail(_ENDED[code], code)
        sys.exit(code if isinstance(code, int) else 0)


def _open_missing_streams() -> None:
    """A closed standard stream, as under some schedulers, takes what is printed and drops it.

    It also keeps its number: a file opened later would otherwise become the standard output.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w"))  # noqa: SIM115


def _refuse_empty(args: Sequence[str]) -> None:
    """An empty value is most often a shell variable that is not set, never "here" or "none"."""
    for before, text in zip(("", *args), args, strict=False):
        option = text.removesuffix("=") if text.startswith("--") and text.endswith("=") else before
        if not text or option != before:
            name = option if option.startswith("--") else "an argument"
            raise ValueError(f"{name} is empty: give a value or leave it out")


def _refuse_urls(args: Sequence[str]) -> None:
    """A storage URL elsewhere than behind --storage is refused before anything repeats it."""
    for before, text in zip(("", *args), args, strict=False):
        option, equals, value = text.partition("=")
        if not (equals and option.startswith("--")):
            option, value = before, text
        if _URL.match(value) and option != "--storage":
            name = option if option.startswith("--") else "an argument"
            raise ValueError(f"{name} is a URL: only --storage takes one")


def _with_value(error: typer.BadParameter) -> str:
    """The message of a value that is no number or out of range, with the value."""
    errors: list[Any] = getattr(error.__cause__, "errors", list)()
    if not errors or error.param is None:
        return error.format_message()
    reason = error.message.removeprefix("Input ").partition(",")[0]
    return f"{error.param.opts[0]} is {errors[0]['input']!r}: it {reason}"


def _fail(message: str, code: int = 2) -> None:
    lines = message.strip().splitlines() or ["unknown error"]
    line = " ".join(line.strip() for line in lines)
    typer.echo(f"dse: {_SECRET.sub(_MASK, line)}", err=True)
    sys.exit(code)


app = typer.Typer(
    name="dse",
    cls=OneLineErrors,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Design-space exploration for mixture-of-experts models on analog-digital hardware.",
)


def _version(asked: bool) -> None:
    if asked:
        from dse import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


# In the order in which `dse --help` lists them.
for command in (
    *(explore, worker, storage_proxy, study),
    *(models, show, best, compare, export, report),
    *(tile, sensitivity, calibrate, mitigate, reproduce),
    *(scores, placements, benchmark, validate, tornado),
):
    app.command()(command)


def main() -> None:
    """Entry point of the `dse` command."""
    app()
