"""Limits of tiles: arithmetic by hand, a resistor network, published converters."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwmodels.components import adc, dac, wire
from hwmodels.nonideality import Noise, program, with_ir_drop
from hwmodels.technology import load_technology, stack_technologies
from hwmodels.tile import (
    Tile,
    load_tile,
    tile_area_mm2,
    tile_energy_j,
    tile_latency_s,
    unit_energy_j,
)
from hwmodels.tile_limits import (
    SHOWN,
    beyond_source,
    beyond_source_text,
    converter_wire_area_m2,
    converter_wire_energy_j,
    converter_wires_m,
    integration_floor_s,
    ir_drop_error,
    ir_drops,
    is_beyond_source,
    largest_rows,
    largest_tiers,
    line_drops,
    line_settling_s,
    tier_leakage,
)

Matrix = NDArray[np.float64]

# Picojoules lie below the usual absolute tolerance.
near = functools.partial(pytest.approx, rel=1e-6, abs=0.0)


def total(parts: dict) -> float:
    return float(sum(parts.values()))


# --- Wires ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node_nm", "sheet"),
    [(45, 2.6 * 0.080), (22, 11.6 * 0.040), (14, 19.7 * 0.032), (7, 69.5 * 0.020)],
)
def test_wires_of_the_table(node_nm: int, sheet: float) -> None:
    """Ohm a square: resistance a micrometre times width (NeuroSim); twice as wide, half of it."""
    narrow = wire.line_ohm(1e-6, 2 * wire.half_pitch_m(node_nm), node_nm)
    assert float(wire.sheet_ohm(node_nm)) == near(sheet)
    assert float(wire.line_ohm(1e-6, 4 * wire.half_pitch_m(node_nm), node_nm)) == near(
        float(narrow) / 2
    )
    assert float(wire.line_ohm(1e-6, 1e-9, node_nm)) == near(float(narrow))


def test_wires_beyond_the_table() -> None:
    """130 nm: as 45 nm, (45/130)^2 of the resistance a length, 130/45 of the width."""
    assert float(wire.sheet_ohm(130)) == near(0.208 * 45 / 130)
    assert float(wire.half_pitch_m(130)) == near(80e-9 * 130 / 45)


def test_settling_of_a_line_against_its_equations() -> None:
    """A ladder of 200 sections, integrated: within half a step of 6 bits at the time stated."""
    sections, bits = 200, 6
    # Node k: C dv/dt = (v[k-1] - 2 v[k] + v[k+1]) / R; driven before the first, open at the last.
    ladder = np.diag(np.full(sections, -2.0)) + np.diag(np.ones(sections - 1), 1)
    ladder += np.diag(np.ones(sections - 1), -1)
    ladder[-1, -1] = -1.0
    values, vectors = np.linalg.eigh(ladder * sections**2)  # R = C = 1 in all
    start = vectors.T @ np.full(sections, -1.0)

    def missing(time: float) -> float:
        return float(-(vectors @ (np.exp(values * time) * start))[-1])

    time = float(wire.settling_s(1.0, 1.0, bits))
    assert missing(time) == near(2.0 ** -(bits + 1), rel=0.05)


def test_line_settling_by_hand() -> None:
    """HERMES, 256 x 256, 8 bits. Word line 89.6 ohm, 102.4 fF; bit line 89.6 ohm, 131 fF.

    Bit line: 256 x 2.0857 um, and to 1.92 banks of converters of 498.6 um in all 119.3 um, at
    0.2 fF/um: 130.6 fF. Both times 4/pi^2 x ln(4/pi x 512) = 2.626: 24.1 ps and 30.7 ps.
    """
    tile = load_tile("hermes-core")
    word = 89.6 * 102.4e-15 * 4 / math.pi**2 * math.log(4 / math.pi * 512)
    bit = 89.6 * 130.66e-15 * 4 / math.pi**2 * math.log(4 / math.pi * 512)
    assert float(line_settling_s(tile)) == near(word + bit, rel=1e-3)
    assert float(line_settling_s(tile)) == near(54.8e-12, rel=0.01)


def test_narrow_wires_of_a_large_array_settle_slowly() -> None:
    """Four times the time for twice the side: resistance and capacitance grow alike."""
    technology = dataclasses.replace(load_technology("pcm-14nm"), adc_pitch_m=0.0)
    one, two = (float(line_settling_s(Tile(technology, n, n))) for n in (512, 1024))
    assert two == near(4 * one)


def test_few_bits_do_not_end_the_integration() -> None:
    """40 ns on PCM, and lines: 5-bit inputs of 16 slots of 0.75 ns would have been 12 ns."""
    for bits in (1, 3, 5, 6):
        tile = Tile("pcm-3d", 512, 512, 1, bits, bits)
        latency = tile_latency_s(tile)
        assert float(latency["integration"]) == near(float(integration_floor_s(tile)))
        assert float(latency["integration"]) > 40e-9
    eight = tile_latency_s(Tile("pcm-3d", 512, 512, 1, 8, 8))
    assert float(eight["integration"]) == near(128 * 0.75e-9)


def test_a_projection_does_not_outdo_its_source_eleven_times() -> None:
    """1024 x 1024 at 5 bits: 16 ns and 593 TOPS/W before; its source shows 52.4 at 8 bits.

    Four times the cells, half the converters a cell, and an eighth of the counts of 8 bits are what
    remains: 3.2 times.
    """
    source = 2 * 512**2 / 10e-9
    tile = Tile("pcm-3d", 1024, 1024, 1024, 5, 5)
    efficiency = 2 * 1024**2 / total(tile_energy_j(tile))
    assert total(tile_latency_s(tile)) > 40e-9
    assert 1 < efficiency / source < 3.5
    assert beyond_source_text(tile) == ["rows+cols"]


# --- IR drop ----------------------------------------------------------------------------------


def network(conductance_s: Matrix, row_ohm: float, column_ohm: float) -> Matrix:
    """Current of each column for a volt on each row [rows, cols]: Kirchhoff at every node.

    Rows are driven at their first cell's side, columns held at zero after their last cell.
    """
    rows, cols = conductance_s.shape
    word = np.arange(rows * cols).reshape(rows, cols)
    bit = word + rows * cols
    links = [(word, bit, conductance_s)]
    links.append((word[:, 1:], word[:, :-1], np.full((rows, cols - 1), 1 / row_ohm)))
    links.append((bit[1:], bit[:-1], np.full((rows - 1, cols), 1 / column_ohm)))
    diagonal = np.zeros(2 * rows * cols)
    row, col, value = [], [], []
    for one, other, siemens in links:
        a, b, g = one.ravel(), other.ravel(), siemens.ravel()
        np.add.at(diagonal, a, g)
        np.add.at(diagonal, b, g)
        row += [a, b]
        col += [b, a]
        value += [-g, -g]
    diagonal[word[:, 0]] += 1 / row_ohm
    diagonal[bit[-1]] += 1 / column_ohm
    row.append(np.arange(2 * rows * cols))
    col.append(row[-1])
    value.append(diagonal)
    system = scipy.sparse.csc_matrix(
        (np.concatenate(value), (np.concatenate(row), np.concatenate(col)))
    )
    driven = np.zeros((2 * rows * cols, rows))
    driven[word[:, 0], np.arange(rows)] = 1 / row_ohm
    voltage = scipy.sparse.linalg.splu(system).solve(driven)
    return voltage[bit[-1]].T / column_ohm


def calibrated(weight: Matrix, kept: Matrix) -> Matrix:
    """Each column [outputs, inputs] scaled so that it fits its weights best."""
    return kept * ((weight * kept).sum(1) / (kept**2).sum(1))[:, None]


def relative(error: Matrix, weight: Matrix) -> float:
    return float(np.sqrt((error**2).mean() / (weight**2).mean()))


LEVELS = [
    # conductance of a full weight, ohm a cell, mean drop of both lines, agreement of the error
    (10e-6, 0.35, 0.0007, 0.03),
    (25e-6, 2.0, 0.010, 0.03),
    (25e-6, 8.0, 0.039, 0.05),
    (50e-6, 15.0, 0.133, 0.10),
    (90e-6, 20.0, 0.273, 0.20),
]


@pytest.mark.parametrize(("full_s", "ohm", "lost", "agreement"), LEVELS)
def test_ir_drop_against_a_resistor_network(
    full_s: float, ohm: float, lost: float, agreement: float
) -> None:
    """Signed weights on two bit lines each, 48 x 32: what remains after calibration.

    `agreement`: the difference of the closed form and the network over the network's error, 3 to
    4 % where up to 4 % of the current is lost, 9 % at 13 %, 18 % at 27 %.
    """
    generator = np.random.default_rng(0)
    weight = np.clip(generator.normal(size=(32, 48)) / 3, -1, 1)  # [outputs, inputs]
    # Positive and negative lines have separate columns of the network, on the same word lines.
    pairs = np.empty((48, 64))
    pairs[:, 0::2], pairs[:, 1::2] = np.maximum(weight.T, 0), np.maximum(-weight.T, 0)
    # The word line passes two columns a weight, so each of them is half its length.
    current = network(full_s * pairs, ohm / 2, ohm)
    kept = (current[:, 0::2] - current[:, 1::2]).T / full_s
    assert 1 - (kept * weight).sum() / (weight**2).sum() == near(lost, rel=0.05)
    exact = calibrated(weight, kept)
    drops = ohm * full_s * 32**2, ohm * full_s * 48**2
    ours = with_ir_drop(torch.tensor(weight), (48,), *drops).numpy()
    assert relative(ours - exact, exact - weight) < agreement
    assert relative(ours - weight, weight) == near(relative(exact - weight, weight), rel=agreement)


def test_ir_drop_of_two_cells_by_hand() -> None:
    """Two equal inputs, outputs of weights 1 and 0.5; D_w = 0.4, D_b = 0.1.

    Word line, m = 2: 0.4/4 x (1 x 1 + 1 x 0.5) = 0.15 at the first cell, 0.4/4 x (1 x 1 + 2 x 0.5)
    = 0.2 at the second. Bit line, n = 2, the rows two and one from the foot: 0.1/4 x (2 + 1) w =
    0.075 w and 0.1/4 x (1 + 1) w = 0.05 w. Then each column is scaled to fit its weights best.
    """
    weight = torch.tensor([[1.0, 1.0], [0.5, 0.5]], dtype=torch.float64)
    word = torch.tensor([[0.15], [0.2]], dtype=torch.float64)
    bit = torch.tensor([[0.075, 0.05], [0.0375, 0.025]], dtype=torch.float64)
    fell = weight / (1 + word + bit)
    gain = (weight * fell).sum(1) / (fell**2).sum(1)
    assert torch.allclose(with_ir_drop(weight, (2,), 0.4, 0.1), fell * gain[:, None])


def test_ir_drop_of_experts_and_blocks_is_that_of_each() -> None:
    torch.manual_seed(3)
    weight = torch.randn(3, 5, 12)
    together = with_ir_drop(weight, (7, 5), 0.3, 0.2)
    for expert in range(3):
        alone = [
            with_ir_drop(part, (part.shape[1],), 0.3, 0.2)
            for part in weight[expert].split((7, 5), 1)
        ]
        assert torch.allclose(together[expert], torch.cat(alone, dim=1), atol=1e-6)
    assert torch.isfinite(with_ir_drop(torch.zeros(2, 3, 4), (4,), 0.3, 0.2)).all()


def test_programmed_weights_lose_what_wires_take() -> None:
    """After programming, whatever the draw; none of it changes where drops are zero."""
    torch.manual_seed(5)
    weight = torch.randn(4, 24, 30)

    def written(**drops: float) -> torch.Tensor:
        noise = Noise("pcm", time_s=3600.0, tile_rows=15, **drops)
        made = program(weight, (15, 15), noise, generator=torch.Generator().manual_seed(9))
        return made.weight

    clean = written()
    dropped = written(word_line_drop=0.5, bit_line_drop=0.4)
    assert torch.equal(dropped, with_ir_drop(clean, (15, 15), 0.5, 0.4))
    assert not torch.equal(dropped, clean)


def test_mean_drop_by_hand() -> None:
    """HERMES: 0.35 ohm x 20.7 uS x 0.25 x 257 x 513 / 6 = 0.0398 on the word line.

    On a bit line half of the weights (one polarity) and half of the time: 0.00995.
    """
    drops = ir_drops(load_tile("hermes-core"))
    word = 0.35 * 20.7e-6 * 0.25 * 257 * 513 / 6
    assert float(drops["word_line"]) == near(word) == near(0.0398, rel=1e-3)
    assert float(drops["bit_line"]) == near(word / 4)
    assert float(ir_drop_error(load_tile("hermes-core"))) == near(word / 4 / math.sqrt(5))


def test_the_closed_error_is_that_of_uniform_columns() -> None:
    """Equal weights of one sign, calibrated: D (2u - u^2) spreads by 1/sqrt(5) of its mean."""
    drop = 0.01
    weight = torch.ones(1, 400, dtype=torch.float64)
    error = (with_ir_drop(weight, (400,), 0.0, drop) - weight).std(correction=0)
    mean = drop * (401 * 801 / 6) / 400**2
    assert float(error) == near(mean / math.sqrt(5), rel=0.02)


def test_line_drops_scale_a_block_to_a_tile() -> None:
    """r G n^2, and half of the time on a bit line; half a column block, a quarter of the drop."""
    tile = Tile("pcm-3d", 512, 256)
    word, bit = line_drops(tile)
    assert float(word) == near(0.35 * 25e-6 * 256**2)
    assert float(bit) == near(0.35 * 25e-6 * 512**2 / 2)
    assert float(line_drops(tile, inputs=256)[1]) == near(float(bit) / 4)


@given(st.sampled_from(["pcm-14nm", "pcm-3d", "rram-22nm"]), st.floats(0.005, 0.3))
@settings(max_examples=40, deadline=None)
def test_largest_rows_is_the_last_within_the_error(name: str, error: float) -> None:
    most = int(largest_rows(Tile(name, 128, 128), error))
    assert float(ir_drop_error(Tile(name, most, 128))) <= error
    assert float(ir_drop_error(Tile(name, most + 1, 128))) > error


def test_no_current_no_limit() -> None:
    tile = Tile("sram-16nm", 512, 64)
    assert np.isinf(largest_rows(tile))
    assert total(ir_drops(tile)) == 0


def test_wires_take_energy() -> None:
    """HERMES' array gives 4.98 % more than its cells take: 0.0398 + 0.00995."""
    tile = load_tile("hermes-core")
    without = dataclasses.replace(tile.technology, full_conductance_s=0.0)
    cells = tile_energy_j(dataclasses.replace(tile, technology=without))["array"]
    assert float(tile_energy_j(tile)["array"] / cells) == near(1.0498, rel=1e-4)


