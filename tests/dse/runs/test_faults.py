"""Runs that are killed, edited, mixed and moved: what is shown is one run, or one line."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from command_line import EXPLORE, QUICK, invoke, one_line

from dse.files import write_json
from dse.runs import folder as runs
from dse.runs.document import SCHEMA
from dse.search.study.journal import DamagedJournalError
from dse.search.study.storage import journal_storage


@pytest.fixture
def run(small_run, tmp_path) -> Path:
    return Path(shutil.copytree(small_run, tmp_path / "run"))


def killed_at(operation: int, inside: Path, act) -> bool:
    """Run `act` in a process that SIGKILLs itself before its nth change of a file in a folder.

    Whether it came so far.
    """
    process = os.fork()
    if not process:
        left = operation

        def count(event: str, given: tuple) -> None:
            nonlocal left
            changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
            opens = event == "open" and given[1] is not None and set("wax+") & set(str(given[1]))
            if (changes or opens) and str(given[0]).startswith(str(inside)):
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            act()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def marks(folder: Path) -> set[str]:
    config = json.loads((folder / "config.json").read_text())
    tables = [pd.read_parquet(folder / f"{name}.parquet") for name in config["tables"]]
    return {config["generation"], *(table.attrs["generation"] for table in tables)}


def test_a_kill_at_any_step_of_writing_leaves_one_set_or_the_other(run):
    """Every change of a file in turn; whoever reads next ends a move that had begun."""
    config = runs.read_config(run)
    old = config["generation"]
    tables = {name: runs.load_run(run).table(name) for name in config["tables"]}
    saved = run.with_name("saved")
    shutil.copytree(run, saved)
    kept = replaced = operation = 0
    while True:
        operation += 1
        if not killed_at(operation, run, lambda: runs.write_generation(run, tables, config)):
            break
        opened = runs.load_run(run)
        assert opened.is_whole()
        assert marks(run) == {opened.config["generation"]}
        if opened.config["generation"] == old:
            kept += 1
            assert opened.report.exists()
        else:
            replaced += 1
            assert not opened.report.exists()  # it shows the set before
        shutil.rmtree(run)
        shutil.copytree(saved, run)
    assert kept >= len(tables)
    assert replaced >= len(tables)
    assert runs.load_run(run).config["generation"] != old


def test_tables_of_two_searches_are_never_shown_as_one(run):
    config = runs.read_config(run)
    table = runs.load_run(run).candidates
    runs.write_generation(run, {n: runs.load_run(run).table(n) for n in config["tables"]}, config)
    table.to_parquet(run / "candidates.parquet", index=False)  # with the mark of the set before
    for command in (["show"], ["best"], ["tornado"], ["export", "--csv"]):
        one_line(invoke(command[0], run, *command[1:]), "not written together", "resume")
    one_line(invoke("report", run), "two searches")


def test_tables_that_a_search_wrote_meanwhile_are_not_written_over(run):
    config = runs.read_config(run)
    tables = {name: runs.load_run(run).table(name) for name in config["tables"]}
    assert not runs.write_generation(run, tables, config, instead_of="another")
    assert runs.read_config(run) == config
    assert runs.write_generation(run, tables, config, instead_of=config["generation"])


def test_a_resume_with_nothing_to_do_changes_no_byte(run):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    shown = invoke("show", run, "--json").stdout
    for more in ((), ("--trials", 1)):
        result = invoke("explore", "--resume", "--output", run, "--json", *more)
        assert result.exit_code == 0, result.output
        assert result.stdout == shown
        after = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
        assert {name: after[name] for name in before} == before
    assert "has 2 finished trials: the total of 1 is reached" in result.stderr


def edited(run: Path, **changes) -> dict:
    config = json.loads((run / "config.json").read_text())
    for name, value in changes.items():
        at = config["settings"] if name in config["settings"] else config
        if value is KeyError:
            del at[name]
        else:
            at[name] = value
    (run / "config.json").write_text(json.dumps(config))
    return config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trials": "16"}, ["settings.trials is '16'"]),
        ({"trials": KeyError}, ["settings.trials is missing"]),
        ({"objectives": 3}, ["settings.objectives is 3"]),
        ({"choices": {"tile_rows": 512}}, ["settings.choices.tile_rows"]),
        ({"settings": []}, ["settings is []"]),
        ({"settings": KeyError}, ["settings is missing"]),
        ({"counts": {"trials": "many"}}, ["counts.trials is 'many'"]),
        ({"tables": None}, ["tables is None"]),
        ({"fingerprints": KeyError}, ["fingerprints is missing"]),
        ({"model_title": 1}, ["model_title is 1"]),
        ({"schema": 1}, ["schema is 1", f"reads {SCHEMA}", "start a new run"]),
    ],
)
def test_an_edited_config_is_one_line_with_its_key(run, changes, words):
    edited(run, **changes)
    for command in (["show", run], ["explore", "--resume", "--output", run]):
        one_line(invoke(*command), "config.json", *words)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "", "3", "null", '"\\ud800"', "NaN"])
def test_a_config_that_is_no_document_is_one_line(run, text):
    (run / "config.json").write_text(text)
    one_line(invoke("show", run), "config.json")


@pytest.mark.parametrize("kind", ["version", "weights of the miniature", "text", "constants"])
def test_what_would_mix_results_is_refused(run, kind):
    config = json.loads((run / "config.json").read_text())
    edited(run, fingerprints=config["fingerprints"] | {kind: "other"})
    before = (run / "study.journal").read_bytes()
    result = invoke("explore", "--resume", "--trials", 4, "--output", run)
    one_line(result, f"another {kind} (other, here", "start a new run")
    assert (run / "study.journal").read_bytes() == before


@pytest.mark.parametrize("harm", ["cut", "empty", "gone", "line", "changed", "unknown", "swapped"])
def test_a_harmed_journal_is_one_line_with_what_config_json_counted(run, harm):
    path = run / "study.journal"
    lines = path.read_text().splitlines(keepends=True)
    unknown = '{"op_code":99,"worker_id":"x"}\n'
    harmed = {
        "cut": lines[:-3],
        "empty": [],
        "gone": [],
        "line": lines[:4] + lines[5:],
        "changed": [*lines[:4], lines[4].replace('"', "'", 1), *lines[5:]],
        "unknown": [*lines, unknown],
        "swapped": [*lines[:4], lines[5], lines[4], *lines[6:]],
    }[harm]
    path.write_text("".join(harmed))
    if harm == "gone":
        path.unlink()
    before = (run / "config.json").read_bytes()
    result = invoke("explore", "--resume", "--output", run)
    one_line(result, str(path), "config.json counted 2 finished trials")
    if harm in ("line", "changed", "swapped"):
        one_line(result, "line 5 ")
    if harm == "unknown":
        one_line(result, f"line {len(lines) + 1} ")
    assert (run / "config.json").read_bytes() == before
    assert path.exists() == (harm != "gone")


def test_the_half_line_of_a_killed_process_is_no_harm(run):
    path = run / "study.journal"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"wor')
    storage = journal_storage(path)
    assert len(storage.get_all_trials(0)) == 2
    storage.set_study_user_attr(0, "next", 1)
    assert path.read_bytes().startswith(whole + b'{"op_code":2')
    path.write_bytes(whole[:100])
    with pytest.raises(DamagedJournalError):
        storage.set_study_user_attr(0, "next", 2)


def test_a_failed_start_removes_only_what_it_made(tmp_path):
    config = {"settings": {}}
    own = tmp_path / "own"
    own.mkdir(mode=0o750)
    link = tmp_path / "link"
    link.symlink_to(own)
    for place in (own, link):
        with pytest.raises(RuntimeError), runs.created(place, config, private=True):
            assert own.stat().st_mode & 0o777 == 0o700
            (own / "notes.txt").write_text("mine")
            raise RuntimeError
        assert [path.name for path in own.iterdir()] == ["notes.txt"]
        assert own.stat().st_mode & 0o777 == 0o750
        (own / "notes.txt").unlink()
    new = tmp_path / "a" / "b"
    with pytest.raises(RuntimeError), runs.created(new, config):
        raise RuntimeError
    assert not (tmp_path / "a").exists()


def test_temporary_files_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path):
    import socket

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = socket.gethostname()
    stale = tmp_path / f".config.json.{host}.{dead.pid}.tmp"
    mine = tmp_path / f".config.json.{host}.{os.getppid()}.tmp"
    away = tmp_path / f".config.json.elsewhere.{dead.pid}.tmp"
    for path in (stale, mine, away):
        path.touch()
    write_json(tmp_path / "config.json", {})
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "config.json", mine, away])
    other = tmp_path / f".report.html.{host}.{dead.pid}.tmp"
    other.touch()
    with runs.locked(tmp_path):
        assert not other.exists()


def test_a_dead_storage_for_a_run_with_a_journal_is_refused_at_once(run, monkeypatch):
    url = "postgresql://dse:secret@localhost:1/db"
    result = invoke("explore", "--resume", "--output", run, "--storage", url)
    one_line(result, "its own journal", "--storage")
    assert "secret" not in result.output
    monkeypatch.setenv("DSE_STORAGE", url)  # of other work: it is not about this run
    assert invoke("explore", "--resume", "--output", run, "--json").exit_code == 0


@pytest.mark.parametrize("option", ["--model", "--output", "--study", "--fix", "tile_rows=512"])
def test_a_password_given_to_the_wrong_option_is_not_repeated(tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    url = "postgresql://dse:s3cr t/x@y@localhost/db"
    given = [option, url] if option.startswith("--") else [url]
    result = invoke(*EXPLORE, *QUICK, *given)
    one_line(result, "only --storage takes one")
    assert "s3cr" not in result.output
    assert list(tmp_path.iterdir()) == []
    shown = invoke("show", "postgresql:/dse:s3cr@localhost/db")
    one_line(shown, "***@localhost")


def test_cells_that_look_like_formulas_are_text_in_csv(run):
    loaded = runs.load_run(run)
    table = loaded.candidates
    table.loc[0, "reason"] = "=1+1"
    table.loc[1, "reason"] = "-2"
    from dse.runs.best import as_text

    written = as_text(table)
    assert written.loc[:1, "reason"].tolist() == ["'=1+1", "'-2"]
    numbers = table.select_dtypes("number")
    pd.testing.assert_frame_equal(written[numbers.columns], numbers)
