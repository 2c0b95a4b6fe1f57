"""Digital multiply-accumulate units."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwmodels.arrays import Array, number
from hwmodels.components import scaling

BF16_MULTIPLY_J, FP32_ADD_J = 0.21e-12, 0.38e-12
INT8_MULTIPLY_J, INT32_ADD_J = 0.07e-12, 0.03e-12
"""At 7 nm, without operands (Jouppi et al., ISCA 2021, Table 2). Horowitz's 45 nm figures (ISSCC
2014: 1.1 and 0.9 pJ) scaled to 7 nm by factors of logic alone give a third of it."""
WIRE_J_PER_BIT_MM = 0.029e-12 / 0.35
"""Driver, 0.35 mm of wire and register at 7 nm: 0.029 pJ a bit (0.023 to 0.1)."""
BUFFER_J_PER_BIT = 0.12e-12
"""Bank of 256 KiB at an array's edge, a bit read or written at 7 nm."""
BF16_MAC_7NM_M2 = 14e-6 / 128**2
"""TPUv4i: a 128 x 128 matrix unit takes 14 mm2 at 7 nm (accelforge, from Jouppi et al. 2021); 11 %
of a die of 400 mm2 says 0.8 of that, others say 1.8."""
INT8_AREA_SHARE = 0.5
"""One die does two int8 products in place of a bfloat16 one (A100: 624 and 312 TOPS)."""
VECTOR_LANE_7NM_M2 = 36700e-12
"""A fp32 lane of a programmable core with its share of integer and fp64 units, scheduling, load and
store. Die photos (LLMCompass): a multiprocessor of GA100 (3.72 mm2, 64 lanes) and a compute unit of
Aldebaran (3.98 mm2 at 6 nm, 64 lanes), less matrix units, registers and L1, leave 27 500 and 49 000
um2 at 7 nm; their geometric mean."""
ARRAY_ROWS = 128
"""Side of a matrix unit (TPUv4i)."""


def is_integer(weight_bits: ArrayLike, activation_bits: ArrayLike) -> NDArray[np.bool_]:
    """Whether both operands have at most 8 bits: then the array multiplies integers."""
    return np.maximum(weight_bits, activation_bits) <= 8


def arithmetic_energy_j(
    weight_bits: ArrayLike, activation_bits: ArrayLike, node_nm: ArrayLike
) -> Array:
    """Energy of multiplying and accumulating once (J), without operands.

    Operands of 16 bits are bfloat16 with sums in fp32; narrower weights beside them are widened as
    they are loaded (`dequantise_energy_j`). Both of at most 8 bits are integers with sums in int32;
    a multiplier's energy grows with the product of its operands' bits.
    """
    bits = number(weight_bits) * number(activation_bits)
    integer = INT8_MULTIPLY_J * bits / 64 + INT32_ADD_J
    at_7nm = np.where(
        is_integer(weight_bits, activation_bits), integer, BF16_MULTIPLY_J + FP32_ADD_J
    )
    return at_7nm * scaling.energy_factor(7.0, node_nm)


def delivery_energy_j(
    weight_bits: ArrayLike,
    activation_bits: ArrayLike,
    node_nm: ArrayLike,
    rows: ArrayLike = ARRAY_ROWS,
) -> Array:
    """Energy of bringing a multiply-accumulate its operands in an array of `rows` x `rows` (J).

    The activation and the 32-bit sum move one unit on; at the edges an activation is read for a row
    of units, and a sum read and written for a column of them.
    """
    moved = number(activation_bits) + 32
    pitch_mm = 1e3 * np.sqrt(area_m2(weight_bits, activation_bits, 7.0))
    edge = (number(activation_bits) + 2 * 32) / number(rows)
    at_7nm = moved * pitch_mm * WIRE_J_PER_BIT_MM + edge * BUFFER_J_PER_BIT
    return at_7nm * scaling.energy_factor(7.0, node_nm)


def energy_j(
    node_nm: ArrayLike,
    weight_bits: ArrayLike = 16,
    activation_bits: ArrayLike = 16,
    rows: ArrayLike = ARRAY_ROWS,
) -> Array:
    """Energy of one multiply-accumulate with operand delivery (J): 0.78 pJ for bfloat16 at 7 nm.

    Measured on the tensor cores of an A100: 0.66 pJ in the data path and 0.74 pJ to issue
    instructions and read registers (Antepara et al., SC 2025), which an array has none of.
    """
    arithmetic = arithmetic_energy_j(weight_bits, activation_bits, node_nm)
    return arithmetic + delivery_energy_j(weight_bits, activation_bits, node_nm, rows)


def dequantise_energy_j(
    weight_bits: ArrayLike, activation_bits: ArrayLike, node_nm: ArrayLike
) -> Array:
    """Energy of widening one loaded weight to bfloat16 (J): a product with its scale.

    Integers need none: the scale of a group multiplies its sum.
    """
    narrow = number(weight_bits) < number(activation_bits)
    narrow &= ~is_integer(weight_bits, activation_bits)
    return np.where(narrow, BF16_MULTIPLY_J, 0.0) * scaling.energy_factor(7.0, node_nm)


def area_m2(weight_bits: ArrayLike, activation_bits: ArrayLike, node_nm: ArrayLike) -> Array:
    """Area of one unit with its share of array registers and wiring (m2)."""
    share = np.where(is_integer(weight_bits, activation_bits), INT8_AREA_SHARE, 1.0)
    return share * BF16_MAC_7NM_M2 * scaling.area_factor(7.0, node_nm)


def dequantiser_area_m2(node_nm: ArrayLike) -> Array:
    """Area of widening one weight a cycle (m2): the multiplier's share of a unit, by energy."""
    share = BF16_MULTIPLY_J / (BF16_MULTIPLY_J + FP32_ADD_J)
    return share * BF16_MAC_7NM_M2 * scaling.area_factor(7.0, node_nm)


def vector_lane_area_m2(node_nm: ArrayLike) -> Array:
    """Area of one fp32 lane of a programmable core (m2)."""
    return VECTOR_LANE_7NM_M2 * scaling.area_factor(7.0, node_nm)


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
