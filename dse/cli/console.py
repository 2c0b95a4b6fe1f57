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

WIDTH = 100
LONG_WORD = 12
"""Letters that stay together in a cell however narrow the terminal: numbers have fewer."""


def _width() -> int:
    """Columns of the terminal, at most 100; in a pipe exactly that."""
    import shutil

    return min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH) if _terminal() else WIDTH


def _terminal() -> bool:
    return sys.stdout.isatty()


def printable(text: str) -> str:
    """The text in characters that standard output can encode: "+-" for "±" where it is ASCII."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        for sign, spelled in (("±", "+-"), ("–", "-"), ("×", "x"), ("µ", "u"), ("²", "2")):
            text = text.replace(sign, spelled)
        return text.encode("ascii", "replace").decode()
    return text


def say(text: str) -> None:
    """Print a sentence in lines of at most 100 columns; what has no spaces stays whole."""
    import textwrap

    text = printable(text)
    typer.echo(textwrap.fill(text, _width(), break_long_words=False, break_on_hyphens=False))


def print_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    title: str = "",
    left: int = 1,
    whole: Collection[int] = (),
) -> None:
    """Print a table: the first `left` columns to the left, the others (numbers) to the right.

    A table that is too wide breaks cells between words, those of the columns in `whole` last, and
    never a number. In a pipe it is plain text.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if title:
        say(title)
    lines = [tuple(map(printable, line)) for line in (headers, *rows)]
    room = _width() - len(headers) - 1
    widths = column_widths(lines, room, whole)
    padding = 1 if _terminal() and sum(widths) + 2 * len(headers) <= room else 0
    table = Table(
        box=box.SIMPLE_HEAD if _terminal() else box.ASCII2, pad_edge=False, padding=(0, padding)
    )
    for number, header in enumerate(lines[0]):
        side: Literal["left", "right"] = "left" if number < left else "right"
        table.add_column(Text(header), justify=side, width=widths[number], overflow="fold")
    for row in lines[1:]:
        table.add_row(*(Text(cell) for cell in row))
    # With a height, or rich gives a dumb terminal 80 columns.
    width = sum(widths) + len(headers) * (2 * padding + 1) + 1
    Console(highlight=False, width=width, height=25).print(table)


def column_widths(
    lines: Sequence[Sequence[str]], room: int, whole: Collection[int] = ()
) -> list[int]:
    """Widths of a table's columns: the widest give way until all fit `room`.

    Columns in `whole` give way only where the others alone do not make room, and words (paths,
    names) are broken, to no less than LONG_WORD, only where nothing else does.
    """
    columns = list(zip(*lines, strict=True))
    widths = [max(map(len, column)) for column in columns]
    words = [max((len(w) for cell in column for w in cell.split()), default=0)
             for column in columns]  # fmt: skip
    kept = [widths[n] if n in whole else words[n] for n in range(len(widths))]
    for least in (kept, words, [min(word, LONG_WORD) for word in words]):
        while sum(widths) > room and any(w > at for w, at in zip(widths, least, strict=True)):
            widest = max(range(len(widths)), key=lambda n: (widths[n] > least[n], widths[n]))
            widths[widest] -= 1
    return widths


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
    return units.plain_number(float(value), digits)


def si(value: Any, unit: str) -> str:
    """A quantity for a cell; a dash when it is missing."""
    return "–" if value is None or str(value) in ("<NA>", "nan") else units.si(float(value), unit)
