"""Relative squared error of weights: what programming, drift and read noise make of them.

eps^2 = sum (W' - W)^2 / sum W^2 over a matrix. To second order the loss that a group of matrices
adds is proportional to it (arXiv 2411.17525), and it depends on how far a column's largest weight
lies above the others: on the rows of a tile and the tails of the weights. So it is another one at
full size (512 rows) than in a miniature (32 rows), by the same devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from hwmodels.nonideality import Noise, program

# Weights of the drawn matrix: eps^2 to about 0.3 %.
_DRAWN = 1 << 18
_SEED = 20260


def relative_error_squared(weight: Tensor, sizes: Sequence[int], noise: Noise, seed: int) -> float:
    """eps^2 of one programmed draw of weights [..., outputs, inputs] in tiles of these row blocks.

    Zero where nothing is drawn, and for weights that are all zero.
    """
    generator = torch.Generator().manual_seed(seed)
    programmed = program(weight, sizes, noise, generator=generator)
    size = float(weight.double().square().sum())
    error = float((programmed.effective_weight() - weight).double().square().sum())
    return error / size if size else 0.0


def drawn_error_squared(noise: Noise, rows: int, tail_index: float | None = None) -> float:
    """eps^2 of columns of `rows` independent weights: Gaussian, or of Student's t.

    Args:
        noise: of the devices; its converters play no part.
        rows: of a tile (of a row block of the full model's matrix).
        tail_index: degrees of freedom of Student's t, more than 2; None is Gaussian.

    Raises:
        ValueError: rows below 1, or a tail without a variance.
    """
    if rows < 1:
        raise ValueError(f"a tile has {rows} rows; at least 1 is needed")
    if tail_index is not None and not tail_index > 2:
        raise ValueError(f"tail index is {tail_index}; more than 2 is needed for a variance")
    devices = replace(noise, tile_rows=1, dac_bits=None, adc_bits=None)
    devices = replace(devices, input_range_std=1.0, output_range=1.0)
    return _drawn(devices, rows, tail_index)


@lru_cache(maxsize=512)
def _drawn(noise: Noise, rows: int, tail_index: float | None) -> float:
    generator = torch.Generator().manual_seed(_SEED)
    # As many columns as rows at least: the largest weight of a tile is that of all its columns,
    # and drift is compensated by tile.
    weight = torch.randn(max(_DRAWN // rows, 64), rows, generator=generator)
    if tail_index is not None:
        weight = weight / _chi(weight.shape, tail_index, generator)
    return relative_error_squared(weight, (rows,), noise, _SEED + 1)


def _chi(shape: torch.Size, freedom: float, generator: torch.Generator) -> Tensor:
    """sqrt(chi^2 / freedom), what a normal is divided by to become Student's t."""
    half = torch.full(shape, freedom / 2)
    return (2 * torch._standard_gamma(half, generator=generator) / freedom).sqrt()
