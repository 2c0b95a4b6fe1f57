"""Ranges of a design's cost: against closed forms, the formulas at hand, and themselves."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from search_fixture import small_problem

from dse.cost import uncertainty
from dse.cost.recorded import run_model
from dse.cost.uncertainty import QUANTITIES, Effects, combine
from dse.cost.workload import Traffic
from dse.placement.parts import read_parts
from dse.runs.tornado import position
from dse.search.costed_table import costed_frame
from dse.search.setup import expert_table
from dse.search.smallest import exact_fit


@pytest.fixture(scope="module")
def designs():
    """Forty random designs, half of them with every expert digital, and their effects."""
    problem = small_problem()
    space = problem.space
    indices = space.random(40, np.random.default_rng(3))
    share = space.names.index("digital_expert_fraction")
    indices[::2, share] = len(space["digital_expert_fraction"].choices) - 1
    indices[::2, space.names.index("analog_modules")] = 0
    costed = exact_fit(problem, indices)
    table = costed_frame(problem, costed, {})
    table["trial"] = np.arange(len(table))
    table["is_recommended"] = np.arange(len(table)) == 7
    model = run_model(problem.architecture, problem.traffic, expert_table(problem))
    return table, uncertainty.effects(model, table)


def test_every_design_is_costed_again(designs):
    """The run's tables hold all that its costs depend on."""
    table, found = designs
    recorded = np.stack([table[name].to_numpy(dtype=float) for name in QUANTITIES])
    assert np.allclose(found.values, recorded, rtol=1e-9)


def test_ranges_hold_the_value(designs):
    _, found = designs
    low, high = found.ranges()
    assert np.isfinite(low).all() and (low > 0).all()
    assert (low <= found.values).all() and (found.values <= high).all()
    spread = low < high
    assert spread[[0, 2]].all()
    assert spread[1].mean() > 0.9  # no constant of a tile's speed is uncertain


def test_memory_energy_by_hand(designs):
    """A byte of memory that costs a factor more moves its components by that factor."""
    table, found = designs
    place = [one.name for one in found.constants].index("memory_energy_j_per_byte")
    one = found.constants[place]
    moved = ("weight_memory", "kv_cache", "spill")
    memory = sum(table[f"energy_component_{name}_j_per_token"] for name in moved)
    memory = memory.to_numpy(dtype=float)
    energy = table["energy_j_per_token"].to_numpy(dtype=float)
    for end, value in enumerate((one.low, one.high)):
        expected = 1 + memory / energy * (value / one.nominal - 1)
        assert np.allclose(np.exp(found.log_change[place, end, 0]), expected, rtol=1e-9)
    assert np.all(found.log_change[place, :, 1:] == 0)


def test_area_of_mac_array_by_hand(designs):
    table, found = designs
    place = [one.name for one in found.constants].index("mac_area_factor")
    one = found.constants[place]
    mac = table["area_component_accelerator_mac_mm2"].to_numpy(dtype=float)
    area = table["area_mm2"].to_numpy(dtype=float)
    # The network on the chip takes 7 % of what it connects.
    expected = 1 + 1.07 * mac / area * (one.high / one.nominal - 1)
    assert np.allclose(np.exp(found.log_change[place, 1, 2]), expected, rtol=1e-9)


def test_constants_move_only_their_technology(designs):
    table, found = designs
    technology = table["technology"].astype(object).to_numpy()
    for owner, change in zip(found.owners, found.log_change, strict=True):
        if owner != "edge-7nm":
            others = np.array([name != owner for name in technology])
            assert np.all(change[..., others] == 0), owner


def test_no_tile_no_tile_constants(designs):
    table, found = designs
    bare = table["technology"].isna().to_numpy()
    assert bare.sum() >= 10
    tiles = [owner != "edge-7nm" for owner in found.owners]
    assert np.all(found.log_change[tiles][..., bare] == 0)


def test_one_design_alone_as_among_others(designs):
    table, found = designs
    problem = small_problem()
    model = run_model(problem.architecture, problem.traffic, expert_table(problem))
    alone = uncertainty.effects(model, table.iloc[[11]])
    assert np.array_equal(alone.values[:, 0], found.values[:, 11])
    for end, other in zip(alone.ranges(), found.ranges(), strict=True):
        # Constants of technologies that a design alone lacks change nothing but how a sum rounds.
        assert np.allclose(end[:, 0], other[:, 11], rtol=1e-14, atol=0)


