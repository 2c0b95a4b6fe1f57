"""On-chip SRAM at 7 nm: energy a byte by capacity, and area."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

REFERENCE_BYTES = 4 * 2**20
READ_J_PER_BIT = 0.249e-12
"""4 MiB buffer of TPUv4i, read, 7 nm (accelforge tpu_v4i.yaml, from Jouppi et al., ISCA 2021)."""
READ_EXPONENT = float(np.log(1.88 / 0.249) / np.log(32))
"""From 4 MiB to the 128 MiB memory, 1.88 pJ/bit (same source): a little above a square root."""
AREA_M2_PER_BIT = 112e-6 / (128 * 2**23)
"""TPUv4i common memory: 128 MiB in 112 mm2 at 7 nm, periphery included (same source)."""


def read_energy_j_per_byte(capacity_bytes: ArrayLike) -> Array:
    """Energy of reading one byte (J); power law through the published 4 and 128 MiB points."""
    ratio = np.asarray(capacity_bytes, dtype=float) / REFERENCE_BYTES
    return 8 * READ_J_PER_BIT * np.power(ratio, READ_EXPONENT)


def area_m2(capacity_bytes: ArrayLike) -> Array:
    """Area at 7 nm (m2), proportional to capacity."""
    return 8 * AREA_M2_PER_BIT * np.asarray(capacity_bytes, dtype=float)
