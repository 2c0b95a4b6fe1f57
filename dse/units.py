"""Quantities as people write them: `200mm2` in, `1.5 uJ` out.

Inside the tool everything is SI except areas, which are mm2 throughout because every published
tile is. Light on purpose: `dse tile` answers in half a second, a full unit registry alone takes
longer to load.
"""

import math
import re

_SCALES: dict[str, dict[str, float]] = {
    "area": {"um2": 1e-6, "mm2": 1.0, "cm2": 1e2, "m2": 1e6},
    "power": {"uW": 1e-6, "mW": 1e-3, "W": 1.0, "kW": 1e3},
    "energy": {"pJ": 1e-12, "nJ": 1e-9, "uJ": 1e-6, "mJ": 1e-3, "J": 1.0},
    "time": {
        "ns": 1e-9,
        "us": 1e-6,
        "ms": 1e-3,
        "s": 1.0,
        "min": 60.0,
        "h": 3600.0,
        "day": 86400.0,
        "week": 7 * 86400.0,
        "month": 365.25 / 12 * 86400.0,
        "year": 365.25 * 86400.0,
    },
    "money": {"USD": 1.0, "kUSD": 1e3, "$": 1.0},
    "memory size": {"MB": 1e6, "MiB": 2.0**20, "GB": 1e9, "GiB": 2.0**30, "TiB": 2.0**40},
}
_SCALES["age"] = _SCALES["time"]
_EXAMPLES = {
    "area": "200mm2",
    "power": "15W",
    "energy": "2mJ",
    "time": "5s",
    "money": "500USD",
    "age": "1day",
    "memory size": "8GiB",
}
# Largest value that can mean anything, in the unit that parse() returns.
_LARGEST = {
    "area": (math.pi * 150**2, "a 300 mm wafer, 70686 mm2"),
    "power": (1e6, "1 MW"),
    "energy": (1e6, "1 MJ"),
    "time": (3.2e9, "a century"),
    "money": (1e9, "a billion USD"),
    "age": (3.2e9, "a century"),
    "memory size": (2.0**50, "1024 TiB"),
}
_QUANTITY = re.compile(
    r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-zµμ²^$]*[\d²]?)\s*"
)
_PLURAL = re.compile(r"(day|week|month|year)s")
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"))
_SMALL_PREFIXES = ((1e-9, "n"), (1e-12, "p"), (1e-15, "f"), (1e-18, "a"))


def parse(text: str, kind: str) -> float:
    """Read a quantity such as `200mm2`, `2 cm2`, `15W`, `5 ms`.

    Args:
        text: number and unit, a space between them allowed.
        kind: "area" (returned in mm2), "power" (W), "energy" (J), "time" or "age" (s), "money"
            (USD) or
            "memory size" (bytes).

    Returns:
        The value, positive and finite.

    Raises:
        ValueError: one line that says what was given and what is accepted.
    """
    scales, example = _SCALES[kind], _EXAMPLES[kind]
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not {_article(kind)}: write a number and a unit, as {example}"
        )
    number, unit = match.groups()
    unit = unit.replace("µ", "u").replace("μ", "u").replace("²", "2").replace("^", "")
    unit = _PLURAL.sub(r"\1", unit)
    if not unit:
        raise ValueError(f"{text!r} has no unit: write {number}{example.lstrip('0123456789')}")
    if unit not in scales:
        accepted = ", ".join(scales)
        raise ValueError(f"{text!r}: {unit!r} is no unit of {kind}; accepted are {accepted}")
    value = float(number) * scales[unit]
    if not value > 0:
        raise ValueError(f"{text!r}: {_article(kind)} must be greater than zero")
    largest, in_words = _LARGEST[kind]
    if value > largest:
        raise ValueError(
            f"{text!r} is larger than {in_words}: did you mean something like {example}?"
        )
    return value


FRESH = "fresh"
"""An age of zero: just programmed, without drift and read noise."""


def age(text: str) -> float:
    """Read the time from programming to use (s): `1h`, `1day`, `1month`, or `fresh` for none.

    Raises:
        ValueError: as `parse`.
    """
    return 0.0 if text.strip() == FRESH else parse(text, "age")


def age_text(age_s: float) -> str:
    """Format an age: `1 day`, `1 month`, `36 h`, `fresh`."""
    if age_s == 0:
        return FRESH
    for unit in ("year", "month", "week", "day", "h", "min", "s"):
        number = age_s / _SCALES["time"][unit]
        if number >= 1 and abs(number - round(number)) < 1e-6:
            plural = "s" if len(unit) > 3 or unit == "day" else ""
            return f"{round(number)} {unit}{plural if round(number) != 1 else ''}"
    return duration(age_s)


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def si(value: float, unit: str, digits: int = 3) -> str:
    """Format with an SI prefix: `si(1.5e-6, "J")` is `1.5 uJ`, `si(12e3, "tok/s")` is `12 k tok/s`.

    A one-letter unit takes the prefix, a compound one leaves it beside the number. Missing values
    (NaN) print as a dash, never as zero.
    """
    if not math.isfinite(value):
        return "–"
    # Rounding first, so that 999.96 becomes 1 k and not 1e+03.
    rounded = float(f"{value:.{digits}g}")
    prefixes = _PREFIXES + (_SMALL_PREFIXES if len(unit) == 1 else ())
    scale, prefix = 1.0, ""
    if rounded != 0:
        scale, prefix = next(
            (p for p in prefixes if abs(rounded) >= p[0] * 0.9999999), prefixes[-1]
        )
    number = f"{rounded / scale:.{digits}g}"
    if "e" in number:
        number = f"{rounded / scale:.0f}" if abs(rounded / scale) >= 1 else number
    if len(unit) == 1:
        return f"{number} {prefix}{unit}"
    return " ".join(part for part in (number, prefix, unit) if part)


def area(value_mm2: float, digits: int = 4) -> str:
    """Format an area given in mm2: `200 mm2`."""
    return f"{plain_number(value_mm2, digits)} mm2" if math.isfinite(value_mm2) else "–"


def plain_number(value: float, digits: int) -> str:
    """A number without prefix: `0.123`, `9,823`; beyond `digits` no power of ten up to 1e9."""
    large = 10**digits <= abs(value) < 1e9
    return f"{value:,.0f}" if large else f"{value:.{digits}g}"


def memory(value_bytes: float, up: bool = False) -> str:
    """Format bytes: `8 GiB`, `640 MiB`; with `up` never less than there are."""
    unit, scale = ("GiB", 2.0**30) if value_bytes >= 2.0**30 else ("MiB", 2.0**20)
    digits = 1 if unit == "GiB" else 0
    scaled = value_bytes / scale
    rounded = math.ceil(scaled * 10**digits) / 10**digits if up else round(scaled, digits)
    return f"{rounded:g} {unit}"


def duration(value_s: float) -> str:
    """Format seconds for people: `45 s`, `12 min`, `3.5 h`."""
    for scale, unit in ((3600.0, "h"), (60.0, "min")):
        if value_s >= 1.95 * scale:
            return f"{value_s / scale:.2g} {unit}"
    return f"{value_s:.0f} s"


def plus_minus(value: float, standard_error: float, digits: int = 3) -> str:
    """Format a value with its standard error, both to `digits` decimals; a dash when missing."""
    if not math.isfinite(value):
        return "–"
    value = round(value, digits) + 0.0  # no minus before zero
    if not math.isfinite(standard_error):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ± {standard_error:.{digits}f}"
