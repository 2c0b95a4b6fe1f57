"""The crossbar itself: read energy and footprint of the cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

MEAN_INPUT_DUTY = 0.5
"""Share of the integration time that a row is on, averaged over uniformly distributed inputs."""


def read_power_w(
    read_voltage_v: ArrayLike, mean_conductance_s: ArrayLike, devices_per_weight: ArrayLike
) -> Array:
    """Mean power of one weight while its row is on (W): devices x G V^2 (Ohm's law)."""
    voltage = np.asarray(read_voltage_v, dtype=float)
    conductance = np.asarray(mean_conductance_s, dtype=float)
    return np.asarray(devices_per_weight, dtype=float) * conductance * np.square(voltage)


def wire_energy_j(cells: ArrayLike, capacitance_f: ArrayLike, voltage_v: ArrayLike) -> Array:
    """Energy of charging a line that passes `cells` cells once (J): C V^2."""
    charge = np.asarray(cells, dtype=float) * np.asarray(capacitance_f, dtype=float)
    return charge * np.square(np.asarray(voltage_v, dtype=float))


def staircase_area_m2(
    tiers: ArrayLike, step_m: ArrayLike, edge_cells: ArrayLike, cell_area_m2: ArrayLike
) -> Array:
    """Area where the word planes of a 3D stack come to the surface, one step a tier (m2).

    The stack's cells lie above each other, so a tier adds one step of `step_m` along an edge of
    `edge_cells` cells and nothing else. A geometric assumption; steps in published 3D NAND are
    about half a micrometre.
    """
    pitch = np.sqrt(np.asarray(cell_area_m2, dtype=float))
    extra_tiers = np.asarray(tiers, dtype=float) - 1
    return extra_tiers * np.asarray(step_m, dtype=float) * np.asarray(edge_cells, float) * pitch
