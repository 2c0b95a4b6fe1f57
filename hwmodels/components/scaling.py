"""How digital logic scales from one process node to another (130 to 7 nm).

Only for logic: converters and non-volatile cells do not follow these factors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

NODES_NM = (7.0, 14.0, 28.0, 32.0, 45.0, 65.0, 130.0)
"""Nodes of the published table that we use."""

# Stillmaker and Baas, Integration 58 (2017), 0.8 V, all relative to 45 nm. The published pairs
# 45->32, 45->14, 45->7 are direct; 28, 65 and 130 nm follow from X->14 divided into 45->14.
AREA_FACTORS = (0.059, 0.17, 0.17 / 0.53, 0.46, 1.0, 0.17 / 0.12, 0.17 / 0.027)
ENERGY_FACTORS = (0.094, 0.139, 0.139 / 0.27, 0.66, 1.0, 0.139 / 0.112, 0.139 / 0.045)
DELAY_FACTORS = (0.16, 0.31, 0.31 / 0.50, 0.71, 1.0, 0.31 / 0.215, 0.31 / 0.108)


def _interpolate(factors: tuple[float, ...], node_nm: ArrayLike) -> NDArray[np.float64]:
    node = np.asarray(node_nm, dtype=float)
    if not np.all((node >= NODES_NM[0]) & (node <= NODES_NM[-1])):
        raise ValueError(
            f"node {np.max(node):g} nm: the published scaling factors cover 7 to 130 nm"
        )
    return np.exp(np.interp(np.log(node), np.log(NODES_NM), np.log(factors)))


def area_factor(from_nm: ArrayLike, to_nm: ArrayLike) -> NDArray[np.float64]:
    """Area of logic at `to_nm` over its area at `from_nm`; log-log interpolated between nodes.

    Source: Stillmaker and Baas, Integration 58 (2017). Raises ValueError outside 7..130 nm.
    """
    return _interpolate(AREA_FACTORS, to_nm) / _interpolate(AREA_FACTORS, from_nm)


def energy_factor(from_nm: ArrayLike, to_nm: ArrayLike) -> NDArray[np.float64]:
    """Switching energy of logic at `to_nm` over that at `from_nm`, at 0.8 V (same source)."""
    return _interpolate(ENERGY_FACTORS, to_nm) / _interpolate(ENERGY_FACTORS, from_nm)


def delay_factor(from_nm: ArrayLike, to_nm: ArrayLike) -> NDArray[np.float64]:
    """Gate delay of logic at `to_nm` over that at `from_nm`, at 0.8 V (same source)."""
    return _interpolate(DELAY_FACTORS, to_nm) / _interpolate(DELAY_FACTORS, from_nm)


SUPPLY_NODES_NM = (7.0, 14.0, 22.0, 28.0, 40.0, 65.0, 90.0, 130.0)
SUPPLY_V = (0.75, 0.8, 0.8, 0.9, 1.0, 1.0, 1.1, 1.2)


def nominal_supply_v(node_nm: ArrayLike) -> NDArray[np.float64]:
    """Core supply of low-power logic at a node (V), where a chip states none; foundries' usual."""
    return np.interp(np.asarray(node_nm, dtype=float), SUPPLY_NODES_NM, SUPPLY_V)
