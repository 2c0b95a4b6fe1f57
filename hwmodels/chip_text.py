"""Design parameters from the free text that stands in the rows of published chip tables.

"4b-in 4b-w 6b ADC", "8 (1 ns/LSB PWM)", "8T1C": every function reads one parameter from a row, and
raises ValueError in one line for what the models cannot express.
"""

from __future__ import annotations

import math
import re

from hwmodels.components.scaling import NODES_NM
from hwmodels.table_text import NUMBER, number, plain, quantity

DEVICES = {
    "pcm": r"pcm|pcram|phase[- ]change|\bgst\b",
    "flash": r"flash|\bnor\b|sonos|floating[- ]gate|\besf\d",
    "sram": r"sram",
    "rram": r"rram|reram|resistive ram|memristor|oxram|taox|hfo[x2]|\bwox",
}
UNMODELLED = r"mram|fefet|ferro|edram|gain[- ]cell|ecram|dram|photonic|fram"
NAMES = {
    "input": r"in(?:puts?)?|act(?:ivation)?s?",
    "weight": r"w(?:eights?)?",
    "output": r"out(?:puts?)?",
}
"""Names of what bits belong to, beside them: "8b-in", "4b activations", "W: 8b"; or one letter."""
WORDS = {"binary": "1", "ternary": "2", "one": "1", "two": "2", "four": "4"}
BIT = r"\s*[- ]?b(?:its?)?(?![a-z])"
"""What may stand after a number of bits: "8b", "8-bit", "8 bits"."""
BITS = rf"(\d+(?:\.\d+)?){BIT}"
ANALOG_BITS = 3
"""NVM cells of so many bits and more hold analog weights."""
WIDEST_CONVERTER = 10
"""An output of more bits than this, where no ADC is named, is the digital sum over bits of inputs
and weights ("8b IN/8b W/19b OUT"), not a converter's."""


def _first(pattern: str, *texts: str) -> str | None:
    for text in texts:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            return match[1]
    return None


def array(row: dict[str, str]) -> tuple[int, int]:
    text = re.sub(
        r"(?i)(\d+)\s*k(?=\s*(?:rows?)?\s*[x×*]|\b)", _kilo, plain(row["array_rows_x_cols"])
    )
    triple = re.search(r"(\d+)\s*[x×]\s*\(?(\d+)\s*[x×]\s*(\d+)", text)
    if triple and not re.search(r"[x×]\s*\d+\s*PCM", text):  # "4 x 256 x 64": so many arrays
        three = [int(size) for size in triple.groups()]
        three.remove(min(three))
        text = f"{three[0]}x{three[1]}"
    cross = r"(\d+)\s*(?:\(?(?:rows?|WLs?)\)?)?\s*(?:[x×*,]|-?by-?|and)\s*(\d+)"
    signed = re.search(r"(\d+)\s*[x×]\s*(\d+)\s*signed", text)
    match = signed or re.search(cross, text, re.IGNORECASE)
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


def _kilo(match: re.Match[str]) -> str:
    return str(1024 * int(match[1]))


def _count(text: str | None, what: str) -> int | None:
    """Whole bits that a cell begins with: "8", "INT8", "1.5b" (2), "ternary"; None: none given."""
    if text is None:
        return None
    if re.match(r"\s*b?fp?\d", text, re.IGNORECASE):
        raise ValueError(f"{what} in floating point ({text.strip()!r}) is not modelled")
    for word, digit in WORDS.items():
        text = re.sub(rf"\b{word}\b", digit, text, flags=re.IGNORECASE)
    text = re.sub(rf"\d+(?:{BIT})?\s*(?:/|per)\s*(?:cycle|clock|step)", "", text, flags=re.I)
    text = re.sub(r"(\d+)[- ]levels?", _bits_of_levels, text)
    text = re.sub(rf"^\s*\w+\s+(?={BITS})", "", text)  # "one 8-bit ADC per column"
    if re.match(rf"\s*\d+(?:{BIT})?\s*(?:-|–|to|/|,|or)\s*\d+(?!\d*\s*:)(?:{BIT})?.*$", text):
        raise ValueError(f"{what} bits {text.strip()!r} are a range; one value is needed")
    value = _first(r"(\d+(?:\.\d+)?)", text)
    return None if value is None else min(math.ceil(float(value)), 10**6)


