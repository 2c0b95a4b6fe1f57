"""Programming of weights: arithmetic by hand."""

import dataclasses
import functools

import numpy as np
import pytest

from hwmodels.programming import programming_energy_j, programming_time_s
from hwmodels.technology import load_technology
from hwmodels.tile import Tile, load_tile, tile_latency_s, unit_energy_j
from hwmodels.uncertainty import programming_ranges

# Picojoules lie below the usual absolute tolerance.
near = functools.partial(pytest.approx, rel=1e-6, abs=0.0)


def test_energy_of_programming_by_hand() -> None:
    """HERMES: 4 devices, 7 pulses of 20 pJ, each with a read.

    A read of one row: 27.9 pJ of converter (256 x 109 fJ and its wire), 7.6 pJ of logic and the
    little that one cell and 1/256 of a driver take. 28 x (20 + 35.6) pJ = 1.56 nJ a weight.
    """
    tile = load_tile("hermes-core")
    unit = unit_energy_j(tile)
    assert float(unit["adc"]) == near(256 * 0.109e-12, rel=2e-3)
    assert float(unit["digital"]) == near(8 * 0.95e-12)
    read = 27.94e-12 + 7.6e-12 + float(unit["array"]) + float(unit["input"]) / 256
    assert float(programming_energy_j(tile, 1)) == near(28 * (20e-12 + read), rel=1e-3)
    assert float(programming_energy_j(tile, 256**2)) == near(256**2 * 1.557e-9, rel=0.01)


def test_time_of_programming_by_hand() -> None:
    """A full 3D tile, row after row: 512 x 1024 rows x 7 pulses x (100 + 100) ns = 0.734 s.

    Two devices a weight lie on two bit lines and are programmed together.
    """
    tile = load_tile("aimc-3d")
    assert float(sum(tile_latency_s(tile).values())) == near(100e-9)
    assert float(programming_time_s(tile, 512 * 512 * 1024)) == near(0.734, rel=1e-3)
    # A model of 16.38 G weights on 64 such tiles, all at once: 62.5 M rows of 512 / 64 each.
    model = float(programming_time_s(tile, 16.38e9, 64))
    assert model == near(16.38e9 / 64 / 512 * 7 * 200e-9, rel=1e-4)


def test_wide_rows_are_written_in_parts() -> None:
    """At most 512 weights of a row at once (Narayanan et al. 2021): 1024 take two turns."""
    narrow, wide = (Tile("pcm-3d", 512, cols) for cols in (512, 1024))
    assert programming_time_s(wide, 1024) == near(2 * programming_time_s(narrow, 512), rel=1e-3)
    few = Tile("pcm-3d", 512, 64)
    assert programming_time_s(few, 512) == near(8 * programming_time_s(few, 64))


def test_four_devices_of_two_lines_take_two_turns() -> None:
    hermes = load_tile("hermes-core")
    pair = dataclasses.replace(hermes.technology, devices_per_weight=2)
    half = programming_time_s(dataclasses.replace(hermes, technology=pair), 256)
    assert programming_time_s(hermes, 256) == near(2 * half)


def test_arrays_of_designs_and_technologies_that_do_not_say() -> None:
    tile = Tile("pcm-3d", np.array([128, 512]), 512, np.array([1, 1024]))
    assert programming_time_s(tile, 1e9, np.array([10, 20])).shape == (2,)
    assert np.isnan(programming_energy_j(load_tile("hermes-core"), np.nan))
    flash = Tile("flash-40nm", 256, 256)
    assert np.isnan(programming_energy_j(flash, 1e6)) and np.isnan(programming_time_s(flash, 1e6))


@pytest.mark.parametrize("name", ["pcm-14nm", "pcm-3d", "rram-22nm"])
def test_ranges_of_programming(name: str) -> None:
    technology = load_technology(name)
    ranges = programming_ranges(technology)
    assert {one.name for one in ranges} == {"write_pulse_energy_j", "write_pulse_s", "write_pulses"}
    for one in ranges:
        assert one.low <= one.nominal <= one.high
        low, high = (
            programming_energy_j(Tile(changed, 256, 256), 1)
            + programming_time_s(Tile(changed, 256, 256), 1)
            for changed in (
                dataclasses.replace(technology, **{one.name: value})
                for value in (one.low, one.high)
            )
        )
        assert low < high
    assert programming_ranges(load_technology("flash-40nm")) == []
