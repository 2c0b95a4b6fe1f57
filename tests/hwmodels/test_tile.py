"""Tiles: published totals, physical trends, arrays against scalars."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.technology import load_technology, stack_technologies, technology_names
from hwmodels.tile import (
    Tile,
    load_tile,
    tile_area_mm2,
    tile_energy_j,
    tile_latency_s,
    tile_names,
    tile_weights,
)
from hwmodels.tile_limits import ir_drops, largest_rows

QUANTITIES = (tile_energy_j, tile_latency_s, tile_area_mm2)
SEARCHED = ("pcm-14nm", "pcm-3d", "rram-22nm")


def total(parts: dict) -> np.ndarray:
    return sum(parts.values())


designs = st.builds(
    lambda name, rows, cols, dac, adc, shared: Tile(
        load_technology(name), rows, cols, 1, dac, adc, shared
    ),
    st.sampled_from(technology_names()),
    st.integers(1, 2048),
    st.integers(1, 2048),
    st.integers(1, 10),
    st.integers(1, 13),
    st.sampled_from([1, 2, 4, 8, 16, 32]),
)


@pytest.mark.parametrize(
    ("name", "energy_nj", "latency_ns", "area_mm2", "tolerance"),
    [
        ("hermes-core", 12.95, 131.5, 0.634, 0.05),  # single core and 64-core chip: 12.5, 13.4 nJ
        ("aimc-3d", 10.0, 100.0, 1.0, 0.01),  # the projection that it stands for
        ("neurram", 7.94, None, 1.161, 0.1),  # its latency: below
        ("isaac", 38.5, 1600.0, None, 0.1),  # 24.08 mW an in-situ unit over 16 x 100 ns
    ],
)
def test_published_tiles(
    name: str, energy_nj: float, latency_ns: float | None, area_mm2: float | None, tolerance: float
) -> None:
    tile = load_tile(name)
    assert 1e9 * total(tile_energy_j(tile)) == pytest.approx(energy_nj, rel=tolerance)
    if latency_ns is not None:
        assert 1e9 * total(tile_latency_s(tile)) == pytest.approx(latency_ns, rel=tolerance)
    if area_mm2 is not None:
        assert total(tile_area_mm2(tile)) == pytest.approx(area_mm2, rel=tolerance)


def test_four_phases_of_hermes() -> None:
    """521 ns and 52.85 nJ, four times one phase (Le Gallo et al. 2023)."""
    tile = dataclasses.replace(load_tile("hermes-core"), phases=4)
    assert total(tile_latency_s(tile)) == pytest.approx(521e-9, rel=0.01)
    assert total(tile_energy_j(tile)) == pytest.approx(52.85e-9, rel=0.05)


def test_two_reads_of_neurram() -> None:
    """7.5 us for reads of 3 and 2 bits (Wan et al. 2022); the tile reads 3 bits twice: 28 % more.

    Two reads of 7 pulses, 8 output bits and a start, 0.3 us each.
    """
    latency = tile_latency_s(load_tile("neurram"))
    assert total(latency) == pytest.approx(2 * (7 + 8 + 1) * 0.303e-6)
    assert 7.5e-6 < total(latency) < 1.3 * 7.531e-6


def test_capacity_facts() -> None:
    """0.1 M weights/mm2 planar PCM; tens of times more in RRAM; 2.7e8 in a full 3D tile."""
    density = {
        name: float(tile_weights(tile) / total(tile_area_mm2(tile)))
        for name, tile in ((name, load_tile(name)) for name in tile_names())
    }
    assert density["hermes-core"] == pytest.approx(65_536 / 0.634, rel=0.02)
    assert density["aimc-3d"] == pytest.approx(512 * 512 * 1024, rel=0.01)
    dense = Tile(load_technology("rram-22nm"), 2048, 2048, 1, 8, 8, 64)
    dense_density = float(tile_weights(dense) / total(tile_area_mm2(dense)))
    assert 20 < dense_density / density["hermes-core"] < 100
    cells = dense_density * float(total(tile_area_mm2(dense)) / tile_area_mm2(dense)["cells"])
    assert cells > 3 * dense_density


@given(designs)
@settings(max_examples=60, deadline=None)
def test_finite_and_not_negative(tile: Tile) -> None:
    for quantity in QUANTITIES:
        for name, value in quantity(tile).items():
            assert np.isfinite(value) and value >= 0, (quantity, name)
        assert total(quantity(tile)) > 0


def grows(tile: Tile, quantity: Callable, least: float = 1 - 1e-12, **more: int) -> bool:
    """Whether a tile with more of something takes at least this much of what it took."""
    bigger = dataclasses.replace(tile, **more)
    return float(total(quantity(bigger))) >= float(total(quantity(tile))) * least


@given(designs)
@settings(max_examples=60, deadline=None)
def test_more_never_costs_less(tile: Tile) -> None:
    """Converter bits, input bits, rows and columns: energy, latency and area do not fall."""
    for quantity in QUANTITIES:
        # Under a wider array and to larger converters in other banks, wires are shorter: they
        # settle some millionths of an MVM sooner and take up to a thousandth less energy.
        shorter = 1 - {tile_latency_s: 1e-5, tile_energy_j: 2e-3}.get(quantity, 1e-12)
        assert grows(tile, quantity, shorter, adc_bits=tile.adc_bits + 1)
        assert grows(tile, quantity, shorter, cols=tile.cols + 1)
        assert grows(tile, quantity, dac_bits=tile.dac_bits + 1)
        assert grows(tile, quantity, rows=tile.rows + 1)


@given(designs)
@settings(max_examples=60, deadline=None)
def test_sharing_a_converter_costs_time_and_saves_area(tile: Tile) -> None:
    shared = dataclasses.replace(tile, columns_per_adc=2 * tile.columns_per_adc)
    assert total(tile_latency_s(shared)) >= total(tile_latency_s(tile))
    assert total(tile_area_mm2(shared)) <= total(tile_area_mm2(tile))


@given(designs)
@settings(max_examples=60, deadline=None)
def test_energy_follows_active_rows_and_columns(tile: Tile) -> None:
    whole, none = tile_energy_j(tile), tile_energy_j(tile, 0, 0)
    half = tile_energy_j(tile, tile.rows / 2, tile.cols / 2)
    assert float(total(none)) == 0
    assert float(half["array"]) == pytest.approx(float(whole["array"]) / 4)
    assert float(half["adc"]) == pytest.approx(float(whole["adc"]) / 2)
    assert float(half["input"]) == pytest.approx(float(whole["input"]) / 2)


@pytest.mark.parametrize("name", SEARCHED)
def test_bigger_arrays_amortise_their_periphery(name: str) -> None:
    """Up to the rows that IR drop allows: beyond, wires take more than the periphery saves."""
    most = largest_rows(Tile(load_technology(name), 64, 64), 0.05)
    sides = np.array([side for side in (64, 128, 256, 512) if side <= most])
    tile = Tile(load_technology(name), sides, sides)
    per_weight = total(tile_energy_j(tile)) / sides**2
    area = total(tile_area_mm2(tile)) / sides**2
    assert np.all(np.diff(per_weight) < 0)
    assert np.all(np.diff(area) < 0)


def test_tiers_add_little_area_and_what_leaks() -> None:
    """1023 other tiers draw 1023 / 4e4 of the array's current."""
    tiers = np.array([1, 64, 1024])
    tile = Tile(load_technology("pcm-3d"), 512, 512, tiers)
    area = total(tile_area_mm2(tile))
    assert np.all(np.diff(area) > 0)
    assert area[2] < 1.05 * area[0]
    energy = tile_energy_j(tile)
    assert np.ndim(energy["adc"]) == np.ndim(energy["input"]) == 0
    grown = 1023 / 4e4 / (1 + sum(ir_drops(tile).values()))
    assert energy["array"][2] == pytest.approx(energy["array"][0] * (1 + grown))
    assert np.ndim(total(tile_latency_s(tile))) == 0


