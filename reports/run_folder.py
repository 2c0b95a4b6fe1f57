"""The run folder as tables: everything a report or a notebook needs, read once and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from reports.columns import Column, read_columns

#: Columns without which no view can be drawn; every other column may be absent.
REQUIRED = ("trial", "state", "area_mm2", "energy_j_per_token", "throughput_tokens_per_s")

#: Mark that config.json and every table of one search share.
GENERATION = "generation"

#: What became of a design, in the order the views and the table name them.
STATES = ("complete", "reference", "candidate", "ruled_out", "failed")


@dataclass(frozen=True)
class Run:
    """One finished (or interrupted) run.

    ``candidates`` has one row a design, ``experts`` one row a routed expert (empty when the run
    recorded none), ``progress`` one row a trial (empty when absent), ``config`` what config.json
    holds, ``tornado`` one row a constant that moves the recommended design, ``layers`` one row a
    stage of a step and stretch of like layers, ``checkpoint`` one row a
    placement simulated on miniature and checkpoint, ``flips`` one row a question whose answer may
    change the recommendation (all four empty when absent). ``columns`` describes columns as the
    run's columns.json does. A value that was not computed is missing in the tables, never zero.
    """

    folder: Path
    config: dict[str, Any]
    candidates: pd.DataFrame
    experts: pd.DataFrame
    progress: pd.DataFrame
    tornado: pd.DataFrame = field(default_factory=pd.DataFrame)
    layers: pd.DataFrame = field(default_factory=pd.DataFrame)
    checkpoint: pd.DataFrame = field(default_factory=pd.DataFrame)
    flips: pd.DataFrame = field(default_factory=pd.DataFrame)
    columns: dict[str, Column] = field(default_factory=dict)


def read_run(folder: Path | str) -> Run:
    """Read a run folder.

    Raises ValueError, in one line, when the folder is not a run or a table lacks a column.
    """
    folder = Path(folder)
    config_path, candidates_path = folder / "config.json", folder / "candidates.parquet"
    for path in (config_path, candidates_path):
        if not path.is_file():
            raise ValueError(f"{folder} is not a run folder: it has no {path.name}")
    config = _read_json(config_path)
    if not isinstance(config, dict):
        raise ValueError(f"{config_path} holds a {type(config).__name__}, expected an object")
    candidates = _read_table(candidates_path)
    others = {
        name: _read_table(folder / f"{name}.parquet", optional=True)
        for name in ("experts", "progress", "tornado", "layers", "checkpoint", "flips")
    }
    for name, table in {"candidates": candidates, **others}.items():
        if len(table.columns) and table.attrs.get(GENERATION) != config.get(GENERATION):
            raise ValueError(f"{name}.parquet and config.json in {folder} are of two searches")
    return Run(
        folder,
        config,
        normalise_candidates(candidates),
        **others,
        columns=_described(folder / "columns.json"),
    )


def _described(path: Path) -> dict[str, Column]:
    """The columns that columns.json describes; none where there is no such file."""
    if not path.is_file():
        return {}
    entries = _read_json(path)
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and "column" in entry for entry in entries
    ):
        raise ValueError(f"{path} must be a list of objects, each with a column")
    return read_columns(entries)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable JSON: {error}") from None


def normalise_candidates(table: pd.DataFrame) -> pd.DataFrame:
    """A candidates table with a plain index, known states and true/false marks.

    Raises ValueError when a required column is absent or a state is unknown.
    """
    absent = [name for name in REQUIRED if name not in table.columns]
    if absent:
        raise ValueError(f"the table of candidates lacks the columns {', '.join(absent)}")
    table = with_marks(table.reset_index(drop=True))
    unknown = sorted(set(table["state"].astype(str)) - set(STATES))
    if unknown:
        raise ValueError(
            f"unknown state {unknown[0]!r} in the table of candidates, expected one of "
            f"{', '.join(STATES)}"
        )
    return table


def with_marks(table: pd.DataFrame) -> pd.DataFrame:
    """A copy of a table of designs with every mark that the figures read.

    What a table that no search wrote lacks is filled in: the row number as ``trial``, "complete"
    as ``state``, no design on the front, no knee, none recommended, no reference.
    """
    table = table.copy()
    if "is_recommended" not in table.columns and "is_knee" in table.columns:
        # A run of an earlier version recommends its knee.
        table["is_recommended"] = table["is_knee"]
    for mark in ("on_front", "is_knee", "is_recommended"):
        marked = table[mark] if mark in table.columns else pd.Series(False, index=table.index)
        table[mark] = marked.astype("boolean").fillna(False).astype(bool)
    if "reference_name" not in table.columns:
        table["reference_name"] = pd.NA
    if "trial" not in table.columns:
        table["trial"] = range(len(table))
    if "state" not in table.columns:
        table["state"] = "complete"
    return table


def recommended_row(run: Run) -> pd.Series | None:
    """The recommended design: the one marked, else the trial that config.json names, else None."""
    table = run.candidates
    trial = run.config.get("recommended_trial")
    # A reference row may carry a trial number of its own, so only searched designs count.
    named = (table["trial"] == trial) & (table["state"] == "complete")
    for chosen in (table[table["is_recommended"]], table[named.fillna(False)]):
        if len(chosen):
            return chosen.iloc[0]
    return None


def stated(run: Run, *keys: str) -> Any:
    """An entry of the run's recommendation in config.json by its keys; None where it lacks one."""
    value: Any = run.config.get("recommendation")
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def design(candidates: pd.DataFrame, trial: Any) -> pd.Series:
    """The row of a trial number or of a reference's name; ValueError when there is none."""
    candidates = with_marks(candidates)
    for name in ("reference_name", "trial"):
        found = candidates[(candidates[name] == trial).fillna(False)]
        if len(found):
            return found.iloc[0]
    raise ValueError(f"no design {trial!r} in this run")


def name_of(row: pd.Series) -> str:
    """A reference by its name, a design by its trial."""
    reference = row.get("reference_name")
    return str(reference) if not pd.isna(reference) else f"design {row['trial']}"


def budget_mm2(run: Run) -> float | None:
    """The area budget of a run in mm², None when it had none."""
    value: Any = run.config.get("budget_area_mm2")
    return None if value is None or pd.isna(value) else float(value)


def technology_kind(run: Run, row: pd.Series) -> str:
    """Kind of a design's technology (silicon, simulation, projection); "" when not recorded."""
    own: Any = row.get("technology_kind")
    if isinstance(own, str):
        return "" if own == "none" else own
    kinds = run.config.get("technology_kinds")
    return str(kinds.get(str(row.get("technology")), "")) if isinstance(kinds, dict) else ""


def _read_table(path: Path, optional: bool = False) -> pd.DataFrame:
    if optional and not path.is_file():
        return pd.DataFrame()
    try:
        return pd.read_parquet(path)
    except Exception as error:
        # pyarrow raises its own family of errors; to the reader they all mean the same.
        first_line = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{path} is not a readable table: {first_line}") from None
