"""One design against another: what differs by more than chance, and by how much, in words."""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd

from reports.columns import STANDARD_ERRORS, Column, column, is_missing, show

COSTS = ("energy_j_per_token", "throughput_tokens_per_s", "area_mm2")

#: Costs nearer than this are called the same: a machine is not chosen for a fifth of a percent.
SAME = 0.005

Design = pd.Series


def distinguishable(a: Design, b: Design, name: str) -> bool | None:
    """Whether two designs differ in a column by more than chance.

    A column with standard errors needs more than two of them between the values, a column with a
    low and a high end (``<name>_low``, ``<name>_high``) ranges that do not overlap. Where one of
    the two is the design that ``<name>_ratio_low`` and ``_high`` refer to, those decide instead:
    in a ratio the uncertain constants that both designs share cancel. None when either value is
    missing, or an accuracy lacks its standard error.
    """
    x: Any = a.get(name)
    y: Any = b.get(name)
    if is_missing(x) or is_missing(y):
        return None
    stderr = column(name).stderr
    if stderr:
        errors: list[Any] = [a.get(stderr), b.get(stderr)]
        if any(is_missing(error) for error in errors):
            return None
        return abs(float(x) - float(y)) > STANDARD_ERRORS * math.hypot(*map(float, errors))
    ratios: list[Any] = [
        row.get(f"{name}_ratio_{end}") for row in (a, b) for end in ("low", "high")
    ]
    if not any(is_missing(end) for end in ratios):
        for (one, other), to in ((ratios[:2], ratios[2:]), (ratios[2:], ratios[:2])):
            if list(to) == [1.0, 1.0]:
                return bool(one > 1 or other < 1)
    ends: list[Any] = [row.get(f"{name}_{end}") for row in (a, b) for end in ("low", "high")]
    if not any(is_missing(end) for end in ends):
        low_a, high_a, low_b, high_b = map(float, ends)
        return low_a > high_b or low_b > high_a
    return bool(x != y)


def compare(row: Design, other: Design, name: str) -> str:
    """How ``row`` stands against ``other`` in one column: '3.2× less energy', or a missing note."""
    spec = column(name)
    label = spec.label.lower()
    different = distinguishable(row, other, name)
    if different is None:
        return f"{label} cannot be compared (a value or its standard error is missing)"
    if not different:
        return f"{label} not distinguishable"
    if spec.unit == "points":
        gap = abs(float(row[name]) - float(other[name]))
        return f"{gap:.2g} points {'less' if row[name] < other[name] else 'more'} accuracy"
    if not spec.stderr and abs(float(row[name]) / float(other[name] or 1) - 1) < SAME:
        return f"same {label}"
    x, y = float(row[name]), float(other[name])
    if name == "delta_loss_nats":
        return f"{abs(x - y):.2g} nats/token {'less' if x < y else 'more'} loss"
    if spec.kind == "percent":
        return f"{100 * abs(x - y):.2g} points {'lower' if x < y else 'higher'} {label}"
    return _ratio(x, y, label, spec)


def _ratio(x: float, y: float, label: str, spec: Column) -> str:
    if x <= 0 or y <= 0:
        return f"{label} {show(pd.Series({spec.name: x}), spec.name)}"
    ratio = max(x, y) / min(x, y)
    amount = f"{ratio:.3g}×" if ratio >= 2 else f"{100 * abs(x / y - 1):.2g} %"
    words = ("lower", "higher") if spec.name == "latency_s_per_token" else ("less", "more")
    return f"{amount} {words[0] if x < y else words[1]} {label}"


def trade(row: Design, against: Design | None) -> str:
    """What a design gives and costs against another, result by result."""
    if against is None:
        return ""
    full = not is_missing(row.get("full_points")) and not is_missing(against.get("full_points"))
    facts = [
        compare(row, against, name)
        for name in ("full_points" if full else "delta_loss_nats", *COSTS)
        if not (is_missing(row.get(name)) and is_missing(against.get(name)))
    ]
    return keep_together("; ".join(facts))


def keep_together(text: str) -> str:
    """The text as it is set: no line breaks between a number and what belongs to it."""
    text = re.sub(r"\b([cmµu]?m)2\b", "\\1²", text)
    text = text.replace("-bit", "\u2011bit")
    return re.sub(r"(?<=[\d×]) (?=%|±|[×µm]|[kMG]?tokens/s|nats|MiB|W\b)|(?<=±) ", "\u00a0", text)
