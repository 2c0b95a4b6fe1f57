"""Routing statistics against Monte Carlo over real top-k draws."""

from math import comb

import numpy as np
import pytest
from drawn_loads import draw
from hypothesis import given
from hypothesis import strategies as st

from workloads.routing import none_used, resample, suffix_loads, uniform, zipf


def largest_load(probability, batch):
    """Expected load of the most loaded of all experts, of each layer of [layers, experts]."""
    return suffix_loads(probability, batch).largest[:, 0]


@pytest.mark.parametrize(("experts", "k"), [(8, 2), (16, 2), (64, 6), (64, 8)])
@pytest.mark.parametrize("spread", [0.0, 1.0])
@pytest.mark.parametrize("batch", [1, 4, 32, 256])
def test_loads_agree_with_draws(experts, k, spread, batch):
    rng = np.random.default_rng(experts + k + batch)
    logits = spread * rng.normal(size=experts)
    rounds = max(400, min(4000, 40_000 // batch))
    loads = draw(logits, k, batch, rounds, rng)
    probability = loads.mean(axis=0) / batch
    largest = largest_load(probability[None], batch)[0]
    assert largest == pytest.approx(loads.max(axis=1).mean(), rel=0.05)
    half = suffix_loads(probability[None], batch)
    rest = loads[:, experts // 2 :].max(axis=1)
    assert half.largest[0, experts // 2] == pytest.approx(rest.mean(), rel=0.06)
    assert half.used[0, experts // 2] == pytest.approx((rest > 0).mean(), abs=0.04)


@pytest.mark.parametrize(("experts", "k"), [(4, 1), (8, 2), (64, 6), (512, 22), (8, 8)])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_chance_of_no_use_is_exact_for_equal_experts(experts, k, batch):
    left_out = range(experts + 1)
    exact = [(comb(n, k) / comb(experts, k)) ** batch for n in left_out]
    assert none_used(uniform(2, experts, k).probability, batch)[1] == pytest.approx(exact, abs=1e-9)


@given(seed=st.integers(0, 1000), k=st.integers(1, 5))
def test_the_chance_of_no_use_keeps_that_of_each_expert(seed, k):
    """The last expert alone is missed by a token with the chance that its probability says."""
    probability = zipf(1, 9, k, np.random.default_rng(seed).uniform(0, 2), seed=seed).probability
    for expert in range(9):
        last = np.roll(probability, -expert - 1, axis=1)
        assert none_used(last, 2)[0, 8] == pytest.approx((1 - last[0, 8]) ** 2, abs=7e-3)
        assert np.all(np.diff(none_used(last, 2)[0]) >= -1e-12)


def test_single_expert_takes_everything():
    assert largest_load(np.ones((1, 1)), 17) == pytest.approx([17])


@given(
    experts=st.integers(2, 40),
    share=st.floats(0.05, 1.0),
    exponent=st.floats(0.0, 2.5),
    batch=st.sampled_from([1, 2, 7, 100, 1000, 40_000]),
)
def test_bounds(experts, share, exponent, batch):
    k = max(1, int(share * experts))
    routing = zipf(3, experts, k, exponent, seed=1)
    assert routing.probability.sum(axis=1) == pytest.approx(k)
    assert np.all(routing.probability <= 1)
    largest = largest_load(routing.probability, batch)
    most_likely = batch * routing.probability.max(axis=1)
    # A grid of loads stands in for each of many: a bound is met to within one of its steps.
    assert np.all(largest >= 0.99 * most_likely)
    assert np.all(largest <= batch + 1e-9)


def test_largest_load_grows_with_batch_and_shrinks_with_experts_left_out():
    routing = zipf(2, 32, 4, 1.0)
    loads = [largest_load(routing.probability, batch) for batch in (1, 2, 8, 64, 512)]
    assert np.all(np.diff(np.stack(loads), axis=0) > 0)
    assert np.all(np.diff(suffix_loads(routing.probability, 16).largest, axis=1) <= 1e-12)


def test_uniform_is_zipf_without_exponent():
    even, zero = uniform(2, 16, 4), zipf(2, 16, 4, 0.0)
    assert even.probability == pytest.approx(np.full((2, 16), 4 / 16))
    assert zero.probability == pytest.approx(np.full((2, 16), 4 / 16))
    assert even.experts_per_token == 4


def test_resample_keeps_equal_shapes_and_sums():
    routing = zipf(4, 64, 8, 0.8)
    same = resample(routing, 4, 64, 8)
    assert same.probability == pytest.approx(routing.probability)
    larger = resample(routing, 10, 256, 6)
    assert larger.probability.shape == (10, 256)
    assert larger.probability.sum(axis=1) == pytest.approx(6)
    # Deeper layers come from deeper ones, experts keep their neighbours' ranks.
    few = resample(routing, 4, 8, 2)
    assert few.probability.sum(axis=1) == pytest.approx(2)


@pytest.mark.parametrize("bad", [(0, 8, 2), (2, 8, 9), (2, 8, 0)])
def test_impossible_routing(bad):
    with pytest.raises(ValueError, match="experts per token"):
        uniform(*bad)


def test_negative_exponent():
    with pytest.raises(ValueError, match="must not be negative"):
        zipf(2, 8, 2, -1.0)
