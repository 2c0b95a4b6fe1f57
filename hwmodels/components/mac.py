"""Digital multiply-accumulate units."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwmodels.components import scaling

Array = NDArray[np.float64]

BF16_MAC_45NM_J = 1.1e-12 + 0.9e-12
"""16-bit floating multiply 1.1 pJ and 32-bit add 0.9 pJ at 45 nm (Horowitz, ISSCC 2014)."""
INT8_MAC_45NM_J = 0.2e-12 + 0.1e-12
"""8-bit multiply 0.2 pJ and 32-bit add 0.1 pJ at 45 nm (Horowitz, ISSCC 2014)."""
BF16_MAC_7NM_M2 = 14e-6 / 128**2
"""TPUv4i: a 128 x 128 matrix unit takes 14 mm2 at 7 nm (accelforge, from Jouppi et al. 2021)."""


def bf16_energy_j(node_nm: ArrayLike) -> Array:
    """Energy of one bfloat16 multiply-accumulate into 32 bit (J), without operand movement."""
    return BF16_MAC_45NM_J * scaling.energy_factor(45.0, node_nm)


def int8_energy_j(node_nm: ArrayLike) -> Array:
    """Energy of one 8-bit multiply-accumulate into 32 bit (J), without operand movement."""
    return INT8_MAC_45NM_J * scaling.energy_factor(45.0, node_nm)


def bf16_area_m2(node_nm: ArrayLike) -> Array:
    """Area of one bfloat16 unit with its share of array registers and wiring (m2)."""
    return BF16_MAC_7NM_M2 * scaling.area_factor(7.0, node_nm)
