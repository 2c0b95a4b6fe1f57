"""Products with programmed tiles: DAC, tile, ADC.

The deterministic part of the noisy simulation. It follows aihwkit's torch tile with column-wise
weight scaling and a static input range, which is also what aihwkit-lightning computes with
per-channel ranges:

    input      q = round(clamp(x / beta_inp) * L_dac)        beta_inp = kappa * std(x)
    weights    w = W / max|W|  per tile column, then programmed (and drifted) with noise
    output     y = round(clamp((q / L_dac) w / lambda) * L_adc)     L = 2^(bits-1) - 1
    result     sum over row blocks of  y / L_adc * lambda * beta_inp * max|W| * alpha

alpha is the global drift compensation of the tile, applied digitally after the ADC as in aihwkit.
The largest ADC input is thus beta_adc = lambda * beta_inp * max|W| of the column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from hwmodels.nonideality import Noise, ProgrammedMatrix

# From so many rows an expert on (measured on one thread) experts are multiplied one by one.
_ROWS_ALONE = 100


def converter_levels(bits: int | None) -> float | None:
    """Largest integer code of a signed converter, 2^(bits-1) - 1 (None for an ideal converter)."""
    return None if bits is None else float(2 ** (bits - 1) - 1)


@dataclass(frozen=True)
class AnalogMatrix:
    """A programmed matrix made ready for fast products: the ADC is then a rounding and a clamp.

    weight [..., inputs, outputs]: scaled so that a product is in ADC codes.
    input_scale [..., inputs]: DAC codes per unit of input.
    output_scale [blocks, ..., outputs]: units of output per ADC code.
    dac_levels, adc_levels: largest codes, None for an ideal converter.
    """

    weight: Tensor
    input_scale: Tensor
    output_scale: Tensor
    sizes: tuple[int, ...]
    dac_levels: float | None
    adc_levels: float | None


def prepare(matrix: ProgrammedMatrix, input_range: Tensor, noise: Noise) -> AnalogMatrix:
    """Fold converter steps into the weights of a programmed matrix.

    Small products are fastest when `laid_by_inputs` has put each row block in one piece of memory.
    input_range [..., blocks] is beta_inp, the largest input each row block takes; its leading
    dimensions are those of the matrix (the experts of a layer) or none.
    """
    dac, adc = converter_levels(noise.dac_bits), converter_levels(noise.adc_bits)
    step = noise.output_range / adc if adc is not None else 1.0
    weight = (matrix.weight / (step * (dac if dac is not None else 1.0))).mT
    sizes = torch.tensor(matrix.sizes, device=input_range.device)
    input_scale = ((dac if dac is not None else 1.0) / input_range).repeat_interleave(
        sizes, dim=-1, output_size=sum(matrix.sizes)
    )
    output_scale = matrix.scale * (input_range.unsqueeze(-1) * step)
    # Contiguous per block: a grouped product gathers each row's scales from it.
    output_scale = output_scale.movedim(-2, 0).contiguous()
    return AnalogMatrix(weight, input_scale, output_scale, matrix.sizes, dac, adc)


def laid_by_inputs(matrix: ProgrammedMatrix) -> ProgrammedMatrix:
    """The same matrix with the weights of an input, not of an output, side by side in memory."""
    return replace(matrix, weight=matrix.weight.mT.contiguous().mT)


def to_codes(inputs: Tensor, matrix: AnalogMatrix, row_expert: Tensor | None = None) -> Tensor:
    """Inputs [rows, inputs] as DAC codes; with an ideal DAC only scaled.

    row_expert [rows] gives the leading index (the expert) of each row for a batched matrix.
    """
    scale = matrix.input_scale
    codes = inputs * (scale if row_expert is None else scale.index_select(0, row_expert))
    return _to_levels(codes, matrix.dac_levels)


def _to_levels(codes: Tensor, levels: float | None) -> Tensor:
    """What a converter with codes up to `levels` makes of these, in place."""
    return codes if levels is None else codes.round_().clamp_(-levels, levels)


def multiply(codes: Tensor, matrix: AnalogMatrix) -> Tensor:
    """Product of DAC codes [rows, inputs] with the tiles of a matrix -> [rows, outputs].

    Each row block is read by its own ADC before the digital sum.
    """
    result = matrix.weight.new_empty(len(codes), matrix.weight.shape[-1])
    return _multiply_into(result, codes, matrix.weight, matrix.output_scale.unbind(), matrix)


def _multiply_into(
    result: Tensor, codes: Tensor, weight: Tensor, scales: Sequence[Tensor], matrix: AnalogMatrix
) -> Tensor:
    """`multiply` for weights [inputs, outputs] and scales [outputs] a block of one expert."""
    if len(scales) == 1:
        torch.mm(codes, weight, out=result)
        return _to_levels(result, matrix.adc_levels).mul_(scales[0])
    blocks = _to_levels(_block_products(codes, weight, matrix.sizes), matrix.adc_levels).unbind()
    torch.mul(blocks[0], scales[0], out=result)
    for block, scale in zip(blocks[1:], scales[1:], strict=True):
        result.addcmul_(block, scale)
    return result


def _block_products(codes: Tensor, weight: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Products of each row block, [blocks, rows, outputs]: blocks of one size in one call."""
    products = codes.new_empty(len(sizes), len(codes), weight.shape[1])
    first = row = 0
    for size, same in groupby(sizes):
        count = len(list(same))
        blocks, rows = slice(first, first + count), slice(row, row + count * size)
        left = codes[:, rows].unflatten(1, (count, size)).transpose(0, 1)
        torch.bmm(left, weight[rows].unflatten(0, (count, size)), out=products[blocks])
        first, row = blocks.stop, rows.stop
    return products