# --- Tiers --------------------------------------------------------------------------------------


def test_leaking_tiers_by_hand() -> None:
    """1023 other tiers at 1/40000 each: 2.56 %; 5 % would take 2001 of them, 1e3 only 51."""
    tiers = np.array([1, 512, 1024])
    leak = tier_leakage(Tile("pcm-3d", 512, 512, tiers))
    assert leak == near([0.0, 511 / 4e4, 1023 / 4e4])
    technology = load_technology("pcm-3d")
    assert largest_tiers(technology, 0.01) == 401
    assert largest_tiers(technology, 0.05) == 1024  # what the technology allows
    worse = dataclasses.replace(technology, tier_on_off_ratio=1e3)
    assert largest_tiers(worse, 0.05) == 51
    assert largest_tiers(load_technology("pcm-14nm"), 0.05) == 1


# --- Converters -----------------------------------------------------------------------------------


def test_thermal_floor_of_converters() -> None:
    """Murmann's survey, 10 MS/s and more: 0.30, 1.11, 4.61 pJ at 6, 7, 8 effective bits.

    A converter of b nominal bits has about b - 1 effective ones. The regression's 0.36 pJ at 8 bits
    and 14 nm lies below them all.
    """
    published = {7: 0.300e-12, 8: 1.11e-12, 9: 4.61e-12}
    for bits, energy in published.items():
        assert float(adc.floor_energy_j(bits)) == near(energy, rel=0.08)
    assert float(adc.floor_energy_j(8) / adc.floor_energy_j(7)) == near(4)
    assert float(adc.survey_energy_j(8, 1e8, 14)) < 0.4 * float(adc.floor_energy_j(8))
    # ENOB 9 and 12: 5.22 and 4.10 pJ, to 10 %. Far above, thermal noise itself: 4 times a bit.
    assert (
        float(adc.floor_energy_j(10)) < 5.22e-12 and float(adc.floor_energy_j(13)) < 1.1 * 4.1e-12
    )
    high = adc.floor_energy_j(np.array([15, 16]))
    assert high[1] / high[0] == near(4, rel=0.01)


