"""Heat: how much power a die may turn to heat by its cooling, and how much it does."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwmodels import catalog
from hwmodels.arrays import Array, number

LIMIT_W_PER_MM2 = {"air": 0.5, "cold-plate": 1.0, "none": float("inf")}
"""Average over a die by cooling; `none` sets no limit (it does not stand for still air).

Air: A100 at 400 W on 826 mm2 is 0.48. Cold plate: H100 at 700 W on 814 mm2 is 0.86, a GB300 die
0.87 on average, with hot spots of 1.5. The rounded limits are a rule of ours."""
STACKED_FACTOR = 0.5
"""Where heat leaves through tiers stacked on the logic: memory on a GPU needed half the clock
(imec, IEDM 2025)."""


def power_density_limit_w_per_mm2(
    cooling: str | NDArray[np.str_], stacked: ArrayLike = False
) -> Array:
    """Largest average power density that a cooling takes away (W/mm2); inf for `none`.

    `stacked`: heat leaves through stacked tiers. Raises ValueError, with the nearest, for a cooling
    that does not exist.
    """
    catalog.check_choice("cooling", cooling, LIMIT_W_PER_MM2)
    named = np.asarray(cooling)
    limit = np.select([named == name for name in LIMIT_W_PER_MM2], list(LIMIT_W_PER_MM2.values()))
    return limit * np.where(stacked, STACKED_FACTOR, 1.0)


def power_density_w_per_mm2(
    power_w: ArrayLike, stack_power_w: ArrayLike, area_mm2: ArrayLike
) -> Array:
    """Average power density of the dies (W/mm2): without what turns to heat in memory stacks.

    `area_mm2` is that of all dies together. A machine without dies has none (0).
    """
    area = number(area_mm2)
    own = number(power_w) - number(stack_power_w)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(area > 0, own / area, 0.0)


def stays_cool(
    density_w_per_mm2: ArrayLike, cooling: str | NDArray[np.str_], stacked: ArrayLike = False
) -> NDArray[np.bool_]:
    """Whether dies of this power density can be cooled so."""
    limit = power_density_limit_w_per_mm2(cooling, stacked)
    return number(density_w_per_mm2) <= limit * (1 + 1e-9)
