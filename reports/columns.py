"""What each column of a run means: field term, unit, better direction, and how to print it."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

NOT_COMPUTED = "not computed"

#: Two results count as different when they lie further apart than this many standard errors of
#: their difference (95 % for a normal error).
STANDARD_ERRORS = 2.0

Better = Literal["lower", "higher", ""]
Kind = Literal["si", "number", "percent", "count", "text"]


@dataclass(frozen=True)
class Column:
    """One quantity of a design.

    ``unit`` is the unit as printed; ``kind`` says how: "si" with a metric prefix, "number" plain,
    "percent" a fraction shown in percent, "count" an integer, "text" as it is. ``stderr`` names
    the column of its standard error, ``help`` says in a sentence what it is.
    """

    name: str
    label: str
    unit: str = ""
    kind: Kind = "number"
    better: Better = ""
    log: bool = False
    stderr: str = ""
    help: str = ""

    @property
    def title(self) -> str:
        """Axis title: field term and unit."""
        unit = "%" if self.kind == "percent" else self.unit
        return f"{self.label} ({unit})" if unit else self.label


OBJECTIVES = (
    Column("full_points", "Accuracy against digital", "points", better="higher"),
    Column("full_loss_nats", "Loss added", "nats/token", better="lower", stderr="full_loss_stderr"),
    Column("delta_loss_nats", "Loss increase", "nats/token", better="lower",
           stderr="delta_loss_stderr"),
    Column("accuracy", "Task accuracy", kind="percent", better="higher", stderr="accuracy_stderr"),
    Column("top1", "Next-token accuracy", kind="percent", better="higher", stderr="top1_stderr"),
    Column("energy_j_per_token", "Energy", "J/token", "si", "lower", log=True),
    Column("throughput_tokens_per_s", "Throughput", "tokens/s", "si", "higher", log=True),
    Column("time_per_output_token_s", "Time per output token", "s", "si", "lower", log=True),
    Column("time_to_first_token_s", "Time to first token", "s", "si", "lower", log=True),
    Column("latency_s_per_token", "Latency", "s/token", "si", "lower", log=True),
    Column("area_mm2", "Area", "mm²", better="lower"),
    Column("power_w", "Power", "W", better="lower"),
    Column("power_density_w_per_mm2", "Power density", "W/mm²", better="lower"),
    Column("cost_usd", "Cost", "US$", better="lower"),
)  # fmt: skip

# The 68 % band of the full model's accuracy.
BAND = (
    Column("full_points_low", "Accuracy against digital, low end", "points"),
    Column("full_points_high", "Accuracy against digital, high end", "points"),
)

PARAMETERS = (
    Column("technology", "Technology", kind="text"),
    Column("tile_rows", "Tile rows", kind="count", log=True),
    Column("tile_cols", "Tile columns", kind="count", log=True),
    Column("tiers", "Tiers per tile", kind="count", log=True),
    Column("tiles", "Tiles", kind="count", log=True),
    Column("adc_bits", "ADC resolution", "bit", "count"),
    Column("dac_bits", "DAC resolution", "bit", "count"),
    Column("columns_per_adc", "Columns per ADC", kind="count", log=True),
    Column("digital_expert_fraction", "Digital experts", kind="percent"),
    Column("digital_experts", "Digital expert count", kind="count"),
    Column("placement_score", "Selection score", kind="text"),
    Column("placement_scope", "Selection scope", kind="text"),
    Column("analog_modules", "Dense parts on tiles", kind="text"),
    Column("mac_units", "MAC units", kind="count", log=True),
    Column("sram_mib", "SRAM", "MiB", log=True),
    Column("memory", "Memory", kind="text"),
    Column("hbm_stacks", "HBM stacks", kind="count"),
    Column("dies", "Dies", kind="count"),
    Column("digital_weight_bits", "Digital weights", "bit", "count"),
    Column("kv_bits", "Keys and values", "bit", "count"),
    Column("concurrency", "Sequences at a time", kind="count", log=True),
    Column("micro_batches", "Micro-batches", kind="count"),
    Column("tile_area_mm2", "Area of one tile", "mm²"),
    Column("utilisation", "Tile utilisation", kind="percent"),
    Column("occupancy", "Tile occupancy", kind="percent"),
    Column("energy_prefill_share", "Energy of the prompt", kind="percent"),
)

IDENTITY = (
    Column("trial", "Design", kind="count"),
    Column("state", "State", kind="text"),
    Column("reference_name", "Reference", kind="text"),
    Column("reason", "Reason", kind="text"),
    Column("technology_kind", "Kind of technology", kind="text"),
    Column("beyond_source", "Beyond its source", kind="text"),
    Column("recommended_of", "Best of", kind="text"),
    Column("ties", "Designs it stands for", kind="count"),
    Column("accuracy_source", "Accuracy source", kind="text"),
    Column(
        "miniature_delta_loss_nats",
        "Loss increase on the miniature",
        "nats/token",
        stderr="miniature_delta_loss_stderr",
    ),
)

#: What the pointer shows over a design.
HOVER = (
    "technology", "tiles", "digital_expert_fraction", "placement_score", "full_points",
    "delta_loss_nats", "accuracy", "energy_j_per_token", "throughput_tokens_per_s", "area_mm2",
    "reason",
)  # fmt: skip

COLUMNS: dict[str, Column] = {c.name: c for c in (*IDENTITY, *OBJECTIVES, *BAND, *PARAMETERS)}
RESULT_NAMES = tuple(spec.name for spec in OBJECTIVES)
PARAMETER_NAMES = tuple(spec.name for spec in PARAMETERS)

#: How the run being drawn describes its columns; see :func:`described_by`.
_OF_THE_RUN: ContextVar[Mapping[str, Column]] = ContextVar("columns of the run", default=COLUMNS)

TERMS = {
    "max_neuron_norm": "maximum neuron norm",
    "activation_frequency": "activation frequency",
    "activation_weight": "activation weight",
    "router_norm": "router norm",
    "sensitivity": "measured sensitivity",
    "sensitivity_per_fetch": "measured sensitivity per weight fetch",
    "shared_expert": "shared experts",
    "dense_ffn": "dense feed-forward layers",
    "router": "routers",
    "mamba": "Mamba projections",
    "random": "random",
    "per_layer": "per layer",
    "global": "over all layers",
    "load": "load (share of tokens)",
    "ruled_out": "ruled out",
    "complete": "simulated",
    "candidate": "simulated on the miniature only",
    "lm_head": "LM head",
    "routed_expert": "routed experts",
    "adc": "ADC",
    "dac": "DAC",
    "hbm": "HBM",
    "sram": "SRAM",
    "dram": "DRAM",
    "mac": "MAC",
    "kv_cache": "KV cache",
    "mvm": "MVM",
    "ffn": "FFN",
    "phy": "PHY",
    "static": "static power",
    "static_power": "static power",
    "empty_tiers": "tiers without weights",
    "digital_accelerator": "digital accelerator",
}

_BREAKDOWN = re.compile(
    r"^(energy|latency|area)_(component|module)_(.+?)_(?:j_per_token|s_per_token|mm2)$"
)

TOTALS = {
    "energy": COLUMNS["energy_j_per_token"],
    "latency": COLUMNS["latency_s_per_token"],
    "area": COLUMNS["area_mm2"],
}


#: Endings of column names that say a unit, the longest first.
UNITS = {
    "_j_per_token": "J/token", "_s_per_token": "s/token", "_j_per_mac": "J/MAC",
    "_um2_per_weight": "µm²/weight", "_tops_per_mm2": "TOPS/mm²", "_j": "J", "_s": "s",
    "_mm2": "mm²", "_nats": "nats/token", "_percent": "%",
}  # fmt: skip


def column(name: str) -> Column:
    """The description of a column; of one unknown, what its name says of unit and label."""
    if name in _OF_THE_RUN.get():
        return _OF_THE_RUN.get()[name]
    if name in COLUMNS:
        return COLUMNS[name]
    for ending, unit in UNITS.items():
        if name.endswith(ending):
            return Column(name, _capital(term(name.removesuffix(ending))), unit, _kind(unit))
    return Column(name, _capital(term(name)))


@contextmanager
def described_by(columns: Mapping[str, Column]) -> Iterator[None]:
    """Within this, :func:`column` answers as a run's columns.json describes its columns."""
    token = _OF_THE_RUN.set(columns)
    try:
        yield
    finally:
        _OF_THE_RUN.reset(token)


