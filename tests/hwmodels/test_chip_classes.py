"""Chips as tiles: classes follow from how a macro is built, and what each class does."""

import dataclasses

import pytest
from chip_rows import chip

from hwmodels.chip_model import energy_parts_j, predict
from hwmodels.chip_table import Chip
from hwmodels.chip_tiles import CLASSES, Constants, chip_class, neuron_reads, tile_of
from hwmodels.components import scaling
from hwmodels.fitting import fitted, shipped_chips

NOMINAL = Constants()


def nvm(**changes: object) -> Chip:
    return chip(**{"device": "rram", "node_nm": 22, "bits_per_cell": 1} | changes)


def parts(one: Chip, constants: Constants = NOMINAL) -> dict[str, float]:
    tile = tile_of(one, constants)
    assert tile is not None
    return {name: float(value) for name, value in energy_parts_j(one, constants, tile).items()}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"device": "pcm", "weight_storage": "bit_sliced"}, "sensed macro"),
        ({"device": "rram", "weight_storage": "bit_sliced"}, "sensed macro"),
        ({"device": "flash", "kind": "simulation"}, "sliced study"),
        ({"device": "pcm", "weight_storage": "analog", "input_mode": "pulse_width"}, "pulse width"),
        ({"device": "rram", "weight_storage": "analog", "readout": "oscillator"}, "pulse width"),
        (
            {"device": "rram", "weight_bits": None, "readout": "integrating_neuron"},
            "integrating neuron",
        ),
        ({"device": "rram", "weight_bits": None}, "sampled analog"),
        ({"device": "mram", "readout": "adder_tree"}, "digital"),
        ({"column_sum": "capacitors"}, "charge domain"),
        ({"column_sum": "ladder"}, "charge domain"),
        ({"device": "edram"}, "bit-line discharge"),
        ({}, "bit-line discharge"),
        ({"column_sum": "current"}, "bit-line current"),
        ({"readout": "adder_tree"}, "digital"),
    ],
)
def test_a_class_says_how_a_macro_is_built(changes: dict[str, object], expected: str) -> None:
    assert chip_class(chip(**changes)) == expected


def test_every_class_has_a_chip() -> None:
    assert {chip_class(one) for one in shipped_chips()} == set(CLASSES)


def test_pcm_with_sliced_weights_is_no_pulse_width_tile() -> None:
    """A 40 nm PCM macro of single bits (ISSCC 2022), 820 TOPS/W: read as a pulse-width tile it is
    off more than twice as far.
    """
    macro = chip("survey60_1")
    wrong = dataclasses.replace(macro, weight_storage="analog", input_mode="pulse_width")
    sensed, pulses = (predict(one, fitted())["tops_per_w"] for one in (macro, wrong))
    assert 2 * pulses < sensed < macro.measured["tops_per_w"]


def test_bits_of_a_sensed_macro_add_up_before_one_conversion() -> None:
    """1, 2 and 4 bits: 9.8, 13.1, 18.3 ns (Xue et al., ISSCC 2020); one overhead, then steps.

    Left to right with the nominal constants: 7 + 2.8 n ns.
    """
    times = [predict(nvm(input_bits=bits), NOMINAL)["latency_s"] for bits in (1, 2, 4)]
    conversion = times[0] - 9.8e-9  # a conversion of 6 bits beyond the last step
    assert 0 <= conversion < 0.1e-9
    assert times[1] - times[0] == pytest.approx(2.8e-9, rel=1e-3)
    assert times[2] - times[1] == pytest.approx(5.6e-9, rel=1e-3)
    one, four = parts(nvm(input_bits=1)), parts(nvm(input_bits=4))
    assert four["array"] == pytest.approx(4 * one["array"])
    assert four["adc"] == pytest.approx(one["adc"])
    serial = parts(nvm(input_bits=4, input_mode="bit_serial"))
    assert serial["adc"] == pytest.approx(4 * one["adc"])


def test_published_energies_of_one_macro_at_several_input_bits() -> None:
    """Four times the input bits of one 22 nm macro cost 2.1 times as much (189 and 395 TOPS/W)."""
    single, four = chip("xue2021_1b1b"), chip("xue2021_4b1b")
    published = single.measured["tops_per_w"] / four.measured["tops_per_w"]
    predicted = [predict(one, fitted())["tops_per_w"] for one in (single, four)]
    assert published == pytest.approx(2.09, abs=0.01)
    assert predicted[0] / predicted[1] == pytest.approx(published, rel=0.25)


def test_two_bits_a_step_halve_the_steps() -> None:
    one, two = nvm(input_bits=8), nvm(input_bits=8, input_bits_per_step=2)
    assert parts(one)["array"] == pytest.approx(2 * parts(two)["array"])


def test_signs_share_a_conversion_and_slices_do_not() -> None:
    """Twice the devices of a column draw twice the current into the same converter."""
    pair = parts(nvm(weight_bits=1, devices_per_weight=2))
    four = parts(nvm(weight_bits=1, devices_per_weight=4))
    assert four["adc"] == pair["adc"] and four["array"] == pytest.approx(2 * pair["array"])
    sliced = parts(nvm(weight_bits=2))
    assert sliced["adc"] == pytest.approx(2 * pair["adc"])


