"""Weights, keys and values rounded to few bits: what the digital rival loses.

Weights are rounded to nearest in groups of inputs with a scale each, as the simplest kernels for
4- and 8-bit weights have them; keys and values per token and head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

GROUP = 64
"""Inputs that share a scale of 16 bits; the accelerator stores them so (`group_size`)."""
HEAD_DIM = 128
"""Keys or values that share a scale in the full models: a head of OLMoE or DeepSeekMoE."""
WEIGHT_BITS = (16, 8, 4)
KV_BITS = (16, 8)


@dataclass(frozen=True)
class DigitalFormat:
    """Bits of the digital parts: of weights (16, 8 or 4), and of keys and values (16 or 8)."""

    weight_bits: int = 16
    kv_bits: int = 16

    def __post_init__(self) -> None:
        for name, value, accepted in (
            ("weight_bits", self.weight_bits, WEIGHT_BITS),
            ("kv_bits", self.kv_bits, KV_BITS),
        ):
            if value not in accepted:
                raise ValueError(f"{name} is {value}: choose from {', '.join(map(str, accepted))}")

    @property
    def exact(self) -> bool:
        """Whether nothing is rounded: 16 bits count as exact."""
        return self.weight_bits == self.kv_bits == 16


EXACT = DigitalFormat()
"""Nothing is rounded."""


def rounded(values: Tensor, bits: int, group: int = GROUP) -> Tensor:
    """Values [..., n] rounded to nearest: symmetric codes, a scale for every `group` of the last.

    The largest magnitude of a group gets the largest code, 2^(bits-1) - 1; the last group may be
    smaller.
    """
    levels = 2 ** (bits - 1) - 1
    parts = values.split(group, dim=-1)
    return torch.cat([_rounded(part, levels) for part in parts], dim=-1)


def _rounded(part: Tensor, levels: int) -> Tensor:
    step = part.abs().amax(-1, keepdim=True) / levels
    return (part / torch.where(step > 0, step, 1.0)).round() * step


def rounding_error_squared(values: Tensor, bits: int, group: int = GROUP) -> float:
    """eps^2 of rounding: sum of squared errors over sum of squares."""
    size = float(values.double().square().sum())
    error = float((rounded(values, bits, group) - values).double().square().sum())
    return error / size if size else 0.0


def drawn_rounding_error_squared(bits: int, group: int = GROUP) -> float:
    """eps^2 of rounding Gaussian numbers in whole groups: 0.0116 at 4 bits and 64."""
    generator = torch.Generator().manual_seed(0)
    return rounding_error_squared(torch.randn(2048, group, generator=generator), bits, group)
