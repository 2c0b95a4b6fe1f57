"""SIGTERM and SIGHUP end a search like Ctrl-C: in order, with the exit code of the signal."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from command_line import EXPLORE

from dse import explorer
from dse.runs.folder import load_run
from dse.search import interrupts


def begin(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dse", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(process: subprocess.Popen[str], done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not done() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def finished(folder: Path) -> int:
    journal = folder / "study.journal"
    content = journal.read_bytes() if journal.exists() else b""
    return content.count(b'"state":1,') + content.count(b'"state":2,')


def test_sighup_in_set_up_leaves_nothing(tmp_path):
    process = begin(*EXPLORE, "--output", tmp_path / "run", "--trials", 2, "--tokens", 1536)
    wait_for(process, (tmp_path / "run" / "config.json").exists)
    process.send_signal(signal.SIGHUP)
    output, errors = process.communicate(timeout=240)
    assert (process.returncode, output) == (129, "")
    assert errors == "dse: ended by SIGHUP\n"
    assert list(tmp_path.iterdir()) == []


def test_sigterm_to_all_processes_of_a_search_leaves_tables_and_report(tmp_path):
    folder = tmp_path / "run"
    options = ("--output", folder, "--trials", 60, "--tokens", 1536, "--jobs", 2, "--json")
    process = begin(*EXPLORE, *options)
    wait_for(process, lambda: finished(folder) >= 2)
    helpers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGTERM)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 143, errors
    assert json.loads(output)["outcome"] == "interrupted"
    assert errors.endswith("dse: ended by SIGTERM\n")
    assert psutil.wait_procs(helpers, timeout=60)[1] == []
    run = load_run(folder)
    assert run.is_whole() and run.report.exists()
    assert len(run.table("progress")) == run.config["counts"]["trials"] >= 2


def test_the_first_signal_in_the_last_block_waits_and_the_second_does_not():
    before = signal.getsignal(signal.SIGTERM)
    with interrupts.ended_by_signals() as ending:
        with interrupts.put_off():
            os.kill(os.getpid(), signal.SIGTERM)
            assert ending.exit_code == 143
        with pytest.raises(KeyboardInterrupt), interrupts.put_off():
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interrupts.ended_by_signals():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts.ended_by_signals() as ending:
            os.kill(os.getpid(), signal.SIGHUP)
        assert ending.exit_code is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_before_the_first_placement_on_a_checkpoint_reads_what_is_kept(monkeypatch):
    """The stage is entered again for no time, so that the tables have the results of before."""
    times = []

    def score(problem, screening, effort, layers):
        times.append(effort.time_s)
        if effort.time_s > 0:
            raise KeyboardInterrupt
        return SimpleNamespace(outcome="timeout")

    monkeypatch.setattr(explorer, "score_front", score)
    screening = SimpleNamespace(problem=SimpleNamespace(real=object()))
    stage, outcome = explorer._on_checkpoint(screening, explorer.Session(), "finished")
    assert (stage.outcome, outcome, times) == ("timeout", "interrupted", [1800.0, 0.0])
