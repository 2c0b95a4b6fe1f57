"""Reading preset files: every key is checked, and a wrong name is answered with the nearest."""

from __future__ import annotations

import dataclasses
import difflib
import html
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Part = TypeVar("Part")

PRESETS = Path(__file__).parent / "presets"


def names(kind: str) -> tuple[str, ...]:
    """Names of the shipped presets of a kind ("technologies", "tiles", "accelerators"), sorted."""
    return tuple(sorted(path.stem for path in (PRESETS / kind).glob("*.toml")))


def nearest(given: object, accepted: Iterable[str]) -> str:
    """The end of an error line, "; nearest is NAME"; nothing where no name is like the given."""
    near = difflib.get_close_matches(str(given).lower(), tuple(accepted), n=1, cutoff=0.4)
    return f"; nearest is {near[0]}" if near else ""


def check_name(what: str, given: str, accepted: tuple[str, ...]) -> None:
    """Raise ValueError for a name that is none of the accepted ones, with the nearest that is."""
    if given not in accepted:
        hint = nearest(given, accepted)
        raise ValueError(f"unknown {what} {given!r}: choose from {', '.join(accepted)}{hint}")


def unknown(what: str, given: str, accepted: Iterable[str]) -> ValueError:
    """A one-line error for a name that does not exist, with the nearest that does."""
    accepted = sorted(accepted)
    hint = nearest(given, accepted) or f"; one of: {', '.join(accepted)}"
    return ValueError(f"unknown {what} {given!r}{hint}")


def read(kind: str, name_or_path: str | Path) -> dict[str, Any]:
    """The table of a preset, by shipped name or by path to a TOML file.

    Raises ValueError in one line for an unknown name, an unreadable file or invalid TOML.
    """
    text = str(name_or_path)
    path = Path(text) if text.endswith(".toml") else PRESETS / kind / f"{text}.toml"
    if not text.endswith(".toml") and text not in names(kind):
        raise unknown(
            kind.removesuffix("s").replace("technologie", "technology"), text, names(kind)
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error


def check_keys(table: dict[str, Any], accepted: type | Iterable[str], where: str) -> None:
    """Raise ValueError naming the first key of `table` that is not a field of the dataclass."""
    if isinstance(accepted, type):
        accepted = [field.name for field in dataclasses.fields(accepted)]
    accepted = list(accepted)
    for key in table:
        if key not in accepted:
            raise unknown(f"key in {where}", key, accepted)


def part_from_table(kind: type[Part], table: dict[str, Any], where: str) -> Part:
    """A part (a dataclass) from a table of its fields.

    Raises ValueError in one line for a key that it does not have, or lacks.
    """
    check_keys(table, kind, where)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        optional = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if not optional and field.name not in table:
            raise ValueError(f"{where} lacks the key {field.name!r}")
    return kind(**table)


def stack(parts: list[Part], index: NDArray[np.integer[Any]], shared: tuple[str, ...] = ()) -> Part:
    """One part whose fields are arrays: entry i is that of `parts[index[i]]`.

    A field on which all agree stays a scalar, which keeps array formulas short. Those in `shared`
    are long texts, not wanted a million times: what the parts say, joined.
    """
    index = np.asarray(index)
    stacked = object.__new__(type(parts[0]))  # parts are checked already: not a million times again
    for field in dataclasses.fields(parts[0]):  # type: ignore[arg-type]
        values = [getattr(part, field.name) for part in parts]
        if field.name in shared:
            value: Any = "; ".join(dict.fromkeys(str(one) for one in values))
        else:
            value = along(values, index)
        object.__setattr__(stacked, field.name, value)
    return stacked


def along(values: list[Any], index: NDArray[np.integer[Any]]) -> Any:
    """`values[index[i]]` for every design i; the value itself where all are the same."""
    same = all(value == values[0] for value in values)
    return values[0] if same else np.array(values)[index]


def html_table(part: Any) -> str:
    """The fields of a dataclass as an HTML table, for notebooks; long arrays by their shape."""
    rows = []
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            value = getattr(value, "name", value)
        if np.size(value) > 8:
            value = f"array of {np.size(value)}, {np.min(value)} to {np.max(value)}"
        cells = (html.escape(str(text)) for text in (field.name, value))
        rows.append("<tr><th style='text-align:left'>{}</th><td>{}</td></tr>".format(*cells))
    return f"<table>{''.join(rows)}</table>"


def check_range(
    name: str, value: Any, low: float, high: float = float("inf"), *, whole: bool = False
) -> None:
    """Raise ValueError in one line unless every element of `value` is finite and in [low, high]."""
    scalar = type(value) in (int, float) and low <= value <= high and value < float("inf")
    if scalar and (not whole or value == int(value)):
        return
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a number, not {value!r}") from error
    if np.asarray(value).dtype.kind in "US":
        raise ValueError(f"{name} must be a number, not the text {value!r}")
    # The extremes decide first, for arrays of a million designs: NaN fails every comparison.
    fractional = (
        whole and np.asarray(value).dtype.kind not in "iu" and np.any(array != np.floor(array))
    )
    if fractional or not (array.min() >= low and array.max() <= high and np.isfinite(array.max())):
        good = np.isfinite(array) & (array >= low) & (array <= high)
        good &= (array == np.floor(array)) | (not whole)
        bad = array[~good].flat[0]
        kind = "a whole number" if whole else "a number"
        limit = f"of at least {low:g}" if np.isinf(high) else f"from {low:g} to {high:g}"
        raise ValueError(f"{name} is {bad:g}; it must be {kind} {limit}")


def check_choice(name: str, value: Any, accepted: Iterable[str]) -> None:
    """Raise ValueError in one line unless every element of `value` is one of the accepted words."""
    if isinstance(value, str) and value in accepted:
        return
    array = np.asarray(value)
    wrong = ~np.isin(array, list(accepted))
    if np.any(wrong):
        raise unknown(name, str(array[wrong].flat[0]), accepted)
