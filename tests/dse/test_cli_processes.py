"""Searches that are killed, interrupted, shared by processes, or run into a full disk."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from command_line import EXPLORE, invoke, one_line

from dse import explore
from dse.explorer import Session, resume
from dse.run import load_run


def begin(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    def heed_interrupts() -> None:
        # A shell's background job ignores them, and so would its children.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        [sys.executable, "-m", "dse", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, **environment}, preexec_fn=heed_interrupts,
    )  # fmt: skip


def finished_trials(folder: Path) -> int:
    """Complete (1) and ruled out (2) trials; a failed one (3) may be one that was queued again."""
    journal = folder / "study.journal"
    content = journal.read_bytes() if journal.exists() else b""
    return content.count(b'"state":1,') + content.count(b'"state":2,')


def wait_for(process: subprocess.Popen[bytes], done: Callable[[], bool]) -> None:
    """Until it is done, or the process has ended by itself."""
    deadline = time.monotonic() + 240
    while not done() and process.poll() is None:
        assert time.monotonic() < deadline, "the search did not come to its trials in time"
        time.sleep(0.1)


def workers_of(folder: Path) -> set[str]:
    """Processes that have worked on the search, as its trials name them."""
    return set(re.findall(r'"worker": ?"([^"]+)"', (folder / "study.journal").read_text()))


def test_neither_kill_nor_interrupt_loses_a_finished_trial(tmp_path):
    """Two processes search together; both end when the first is killed, and another goes on."""
    folder = tmp_path / "run"
    options = ("--output", str(folder), "--trials", "40", "--tokens", "1536", "--jobs", "2")
    process = begin(*EXPLORE, *options)
    wait_for(process, lambda: finished_trials(folder) >= 2 and len(workers_of(folder)) == 2)
    one_line(invoke(*EXPLORE, "--output", folder, "--resume"), "another search")
    helpers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=240)
    assert helpers and psutil.wait_procs(helpers, timeout=60)[1] == []
    killed = finished_trials(folder)
    assert killed >= 2
    process = begin("explore", "--resume", "--output", str(folder))
    wait_for(process, lambda: finished_trials(folder) > killed)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert b"--resume" in output
    kept = finished_trials(folder)
    assert kept > killed
    run = load_run(folder)
    assert run.report.exists()
    progress = run.table("progress")
    assert len(progress) == kept == run.config["counts"]["trials"]
    assert progress["hypervolume"].is_monotonic_increasing


def test_a_figure_of_the_paper_is_stopped_in_one_line_and_goes_on(tmp_path, monkeypatch):
    figure = ("reproduce", "fig3", "--seeds", "2", "--tokens", "1536")
    process = begin(*figure, XDG_CACHE_HOME=str(tmp_path))

    def finished() -> list[str]:
        return [line for file in tmp_path.rglob("*.jsonl") for line in file.open()]

    wait_for(process, lambda: bool(finished()))
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 130 and output == b""
    *progress, last = errors.decode().strip().splitlines()
    assert last.startswith("dse: interrupted; finished simulations are kept")
    assert all(" done" in line for line in progress)
    kept = finished()
    assert 0 < len(kept) < 9
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    result = invoke(*figure, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["fig3"]
    # One simulation a row, those of the stopped run among them.
    assert finished()[: len(kept)] == kept and len(finished()) == len(rows)


def test_a_full_disk_is_one_line_and_leaves_no_half_written_file(tmp_path):
    """A limit on the size of files stands in for a full disk: writing beyond it fails the same."""
    folder = tmp_path / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40000, hard))
    try:
        with pytest.raises(ValueError, match=r"^cannot write") as raised:
            explore("deepseekmoe", budget_area="200mm2", output=folder, tokens=1536, trials=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(raised.value)
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names <= {"config.json", "study.journal"}
    run = resume(folder, Session(report=False))
    assert len(run.front()) and finished_trials(folder) == 2
