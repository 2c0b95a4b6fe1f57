"""Chip tables as people write them: free text, units, separators, and what is refused."""

import dataclasses
import math
from functools import partial
from pathlib import Path

import pytest
from chip_rows import BLANK, JUNK, SAME, write
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels import chip_table, gpu_table
from hwmodels.chip_model import Constants, energy_parts_j, predict
from hwmodels.chip_tiles import tile_of
from hwmodels.fitting import fitted
from hwmodels.tile import tile_energy_j
from hwmodels.validation import summarise_chips, summarise_classes, validate_chips
from hwmodels.validation_gpu import validate_gpus
from workloads.decoders import step_reads


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        ("hermes_core", ("pwm", 8, 8, 1, 256, 256)),
        ("hermes_chip_4ph", ("pwm", 8, 8, 4, 256, 256)),
        ("ambrogio_chip", ("pwm", 8, 8, 1, 512, 512)),
        ("neurram_8b", ("pulse_train", 6, 8, 2, 256, 128)),
        ("neurram_1b", ("stepped", 1, 3, 1, 256, 128)),
        ("xue2020_4b4b", ("stepped", 4, 6, 1, 512, 512)),
        ("jia2021", ("bit_serial", 4, 8, 1, 1152, 256)),
        ("isaac_ce", ("bit_serial", 16, 8, 1, 128, 128)),
    ],
)
def test_free_text_is_read(identity: str, expected: tuple) -> None:
    row = next(row for row in chip_table.read_table() if row["id"] == identity)
    chip = chip_table.parse(row)
    found = chip.input_mode, chip.input_bits, chip.adc_bits, chip.phases, chip.rows, chip.cols
    assert found == expected


def test_a_converter_resolves_no_more_than_its_column_adds_up() -> None:
    """16 rows of 4-bit inputs and 1-bit weights have 241 sums: further output bits cost nothing."""
    sram = BLANK | SAME | {"device": "SRAM 6T"}
    rows = "4b-in 1b-w {}b ADC, 16 rows at once, 0.8 V"
    bits = {n: chip_table.parse(sram | {"mode": rows.format(n)}) for n in (6, 8, 10)}
    energy = {n: predict(chip, Constants())["energy_j"] for n, chip in bits.items()}
    assert energy[6] < energy[8] == energy[10]
    serial = chip_table.parse(sram | {"mode": rows.format(10), "in_bits": "4 bit-serial"})
    assert tile_of(serial, Constants()).adc_bits == 5  # sums of 0 to 16


def test_pulses_without_sign_and_pulses_between_tiles() -> None:
    """All bits of an unsigned input set its pulse; tiles that pass pulses on read none of them."""
    row = next(row for row in chip_table.read_table() if row["id"] == "hermes_core")
    change = {"mode": "0.8 V", "in_bits": "UINT8 (1 ns/LSB PWM)"}
    signed = chip_table.parse(row | change | {"in_bits": "INT8 (1 ns/LSB PWM)"})
    unsigned = chip_table.parse(row | change)
    whole = chip_table.parse(row | change | {"in_bits": "8, unsigned (PWM 256 ns)"})
    assert predict(whole, Constants()) == predict(unsigned, Constants())
    longer = predict(unsigned, Constants())["latency_s"] - predict(signed, Constants())["latency_s"]
    assert longer == pytest.approx(128e-9)
    assert not chip_table.parse(row | {"in_bits": "8b PWM (unsigned + sign)"}).unsigned
    passed = chip_table.parse(row | change | {"out_adc_bits": "8b, duration format"})
    chip = dataclasses.replace(passed, level="chip")
    assert passed.durations and passed.adc_kind == "ramp" and not unsigned.durations
    inside, outside = (
        energy_parts_j(one, Constants(), tile_of(one, Constants())) for one in (passed, chip)
    )
    assert inside["digital"] == 0 < outside["digital"]
    counts = 256 * 256 * Constants().count_energy_j
    assert outside["adc"] - inside["adc"] == pytest.approx(counts)


