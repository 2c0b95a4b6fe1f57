"""A table of published chips, read into design parameters and measured results.

Published tables hold free text ("8 (1 ns/LSB PWM)", "4b-in 4b-w 6b ADC"). Design parameters are
read from it as far as it goes; measured results are kept apart, so that no model can see them.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

SHIPPED = Path(__file__).parent / "silicon" / "chips.csv"

COLUMNS = (
    "id",
    "chip_or_macro",
    "kind(measured|simulated)",
    "node_nm",
    "device",
    "array_rows_x_cols",
    "units_on_chip",
    "cell",
    "in_bits",
    "weight_bits_or_levels",
    "out_adc_bits",
    "mode",
    "latency_ns_per_MVM",
    "energy_nJ_per_MVM",
    "energy_pJ_per_MAC",
    "TOPS_per_W",
    "area_mm2",
)
NEEDED = ("id", "node_nm", "device", "array_rows_x_cols")
"""Columns without which no row can be predicted; others may be absent, and are then empty."""
DEVICES = {"pcm": "pcm", "flash": "flash", "sram": "sram", "rram": "rram", "reram": "rram"}
NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"


@dataclass(frozen=True)
class Chip:
    """Design parameters of one row; `measured` holds its results by quantity, apart from them."""

    id: str
    title: str
    family: str
    """Rows of one chip share it, and are left out together."""
    kind: str
    node_nm: float
    device: str
    rows: int
    cols: int
    """Weight columns (devices where the row gives no more)."""
    input_bits: int
    weight_bits: int | None
    """None: analog levels."""
    adc_bits: int
    adc_kind: str
    """`sar`, `cco` (ramp or oscillator) or `flash`; empty: that of its class."""
    columns_per_adc: int
    input_mode: str
    phases: int
    slot_s: float | None
    """One pulse-width step or one serial bit, where the row states a clock."""
    supply_v: float | None
    bits_per_column: int | None
    multibit_cell: str
    """`ladder` (C-2C) or `current` cells take a whole input at once; empty: one bit at a time."""
    neuron: bool
    """Voltage-mode neurons: signed pulses, sampled, integrated and counted down step by step."""
    digital: bool
    """Adders instead of converters."""
    level: str
    """What the row describes: `tile`, `chip` or `system`."""
    measured: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Why a quantity has no measured value to compare with."""


def read_table(path: str | Path | None = None) -> list[dict[str, str]]:
    """Rows of a chip table as dictionaries (the shipped table by default).

    Raises ValueError in one line for an unreadable, empty or foreign file.
    """
    return read_csv(SHIPPED if path is None else Path(path), COLUMNS, NEEDED)


def read_csv(path: Path, columns: tuple[str, ...], needed: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a CSV file as dictionaries with those columns at least; absent ones are empty.

    Columns may be separated by commas, semicolons or tabs. ValueError in one line for a file that
    cannot be read, lacks a needed column, or has no rows.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            separator = max(",;\t", key=first.count)
            reader = csv.DictReader(file, delimiter=separator)
            header = [(name or "").strip() for name in reader.fieldnames or []]
            reader.fieldnames = header
            rows = [{key: value or "" for key, value in row.items() if key} for row in reader]
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read {path}: it is not UTF-8 text") from error
    except (OSError, csv.Error) as error:
        raise ValueError(f"cannot read {path}: {error.__class__.__name__}") from error
    absent = [column for column in needed if column not in header]
    if absent:
        raise ValueError(f"{path} lacks the column {absent[0]!r}; needed: {', '.join(needed)}")
    rows = [dict.fromkeys(columns, "") | row for row in rows]
    if not rows:
        raise ValueError(f"{path} has a header but no rows")
    return rows


def number(text: str) -> float | None:
    """The number that a cell begins with ("~7.94", "0.62-0.64": the middle), or None.

    Bounds ("<400") and words are not numbers.
    """
    match = re.match(rf"\s*~?\s*(-?{NUMBER})(?:\s*-\s*({NUMBER}))?", text)
    if match is None:
        return None
    low = float(match[1])
    value = (low + float(match[2])) / 2 if match[2] else low
    return value if math.isfinite(value) else None


UNITS = {
    "nJ": {"J": 1e9, "mJ": 1e6, "uJ": 1e3, "nJ": 1.0, "pJ": 1e-3, "fJ": 1e-6},
    "pJ": {"J": 1e12, "mJ": 1e9, "uJ": 1e6, "nJ": 1e3, "pJ": 1.0, "fJ": 1e-3},
    "J": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "kJ": 1e3},
    "ns": {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0, "ps": 1e-3},
    "ms": {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6},
    "mm2": {"mm2": 1.0, "um2": 1e-6, "cm2": 100.0},
    "TOPS/W": {"TOPS/W": 1.0, "GOPS/W": 1e-3, "POPS/W": 1e3},
    "nm": {"nm": 1.0, "um": 1e3},
}
"""What one of each unit that a cell may carry is in the unit of its column."""


