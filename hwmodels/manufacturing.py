"""What a package costs to make: good dies, interposer, bonding, substrate; and memory to buy.

Left out: design and masks, test, lids and cooling, board, repair of faulty dies, and every margin
but those of the foundry and the memory maker. Published models disagree: `low` and `high` are their
ends, `middle` lies between.

Each die has its own piece of silicon interposer with its stacks, tested before the pieces go onto
one substrate: a single interposer ends at about 3.3 reticles, larger packages are made of pieces.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hwmodels.arrays import Array, number
from hwmodels.die import RETICLE_MM2
from hwmodels.memory import Estimate, Memory, price_usd

WAFER_MM, SCRIBE_MM, EDGE_LOSS_MM = 300.0, 0.2, 5.0
"""chiplet-actuary parameter.ini (Feng and Ma, DAC 2022)."""
PRICE_NODES_NM = (3.0, 5.0, 7.0, 10.0, 14.0, 20.0, 28.0, 40.0, 55.0, 65.0, 90.0, 130.0, 180.0)
WAFER_USD = (30000, 16988, 9346, 5992, 3984, 3677, 2891, 2274, 1937, 1937, 1650, 1580, 1020)
"""Khan and Mann, AI Chips (2020), as in chiplet-actuary and LLMCompass; 3 nm: its assumption."""

ACTUARY_NODES_NM = (3.0, 5.0, 7.0, 10.0, 14.0, 20.0)
ACTUARY_DEFECTS_PER_CM2 = (0.2, 0.11, 0.09, 0.08, 0.08, 0.07)
ACTUARY_CLUSTERING = 10.0
"""chiplet-actuary; 0.07 for every node from 20 nm on."""
COMPASS_NODES_NM = (5.0, 7.0, 10.0, 14.0, 20.0, 28.0)
COMPASS_DEFECTS_PER_CM2 = (0.20, 0.15, 0.12, 0.10, 0.08, 0.05)
COMPASS_CLUSTERING = 3.0
"""LLMCompass; 0.05 for every node from 28 nm on, and below 5 nm that of 5 nm (none published)."""

INTERPOSER_WAFER_USD = (1937.0, 5000.0)
"""Wafer of the 65 nm class (chiplet-actuary, reallm); llm_spice's CoWoS preset."""
INTERPOSER_DEFECTS_PER_CM2, INTERPOSER_CLUSTERING = 0.06, 6.0
INTERPOSER_AREA_FACTOR = 1.1
"""Over the dies and stacks on it (chiplet-actuary)."""
SUBSTRATE_AREA_FACTOR, SUBSTRATE_USD_PER_MM2 = 4.0, 0.005
"""Organic substrate, over the dies or interposers on it (chiplet-actuary)."""
MICRO_BUMP_USD_PER_MM2, SOLDER_BUMP_USD_PER_MM2 = 0.01, 0.005
INTERPOSER_BONDING = (0.99, 0.95)
"""Yield of one part bonded to silicon: 0.95 by chiplet-actuary; at that, A100's six parts would
lose every fourth package, so that its 0.99 of an organic substrate is taken as the other end."""
SUBSTRATE_BONDING = 0.99
"""Of a die or an interposer on an organic substrate (chiplet-actuary)."""


def gross_dies_per_wafer(area_mm2: ArrayLike) -> Array:
    """Whole dies on a wafer, good or not: area of the disc over a die's, less what the rim cuts."""
    area = np.square(np.sqrt(number(area_mm2)) + SCRIBE_MM)
    across = WAFER_MM - 2 * EDGE_LOSS_MM
    return np.pi * across**2 / 4 / area - np.pi * across / np.sqrt(2 * area)


def negative_binomial_yield(
    area_mm2: ArrayLike, defects_per_cm2: ArrayLike, clustering: float
) -> Array:
    """Share of good dies, (1 + A D / c)^-c."""
    defects = number(area_mm2) / 100 * number(defects_per_cm2)
    return np.power(1 + defects / clustering, -clustering)


def wafer_usd(node_nm: ArrayLike) -> Array:
    """Price of a wafer of a node (USD), log-log between published nodes."""
    nodes, prices = np.log(PRICE_NODES_NM), np.log(WAFER_USD)
    return np.exp(np.interp(np.log(number(node_nm)), nodes, prices))