@pytest.mark.parametrize("validate", [validate_chips, partial(validate_gpus, step_reads)])
def test_bad_files(tmp_path: Path, validate: object) -> None:
    path = tmp_path / "table.csv"
    for content in (b"", b"a,b\n1,2\n", b"\xff\xfe\x00\x01"):
        path.write_bytes(content)
        with pytest.raises(ValueError) as caught:
            validate(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="cannot read"):
        validate(tmp_path / "absent.csv")


@pytest.mark.parametrize("separator", [";", "\t", " ,"])
def test_other_separators_and_absent_results(tmp_path: Path, separator: str) -> None:
    """Spreadsheets write semicolons; a column of results that is absent is only not compared."""
    row = next(row for row in chip_table.read_table() if row["id"] == "neurram_1b")
    names = ("id", "node_nm", "device", "array_rows_x_cols", "in_bits", "out_adc_bits", "mode")
    path = tmp_path / "chips.csv"
    path.write_text("\n".join(separator.join(line) for line in (names, [row[n] for n in names])))
    table = validate_chips(path).set_index("quantity")
    chip = chip_table.parse(row)
    assert table.loc["latency_s", "predicted"] == predict(chip, fitted())["latency_s"]
    assert table["measured"].isna().all()


def test_units_in_cells_are_converted(tmp_path: Path) -> None:
    """The same core in other units: nothing changes; a cell's unit never goes unseen."""
    row = next(row for row in chip_table.read_table() if row["id"] == "hermes_core")
    other = {
        "node_nm": "0.014 µm",
        "latency_ns_per_MVM": "0.13 us",
        "energy_nJ_per_MVM": "12480 pJ",
        "TOPS_per_W": "10500 GOPS/W",
        "area_mm2": "634000 um²",
        "array_rows_x_cols": "256 rows x 256 cols",
    }
    table = validate_chips(write(tmp_path / "chips.csv", [{**row, **other}]))
    known = validate_chips(write(tmp_path / "same.csv", [row]))
    for column in ("measured", "predicted"):
        assert table[column].to_numpy() == pytest.approx(known[column].to_numpy(), rel=1e-12)
    template = gpu_table.read_table()[0]
    run = gpu_table.parse(
        {**template, "gpu": "NVIDIA H100 80GB HBM3", "J_per_output_token": "653.13 mJ"},
        step_reads,
    )
    assert run == gpu_table.parse(template, step_reads)


