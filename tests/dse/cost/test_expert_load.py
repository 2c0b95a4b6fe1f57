"""Expert tables against top-k draws of whole batches."""

import numpy as np
import pytest
from drawn_loads import draw
from hypothesis import given
from hypothesis import strategies as st

from dse.cost.expert_load import expert_tables
from dse.cost.tile_slots import fullest_group
from workloads.routing import Routing, zipf


@pytest.mark.parametrize(("experts", "k"), [(8, 2), (16, 2), (64, 6), (64, 8)])
@pytest.mark.parametrize("spread", [0.0, 1.0])
@pytest.mark.parametrize("batch", [1, 4, 32, 256])
def test_different_digital_experts_of_a_step_agree_with_draws(experts, k, spread, batch):
    rng = np.random.default_rng(experts + k + batch)
    loads = draw(
        spread * rng.normal(size=experts), k, batch, max(400, min(4000, 40_000 // batch)), rng
    )
    probability = loads.mean(axis=0)[None] / batch
    order = rng.permutation(experts)
    tables = expert_tables(Routing(probability, probability / k, "drawn"), order, batch)
    for digital in (0, experts // 4, experts):
        used = (loads[:, order[:digital]] > 0).sum(axis=1)
        assert tables.unique_digital[0, 0, digital] == pytest.approx(used.mean(), rel=0.02)
        assert tables.unique_total[0, digital] == tables.unique_digital[0, 0, digital]


@given(
    experts=st.integers(2, 40),
    share=st.floats(0.05, 1.0),
    exponent=st.floats(0.0, 2.5),
    batch=st.sampled_from([1, 2, 7, 100, 1000]),
)
def test_a_step_uses_as_many_experts_as_a_token_and_at_most_all(experts, share, exponent, batch):
    k = max(1, int(share * experts))
    tables = expert_tables(zipf(3, experts, k, exponent, seed=1), np.arange(3 * experts), batch)
    unique = tables.unique_digital[:, 0, -1]
    assert np.all((unique >= k * (1 - 1e-9)) & (unique <= experts + 1e-9))


def slots_drawn(loads, groups):
    """Expected slots of the most loaded group, experts dealt from the busiest down and back.

    A group's last token passes gate and up, then down: one slot more than the group's load.
    """
    busiest_first = loads[:, np.argsort(-loads.mean(axis=0))]
    place = np.arange(loads.shape[1])
    turn, column = np.divmod(place, groups)
    group = np.where(turn % 2 == 0, column, groups - 1 - column)
    of_groups = np.stack([busiest_first[:, group == g].sum(axis=1) for g in range(groups)])
    largest = of_groups.max(axis=0)
    return (largest + (largest > 0)).mean()


@pytest.mark.parametrize(("experts", "k"), [(16, 1), (16, 4), (64, 6)])
@pytest.mark.parametrize("spread", [0.0, 1.0])
@pytest.mark.parametrize("batch", [1, 4, 32])
@pytest.mark.parametrize("share", [0.3, 0.45, 0.5, 0.9])
def test_the_most_loaded_group_of_experts_agrees_with_draws(experts, k, spread, batch, share):
    rng = np.random.default_rng(experts + k + batch)
    loads = draw(spread * rng.normal(size=experts), k, batch, 3000, rng)
    probability = loads.mean(axis=0)[None] / batch
    order = np.argsort(-probability[0])
    tables = expert_tables(Routing(probability, probability / k, "drawn"), order, batch)
    for digital in (0, experts // 4):
        analog, rest = float(experts - digital), loads[:, order[digital:]]
        groups = int(share * analog)
        sharing = np.array([analog / groups])
        place = tables.place(np.zeros(1, dtype=np.int64), np.array([digital]))
        row = tables.rows(slice(0, 1), place)[0]
        found = fullest_group(tables, row, np.array([analog]), sharing)
        assert found.slots[0] == pytest.approx(slots_drawn(rest, groups), rel=0.13)
