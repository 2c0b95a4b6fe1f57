"""Reading tables that people wrote: CSV files, and numbers with or without units in their cells."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
RANGE = rf"\s*[~≈]?\s*(-?{NUMBER})(?:\s*(?:-|–|to)\s*({NUMBER}))?"
UNITS = {
    "J": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "nJ": 1e-9, "pJ": 1e-12, "fJ": 1e-15, "kJ": 1e3},
    "s": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12},
    "ms": {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6},
    "Hz": {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
    "V": {"V": 1.0, "mV": 1e-3},
    "mm2": {"mm2": 1.0, "um2": 1e-6, "cm2": 100.0},
    "TOPS/W": {"TOPS/W": 1.0, "GOPS/W": 1e-3, "POPS/W": 1e3, "TFLOPS/W": 1.0, "GFLOPS/W": 1e-3},
    "nm": {"nm": 1.0, "um": 1e3},
}
"""What one of each unit that a cell may carry is in the unit of its column."""
UNIT_LIKE = r"(?i)^(%|[fpnumkgtc]?(j|s|sec|hz|w|wh|m|m2|f?ops(/w|/s)?(/mm2?)?|ops|ev)"
UNIT_LIKE += r"|tok(en)?s?(/s(ec)?)?|cycles?|clks?|fps)$"


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _spelled(unit: str) -> str:
    """A unit in one spelling: "µs" and "mm²" as "us" and "mm2"."""
    return re.sub("[µμ]", "u", unit.strip(" )]")).replace("²", "2").replace("^2", "2")


def _column(
    name: str, columns: Iterable[str], aliases: Mapping[str, str], units: Mapping[str, str]
) -> tuple[str, str]:
    """The known column that a header means, and the unit that bare numbers below it are in.

    Case, spaces and punctuation do not count. A unit may stand in brackets ("Latency [us]") or
    last ("latency_us"). Raises ValueError where one in brackets is none of the column's.
    """
    known = {_key(column): column for column in columns} | dict(aliases)
    bare, *inside = re.split(r"[(\[]", name, maxsplit=1)
    if not inside and _key(name) not in known:
        bare, _, last = name.rpartition("_")
        given = units.get(known.get(_key(bare), ""), "")
        same = [unit for unit in UNITS.get(given, {}) if unit.lower() == _spelled(last).lower()]
        inside = same[:1]
    if not inside or _key(bare) not in known:
        return known.get(_key(name), name), ""
    column, unit = known[_key(bare)], _spelled(inside[0])
    if unit and column in units and unit not in UNITS[units[column]]:
        accepted = ", ".join(UNITS[units[column]])
        raise ValueError(f"header {name!r}: no unit of {column}; accepted: {accepted}")
    stated = any(unit in accepted for accepted in UNITS.values())
    return column, unit if stated else ""


def _lines(path: Path) -> list[str]:
    """Lines of a text file without comments ("# ..."); ValueError in one line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [line for line in file if not line.startswith("#")]
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read {path}: it is not UTF-8 text") from error
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error


