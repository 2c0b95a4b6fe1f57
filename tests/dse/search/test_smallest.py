"""The smallest budget that works: it does, when it is given back."""

import math
import subprocess
import sys

import pytest
from search_fixture import small_problem

from dse import units
from dse.search.screening import Screening
from dse.search.settings import Settings
from dse.search.smallest import (
    out_of_reach,
    refuse_small_budget,
    round_up_mm2,
    smallest_designs,
)
from workloads.architecture import load_model


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


def test_a_small_budget_is_refused_from_costs_alone_and_works_when_given_back():
    architecture = load_model("deepseekmoe")
    with pytest.raises(ValueError, match="nothing fits in 2 mm2: the smallest budget") as raised:
        refuse_small_budget(Settings("deepseekmoe", 2.0), architecture)
    named = units.parse(str(raised.value).rpartition(" is ")[2], "area")
    refuse_small_budget(Settings("deepseekmoe", named), architecture)


def test_a_small_budget_is_refused_before_anything_heavy_is_loaded():
    words = ["explore", "--model", "olmoe", "--budget-area", "2mm2"]
    line = f"from dse.cli.app import app; app({words})"
    code = f"import sys\ntry:\n    {line}\nexcept SystemExit:\n    print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert "nothing fits in 2 mm2" in done.stderr
