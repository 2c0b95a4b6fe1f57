"""Writing and filling rows of chip and GPU tables, for the tests that read them."""

import csv
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from hwmodels import chip_table
from hwmodels.chip_columns import COLUMNS
from hwmodels.chip_table import Chip


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


WORDS = """;0;-3;1e308;nan;inf;0b/col;9999x9999;4b-in 4b-w 0b ADC;0.001 V;99 V;C-2C;18T;SRAM;PCM;
RRAM;flash;mram;sar;adder_tree;pulse_width;current;digital;130;8b SAR;1e9 MHz;½;٣b;1.5;16;0.8;8;
1111111111111111111111111;one_bit;system;projection;DOUBTFUL"""
JUNK = st.one_of(st.sampled_from([word.strip() for word in WORDS.split(";")]), st.text(max_size=12))
BLANK: dict[str, Any] = {column.name: column.default for column in COLUMNS}
SRAM = {"id": "mine", "node_nm": 28, "device": "sram", "rows": 256, "columns": 64}
SRAM |= {"weight_bits": 2, "input_bits": 4, "output_bits": 6, "rows_at_once": 64, "supply_v": 0.8}
"""One macro, which tests spell in other ways."""


def chip(name: str = "", **changes: Any) -> Chip:
    """A shipped chip by id, or the macro above, with changed cells."""
    row = next(r for r in chip_table.read_table() if r["id"] == name) if name else BLANK | SRAM
    return chip_table.parse({**row, **changes})
