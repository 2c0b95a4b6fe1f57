"""On-chip SRAM: energy a byte by capacity at 7 nm, and area."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hwmodels.arrays import Array, number
from hwmodels.components import scaling

REFERENCE_BYTES = 4 * 2**20
READ_J_PER_BIT = 0.249e-12
"""4 MiB buffer of TPUv4i, read, 7 nm (accelforge tpu_v4i.yaml, from Jouppi et al., ISCA 2021)."""
READ_EXPONENT = float(np.log(1.88 / 0.249) / np.log(32))
"""From 4 MiB to the 128 MiB memory, 1.88 pJ/bit (same source): a little above a square root."""
AREA_M2_PER_BIT = 112e-6 / (128 * 2**23)
"""TPUv4i common memory: 128 MiB in 112 mm2 at 7 nm, periphery included (same source)."""

CACHE_AREA_M2_PER_BIT = 119.31e-6 / (48 * 2**23)
"""L2 of GA100: 48 MiB in 119.3 mm2 on the die photo (LLMCompass)."""
CELL_NODES_NM, CELL_UM2 = (3.0, 5.0, 7.0), (0.021, 0.021, 0.027)
"""High-density cell of one foundry (TSMC N7 at IEDM 2016, N5 at ISSCC 2020, N3E as N5)."""


def read_energy_j_per_byte(capacity_bytes: ArrayLike) -> Array:
    """Energy of reading one byte (J); power law through the published 4 and 128 MiB points."""
    ratio = number(capacity_bytes) / REFERENCE_BYTES
    return 8 * READ_J_PER_BIT * np.power(ratio, READ_EXPONENT)


def area_m2(capacity_bytes: ArrayLike, node_nm: ArrayLike = 7.0) -> Array:
    """Area of a scratchpad (m2), proportional to capacity."""
    return 8 * AREA_M2_PER_BIT * number(capacity_bytes) * _area_factor(node_nm)


def cache_area_m2(capacity_bytes: ArrayLike, node_nm: ArrayLike = 7.0) -> Array:
    """Area of caches, registers and vector memories (m2): banks, ports and tags, too."""
    return 8 * CACHE_AREA_M2_PER_BIT * number(capacity_bytes) * _area_factor(node_nm)


def _area_factor(node_nm: ArrayLike) -> Array:
    """Area of SRAM at a node over that at 7 nm: by its cell below, as logic above."""
    cell = np.exp(np.interp(np.log(number(node_nm)), np.log(CELL_NODES_NM), np.log(CELL_UM2)))
    above = scaling.area_factor(7.0, node_nm)
    return np.where(number(node_nm) > 7, above, cell / CELL_UM2[-1])
