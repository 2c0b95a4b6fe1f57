"""Digital multiply-accumulate units."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwmodels.components import scaling

Array = NDArray[np.float64]

BF16_MAC_45NM_J = 1.1e-12 + 0.9e-12
"""16-bit floating multiply 1.1 pJ and 32-bit add 0.9 pJ at 45 nm (Horowitz, ISSCC 2014)."""
BF16_MAC_7NM_M2 = 14e-6 / 128**2
"""TPUv4i: a 128 x 128 matrix unit takes 14 mm2 at 7 nm (accelforge, from Jouppi et al. 2021)."""


def bf16_energy_j(node_nm: ArrayLike) -> Array:
    """Energy of one bfloat16 multiply-accumulate into 32 bit (J), without operand movement."""
    return BF16_MAC_45NM_J * scaling.energy_factor(45.0, node_nm)


def bf16_area_m2(node_nm: ArrayLike) -> Array:
    """Area of one bfloat16 unit with its share of array registers and wiring (m2)."""
    return BF16_MAC_7NM_M2 * scaling.area_factor(7.0, node_nm)


NAND_CAPACITANCE_28NM_F = 0.7e-15
"""Two-input gate at 28 nm; a full adder is 3 of them and 2 XOR of 1.5 each: 6 (ZigZag-IMC)."""
NAND_DELAY_28NM_S = 0.0478e-9
"""Of that gate; XOR 2.4 times, carry through a full adder two gates (ZigZag-IMC)."""


def gate_energy_j(supply_v: ArrayLike, node_nm: ArrayLike) -> Array:
    """Energy of one toggle of that gate (J): C V^2, with C in proportion to gate and wire pitch.

    Between memory cells a gate drives wires more than gates. One design from 22 to 12 nm, both at
    0.72 V, gained 1.4 times (Chih et al., ISSCC 2021; Lee et al., VLSI 2022: 89 and 121 TOPS/W):
    pitches differ by 1.4, names of nodes by 1.8, the factors of bare logic by 2.6.
    """
    capacitance = NAND_CAPACITANCE_28NM_F * scaling.dimension_factor(28.0, node_nm)
    return capacitance * np.square(np.asarray(supply_v, dtype=float))


REGISTER_GATES = 3
"""A flip-flop charges as much as three of those gates in each cycle, its clock with it (ZigZag)."""


def register_energy_j(bits: ArrayLike, supply_v: ArrayLike, node_nm: ArrayLike) -> Array:
    """Energy of clocking a register of `bits` bits once (J)."""
    return REGISTER_GATES * np.asarray(bits, dtype=float) * gate_energy_j(supply_v, node_nm)


def adder_tree_energy_j(
    inputs: ArrayLike,
    bits: ArrayLike,
    supply_v: ArrayLike,
    node_nm: ArrayLike,
    activity: ArrayLike = 0.5,
) -> Array:
    """Energy of adding `inputs` words of `bits` bits once in a balanced tree (J).

    A tree of N words of b bits has about N (b + 1) full adders (level l adds words of b + l - 1
    bits in N / 2^l places); each charges 6 gate capacitances when it toggles. ZigZag-IMC's gates.
    """
    adders = np.asarray(inputs, dtype=float) * (np.asarray(bits, dtype=float) + 1)
    return adders * 6 * gate_energy_j(supply_v, node_nm) * np.asarray(activity, dtype=float)


def adder_tree_delay_s(inputs: ArrayLike, bits: ArrayLike, node_nm: ArrayLike) -> Array:
    """Delay of that tree (s): one full adder (two XOR) a level and one carry chain at the root."""
    levels = np.ceil(np.log2(np.asarray(inputs, dtype=float)))
    chain = np.asarray(bits, dtype=float) + levels
    gates = levels * 2 * 2.4 + chain * 2
    return gates * NAND_DELAY_28NM_S * scaling.delay_factor(28.0, node_nm)
