"""What a quantity is: a number, or an array with one entry a design."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Value = float | NDArray[Any]
Text = str | NDArray[Any]


def number(value: object) -> Array:
    """The quantity as an array of floats, with as many dimensions as it has."""
    return np.asarray(value, dtype=float)
