"""Bits of inputs, weights and converters as people write them."""

import pytest
from chip_rows import BLANK, SAME

from hwmodels import chip_table
from hwmodels.chip_model import Constants, chip_class, predict
from hwmodels.chip_tiles import tile_of
from hwmodels.fitting import fitted


def test_bits_a_cycle_are_not_the_bits_of_an_input() -> None:
    for text in ("4b bit-serial", "bit-serial, 1 b/cycle, 4b", "4 b, 1b per cycle"):
        row = BLANK | SAME | {"mode": "8b ADC", "in_bits": text, "weight_bits_or_levels": "4b"}
        chip = chip_table.parse(row)
        assert (chip.input_bits, chip.input_mode) == (4, "bit_serial"), text
    timed = chip_table.parse(row | {"in_bits": "4 (bit-serial, 50 ns)"})
    assert timed.slot_s == pytest.approx(50e-9)


def test_a_sum_of_many_bits_is_not_a_converter() -> None:
    """ "8b IN/8b W/19b OUT": 2^19 levels are added up digitally; an ADC that is named stays."""
    row = BLANK | SAME | {"mode": "8b IN/8b W/19b OUT, 0.8 V"}
    assert chip_table.parse(row).adc_bits == 8
    assert chip_table.parse(row | {"out_adc_bits": "12b ADC", "mode": "8b-8b"}).adc_bits == 12
    macro = chip_table.parse(row | {"device": "RRAM 1T1R", "mode": "8b IN × 8b W → 14b OUT"})
    assert chip_class(macro) == "sampled macro" and macro.adc_bits == 6
    few = row | {"device": "RRAM", "cell": "SLC", "mode": "8b IN/8b W/19b OUT, 8 rows at once"}
    assert chip_table.parse(few).adc_bits == 4  # sums of 0 to 8


def test_what_a_cell_holds_and_how_it_is_read() -> None:
    macro = BLANK | SAME | {"device": "RRAM", "mode": "8b-in 4b-w 6b ADC"}
    cells = {"2b/cell": 2, "3 bits per cell": 3, "1T1R SLC": 1, "SLC-MLC": None, "": None}
    for cell, bits in cells.items():
        assert chip_table.parse(macro | {"cell": cell}).bits_per_column == bits, cell
    # As few steps as its class takes, where the row does not say that bits come one by one.
    stepped, serial = (chip_table.parse(macro | {"in_bits": t}) for t in ("8", "8 bit-serial"))
    ratio = predict(serial, fitted())["latency_s"] / predict(stepped, fitted())["latency_s"]
    assert ratio == pytest.approx(4)
    analog = macro | {"mode": "voltage-mode neurons", "weight_bits_or_levels": "analog"}
    assert chip_table.parse(analog).neuron


def test_more_ways_to_say_bits_and_devices() -> None:
    bits = {"INT8": (8, 8), "8b*4b": (8, 4), "INT8-INT4": (8, 4), "8b IN, 4b W": (8, 4)}
    for mode, expected in bits.items():
        chip = chip_table.parse(BLANK | SAME | {"mode": mode})
        assert (chip.input_bits, chip.weight_bits) == expected, mode
    signs = {"mode": "", "in_bits": "±1", "weight_bits_or_levels": "±1", "out_adc_bits": "20b"}
    chip = chip_table.parse(BLANK | SAME | signs)
    assert (chip.input_bits, chip.weight_bits, chip.adc_bits) == (1, 1, 8)
    devices = {"TaOx 1T1R": "rram", "HfO2": "rram", "doped GST": "pcm", "ESF3": "flash"}
    for device, expected in devices.items():
        assert chip_table.parse(BLANK | SAME | {"device": device}).device == expected
    with pytest.raises(ValueError, match="no model"):
        chip_table.parse(BLANK | SAME | {"device": "FeFET (HfO2)"})


def test_cells_of_many_levels_are_analog() -> None:
    """Sums of three bits a cell are not told apart exactly: all rows at once, one column each.

    Where inputs do not come bit by bit, their pulses add up before the one conversion.
    """
    macro = BLANK | SAME | {"device": "RRAM 1T1R", "mode": "8b-in 4b-w 8b ADC"}
    for change in ({"weight_bits_or_levels": "15 levels (4b)"}, {"cell": "4b MLC"}):
        chip = chip_table.parse(macro | change)
        assert chip.weight_bits is None and chip_class(chip) == "fully parallel RRAM", change
        assert tile_of(chip, Constants()).input_mode == "pulse_train"
    assert chip_table.parse(macro | {"cell": "2b MLC"}).weight_bits == 4
    signed = chip_table.parse(
        macro | {"in_bits": "ternary", "mode": "voltage-mode neuron"} | change
    )
    assert tile_of(signed, Constants()).dac_bits == 1  # one pulse and its sign


def test_what_a_weight_is_made_of_is_not_its_bits() -> None:
    """ "4 PCM per weight" are four devices, "+1/-1" is one bit."""
    macro = BLANK | SAME | {"mode": "0.8 V", "device": "PCM", "in_bits": "INT8"}
    for text in ("4 PCM per weight", "4 conductances per weight", "2 devices / weight"):
        assert chip_table.parse(macro | {"weight_bits_or_levels": text}).weight_bits is None, text
    assert chip_table.parse(macro | {"weight_bits_or_levels": "+1/−1"}).weight_bits == 1
    shared = chip_table.parse(macro | {"out_adc_bits": "8b ADC / 4 cols"})
    assert shared.columns_per_adc == 4
