"""A typed table of chips, read into design parameters and measured results.

`chip_columns` says what every column means. Measured results are kept apart from the design, so
that no model can see them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

from hwmodels import catalog
from hwmodels.chip_columns import COLUMNS, NEEDED, Column
from hwmodels.table_text import read_csv, typed_number

SHIPPED = Path(__file__).parent / "silicon" / "chips.csv"

RESULTS = {
    "energy_j": "energy_per_mvm_j",
    "latency_s": "latency_s",
    "tops_per_w": "tops_per_w",
    "area_mm2": "area_mm2",
}
"""The column of each measured quantity."""


@dataclass(frozen=True)
class Chip:
    """Design parameters of one row, by the columns' names; `None` or empty is not stated.

    `measured` holds its results by quantity, `missing` why others cannot be compared with.
    """

    id: str
    title: str
    family: str
    kind: str
    in_fit: bool
    node_nm: float
    device: str
    rows: int
    columns: int
    devices_per_weight: float | None
    weight_storage: str
    weight_bits: float | None
    bits_per_cell: float | None
    column_sum: str
    input_mode: str
    input_bits: float
    input_sign: str
    phases: int
    rows_at_once: int | None
    readout: str
    output_bits: float | None
    columns_per_converter: int
    supply_v: float | None
    clock_hz: float | None
    integration_s: float | None
    counts: str
    input_bits_per_step: float | None
    doubt: str
    """What its source contradicts itself about: its note begins with DOUBTFUL."""
    measured: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def _spelling(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _word(column: Column, text: str) -> str:
    """The accepted word that a cell means; ValueError names the nearest."""
    words = {_spelling(word): word for word in column.words}
    known = words | column.also
    given = _spelling(text)
    if given in known:
        return known[given]
    near = catalog.nearest(given, words) or catalog.nearest(given, known)
    hint = f"; nearest is {known[near.rpartition(' ')[2]]}" if near else ""
    raise ValueError(f"{text.strip()!r} is none of {', '.join(column.words)}{hint}")


def _cell(column: Column, text: str) -> Any:
    """The value of a cell in its column's type and unit; ValueError in a phrase."""
    if not text.strip():
        return column.default
    if column.kind == "text":
        return " ".join(text.split())
    if column.kind == "word":
        return _word(column, text)
    value = typed_number(text, column.unit)
    whole = column.kind == "whole"
    if not column.low <= value <= column.high or (whole and value != int(value)):
        what = "a whole number" if whole else "a number"
        unit = f" {column.unit}" if column.unit else ""
        raise ValueError(
            f"{text.strip()} must be {what} from {column.low:g} to {column.high:g}{unit}"
        )
    return int(value) if whole else value


def _cells(path: Path) -> list[dict[str, str]]:
    aliases = {alias: column.name for column in COLUMNS for alias in column.aliases}
    units = {column.name: column.unit for column in COLUMNS if column.unit}
    return read_csv(path, [column.name for column in COLUMNS], NEEDED, aliases, units)


def unread_headers(path: str | Path) -> list[str]:
    """Headers of a table that name no column; ValueError as for `read_table`."""
    names = {column.name for column in COLUMNS}
    return [header for header in _cells(Path(path))[0] if header not in names]


def read_table(path: str | Path | None = None) -> list[dict[str, Any]]:
    """Rows of a chip table, typed (the shipped table by default): `None` or "" is not stated.

    Raises ValueError in one line for an unreadable, empty or foreign file, a header or a number in
    a wrong unit, text in a number, a value out of range, a word that is not accepted.
    """
    path = SHIPPED if path is None else Path(path)
    typed: list[dict[str, Any]] = []
    for place, cells in enumerate(_cells(path), start=1):
        row: dict[str, Any] = {}
        for column in COLUMNS:
            try:
                row[column.name] = _cell(column, cells[column.name])
            except ValueError as error:
                name = shorten(cells["id"] or cells["title"], 40)
                where = f"{path}, row {place}{f' ({name})' if name else ''}"
                raise ValueError(f"{where}, {column.name}: {error}") from error
        row["id"] = row["id"] or row["title"] or f"row {place}"
        if any(other["id"] == row["id"] for other in typed):  # two rows of one name are two chips
            row["id"] += f" (row {place})"
        typed.append(row)
    return typed


def _measured(row: dict[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Results of a row by quantity, and why others are missing.

    A row whose status begins with M holds figures that nobody verified: nothing is compared.
    """
    if row["status"].split(" ")[0].strip(":,;") == "M":
        return {}, dict.fromkeys(RESULTS, "the row's figures are marked unverified (M)")
    values = {name: row[column] for name, column in RESULTS.items() if row[column] is not None}
    missing: dict[str, str] = {}
    if row["tops_per_w_at"] == "one_bit" and "tops_per_w" in values:
        if row["weight_bits"] is None:
            del values["tops_per_w"]
            missing["tops_per_w"] = "TOPS/W of single bits, but the row gives no bits of a weight"
        else:
            values["tops_per_w"] /= row["input_bits"] * row["weight_bits"]
    return values, missing


DEFAULT_SUM = {"sram": "discharge", "edram": "discharge"}
"""How columns add where the row does not say; currents in all other devices."""


def parse(row: dict[str, Any]) -> Chip:
    """Design parameters and results of one typed row; ValueError says what cannot be expressed."""
    for name in NEEDED:
        if row[name] in (None, ""):
            raise ValueError(f"the row gives no {name}")
    digital = row["readout"] == "adder_tree" or row["column_sum"] == "adders"
    if not digital and row["output_bits"] is None and row["readout"] != "sense_amplifier":
        raise ValueError("the row gives no output_bits, the bits of its converter")
    if not digital and (row["output_bits"] or 1) > 14:
        raise ValueError(
            f"output_bits is {row['output_bits']:g}: no converter has so many; give the "
            "converter's bits, not those of the digital sum"
        )
    storage = row["weight_storage"] or ("analog" if row["weight_bits"] is None else "bit_sliced")
    if storage == "bit_sliced" and row["weight_bits"] is None:
        raise ValueError("the row gives no weight_bits, and its weights are stored bit by bit")
    values, missing = _measured(row)
    design = {name: row[name] for name in Chip.__dataclass_fields__ if name in row}
    design |= {
        "family": row["family"] or row["title"] or row["id"],
        "kind": row["kind"] or "silicon",
        "in_fit": row["in_fit"] == "yes",
        "doubt": row["note"].partition("DOUBTFUL")[2].strip(" :"),
        "weight_storage": storage,
        "column_sum": "adders"
        if digital
        else row["column_sum"] or DEFAULT_SUM.get(row["device"], "current"),
        "readout": "adder_tree" if digital else row["readout"],
        "output_bits": 1.0
        if row["readout"] == "sense_amplifier" and row["output_bits"] is None
        else row["output_bits"],
        "phases": row["phases"] or 1,
        "columns_per_converter": row["columns_per_converter"] or 1,
        "counts": row["counts"] or "macro",
        "rows_at_once": row["rows_at_once"] and min(row["rows_at_once"], row["rows"]),
    }
    return Chip(**design, measured=values, missing=missing)
