"""Searches that are killed, interrupted, shared by processes, or run into a full disk."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from command_line import EXPLORE, QUICK, invoke, one_line

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


def wait_for_trials(process: subprocess.Popen[bytes], folder: Path, count: int) -> None:
    deadline = time.monotonic() + 240
    while finished_trials(folder) < count and process.poll() is None:
        assert time.monotonic() < deadline, "the search did not come to its trials in time"
        time.sleep(0.05)


def test_neither_kill_nor_interrupt_loses_a_finished_trial(tmp_path):
    folder = tmp_path / "run"
    process = begin(*EXPLORE, "--output", str(folder), "--trials", "40", "--tokens", "1536")
    wait_for_trials(process, folder, 2)
    one_line(invoke(*EXPLORE, "--output", folder, "--resume"), "another search")
    process.kill()
    process.communicate(timeout=240)
    killed = finished_trials(folder)
    assert killed >= 2
    process = begin("explore", "--resume", "--output", str(folder))
    wait_for_trials(process, folder, killed + 1)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert b"--resume" in output
    kept = finished_trials(folder)
    assert kept > killed
    run = load_run(folder)
    assert run.report.exists()
    progress = run.table("progress")
    assert len(progress) == kept
    assert progress["hypervolume"].is_monotonic_increasing


def test_a_figure_of_the_paper_is_stopped_in_one_line_and_goes_on(tmp_path, monkeypatch):
    figure = ("reproduce", "fig3", "--seeds", "2", "--tokens", "1536")
    process = begin(*figure, XDG_CACHE_HOME=str(tmp_path))
    deadline = time.monotonic() + 240

    def finished() -> list[str]:
        return [line for file in tmp_path.rglob("*.jsonl") for line in file.open()]

    while not finished() and process.poll() is None:
        assert time.monotonic() < deadline, "the first simulation did not come in time"
        time.sleep(0.05)
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


def test_two_processes_share_one_study(tmp_path):
    folder = tmp_path / "run"
    options = {"tokens": 1536, "trials": 5, "jobs": 2, "output": folder, "report": False}
    run = explore("deepseekmoe", budget_area="200mm2", **options)
    assert run.front()["area_mm2"].max() <= 200
    assert finished_trials(folder) == run.config["counts"]["trials"] == 5
    lines = (folder / "study.journal").read_text().splitlines()
    simulated = [
        json.loads(line)["user_attr"]["simulation"] for line in lines if '"simulation"' in line
    ]
    assert len(simulated) >= run.config["counts"]["simulations"]


def test_a_full_disk_is_one_line_and_leaves_no_half_written_file(tmp_path):
    """A limit on the size of files stands in for a full disk: writing beyond it fails the same."""
    folder = tmp_path / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40000, hard))
    try:
        result = invoke(*EXPLORE, *QUICK, "--output", folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if not line.startswith("trial ")]
    assert len(errors) == 1, result.stderr
    assert errors[0].startswith("dse: cannot write")
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names <= {"config.json", "study.journal"}
    run = resume(folder, Session(report=False))
    assert len(run.front()) and finished_trials(folder) == 2
