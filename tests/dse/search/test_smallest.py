"""The smallest budget that works: it does, when it is given back."""

import math

import pytest
from search_fixture import small_problem

from dse import units
from dse.search.screening import Screening
from dse.search.smallest import out_of_reach, round_up_mm2, smallest_designs


def refusal(problem) -> str:
    """What is said of a question that no design answers."""
    with pytest.raises(ValueError) as raised:
        Screening(problem, {}, 0)
    return str(raised.value)


@pytest.mark.parametrize(("concurrency", "context"), [(1, 128), (32, 1024)])
def test_the_smallest_budget_works_when_given_back(concurrency, context):
    least = round_up_mm2(
        smallest_designs(small_problem(concurrency=concurrency, context=context))[1]
    )
    problem = small_problem(budget_area_mm2=least, concurrency=concurrency, context=context)
    assert len(Screening(problem, {}, 0).pool)


def test_a_cache_that_no_memory_holds_is_said():
    problem = small_problem(concurrency=512, context=131072)
    assert math.isinf(smallest_designs(problem)[1])
    line = refusal(problem)
    assert "512 x 131072 tokens" in line and "memory" in line and "\n" not in line


def test_a_limit_out_of_reach_comes_with_the_nearest_value_which_works_when_given_back():
    limits = ("power<=15mW", "latency_per_token<=1s")
    problem = small_problem(constraints=limits)
    line = refusal(problem)
    assert "latency" not in line.split("nearer than")[1]
    nearest = out_of_reach(problem)[0].bound
    assert units.si(nearest, "W") in line
    reached = small_problem(constraints=(f"power<={nearest * (1 + 1e-9)}W",))
    assert len(Screening(reached, {}, 0).pool)
