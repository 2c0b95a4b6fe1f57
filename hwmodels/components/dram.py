"""Off-chip memory: bandwidth, energy and interface area of one stack or channel."""

from __future__ import annotations

ENERGY_J_PER_BIT = {"hbm2": 6.25e-12, "hbm3": 4.05e-12, "lpddr4": 8.0e-12, "lpddr-3dcim": 5.78e-12}
"""HBM2, HBM3, LPDDR4: hwcomponents; lpddr-3dcim: 0.2467 W at 5.332 GB/s (IBM 3D-CiM simulator)."""

HBM2E_BYTES_PER_S = 1024 * 3.2e9 / 8
"""Peak of one HBM2e stack: 1024 bits at 3.2 Gbit/s a pin (LLMCompass GA100)."""

HBM_PHY_AREA_M2 = 10.45e-6
"""Interface of one HBM2e stack of 1024 bits at 7 nm (LLMCompass cost model)."""


def energy_j_per_byte(kind: str) -> float:
    """Energy of moving one byte from that kind of memory (J)."""
    return 8 * ENERGY_J_PER_BIT[kind]
