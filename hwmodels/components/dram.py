"""Off-chip memory: bandwidth, energy and interface area of one stack or channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

ENERGY_J_PER_BIT = {"hbm2": 6.25e-12, "hbm3": 4.05e-12, "lpddr4": 8.0e-12, "lpddr-3dcim": 5.78e-12}
"""HBM2, HBM3, LPDDR4: hwcomponents; lpddr-3dcim: 0.2467 W at 5.332 GB/s (IBM 3D-CiM simulator)."""

HBM_PHY_AREA_M2 = 10.45e-6
"""Interface of one HBM2e stack of 1024 bits at 7 nm (LLMCompass cost model)."""


def bandwidth_bytes_per_s(
    stacks: ArrayLike, bits_wide: float = 1024, rate_bit_per_s: float = 3.2e9
) -> Array:
    """Peak bandwidth of HBM stacks (bytes/s); by default HBM2e: 1024 bits at 3.2 Gbit/s a pin."""
    return np.asarray(stacks, dtype=float) * bits_wide * rate_bit_per_s / 8


def energy_j_per_byte(kind: str) -> float:
    """Energy of moving one byte from that kind of memory (J)."""
    return 8 * ENERGY_J_PER_BIT[kind]