def _bits_of_levels(match: re.Match[str]) -> str:
    return f"{max(math.ceil(math.log2(max(int(match[1]), 2))), 1)}b"


def _labelled(what: str, *texts: str) -> str | None:
    """Bits beside their label: "8b-in", "8b IN", "IN: 8b", "input 8b", "I:8b"."""
    name = NAMES[what]
    colon = rf"(?<!/)\b(?:{name}|{what[0]})\s*[:=]\s*{BITS}"
    for pattern in (colon, rf"{BITS}[- ]?(?:{name})\b", rf"\b(?=[a-z]{{4}})(?:{name}) {BITS}"):
        told = _first(pattern, *texts)
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
    levels = int(_first(r"(\d+)[- ]levels?", text) or 1)
    held = max(bits_per_column(row) or 1, math.log2(max(levels, 1)))
    if held >= ANALOG_BITS and device_of(row) != "sram":
        return None
    told = _labelled("weight", mode) or _first(r"(ternary|binary)[- ]w", mode)
    if told or pair:
        return _count(told or (pair and pair[1]), "weight")
    if re.search(r"analog|equiv|~", text, re.IGNORECASE):
        return None
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
    bits = bits or _count(_first(rf"{BITS}[- ]*(?:[A-Za-z]+ )?ADC", mode), "converter")
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


def sampled(device: str, weight_bits: int | None, adc_bits: int) -> bool:
    """Memory cells of one or a few bits, read by sense amplifiers or converters of few bits."""
    few = adc_bits <= 6 or device == "rram"
    return few and device != "sram" and weight_bits is not None


def input_mode(
    row: dict[str, str], device: str, bits: tuple[int, int | None, int]
) -> tuple[str, int, float | None]:
    """How inputs are applied, the read phases, and the time of one slot where it is stated.

    `stepped` is NVM that does not say: bits in as few steps as macros of its class take.
    """
    text = f"{row['in_bits']} {row['mode']}"
    phase = _first(r"(\d+|one|two|four)[- ]phase", row["mode"], row["in_bits"])
    phases = int(WORDS.get(phase.lower(), phase)) if phase else 1
    if not 1 <= phases <= 16:
        raise ValueError(f"{phases} read phases; from 1 to 16 are modelled")
    a_bit = rf"\b1\s*{BIT}\s*(?:/|per)\s*(?:cycle|clock)"
    serial = re.search(rf"bit[- ]?serial|x\s*\d+ cycles|{a_bit}", text, re.IGNORECASE)
    pulse = re.search(r"PWM|ns/LSB|pulse[- ]width", text, re.IGNORECASE)
    if pulse and (not serial or pulse.start() < serial.start()):
        step = _first(rf"({NUMBER})\s*ns/LSB", text)
        whole = _first(rf"PWM\s*({NUMBER})\s*ns", text)
        seconds = float(step) * 1e-9 if step else None
        if seconds is None and whole:
            seconds = float(whole) * 1e-9 / 2 ** (bits[0] - (not unsigned(row)))
        return "pwm", phases, seconds
    slot = _first(rf"bit[- ]?serial[\s,x×@]*({NUMBER})\s*ns", text)
    if not serial and device in ("pcm", "flash") and not sampled(device, bits[1], bits[2]):
        return "pwm", phases, None
    if not serial and device == "sram":
        return "level", phases, clock_s(text)
    if "phase" in text and device == "rram":  # pulses of all bits add up before a conversion
        return "pulse_train", phases, None
    if device == "sram":
        return "bit_serial", phases, float(slot) * 1e-9 if slot else clock_s(text)
    return "bit_serial" if serial else "stepped", phases, float(slot) * 1e-9 if slot else None


