"""Bits of inputs, weights and converters from the free text of published chip tables.

"4b-in 4b-w 6b ADC", "INT8 x INT4", "15 levels", "+1/-1", "8-bit, 2b/cell". ValueError in one line
for what the models cannot express.
"""

from __future__ import annotations

import math
import re

from hwmodels.chip_text import BIT, WORDS, device_of, first, is_digital, rows_at_once

BITS = rf"(\d+(?:\.\d+)?){BIT}"
NAMES = {
    "input": r"in(?:puts?)?|act(?:ivation)?s?",
    "weight": r"w(?:eights?)?",
    "output": r"out(?:puts?)?",
}
"""Names of what bits belong to, beside them: "8b-in", "4b activations", "W: 8b"; or one letter."""
SIGNS = r"[{(]?[+-]1\s*[/,]\s*(?:0\s*[/,]\s*)?[+-]?1[})]?"
"""Values of binary and ternary numbers: "+1/-1", "{-1, 0, 1}"."""
DEVICE_WORDS = r"pcm|devices?|cells?|conductances?|memristors?|re?ram"
"""After a number: what makes up a weight ("4 PCM per weight"), not its bits."""
ANALOG_BITS = 3
"""NVM cells of so many bits and more hold analog weights."""
WIDEST_CONVERTER = 10
"""An output of more bits than this, where no ADC is named, is the digital sum over bits of inputs
and weights ("8b IN/8b W/19b OUT"), not a converter's."""


def _count(text: str | None, what: str) -> int | None:
    """Whole bits that a cell begins with: "8", "INT8", "1.5b" (2), "ternary"; None: none given."""
    if text is None:
        return None
    if re.match(r"\s*b?fp?\d", text, re.IGNORECASE):
        raise ValueError(f"{what} in floating point ({text.strip()!r}) is not modelled")
    text = re.sub(SIGNS, _bits_of_signs, text)
    for word, digit in WORDS.items():
        text = re.sub(rf"\b{word}\b", digit, text, flags=re.IGNORECASE)
    every = r"(?:cycle|clock|step|cell|col(?:umn)?)"
    text = re.sub(rf"\d+(?:{BIT})?\s*(?:/|per)\s*{every}", "", text, flags=re.I)
    text = re.sub(r"(\d+)[- ]levels?", _bits_of_levels, text)
    text = re.sub(rf"^\s*\w+\s+(?={BITS})", "", text)  # "one 8-bit ADC per column"
    text = re.sub(r"(\d+)\s*\+\s*(\d+)", lambda two: str(int(two[1]) + int(two[2])), text)
    if re.match(rf"\s*\d+(?:{BIT})?\s*(?:-|–|to|/|,|or)\s*\d+(?!\d*\s*:)(?:{BIT})?.*$", text):
        raise ValueError(
            f"{what} bits {text.strip()!r} are a range or several; one value is needed"
        )
    value = first(r"(\d+(?:\.\d+)?)", text)
    return None if value is None else min(math.ceil(float(value)), 10**6)


def _bits_of_signs(values: re.Match[str]) -> str:
    return "2b" if "0" in values[0] else "1b"


def _bits_of_levels(match: re.Match[str]) -> str:
    return f"{max(math.ceil(math.log2(max(int(match[1]), 2))), 1)}b"


def _labelled(what: str, *texts: str) -> str | None:
    """Bits beside their label: "8b-in", "8b IN", "IN: 8b", "input 8b", "I:8b"."""
    name = NAMES[what]
    colon = rf"(?<![/-])\b(?:{name}|{what[0]})\s*[:=]\s*{BITS}"
    for pattern in (colon, rf"{BITS}[- ]?(?:{name})\b", rf"\b(?=[a-z]{{4}})(?:{name}) {BITS}"):
        told = first(pattern, *texts)
        if told:
            return told
    return None


def _pair(mode: str) -> tuple[str, str] | None:
    """Bits of input and weight without labels: "4b-4b", "8b/8b", "INT8 x INT8", "W4A8", "INT8"."""
    swapped = re.search(r"\bW(\d+)A(\d+)\b", mode)
    if swapped:
        return swapped[2], swapped[1]
    for pattern in (
        r"\bA(\d+)W(\d+)\b",
        r"INT(\d+)\s*[-/x×*]\s*INT(\d+)",
        r"(\d+)b\s*[-/x×*]\s*(\d+)b",
        r"\bINT(\d+)()\b",
    ):
        match = re.search(pattern, mode)
        if match:
            return match[1], match[2] or match[1]
    return None


