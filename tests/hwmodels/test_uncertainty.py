"""Ranges of the constants can be perturbed and move the totals the way they should."""

import pytest

from hwmodels.digital import load_accelerator
from hwmodels.intervals import interval
from hwmodels.technology import load_technology, technology_names
from hwmodels.tile import Tile, tile_area_mm2, tile_energy_j, tile_latency_s
from hwmodels.uncertainty import (
    accelerator_ranges,
    perturbed,
    scaled,
    technology_ranges,
)

QUANTITIES = (tile_energy_j, tile_latency_s, tile_area_mm2)


@pytest.mark.parametrize("name", technology_names())
def test_every_range_moves_something(name: str) -> None:
    technology = load_technology(name)
    most = int(technology.max_tiers)

    def totals(changed: object) -> list[float]:
        """Energy, latency and area at 8 bits and, where an integration has its floor, at 5."""
        tiles = [Tile(changed, 256, 256, tiers, b, b) for b in (5, 8) for tiers in (1, most)]
        parts = [quantity(tile) for tile in tiles for quantity in QUANTITIES]
        return [float(sum(values.values())) for values in parts]

    for one in technology_ranges(technology):
        assert 0 < one.low <= one.nominal <= one.high
        low, high = (
            totals(perturbed(technology, one.name, value)) for value in (one.low, one.high)
        )
        assert low != high, one.name
        if one.name == "tier_on_off_ratio":
            low, high = high, low  # tiers that leak less take less
        if one.name == "cell_area_m2":  # larger arrays have shorter ways to their converters
            low, high = low[2::3], high[2::3]
        assert all(a <= b * (1 + 1e-12) for a, b in zip(low, high, strict=True)), one.name


def test_silicon_and_projection_differ() -> None:
    """Each has the interval of its class: a projection's energy may be far above its claim."""
    for name, kind in (("pcm-3d", "projection"), ("pcm-14nm", "pulse width")):
        found = {one.name: one for one in technology_ranges(load_technology(name))}
        for constant, quantity in (("energy_factor", "energy_j"), ("time_factor", "latency_s")):
            own = found[constant]
            assert (own.low, own.high) == interval(kind, quantity) and own.nominal == 1
            assert kind in own.source and "few" in own.source


def test_the_models_own_factors_scale_an_mvm() -> None:
    plain = load_technology("pcm-14nm")
    moved = scaled(scaled(plain, "energy_factor", 2.0), "time_factor", 3.0)
    before, after = Tile(plain, 256, 256), Tile(moved, 256, 256)
    for quantity, factor in ((tile_energy_j, 2), (tile_latency_s, 3), (tile_area_mm2, 1)):
        for name, value in quantity(before).items():
            assert float(quantity(after)[name]) == pytest.approx(factor * float(value))


def test_board_power_is_the_only_constant_of_the_a100_energy() -> None:
    names = {one.name for one in accelerator_ranges(load_accelerator("a100-400w"))}
    assert "static_power_w" in names
    assert not names & {"mac_energy_j", "memory_energy_j_per_byte", "sram_energy_j_per_byte"}


def test_every_range_holds_its_constant_and_an_unknown_one_is_refused() -> None:
    technology, accelerator = load_technology("rram-22nm"), load_accelerator("edge-7nm")
    parts = {"technology": technology, "accelerator": accelerator}
    for one in (*technology_ranges(technology), *accelerator_ranges(accelerator)):
        assert one.low <= one.nominal <= one.high and one.source
        perturbed(parts[one.part], one.name, one.high)
    with pytest.raises(ValueError, match="adc_energy_factor"):
        perturbed(technology, "adc_energy_facto", 1.0)
