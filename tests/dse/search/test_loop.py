"""The search on real cost models with a loss that is known in closed form."""

import signal

import numpy as np
import optuna
import pytest
from search_fixture import KnownLoss, LookedAt, small_problem

from dse.metrics import objective_values
from dse.pareto import hypervolume, non_dominated
from dse.search import loop as search
from dse.search.costing import cost
from dse.search.pool import pool_of, simulated_columns
from dse.search.screening import Screening
from dse.search.simulating import simulate
from dse.search.simulation_key import CLEAN, least_loss
from dse.search.study import slots
from dse.search.study.storage import journal_storage

SMALL = {
    "choices": {
        "technology": ["pcm-3d", "rram-22nm"],
        "tile_rows": [512],
        "tile_cols": [512],
        "tiers": [256],
        "tiles_share": [0.5, 1.0],
        "adc_bits": [5, 7, 9],
        "dac_bits": [6, 8],
        "columns_per_adc": [1, 8],
        "digital_expert_fraction": [0, 0.25, 0.5, 0.75, 1],
        "placement_score": ["max_neuron_norm"],
        "placement_scope": ["global"],
        "mac_units": [1024, 8192],
        "sram_mib": [1],
        "hbm_stacks": [2, 4],
        "analog_modules": ["none"],
    }
}


def run(problem, trials, sampler="screening", seed=0, storage=None):
    study = search.open_study(storage or optuna.storages.InMemoryStorage(), problem)
    slots.requeue(study)
    screening = Screening(problem, search.load_results(study), seed)
    study.sampler = search.make_sampler(sampler, screening, seed)
    outcome = search.run_search(study, problem, screening, trials=trials, clock=search.Clock())
    return study, screening, outcome


def whole_front(problem):
    """Objective values of every design of a small space, by brute force."""
    sizes = [len(parameter.choices) for parameter in problem.space.parameters]
    indices = np.stack([grid.ravel() for grid in np.indices(sizes)], axis=1)
    costed = cost(problem, indices)
    pool = pool_of(costed).take(np.flatnonzero(costed.feasible))
    results = {code: simulate(problem, code) for code in np.unique(pool.codes).tolist()}
    values = objective_values(
        problem.objectives, {**pool.metrics, **simulated_columns(results, pool.codes)}
    )
    return values[non_dominated(values)], len(results) - 1