@pytest.mark.parametrize(
    "other",
    [
        {"node_nm": "28nm FDSOI"},
        {"node_nm": "0.028 um"},
        {"device": "8T1C"},
        {"device": "6T SRAM", "cell": "8T1C"},
        {"array_rows_x_cols": "256 rows by 128 cols"},
        {"array_rows_x_cols": "256 x 128 x 4"},
        {"array_rows_x_cols": "256, 128"},
        {"array_rows_x_cols": "256*128"},
        {"mode": "64 active rows, 0.8 V", "in_bits": "4-bit", "weight_bits_or_levels": "2 bits"}
        | {"out_adc_bits": "6b"},
        {"mode": "64 rows in parallel, 0.8V", "in_bits": "INT4", "weight_bits_or_levels": "ternary"}
        | {"out_adc_bits": "6 bit"},
        {"mode": SAME["mode"].replace("2b-w", "1.5b-w")},
        {"array_rows_x_cols": "256-by-128"},
        {"array_rows_x_cols": "rows: 256, columns: 128"},
        {"node_nm": "N28"},
        {"node_nm": "TSMC 28nm"},
        {"mode": SAME["mode"].replace("0.8 V", "0,8 V")},
        {"mode": SAME["mode"].replace("0.8 V", "800 mV")},
        {"mode": SAME["mode"].replace("0.8 V", "0.7–0.9 V")},
        {"mode": SAME["mode"].replace("0.8 V", "programmed at 8 V, VDD = 0.75 V - 0.85 V")},
        {"mode": "IN: 4b, W: 2b, 6b ADC, 64 rows at once, 0.8 V"},
        {"mode": "4b/2b, 64 rows at once, 0.8 V", "out_adc_bits": "one 6-bit ADC per column"},
        {"mode": "INT4 x INT2, 64 rows at once, 0.8 V", "out_adc_bits": "6"},
        {"mode": "64 rows at once, 0.8 V", "in_bits": "4", "weight_bits_or_levels": "2"}
        | {"out_adc_bits": "64 levels"},
        {"array_rows_x_cols": "4 x 256 x 128"},
        {"array_rows_x_cols": "256(rows)x128"},
        {"mode": "I:4b W:2b O:6b, 64 rows at once, 0.8 V"},
        {"mode": "input 4b, weight 2b, output 6b, 64 rows at once, 0.8 V"},
        {"mode": "4b activations, 2b weights, 6b ADC, 64 rows at once, 0.8 V"},
        {"mode": "W2A4, 64 rows at once, 0.8 V", "out_adc_bits": "6"},
        {"mode": "A4W2, 64 rows at once, 0.8 V", "out_adc_bits": "6-bit, 1:1 mux"},
        {"mode": "IN/W/OUT = 4b/2b/12b, 64 rows at once, 0.8 V", "out_adc_bits": "6b"},
        {"mode": "64 rows at once, 0.8 V", "in_bits": "signed 4b", "out_adc_bits": "6"}
        | {"weight_bits_or_levels": "signed 2b"},
        {"TOPS_per_W": "0,12 POPS/W"},
        {"TOPS_per_W": "120,000 GOPS/W"},
        {"TOPS_per_W": "110-130"},
        {"TOPS_per_W": "110~130 TOPS/W"},
        {"TOPS_per_W": "120 TOPS/W (4b/2b)"},
        {"mode": SAME["mode"].replace("0.8 V", "1.2 V"), "TOPS_per_W": "120 @0.8V, 90 @1.2V"},
        {"mode": SAME["mode"].replace("0.8 V", "0.7~0.9\u00a0V")},
        {"mode": SAME["mode"].replace("0.8 V", "0.7/0.9 V")},
        {"mode": SAME["mode"].replace("0.8 V", "0.7…0.9 V")},
        {"mode": SAME["mode"].replace("64 rows at once", "64 WLs turned on at the same time")},
        {"mode": SAME["mode"].replace("64 rows at once", "up to 64 word lines are activated")},
        {"mode": SAME["mode"].replace("64 rows at once", "64 rows/access")},
        {"array_rows_x_cols": "256 inputs × 128 outputs"},
        {"array_rows_x_cols": "256 WL x 128 BL x 4"},
        {"array_rows_x_cols": "256 x (16 x 8)"},
        {"mode": "IN-W-OUT: 4b-2b-12b, 64 rows at once, 0.8 V", "out_adc_bits": "6b"},
        {"mode": "64 rows at once, 0.8 V", "in_bits": "3+1 bits", "out_adc_bits": "6"}
        | {"weight_bits_or_levels": "{-1, 0, +1}"},
        {"mode": "64 rows at once, 0.8 V", "in_bits": "4-bit", "out_adc_bits": "6"}
        | {"weight_bits_or_levels": "2-bit, 1b/cell"},
    ],
)
def test_other_spellings_of_one_macro(other: dict[str, str]) -> None:
    blank = BLANK
    plain, spelled = (chip_table.parse(blank | SAME | more) for more in ({}, other))
    assert predict(spelled, fitted()) == predict(plain, fitted())
    assert spelled.measured == pytest.approx(plain.measured)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"device": "STT-MRAM"}, "no model of the device"),
        ({"device": "eDRAM 1T1C"}, "no model of the device"),
        ({"device": "SRAM and RRAM"}, "no model of the device"),
        ({"node_nm": "22-28"}, "node"),
        ({"node_nm": "2"}, "from 3 to 180 nm"),
        ({"device": ""}, "names no device"),
        ({"device": "3D NAND flash"}, "3D arrays"),
        ({"node_nm": "65nm/28nm"}, "node"),
        ({"mode": "0.8 V"}, "no bits of a weight"),
        ({"mode": "0.8 V", "in_bits": "BF16", "weight_bits_or_levels": "BF16"}, "floating point"),
        ({"array_rows_x_cols": "64 Kb"}, "rows x columns"),
        ({"mode": "", "in_bits": "4-8"}, "are a range"),
        ({"mode": "", "weight_bits_or_levels": "1/2/4"}, "are a range"),
        ({"mode": "", "weight_bits_or_levels": "999"}, "out of range"),
        ({"out_adc_bits": "1" * 400}, "more than 15 digits"),
        ({"array_rows_x_cols": "1568x100, 100x10"}, "several arrays"),
        ({"array_rows_x_cols": "-64 x 64"}, "does not exist"),
    ],
)
def test_rows_that_say_why_not(other: dict[str, str], words: str) -> None:
    blank = BLANK
    with pytest.raises(ValueError, match=words):
        chip_table.parse(blank | SAME | other)