def test_rows_in_groups() -> None:
    """Two groups of rows: twice the conversions and the time, and half the drop."""
    tile = load_tile("rram-22nm")
    halves = dataclasses.replace(tile, rows_at_once=256)
    assert total(tile_latency_s(halves)) == 2 * total(tile_latency_s(tile))
    assert tile_energy_j(halves)["adc"] == 2 * tile_energy_j(tile)["adc"]
    word, bit = ir_drops(tile).values()
    less = (1 + word + bit / 2) / (1 + word + bit)
    whole = tile_energy_j(tile)["array"]
    assert tile_energy_j(halves)["array"] == pytest.approx(whole * less)


def test_arrays_equal_scalars_bit_for_bit() -> None:
    generator = np.random.default_rng(1)
    count = 300
    technologies = [load_technology(name) for name in SEARCHED]
    index = generator.integers(0, 3, count)
    fields = {
        "rows": generator.integers(1, 1024, count),
        "cols": generator.integers(1, 1024, count),
        "tiers": np.where(index == 1, generator.integers(1, 1024, count), 1),
        "dac_bits": generator.integers(1, 10, count),
        "adc_bits": generator.integers(1, 12, count),
        "columns_per_adc": generator.integers(1, 33, count),
    }
    together = Tile(stack_technologies(technologies, index), **fields)
    for quantity in QUANTITIES:
        arrays = quantity(together)
        for design in range(count):
            one = {name: int(values[design]) for name, values in fields.items()}
            alone = quantity(Tile(technologies[index[design]], **one))
            for name, value in alone.items():
                assert np.broadcast_to(arrays[name], (count,))[design] == value, (quantity, name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rows", 0),
        ("cols", -4),
        ("rows", 1.5),
        ("rows", float("nan")),
        ("cols", float("inf")),
        ("adc_bits", 0),
        ("adc_bits", 15),
        ("dac_bits", "eight"),
        ("columns_per_adc", 0),
        ("tiers", 2),
        ("input_mode", "pvm"),
    ],
)
def test_bad_values_in_one_line(field: str, value: object) -> None:
    with pytest.raises(ValueError) as caught:
        dataclasses.replace(load_tile("hermes-core"), **{field: value})
    assert "\n" not in str(caught.value)
