"""The digital share of `dse reproduce budget`: picked by hand, and built where it fits."""

import math

import pytest

from dse.experiments.reproduce.budget import SHARES, _row, _share
from dse.simulation.full_model import FullLoss


def losses(*points):
    """Losses whose band reaches from a half to twice the points."""
    return [FullLoss(p / 30, 0.0, -p, -2 * p, -p / 2) for p in points]


def machine(energy):
    return {"energy_j_per_token": energy, "throughput_tokens_per_s": 1e3}


FALLING = losses(3.0, 1.8, 0.9, 0.6, 0.4, 0.2, 0.0)


def test_least_share_within_a_point():
    """3, 1.8, 0.9: the third. Half of them: 1.5, 0.9. Twice: 6, 3.6, 1.8, 1.2, 0.8."""
    shares = [SHARES[_share(FALLING, f"full_points{end}")] for end in ("", "_high", "_low")]
    assert shares == [0.25, 0.125, 0.5]


def test_more_digital_where_the_tiles_hold_fewer():
    machines = [None, None, None, machine(2.0), machine(3.0), machine(4.0), machine(5.0)]
    row = _row("olmoe", 100.0, 0.0, 1.0, [2, 1, 4], FALLING, machines)
    assert (row["digital_share"], row["built_digital_share"]) == (0.25, 0.375)
    assert row["full_points"] == pytest.approx(-0.6)
    assert row["energy_j_per_token"] == 2.0 and row["analog_pays"] is True
    dear = [*machines[:3], machine(6.0), *machines[4:]]
    assert _row("olmoe", 100.0, 0.0, 1.0, [2, 1, 4], FALLING, dear)["analog_pays"] is False
    nothing = _row("olmoe", 1.0, 0.0, 1.0, [2, 1, 4], FALLING, [None] * 7)
    assert math.isnan(nothing["energy_j_per_token"]) and nothing["analog_pays"] is None
