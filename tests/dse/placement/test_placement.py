"""Placement orders against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.placement.experts import SCOPES, digital_mask, digital_order, stretch
from dse.placement.scores import REGISTER, expert_scores
from workloads.routing import uniform, zipf


def weights(layers, experts, hidden=5, width=3, first=1, seed=0):
    rng = np.random.default_rng(seed)
    named = {}
    for layer in range(first, first + layers):
        named[f"layers.{layer}.router"] = rng.normal(size=(experts, hidden))
        named[f"layers.{layer}.experts.gate"] = rng.normal(size=(experts, width, hidden))
        named[f"layers.{layer}.experts.up"] = rng.normal(size=(experts, width, hidden))
        named[f"layers.{layer}.experts.down"] = rng.normal(size=(experts, hidden, width))
    return named


def test_max_neuron_norm_by_loops():
    named, routing = weights(2, 4), uniform(2, 4, 2)
    found = expert_scores("max_neuron_norm", named, routing)
    for layer in range(2):
        for expert in range(4):
            score = 1.0
            for part in ("gate", "up", "down"):
                matrix = named[f"layers.{layer + 1}.experts.{part}"][expert]
                score *= max(sum(w * w for w in neuron) ** 0.5 for neuron in matrix)
            assert found[layer, expert] == pytest.approx(score)


def test_layers_are_in_order_of_number():
    named, routing = weights(12, 2), uniform(12, 2, 1)
    norms = expert_scores("router_norm", named, routing)
    for layer in range(12):
        expected = np.linalg.norm(named[f"layers.{layer + 1}.router"], axis=1)
        assert norms[layer] == pytest.approx(expected)


def test_scores_from_routing():
    routing = zipf(3, 8, 2, 1.0)
    assert expert_scores("activation_frequency", None, routing) == pytest.approx(
        routing.probability
    )
    assert expert_scores("activation_weight", None, routing) == pytest.approx(routing.weight)
    one = expert_scores("random", None, routing, seed=3)
    assert np.array_equal(one, expert_scores("random", None, routing, seed=3))
    assert not np.array_equal(one, expert_scores("random", None, routing, seed=4))


@given(
    layers=st.integers(1, 6),
    experts=st.integers(1, 9),
    scope=st.sampled_from(SCOPES),
    seed=st.integers(0, 99),
)
def test_orders_are_nested_permutations_of_the_best(layers, experts, scope, seed):
    scores = np.random.default_rng(seed).random((layers, experts))
    order = digital_order(scores, scope)
    assert sorted(order) == list(range(layers * experts))
    for count in range(layers * experts + 1):
        mask = digital_mask(order, count, (layers, experts))
        assert mask.sum() == count
        if scope == "global":
            assert count == 0 or scores[mask].min() >= scores[~mask].max(initial=0)
        else:
            per_layer = mask.sum(axis=1)
            assert per_layer.max() - per_layer.min() <= 1
            for row, chosen in zip(scores, mask, strict=True):
                assert not chosen.any() or row[chosen].min() >= row[~chosen].max(initial=0)


def test_stretch_repeats_by_relative_position():
    scores = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(stretch(scores, 2, 3), scores)
    assert np.array_equal(stretch(scores, 4, 6)[::2, ::2], scores)
    assert np.array_equal(stretch(scores, 4, 6)[1::2, 1::2], scores)
    assert stretch(scores, 1, 1).shape == (1, 1)


def test_sensitivity_per_fetch_by_hand():
    routing = zipf(2, 4, 2, 1.0)
    measured = np.arange(8.0).reshape(2, 4)
    found = expert_scores("sensitivity_per_fetch", None, routing, 0, measured, 3)
    for layer in range(2):
        for expert in range(4):
            idle = (1 - routing.probability[layer, expert]) ** 3
            assert found[layer, expert] == pytest.approx(measured[layer, expert] / (1 - idle))
    one = expert_scores("sensitivity_per_fetch", None, routing, 0, measured)
    assert one == pytest.approx(measured / routing.probability)
    with pytest.raises(ValueError, match="needs a measurement"):
        expert_scores("sensitivity_per_fetch", None, routing)


def test_errors_name_the_nearest():
    routing = uniform(2, 4, 2)
    with pytest.raises(ValueError, match="nearest is max_neuron_norm"):
        expert_scores("max_neuron_nrom", None, routing)
    with pytest.raises(ValueError, match="nearest is per_layer"):
        digital_order(np.zeros((2, 4)), "perlayer")
    with pytest.raises(ValueError, match="needs the model's weights"):
        expert_scores("router_norm", None, routing)
    with pytest.raises(ValueError, match="needs a measurement"):
        expert_scores("sensitivity", None, routing)
    with pytest.raises(ValueError, match="finite"):
        digital_order(np.full((2, 4), np.nan), "global")
    with pytest.raises(ValueError, match="9 digital experts"):
        digital_mask(np.arange(8), 9, (2, 4))
    assert "random" in REGISTER