def unsigned(row: dict[str, str]) -> bool:
    """Whether inputs have no sign: "UINT8", "8b unsigned"."""
    return bool(re.search(r"\buint|\bunsigned", row["in_bits"], re.IGNORECASE))


def ends_in_durations(row: dict[str, str]) -> bool:
    """Whether a tile's outputs stay pulses: "durations between tiles", "duration format"."""
    text = f"{row['out_adc_bits']} {row['mode']}"
    return bool(re.search(r"\bduration[- ]format|\bdurations\b", text, re.IGNORECASE))


def clock_s(text: str) -> float | None:
    """Period of the clock that a row states ("200 MHz", the middle of "0.5-1 GHz"), or None."""
    told = re.search(
        rf"({NUMBER})\s*(?:[MG]Hz\s*)?(?:(?:-|–|to)\s*({NUMBER})\s*)?([MG])Hz", plain(text)
    )
    if told is None:
        return None
    rate_hz = (float(told[1]) + float(told[2] or told[1])) / 2 * (1e9 if told[3] == "G" else 1e6)
    return 1 / rate_hz if 1e5 <= rate_hz <= 1e10 else None


def adc_kind(row: dict[str, str]) -> str:
    text = f"{row['out_adc_bits']} {row['mode']}"
    patterns = {
        "cco": r"CCO|VCO|oscillator",
        "ramp": r"\bramp|slope|integrating|\bdurations?\b",
        "sar": r"\bSAR|successive",
        "flash": r"flash (?:ADC|converter)|sense amp|comparator|\bSAs?\b",
    }
    if re.search(r"flash", row["out_adc_bits"], re.IGNORECASE):
        return "flash"
    return next((kind for kind, word in patterns.items() if re.search(word, text, re.I)), "")


def has_neurons(row: dict[str, str]) -> bool:
    """Whether an RRAM array is read by voltage-mode neurons: named, or signed input pulses."""
    words = f"{row['mode']} {row['out_adc_bits']}"
    return "sign" in row["in_bits"].lower() or bool(re.search("neuron|voltage-mode", words, re.I))


def sharing(row: dict[str, str], cols: int) -> int:
    """Columns that share a converter: "8 columns per ADC", "shared by 8", "8:1 mux", "32 ADCs"."""
    text = f"{row['out_adc_bits']} {row['mode']}"
    given = _first(r"(\d+) col(?:umn)?s?\s*(?:per|/)\s*(?:\w+ )?ADC", text)
    given = given or _first(r"shared (?:by|among|between) (\d+)", text)
    given = given or _first(r"(?:per|every|for) (\d+) col", text)
    given = given or _first(r"(\d+)\s*(?::|-to-)\s*1", text)
    if given:
        return min(max(int(given), 1), max(cols, 1))
    converters = _first(r"(\d+) (?:\w+ )?ADCs", text)
    return max(math.ceil(cols / max(int(converters), 1)), 1) if converters else 1


def cell_kind(row: dict[str, str]) -> str:
    """What an SRAM cell multiplies with: a ladder of capacitors, one, or many transistors."""
    text = f"{row['chip_or_macro']} {row['device']} {row['cell']}"
    if "C-2C" in text:
        return "ladder"
    own = f"{row['device']} {row['cell']}"
    if re.search(r"\d+T\d*C|capacit|charge", own, re.IGNORECASE):
        return "capacitor"
    return "large" if re.search(r"\b1[1-9]T\b", own) else ""


def device_of(row: dict[str, str]) -> str:
    text = row["device"].lower()
    if "3d" in text:
        raise ValueError("3D arrays are not predicted: technology pcm-3d is a published projection")
    devices = [name for name, word in DEVICES.items() if re.search(word, text)]
    other = re.search(rf"\b(?:[a-z-]*(?:{UNMODELLED}))", re.sub("s-?ram|reram|rram", "", text))
    if not devices and not other and re.search(r"\b\d+t(?:\d*c)?\b", text):
        devices = ["sram"]  # "8T1C", "6T": transistors of a cell
    if not text.strip():
        raise ValueError("the row names no device; modelled: PCM, RRAM, flash, SRAM")
    if len(devices) != 1 or other:
        kind = row["device"].strip()
        raise ValueError(f"no model of the device {kind!r}; modelled: PCM, RRAM, flash, SRAM")
    return devices[0]


