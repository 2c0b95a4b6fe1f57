"""Who runs which trial: workers come, go and die, and exactly the wanted trials get finished.

A study of N trials has slots 0 ... N-1; a trial carries the number of its slot. A worker claims
one by moving it from waiting to running, which every Optuna storage does atomically. When its
worker stops or dies, a trial is failed unmarked; that empties its slot, and any worker fills it
again. Should two do so at once, the earlier trial holds the slot, and whoever claims the
other throws it away. So no step needs a lock, and dying between any two of them loses nothing.
"""

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

SLOT, BEAT, FAILED = "slot", "beat", "failed"
# Seconds between two signs of life, and how many may stay out before a worker counts as dead.
HEARTBEAT_S = 5.0
SILENCE = 6


def cut_off(trial: FrozenTrial) -> bool:
    """Whether a trial ended because its worker did: one whose simulation fails is marked so.

    A reason alone says nothing: a worker may die between giving one and ruling the design out.
    """
    return trial.state == TrialState.FAIL and FAILED not in trial.user_attrs


def holders(study: optuna.Study) -> dict[int, FrozenTrial]:
    """The trial that holds each slot, by slot, in the order of the trials."""
    held: dict[int, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False):
        if not cut_off(trial):
            held.setdefault(_slot(trial), trial)
    return held


def _slot(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get(SLOT, -1 - trial.number))  # a trial from elsewhere: its own


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count: complete, ruled out, or marked as failed; one a slot."""
    return [trial for trial in holders(study).values() if trial.state.is_finished()]


def empty_slots(study: optuna.Study, trials: int) -> list[int]:
    """Slots below `trials` that no trial holds."""
    held = holders(study)
    return [slot for slot in range(trials) if slot not in held]


def fill(study: optuna.Study, trials: int, designs: Sequence[dict[str, Any]] = ()) -> None:
    """Put a waiting trial into every empty slot below `trials`.

    Args:
        designs: parameters of the first slots. One that was cut off keeps what it had; the others
            are left to the sampler.
    """
    empty = empty_slots(study, trials)
    if not empty:
        return
    known = dict(enumerate(designs))
    for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
        if cut_off(trial) and trial.params:
            known[_slot(trial)] = trial.params
    for slot in empty:
        study.enqueue_trial(known.get(slot, {}), user_attrs={SLOT: slot})


def claim(study: optuna.Study, trials: int) -> optuna.Trial | None:
    """A waiting trial of a slot below `trials`, now running and this worker's; none if none waits.

    Optuna's own `ask` would make a new trial then.
    """
    storage = study._storage
    waiting_trials = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    # By slot, so that what was cut off comes next and a resumed search goes the way it would have.
    for waiting in sorted(waiting_trials, key=_slot):
        slot = _slot(waiting)
        if not 0 <= slot < trials:
            continue
        with suppress(UpdateFinishedTrialError):
            if not storage.set_trial_state_values(waiting._trial_id, state=TrialState.RUNNING):
                continue
            holder = holders(study).get(slot)
            if holder is not None and holder.number == waiting.number:
                trial = optuna.Trial(study, waiting._trial_id)
                trial.set_user_attr("worker", f"{socket.gethostname()}:{os.getpid()}")
                return trial
            give_back(study, waiting._trial_id)
    return None


def give_back(study: optuna.Study, trial_id: int) -> None:
    """End a trial that nobody works on any more; its slot is free again."""
    with suppress(UpdateFinishedTrialError):
        study._storage.set_trial_state_values(trial_id, state=TrialState.FAIL)


def requeue(study: optuna.Study) -> int:
    """Give back every running trial of a study that nobody else works on; returns how many."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        give_back(study, trial._trial_id)
    return len(running)


def close_waiting(study: optuna.Study) -> None:
    """End trials that wait beyond a total that is reached; asked for again, they are new ones."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        give_back(study, trial._trial_id)


class Heart:
    """Signs of life of this worker, and what it has seen of those of the others.

    A worker is dead when its sign stays the same for `SILENCE` looks. Looks are counted, not time:
    clocks of several machines need not agree, and while the storage is away nobody looks.
    """

    def __init__(self, study: optuna.Study) -> None:
        self.study = study
        self.trial_id: int | None = None
        self._beats = 0
        self._seen: dict[int, tuple[Any, int]] = {}

    def beat(self) -> None:
        """Show that the trial in hand is worked on."""
        self._beats += 1
        trial_id = self.trial_id
        if trial_id is not None:
            with suppress(UpdateFinishedTrialError):
                self.study._storage.set_trial_user_attr(trial_id, BEAT, self._beats)

    def look(self) -> None:
        """Look at the signs of the others, and give back the trials of those who are silent."""
        seen: dict[int, tuple[Any, int]] = {}
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial._trial_id == self.trial_id:
                continue
            sign = trial.user_attrs.get(BEAT)
            before, unchanged = self._seen.get(trial._trial_id, (sign, -1))
            unchanged = unchanged + 1 if sign == before else 0
            seen[trial._trial_id] = (sign, unchanged)
            if unchanged >= SILENCE:
                give_back(self.study, trial._trial_id)
        self._seen = seen


@contextmanager
def heartbeat(study: optuna.Study, interval_s: float) -> Iterator[Heart]:
    """A heart that beats and looks every `interval_s` seconds until the block ends."""
    heart, stop = Heart(study), threading.Event()

    def live() -> None:
        while not stop.wait(interval_s):
            # What the storage refuses here it refuses the search too, which says so.
            with suppress(Exception):
                heart.beat()
                heart.look()

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    try:
        yield heart
    finally:
        stop.set()
        thread.join(interval_s)
