"""The sweep of converter ranges on a small random model."""

from dataclasses import replace

import model_fixture
import numpy as np
import pytest

from dse.simulation.calibration import sweep
from dse.simulation.converter_ranges import BITS, ROWS, record, with_ranges
from dse.simulation.simulator import Noise, Simulator
from workloads.architecture import load_model
from workloads.checkpoint import load_miniature
from workloads.tasks import benchmarks


@pytest.fixture(scope="module")
def simulator():
    miniature = model_fixture.random_miniature()
    sets = model_fixture.token_sets(miniature)
    return Simulator(miniature, sets, seeds=1, calibration_tokens=sets[0].tokens[:, :-1])


def test_the_chosen_pair_is_the_one_of_lowest_loss(simulator):
    seen = []
    noise = Noise("rram", 2.0, adc_bits=6)
    result = sweep(
        simulator,
        noise,
        input_ranges=(0.5, 4.0, 8.0),
        output_ranges=(0.1, 2.0),
        progress=lambda done, total: seen.append((done, total)),
    )
    table = result.table
    best = table.loc[table["delta_loss_nats"].idxmin()]
    assert (result.noise.input_range_std, result.noise.output_range) == (
        best["input_range_std"],
        best["output_range"],
    )
    assert result.noise.noise_model == "rram" and result.noise.magnitude == 2.0
    assert table["chosen"].sum() == 1 and len(table) == 6
    assert seen == [(index, 6) for index in range(1, 7)]
    assert (table["above_best_nats"] >= 0).all()


def test_ranges_that_clip_most_inputs_distort_most(simulator):
    """Loss at chance cannot show it: compare how far the states move from the clean ones."""
    moved = []
    for kappa in (0.1, 1.0, 6.0):
        noise = Noise(magnitude=0.0, input_range_std=kappa, output_range=4.0)
        placed = simulator.placed(noise, ~simulator.all_digital(), frozenset(), 0, 1)
        shape = tuple(simulator._inputs.shape)
        states = placed.layers(simulator._clean_hidden[0], 0, shape).detach()
        moved.append((states - simulator._clean_hidden[-1]).norm().item())
    assert all(np.diff(moved) < 0)


def test_an_empty_sweep_and_a_bad_range_are_refused(simulator):
    with pytest.raises(ValueError, match="at least one value"):
        sweep(simulator, Noise(), input_ranges=())
    with pytest.raises(ValueError, match="input_range_std is -1"):
        sweep(simulator, Noise(), input_ranges=(-1.0,))


@pytest.mark.parametrize(
    ("name", "rows"), [("deepseekmoe-mini", 512), ("olmoe-mini", 512), ("olmoe-mini", 128)]
)
def test_shipped_ranges_cost_no_clear_loss_against_a_wider_sweep(name, rows):
    """The text that accuracy is reported on played no part in the choice."""
    miniature = load_miniature(name)
    sets = benchmarks(miniature, tokens=1536, split="test")
    simulator = Simulator(miniature, sets, load_model(name.removesuffix("-mini")), seeds=1)
    shipped = with_ranges(Noise(tile_rows=rows, dac_bits=8, adc_bits=5), name)
    ranges = (0.5, 1.0, shipped.output_range, 4.0)
    table = sweep(
        simulator,
        shipped,
        input_ranges=(shipped.input_range_std,),
        output_ranges=tuple(sorted(set(ranges))),
    ).table.set_index("output_range")
    own = table.loc[shipped.output_range]
    assert own["above_best_nats"] <= 3.5 * own["above_best_stderr"]


def test_ranges_by_resolution_are_recorded_and_unknown_models_keep_theirs():
    noise = Noise("rram", dac_bits=6, adc_bits=4, tile_rows=256)
    chosen = with_ranges(noise, "olmoe-mini")
    said = record("olmoe-mini")
    assert chosen.input_range_std == said["input_range_std_by_dac_bits"]["6"]
    lambdas = said["output_range_by_rows_and_adc_bits"]
    assert chosen.output_range == lambdas["256"]["4"]
    assert (chosen.noise_model, chosen.tile_rows) == ("rram", 256)
    assert "calibration" in said["source"] and set(lambdas) == {str(rows) for rows in ROWS}
    assert all(set(values) == {str(bits) for bits in BITS} for values in lambdas.values())
    assert (
        with_ranges(replace(noise, tile_rows=300), "olmoe-mini").output_range
        == (lambdas["256"]["4"])
    )
    finest = with_ranges(Noise(dac_bits=None, adc_bits=14), "olmoe-mini")
    assert finest.output_range == lambdas["512"]["10"]
    assert with_ranges(noise, "my own") is noise and record("my own")["source"] == "defaults"