def test_digital_macros_by_what_they_say() -> None:
    for change in (
        {"mode": "4b-4b, digital in-memory compute, 0.7 V"},
        {"mode": "4b-4b, all-digital"},
        {"device": "6T SRAM + approximate adder"},
        {"chip_or_macro": "DIMC"},
        {"out_adc_bits": "14b, adder tree"},
        {"out_adc_bits": "ADC-less"},
        {"mode": "8b-8b, digital, 0.7 V"},
    ):
        assert chip_table.parse(BLANK | SAME | change).digital, change
    assert not chip_table.parse(BLANK | SAME | {"mode": "4b-4b, digital shift-add"}).digital


def test_adders_need_no_converter() -> None:
    row = BLANK | SAME | {"mode": "4b/4b all-digital", "out_adc_bits": "4-2 compressor adder tree"}
    assert chip_table.parse(row).digital


def test_pcm_draws_the_current_of_pcm() -> None:
    """Conductances of HERMES' devices and of RRAM: 3.5 to 11.1 uS."""
    macro = BLANK | SAME | {"mode": "8b-in 8b-w 6b ADC", "cell": "SLC"}
    parts = [
        tile_energy_j(tile_of(chip_table.parse(macro | {"device": device}), Constants()))
        for device in ("PCM", "RRAM")
    ]
    assert parts[0]["array"] / parts[1]["array"] == pytest.approx(3.5 / 11.12)
    assert parts[0]["adc"] == parts[1]["adc"]


@pytest.mark.parametrize(
    ("change", "seconds"),
    [
        ({"mode": "4b-in 2b-w 6b ADC, 50 MHz"}, 20e-9),
        ({"mode": "4b-in 2b-w 6b ADC, 0.1-0.3 GHz"}, 5e-9),
        ({"in_bits": "4 (bit-serial)", "mode": "2b-w 6b ADC, 200 MHz"}, 20e-9),
        ({"in_bits": "4 (bit-serial)", "mode": "2b-w all-digital, 1 GHz"}, 4e-9),
    ],
)
def test_a_clock_gives_the_time_of_an_access(change: dict[str, str], seconds: float) -> None:
    chip = chip_table.parse(BLANK | SAME | change)
    assert predict(chip, fitted())["latency_s"] == pytest.approx(seconds)
    without = chip_table.parse(BLANK | SAME)
    assert "latency_s" not in predict(without, fitted())  # charge domain: no clock, no time
    bit_line = chip_table.parse(BLANK | SAME | {"device": "SRAM 6T"})
    assert predict(bit_line, fitted())["latency_s"] == pytest.approx(fitted().bit_line_access_s)


