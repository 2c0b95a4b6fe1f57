"""The search: an Optuna study whose trials are designs, fed by arrays of costed designs.

One trial: the sampler proposes a design; cost says whether anything rules it out; if not, the
simulation that its accuracy depends on is looked up or run. What a simulation says holds for every
design that shares its key, so the front is drawn from all costed designs with a known accuracy.
"""

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from dse.metrics import objective_values
from dse.search import interrupts
from dse.search.pool import Looks, Pool, Results, simulated_columns
from dse.search.problem import Problem
from dse.search.screening import Screening
from dse.search.settings import Settings
from dse.search.simulating import look as partial_look
from dse.search.simulating import simulate
from dse.search.simulation_key import CLEAN
from dse.search.study.journal import together
from dse.search.study.slots import (
    FAILED,
    HEARTBEAT_S,
    claim,
    empty_slots,
    fill,
    finished,
    give_back,
    heartbeat,
)
from dse.search.study.storage import STUDY
from dse.simulation.result import Simulated

# Seconds between two looks for a trial when others work on all that are left.
_IDLE_S = 0.2


@dataclass
class Clock:
    """Seconds spent by kind of work."""

    cost: float = 0.0
    simulation: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @property
    def total(self) -> float:
        return time.perf_counter() - self.started


@dataclass(frozen=True)
class Progress:
    """State of a search after a trial: one row of the progress table."""

    trial: int
    seconds: float
    hypervolume: float
    simulated: int
    costed: int
    finished: int
    wanted: int


@dataclass(frozen=True)
class Counted:
    """Where a study stands: finished and wanted trials, seconds and hypervolume before."""

    finished: int
    wanted: int
    offset_s: float = 0.0
    reached: float = 0.0


