"""How digital logic scales from one process node to another (180 to 3 nm).

Only for logic: converters and non-volatile cells do not follow these factors.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

NODES_NM = (3.0, 5.0, 7.0, 14.0, 28.0, 32.0, 45.0, 65.0, 130.0, 180.0)
"""Nodes of the published figures that we use."""

# Stillmaker and Baas, Integration 58 (2017), 0.8 V, all relative to 45 nm. The published pairs
# 45->32, 45->14, 45->7 are direct; 28, 65 and 130 nm follow from X->14 divided into 45->14.
# Below 7 nm what the foundry states: N7->N5 1.84 times the density, 30 % less power or 15 % more
# speed (Yeap et al., IEDM 2019); N5->N3 1.7 times, 30 % or 15 % (TSMC Technology Symposium 2020).
# 180 nm carries the step from 65 to 130 nm on, by the ratio of the nodes.
_ON = math.log(180 / 130) / math.log(130 / 65)
AREA_FACTORS = (
    0.059 / 1.84 / 1.7, 0.059 / 1.84, 0.059, 0.17, 0.17 / 0.53, 0.46, 1.0, 0.17 / 0.12,
    0.17 / 0.027, 0.17 / 0.027 * (0.12 / 0.027) ** _ON,
)  # fmt: skip
ENERGY_FACTORS = (
    0.094 * 0.7**2, 0.094 * 0.7, 0.094, 0.139, 0.139 / 0.27, 0.66, 1.0, 0.139 / 0.112,
    0.139 / 0.045, 0.139 / 0.045 * (0.112 / 0.045) ** _ON,
)  # fmt: skip
DELAY_FACTORS = (
    0.16 / 1.15**2, 0.16 / 1.15, 0.16, 0.31, 0.31 / 0.50, 0.71, 1.0, 0.31 / 0.215,
    0.31 / 0.108, 0.31 / 0.108 * (0.215 / 0.108) ** _ON,
)  # fmt: skip


def _interpolate(factors: tuple[float, ...], node_nm: ArrayLike) -> NDArray[np.float64]:
    node = np.asarray(node_nm, dtype=float)
    if not np.all((node >= NODES_NM[0]) & (node <= NODES_NM[-1])):
        raise ValueError(
            f"node {np.max(node):g} nm: the published scaling factors cover 3 to 180 nm"
        )
    return np.exp(np.interp(np.log(node), np.log(NODES_NM), np.log(factors)))


def area_factor(from_nm: ArrayLike, to_nm: ArrayLike) -> NDArray[np.float64]:
    """Area of logic at `to_nm` over its area at `from_nm`; log-log interpolated between nodes.

    Sources beside the factors. Raises ValueError outside 3..180 nm.
    """
    return _interpolate(AREA_FACTORS, to_nm) / _interpolate(AREA_FACTORS, from_nm)


def energy_factor(from_nm: ArrayLike, to_nm: ArrayLike) -> NDArray[np.float64]:
    """Switching energy of logic at `to_nm` over that at `from_nm`, at 0.8 V (same source)."""
    return _interpolate(ENERGY_FACTORS, to_nm) / _interpolate(ENERGY_FACTORS, from_nm)


def delay_factor(from_nm: ArrayLike, to_nm: ArrayLike) -> NDArray[np.float64]:
    """Gate delay of logic at `to_nm` over that at `from_nm`, at 0.8 V (same source)."""
    return _interpolate(DELAY_FACTORS, to_nm) / _interpolate(DELAY_FACTORS, from_nm)


PITCH_NODES_NM = (3.0, 5.0, 7.0, 16.0, 28.0)
PITCH_NM = tuple(np.sqrt((45 * 23, 51 * 28, 57 * 40, 90 * 64, 117 * 90)))
"""Geometric mean of gate and wire pitch of one foundry's processes (TSMC, as in WikiChip)."""


def dimension_factor(from_nm: ArrayLike, to_nm: ArrayLike) -> NDArray[np.float64]:
    """Linear dimension of wires and gates at `to_nm` over that at `from_nm`.

    In proportion to the node down to 28 nm; below, names shrink faster than the pitches do.
    """

    def pitch_nm(node_nm: ArrayLike) -> NDArray[np.float64]:
        node = np.asarray(node_nm, dtype=float)
        below = np.exp(np.interp(np.log(node), np.log(PITCH_NODES_NM), np.log(PITCH_NM)))
        return np.where(node > PITCH_NODES_NM[-1], node * PITCH_NM[-1] / PITCH_NODES_NM[-1], below)

    return pitch_nm(to_nm) / pitch_nm(from_nm)


SUPPLY_NODES_NM = (7.0, 14.0, 22.0, 28.0, 40.0, 65.0, 90.0, 130.0, 180.0)
SUPPLY_V = (0.75, 0.8, 0.8, 0.9, 1.0, 1.0, 1.1, 1.2, 1.8)


def nominal_supply_v(node_nm: ArrayLike) -> NDArray[np.float64]:
    """Core supply of low-power logic at a node (V), where a chip states none; foundries' usual."""
    return np.interp(np.asarray(node_nm, dtype=float), SUPPLY_NODES_NM, SUPPLY_V)


THRESHOLD_V = 0.35
VELOCITY_EXPONENT = 1.5
"""Threshold and exponent of the alpha-power law (Sakurai and Newton, JSSC 25, 584, 1990), nominal
for the low-power processes of memory macros. Published pairs of one macro at two supplies agree to
a fifth: 0.9 to 0.5 V 4.0 times slower (5 nm, ISSCC 2022), 1.2 to 0.85 V 1.6, 1.0 to 0.6 V 2.9."""


def supply_delay_factor(supply_v: ArrayLike) -> NDArray[np.float64]:
    """Gate delay at a supply over that at 0.8 V: V / (V - threshold)^1.5, held near threshold."""

    def delay(volts: NDArray[np.float64]) -> NDArray[np.float64]:
        return volts / np.power(np.maximum(volts - THRESHOLD_V, 0.05), VELOCITY_EXPONENT)

    result: NDArray[np.float64] = delay(np.asarray(supply_v, dtype=float)) / delay(np.asarray(0.8))
    return result
