"""The run folder: everything a search leaves behind, and nothing half-written.

    config.json         the command, settings, versions, sources, times; enough to repeat the run
    study.journal       the Optuna study, one line an event; grows while the search runs
    candidates.parquet  one row a design, every metric and breakdown
    columns.json        name, unit, direction and meaning of the columns of candidates.parquet
    experts.parquet     one row an expert: load, scores and the rank each placement gives it
    progress.parquet    hypervolume over trials
    tornado.parquet     one row a constant that moves the recommended design's cost
    flips.parquet       one row a question whose answer may change what is recommended
    layers.parquet      one row a stage of a step and stretch of like layers, of the front's designs
    checkpoint.parquet  loss on miniature and checkpoint, of a search with one
    report.html         the report

Every file but the journal is written beside its name and moved into place, so that a crash or a
full disk leaves the old file or the new one. A last line of the journal that was cut off is removed
before the next is written.
"""

import html
import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.files import held, one_line_errors, write_atomically, write_json

if TYPE_CHECKING:
    import pandas

CONFIG, JOURNAL = "config.json", "study.journal"
TABLES = ("candidates", "experts", "progress", "tornado", "flips", "layers", "checkpoint")
COLUMNS = "columns.json"
REPORT = "report.html"
UNDER_WAY = "under way"  # outcome of a run whose report was drawn before its search ended
_LOCK = ".lock"


def fresh_folder(parent: Path, name: str) -> Path:
    """First of `name`, `name-2`, `name-3`, ... that does not exist yet under `parent`."""
    path, number = parent / name, 1
    while path.exists():
        number += 1
        path = parent / f"{name}-{number}"
    return path


def locked(folder: Path) -> AbstractContextManager[None]:
    """Hold the folder for one search; ValueError when another search does."""
    busy = f"another search is writing into {folder}: wait for it or use --output"
    return held(folder / _LOCK, busy)


@contextmanager
def created(folder: Path, config: dict[str, Any]) -> Iterator[None]:
    """Make a new run folder with its config.json and hold it.

    What this made is removed again when the search inside fails before its first trial.

    Raises:
        ValueError: when the folder holds a run or anything else, or cannot be written.
    """
    if is_run(folder):
        raise ValueError(_holds_a_run(folder))
    if folder.exists() and (not folder.is_dir() or any(map(_foreign, folder.iterdir()))):
        raise ValueError(f"{folder} exists and is not a run folder: choose another --output")
    with one_line_errors(folder):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    # What is removed lies behind the lock: the folder may be that of another search by now.
    with locked(folder):
        if is_run(folder):
            raise ValueError(_holds_a_run(folder))
        try:
            write_json(folder / CONFIG, config)
            yield
        except BaseException:
            if not _begun(folder):
                shutil.rmtree(folder, ignore_errors=True)
                for path in missing[1:]:
                    if path.is_dir() and not any(path.iterdir()):
                        path.rmdir()
            raise


def _holds_a_run(folder: Path) -> str:
    return f"{folder} already holds a run: add --resume to go on, or use --output"


def _foreign(path: Path) -> bool:
    """Whether a file is none that a search leaves which is killed before its config.json."""
    return path.name != _LOCK and not path.name.startswith(f".{CONFIG}.")


def _begun(folder: Path) -> bool:
    """Whether the search came to a trial, or a shared storage holds its study.

    Counts claims in the journal without loading Optuna (operation 6 claims or ends a trial).
    """
    if is_run(folder) and "study" in read_config(folder):
        return True
    journal = folder / JOURNAL
    return journal.exists() and b'"op_code":6,' in journal.read_bytes()


def is_run(folder: Path) -> bool:
    """Say whether a folder holds a run of this tool."""
    return (folder / CONFIG).is_file()


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json of a run.

    Raises:
        ValueError: when the folder is missing, no run, or its config.json cannot be read.
    """
    if not folder.is_dir():
        what = "it is a file" if folder.exists() else "there is no such folder"
        raise ValueError(f"{folder} is not a run folder: {what}")
    if not is_run(folder):
        raise ValueError(f"{folder} is not a run folder: it holds no {CONFIG}")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(config, dict) or "settings" not in config:
            raise ValueError("no settings in it")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder} is not a run folder: {CONFIG} is unreadable ({error})"
        ) from error
    return config


def write_table(folder: Path, name: str, table: "pandas.DataFrame") -> None:
    """Write one of the run's tables as parquet, atomically."""
    path = folder / f"{name}.parquet"
    write_atomically(path, lambda temporary: table.to_parquet(temporary, index=False))


def _needed(name: str) -> tuple[str, ...]:
    """Columns that commands read of a table."""
    if name == "candidates":
        from dse.metrics import METRICS
        from dse.search.space import default_space

        marks = (
            "trial",
            "state",
            "on_front",
            "is_knee",
            "is_recommended",
            "recommended_of",
            "reference_name",
            "tiles",
        )
        chosen = set(default_space().names) - {"tiles_share"}
        return (*marks, *sorted(chosen), *(metric.column for metric in METRICS))
    return ("layer", "expert", "load") if name == "experts" else ()


_SHOWN = ("trial", "technology", "tile_rows", "tile_cols", "tiers", "tiles", "adc_bits", "dac_bits",
          "digital_expert_fraction", "placement_score", "delta_loss_nats", "delta_loss_stderr",
          "accuracy", "energy_j_per_token", "throughput_tokens_per_s", "area_mm2")  # fmt: skip
"""Columns of a front that a notebook shows of a run."""


@dataclass(frozen=True)
class Run:
    """A finished or interrupted search, read from its folder.

    Attributes:
        folder: where it lies.
        config: the contents of config.json.
    """

    folder: Path
    config: dict[str, Any] = field(repr=False)

    def table(self, name: str) -> "pandas.DataFrame":
        """Read one of `TABLES`; units stand in the column names."""
        import pandas

        if name not in TABLES:
            raise ValueError(f"no table {name!r} in a run; there are {', '.join(TABLES)}")
        path = self.folder / f"{name}.parquet"
        try:
            table = pandas.read_parquet(path)
        except FileNotFoundError:
            if (self.folder / _LOCK).exists():
                with locked(self.folder):  # raises while a search is still writing it
                    pass
            raise ValueError(
                f"{self.folder} has no {path.name}: resume the search to write it"
            ) from None
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
        absent = [column for column in _needed(name) if column not in table]
        if absent:
            raise ValueError(
                f"{path} lacks the column {absent[0]}, so another version of dse wrote it: "
                "resume the search to write it anew"
            )
        return table

    @property
    def candidates(self) -> "pandas.DataFrame":
        """Every design: one row each, with metrics, breakdowns, state and reason."""
        return self.table("candidates")

    def front(self) -> "pandas.DataFrame":
        """Designs that no other beats, from least to most energy per token."""
        table = self.candidates
        front = table[table["on_front"].fillna(False).astype(bool)]
        return front.sort_values("energy_j_per_token", ignore_index=True)

    @property
    def report(self) -> Path:
        """Path of the report, whether written yet or not."""
        return self.folder / REPORT

    def _repr_html_(self) -> str:
        front = self.front()
        shown = front[[name for name in _SHOWN if name in front]].dropna(axis=1, how="all")
        rows = shown.to_html(index=False, max_rows=12, float_format="{:.4g}".format, na_rep="")
        folder = html.escape(str(self.folder))
        return f"<p>{folder}: {len(front)} designs on the front</p>{rows}"


def load_run(folder: str | Path) -> Run:
    """Open a run folder.

    Raises:
        ValueError: when it is not one.
    """
    path = Path(folder)
    return Run(path, read_config(path))
