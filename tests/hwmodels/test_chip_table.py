"""The typed table of chips: headers as people write them, units, words, and what is refused."""

from pathlib import Path

import pytest
from chip_rows import BLANK, JUNK, SRAM, chip, write
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels import chip_table
from hwmodels.chip_columns import COLUMNS, EXAMPLES, NEEDED, template
from hwmodels.chip_model import predict
from hwmodels.fitting import fitted


def test_headers_of_a_public_database(tmp_path: Path) -> None:
    """Its names of columns, in any order, beside others that mean nothing here."""
    path = tmp_path / "mine.csv"
    path.write_text(
        "Cell Type,B_ADC,Tech (nm),N_row,N_col,Supply V(V),B_x,B_w,T_core(ns),TOPS/W,alpha\n"
        "ReRAM,4,22,256,128,0.8,2,1,10.3,40,7\n"
    )
    (row,) = chip_table.read_table(path)
    assert row["latency_s"] == pytest.approx(10.3e-9) and row["device"] == "rram"
    assert (row["rows"], row["columns"], row["input_bits"], row["weight_bits"]) == (256, 128, 2, 1)
    assert (row["node_nm"], row["supply_v"], row["output_bits"]) == (22, 0.8, 4)
    assert row["tops_per_w"] == 40 and row["id"] == "row 1"


