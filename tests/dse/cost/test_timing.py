"""The time between steps: closed forms worked out by hand, and tiles that layers share."""

import numpy as np
import pytest

from dse.cost.timing import LayerStages, Times, interval_s, over_layers


def times(latency_s, *, accelerator_s=0.0, tiles_s=0.0, shared_s2=0.0, accelerators=1.0):
    """Of one step that nothing lets scatter."""
    return Times(
        {"all": np.asarray(latency_s)},
        accelerator_s=np.asarray(accelerator_s),
        accelerators=np.asarray(accelerators),
        tiles_s=np.asarray(tiles_s),
        shared_s2=np.asarray(shared_s2),
        deviation_s=np.zeros(()),
    )


def test_one_micro_batch_waits_for_no_other():
    alone = times(10.0, accelerator_s=6.0, tiles_s=4.0, shared_s2=16.0)
    assert interval_s(alone, np.asarray(1)) == pytest.approx(10)


def test_two_micro_batches_at_a_tile_that_layers_share():
    """Machine repair with two machines: 6 s away, then 4 s at the tile, which serves both in turn.

    With k at the tile, probabilities go as 2! / (2 - k)! (4/6)**k: 1, 4/3, 8/9, together 29/9. The
    tile works 20/29 of the time, 4 s a step: 5.8 s between steps. With no tile shared, 5 s.
    """
    shared = times(10.0, tiles_s=4.0, shared_s2=16.0)
    assert interval_s(shared, np.asarray(2)) == pytest.approx(5.8)
    assert interval_s(times(10.0, tiles_s=4.0), np.asarray(2)) == pytest.approx(5)


def test_accelerators_of_several_dies_are_waited_for_one_by_one():
    """5 s on one die are 2.5 s on each of two: half the wait, 2 * 2.5**2 instead of 5**2."""
    one, two = (
        2 * interval_s(times(20.0, accelerator_s=5.0 / dies, accelerators=dies), np.asarray(2)) - 20
        for dies in (1, 2)
    )
    assert one > 0 and two == pytest.approx(one / 2)


def test_many_micro_batches_keep_the_busiest_at_work():
    at_work = times(10.0, accelerator_s=6.0, tiles_s=4.0, shared_s2=16.0)
    assert interval_s(at_work, np.asarray(1000)) == pytest.approx(6)


@pytest.mark.parametrize(
    ("tiles", "seconds", "busiest_s", "shared_s2"),
    [
        ([0, 1, 2], [3, 4, 5], 5, 0),  # a tile each
        ([0, 0, 2], [3, 4, 5], 7, 49),
        ([0, 0, 0], [1, 2, 3], 6, 36),
        ([0, 0, 2, 2], [1, 2, 3, 5], 8, 3**2 + 8**2),
        ([0, 0, 1], [3, 0, 4], 4, 0),  # nothing of the second layer is analog
        ([0, 0, 0], [3, 0, 4], 7, 49),
        ([np.nan, np.nan], [3, 4], 4, 0),  # tiles of its own for each expert
    ],
)
def test_layers_that_share_a_tile(tiles, seconds, busiest_s, shared_s2):
    layers = np.array([tiles, seconds], dtype=float)[..., None]
    none = np.zeros_like(layers[0])
    found = over_layers([LayerStages(none, none, layers[1], none, layers[0])], 1)
    assert found.tiles_s == busiest_s
    assert found.shared_s2 == shared_s2