def analog_linear(inputs: Tensor, matrix: AnalogMatrix) -> Tensor:
    """Inputs [rows, inputs] through the DACs, tiles and ADCs of one matrix -> [rows, outputs]."""
    return multiply(to_codes(inputs, matrix), matrix)


def analog_grouped_linear(inputs: Tensor, matrix: AnalogMatrix, counts: Tensor) -> Tensor:
    """The same for rows sorted by expert, counts [experts] each, and a matrix of all experts."""
    alone = inputs.is_cpu and len(inputs) >= _ROWS_ALONE * len(counts)
    return (grouped_by_expert if alone else grouped_at_once)(inputs, matrix, counts)


def grouped_by_expert(inputs: Tensor, matrix: AnalogMatrix, counts: Tensor) -> Tensor:
    """`analog_grouped_linear` expert by expert: codes and products stay in a CPU's cache."""
    rows = counts.tolist()
    result = matrix.weight.new_empty(len(inputs), matrix.weight.shape[-1])
    scales = zip(*(block.unbind() for block in matrix.output_scale), strict=True)
    for x, out, to_code, weight, scale in zip(
        inputs.split(rows),
        result.split(rows),
        matrix.input_scale.unbind(),
        matrix.weight.unbind(),
        scales,
        strict=True,
    ):
        if len(x):
            codes = _to_levels(x * to_code, matrix.dac_levels)
            _multiply_into(out, codes, weight, scale, matrix)
    return result


def grouped_at_once(inputs: Tensor, matrix: AnalogMatrix, counts: Tensor) -> Tensor:
    """`analog_grouped_linear` by one grouped product a row block."""
    ends = counts.cumsum(0).to(torch.int32)
    expert = torch.arange(len(counts), device=inputs.device).repeat_interleave(
        counts, output_size=len(inputs)
    )
    codes = to_codes(inputs, matrix, expert)
    total = torch.zeros((), dtype=inputs.dtype, device=inputs.device)
    parts = zip(
        codes.split(matrix.sizes, dim=1),
        matrix.weight.split(matrix.sizes, dim=-2),
        matrix.output_scale,
        strict=True,
    )
    for left, right, scale in parts:
        out = torch.nn.functional.grouped_mm(left, right, offs=ends)
        total = _to_levels(out, matrix.adc_levels).mul_(scale.index_select(0, expert)).add_(total)
    return total
