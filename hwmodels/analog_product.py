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

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hwmodels.nonideality import Noise, ProgrammedMatrix

# Up to so many rows (of an expert) other orders of the same products are faster on a CPU.
_FEW_ROWS = 64


def converter_levels(bits: float | None) -> float | None:
    """Largest integer code of a signed converter, 2^(bits-1) - 1 (None for an ideal converter).

    Bits need not be whole, as effective ones are; the code is, and at least 1.
    """
    return None if bits is None else float(max(round(2 ** (bits - 1) - 1), 1))


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


def prepare(
    matrix: ProgrammedMatrix, input_range: Tensor, noise: Noise, lost_bits: float = 0.0
) -> AnalogMatrix:
    """Fold converter steps into the weights of a programmed matrix.

    Products of many rows are fastest with weights `laid_by_inputs`, of few rows as programmed.
    input_range [..., blocks] is beta_inp, the largest input each row block takes; its leading
    dimensions are those of the matrix (the experts of a layer) or none. lost_bits: by how many
    bits both converters are worse than those of `noise`.
    """
    dac, adc = (
        converter_levels(None if bits is None else bits - lost_bits)
        for bits in (noise.dac_bits, noise.adc_bits)
    )
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


# TorchScript runs the next two without Python's lock: passes on several threads do not wait for one
# another, and a small product costs no call from Python. Without it they are plain functions.


@torch.jit.script
def _read_out(
    result: Tensor,
    codes: Tensor,
    weight: Tensor,
    scales: Tensor,
    sizes: list[int],
    levels: float | None,
) -> None:
    """Fill result [rows, outputs] with codes [rows, inputs] times weight [inputs, outputs].

    The product of each row block is read by an ADC, times its scales [blocks, outputs].
    """
    product = result if len(sizes) == 1 else torch.empty_like(result)
    row = 0
    for block, size in enumerate(sizes):
        torch.mm(codes[:, row : row + size], weight[row : row + size], out=product)
        _to_levels(product, levels)
        if block == 0:
            torch.mul(product, scales[0], out=result)
        else:
            result.addcmul_(product, scales[block])
        row += size


@torch.jit.script
def _by_expert(
    inputs: Tensor,
    matrix: tuple[Tensor, Tensor, Tensor],
    counts: list[int],
    sizes: list[int],
    dac_levels: float | None,
    adc_levels: float | None,
) -> Tensor:
    """`analog_grouped_linear` expert by expert: codes and products stay in a CPU's cache.

    matrix: weight, input_scale and output_scale of an AnalogMatrix.
    """
    weight, input_scale, output_scale = matrix
    result = inputs.new_empty((inputs.shape[0], weight.shape[2]))
    start = 0
    for expert, rows in enumerate(counts):
        if rows > 0:
            codes = _to_levels(inputs[start : start + rows] * input_scale[expert], dac_levels)
            _read_out(
                result[start : start + rows],
                codes,
                weight[expert],
                output_scale[:, expert],
                sizes,
                adc_levels,
            )
        start += rows
    return result


def multiply(codes: Tensor, matrix: AnalogMatrix) -> Tensor:
    """Product of DAC codes [rows, inputs] with the tiles of a matrix -> [rows, outputs].

    Each row block is read by its own ADC before the digital sum.
    """
    rows, outputs = len(codes), matrix.weight.shape[-1]
    if rows > _FEW_ROWS or matrix.weight.is_contiguous():
        result = codes.new_empty(rows, outputs)
    else:  # laid like the weights, an output's rows side by side: these are read once, in order
        result = codes.new_empty(outputs, rows).mT
    _read_out(result, codes, matrix.weight, matrix.output_scale, matrix.sizes, matrix.adc_levels)
    return result


def analog_linear(inputs: Tensor, matrix: AnalogMatrix) -> Tensor:
    """Inputs [rows, inputs] through the DACs, tiles and ADCs of one matrix -> [rows, outputs]."""
    return multiply(to_codes(inputs, matrix), matrix)


def analog_grouped_linear(inputs: Tensor, matrix: AnalogMatrix, counts: Tensor) -> Tensor:
    """The same for rows sorted by expert, counts [experts] each, and a matrix of all experts."""
    if not inputs.is_cpu or len(inputs) < _FEW_ROWS * len(counts):
        return grouped_at_once(inputs, matrix, counts)
    parts = (matrix.weight, matrix.input_scale, matrix.output_scale)
    return _by_expert(
        inputs, parts, counts.tolist(), matrix.sizes, matrix.dac_levels, matrix.adc_levels
    )


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