def quantity(text: str, unit: str) -> float | None:
    """The number that a cell begins with, in its column's unit; a unit in the cell is converted."""
    value = number(text)
    if value is None:
        return None
    tail = re.sub(rf"^\s*~?\s*-?{NUMBER}(?:\s*-\s*{NUMBER})?\s*", "", text)
    word = re.match(r"[A-Za-zµμ/]+[²2]?", tail)
    given = re.sub("[µμ]", "u", word[0]).replace("²", "2") if word else unit
    return value * UNITS[unit].get(given, 1.0)


def _first(pattern: str, *texts: str) -> str | None:
    for text in texts:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            return match[1]
    return None


def _array(row: dict[str, str]) -> tuple[int, int]:
    text = row["array_rows_x_cols"]
    signed = re.search(r"(\d+)\s*[x×]\s*(\d+)\s*signed", text)
    match = signed or re.search(r"(\d+)\s*(?:rows?)?\s*[x×*]\s*(\d+)", text, re.IGNORECASE)
    if match is None:
        raise ValueError("the row gives no array of rows x columns")
    rows, cols = int(match[1]), int(match[2])
    operations = number(row.get("ops_per_MVM(2*MAC)", ""))
    if operations and rows:  # two a weight: tells weights from physical columns
        return rows, max(round(operations / 2 / rows), 1)
    if re.search(r"[x×]\s*\d+\s*PCM", text):  # counted in devices, four to a weight
        cols = max(cols // 4, 1)
    if rows < 1 or cols < 1:
        raise ValueError(f"an array of {rows} x {cols} does not exist")
    return rows, cols


def _bits(row: dict[str, str]) -> tuple[int, int | None, int]:
    """Bits of input, weight (None: analog) and converter."""
    mode = row["mode"]
    pair = re.search(r"(\d+)b-(\d+)b", mode)
    given = _first(r"(\d+)b-in", mode) or (pair and pair[1]) or _first(r"(\d+)", row["in_bits"])
    weight_text = row["weight_bits_or_levels"]
    weight = _first(r"(\d+)b-w", mode) or (pair and pair[2])
    if weight is None and re.search(r"ternary-w", mode):
        weight = "2"
    if weight is None and re.match(r"\s*\d+(\s*\(|\s*$)", weight_text):
        weight = _first(r"(\d+)", weight_text)
    out = row["out_adc_bits"]
    converter = _first(r"(\d+)b[- ]?out", out, mode) or _first(r"(\d+)", out)
    converter = converter or _first(r"(\d+)b ADC", mode)
    # Macros with sliced weights that state their converter have 6 bits; other chips 8.
    sliced = weight is not None and re.search(r"rram|reram", row["device"], re.IGNORECASE)
    usual = 6 if sliced and "1b/c" in mode else 8
    bits = int(given or 8), int(weight) if weight else None, int(converter or usual)
    if not (1 <= bits[0] <= 16 and 1 <= bits[2] <= 14 and 1 <= (bits[1] or 1) <= 64):
        raise ValueError(f"bits out of range (input {bits[0]}, weight {bits[1]}, output {bits[2]})")
    return bits


def _input_mode(row: dict[str, str], device: str, bits: int) -> tuple[str, int, float | None]:
    """How inputs are applied, the read phases, and the time of one slot where it is stated."""
    text = f"{row['in_bits']} {row['mode']}"
    words = {"one": 1, "two": 2, "four": 4}
    phase = _first(r"(\d+|one|two|four)[- ]phase", row["mode"], row["in_bits"])
    phases = words.get(phase.lower(), 0) or int(phase) if phase else 1
    if not 1 <= phases <= 16:
        raise ValueError(f"{phases} read phases; from 1 to 16 are modelled")
    serial = re.search(r"bit-serial|x\s*\d+ cycles", text, re.IGNORECASE)
    pulse = re.search(r"PWM|ns/LSB", text)
    if pulse and (not serial or pulse.start() < serial.start()):
        step = _first(rf"({NUMBER})\s*ns/LSB", text)
        whole = _first(rf"PWM\s*({NUMBER})\s*ns", text)
        seconds = float(step) * 1e-9 if step else None
        if seconds is None and whole:
            seconds = float(whole) * 1e-9 / 2 ** (bits - 1)
        return "pwm", phases, seconds
    slot = _first(rf"bit-serial x\s*({NUMBER})\s*ns", text)
    if not serial and device in ("pcm", "flash"):
        return "pwm", phases, None
    if "phase" in text and device == "rram":  # pulses of all bits add up before a conversion
        return "pulse_train", phases, None
    return "bit_serial", phases, float(slot) * 1e-9 if slot else None


def _measured(row: dict[str, str], macs: float) -> tuple[dict[str, float], dict[str, str]]:
    """Results of a row in SI units by quantity, and why others are missing."""
    values: dict[str, float] = {}
    missing: dict[str, str] = {}
    latency = row["latency_ns_per_MVM"]
    if "per RNNT" in latency or "per query" in latency or "frame" in latency:
        missing["latency_s"] = "the row gives the latency of a network, not of an MVM"
    elif (value := quantity(latency, "ns")) is not None:
        values["latency_s"] = value * 1e-9
    if (value := quantity(row["energy_nJ_per_MVM"], "nJ")) is not None:
        values["energy_j"] = value * 1e-9
    elif (value := quantity(row["energy_pJ_per_MAC"], "pJ")) is not None:
        values["energy_j"] = value * 1e-12 * macs
    if (value := quantity(row["TOPS_per_W"], "TOPS/W")) is not None:
        values["tops_per_w"] = value
    if (value := quantity(row["area_mm2"], "mm2")) is not None:
        values["area_mm2"] = value
    for name in [name for name, value in values.items() if value <= 0]:
        del values[name]
        missing[name] = "the published value is not positive"
    return values, missing


def _adc_kind(row: dict[str, str]) -> str:
    text = f"{row['out_adc_bits']} {row['mode']}"
    patterns = {"cco": r"CCO|oscillator|\bramp|slope", "sar": r"\bSAR\b", "flash": r"flash ADC"}
    return next((kind for kind, word in patterns.items() if re.search(word, text, re.I)), "")


def _sharing(row: dict[str, str], cols: int) -> int:
    """Columns that share a converter: "8 columns per ADC", "shared by 8", "32 ADCs"."""
    text = f"{row['out_adc_bits']} {row['mode']}"
    given = _first(r"(\d+) col(?:umn)?s?\s*(?:per|/)\s*ADC", text)
    given = given or _first(r"shared by (\d+)", text)
    if given:
        return max(int(given), 1)
    converters = _first(r"(\d+) ADCs", text)
    return max(math.ceil(cols / max(int(converters), 1)), 1) if converters else 1


def _multibit_cell(row: dict[str, str]) -> str:
    """Cells that multiply a whole input word at once: C-2C ladders, 18-transistor current cells."""
    text = f"{row['chip_or_macro']} {row['device']} {row['cell']}"
    if "C-2C" in text:
        return "ladder"
    return "current" if re.search(r"\b1[0-9]T\b", text) else ""


def _family(identity: str) -> str:
    """hermes_chip_1ph and hermes_chip_4ph are one chip, as are neurram_8b and neurram_1b."""
    return re.sub(r"_(\d+ph|\d+b(\d+b)?|chip|system|\d{3}|breakdown)$", "", identity)


def parse(row: dict[str, str]) -> Chip:
    """Design parameters and results of one row; ValueError says what cannot be expressed."""
    device_text = row["device"].lower()
    devices = {name for word, name in DEVICES.items() if word in device_text}
    if "3d" in device_text:
        raise ValueError(
            "a 3D projection without silicon: technology pcm-3d equals it by definition"
        )
    if len(devices) != 1:
        kind = row["device"].strip() or "nothing"
        raise ValueError(f"no model of the device {kind!r}; modelled: PCM, RRAM, flash, SRAM")
    device = devices.pop()
    node = quantity(row["node_nm"], "nm")
    if node is None or re.search(r"\d\s*-\s*\d", row["node_nm"]) or not 7 <= node <= 130:
        raise ValueError(
            f"node {row['node_nm'].strip() or 'missing'!r}; one from 7 to 130 nm is needed"
        )
    rows, cols = _array(row)
    bits = _bits(row)
    mode, phases, slot = _input_mode(row, device, bits[0])
    level = "chip" if re.match(r"\s*(chip|peak)", row["mode"]) else "tile"
    level = "system" if row["mode"].strip().startswith("system") else level
    volts = _first(rf"({NUMBER})\s*V\b", row["mode"], row["chip_or_macro"])
    per_column = _first(r"(\d+)b/c(?:ell|ol)", row["mode"] + row["device"] + row["cell"])
    per_column = per_column or _first(r"^(\d+)b$", row["cell"])
    if per_column is not None and not 1 <= int(per_column) <= 8:
        raise ValueError(f"{per_column} bits a cell; from 1 to 8 are modelled")
    multibit = _multibit_cell(row)
    if multibit == "ladder":  # counted in bit cells: the bits of a weight share a ladder
        cols = max(cols // (bits[1] or 1), 1)
    values, missing = _measured(row, float(rows) * cols)
    return Chip(
        id=row["id"],
        title=row["chip_or_macro"],
        family=_family(row["id"]),
        kind=row["kind(measured|simulated)"],
        node_nm=node,
        device=device,
        rows=rows,
        cols=cols,
        input_bits=bits[0],
        weight_bits=bits[1],
        adc_bits=bits[2],
        adc_kind=_adc_kind(row),
        columns_per_adc=_sharing(row, cols),
        input_mode=mode,
        phases=phases,
        slot_s=slot,
        supply_v=float(volts) if volts else None,
        bits_per_column=int(per_column) if per_column else None,
        multibit_cell=multibit,
        neuron=device == "rram" and bits[1] is None and "sign" in row["in_bits"].lower(),
        digital="digital" in row["device"].lower() or "all-digital" in row["chip_or_macro"],
        level=level,
        measured=values,
        missing=missing,
    )
