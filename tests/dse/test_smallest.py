"""The smallest budget that works: it does, when it is given back."""

import math

import pytest
from search_fixture import small_problem

from dse.explorer import nothing_fits
from dse.problem import CLEAN
from dse.screening import Screening
from dse.smallest import smallest_budget_mm2


@pytest.mark.parametrize(("batch", "context"), [(1, 128), (32, 1024)])
def test_the_smallest_budget_works_when_given_back(batch, context):
    least = smallest_budget_mm2(small_problem(batch=batch, context=context))
    problem = small_problem(budget_area_mm2=least, batch=batch, context=context)
    assert len(Screening(problem, {CLEAN: problem.simulate(CLEAN)}, 0).pool)


def test_a_cache_that_no_memory_holds_is_said():
    problem = small_problem(batch=512, context=131072)
    assert math.isnan(smallest_budget_mm2(problem))
    line = nothing_fits(problem)
    assert "512 x 131072 tokens" in line and "memory" in line and "\n" not in line
