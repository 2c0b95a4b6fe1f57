"""By how much the full model takes errors worse than the miniature that stands for it.

To second order dL = sum_g A_g eps_g^2 over groups of matrices g. A gain is A_g of the full model
over A_g of the miniature; lost bits are those by which converters of the full model act worse, as
its activations have outliers that a miniature's lack. `dse.simulation.anchors` fits them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EXPERTS = "experts"
GROUPS = (EXPERTS, "attention", "shared_expert", "dense_ffn", "router", "lm_head")
"""Groups of matrices that have a gain: the routed experts, and the dense parts."""


@dataclass(frozen=True)
class Gains:
    """What makes errors of a miniature's matrices those of the full model's.

    Attributes:
        sensitivity: A_g of the full model over that of the miniature, by group; 1 if missing.
        lost_bits: by which DAC and ADC act worse, by group; 0 if missing.
        tail_index: degrees of freedom of Student's t that the full model's weights follow, by
            group; Gaussian if missing.
    """

    sensitivity: Mapping[str, float] = field(default_factory=dict)
    lost_bits: Mapping[str, float] = field(default_factory=dict)
    tail_index: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for values in (self.sensitivity, self.lost_bits, self.tail_index):
            if unknown := sorted(set(values) - set(GROUPS)):
                raise ValueError(f"no group {unknown[0]!r}: there are {', '.join(GROUPS)}")
        for group, gain in self.sensitivity.items():
            if not 0 < gain < float("inf"):
                raise ValueError(f"the gain of {group} is {gain}; it must be finite, above 0")