def read_columns(entries: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    """Columns as the entries of columns.json describe them.

    Each has ``column``, and may have ``name`` (the heading), ``unit``, ``direction`` ("lower" or
    "higher" is better, "" for neither), ``scale`` ("log" or not) and ``help``. What an entry does
    not say stays as it is known here.
    """
    found = {}
    for entry in entries:
        known = column(str(entry["column"]))
        unit = str(entry.get("unit", known.unit)).replace("m2", "m²")
        found[known.name] = replace(
            known,
            label=_capital(str(entry.get("name", known.label))),
            unit="" if known.kind in ("percent", "text") else unit,
            kind=_kind(unit) if known.name not in COLUMNS and unit else known.kind,
            better=_BETTER.get(str(entry.get("direction", known.better)), ""),
            # The axis of a parameter follows its choices, which the report knows.
            log=known.log if known.name in PARAMETER_NAMES else "log" in str(entry.get("scale")),
            help=str(entry.get("help", known.help)),
        )
    return found


_BETTER: dict[str, Better] = {"lower": "lower", "minimise": "lower", "minimize": "lower",
                              "higher": "higher", "maximise": "higher",
                              "maximize": "higher"}  # fmt: skip


def _kind(unit: str) -> Kind:
    """How numbers of a unit are printed: with metric prefixes where the unit takes them."""
    takes_prefix = unit.removesuffix("/token") in ("J", "s") or is_rate(unit) or unit == "J/MAC"
    return "si" if takes_prefix else "number"


def is_rate(unit: str) -> bool:
    """Whether a unit is tokens a second, which are printed with thousands, not prefixes."""
    return unit in ("tokens/s", "tok/s")


def listed(parts: Sequence[str]) -> str:
    """Several parts in words: 'a, b and c'."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def term(name: str) -> str:
    """A name of the tables in words: known terms from the field, else underscores as spaces."""
    if name in TERMS:
        return TERMS[name]
    return " ".join(TERMS.get(word, word) for word in name.split("_"))


def analog_parts(value: Any) -> list[str]:
    """Dense parts on tiles, as a table names them ("attention+lm_head"), in words."""
    if is_missing(value) or str(value) in ("none", ""):
        return []
    # Scores and values stay digital, whatever the projections do.
    own = {"attention": "attention projections"}
    return [own.get(part, term(part)) for part in re.split(r"[+,]", str(value))]


def value_term(name: str, value: str) -> str:
    """A text value of a column in words."""
    if name == "analog_modules":
        return listed(analog_parts(value)) or value
    return term(value) if name.startswith("placement_") else value


def breakdown_columns(table: pd.DataFrame, quantity: str, by: str) -> dict[str, str]:
    """Columns that break ``quantity`` (energy, latency, area) down ``by`` component or module.

    Returns {part name: column name} in table order, without parts that are missing or zero in
    every design.
    """
    parts: dict[str, str] = {}
    for name in table.columns:
        match = _BREAKDOWN.match(str(name))
        if match and match[1] == quantity and match[2] == by:
            values = pd.to_numeric(table[name], errors="coerce")
            if (values > 0).any():
                parts[match[3]] = str(name)
    return parts


def is_missing(value: Any) -> bool:
    """Whether a table's cell holds no value (None, NaN, <NA>)."""
    return value is None or bool(pd.isna(value))


def si(value: float, unit: str, digits: int = 3) -> str:
    """A number with a metric prefix, such as 0.00123 J/token -> '1.23 mJ/token'."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".strip()
    prefixes = {
        -15: "f",
        -12: "p",
        -9: "n",
        -6: "µ",
        -3: "m",
        0: "",
        3: "k",
        6: "M",
        9: "G",
        12: "T",
    }
    # Rounding first, so that 999.96 becomes 1.00 k and not 1000.
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = max(-15, min(12, 3 * math.floor(math.log10(abs(rounded)) / 3)))
    scaled = rounded / 10**exponent
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(scaled))))
    return f"{scaled:.{decimals}f} {prefixes[exponent]}{unit}".strip()


def quantity(value: float, unit: str) -> str:
    """A number with its unit, with a metric prefix where the unit takes one: '50 pJ/byte'."""
    if unit.partition("/")[0] in ("J", "s", "W"):
        return re.sub(r"\.0+(?= )", "", si(value, unit))
    rounded = float(f"{value:.4g}")
    number = f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"
    return f"{number} {unit.replace('m2', 'm²')}".strip()


def tokens_per_s(value: float) -> str:
    """A rate with three digits and thousands separators: 7396.4 -> '7,400 tokens/s'."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f} tokens/s" if rounded >= 100 else f"{rounded:g} tokens/s"


def with_error(value: float, stderr: Any, scale: float = 1.0) -> str:
    """A value with its standard error, rounded to the error's two digits: '0.0213 ± 0.0042'.

    At most four decimals (two in percent): finer is below what any simulation here resolves.
    """
    value = value * scale
    if is_missing(stderr):
        return f"{value:.4g} (standard error {NOT_COMPUTED})"
    error = float(stderr) * scale
    if error <= 0:
        return f"{value:.4g} ± 0"
    most = 2 if scale > 1 else 4
    decimals = max(0, min(most, 1 - math.floor(math.log10(error))))
    return f"{value:z.{decimals}f} ± {error:.{decimals}f}"


def show(row: pd.Series, name: str) -> str:
    """The value of one column of a design as text, with unit and standard error."""
    spec = column(name)
    value: Any = row.get(name)
    if is_missing(value):
        return NOT_COMPUTED
    if spec.kind == "text" or isinstance(value, str):
        return value_term(name, str(value))
    number = float(value)
    if spec.stderr:
        scale = 100.0 if spec.kind == "percent" else 1.0
        unit = "%" if spec.kind == "percent" else spec.unit
        return f"{with_error(number, row.get(spec.stderr), scale)} {unit}"
    if spec.kind == "percent":
        return f"{100 * number:.3g} %"
    if spec.kind == "count":
        return f"{number:,.0f}" + (f" {spec.unit}" if spec.unit else "")
    if spec.kind == "si":
        return tokens_per_s(number) if is_rate(spec.unit) else si(number, spec.unit)
    if spec.unit == "points":
        return f"{points(number)} points"
    return f"{number:.4g} {spec.unit}".strip()


def points(value: float) -> str:
    """Points of accuracy against digital, with a sign that shows which way: '−0.41'."""
    return f"{value:+z.2f}".replace("-", "−").replace("+0.00", "0.00")


def show_range(row: pd.Series, name: str) -> str:
    """The two ends of a value's range with one unit: '9 to 16 mJ/token'; "" where there is none."""
    ends: list[Any] = [row.get(f"{name}_{end}") for end in ("low", "high")]
    if any(is_missing(end) for end in ends):
        return ""
    scale, unit = in_unit(pd.Series(ends, dtype=float), column(name))
    low, high = (
        points(end) if unit == "points" else f"{float(f'{float(end) * scale:.3g}'):,g}"
        for end in ends
    )
    return f"{low} to {high} {unit}".strip()


def in_unit(values: pd.Series, spec: Column) -> tuple[float, str]:
    """What a column's numbers are multiplied by, and the unit that they then are in.

    All stand in one unit, that of their median: energies of some 10 mJ in mJ.
    """
    if spec.kind == "percent":
        return 1.0, "%"
    if spec.kind != "si" or is_rate(spec.unit):
        return 1.0, spec.unit
    middle = values[values > 0].median()
    _, _, unit = si(middle if middle > 0 else 1.0, spec.unit).partition(" ")
    scale = {"f": 1e15, "p": 1e12, "n": 1e9, "µ": 1e6, "m": 1e3}.get(unit.removesuffix(spec.unit))
    return (scale, unit) if scale else (1.0, spec.unit)


def plain(text: Any) -> str:
    """Text that plotly shows as it is: plotly reads a little HTML in labels, so escape it."""
    return html.escape(str(text), quote=False)
