"""Writing and filling rows of chip and GPU tables, for the tests that read them."""

import csv
from pathlib import Path

from hypothesis import strategies as st

from hwmodels import chip_table


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


WORDS = """;0;-3;1e308;nan;inf;0b/col;0-phase;9999x9999;0x0;1e9x4;4b-in 4b-w 0b ADC;0 ns/LSB PWM;
PWM 1e300 ns;0.001 V;99 V;C-2C;18T;bit-serial x 0 ns;1b-in 40b-w;SRAM;PCM;RRAM;flash;digital;130;
8b flash ADC;8b SAR, 0 ADCs;0 levels;999 levels;99b MLC;1e9 MHz;0 GHz;1-2 GHz;TOPS/W/b;½;٣b;
1111111111111111111111111;ramp shared by 0;8b SAR, 16 columns per ADC;8 (PWM 64 ns)"""
JUNK = st.one_of(st.sampled_from([word.strip() for word in WORDS.split(";")]), st.text(max_size=12))
BLANK = dict.fromkeys(chip_table.COLUMNS, "")
SAME = {"id": "mine", "node_nm": "28", "device": "SRAM 8T1C", "array_rows_x_cols": "256x128"}
SAME |= {"mode": "4b-in 2b-w 6b ADC, 64 rows at once, 0.8 V", "TOPS_per_W": "120"}
"""One macro, which tests spell in other ways."""