@pytest.mark.parametrize("kind", adc.KINDS)
def test_every_kind_of_converter_has_the_floor(kind: str) -> None:
    low = adc.energy_j(kind, 8, 7, 1e-9, 1e-18, 1e-3, 0.5)
    assert float(low) == near(1.11e-12)
    assert float(adc.energy_j(kind, 8, 7, 1e-9, 1e-18, 1e-3, 0.5, floor_factor=0.0)) < 1e-14


def test_the_floor_reaches_tiles_but_not_fitted_silicon() -> None:
    """rram-22nm, 8 bits: (0.8 + 0.0655) pJ x 22/28 x 0.64 x its fitted factor lies below 1.11."""
    technology = load_technology("rram-22nm")
    factor = float(technology.adc_energy_factor)
    tile = Tile(dataclasses.replace(technology, adc_pitch_m=0.0), 128, 128)
    column = (0.8e-12 + 1e-18 * 4**8) * 22 / 28 * 0.64 * factor
    assert 0.3e-12 < column < 1.11e-12
    assert float(tile_energy_j(tile)["adc"]) == near(8 * 128 * 1.11e-12)
    free = dataclasses.replace(tile.technology, adc_floor_factor=0.0)
    without = tile_energy_j(dataclasses.replace(tile, technology=free))["adc"]
    assert float(without) == near(8 * 128 * column)