def read_csv(
    path: Path,
    columns: Iterable[str],
    needed: Iterable[str],
    aliases: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> list[dict[str, str]]:
    """Rows of a CSV file as dictionaries with those columns at least; absent ones are empty.

    Columns may be separated by commas, semicolons or tabs, in any order, with others between them;
    `aliases` are further names of columns, in small letters and digits only, `units` the units of
    those that have one: a header in another ("Latency (us)") gives its cells that unit. ValueError
    in one line for a file that cannot be read, lacks a needed column, or has no rows.
    """
    columns, lines = list(columns), _lines(path)
    separator = max(",;\t", key=(lines or [""])[0].count)
    try:
        reader = csv.DictReader(lines, delimiter=separator)
        given = [(name or "").strip() for name in reader.fieldnames or []]
        meant = [_column(name, columns, aliases or {}, units or {}) for name in given]
        header: list[str] = []
        for name, (known, _) in zip(given, meant, strict=True):  # the first that means it
            header.append(name if known in (*given, *header) else known)
        suffix = dict(zip(header, (unit for _, unit in meant), strict=True))
        reader.fieldnames = header
        rows = [
            {key: _with_unit(value or "", suffix[key]) for key, value in row.items() if key}
            for row in reader
        ]
    except csv.Error as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    absent = [column for column in needed if column not in header]
    if absent:
        found = ", ".join(filter(None, given)) or "none"
        raise ValueError(
            f"{path} lacks the column {absent[0]!r}; needed: {', '.join(needed)}; "
            f"headers found: {found}"
        )
    rows = [dict.fromkeys(columns, "") | row for row in rows if any(row.values())]
    if not rows:
        raise ValueError(f"{path} has a header but no rows")
    return rows


def typed_number(text: str, unit: str) -> float:
    """A cell that holds one number in its column's unit, or another unit that it names.

    Raises ValueError in a phrase for text beside the number or an unknown unit.
    """
    match = re.fullmatch(rf"\s*([+-]?(?:{NUMBER}|\.\d+))\s*([^\s\d]\S*)?\s*", text)
    named = f" in {unit}" if unit else ""
    if match is None:
        raise ValueError(f"{text.strip()!r} is not one number{named}")
    given = _spelled(match[2] or "")
    if given and given not in UNITS.get(unit, {}):
        accepted = ", ".join(UNITS.get(unit, {})) or "none: it is a bare number"
        raise ValueError(f"{text.strip()!r} is in no unit of the column; accepted: {accepted}")
    return float(match[1]) * (UNITS[unit][given] if given else 1.0)


LOOKALIKES = str.maketrans(dict.fromkeys("‐‑‒–—−", "-") | dict.fromkeys("\u00a0\u2009\u202f", " "))


def _with_unit(text: str, unit: str) -> str:
    """The cell, with the unit of its header where it is a bare number."""
    return f"{text} {unit}" if unit and re.fullmatch(r"\s*[~≈]?[\d.,'eE+-]+\s*", text) else text


def tidy(text: str) -> str:
    """Dashes, spaces, tildes and dots between numbers, and "^2", in one spelling each."""
    text = re.sub(r"(?<=m)\^2", "2", text.translate(LOOKALIKES))
    return re.sub(r"(?<=\d)\s*(?:[~∼～…]|\.{2,3})\s*(?=\d)", "-", text)


def plain(text: str) -> str:
    """Thousands without separators ("1,024", "1'024"), and a decimal comma as a point."""
    text = re.sub(r"(?<![\d.,])([1-9]\d{0,2})((?:[,']\d{3})+)(?![\d,'])", _joined, text)
    return re.sub(r"(?<![\d.,])(\d+),(\d+)(?![\d,])", r"\1.\2", text)


def _joined(match: re.Match[str]) -> str:
    return match[1] + re.sub(r"\D", "", match[2])


def number(text: str) -> float | None:
    """The number that a cell begins with ("~7.94", "0.62-0.64": the middle), or None.

    Bounds ("<400") and words are not numbers.
    """
    match = re.match(RANGE, plain(text))
    if match is None:
        return None
    low = float(match[1])
    value = (low + float(match[2])) / 2 if match[2] else low
    return value if math.isfinite(value) else None


def quantity(text: str, unit: str) -> float | None:
    """The number that a cell begins with, in its column's unit; a unit in the cell is converted.

    Raises ValueError for a unit that is none of the column's ("5 kWh" of an energy in nJ).
    """
    value = number(text)
    if value is None:
        return None
    tail = re.sub(RANGE + r"\s*", "", plain(text), count=1)
    word = re.match(r"%|[A-Za-zµμ]+(?:/[A-Za-z]+)?[²2]?(?:/mm[²2]?)?", tail)
    if word is None:
        return value
    given = re.sub("[µμ]", "u", word[0]).replace("²", "2")
    spelled = {name.lower(): factor for name, factor in UNITS[unit].items()}
    names = (given,) if "/mm" in given else (given, given.split("/")[0])  # "pJ/MAC" counts in pJ
    for name in names:
        factor = UNITS[unit].get(name, spelled.get(name.lower()))
        if factor is not None:
            return value * factor
    if re.match(UNIT_LIKE, given):
        raise ValueError(f"unit {given!r} is none of {', '.join(UNITS[unit])}")
    return value
