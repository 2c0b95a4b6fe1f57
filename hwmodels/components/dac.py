"""Row drivers: how an input value becomes a pulse train on a word line."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

INPUT_MODES = ("pwm", "bit_serial", "pulse_train", "level")
"""Pulse width; one conversion a bit; bits as pulses summed before one conversion; a level."""
Array = NDArray[np.float64]


def slots(input_mode: ArrayLike, bits: ArrayLike) -> Array:
    """Time slots of one input of `bits` bits.

    Pulse width: 2^(bits-1), for it codes the magnitude and the sign chooses the polarity (HERMES:
    8 bit in 128 slots of 1 ns, Khaddam-Aljameh et al., JSSC 57(4), 2022); one bit still needs one
    slot. An analog level takes one. The others take one a bit.
    """
    mode, bits = np.asarray(input_mode), np.asarray(bits, dtype=float)
    counted = np.where(mode == "pwm", np.exp2(np.maximum(bits - 1, 0)), bits)
    return np.where(mode == "level", 1.0, counted)


def conversions(input_mode: ArrayLike, bits: ArrayLike) -> Array:
    """How often each column is converted in one phase: once, or once a bit for bit-serial."""
    return np.where(np.asarray(input_mode) == "bit_serial", np.asarray(bits, dtype=float), 1.0)


BOLTZMANN_J = 1.380649e-23 * 300
"""Thermal energy at 300 K."""


def level_floor_j(input_mode: ArrayLike, bits: ArrayLike) -> Array:
    """Thermal floor of putting out one analog level of `bits` bits (J); zero for pulses.

    A capacitor whose noise kT/C is no more than that of the steps, V^2 / (12 x 4^bits), is charged
    to V: C V^2 = 12 kT 4^bits (3.3 fJ at 8 bits). Pulses and their widths are digital.
    """
    floor = 12 * BOLTZMANN_J * np.exp2(2 * np.asarray(bits, dtype=float))
    return np.where(np.asarray(input_mode) == "level", floor, 0.0)
