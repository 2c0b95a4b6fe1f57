"""Reading a run folder: what is refused, in one line, and what is not."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from reports import read_run, write_report


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a run folder: it has no config"):
        read_run(tmp_path)


@pytest.mark.parametrize(("name", "content"), [("config.json", "{"), ("config.json", "[]"),
                                               ("candidates.parquet", "no table")])  # fmt: skip
def test_broken_files_are_told_in_one_line(
    make_run: Callable[..., Path], name: str, content: str
) -> None:
    folder = make_run(designs=5)
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=name) as refused:
        write_report(folder)
    assert "\n" not in str(refused.value)
    assert not (folder / "report.html").exists()


def test_a_table_without_its_columns_is_refused(make_run: Callable[..., Path]) -> None:
    folder = make_run(designs=5)
    pd.DataFrame({"trial": [1]}).to_parquet(folder / "candidates.parquet")
    with pytest.raises(ValueError, match="lacks the columns state, area_mm2"):
        read_run(folder)


def test_an_unknown_state_is_refused(make_run: Callable[..., Path]) -> None:
    folder = make_run(designs=5, change=lambda table, config: table.assign(state="maybe"))
    with pytest.raises(ValueError, match="unknown state 'maybe'"):
        read_run(folder)


def test_what_is_missing_stays_missing(make_run: Callable[..., Path]) -> None:
    table = read_run(make_run()).candidates
    ruled_out = table[table["state"] == "ruled_out"]
    assert len(ruled_out) and ruled_out["delta_loss_nats"].isna().all()


def test_nothing_is_left_half_written(make_run: Callable[..., Path]) -> None:
    folder = make_run(designs=5)
    (folder / "report.html").mkdir()
    with pytest.raises(ValueError, match="cannot write"):
        write_report(folder)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
