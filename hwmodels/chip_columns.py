"""The columns of a table of chips: what each means, in which unit, and what it accepts.

One description for the reader, its errors, the template and the shipped table. A cell is empty
where a paper does not state the value; nothing is read out of prose.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Column:
    """One column: `kind` is `text`, `word` (one of `words`), `whole` or `number` (in `unit`)."""

    name: str
    kind: str
    meaning: str
    unit: str = ""
    low: float = 0.0
    high: float = float("inf")
    words: tuple[str, ...] = ()
    also: dict[str, str] = field(default_factory=dict)
    """Other spellings of words, in small letters and digits only."""
    aliases: tuple[str, ...] = ()
    """Other names of the column, in small letters and digits only."""
    default: object = None


def _text(name: str, meaning: str, *aliases: str) -> Column:
    return Column(name, "text", meaning, aliases=aliases, default="")


def _number(name: str, unit: str, low: float, high: float, meaning: str, *aliases: str) -> Column:
    return Column(name, "number", meaning, unit, low, high, aliases=aliases)


def _whole(name: str, low: float, high: float, meaning: str, *aliases: str) -> Column:
    return Column(name, "whole", meaning, "", low, high, aliases=aliases)


def _word(
    name: str, words: tuple[str, ...], meaning: str, also: dict[str, str], *aliases: str
) -> Column:
    return Column(name, "word", meaning, words=words, also=also, aliases=aliases, default="")


KINDS = ("silicon", "simulation", "projection", "vendor")
DEVICES = ("pcm", "rram", "flash", "mram", "fefet", "sram", "edram")
STORAGE = ("analog", "bit_sliced")
SUMS = ("current", "discharge", "capacitors", "ladder", "adders")
INPUTS = ("pulse_width", "bit_serial", "pulse_train", "voltage_levels")
READOUTS = (
    "sar",
    "oscillator",
    "ramp",
    "ramp_to_pulses",
    "flash",
    "sense_amplifier",
    "repeated_sense",
    "integrating_neuron",
    "adder_tree",
)
COUNTS = ("array", "macro", "chip", "system")
TOPS_AT = ("own_bits", "one_bit")

COLUMNS = (
    _text("id", "a short name of the row", "index", "chipid"),
    _text("title", "chip or paper", "name", "chip", "macro", "papertitle", "chipormacro"),
    _text("venue", "where and when published", "venueyear", "journalconference", "reference"),
    _text("family", "rows that share it are one chip, left out together; empty: the title"),
    _text("source", "where the row's figures were read", "doi"),
    _text("status", "V1 primary source, V2 secondary, D derived, M unverified (not compared)"),
    _word(
        "kind",
        KINDS,
        "what the figures are: measured silicon (if empty), or what has not been built",
        {"measured": "silicon", "simulated": "simulation", "projected": "projection"},
    ),
    _word(
        "in_fit",
        ("yes", "no"),
        "whether the shipped constants are fitted to the row",
        {},
    ),
    _number(
        "node_nm", "nm", 3, 180, "process node",
        "tech", "technology", "technologynode", "technode", "node", "process", "processnode",
    ),
    _word(
        "device",
        DEVICES,
        "what holds the weights",
        {
            "phasechangememory": "pcm", "pcram": "pcm", "reram": "rram", "memristor": "rram",
            "oxram": "rram", "norflash": "flash", "eflash": "flash", "sttmram": "mram",
            "sotmram": "mram", "gaincell": "edram", "6tsram": "sram", "8tsram": "sram",
        },
        "memory", "architecture", "memorytype", "celltype", "memorytechnology",
    ),
    _whole(
        "rows", 1, 1e6, "inputs of the array",
        "nrow", "nrows", "arrayrows", "numrows", "inputs", "wordlines",
    ),
    _whole(
        "columns", 1, 1e6, "weight columns of the array (not devices)",
        "cols", "ncol", "ncols", "ncolumns", "weightcolumns", "arraycols", "arraycolumns",
        "outputs",
    ),
    _number(
        "devices_per_weight", "", 1, 128, "devices of a weight, both signs together",
        "devicesperweight", "cellsperweight",
    ),
    _word(
        "weight_storage",
        STORAGE,
        "analog levels, or bits (one or a few a cell, added after the read)",
        {
            "analogmultilevel": "analog", "multilevel": "analog", "mlcanalog": "analog",
            "digital": "bit_sliced", "sliced": "bit_sliced", "binary": "bit_sliced",
        },
        "storage",
    ),
    _number(
        "weight_bits", "", 1, 64, "bits of a weight (of analog levels where known)",
        "bw", "wbits", "weightprecision", "weightbit",
    ),
    _number("bits_per_cell", "", 1, 8, "bits of a weight that one cell holds", "bitspercolumn"),
    _word(
        "column_sum",
        SUMS,
        "how products add on a column; empty: adders with an adder tree, current in non-volatile "
        "cells, discharge of the bit line in SRAM",
        {
            "is": "current", "qs": "discharge", "qr": "capacitors", "qsqr": "discharge",
            "charge": "capacitors", "chargesharing": "capacitors", "c2c": "ladder",
            "c2cladder": "ladder", "dimc": "adders", "digital": "adders",
        },
        "computemodel", "summation",
    ),
    _word(
        "input_mode",
        INPUTS,
        "how an input is applied: pulse width, one conversion a bit, pulses of all bits added "
        "before one conversion, or a level",
        {
            "pwm": "pulse_width", "serial": "bit_serial", "levels": "voltage_levels",
            "charge": "voltage_levels", "voltage": "voltage_levels", "digital": "bit_serial",
            "bitparallel": "voltage_levels",
        },
    ),
    _number(
        "input_bits", "", 1, 16, "bits of an input, sign included",
        "bx", "bin", "inbits", "activationbits", "inputprecision", "inputbit",
    ),
    _number(
        "input_bits_per_step", "", 1, 16,
        "bits of an input that one step takes; empty: one, or all of a level or pulse",
        "bitspercycle", "inputbitspercycle",
    ),
    _word(
        "input_sign", ("signed", "unsigned"), "whether a pulse width has a sign of its own", {}
    ),
    _whole("phases", 1, 16, "read phases of an input", "readphases"),
    _whole(
        "rows_at_once", 1, 1e6, "rows turned on together; empty: what is usual in its class",
        "activerows", "rc", "rowsactivated", "parallelrows", "wlparallelism",
    ),
    _word(
        "readout",
        READOUTS,
        "what reads a column (repeated_sense: a sense amplifier that reads anew for every level)",
        {
            "saradc": "sar", "cco": "oscillator", "vco": "oscillator", "timedomain": "ramp",
            "ramporoscillator": "ramp", "slope": "ramp", "rampadc": "ramp", "flashadc": "flash",
            "sa": "sense_amplifier", "senseamp": "sense_amplifier", "neuron": "integrating_neuron",
            "digitaladdertree": "adder_tree", "digital": "adder_tree", "adders": "adder_tree",
        },
        "adctype", "adckind",
    ),
    _number(
        "output_bits", "", 1, 64, "bits of the read-out (of the converter, not of later sums)",
        "badc", "adcbits", "adcprecision", "outputprecision", "outbits",
    ),
    _whole(
        "columns_per_converter", 1, 1e6, "columns that share a converter",
        "columnsperadc", "adcsharing", "muxratio",
    ),
    _number(
        "supply_v", "V", 0.2, 5, "supply that the figures belong to",
        "vdd", "supplyv", "supply", "supplyvoltage",
    ),
    _number(
        "clock_hz", "Hz", 1e4, 1e12,
        "rate of input steps (pulse-width units, serial bits, levels; steps of a neuron)",
        "clock", "frequency", "clockfrequency", "steprate",
    ),
    _number(
        "integration_s", "s", 1e-12, 1, "time that a neuron integrates its inputs, where stated",
        "integrationtime",
    ),
    _word(
        "counts",
        COUNTS,
        "what the figures count: cells and drivers, the macro with its read-out (if empty), "
        "buffers and control of a chip, or digital processing of a system",
        {"tile": "macro", "core": "macro", "bank": "macro", "processor": "chip", "soc": "chip"},
        "level", "boundary",
    ),
    _number(
        "energy_per_mvm_j", "J", 1e-21, 1e3, "energy of one product of the whole array",
        "energy", "energypermvm", "energymvm",
    ),
    _number(
        "latency_s", "s", 1e-15, 1e3, "time of one product of the rows turned on together",
        "latency", "tcore", "latencypermvm", "accesstime",
    ),
    _number(
        "tops_per_w", "TOPS/W", 1e-9, 1e9, "efficiency, two operations a weight",
        "topsw", "energyefficiency", "ee",
    ),
    _word(
        "tops_per_w_at",
        TOPS_AT,
        "at the row's bits (if empty), or normalised to products of single bits",
        {"1x1": "one_bit", "1b": "one_bit", "normalised": "one_bit", "normalized": "one_bit"},
    ),
    _number("area_mm2", "mm2", 1e-9, 1e6, "area of what the figures count", "area", "coresize"),
    _text("note", "anything else", "notes", "comment", "comments"),
)  # fmt: skip
NEEDED = ("node_nm", "device", "rows", "columns", "input_bits")
"""Columns without which no row can be predicted; others may be absent, and are then empty."""

EXAMPLES: tuple[dict[str, str], ...] = (
    {
        "id": "example_pcm", "title": "analog PCM core, pulse-width inputs", "node_nm": "14",
        "device": "pcm", "rows": "256", "columns": "256", "devices_per_weight": "4",
        "weight_storage": "analog", "input_mode": "pulse_width", "input_bits": "8",
        "readout": "oscillator", "output_bits": "8", "columns_per_converter": "1",
        "supply_v": "0.8", "clock_hz": "1e9", "counts": "macro", "latency_s": "130e-9",
        "tops_per_w": "10.5", "area_mm2": "0.634",
    },
    {
        "id": "example_rram", "title": "RRAM macro, weights of several cells", "node_nm": "22",
        "device": "rram", "rows": "512", "columns": "512", "weight_storage": "bit_sliced",
        "weight_bits": "4", "bits_per_cell": "2", "input_mode": "pulse_train", "input_bits": "4",
        "readout": "sense_amplifier", "output_bits": "6", "supply_v": "0.8",
        "latency_s": "18.3e-9", "tops_per_w": "28.93",
    },
    {
        "id": "example_sram", "title": "charge-domain SRAM macro", "node_nm": "28",
        "device": "sram", "rows": "256", "columns": "64", "weight_storage": "bit_sliced",
        "weight_bits": "4", "column_sum": "capacitors", "input_mode": "voltage_levels",
        "input_bits": "4", "rows_at_once": "256", "readout": "sar", "output_bits": "8",
        "supply_v": "0.9", "tops_per_w": "1200", "tops_per_w_at": "one_bit",
    },
    {
        "id": "example_digital", "title": "digital SRAM macro", "node_nm": "22", "device": "sram",
        "rows": "256", "columns": "64", "weight_storage": "bit_sliced", "weight_bits": "4",
        "input_mode": "bit_serial", "input_bits": "4", "readout": "adder_tree",
        "supply_v": "0.72", "tops_per_w": "89",
    },
)  # fmt: skip
"""Rows of the template, one for each way of building a macro that differs most."""


def template() -> str:
    """A table to fill in: what each column means as comments, the header, example rows."""
    lines = [f"# {column.name}: {describe(column)}" for column in COLUMNS]
    names = [column.name for column in COLUMNS]
    rows = [[row.get(name, "") for name in names] for row in EXAMPLES]
    quoted = (
        ",".join(f'"{cell}"' if "," in cell else cell for cell in row) for row in [names, *rows]
    )
    return "\n".join([*lines, *quoted]) + "\n"


def describe(column: Column) -> str:
    """Meaning, unit and accepted values of a column in one line."""
    text = column.meaning
    if column.kind == "word":
        return f"{text} ({', '.join(column.words)})"
    if column.kind in ("whole", "number"):
        unit = f" {column.unit}" if column.unit else ""
        text += f" ({column.low:g} to {column.high:g}{unit})"
    return text + (", needed" if column.name in NEEDED else "")


def fields_of() -> list[dict[str, object]]:
    """The columns as plain records, for `--json`."""
    return [
        {
            "name": column.name,
            "kind": column.kind,
            "unit": column.unit,
            "meaning": column.meaning,
            "words": list(column.words),
            "needed": column.name in NEEDED,
        }
        for column in COLUMNS
    ]