def test_efficiency_of_single_bits() -> None:
    """Normalised to one bit, 960 TOPS/W at 4 by 2 bits are 120."""
    texts = ("960 TOPS/W/b", "960 1b-TOPS/W", "960 (1b-normalized)", "960 TOPS/W @ 1b/1b")
    for change in ({"TOPS_per_W": text} for text in texts):
        measured = chip_table.parse(BLANK | SAME | change).measured
        assert measured["tops_per_w"] == pytest.approx(120), change
    analog = {"device": "RRAM", "mode": "", "weight_bits_or_levels": "analog"}
    chip = chip_table.parse(BLANK | SAME | analog | change)
    assert "analog" in chip.missing["tops_per_w"]


def test_a_wide_range_is_no_measured_value() -> None:
    chip = chip_table.parse(BLANK | SAME | {"TOPS_per_W": "2.75–75.9", "area_mm2": "0.03 mm^2"})
    assert "2.75-75.9" in chip.missing["tops_per_w"] and chip.measured == {"area_mm2": 0.03}


def test_unverified_figures_are_not_compared() -> None:
    chip = chip_table.parse(BLANK | SAME | {"status": "M (from memory)"})
    assert not chip.measured and "unverified" in chip.missing["tops_per_w"]


def test_published_macros_from_their_titles() -> None:
    """Rows as their papers word them, none in any fit: within 2.1 times where text is all."""
    rows = {
        "su2021": ("28 nm", "SRAM 6T", "64 x 96", "8b IN/8b W/19b OUT; 0.7–0.9 V", "", 22.75),
        "hung2021": ("22nm", "RRAM (1T1R)", "1024 x 512", "8b IN × 8b W → 14b OUT", "", 15.6),
        "biswas2018": ("65", "10T SRAM", "256x64", "7b-in 1b-w 7b-out, 1.0 V", "7b ramp ADC", 28.1),
        "pimca2021": ("28", "10T1C SRAM", "256x128", "1b-1b, 1 V", "11-level flash ADC", 437.0),
    }
    for name, (node, device, array, mode, out, published) in rows.items():
        row = BLANK | {"id": name, "node_nm": node, "device": device, "mode": mode}
        chip = chip_table.parse(row | {"array_rows_x_cols": array, "out_adc_bits": out})
        factor = predict(chip, fitted())["tops_per_w"] / published
        assert 1 / 2.1 < factor < 2.1, (name, factor)


def test_thousands_and_kilos() -> None:
    blank = BLANK | SAME
    for text in ("1K x 2k", "1,024 x 2,048", "1024x2048"):
        chip = chip_table.parse(blank | {"array_rows_x_cols": text})
        assert (chip.rows, chip.cols) == (1024, 2048)


def test_units_in_headers_hold_for_bare_numbers(tmp_path: Path) -> None:
    """ "Latency [us]" over 0.5 is 500 ns; the first of two columns that mean one is taken."""
    path = tmp_path / "chips.csv"
    header = (
        "Name,Node (nm),Memory,Array Size (rows x cols),Weight bits,Latency [us],ADC,Output bits"
    )
    path.write_text(f'{header},Energy per MAC (fJ)\na,28,SRAM,64x32,4,0.5,5,"8,",10\n')
    row = chip_table.read_table(path)[0]
    chip = chip_table.parse(row)
    assert chip.measured == pytest.approx({"latency_s": 5e-7, "energy_j": 64 * 32 * 10e-15})
    assert (chip.node_nm, chip.rows, chip.cols, chip.adc_bits) == (28, 64, 32, 5)
    own = chip_table.parse({**row, "latency_ns_per_MVM": "40 ns"})
    assert own.measured["latency_s"] == pytest.approx(40e-9)