def test_a_fraction_of_the_simulations_reaches_the_true_front():
    problem = small_problem(**SMALL)
    truth, simulations = whole_front(problem)
    _, screening, _ = run(problem, trials=simulations // 4)
    _, found = screening.complete(screening.refine())
    reference = truth.max(axis=0) + 0.1
    assert hypervolume(found, reference) >= 0.97 * hypervolume(truth, reference)
    assert (hypervolume(found, reference)) <= hypervolume(truth, reference) * (1 + 1e-9)


def test_same_seed_same_trials_and_another_seed_others():
    first, second, other = (run(small_problem(), 6, seed=seed)[0] for seed in (3, 3, 4))
    assert [t.params for t in first.trials] == [t.params for t in second.trials]
    assert [t.values for t in first.trials] == [t.values for t in second.trials]
    assert [t.params for t in first.trials] != [t.params for t in other.trials]


@pytest.mark.parametrize("sampler", ["screening", "nsga2", "tpe", "random"])
def test_no_simulation_is_repeated(sampler):
    simulator = KnownLoss()
    run(small_problem(simulator, **SMALL), 40, sampler)
    assert len(simulator.calls) == len(set(simulator.calls))


def test_what_limits_rule_out_is_never_simulated():
    simulator = KnownLoss()
    problem = small_problem(simulator, constraints=("energy_per_token<=1pJ",))
    study = search.open_study(optuna.storages.InMemoryStorage(), small_problem())
    with pytest.raises(ValueError, match="no design meets all of"):
        Screening(problem, {}, 0)
    screening = Screening(small_problem(), {}, 0)
    study.sampler = search.make_sampler("random", screening, 0)
    screening.problem = problem
    search.run_search(study, problem, screening, trials=15, clock=search.Clock())
    assert not simulator.calls
    reasons = [t.user_attrs["reason"] for t in study.trials]
    assert any("breaks energy_per_token<=1 pJ" in reason for reason in reasons)
    assert all(t.state == optuna.trial.TrialState.PRUNED for t in study.trials)


def test_a_failed_simulation_fails_its_trial_with_a_reason_and_the_search_goes_on():
    simulator = KnownLoss(fails=lambda noise, digital: noise.adc_bits == 8)
    study, screening, outcome = run(small_problem(simulator), 8)
    failed = [t for t in study.trials if t.state == optuna.trial.TrialState.FAIL]
    assert outcome == "finished"
    assert failed
    assert all("finite" in t.user_attrs["reason"] for t in failed)
    complete, _ = screening.complete(screening.pool)
    assert all(np.isfinite(screening.results[code].delta_loss_nats) for code in complete.codes)


def test_accuracy_can_be_an_objective_and_a_constraint():
    options = {"objectives": ("accuracy", "energy_per_token"), "constraints": ("accuracy>=0.79",)}
    _, screening, _ = run(small_problem(**options, **SMALL), 10)
    complete, values = screening.complete(screening.refine())
    assert len(complete)
    assert (values[:, 0] <= -0.79).all()
    assert 0 < screening.front_hypervolume() <= 1


def test_the_hypervolume_never_falls():
    study, _, _ = run(small_problem(), 8)
    volumes = [row["hypervolume"] for row in search.progress_rows(study)]
    assert volumes == sorted(volumes)


def test_an_interrupted_search_goes_on_without_losing_or_repeating(tmp_path):
    """On a space so small that every search reaches the same front."""
    simulator = KnownLoss(interrupt_at=4)
    storage = journal_storage(tmp_path / "study.journal")
    study, _, outcome = run(small_problem(simulator, **SMALL), 16, storage=storage)
    before = [t.params for t in search.finished(study)]
    assert outcome == "interrupted"
    resumed = journal_storage(tmp_path / "study.journal")
    study, screening, outcome = run(small_problem(simulator, **SMALL), 16, storage=resumed)
    finished = search.finished(study)
    assert outcome == "finished"
    assert [t.params for t in finished][: len(before)] == before
    assert len(finished) == 16
    _, undisturbed, _ = run(small_problem(**SMALL), 16)
    for one in (screening, undisturbed):
        one.refine()
    reached = screening.front_hypervolume()
    assert reached == pytest.approx(undisturbed.front_hypervolume(), rel=1e-3)


def test_an_all_digital_design_is_the_clean_model_and_needs_no_simulation():
    problem = small_problem(choices={"digital_expert_fraction": [1], "analog_modules": ["none"]})
    costed = cost(problem, problem.space.random(20, np.random.default_rng(0)))
    assert (costed.codes == CLEAN).all()
    assert (costed.columns["tiles"] == 0).all()
    assert (costed.columns["digital_experts"] == problem.experts).all()


def test_no_design_exceeds_the_area_left_by_its_accelerator():
    problem = small_problem(budget_area_mm2=90.0)
    costed = cost(problem, problem.space.random(3000, np.random.default_rng(0)))
    with_tiles = costed.columns["tiles"] > 0
    assert with_tiles.any()
    assert (costed.metrics["area_mm2"][with_tiles] <= 90 + 1e-6).all()


def test_equal_codes_mean_equal_simulations():
    problem = small_problem()
    costed = cost(problem, problem.space.random(3000, np.random.default_rng(1)))
    for code in np.unique(costed.codes)[:200].tolist():
        if code == CLEAN:
            continue
        key = problem.keys.key(code)
        rows = np.flatnonzero(costed.codes == code)
        assert (costed.columns["adc_bits"][rows] == key.adc_bits).all()
        assert (costed.columns["dac_bits"][rows] == key.dac_bits).all()
        named = "+".join(key.analog_parts) or "none"
        assert (costed.columns["analog_modules"][rows] == named).all()
        assert (costed.columns["tile_rows"][rows] == key.tile_rows).all()
        analog = 1 - costed.columns["digital_experts"][rows] / problem.experts
        assert (1 - key.digital / 24 >= analog - 1e-9).all()


def test_the_bound_on_an_unsimulated_loss_holds():
    problem = small_problem()
    costed = cost(problem, problem.space.random(400, np.random.default_rng(2)))
    codes = np.unique(costed.codes)
    truth = {code: simulate(problem, code) for code in codes.tolist()}
    known = {code: truth[code] for code in codes[::3].tolist()}
    least = least_loss(problem.keys, codes, known)
    losses = np.array([truth[code].delta_loss_nats for code in codes.tolist()])
    assert (least <= losses + 1e-12).all()
    assert least.max() > 0


def test_looks_save_simulations_and_the_front_stays():
    raced, whole = LookedAt(), KnownLoss()
    study, screening, _ = run(small_problem(raced, **SMALL), 60, "random")
    _, plain, _ = run(small_problem(whole, **SMALL), 60, "random")
    ended = [t for t in study.trials if "after a look" in t.user_attrs.get("reason", "")]
    assert ended
    assert all(t.state == optuna.trial.TrialState.PRUNED for t in ended)
    assert len(raced.calls) < len(whole.calls)
    found, expected = (s.complete(s.refine())[1] for s in (screening, plain))
    reference = expected.max(axis=0) + 0.1
    assert hypervolume(found, reference) >= 0.99 * hypervolume(expected, reference)


class DyingObject:
    """An interrupt comes while this is destroyed, where Python drops the exception."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


class Interrupted(KnownLoss):
    def evaluate(self, noise, digital, analog_modules=(), form=None):
        result = super().evaluate(noise, digital, analog_modules)
        if len(self.calls) == 4:
            DyingObject()
        return result


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_drops_ends_the_search():
    # Heeded whatever started the tests: the jobs of a shell's background ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        study, _, outcome = run(small_problem(Interrupted()), 16)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert outcome == "interrupted"
    assert 0 < len(search.finished(study)) < 16


def test_a_front_never_rests_on_a_look():
    simulator = LookedAt()
    problem = small_problem(simulator, **SMALL)
    _, screening, _ = run(problem, 60, "random")
    ended = set(screening.looks) - set(screening.results)
    assert ended
    complete, _ = screening.complete(screening.refine())
    codes = set(complete.codes.tolist())
    assert not ended & codes
    # As the simulator itself remembers it: whole simulations, and no more results than those.
    assert len(codes | {CLEAN}) <= len(screening.results) == len(simulator.calls)


def test_a_resumed_search_looks_at_nothing_twice(tmp_path):
    simulator = LookedAt(interrupt_at=8)
    path = tmp_path / "study.journal"
    assert run(small_problem(simulator, **SMALL), 30, storage=journal_storage(path))[2] == (
        "interrupted"
    )
    simulator.interrupt_at = None
    run(small_problem(simulator, **SMALL), 30, storage=journal_storage(path))
    clean = [call for call in simulator.looks if all(np.frombuffer(call[1], dtype=bool))]
    others = [call for call in simulator.looks if call not in clean]
    assert len(others) == len(set(others))


def test_pairing_takes_the_text_out_of_the_error():
    _, screening, _ = run(small_problem(LookedAt()), 6)
    looked = [code for code in screening.looks if code != CLEAN]
    _, error = screening._difference(looked[0], looked[1])
    alone = np.array(screening.looks[looked[0]]["loss"]).std() / np.sqrt(16)
    assert error < 0.01 * alone


def test_a_trial_costs_few_designs():
    _, screening, _ = run(small_problem(), 3)
    before = screening.costed
    run_on = 24
    for number in range(run_on):
        screening.propose(number)
    assert (screening.costed - before) / run_on < 400