def test_an_integrating_converter_draws_current_as_long_as_it_integrates() -> None:
    """5 bits, 32 counts of 300 ps in 9.6 ns; at 40 ns as much as 133 counts."""
    short = adc.energy_j("cco", 5, 14, 300e-12, 45.8e-15)
    long = adc.energy_j("cco", 5, 14, 300e-12, 45.8e-15, least_time_s=40e-9)
    assert float(short) == near(32 * 45.8e-15)
    assert float(long) == near(40 / 0.3 * 45.8e-15)
    assert float(adc.energy_j("cco", 8, 14, 300e-12, 45.8e-15, least_time_s=40e-9)) == (
        near(256 * 45.8e-15)
    )


def test_thermal_floor_of_levels() -> None:
    """kT/C noise as large as that of 8-bit steps: 12 x 4.14e-21 J x 65536 = 3.26 fJ."""
    assert float(dac.level_floor_j("level", 8)) == near(3.26e-15, rel=0.01)
    assert float(dac.level_floor_j("pwm", 8)) == 0


def test_wires_to_converters_by_hand() -> None:
    """3D tile: 512 converters of 1040 um2 in a square of 729.7 um, under 72.4 um of columns.

    Sideways (729.7 - 72.4) / 4 = 164.3 um on average. Abreast they are 2048 um: 2.807 banks, on
    average 729.7 x (1 - 1/2.807) / 2 = 234.9 um deep. 399.2 um of 0.2 fF/um at 0.8 V: 51.1 fJ.
    The channel: 256 wires at 64 nm times the 657.3 um by which they spread.
    """
    tile = load_tile("aimc-3d")
    length, side = converter_wires_m(tile)
    assert float(side) == near(math.sqrt(512 * 1040e-12))
    assert float(length) == near(399.2e-6, rel=1e-3)
    assert float(converter_wire_energy_j(tile)) == near(51.1e-15, rel=1e-3)
    assert float(converter_wire_area_m2(tile)) == near(256 * 64e-9 * 657.3e-6, rel=1e-3)
    assert float(tile_area_mm2(tile)["wires"]) == near(0.01077, rel=1e-3)


