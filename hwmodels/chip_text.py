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
WORDS = {"binary": "1", "ternary": "2", "one": "1", "two": "2", "four": "4"}
BIT = r"\s*[- ]?b(?:its?)?(?![a-z])"
"""What may stand after a number of bits: "8b", "8-bit", "8 bits"."""


def first(pattern: str, *texts: str) -> str | None:
    for text in texts:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            return match[1]
    return None


ARRAY = r"\d+\s*[x×*]\s*\d+"


def array(row: dict[str, str]) -> tuple[int, int]:
    text = re.sub(
        r"(?i)(\d+)\s*k(?=\s*(?:rows?)?\s*[x×*]|\b)", _kilo, plain(row["array_rows_x_cols"])
    )
    triple = re.search(r"(\d+)\s*[x×]\s*\(?(\d+)\s*[x×]\s*(\d+)", text)
    if triple and not re.search(r"[x×]\s*\d+\s*PCM", text):  # "4 x 256 x 64": so many arrays
        three = [int(size) for size in triple.groups()]
        inner = "(" in triple[0] and three[0] >= max(three)  # "64x(8x8)": columns in groups
        three = [three[0], three[1] * three[2]] if inner else three
        if not inner:
            three.remove(min(three))
        text = f"{three[0]}x{three[1]}"
    if re.search(rf"{ARRAY}\s*(?:[,;/+&]|and|or)\s*{ARRAY}", text):
        raise ValueError(f"several arrays in {text.strip()!r}; one is needed")
    named = r"(?:\(?(?:rows?|WLs?|word[- ]?lines?|in(?:puts?)?)\)?)?"
    cross = rf"(\d+)\s*{named}\s*(?:[x×*,]|-?by-?|and)\s*(\d+)"
    signed = re.search(r"(\d+)\s*[x×]\s*(\d+)\s*signed", text)
    signed = signed or re.search(r"(?i)rows?\s*[:=]\s*(\d+)\D+col\w*\s*[:=]\s*(\d+)", text)
    match = signed or re.search(cross, text, re.IGNORECASE)
    if match is None:
        raise ValueError("the row gives no array of rows x columns")
    rows, cols = int(match[1]), int(match[2])
    operations = number(row.get("ops_per_MVM(2*MAC)", ""))
    if operations and rows:  # two a weight: tells weights from physical columns
        return rows, max(round(operations / 2 / rows), 1)
    if re.search(r"[x×]\s*\d+\s*PCM", text):  # counted in devices, four to a weight
        cols = max(cols // 4, 1)
    if rows < 1 or cols < 1 or re.match(r"\s*-", text):
        raise ValueError(f"an array of {row['array_rows_x_cols'].strip()} does not exist")
    return rows, cols


def _kilo(match: re.Match[str]) -> str:
    return str(1024 * int(match[1]))


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
    phase = first(r"(\d+|one|two|four)[- ]phase", row["mode"], row["in_bits"])
    phases = int(WORDS.get(phase.lower(), phase)) if phase else 1
    if not 1 <= phases <= 16:
        raise ValueError(f"{phases} read phases; from 1 to 16 are modelled")
    a_bit = rf"\b1\s*{BIT}\s*(?:/|per)\s*(?:cycle|clock)"
    serial = re.search(rf"bit[- ]?serial|x\s*\d+ cycles|{a_bit}", text, re.IGNORECASE)
    pulse = re.search(r"PWM|ns/LSB|pulse[- ]width", text, re.IGNORECASE)
    if pulse and (not serial or pulse.start() < serial.start()):
        step = first(rf"({NUMBER})\s*ns/LSB", text)
        whole = first(rf"PWM\s*({NUMBER})\s*ns", text)
        seconds = float(step) * 1e-9 if step else None
        if seconds is None and whole:
            seconds = float(whole) * 1e-9 / 2 ** (bits[0] - (not unsigned(row)))
        if seconds is None and device != "sram":
            seconds = clock_s(text)
        return "pwm", phases, seconds
    slot = first(rf"bit[- ]?serial[\s,x×@]*({NUMBER})\s*ns", text)
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
    """Whether inputs have no sign: "UINT8", "8b unsigned"; "unsigned + sign" have one."""
    text = row["in_bits"]
    return bool(re.search(r"\buint|\bunsigned", text, re.I)) and not re.search(
        r"\bsign", text, re.I
    )


def ends_in_durations(row: dict[str, str]) -> bool:
    """Whether a tile's outputs stay pulses: "durations between tiles", "duration format"."""
    text = f"{row['out_adc_bits']} {row['mode']}"
    return bool(re.search(r"\bduration[- ](?:format|encoded)|\bdurations\b", text, re.IGNORECASE))


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
    given = first(r"(\d+) col(?:umn)?s?\s*(?:per|/)\s*(?:\w+ )?ADC", text)
    given = given or first(r"shared (?:by|among|between) (\d+)", text)
    given = given or first(r"(?:per|every|for|ADC\s*/) ?(\d+) col", text)
    given = given or first(r"(\d+)\s*(?::|-to-)\s*1", text)
    if given:
        return min(max(int(given), 1), max(cols, 1))
    converters = first(r"(\d+) (?:\w+ )?ADCs", text)
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
        name = first(r"^\s*(?:[A-Za-z]+\s*)?[A-Za-z]+\s*(\d+)(?![\d.])", text)
        node = float(name) if name else None
    several = re.search(r"\d\s*(?:nm)?\s*(?:-|–|to|/)\s*\d", text)
    if node is None or several or not NODES_NM[0] <= node <= NODES_NM[-1]:
        raise ValueError(f"node {text.strip() or 'missing'!r}; one from 3 to 180 nm is needed")
    return node


def level_of(mode: str) -> str:
    if mode.strip().startswith("system"):
        return "system"
    return "chip" if re.match(r"\s*(chip|peak)", mode) else "tile"


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
    none = row["out_adc_bits"].strip().lower() == "none"
    return bool(told) or none or bool(re.search(words_say, words, re.IGNORECASE))


LINES = r"(?:rows|WLs|word[- ]?lines)"


def rows_at_once(row: dict[str, str], rows: int) -> int | None:
    text = f"{row['array_rows_x_cols']} {row['mode']}"
    together = r"(?:are )?(?:at once|at a time|in parallel|activ|(?:turned )?on\b)"
    told = first(rf"(\d+)\s*(?:active )?{LINES}\s*{together}", text)
    told = told or first(rf"(\d+) (?:active|activated|parallel) {LINES}", text)
    told = told or first(rf"(\d+)\s*{LINES}\s*(?:/|per)\s*(?:read|access|cycle)", text)
    return min(max(int(told), 1), rows) if told else None


def supply_v(row: dict[str, str]) -> float | None:
    """The supply that a row states (V), the middle of a range; voltages of programming are none.

    Beside an efficiency stands the one that it was measured at ("254 TOPS/W @ 0.5 V").
    """
    for text in (row["TOPS_per_W"], row["mode"], row["chip_or_macro"]):
        several = rf"({NUMBER})\s*(?:V?\s*(?:-|/|to)\s*({NUMBER})\s*)?(m?)V\b"
        for low, high, milli in re.findall(several, plain(text)):
            volts = (float(low) + float(high or low)) / 2 * (1e-3 if milli else 1.0)
            if 0.2 <= volts <= 4:
                return volts
    return None