@pytest.mark.parametrize(
    ("header", "cell", "seconds"),
    [
        ("latency_s", "2e-9", 2e-9),
        ("Latency (us)", "0.5", 0.5e-6),
        ("latency [µs]", "0.5", 0.5e-6),
        ("latency_s", "12 ns", 12e-9),
        ("Access time (ps)", ".5", 0.5e-12),
        ("latency_ns", "7", 7e-9),
    ],
)
def test_units_of_headers_and_cells(tmp_path: Path, header: str, cell: str, seconds: float) -> None:
    rows = [{**{name: SRAM[name] for name in NEEDED}, header: cell}]
    (row,) = chip_table.read_table(write(tmp_path / "mine.csv", rows))
    assert row["latency_s"] == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"node_nm": "-14"}, ("node_nm", "-14", "3 to 180 nm")),
        ({"rows": "12.5"}, ("rows", "12.5", "whole")),
        ({"rows": "many"}, ("rows", "'many' is not one number")),
        ({"input_bits": "4b"}, ("input_bits", "4b")),
        ({"supply_v": "0.8-1.2"}, ("supply_v", "0.8-1.2")),
        ({"supply_v": "800 mW"}, ("supply_v", "mW", "V, mV")),
        ({"latency_s": "-5"}, ("latency_s", "-5")),
        ({"tops_per_w": "nan"}, ("tops_per_w", "nan")),
        ({"device": "graphene"}, ("device", "graphene", "pcm")),
        ({"device": "srma"}, ("device", "nearest is sram")),
        ({"readout": "sarr"}, ("readout", "nearest is sar")),
        ({"input_mode": "pulse widht"}, ("input_mode", "nearest is pulse_width")),
        ({"counts": "the lot"}, ("counts", "macro")),
    ],
)
def test_a_wrong_cell_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, str], words: tuple[str, ...]
) -> None:
    path = write(tmp_path / "mine.csv", [SRAM | BLANK | SRAM | change])
    with pytest.raises(ValueError, match=r"row 1 \(mine\)") as error:
        chip_table.read_table(path)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_a_header_in_no_unit_of_its_column(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("node_nm,device,rows,columns,input_bits,Latency (mW)\n28,sram,8,8,1,3\n")
    with pytest.raises(ValueError, match=r"Latency \(mW\).*latency_s.*s, ms, us, ns, ps"):
        chip_table.read_table(path)


@pytest.mark.parametrize("absent", NEEDED)
def test_a_missing_column_lists_the_headers_found(tmp_path: Path, absent: str) -> None:
    rows = [{name: value for name, value in SRAM.items() if name != absent}]
    with pytest.raises(ValueError, match="headers found: ") as error:
        chip_table.read_table(write(tmp_path / "mine.csv", rows))
    assert f"lacks the column {absent!r}" in str(error.value)
    assert all(name in str(error.value) for name in rows[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"input_bits": None}, "no input_bits"),
        ({"output_bits": None}, "no output_bits"),
        ({"output_bits": 22}, "22: no converter"),
        ({"weight_storage": "bit_sliced", "weight_bits": None}, "no weight_bits"),
    ],
)
def test_rows_that_say_too_little(change: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        chip(**change)


def test_headers_that_mean_nothing_are_named(tmp_path: Path) -> None:
    rows = [{name: SRAM[name] for name in NEEDED} | {"colour": "red", "latency_kg": "1"}]
    assert chip_table.unread_headers(write(tmp_path / "mine.csv", rows)) == ["colour", "latency_kg"]
    assert chip_table.unread_headers(chip_table.SHIPPED) == []


def test_words_in_other_spellings(tmp_path: Path) -> None:
    spelled = {"device": "ReRAM", "readout": "SAR ADC", "input_mode": "Bit-serial"}
    spelled |= {"weight_storage": "Digital", "column_sum": "QR", "counts": "bank"}
    (row,) = chip_table.read_table(write(tmp_path / "mine.csv", [SRAM | spelled]))
    found = {name: row[name] for name in spelled}
    assert found == {
        "device": "rram",
        "readout": "sar",
        "input_mode": "bit_serial",
        "weight_storage": "bit_sliced",
        "column_sum": "capacitors",
        "counts": "macro",
    }


def test_separators_comments_and_equal_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("# a comment, with commas\nid;node_nm;device;rows;columns;input_bits\n"
                    "x;28;sram;8;8;1\n# another\nx;28;sram;8;8;2\n\n")  # fmt: skip
    first, second = chip_table.read_table(path)
    assert (first["id"], second["id"]) == ("x", "x (row 2)") and second["input_bits"] == 2


def test_efficiency_at_single_bits() -> None:
    """240 TOPS/W of single bits, 4-bit inputs and 2-bit weights: 240 / (4 x 2) = 30."""
    normalised = {"tops_per_w": 240.0, "tops_per_w_at": "one_bit"}
    assert chip(**normalised).measured["tops_per_w"] == 30
    analog = chip(**normalised, device="rram", weight_bits=None)
    assert not analog.measured and "no bits of a weight" in analog.missing["tops_per_w"]


def test_unverified_figures_are_not_compared() -> None:
    assert not chip(tops_per_w=30.0, status="M (from memory)").measured
    assert chip(tops_per_w=30.0, status="Measured elsewhere").measured


def test_the_template_is_a_table(tmp_path: Path) -> None:
    """Its example rows are read and predicted; each column is explained above them."""
    path = tmp_path / "template.csv"
    path.write_text(template())
    rows = chip_table.read_table(path)
    assert [row["id"] for row in rows] == [row["id"] for row in EXAMPLES]
    for row in rows:
        assert all(value > 0 for value in predict(chip_table.parse(row), fitted()).values())
    for column in COLUMNS:
        assert f"# {column.name}: {column.meaning}" in template()


def test_the_shipped_table_names_its_sources() -> None:
    rows = chip_table.read_table()
    assert len({row["id"] for row in rows}) == len(rows) > 100
    for row in rows:
        assert row["source"] and row["status"] and row["title"], row["id"]
    families = {row["id"]: row["family"] or row["title"] for row in rows}
    assert families["hermes_chip_1ph"] == families["hermes_chip_4ph"] != families["hermes_core"]


NAMES = [column.name for column in COLUMNS]
ROWS = chip_table.read_table()[:41]


@given(st.dictionaries(st.sampled_from(NAMES), JUNK, max_size=4), st.integers(0, 40))
@settings(max_examples=300, deadline=None)
def test_any_row_is_predicted_or_refused(
    tmp_path_factory: pytest.TempPathFactory, junk: dict[str, str], index: int
) -> None:
    cells = {name: "" if cell is None else cell for name, cell in ROWS[index].items()}
    path = tmp_path_factory.mktemp("rows") / "mine.csv"
    try:
        (typed,) = chip_table.read_table(write(path, [cells | junk]))
        predicted = predict(chip_table.parse(typed), fitted())
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert all(0 < value < float("inf") for value in predicted.values())