def test_wires_and_levels_reach_the_tile() -> None:
    """A conversion of the 3D tile takes 256 counts and its wire; a level at least 12 kT 4^bits."""
    tile = load_tile("aimc-3d")
    counts = 256 * 45.8e-15
    assert float(unit_energy_j(tile)["adc"]) == near(counts + 51.1e-15, rel=1e-4)
    free = dataclasses.replace(tile.technology, driver_slot_energy_j=0.0, row_capacitance_f=0.0)
    levels = Tile(free, 512, 512, input_mode="level")
    assert float(unit_energy_j(levels)["input"]) == near(12 * 4.142e-21 * 4**8, rel=1e-3)


def test_no_wires_where_converters_fit() -> None:
    """Sixteen columns of 2.09 um share a converter of 4 um: side by side, no way to go."""
    shared = dataclasses.replace(load_tile("hermes-core"), columns_per_adc=16)
    assert float(converter_wires_m(shared)[0]) == float(converter_wire_energy_j(shared)) == 0
    assert float(converter_wire_area_m2(load_tile("hermes-core"))) == 0  # banks below the array
    assert float(converter_wires_m(load_tile("hermes-core"))[0]) > 0


# --- What a source has shown --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "beyond"),
    [
        ({}, ""),
        ({"rows": 1024}, "rows"),
        ({"cols": 513, "tiers": 2}, "cols"),
        ({"dac_bits": 9, "adc_bits": 10}, "dac_bits+adc_bits"),
        ({"rows": 128, "dac_bits": 4}, ""),
    ],
)
def test_beyond_its_source(changes: dict, beyond: str) -> None:
    """The projection shows 512 x 512 x 1024 at 8 bits."""
    tile = dataclasses.replace(load_tile("aimc-3d"), **changes)
    assert beyond_source_text(tile) == [beyond]
    assert bool(is_beyond_source(tile)) == bool(beyond)
    assert {name for name, flag in beyond_source(tile).items() if flag} == (
        set(beyond.split("+")) - {""}
    )


def test_beyond_its_source_for_arrays_and_where_nothing_is_stated() -> None:
    technologies = [load_technology("pcm-14nm"), load_technology("pcm-3d")]
    together = stack_technologies(technologies, np.array([0, 1, 0]))
    tile = Tile(together, np.array([512, 512, 256]), 256, 1)
    assert is_beyond_source(tile).tolist() == [True, False, False]
    assert beyond_source_text(tile) == ["rows", "", ""]
    silent = {f"shown_{name}": 0.0 for name in SHOWN}
    unstated = dataclasses.replace(technologies[0], **silent)
    assert not is_beyond_source(Tile(unstated, 4096, 4096))


@pytest.mark.parametrize("name", ["hermes-core", "aimc-3d", "neurram", "isaac"])
def test_published_tiles_are_not_beyond_their_source(name: str) -> None:
    assert not is_beyond_source(load_tile(name))
