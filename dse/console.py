"""How commands print: tables of at most 100 columns, plain text in a pipe, or one JSON document."""

import json
import math
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import typer

from dse import units

if TYPE_CHECKING:
    import pandas
    from rich.console import Console

WIDTH = 100


def console(stderr: bool = False) -> "Console":
    """A rich console no wider than 100 columns; in a pipe exactly that, without colour."""
    from rich.console import Console

    found = Console(stderr=stderr, highlight=False)
    return Console(
        stderr=stderr,
        highlight=False,
        width=min(found.width, WIDTH) if found.is_terminal else WIDTH,
    )


def say(text: str) -> None:
    """Print a sentence in lines of at most 100 columns; what has no spaces stays whole."""
    import textwrap

    typer.echo(textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False))


def print_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    title: str = "",
    left: int = 1,
    whole: Collection[int] = (),
) -> None:
    """Print a table: the first `left` columns to the left, the others (numbers) to the right.

    Columns in `whole` are never broken into lines.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if title:
        say(title)
    table = Table(
        box=box.SIMPLE_HEAD if sys.stdout.isatty() else box.ASCII2,
        pad_edge=False,
        padding=(0, 1) if sys.stdout.isatty() else (0, 0),
    )
    for number, header in enumerate(headers):
        side: Literal["left", "right"] = "left" if number < left else "right"
        table.add_column(header, justify=side, overflow="fold", no_wrap=number in whole)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def print_frame(table: "pandas.DataFrame", title: str = "") -> None:
    """Print a table of pandas; columns that are empty throughout are left out."""
    shown = table.dropna(axis="columns", how="all")
    texts = [not is_number_dtype(shown[name]) for name in shown.columns]
    left = texts.index(False) if False in texts else len(texts)
    headers = [str(name).replace("_", " ") for name in shown.columns]
    rows = [[number(cell, 3) for cell in row] for row in shown.itertuples(index=False)]
    print_table(headers, rows, title=title, left=left)


def is_number_dtype(column: "pandas.Series[Any]") -> bool:
    """Whether a column holds numbers (and not truth values)."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return bool(is_numeric_dtype(column) and not is_bool_dtype(column))


def print_json(document: Any) -> None:
    """Print one JSON document; what is missing or not finite is null."""
    typer.echo(json.dumps(plain(document), indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """A value as JSON has it: numpy numbers and arrays, missing values, dataclass-free."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return None if str(value) in ("<NA>", "NaT") else str(value)


def records(table: "pandas.DataFrame") -> list[dict[str, Any]]:
    """Rows of a table for `print_json`."""
    return [plain(row) for row in table.to_dict(orient="records")]


def number(value: Any, digits: int = 4) -> str:
    """A number for a cell; a dash when it is missing."""
    if value is None or str(value) in ("<NA>", "nan", "None"):
        return "–"
    if isinstance(value, str | bool):
        return str(value)
    return f"{float(value):.{digits}g}"


def si(value: Any, unit: str) -> str:
    """A quantity for a cell; a dash when it is missing."""
    return "–" if value is None or str(value) in ("<NA>", "nan") else units.si(float(value), unit)