def die_yields(area_mm2: ArrayLike, node_nm: ArrayLike) -> tuple[Array, Array]:
    """Share of good dies of a node by chiplet-actuary's defects, and by LLMCompass's."""
    node = number(node_nm)
    actuary = np.interp(node, ACTUARY_NODES_NM, ACTUARY_DEFECTS_PER_CM2)
    compass = np.interp(node, COMPASS_NODES_NM, COMPASS_DEFECTS_PER_CM2)
    return (
        negative_binomial_yield(area_mm2, actuary, ACTUARY_CLUSTERING),
        negative_binomial_yield(area_mm2, compass, COMPASS_CLUSTERING),
    )


def _between(low: ArrayLike, high: ArrayLike, estimate: Estimate) -> Array:
    ends = {"low": low, "high": high}
    return number(ends[estimate]) if estimate in ends else (number(low) + number(high)) / 2


def good_die_usd(area_mm2: ArrayLike, node_nm: ArrayLike, estimate: Estimate = "middle") -> Array:
    """Price of a good die of a node (USD): a wafer's over its good dies.

    Nothing where there is no die; inf where it is larger than the reticle.
    """
    area = np.clip(number(area_mm2), 1e-3, RETICLE_MM2)
    raw = wafer_usd(node_nm) / gross_dies_per_wafer(area)
    one, other = (raw / share for share in die_yields(area, node_nm))
    price = _between(np.minimum(one, other), np.maximum(one, other), estimate)
    price = np.where(number(area_mm2) > 0, price, 0.0)
    return np.where(number(area_mm2) <= RETICLE_MM2 * (1 + 1e-9), price, np.inf)


def interposer_usd(area_mm2: ArrayLike, estimate: Estimate = "middle") -> Array:
    """Price of a good silicon interposer with its solder bumps (USD); nothing for no area."""
    area = np.maximum(number(area_mm2), 1e-3)
    share = negative_binomial_yield(area, INTERPOSER_DEFECTS_PER_CM2, INTERPOSER_CLUSTERING)
    wafer = _between(*INTERPOSER_WAFER_USD, estimate)
    price = wafer / gross_dies_per_wafer(area) / share + area * SOLDER_BUMP_USD_PER_MM2
    return np.where(number(area_mm2) > 0, price, 0.0)


def package_cost_usd(
    memory: Memory,
    stacks: ArrayLike,
    die_area_mm2: ArrayLike,
    node_nm: ArrayLike,
    dies: ArrayLike = 1,
    *,
    link_on_interposer: ArrayLike = True,
    estimate: Estimate = "middle",
) -> dict[str, Array]:
    """Cost of a package of `dies` equal dies with `stacks` stacks in all (USD), by part.

    `die`, `memory`, `interposer`, `substrate`, and `lost`: what goes to waste with parts bonded
    badly. An interposer is there for stacks that stand on one, and for links between dies that need
    one. The structure is that of chiplet-actuary, chips last.
    """
    count, each = number(dies), number(stacks) / number(dies)
    area, stacked = number(die_area_mm2), each * number(memory.stack_area_mm2)
    on_silicon = (stacked > 0) | ((count > 1) & np.asarray(link_on_interposer, dtype=bool))
    base = np.where(on_silicon, INTERPOSER_AREA_FACTOR * (area + stacked), 0.0)
    bumps = np.where(on_silicon, MICRO_BUMP_USD_PER_MM2, SOLDER_BUMP_USD_PER_MM2) * area
    bought = {
        "die": count * (good_die_usd(area, node_nm, estimate) + bumps),
        "memory": price_usd(memory, stacks, estimate),
        "interposer": count * interposer_usd(base, estimate),
    }
    floor = count * np.where(on_silicon, base, area)
    substrate = floor * SUBSTRATE_AREA_FACTOR * SUBSTRATE_USD_PER_MM2
    bonded = np.where(stacked > 0, 1 + each, 1.0)
    kept = np.where(on_silicon, _between(*INTERPOSER_BONDING, estimate) ** bonded, 1.0)
    parts: Array = sum(bought.values(), np.zeros(()))
    assembled = SUBSTRATE_BONDING**count
    lost = parts * (1 / (kept * assembled) - 1) + substrate * (1 / assembled - 1)
    return {**bought, "substrate": substrate, "lost": lost}
