"""Slots of a study: each wanted trial is run once, whoever claims, fails or dies."""

import os
import threading

import optuna
import pytest
from optuna.trial import TrialState
from search_fixture import go, small_problem

from dse.search import loop as search
from dse.search.study import slots
from dse.search.study.journal import last_sum, sealed, together
from dse.search.study.storage import journal_storage


def empty_study():
    return optuna.create_study(storage=optuna.storages.InMemoryStorage(), directions=["minimize"])


def test_each_slot_is_claimed_once_by_many_threads(tmp_path):
    path = tmp_path / "study.journal"
    optuna.create_study(storage=journal_storage(path), study_name="dse")
    ran = []

    def work():
        study = optuna.load_study(storage=journal_storage(path), study_name="dse")
        while len(slots.finished(study)) < 12:
            slots.fill(study, 12)
            if (trial := slots.claim(study, 12)) is not None:
                ran.append(trial.user_attrs["slot"])
                study.tell(trial, 0.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ran) == list(range(12))


def test_a_slot_filled_twice_is_run_once():
    study = empty_study()
    for slot in (0, 0, 1, 0, 1):
        study.enqueue_trial({}, user_attrs={slots.SLOT: slot})
    first, second = slots.claim(study, 2), slots.claim(study, 2)
    assert (first.user_attrs["slot"], second.user_attrs["slot"]) == (0, 1)
    assert slots.claim(study, 2) is None
    study.tell(first, 1.0)
    study.tell(second, 1.0)
    slots.fill(study, 2)
    assert slots.claim(study, 2) is None
    assert [t.number for t in slots.finished(study)] == [first.number, second.number]


def test_a_trial_that_fails_keeps_its_slot_and_one_cut_off_does_not():
    study = empty_study()
    slots.fill(study, 2, [{"x": 3}])
    cut, failed = slots.claim(study, 2), slots.claim(study, 2)
    assert cut.suggest_int("x", 0, 9) == 3
    cut.set_user_attr("reason", "ruled out, but its worker dies before saying so")
    failed.set_user_attr(slots.FAILED, True)
    failed.set_user_attr("reason", "not finite")
    study.tell(failed, state=TrialState.FAIL)
    assert slots.requeue(study) == 1
    assert slots.empty_slots(study, 2) == [0]
    slots.fill(study, 2)
    again = slots.claim(study, 2)
    assert again.suggest_int("x", 0, 9) == 3
    assert slots.claim(study, 2) is None


def test_a_silent_worker_loses_its_trial_and_one_that_beats_does_not():
    study = empty_study()
    slots.fill(study, 2)
    living, watching = slots.Heart(study), slots.Heart(study)
    dead, alive = slots.claim(study, 2), slots.claim(study, 2)
    living.trial_id = alive._trial_id
    for _ in range(slots.SILENCE):
        living.beat()
        watching.look()
    assert study.trials[dead.number].state == TrialState.RUNNING
    watching.look()
    assert study.trials[dead.number].state == TrialState.FAIL
    assert study.trials[alive.number].state == TrialState.RUNNING
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        dead.set_user_attr("beaten", True)  # a worker that was only slow learns of it


def test_what_is_held_back_is_written_once_and_refused_like_anything_else(tmp_path):
    path = tmp_path / "study.journal"
    study = optuna.create_study(storage=journal_storage(path), study_name="dse")
    slots.fill(study, 1)
    trial = slots.claim(study, 1)
    before = path.read_bytes()
    with together(study._storage):
        for number in range(20):
            trial.suggest_int(f"x{number}", 0, 9)
        trial.set_constraint("limits", 1.0)
        assert path.read_bytes() == before
        watching = slots.Heart(study)
        watching.trial_id = trial._trial_id
        thread = threading.Thread(target=watching.beat)  # others of the process write at once
        thread.start()
        thread.join()
        assert path.read_bytes().count(b"\n") == before.count(b"\n") + 1
    seen = optuna.load_study(storage=journal_storage(path), study_name="dse").trials[0]
    assert (len(seen.params), seen.user_attrs["beat"]) == (20, 1)
    assert seen.params == trial.params
    slots.give_back(study, trial._trial_id)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError), together(study._storage):
        for number in range(5):
            trial.set_user_attr(f"late {number}", True)
    assert "late 0" not in study.trials[0].user_attrs  # and reading goes on


class Death(BaseException):
    """The process ends here."""


def test_dying_at_any_write_loses_nothing_that_was_finished(tmp_path):
    """A new process after each death, which comes some writes later; half of them cut a write."""
    path, problem = tmp_path / "study.journal", small_problem()
    kept: dict[int, list[float] | None] = {}
    deaths, outcome = 0, ""
    while outcome != "finished":
        storage = journal_storage(path)
        writes = iter(range(2 + deaths))

        def write(logs, append=storage._backend.append_logs, writes=writes, torn=deaths % 2):
            if next(writes, None) is None:
                if torn:
                    with path.open("rb+") as file:
                        lines = sealed(logs, last_sum(file))
                        file.seek(0, os.SEEK_END)
                        file.write(lines[: 2 * len(lines) // 3])
                raise Death
            append(logs)

        storage._backend.append_logs = write
        try:
            study = search.open_study(storage, problem)
            before = {t.number: t.values for t in slots.finished(study)}
            assert before.items() >= kept.items()
            kept = before
            slots.requeue(study)
            study, outcome = go(storage, problem, 4, heartbeat_s=100)
        except Death:
            deaths += 1
    assert deaths > 4
    finished = slots.finished(study)
    assert sorted(t.user_attrs["slot"] for t in finished) == list(range(4))
    assert all(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in finished)
    assert {t.number: t.values for t in finished}.items() >= kept.items()