def test_fewer_rows_turned_on_mean_more_conversions() -> None:
    """256 rows in groups of 16 or 64: four times the conversions, the same current."""
    few, many = parts(nvm(rows_at_once=16)), parts(nvm(rows_at_once=64))
    assert few["adc"] == pytest.approx(4 * many["adc"])
    assert few["array"] == pytest.approx(many["array"])
    # Where the row does not say: 6 bits resolve 64 rows of one-bit cells.
    assert parts(nvm(rows_at_once=None))["adc"] == pytest.approx(many["adc"])


def test_an_integrating_neuron_takes_its_integration_time_and_output_steps() -> None:
    """1 us of integration, eight output bits and one start at 10 MHz: 1 + 0.9 us.

    Without a stated integration the pulses of seven magnitude bits: 2^7 - 1 + 8 + 1 = 136 steps.
    """
    built = {"device": "rram", "weight_bits": None, "input_bits": 8, "output_bits": 8}
    built |= {"readout": "integrating_neuron", "clock_hz": 10e6, "rows_at_once": None}
    stated = predict(chip(**built, integration_s=1e-6), NOMINAL)["latency_s"]
    assert stated == pytest.approx(1.9e-6)
    assert predict(chip(**built), NOMINAL)["latency_s"] == pytest.approx(13.6e-6)
    assert neuron_reads(chip(**built, phases=2)) == [(4, 8), (3, 4)]


@pytest.mark.parametrize(
    ("slow", "fast", "published"),
    [("survey63_2", "survey63_1", 4.01), ("survey79_2", "survey79_1", 1.59)],
)
def test_delay_at_low_supply(slow: str, fast: str, published: float) -> None:
    """One macro at two supplies, 0.5 and 0.9 V (digital), 0.85 and 1.2 V (charge domain)."""
    times = [chip(name).measured["latency_s"] for name in (slow, fast)]
    assert times[0] / times[1] == pytest.approx(published, rel=0.01)
    predicted = [predict(chip(name), fitted())["latency_s"] for name in (slow, fast)]
    assert predicted[0] / predicted[1] == pytest.approx(published, rel=0.05)


def test_supply_delay_by_hand() -> None:
    """V / (V - 0.35)^1.5: 0.5 / 0.15^1.5 = 8.607; 0.8 / 0.45^1.5 = 2.650; ratio 3.248."""
    assert float(scaling.supply_delay_factor(0.5)) == pytest.approx(3.248, rel=1e-3)
    assert float(scaling.supply_delay_factor(0.8)) == 1


def test_a_column_read_anew_for_every_level() -> None:
    """31 reads for 5 bits: 31 times the time, and 31 times the energy but for the logic behind."""
    once = {"weight_bits": 1, "input_bits": 1, "readout": "sense_amplifier", "output_bits": 1}
    one, again = chip(**once), chip(**once | {"readout": "repeated_sense", "output_bits": 5})
    assert predict(again, NOMINAL)["latency_s"] == pytest.approx(
        31 * predict(one, NOMINAL)["latency_s"], rel=0.01
    )
    single, repeated = parts(one), parts(again)
    for name in ("array", "adc"):
        assert repeated[name] == pytest.approx(31 * single[name], rel=0.01)


def test_digital_macros_by_hand() -> None:
    """256 inputs, one 4-bit weight, one-bit inputs at 28 nm and 1 V: 256 x 5 adders of 6 gates of
    0.7 fF half the time, 256 x 4 gates a quarter of the time, and flip-flops of three gates: a sum
    of 12 bits twice, one input bit, 256 input registers for 64 columns. Half the rows at once take
    the same adders, and registers twice, of a bit less and half the inputs each.
    """
    built = {"weight_bits": 4, "input_bits": 1, "readout": "adder_tree", "supply_v": 1.0}
    adders, registers = 256 * 5 * 6 * 0.5 + 256 * 4 * 0.25, 3 * (2 * 12 + 1 + 256 / 64)
    for rows, clocked_gates in ((256, registers), (128, 2 * 3 * (2 * 11 + 1 + 128 / 64))):
        energy = predict(chip(**built, rows_at_once=rows), NOMINAL)["energy_j"]
        assert energy == pytest.approx(64 * (adders + clocked_gates) * 0.7e-15)
    built = chip(**built)
    clocked = dataclasses.replace(built, input_bits=8, input_bits_per_step=2, clock_hz=200e6)
    assert predict(clocked, NOMINAL)["latency_s"] == pytest.approx(4 / 200e6)


def test_an_array_counts_no_converters() -> None:
    whole = predict(chip(), NOMINAL)["energy_j"]
    array = predict(chip(counts="array"), NOMINAL)["energy_j"]
    found = parts(chip())
    assert array == pytest.approx(found["input"] + found["array"])
    assert whole == pytest.approx(sum(found.values()))


def test_mram_read_as_currents_is_refused() -> None:
    with pytest.raises(ValueError, match="no model of cells of mram"):
        predict(chip(device="mram"), NOMINAL)
