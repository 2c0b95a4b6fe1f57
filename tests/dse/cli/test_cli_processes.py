"""Searches that are killed, interrupted, shared by processes, or run into a full disk."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from command_line import EXPLORE, QUICK, invoke, one_line

from dse.runs.folder import load_run


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
    assert len(run.table("progress")) == kept == run.config["counts"]["trials"]
    result = invoke("explore", "--resume", "--output", folder, "--trials", kept + 1)
    assert result.exit_code == 0, result.output
    assert finished_trials(folder) == kept + 1
    progress = load_run(folder).table("progress")
    assert len(progress) == kept + 1
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


def test_two_processes_share_one_study(tmp_path):
    folder = tmp_path / "run"
    result = invoke(*EXPLORE, "--tokens", 1536, "--trials", 5, "--jobs", 2, "--output", folder)
    assert result.exit_code == 0, result.output
    assert finished_trials(folder) == 5
    run = load_run(folder)
    assert run.config["counts"]["trials"] == 5
    lines = (folder / "study.journal").read_text().splitlines()
    simulated = [
        json.loads(line)["user_attr"]["simulation"] for line in lines if '"simulation"' in line
    ]
    # What the answer by the rule needs beyond the trials is simulated at the end.
    assert 2 <= len(simulated) <= run.config["counts"]["simulations"] + 1


def test_a_full_disk_is_one_line_and_leaves_no_half_written_file(tmp_path):
    """A limit on the size of files stands in for a full disk: writing beyond it fails the same."""
    folder = tmp_path / "run"
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000)); "
        "from dse.cli.app import main; main()"
    )
    command = [sys.executable, "-c", code, *EXPLORE, *QUICK, "--output", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    errors = [line for line in result.stderr.splitlines() if not line.startswith("trial ")]
    assert len(errors) == 1, result.stderr
    assert errors[0].startswith("dse: cannot write")
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names <= {"config.json", "study.journal"}
    again = invoke("explore", "--resume", "--output", folder)
    assert again.exit_code == 0, again.output
    assert load_run(folder).report.exists()


@pytest.mark.parametrize("command", [("models",), ("tile",), ("validate", "--seed"), ("--help",)])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_reason_to_fail(command, closed):
    """As under a scheduler that gives no output: bad input still ends with its own exit code."""
    for words, code in ((command, 0), (("show", "/nowhere"), 2)):
        line = f'exec "$0" -m dse {" ".join(words)} {closed}'
        result = subprocess.run(
            ["sh", "-c", line, sys.executable], capture_output=True, check=False
        )
        assert result.returncode == code
        assert b"Traceback" not in result.stderr
