"""Row drivers: how an input value becomes a pulse train on a word line."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

INPUT_MODES = ("pwm", "bit_serial", "pulse_train")
"""Pulse width; one conversion a bit; bits as pulses that are summed before one conversion."""
Array = NDArray[np.float64]


def slots(input_mode: ArrayLike, bits: ArrayLike) -> Array:
    """Time slots of one input: 2^(bits-1) for pulse width, one a bit otherwise.

    Pulse width codes the magnitude; the sign chooses the polarity (HERMES: 8 bit in 128 slots of
    1 ns, Khaddam-Aljameh et al., JSSC 57(4), 2022). One bit still needs one slot.
    """
    bits = np.asarray(bits, dtype=float)
    return np.where(np.asarray(input_mode) == "pwm", np.exp2(np.maximum(bits - 1, 0)), bits)


def conversions(input_mode: ArrayLike, bits: ArrayLike) -> Array:
    """How often each column is converted in one phase: once, or once a bit for bit-serial."""
    return np.where(np.asarray(input_mode) == "bit_serial", np.asarray(bits, dtype=float), 1.0)
