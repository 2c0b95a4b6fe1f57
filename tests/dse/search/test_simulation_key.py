"""Keys of simulations: no two that differ share a number, whatever the question."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_fixture import small_problem

from dse.placement.parts import ANALOG_PARTS
from dse.search.costing import cost
from dse.search.simulation_key import CLEAN, Key, KeySpace, bits_of, least_loss, parts_of
from dse.simulation.result import Simulated
from workloads.architecture import model_names


def key_space(orders: int = 3, parts: int = len(ANALOG_PARTS), experts: int = 256) -> KeySpace:
    """A question with so many orders, dense parts and experts in its miniature."""
    return KeySpace(
        {
            "analog_modules": range(2**parts),
            "noise_model": ["hermes", "pcm", "rram"],
            "tile_rows": range(16, 8193)[::-1],
            "dac_bits": range(1, 13),
            "adc_bits": range(2, 15),
            "digital_weight_bits": (4, 8, 16),
            "kv_bits": (8, 16),
            "order": [(f"score {n}", "global") for n in range(orders)],
            "digital": range(experts + 1),
        }
    )


@given(data=st.data(), orders=st.integers(1, 100), parts=st.integers(1, 9))
def test_a_number_stands_for_one_key_and_a_key_for_one_number(data, orders, parts):
    keys = key_space(orders, parts)
    fields = {name: st.integers(0, len(values) - 1) for name, values in keys.values.items()}
    drawn = data.draw(st.lists(st.fixed_dictionaries(fields), min_size=1, max_size=20))
    digits = {name: np.array([one[name] for one in drawn]) for name in Key._fields}
    codes = keys.pack(digits)
    assert len(np.unique(codes)) == len({tuple(one.values()) for one in drawn})
    for code, one in zip(codes.tolist(), drawn, strict=True):
        expected = {name: values[one[name]] for name, values in keys.values.items()}
        assert keys.key(code)._asdict() == expected
    for name, column in keys.unpack(codes).items():
        assert column.tolist() == digits[name].tolist()


def test_a_value_that_a_field_lacks_is_refused_and_never_taken_for_another():
    keys = key_space()
    with pytest.raises(ValueError, match="tile_rows 15 is none that a simulation can have"):
        keys.digits("tile_rows", np.array([16, 15]))
    digits = dict.fromkeys(Key._fields, np.array([0]))
    with pytest.raises(ValueError, match="order has 3 values, not a number 3"):
        keys.pack(digits | {"order": np.array([3])})
    with pytest.raises(ValueError, match="too many to be told apart"):
        KeySpace({**keys.values, "order": range(10**12)})
    with pytest.raises(ValueError, match="no key"):
        keys.key(CLEAN)


def test_dense_parts_as_bits_and_back():
    for bits in range(2 ** len(ANALOG_PARTS)):
        assert bits_of(parts_of(bits)) == bits


@pytest.mark.parametrize("model", model_names())
def test_every_height_of_a_tile_has_simulations_of_its_own(model):
    rows = [2**n for n in range(4, 14)]
    problem = small_problem(None, 8000.0, model, choices={"tile_rows": rows})
    costed = cost(problem, problem.space.random(300, np.random.default_rng(0)))
    for code in np.unique(costed.codes[costed.codes != CLEAN]).tolist():
        one = costed.codes == code
        assert set(costed.columns["tile_rows"][one]) == {problem.keys.key(code).tile_rows}
    used = problem.keys.column("tile_rows", costed.codes[costed.codes != CLEAN])
    assert set(used) == set(costed.columns["tile_rows"][costed.codes != CLEAN])


def test_designs_without_tiles_differ_by_their_precision_alone():
    """Nothing analog: tiles, converters and order are of no account, and 16 bits lose nothing."""
    bits = {"digital_weight_bits": [4, 8, 16], "kv_bits": [8, 16]}
    none = {"digital_expert_fraction": [1.0], "analog_modules": ["none"]}
    problem = small_problem(choices=bits | none)
    costed = cost(problem, problem.space.random(500, np.random.default_rng(0)))
    named = [costed.columns[name].tolist() for name in bits]
    found = {}
    for weights, cache, code in zip(*named, costed.codes.tolist(), strict=True):
        assert found.setdefault((weights, cache), code) == code
    assert found[16, 16] == CLEAN and len(set(found.values())) == len(found) == 6


def test_more_digital_experts_are_no_bound_where_digital_ones_lose_themselves():
    keys = key_space()
    digits = {name: np.zeros(2, dtype=int) for name in Key._fields} | {
        "digital": np.array([10, 20])
    }
    for bits, bound in ((2, 0.5), (0, 0.0)):  # 16 bits, 4 bits
        digits["digital_weight_bits"] = np.full(2, bits)
        few, many = keys.pack(digits)
        known = {int(many): Simulated(delta_loss_nats=0.5, delta_loss_stderr=0.0)}
        assert least_loss(keys, np.array([few]), known) == [bound]
