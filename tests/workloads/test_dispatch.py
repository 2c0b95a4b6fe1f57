"""Routing's own steps against the same written plainly."""

import pytest
import torch
from torch import Tensor

from workloads.dispatch import Combine, by_expert, top


@pytest.mark.parametrize(("experts", "count"), [(64, 6), (60, 4), (5, 5), (2, 1), (1, 1)])
def test_the_largest_come_first_and_the_first_of_equal_ones(experts: int, count: int) -> None:
    # Few different values, so that most rows have ties at the border.
    probabilities = torch.randint(1, 9, (300, experts)).float().div(100)
    values, indices = top(probabilities, count)
    for row, found, places in zip(
        probabilities.tolist(), values.tolist(), indices.tolist(), strict=True
    ):
        expected = sorted(range(experts), key=lambda place: (-row[place], place))[:count]
        assert places == expected and found == [row[place] for place in expected]


def test_rows_of_an_expert_stay_in_order() -> None:
    expert = torch.randint(0, 300, (2000,))
    order = by_expert(expert).tolist()
    assert order == sorted(range(2000), key=lambda row: (int(expert[row]), row))


def test_combined_rows_and_their_gradients_are_those_of_a_plain_sum() -> None:
    inverse = torch.randperm(24)
    rows = torch.randn(24, 8, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(6, 4, dtype=torch.float64, requires_grad=True)

    def combined(rows: Tensor, weights: Tensor) -> Tensor:
        return Combine.apply(rows, weights, inverse, inverse.argsort())  # type: ignore[no-any-return]

    expected = (rows[inverse].view(6, 4, 8) * weights.unsqueeze(2)).sum(1)
    torch.testing.assert_close(combined(rows, weights), expected)
    assert torch.autograd.gradcheck(combined, (rows, weights))
