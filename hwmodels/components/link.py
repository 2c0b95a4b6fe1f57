"""Moving activations between tiles and digital units."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwmodels.components import scaling

Array = NDArray[np.float64]

HOP_J_PER_BIT_32NM = 20.74e-12 / 256
"""ISAAC router at 32 nm: 20.74 pJ for 256 bits, 0.081 pJ/bit a hop (Shafiee et al., ISCA 2016)."""
ROUTER_AREA_M2_32NM = 0.15e-6
"""One ISAAC router of 32-bit flits and 8 ports, shared by four tiles (0.15 mm2)."""


def energy_j(bytes_moved: ArrayLike, hops: ArrayLike = 1.0, node_nm: float = 14.0) -> Array:
    """Energy of moving bytes over `hops` routers of an on-chip mesh (J), ISAAC's router scaled."""
    per_byte = 8 * HOP_J_PER_BIT_32NM * scaling.energy_factor(32.0, node_nm)
    return np.asarray(bytes_moved, dtype=float) * np.asarray(hops, dtype=float) * per_byte


def hops(tiles: ArrayLike) -> Array:
    """Mean hops between a tile and the digital units at the centre of a square mesh.

    The mean Manhattan distance to the centre of a square of side s is s/2; at least one hop.
    """
    return np.maximum(np.sqrt(np.asarray(tiles, dtype=float)) / 2, 1.0)


def area_m2(tiles: ArrayLike, node_nm: float = 14.0) -> Array:
    """Area of the routers of a mesh, one router for four tiles as in ISAAC (m2)."""
    per_tile = ROUTER_AREA_M2_32NM / 4 * scaling.area_factor(32.0, node_nm)
    return np.asarray(tiles, dtype=float) * per_tile
