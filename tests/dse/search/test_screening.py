"""What is simulated next, and what the pool keeps, against small problems enumerated by hand."""

import numpy as np
import pytest
from search_fixture import KnownLoss, small_problem

from dse.metrics import objective_values
from dse.pareto import non_dominated
from dse.search import screening as screening_module
from dse.search.costing import cost
from dse.search.pool import Pool, pool_of
from dse.search.screening import Screening
from dse.search.simulating import features, simulate
from dse.search.simulation_key import CLEAN
from dse.search.surrogate import Features, predict
from dse.simulation.result import Simulated

FEW = {
    "technology": ["pcm-3d", "rram-22nm"],
    "tile_rows": [512],
    "tile_cols": [512],
    "tiers": [64, 256],
    "adc_bits": [5, 7, 9],
    "dac_bits": [6, 8],
    "digital_expert_fraction": [0, 0.5, 1],
    "placement_score": ["max_neuron_norm"],
    "placement_scope": ["global"],
    "analog_modules": ["none"],
}
QUARTERS = (-1.15, -0.32, 0.32, 1.15)
"""Normal quantiles at the middles of four equal parts."""


@pytest.fixture
def screening() -> Screening:
    return Screening(small_problem(KnownLoss(), choices=FEW), {}, 0)


def counted_gains(screening: Screening, candidates: Pool) -> dict[int, int]:
    """Points of the box that each simulation would win, one point, design and quantile at a time.

    A simulation wins a point that the front does not reach when a design of it costs no more than
    the point in energy and throughput, at each of four quantiles of a loss small enough.
    """
    problem = screening.problem
    names = [one.column for one in problem.objectives]
    assert names == ["delta_loss_nats", "energy_j_per_token", "throughput_tokens_per_s"]
    points = screening.ideal + screening_module._sobol(3) * (screening.corner - screening.ideal)
    _, values = screening.complete(screening.pool)
    median, spread = screening.losses(candidates)
    costs = objective_values(problem.objectives[1:], candidates.metrics)
    gains: dict[int, int] = {}
    for point in points:
        if any((value <= point).all() for value in values):
            continue
        for quantile in QUARTERS:
            winners = {
                int(code)
                for code, loss, width, one in zip(
                    candidates.codes, median, spread, costs, strict=True
                )
                if loss * np.exp(quantile * width) <= point[0] and (one <= point[1:]).all()
            }
            for code in winners:
                gains[code] = gains.get(code, 0) + 1
    return gains


def test_the_simulation_that_would_win_most_of_the_box_is_next(screening):
    for round_ in range(4):
        candidates = screening._candidates(frozenset())
        # One design in ten: the count by hand goes through every point and design.
        candidates = candidates.take(np.arange(0, len(candidates), max(len(candidates) // 60, 1)))
        expected = counted_gains(screening, candidates)
        assert max(expected.values()) > min(expected.values())
        _, first, key = np.unique(candidates.codes, return_index=True, return_inverse=True)
        median, spread = screening.losses(candidates)
        gains, _ = screening._gains(candidates, key, median[first], spread[first])
        found = dict(zip(candidates.codes[first].tolist(), gains.tolist(), strict=True))
        assert {code: gain for code, gain in found.items() if gain} == expected
        best = int(max(found, key=lambda code: found[code]))
        screening.results[best] = simulate(screening.problem, best)
        assert screening.front_hypervolume() >= 0 and round_ < 4


def test_the_proposed_design_belongs_to_the_most_promising_simulation(screening):
    design = screening.propose(0)
    candidates = screening._candidates(frozenset())
    expected = counted_gains(screening, candidates)
    code = int(cost(screening.problem, design[None]).codes[0])
    assert expected[code] == max(expected.values())


def test_what_others_simulate_is_not_proposed_again(screening):
    first = int(cost(screening.problem, screening.propose(0)[None]).codes[0])
    second = int(cost(screening.problem, screening.propose(1, frozenset({first}))[None]).codes[0])
    assert second != first


def test_generations_find_what_draws_do_not():
    """The space has billions of designs: a generation of neighbours wins more of the box."""
    problem = small_problem(KnownLoss())
    found = Screening(problem, {}, 0)
    generator = np.random.default_rng([0, 0])
    drawn = cost(problem, problem.space.random(12_000, generator))
    start = pool_of(drawn).take(np.flatnonzero(drawn.feasible))

    def volume(pool: Pool) -> float:
        median, spread = found.losses(pool)
        values = found._objectives(pool, np.round(median * np.exp(-spread), 4))
        return found.hypervolume(values[non_dominated(values)])

    assert volume(found.pool) > volume(start) + 0.01


def test_a_dense_part_on_tiles_is_expected_to_cost_more(screening):
    """Before anything is simulated: experts alone, then with each dense part."""
    problem = small_problem(KnownLoss(), choices={"tiers": [1024], "tiles_share": [1.0]})
    designs = np.zeros((3, len(problem.space.names)), dtype=np.int64)
    designs[:, problem.space.names.index("analog_modules")] = range(3)
    costed = cost(problem, designs)
    nothing = Features(np.zeros((0, 6)), np.zeros((0, 3), dtype=np.int64))
    losses, _ = predict(nothing, np.zeros(0), features(problem, costed.codes))
    texts = [str(text) for text in costed.columns["analog_modules"]]
    assert texts[0] == "none" and len(set(texts)) == 3
    assert (np.diff(losses) > 0.1 * losses[0]).all()


def test_prediction_by_hand():
    """Nothing known: the law alone, analog share times cells and quantisation, each its prior.

    Digital weights, keys and values of 16 bits lose nothing.
    """
    nothing = Features(np.zeros((0, 6)), np.zeros((0, 3), dtype=np.int64))
    numbers = [0.0, 6 / 2, 7 / 2, 0.5 / 0.35, 16 / 2, 16 / 4]
    one = Features(np.array([numbers]), np.zeros((1, 3), dtype=np.int64))
    median, spread = predict(nothing, np.zeros(0), one)
    # 0.5 * (0.01 of the cells + 2e-4 * 4^1 of a 7-bit ADC + 2e-4 * 4^2 of a 6-bit DAC) and half
    # of the resolution of 1e-3.
    assert median[0] == pytest.approx(0.5 * (0.01 + 0.0008 + 0.0032) + 0.0005)
    assert spread[0] == 1.0


def test_a_prediction_passes_what_is_known_and_knows_less_further_away():
    def at(adc: float, analog: float) -> Features:
        numbers = [0.0, 8 / 2, adc / 2, analog / 0.35, 16 / 2, 16 / 4]
        return Features(np.array([numbers]), np.zeros((1, 3), int))

    known, loss = at(8, 1.0), np.array([0.05])
    same, near, far = (predict(known, loss, at(*there)) for there in ((8, 1), (7, 0.9), (5, 0.1)))
    assert same[0][0] == pytest.approx(0.05, rel=0.1)
    assert same[1][0] < near[1][0] < far[1][0] < 1.0


def test_losses_of_known_simulations_are_theirs(screening):
    some = screening.pool.take(np.arange(0, len(screening.pool), 40))
    codes = [code for code in np.unique(some.codes).tolist() if code != CLEAN][:3]
    for number, code in enumerate(codes):
        screening.results[code] = Simulated(delta_loss_nats=0.01 * (number + 1))
    median, spread = screening.losses(some)
    for number, code in enumerate(codes):
        assert (median[some.codes == code] == 0.01 * (number + 1)).all()
        assert (spread[some.codes == code] == 0).all()
    assert (median[some.codes == CLEAN] == 0).all()