def _weight_bits(row: dict[str, str], pair: tuple[str, str] | None) -> int | None:
    """Bits of a weight; None for analog levels ("analog, 4 PCM/weight", "~3b equivalent").

    Cells of three bits and more, or of counted levels, are analog: no converter tells their sums
    apart exactly.
    """
    mode, text = row["mode"], row["weight_bits_or_levels"]
    levels = int(first(r"(\d+)[- ]levels?", text) or 1)
    held = max(bits_per_column(row) or 1, math.log2(max(levels, 1)))
    if held >= ANALOG_BITS and device_of(row) != "sram":
        return None
    told = _labelled("weight", mode) or first(r"(ternary|binary)[- ]w", mode)
    if told or pair:
        return _count(told or (pair and pair[1]), "weight")
    if re.search(rf"analog|equiv|~|\d\s*(?:{DEVICE_WORDS})", text, re.IGNORECASE):
        return None
    text = re.sub(SIGNS, _bits_of_signs, text)
    whole = rf"\s*(?:u?int|b?fp?(?=\d)|(?:un)?signed|[±])?\s*(?:\d+(?:\.\d+)?|{'|'.join(WORDS)})"
    return _count(text, "weight") if re.match(whole, text, re.IGNORECASE) else None


def _converter_bits(row: dict[str, str], weight: int | None) -> int:
    """Bits of a converter, where none are stated 8.

    NVM macros with a bit a cell, or that add bits up digitally, have converters of few bits: as
    many as tell the sums of the rows read together apart, or 6 where no rows are stated.
    """
    mode, out = row["mode"], row["out_adc_bits"]
    if is_digital(row):
        return 8  # adders have no converter
    bits = _count(_labelled("output", out, mode), "converter")
    if bits is None and re.match(r"\s*(1\s*x?\s*)?(sense amp|SA\b|comparator)", out, re.I):
        bits = 1
    bits = bits or _count(re.sub(r"\d+\s*x\s*(?=\d+b)|\d+\s*(?=ADC)", "", out), "output")
    many = weight is not None and weight > 1
    wide = bits is not None and bits > (WIDEST_CONVERTER if many else 14)
    summed = wide and "ADC" not in out.upper()
    bits = None if summed else bits
    bits = bits or _count(first(rf"{BITS}[- ]*(?:[A-Za-z]+ )?ADC", mode), "converter")
    if bits:
        return bits
    sliced = weight is not None and device_of(row) != "sram"
    if not (sliced and (summed or bits_per_column(row) == 1)):
        return 8
    together, held = rows_at_once(row, 2**WIDEST_CONVERTER), bits_per_column(row) or 2
    return math.ceil(math.log2(together * (2**held - 1) + 1)) if together else 6


def bits_of(row: dict[str, str]) -> tuple[int, int | None, int]:
    """Bits of input, weight (None: analog) and converter."""
    pair = _pair(row["mode"])
    given = _count(_labelled("input", row["mode"]) or (pair and pair[0]), "input")
    weight = _weight_bits(row, pair)
    bits = given or _count(row["in_bits"], "input") or 8, weight, _converter_bits(row, weight)
    if not (
        1 <= bits[0] <= 16 and 1 <= bits[2] <= 14 and 1 <= (8 if weight is None else weight) <= 64
    ):
        raise ValueError(f"bits out of range (input {bits[0]}, weight {bits[1]}, output {bits[2]})")
    return bits


def bits_per_column(row: dict[str, str]) -> int | None:
    """Bits of a weight that a cell or column holds: "2b/cell", "3 bits per cell", "4b MLC"."""
    texts = (row["mode"], row["device"], row["cell"], row["weight_bits_or_levels"])
    per_column = first(rf"(\d+){BIT}?\s*(?:/|per)\s*c(?:ell|ol)", *texts)
    per_column = per_column or first(r"^(\d+)b$", row["cell"])
    per_column = per_column or first(rf"(\d+){BIT}[- ]cells?\b", *texts)
    per_column = per_column or first(rf"(\d+){BIT}[- ]MLC", *texts)
    if per_column is None and "SLC" in row["cell"] + row["device"]:
        per_column = None if "MLC" in row["cell"] + row["device"] else "1"
    if per_column is not None and not 1 <= int(per_column) <= 8:
        raise ValueError(f"{per_column} bits a cell; from 1 to 8 are modelled")
    return int(per_column) if per_column else None
