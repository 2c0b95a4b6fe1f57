"""Jobs side by side, and the simulation on one and on several threads."""

import os
import subprocess
import sys
import threading
from functools import partial
from types import SimpleNamespace

import model_fixture
import pytest
import torch

from dse.search import workers
from dse.search.settings import Settings
from dse.search.study.storage import Place
from dse.simulation.simulator import Noise, Simulator
from dse.simulation.threads import in_threads, shares


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_jobs_run_at_once_each_on_one_thread_and_answer_in_order(two_threads):
    both = threading.Barrier(2, timeout=10)

    def job(number: int) -> tuple[int, int]:
        both.wait()  # would never pass if one job waited for the other
        inner = in_threads([torch.get_num_threads, torch.get_num_threads])
        assert inner == [1, 1]
        return number, torch.get_num_threads()

    assert in_threads([partial(job, 7), partial(job, 3)]) == [(7, 1), (3, 1)]
    assert torch.get_num_threads() == 2
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [2]


def test_a_failure_cancels_what_has_not_begun(two_threads):
    begun = []

    def fail() -> None:
        raise KeyboardInterrupt

    jobs = [fail, *(partial(begun.append, number) for number in range(10_000))]
    with pytest.raises(KeyboardInterrupt):
        in_threads(jobs)
    assert len(begun) < 10_000
    assert torch.get_num_threads() == 2


def test_cores_come_back_when_helpers_have_gone(two_threads, monkeypatch):
    """A checkpoint is simulated after them, by the one process that is left."""
    idle = SimpleNamespace(start=list, terminate=list, join=lambda *seconds: None, is_alive=bool)
    monkeypatch.setattr(workers.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(
        workers.multiprocessing,
        "get_context",
        lambda kind: SimpleNamespace(Process=lambda **options: idle),
    )
    with workers.helpers(Settings("olmoe", 200.0), Place("nowhere"), 1, None, 5.0):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("model", ["pcm", "hermes"])
def test_the_simulation_does_not_depend_on_threads(two_threads, model):
    miniature = model_fixture.random_miniature()
    sets = model_fixture.token_sets(miniature)
    noise, losses = Noise(model), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        made = Simulator(miniature, sets, seeds=6, calibration_tokens=sets[0].tokens[:, :-1])
        losses.append(made.evaluate(noise, ~made.all_digital()).loss_by_sequence)
    assert losses[0].shape == losses[1].shape
    assert abs(losses[0] - losses[1]).max() < 1e-4


@pytest.mark.parametrize(("own", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_leave_the_cores_to_others(own, expected):
    """Said before torch is loaded; unless the user says something else."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    environment |= {} if own is None else {"OMP_WAIT_POLICY": own}
    code = "import sys, os, dse; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [expected, "False"]


def test_no_more_jobs_at_once_than_are_allowed(two_threads):
    torch.set_num_threads(4)
    busy, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(2)

    def job():
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        together.wait(timeout=10)
        with lock:
            busy -= 1

    in_threads([job] * 8, most=2)
    assert most == 2
    assert in_threads([]) == []


def test_shares_are_all_of_it(two_threads):
    assert shares("abcde") == ["ace", "bd"]
    assert shares("a") == ["a"]
    assert shares("") == []
