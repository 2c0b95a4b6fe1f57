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

config.json and the tables are one set, a generation: it is written whole into a folder of its own
and then moved into place. A crash or a full disk before leaves the old set; after a crash in the
midst of the move, whoever comes next ends it. Each table bears the mark of its generation, so that
files of two sets, however they came together, are never shown as one. The report is drawn from a
set and goes when the next comes. A last line of the journal that was cut off is removed before the
next is written.
"""

import html
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.files import held, one_line_errors, remove_left_behind, sync_folder, write_json

if TYPE_CHECKING:
    import pandas

CONFIG, JOURNAL = "config.json", "study.journal"
TABLES = ("candidates", "experts", "progress", "tornado", "flips", "layers", "checkpoint")
COLUMNS = "columns.json"
REPORT = "report.html"
UNDER_WAY = "under way"  # outcome of a run whose report was drawn before its search ended
_LOCK, _WRITING = ".lock", ".writing.lock"
# The next generation while it is written, and from when it is whole until it is in place.
_NEXT, _WHOLE = ".next", ".whole"
_MARK = "generation"
_PATIENCE_S = 60.0  # for another process that writes the tables or draws the report


def fresh_folder(parent: Path, name: str) -> Path:
    """First of `name`, `name-2`, `name-3`, ... that does not exist yet under `parent`."""
    path, number = parent / name, 1
    while path.exists():
        number += 1
        path = parent / f"{name}-{number}"
    return path


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one search; ValueError when another search does."""
    busy = f"another search is writing into {folder}: wait for it or use --output"
    with held(folder / _LOCK, busy):
        remove_left_behind(folder)
        yield


def writing(folder: Path) -> AbstractContextManager[None]:
    """Hold the folder's tables and report, as a search does at its end and `dse report`."""
    busy = f"another process has been writing the tables of {folder} for {_PATIENCE_S:g} s"
    return held(folder / _WRITING, busy, _PATIENCE_S)


@contextmanager
def created(folder: Path, config: dict[str, Any], private: bool = False) -> Iterator[None]:
    """Make a new run folder with its config.json and hold it.

    What this made, and nothing else, is removed when the search inside fails before it has begun.

    Args:
        private: only its owner may read the folder.

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
        mode = folder.stat().st_mode & 0o7777
        if private:
            folder.chmod(0o700)
    # What is removed lies behind the lock: the folder may be that of another search by now.
    with locked(folder):
        if is_run(folder):
            raise ValueError(_holds_a_run(folder))
        try:
            write_json(folder / CONFIG, config)
            yield
        except BaseException:
            if not _begun(folder):
                _unmake(folder, missing, mode)
            raise


def _unmake(folder: Path, made: list[Path], mode: int) -> None:
    """Remove what a search leaves in a folder, then the folders that were made and are empty."""
    with suppress(OSError):
        for name in (CONFIG, JOURNAL, f".{JOURNAL}.lock", _WRITING):
            (folder / name).unlink(missing_ok=True)
        if folder not in made:
            folder.chmod(mode)
        (folder / _LOCK).unlink(missing_ok=True)
        for path in made:
            path.rmdir()


def _holds_a_run(folder: Path) -> str:
    return f"{folder} already holds a run: add --resume to go on, or use --output"


def _foreign(path: Path) -> bool:
    """Whether a file is none that a search leaves which is killed before its config.json."""
    return path.name != _LOCK and not path.name.startswith(f".{CONFIG}.")


ANNOUNCED = "announced"
"""Key of config.json: since when workers can join the study in a shared storage."""


def _begun(folder: Path) -> bool:
    """Whether the search came to a trial, or workers can join its study.

    Counts claims in the journal without loading Optuna (operation 6 claims or ends a trial).
    """
    if is_run(folder) and f'"{ANNOUNCED}":' in (folder / CONFIG).read_text(encoding="utf-8"):
        return True
    journal = folder / JOURNAL
    return journal.exists() and b'"op_code":6,' in journal.read_bytes()


def is_run(folder: Path) -> bool:
    """Say whether a folder holds a run of this tool."""
    return (folder / CONFIG).is_file()


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json of a run, after a move that was cut short is ended.

    Raises:
        ValueError: when the folder is missing, no run, or its config.json is not one.
    """
    from dse.runs.document import read_document

    if not folder.is_dir():
        what = "it is a file" if folder.exists() else "there is no such folder"
        raise ValueError(f"{folder} is not a run folder: {what}")
    if not is_run(folder):
        raise ValueError(f"{folder} is not a run folder: it holds no {CONFIG}")
    if (folder / _WHOLE).is_dir():
        with writing(folder):
            _move_in(folder)
    return read_document(folder / CONFIG)