def test_analog_modules_are_costed_as_recorded():
    problem = small_problem(choices={"analog_modules": ["lm_head+attention"]})
    indices = problem.space.random(3, np.random.default_rng(1))
    table = costed_frame(problem, exact_fit(problem, indices), {})
    assert (table["analog_modules"] == "attention+lm_head").all()
    table["analog_modules"] = "none"
    model = run_model(problem.architecture, problem.traffic, expert_table(problem))
    wrong = uncertainty.effects(model, table)
    assert np.isnan(wrong.values).all()  # not the machine that the table names
    table["analog_modules"] = "attention+lm_head"
    assert np.isfinite(uncertainty.effects(model, table).values).all()


def test_another_workload_is_noticed(designs):
    table, _ = designs
    problem = small_problem()
    other = run_model(problem.architecture, Traffic(33), expert_table(problem))
    found = uncertainty.effects(other, table)
    assert np.isnan(found.values).all()
    with pytest.raises(ValueError, match="another version"):
        uncertainty.tornado(found, 7)


def test_table_and_tornado(designs):
    table, found = designs
    ranged = uncertainty.with_ranges(table, found, 7)
    assert len(ranged) == len(table)
    own = ranged.iloc[7]
    for name in QUANTITIES:
        assert own[f"{name}_low"] <= own[name] <= own[f"{name}_high"]
        assert own[f"{name}_ratio_low"] == own[f"{name}_ratio_high"] == 1
    drawn = uncertainty.tornado(found, 7)
    change = drawn[[f"energy_j_per_token_change_{end}" for end in ("low", "high")]]
    assert change.abs().max(axis=1).is_monotonic_decreasing
    # The bars of the table are those of the tornado, put together by hand.
    log = np.log1p(change.to_numpy())
    up = np.sqrt((np.maximum(log.max(axis=1), 0) ** 2).sum())
    high = own["energy_j_per_token"] * np.exp(up)
    assert own["energy_j_per_token_high"] == pytest.approx(high)
    assert (drawn["source"].str.len() > 10).all()


def test_position_of_trials():
    table = pd.DataFrame({"trial": [3, 8], "is_recommended": [False, True]})
    assert position(table, None) == 1
    assert position(table, 3) == 0
    with pytest.raises(ValueError, match="nearest is 8"):
        position(table, 9)
    with pytest.raises(ValueError, match="--trial"):
        position(table.iloc[:1], None)


changes = arrays(np.float64, (4, 2, 3, 5), elements=st.floats(-2, 2))


@given(changes, st.integers(0, 4))
@settings(max_examples=50, deadline=None)
def test_properties_of_combined_ranges(change, chosen):
    """No less than any one constant, no more than all at once; what is shared cancels."""
    down, up = combine(change)
    assert np.all(up >= change.max(axis=(0, 1)).clip(0) - 1e-12)
    assert np.all(up <= np.maximum(change.max(axis=1), 0).sum(axis=0) + 1e-12)
    flipped_down, flipped_up = combine(-change)
    assert np.allclose(down, flipped_up) and np.allclose(up, flipped_down)
    values = np.full((3, 5), 2.0)
    shared = np.repeat(change[..., :1], 5, axis=-1)
    ratios = Effects((), (), shared, values).ratio_ranges(chosen)
    assert np.allclose(ratios, 1)
    low, high = Effects((), (), change, values).ratio_ranges(chosen)
    separate_low, separate_high = Effects((), (), change, values).ranges()
    # Never wider than bars that know nothing of each other, low end against high end.
    widest = separate_high / separate_low[:, chosen : chosen + 1]
    assert np.all(high <= widest * (1 + 1e-9))
    assert np.all(low <= 1 + 1e-12) and np.all(high >= 1 - 1e-12)


def test_parts_of_earlier_runs_are_read():
    """Runs of an earlier version joined analog parts with commas."""
    assert read_parts("attention,lm_head") == read_parts("attention+lm_head")
