"""Placements of equal cost: the budget holds, the greedy order is the knapsack's optimum."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from dse.experiments.equal_cost import (
    RIVALS,
    affordable,
    compare_placements,
    machine,
    masks_at_equal_cost,
    score_values,
    verdict,
)
from dse.placement.experts import digital_order
from dse.search.settings import Settings
from dse.search.setup import make_problem
from hwmodels.nonideality import Noise


@pytest.fixture(scope="module")
def found():
    """OLMoE decoded one sequence at a time, where fetches differ most between experts."""
    settings = Settings("olmoe", 200.0, concurrency=1)
    problem = make_problem(settings, simulate=False)
    return machine(problem, "pcm"), score_values(settings, problem.traffic)


def test_the_machine_holds_every_expert_within_the_budget(found):
    one, scores = found
    assert one.area_mm2 <= 200
    energy, throughput = one.costs(digital_order(scores["sensitivity"], "global"))
    assert len(energy) == 257
    assert (np.diff(energy) > 0).all()  # nothing became digital for want of tiles
    assert throughput[-1] < throughput[0]


def test_nothing_costs_more_than_the_rivals(found):
    one, scores = found
    masks = masks_at_equal_cost(one, scores, 0.25)
    for rival in RIVALS:
        mask, energy, throughput = masks[rival]
        assert mask.sum() == 64
        for name, (other, own_energy, own_throughput) in masks.items():
            if name not in RIVALS:
                assert own_energy <= energy * (1 + 1e-9)
                assert own_throughput >= throughput * (1 - 1e-9)
                assert 0 < other.sum() < 256


def test_loss_per_fetch_fills_the_knapsack_but_for_one_expert(found):
    """Against 0-1 programming over the 256 experts of the miniature."""
    one, scores = found
    used = one.problem.routing.probability
    weight = np.bincount(one.owner.ravel(), used.ravel(), minlength=256)
    value = scores["sensitivity"].ravel()
    order = digital_order(scores["sensitivity_per_fetch"], "global")
    assert np.allclose(weight, 4 * scores["activation_frequency"].ravel())
    for count in (16, 64, 128):
        capacity = weight[order[:count]].sum()
        best = milp(
            -value / value.max(),
            integrality=np.ones(256),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(weight[None], ub=capacity + 1e-9),
        )
        chosen = value[order[:count]].sum()
        assert chosen <= -best.fun * value.max() + 1e-9
        assert chosen + value[order[count]] >= -best.fun * value.max()


def test_affordable_is_the_most_within_both_limits():
    energy, throughput = np.array([1.0, 2, 3, 4]), np.array([9.0, 8, 7, 6])
    assert affordable((energy, throughput), 3.0, 0.0) == 2
    assert affordable((energy, throughput), 9.0, 8.0) == 1
    assert affordable((energy, throughput), 0.5, 0.0) == 0


def row(score, scope, loss, against, error):
    gaps = {f"loss_against_{rival}_nats": against for _, rival in RIVALS}
    errors = {f"loss_against_{rival}_stderr": error for _, rival in RIVALS}
    return {"share": 0.25, "score": score, "scope": scope, "delta_loss_nats": loss, **gaps,
            **errors}  # fmt: skip


def test_the_verdict_names_a_winner_only_beyond_the_error():
    rival = row("max_neuron_norm", "global", 0.01, 0.0, 0.0)
    control = row("random", "per_layer", 0.001, -0.009, 0.001)  # by luck: never a winner
    good = row("sensitivity", "global", 0.006, -0.004, 0.001)
    vague = row("activation_weight", "global", 0.005, -0.005, 0.003)
    told = verdict(pd.DataFrame([rival, control, vague, good]))
    assert "sensitivity (global) loses less: -4.00 ± 1.00 mnat" in told
    told = verdict(pd.DataFrame([rival, control, vague]))
    assert "nothing beats both max neuron norms beyond the error" in told


def test_bad_questions_are_one_line():
    settings = Settings("olmoe", 200.0)
    with pytest.raises(ValueError, match="share is 1: a number between 0 and 1"):
        compare_placements(settings, Noise(), [1.0])
    with pytest.raises(ValueError, match="at least 8"):
        compare_placements(settings, Noise(), seeds=4)
    with pytest.raises(ValueError, match="no technology"):
        machine(make_problem(settings, simulate=False), "cmo-hfox")
