"""A design in words that a student reads: what is built, what it reaches, what it loses."""

from typing import Any

import numpy as np

from dse import units
from dse.placement.parts import read_parts
from dse.search.rule import POINTS_PER_NAT

PARTS = {
    "attention": "attention",
    "mamba": "Mamba layers",
    "router": "the router",
    "shared_expert": "shared experts",
    "dense_ffn": "dense FFN layers",
    "lm_head": "the LM head",
}


def missing(value: Any) -> bool:
    """Whether a cell of a table holds nothing."""
    return value is None or str(value) in ("<NA>", "nan", "None", "")


def points(row: Any) -> tuple[float, float, float]:
    """Points of accuracy that a design loses against digital: value, low and high end (68 %)."""
    if "full_points" in row:  # of accuracy gained: negative where a design loses
        low, high = float(row["full_points_low"]), float(row["full_points_high"])
        return -float(row["full_points"]), -high, -low
    name = "full_loss_nats" if "full_loss_nats" in row else "delta_loss_nats"
    loss, error = float(row[name]), float(row[f"{name.removesuffix('_nats')}_stderr"])
    return POINTS_PER_NAT * loss, POINTS_PER_NAT * (loss - error), POINTS_PER_NAT * (loss + error)


def points_text(row: Any) -> str:
    """`0.2 points (0.1–0.4)`; `not simulated` where it is not known."""
    value, low, high = (round(number, 1) + 0.0 for number in points(row))
    if not np.isfinite(value):
        return "not simulated"
    band = f" ({low:.1f}–{high:.1f})" if np.isfinite(low) and low < high else ""
    return f"{value:.1f} points{band}"


def count(number: float, noun: str) -> str:
    """`one expert`, `12 experts`."""
    return f"one {noun}" if number == 1 else f"{number:,.0f} {noun}s"


def joined(texts: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def analog_parts(row: Any, experts: int) -> str:
    """What a design computes on tiles: `all 1,728 experts, attention and shared experts`."""
    analog = experts - round(float(row["digital_experts"]))
    found = []
    if analog == experts:
        found.append(f"all {experts:,} experts")
    elif analog:
        found.append(f"{analog:,} of {experts:,} experts")
    text = row.get("analog_modules")
    found += [PARTS[part] for part in read_parts(text if isinstance(text, str) else "")]
    return joined(found) if found else "nothing"


def tiles(row: Any) -> str:
    """`22 tiles of pcm-3d, 1024 x 1024 x 1024 tiers, DAC/ADC of 8/7 bits`."""
    tiers = f" in {count(int(row['tiers']), 'tier')}" if int(row["tiers"]) > 1 else ""
    return (
        f"{count(int(row['tiles']), 'tile')} of {row['technology']} "
        f"({int(row['tile_rows'])} x {int(row['tile_cols'])}{tiers}, DAC/ADC of "
        f"{int(row['dac_bits'])}/{int(row['adc_bits'])} bits)"
    )


def digital(row: Any) -> str:
    """`1,024 MAC units, 2 MiB of SRAM and 8 stacks of hbm2e`."""
    stacks = count(int(row["hbm_stacks"]), "stack")
    memory = row.get("memory")
    bits = row.get("digital_weight_bits")
    return joined(
        [
            f"{int(row['mac_units']):,} MAC units",
            f"{float(row['sram_mib']):g} MiB of SRAM",
            f"{stacks} of {'HBM' if missing(memory) else memory}",
            *([] if missing(bits) else [f"digital weights of {int(bits)} bits"]),
            *([] if missing(row.get("dies")) or int(row["dies"]) == 1 else [
                f"on {int(row['dies'])} dies"]),
        ]
    )  # fmt: skip


def reaches(row: Any) -> str:
    """`13.8 mJ per token, 10.8 k tok/s, 200 mm2, 0.2 points lost (0.1–0.3)`."""
    value, _, band = points_text(row).partition(" (")
    lost = f"{value} lost" + (f" ({band}" if band else "")
    return ", ".join(
        [
            f"{units.si(float(row['energy_j_per_token']), 'J')} per token",
            units.si(float(row["throughput_tokens_per_s"]), "tok/s"),
            units.area(float(row["area_mm2"]), 3),
            lost if np.isfinite(points(row)[0]) else "accuracy not simulated",
        ]
    )


def times(ratio: float, more: str, less: str) -> str:
    """`4.3 times the throughput` for 4.3; `12 % less energy` for 0.88; about 1 says so."""
    if abs(ratio - 1) < 0.01:
        return f"the same {more}"
    if ratio >= 1.95:
        return f"{ratio:.2g} times the {more}"
    if ratio <= 1 / 1.95:
        return f"{1 / ratio:.2g} times less {less}"
    change = 100 * (ratio - 1)
    return f"{abs(change):.0f} % {'more' if change > 0 else 'less'} {more if change > 0 else less}"
