"""Power that a digital die draws without computing: leakage, clock, and the board's regulators."""

from __future__ import annotations

LOGIC_LEAKAGE_W_PER_MM2 = 0.06
"""Standard cells at 7 nm, 0.7 to 0.75 V and 85 to 105 C: 0.011 to 0.2 in published tables. With it
boards come to their measured idle power (hwmodels.validation_dies)."""
SRAM_LEAKAGE_W_PER_MM2 = 0.005
"""Arrays of SRAM at 7 nm: 0.001 to 0.019 (same tables)."""
CLOCK_J_PER_MM2 = 114e-12
"""Clock tree and idle pipelines, a mm2 of logic and cycle: 85 pJ derived from P100 and V100 (30 to
160); 114 pJ is what the measured decoding of H100 and B200 says (hwmodels.validation_gpu)."""
REGULATOR_EFFICIENCY = 0.9
"""Power at the die over power into the board: regulators lose 5 to 15 %."""