def update_config(folder: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """Add to config.json; returns what it then holds."""
    config = read_config(folder) | changes
    write_json(folder / CONFIG, config)
    return config


def write_generation(
    folder: Path,
    tables: "Mapping[str, pandas.DataFrame]",
    config: dict[str, Any],
    documents: Mapping[str, Any] | None = None,
    *,
    instead_of: str | None = None,
) -> bool:
    """Put tables and config.json in the place of those that there are, all or none.

    Args:
        config: without its "generation" and "tables", which are added.
        documents: further JSON files of the set, by name.
        instead_of: the generation that they replace; nothing is written when there is another.

    Returns:
        Whether they were written.
    """
    mark = secrets.token_hex(8)
    with writing(folder), one_line_errors(folder):
        _move_in(folder)
        if instead_of is not None and generation(folder) != instead_of:
            return False
        draft = folder / _NEXT
        shutil.rmtree(draft, ignore_errors=True)
        try:
            draft.mkdir()
            for name, table in tables.items():
                table.attrs[_MARK] = mark
                table.to_parquet(draft / f"{name}.parquet", index=False)
            for name, document in (documents or {}).items():
                write_json(draft / name, document)
            write_json(draft / CONFIG, config | {_MARK: mark, "tables": list(tables)})
            sync_folder(draft)
            draft.rename(folder / _WHOLE)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        _move_in(folder)
    return True


def generation(folder: Path) -> str:
    """The mark of the folder's tables; "" before the first."""
    from dse.runs.document import read_document

    return str(read_document(folder / CONFIG).get(_MARK, ""))


def _move_in(folder: Path) -> None:
    """Move a whole generation into place; config.json goes last and says that all are there."""
    whole = folder / _WHOLE
    if not whole.is_dir():
        return
    with one_line_errors(folder):
        (folder / REPORT).unlink(missing_ok=True)
        left = {path.name for path in whole.iterdir()}
        if CONFIG in left:
            wanted = json.loads((whole / CONFIG).read_text(encoding="utf-8"))["tables"]
            for name in set(TABLES) - set(wanted):
                (folder / f"{name}.parquet").unlink(missing_ok=True)
        for name in sorted(left, key=lambda name: (name == CONFIG, name)):
            (whole / name).replace(folder / name)
        sync_folder(folder)
        whole.rmdir()


def _needed(name: str) -> tuple[str, ...]:
    """Columns that commands read of a table."""
    if name == "candidates":
        from dse.metrics import METRICS
        from dse.search.space import default_space

        marks = (
            "design",
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


_SHOWN = ("design", "technology", "tile_rows", "tile_cols", "tiers", "tiles", "adc_bits",
          "dac_bits", "digital_expert_fraction", "placement_score", "delta_loss_nats",
          "delta_loss_stderr",
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
        if table.attrs.get(_MARK) != self.config.get(_MARK):
            raise ValueError(
                f"{path} and {CONFIG} were not written together, so they do not show one run: "
                "resume the search to write both anew"
            )
        absent = [column for column in _needed(name) if column not in table]
        if absent:
            raise ValueError(
                f"{path} lacks the column {absent[0]}, so another version of dse wrote it: "
                "resume the search to write it anew"
            )
        return table

    def is_whole(self) -> bool:
        """Whether every table of the generation is there and bears its mark."""
        try:
            for name in self.config["tables"]:
                self.table(name)
        except (KeyError, ValueError):
            return False
        return True

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
