"""Designs sought for the rule: as good as the best of a large draw, in silicon and of all."""

import numpy as np
import pytest
from search_fixture import KnownLoss, small_problem

from dse.search.answers import seek_answers
from dse.search.costing import cost
from dse.search.rule import Rule
from dse.search.screening import Screening


@pytest.fixture(scope="module")
def searched():
    problem = small_problem(KnownLoss(), choices={"kv_bits": [16], "digital_weight_bits": [16]})
    screening = Screening(problem, {}, 0)
    pool = seek_answers(problem, screening, Rule(1e9, "nats"), simulate=True)
    return problem, screening, pool


@pytest.mark.parametrize("kinds", [("silicon",), ("silicon", "simulation", "projection")])
def test_no_design_of_a_large_draw_takes_clearly_less_energy(searched, kinds):
    problem, _, pool = searched
    in_kind = np.array([str(one.kind) in kinds for one in problem.technologies])
    technology = problem.space.names.index("technology")

    def least(indices: np.ndarray) -> float:
        costed = cost(problem, indices)
        of_kind = in_kind[indices[:, technology]] | (costed.columns["tiles"] == 0)
        return float(costed.metrics["energy_j_per_token"][costed.feasible & of_kind].min())

    drawn = problem.space.random(20_000, np.random.default_rng(7))
    assert least(pool.indices) <= 1.01 * least(drawn)


def test_what_is_sought_has_a_known_accuracy(searched):
    _, screening, pool = searched
    assert len(pool)
    assert screening.known(pool).all()


def test_nothing_is_simulated_where_that_is_not_wanted():
    problem = small_problem(KnownLoss())
    screening = Screening(problem, {}, 0)
    before = set(screening.results)
    seek_answers(problem, screening, Rule(), simulate=False)
    assert set(screening.results) == before
