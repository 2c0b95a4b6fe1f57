"""Which experts rows go to, and the way there and back."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def top(probabilities: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest `count` of each row of probabilities [N, E] and where they stand, both [N, k].

    On a CPU numpy sorts whole rows of integers several times faster than torch finds the largest:
    bits of non-negative floats compare as the floats do, and below them stands the place. Of equal
    ones the first comes first.
    """
    if not probabilities.is_cpu or probabilities.dtype != torch.float32:
        return probabilities.topk(count, dim=-1)
    experts = probabilities.shape[1]
    width = max(experts - 1, 1).bit_length()
    backwards = (1 << width) - 1 - torch.arange(experts)
    keys = (probabilities.detach().view(torch.int32).long() << width) | backwards
    keys.numpy().sort(axis=-1)
    indices = (1 << width) - 1 - (keys[:, -count:].flip(1) & ((1 << width) - 1))
    return probabilities.gather(1, indices), indices


def by_expert(expert: Tensor) -> Tensor:
    """The order [N] that sorts experts' numbers [N], equal ones as they stand."""
    if not expert.is_cpu:
        return torch.argsort(expert, stable=True)
    # Numpy sorts 16-bit integers by radix.
    return torch.from_numpy(np.argsort(expert.to(torch.int16).numpy(), kind="stable"))


class Dispatch(torch.autograd.Function):
    """Copies each token's row once per chosen expert, in the experts' order.

    The gradient is a gather and a sum in a fixed order; that of plain indexing is a scatter-add,
    which is several times slower on a CPU and not deterministic on a GPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        ctx.tokens = len(x)
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return (
            gradient.index_select(0, inverse).view(ctx.tokens, -1, gradient.shape[1]).sum(1),
            None,
            None,
        )


class Combine(torch.autograd.Function):
    """Sums the rows of each token, weighted: rows [N*k, d] in the experts' order to [N, d].

    weights [N, k]; row `inverse[t * k + i]` is that of token t's i-th expert. The gradient is made
    of gathers, for the reasons of `Dispatch`.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weights: Tensor, inverse: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weights, inverse, order)
        return functional.embedding_bag(
            inverse.view(weights.shape), rows, mode="sum", per_sample_weights=weights
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        rows, weights, inverse, order = ctx.saved_tensors
        per_token = rows.index_select(0, inverse).view(*weights.shape, -1)
        to_weights = torch.bmm(per_token, gradient.unsqueeze(2)).squeeze(2)
        to_rows = (weights.unsqueeze(2) * gradient.unsqueeze(1)).flatten(0, 1)
        return to_rows.index_select(0, order), to_weights, None, None