def node_nm(row: dict[str, str]) -> float:
    text = row["node_nm"]
    try:
        node = quantity(text, "nm")
    except ValueError:
        node = None
    if node is None:  # "N7", "GF22FDX", "TSMC 28 nm"
        name = _first(r"^\s*(?:[A-Za-z]+\s*)?[A-Za-z]+\s*(\d+)(?![\d.])", text)
        node = float(name) if name else None
    several = re.search(r"\d\s*(?:nm)?\s*(?:-|–|to|/)\s*\d", text)
    if node is None or several or not NODES_NM[0] <= node <= NODES_NM[-1]:
        raise ValueError(f"node {text.strip() or 'missing'!r}; one from 3 to 180 nm is needed")
    return node


def level_of(mode: str) -> str:
    if mode.strip().startswith("system"):
        return "system"
    return "chip" if re.match(r"\s*(chip|peak)", mode) else "tile"


def bits_per_column(row: dict[str, str]) -> int | None:
    """Bits of a weight that a cell or column holds: "2b/cell", "3 bits per cell", "4b MLC"."""
    texts = (row["mode"], row["device"], row["cell"], row["weight_bits_or_levels"])
    per_column = _first(rf"(\d+){BIT}?\s*(?:/|per)\s*c(?:ell|ol)", *texts)
    per_column = per_column or _first(r"^(\d+)b$", row["cell"])
    per_column = per_column or _first(rf"(\d+){BIT}[- ]MLC", *texts)
    if per_column is None and "SLC" in row["cell"] + row["device"]:
        per_column = None if "MLC" in row["cell"] + row["device"] else "1"
    if per_column is not None and not 1 <= int(per_column) <= 8:
        raise ValueError(f"{per_column} bits a cell; from 1 to 8 are modelled")
    return int(per_column) if per_column else None


def is_digital(row: dict[str, str]) -> bool:
    """Whether a macro adds digitally: adder trees, no converters."""
    words = f"{row['device']} {row['cell']} {row['out_adc_bits']}"
    whole = f"{row['chip_or_macro']} {row['mode']}"
    told = re.search(
        r"all[- ]digital|fully[- ]digital|\bDC?IMC?\b|digital (?:CIM|IMC|(?:compute-)?in-memory)"
        r"|\bdigital\s*(?:[,;.]|$)",
        whole, re.IGNORECASE,
    )  # fmt: skip
    words_say = r"digital|\badders?\b|\bdcim\b|\badc[- ](?:less|free)|\bno adc"
    return bool(told) or bool(re.search(words_say, words, re.IGNORECASE))


def rows_at_once(row: dict[str, str], rows: int) -> int | None:
    text = f"{row['array_rows_x_cols']} {row['mode']}"
    told = _first(
        r"(\d+)\s*(?:active )?(?:rows|WLs)\s*(?:at once|at a time|in parallel|active)", text
    )
    told = told or _first(r"(\d+) (?:active|activated|parallel) (?:rows|WLs)", text)
    return min(max(int(told), 1), rows) if told else None


def supply_v(row: dict[str, str]) -> float | None:
    """The supply that a row states (V), the middle of a range; voltages of programming are none."""
    for text in (row["mode"], row["chip_or_macro"]):
        several = rf"({NUMBER})\s*(?:V?\s*(?:-|–|to)\s*({NUMBER})\s*)?(m?)V\b"
        for low, high, milli in re.findall(several, plain(text)):
            volts = (float(low) + float(high or low)) / 2 * (1e-3 if milli else 1.0)
            if 0.2 <= volts <= 4:
                return volts
    return None