def test_energy_of_an_mvm_or_of_one_operation() -> None:
    per_mac = 256 * 128 * 3.2e-15
    for text, expected in (("3.2 fJ/MAC", per_mac), ("1.6 fJ/op", per_mac), ("3 nJ", 3e-9)):
        chip = chip_table.parse(BLANK | SAME | {"energy_nJ_per_MVM": text})
        assert chip.measured["energy_j"] == pytest.approx(expected), text


def test_a_foreign_unit_is_not_compared() -> None:
    for text in ("35 TOPS/W/mm2", "95 %"):
        chip = chip_table.parse(BLANK | SAME | {"TOPS_per_W": text})
        assert "unit" in chip.missing["tops_per_w"] and not chip.measured, text
    chip = chip_table.parse(BLANK | SAME | {"area_mm2": "3 kW"})
    assert "unit 'kW'" in chip.missing["area_mm2"] and "area_mm2" not in chip.measured


def test_two_rows_of_one_name_are_two_chips(tmp_path: Path) -> None:
    rows = [BLANK | SAME, BLANK | SAME | {"node_nm": "65"}]
    table = validate_chips(write(tmp_path / "chips.csv", rows))
    assert list(dict.fromkeys(table["chip"])) == ["mine", "mine (row 2)"]
    energies = table[table["quantity"] == "energy_j"]["predicted"]
    assert energies.nunique() == 2


def test_headers_as_people_write_them(tmp_path: Path) -> None:
    """Other names of columns, no identity, semicolons, a byte-order mark, empty lines."""
    path = tmp_path / "mine.csv"
    header = "Name;Node;Memory;Array size;Input bits;Weight bits;ADC bits;TOPS/W;Remark"
    lines = [header, ";65;SRAM 8T1C;256x64;1;1;4;600,5;good", "", "b;22;ReRAM;256x64;1;1;4;;"]
    path.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    table = validate_chips(path)
    assert list(dict.fromkeys(table["chip"])) == ["row 1", "b"]
    one = table[(table["chip"] == "row 1") & (table["quantity"] == "tops_per_w")].iloc[0]
    assert one["measured"] == 600.5 and one["predicted"] > 0
    assert list(summarise_classes(table)["class"]) == ["charge domain"]
    assert summarise_chips(table)["rows"].max() == 1


CELLS = st.sampled_from(chip_table.COLUMNS[3:])


@given(st.integers(0, 30), st.dictionaries(CELLS, JUNK, max_size=4), CELLS, CELLS)
@settings(max_examples=300, deadline=None)
def test_any_row_is_predicted_or_refused(
    index: int, junk: dict[str, str], one: str, other: str
) -> None:
    """Junk in cells, two columns swapped: finite positive predictions, or one line of why not."""
    rows = chip_table.read_table()
    row = {**rows[index % len(rows)], **junk}
    row |= {one: row[other], other: row[one]}
    try:
        values = predict(chip_table.parse(row), Constants())
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert all(math.isfinite(value) and value > 0 for value in values.values())


@pytest.mark.parametrize(
    ("text", "kind", "shared"),
    [
        ("8b SAR, 16 columns per ADC", "sar", 16),
        ("6b flash ADC shared by 4", "flash", 4),
        ("8b single-slope ramp", "ramp", 1),
        ("one 8-bit CCO per column", "cco", 1),
        ("8b SAR, one per 64 columns", "sar", 64),
        ("8b, 32 ADCs", "", 8),
    ],
)
def test_converters_named_in_the_row(text: str, kind: str, shared: int) -> None:
    """Kind and sharing are read from free text, and sharing costs time and saves area."""
    row = next(row for row in chip_table.read_table() if row["id"] == "hermes_core")
    chip = chip_table.parse({**row, "out_adc_bits": text})
    assert (chip.adc_kind, chip.columns_per_adc) == (kind, shared)
    alone = predict(dataclasses.replace(chip, columns_per_adc=1), Constants())
    together = predict(chip, Constants())
    assert together["area_mm2"] <= alone["area_mm2"]
    assert (together["latency_s"] > alone["latency_s"]) == (shared > 1)
