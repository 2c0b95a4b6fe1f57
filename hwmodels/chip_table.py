"""A table of published chips, read into design parameters and measured results.

Published tables hold free text ("8 (1 ns/LSB PWM)", "4b-in 4b-w 6b ADC"). Design parameters are
read from it as far as it goes; measured results are kept apart, so that no model can see them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from hwmodels import chip_bits, chip_text
from hwmodels.table_text import quantity, read_csv, tidy, wide_range

SHIPPED = Path(__file__).parent / "silicon" / "chips.csv"
SURVEY = SHIPPED.with_name("survey.csv")

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
    "status",
)
DESIGN = (*COLUMNS[3:12], "ops_per_MVM(2*MAC)")
"""Columns that predictions are made from."""
NEEDED = ("node_nm", "device", "array_rows_x_cols")
"""Columns without which no row can be predicted; others may be absent, and are then empty."""
ALIASES = {
    "name": "chip_or_macro",
    "chip": "chip_or_macro",
    "macro": "chip_or_macro",
    "kind": "kind(measured|simulated)",
    "node": "node_nm",
    "technologynm": "node_nm",
    "technology": "node_nm",
    "technode": "node_nm",
    "technodenm": "node_nm",
    "process": "node_nm",
    "processnm": "node_nm",
    "memory": "device",
    "celltype": "device",
    "array": "array_rows_x_cols",
    "arraysize": "array_rows_x_cols",
    "rowsxcols": "array_rows_x_cols",
    "inputbits": "in_bits",
    "weightbits": "weight_bits_or_levels",
    "adcbits": "out_adc_bits",
    "outputbits": "out_adc_bits",
    "adc": "out_adc_bits",
    "latency": "latency_ns_per_MVM",
    "latencyns": "latency_ns_per_MVM",
    "latencypermvm": "latency_ns_per_MVM",
    "energy": "energy_nJ_per_MVM",
    "energynj": "energy_nJ_per_MVM",
    "energypermvm": "energy_nJ_per_MVM",
    "energypermac": "energy_pJ_per_MAC",
    "topsw": "TOPS_per_W",
    "energyefficiency": "TOPS_per_W",
    "energyefficiencytopsw": "TOPS_per_W",
    "area": "area_mm2",
}


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
    """`sar`, `cco` (an oscillator), `ramp` or `flash`; empty: that of its class."""
    columns_per_adc: int
    input_mode: str
    unsigned: bool
    """Inputs without a sign: all their bits set the width of a pulse, which takes twice as long."""
    phases: int
    slot_s: float | None
    """One pulse-width step or one serial bit, where the row states a clock."""
    supply_v: float | None
    bits_per_column: int | None
    rows_at_once: int | None
    """Rows that are read together, where the row says so."""
    cell: str
    """`capacitor`, `ladder` (C-2C), `large` (eleven transistors and more) or empty."""
    neuron: bool
    """Voltage-mode neurons: signed pulses, sampled, integrated and counted down step by step."""
    digital: bool
    """Adders instead of converters."""
    durations: bool
    """Columns end in pulses, which other tiles take as they are; the chip's rim counts them."""
    level: str
    """What the row describes: `tile`, `chip` or `system`."""
    measured: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Why a quantity has no measured value to compare with."""


def read_table(path: str | Path | None = None) -> list[dict[str, str]]:
    """Rows of a chip table as dictionaries (the shipped table by default).

    Raises ValueError in one line for an unreadable, empty or foreign file.
    """
    rows = read_csv(SHIPPED if path is None else Path(path), COLUMNS, NEEDED, ALIASES)
    for index, row in enumerate(rows):
        row["id"] = row["id"].strip() or row["chip_or_macro"].strip() or f"row {index + 1}"
        row["kind(measured|simulated)"] = row["kind(measured|simulated)"].strip() or "measured"
    for index, row in enumerate(rows):  # two rows of one name are two chips
        if any(other["id"] == row["id"] for other in rows[:index]):
            row["id"] += f" (row {index + 1})"
    return rows


RESULTS = (
    ("latency_s", "latency_ns_per_MVM", "ns", 1e-9),
    ("energy_j", "energy_nJ_per_MVM", "nJ", 1e-9),
    ("tops_per_w", "TOPS_per_W", "TOPS/W", 1.0),
    ("area_mm2", "area_mm2", "mm2", 1.0),
)
ONE_BIT = re.compile(
    r"\b1[- ]?b(?:it)?[- ]norm|normali[sz]ed to (?:1|one)[- ]?b|OPS/W/b"
    r"|\b1b?-?TOPS|OPS/W\D*\b1[- ]?b(?:it)?\s*[-/x×*]\s*1[- ]?b",
    re.I,
)
"""How tables say that TOPS/W counts products of single bits."""


def _measured(
    row: dict[str, str], macs: float, bit_products: int | None
) -> tuple[dict[str, float], dict[str, str]]:
    """Results of a row in SI units by quantity, and why others are missing.

    A row whose status begins with M holds figures that nobody verified: nothing is compared.
    TOPS/W normalised to one bit is divided by `bit_products`, input bits times weight bits (None:
    analog weights, which have none).
    """
    if re.match(r"\s*M\b", row["status"]):
        return {}, {name: "the row's figures are marked unverified (M)" for name, *_ in RESULTS}
    values: dict[str, float] = {}
    missing: dict[str, str] = {}
    for name, column, unit, scale in RESULTS:
        text = row[column]
        if name == "latency_s" and re.search("per RNNT|per query|frame", text):
            missing[name] = "the row gives the latency of a network, not of an MVM"
            continue
        try:
            value = quantity(text, unit)
            per = re.search(r"(?:/|\bper)\s*(MAC|OP)s?\b", text, re.I)
            if name == "energy_j" and value is not None and per:
                scale *= macs * (2 if per[1].upper() == "OP" else 1)
            if name == "energy_j" and value is None:
                value = quantity(row["energy_pJ_per_MAC"], "pJ")
                scale = 1e-12 * macs
        except ValueError as error:
            missing[name] = str(error)
            continue
        if value is not None and wide_range(text):
            missing[name] = f"{text.strip()!r} is a range; one operating point is needed"
            continue
        if name == "tops_per_w" and ONE_BIT.search(f"{text} {row['mode']}"):
            if bit_products is None:
                missing[name] = "TOPS/W normalised to one bit, but the weights are analog"
                continue
            scale /= bit_products
        if value is not None and value <= 0:
            missing[name] = "the published value is not positive"
        elif value is not None:
            values[name] = value * scale
    return values, missing


def _family(identity: str) -> str:
    """hermes_chip_1ph and hermes_chip_4ph are one chip, as are neurram_8b and neurram_1b."""
    return re.sub(r"_(\d+ph|\d+b(\d+b)?|chip|system|\d{1,3}|breakdown)$", "", identity)


def parse(row: dict[str, str]) -> Chip:
    """Design parameters and results of one row; ValueError says what cannot be expressed."""
    title = row["chip_or_macro"]
    row = {name: tidy(text) for name, text in row.items()}
    for column in DESIGN:
        if re.search(r"\d{16}", row.get(column) or ""):
            raise ValueError(f"{column} holds a number of more than 15 digits")
    device, node = chip_text.device_of(row), chip_text.node_nm(row)
    rows, cols = chip_text.array(row)
    bits = chip_bits.bits_of(row)
    if device == "sram" and bits[1] is None:
        raise ValueError("the row gives no bits of a weight, which SRAM stores one by one")
    mode, phases, slot = chip_text.input_mode(row, device, bits)
    cell = chip_text.cell_kind(row) if device == "sram" else ""
    if cell == "ladder":  # counted in bit cells: the bits of a weight share a ladder
        cols = max(cols // (bits[1] or 1), 1)
    products = None if bits[1] is None else bits[0] * bits[1]
    values, missing = _measured(row, float(rows) * cols, products)
    return Chip(
        id=row["id"],
        title=title,
        family=_family(row["id"]),
        kind=row["kind(measured|simulated)"],
        node_nm=node,
        device=device,
        rows=rows,
        cols=cols,
        input_bits=bits[0],
        weight_bits=bits[1],
        adc_bits=bits[2],
        adc_kind=chip_text.adc_kind(row),
        columns_per_adc=chip_text.sharing(row, cols),
        input_mode=mode,
        unsigned=chip_text.unsigned(row),
        phases=phases,
        slot_s=slot,
        supply_v=chip_text.supply_v(row),
        bits_per_column=chip_bits.bits_per_column(row),
        rows_at_once=chip_text.rows_at_once(row, rows),
        cell=cell,
        neuron=device == "rram" and bits[1] is None and chip_text.has_neurons(row),
        digital=chip_text.is_digital(row),
        durations=chip_text.ends_in_durations(row),
        level=chip_text.level_of(row["mode"]),
        measured=values,
        missing=missing,
    )
