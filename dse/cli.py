"""The command line. Commands live in dse/commands; each parses, calls one function and prints."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import Abort, TyperException

from dse.commands import (
    benchmark,
    explore,
    hardware,
    inspect,
    placements,
    scores,
    trust,
    validate,
    worker,
)


class OneLineErrors(TyperGroup):
    """Bad input, from whatever depth, is one line on standard error and exit code 2."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        run = super().main
        extra["standalone_mode"] = False
        if not standalone_mode:
            return run(*args, **extra)
        try:
            code = run(*args, **extra)
        except TyperException as error:
            _fail(error.format_message())
        except ValueError as error:
            _fail(str(error))
        except OSError as error:
            _fail(f"{error.filename or 'file'}: {error.strerror or error}")
        except Abort:
            sys.exit(130)
        sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> None:
    lines = message.strip().splitlines() or ["unknown error"]
    typer.echo(f"dse: {' '.join(line.strip() for line in lines)}", err=True)
    sys.exit(2)


app = typer.Typer(
    name="dse",
    cls=OneLineErrors,
    no_args_is_help=True,
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


for module in (
    explore,
    worker,
    inspect,
    hardware,
    trust,
    scores,
    placements,
    benchmark,
    validate,
):
    module.register(app)


def main() -> None:
    """Entry point of the `dse` command."""
    app()