class ScreeningSampler(optuna.samplers.BaseSampler):
    """Optuna's face of the screening: every trial is the design it proposes."""

    def __init__(self, screening: Screening) -> None:
        self.screening = screening

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {
            parameter.name: IntDistribution(0, len(parameter.choices) - 1)
            for parameter in self.screening.problem.space.parameters
        }

    def sample_relative(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        running = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
        pending = frozenset(t.user_attrs["code"] for t in running if "code" in t.user_attrs)
        design = self.screening.propose(trial.number, pending)
        names = self.screening.problem.space.names
        return {name: int(value) for name, value in zip(names, design, strict=True)}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        raise ValueError(f"parameter {param_name!r} is not in the search space")


def make_sampler(name: str, screening: Screening, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler of a name in dse.search.settings.SAMPLERS."""
    samplers = optuna.samplers
    makers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "screening": lambda: ScreeningSampler(screening),
        "nsga2": lambda: samplers.NSGAIISampler(seed=seed, population_size=20),
        "nsga3": lambda: samplers.NSGAIIISampler(seed=seed, population_size=20),
        "tpe": lambda: samplers.TPESampler(seed=seed),
        "tpe-multivariate": lambda: samplers.TPESampler(seed=seed, multivariate=True),
        "gp": lambda: samplers.GPSampler(seed=seed),
        "random": lambda: samplers.RandomSampler(seed=seed),
        "qmc": lambda: samplers.QMCSampler(
            seed=seed, scramble=True, warn_independent_sampling=False
        ),
    }
    return makers[name]()


def open_study(
    storage: optuna.storages.BaseStorage, problem: Problem, name: str = STUDY
) -> optuna.Study:
    """Create the study or load it, without Optuna's own messages."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with suppress(KeyError):  # reading one writes nothing; creating one does even where it is
        return optuna.load_study(study_name=name, storage=storage)
    directions = [optuna.study.StudyDirection.MINIMIZE] * len(problem.objectives)
    return optuna.create_study(
        storage=storage, study_name=name, directions=directions, load_if_exists=True
    )


def load_results(study: optuna.Study, known: Collection[int] = ()) -> Results:
    """Simulations that the study holds, those of interrupted trials included.

    Args:
        known: codes of simulations that need not be read again.
    """
    results: Results = {}
    for trial in study.get_trials(deepcopy=False):
        if "simulation" in trial.user_attrs and int(trial.user_attrs["code"]) not in known:
            results[int(trial.user_attrs["code"])] = Simulated.read(trial.user_attrs["simulation"])
    return results


def load_looks(study: optuna.Study) -> Looks:
    """First looks that the study holds."""
    trials = study.get_trials(deepcopy=False)
    return {
        int(t.user_attrs["code"]): t.user_attrs["look"] for t in trials if "look" in t.user_attrs
    }


def run_trial(
    study: optuna.Study,
    trial: optuna.Trial,
    problem: Problem,
    screening: Screening,
    clock: Clock,
    counted: Counted,
) -> Progress:
    """Draw the design of a trial, cost it, simulate what its accuracy needs, tell the study.

    Args:
        counted: where the study stands.
    """
    before = time.perf_counter()
    with together(study._storage):
        design = np.array(
            [
                trial.suggest_int(parameter.name, 0, len(parameter.choices) - 1)
                for parameter in problem.space.parameters
            ]
        )
        pool, reason, excess = screening.cost_one(design)
        code = int(pool.codes[0])
        trial.set_constraint("limits", excess)
        if not reason and code not in screening.results and screening.hopeless(pool)[0]:
            reason = "beaten even at the least loss it could have"
        if not reason:
            trial.set_user_attr("code", code)
    clock.cost += time.perf_counter() - before
    state, values, accuracy = TrialState.PRUNED, None, 0.0
    if not reason:
        result = simulate_once(trial, problem, screening, pool, clock)
        if result is None:
            reason = "surely beaten after a look at half the text"
        else:
            state, reason = TrialState.FAIL, result.failed
    if not reason:
        state = TrialState.COMPLETE
        screening.pool = screening.pool.join(pool)
        simulated = simulated_columns(screening.results, pool.codes)
        checks = [c.excess(simulated[c.metric.column])[0] for c in problem.limits.on_accuracy]
        accuracy = float(max(checks, default=0.0))
        values = objective_values(problem.objectives, {**pool.metrics, **simulated})[0].tolist()
    before = time.perf_counter()
    with together(study._storage):
        progress = _record(trial, screening, reason, clock, counted)
        if state == TrialState.COMPLETE:
            trial.set_constraint("accuracy", accuracy)
        if state == TrialState.FAIL:
            trial.set_user_attr(FAILED, True)
    study.tell(trial, values, state=state, skip_if_finished=True)
    clock.cost += time.perf_counter() - before
    return progress


def _record(
    trial: optuna.Trial, screening: Screening, reason: str, clock: Clock, counted: Counted
) -> Progress:
    """Keep in the trial what the progress table shows of it, so that a resumed search has it."""
    progress = Progress(
        trial=trial.number,
        seconds=counted.offset_s + clock.total,
        # After a resumption the designs that reached it may first have to be found again.
        hypervolume=max(counted.reached, screening.front_hypervolume()),
        simulated=sum(code != CLEAN for code in screening.results),
        costed=screening.costed,
        finished=counted.finished + 1,
        wanted=counted.wanted,
    )
    trial.set_user_attr("progress", asdict(progress))
    if reason:
        trial.set_user_attr("reason", reason)
    return progress


def simulate_once(
    trial: optuna.Trial, problem: Problem, screening: Screening, pool: Pool, clock: Clock
) -> Simulated | None:
    """The simulation of a design: known, or run and kept in the journal before anything else.

    A look at half the text comes first; the rest is simulated only if the front could still move.

    Returns:
        The result, or None when the look was enough.
    """
    code, results, looks = int(pool.codes[0]), screening.results, screening.looks
    if code in results:
        return results[code]
    before = time.perf_counter()
    if code not in looks and (look := partial_look(problem, code)) is not None:
        looks[code] = look
        trial.set_user_attr("look", look)
    if not (code in looks and screening.beaten(code, pool)):
        results[code] = simulate(problem, code, look=looks.get(code))
        trial.set_user_attr("simulation", results[code].document())
    clock.simulation += time.perf_counter() - before
    return results.get(code)


def _completed(study: optuna.Study, problem: Problem) -> NDArray[np.int64]:
    """Choice numbers of complete trials [trials, parameters]."""
    complete = [t for t in finished(study) if t.state == TrialState.COMPLETE]
    designs = [[t.params[name] for name in problem.space.names] for t in complete]
    return np.array(designs, dtype=np.int64).reshape(-1, len(problem.space.names))


def run_search(
    study: optuna.Study,
    problem: Problem,
    screening: Screening,
    *,
    trials: int,
    timeout_s: float | None = None,
    clock: Clock,
    show: Callable[[Progress], None] = lambda progress: None,
    heartbeat_s: float = HEARTBEAT_S,
) -> str:
    """Run trials until there are `trials` finished ones, or time is up, or Ctrl-C.

    Others may work on the same study: each trial is run by one of them (`dse.search.study.slots`).

    Args:
        heartbeat_s: seconds between signs of life; equal for all workers of a study.

    Returns:
        "finished", "timeout" or "interrupted".
    """
    anchors = _anchors(screening) if empty_slots(study, trials) else []
    earlier = progress_rows(study)
    offset, reached = (
        max((p[name] for p in earlier), default=0.0) for name in ("seconds", "hypervolume")
    )
    screening.remember(_completed(study, problem))
    with heartbeat(study, heartbeat_s) as heart, interrupts.remembered() as interrupt:
        while True:
            if interrupt.is_set():  # its exception got lost; the trial in hand was finished
                return "interrupted"
            if timeout_s is not None and clock.total > timeout_s:
                return "timeout"
            try:
                done = len(finished(study))
                if done >= trials:
                    return "finished"
                fill(study, trials, anchors)
                trial = claim(study, trials)
                if trial is None:
                    time.sleep(_IDLE_S)
                    continue
                heart.trial_id = trial._trial_id
                screening.results.update(load_results(study, screening.results))
                screening.looks.update(load_looks(study))
                counted = Counted(done, trials, offset, reached)
                show(run_trial(study, trial, problem, screening, clock, counted))
            except UpdateFinishedTrialError:
                continue  # silent for too long: the trial was given to another worker
            except KeyboardInterrupt:
                if heart.trial_id is not None:
                    give_back(study, heart.trial_id)
                return "interrupted"


def _anchors(screening: Screening) -> list[dict[str, Any]]:
    """Parameters of the designs to begin with."""
    names = screening.problem.space.names
    return [dict(zip(names, row, strict=True)) for row in screening.anchors().tolist()]


def progress_rows(study: optuna.Study) -> list[dict[str, Any]]:
    """The progress that finished trials recorded, in order."""
    return [t.user_attrs["progress"] for t in finished(study) if "progress" in t.user_attrs]


def screen(settings: Settings, problem: Problem, study: optuna.Study) -> Screening:
    """Costed designs with what the study knows of their accuracy."""
    return Screening(problem, load_results(study), settings.seed)
