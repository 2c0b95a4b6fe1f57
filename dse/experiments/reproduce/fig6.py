"""Experts' scores against the frequency of the tokens that they serve: fig6."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from dse.experiments.reproduce.claims import (
    MODELS,
    PUBLISHED,
    Progress,
    Reproduction,
    counted,
    decided,
    verdict,
)
from dse.experiments.reproduce.figures import captioned, frequency_scatter
from dse.placement.scores import expert_scores
from workloads.moe import forward

if TYPE_CHECKING:
    from workloads.checkpoint import Miniature


def served_frequency(
    miniature: Miniature, tokens: torch.Tensor
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean log10 frequency of the tokens that each expert serves and its standard error.

    Both [moe_layers, experts]. Frequency is a token's share of `tokens` [B, T]; the mean is NaN
    for an expert that serves none, the error for one that serves fewer than two.
    """
    config = miniature.config
    counts = torch.bincount(tokens.flatten(), minlength=config.vocab_size)
    frequency = (counts / counts.sum()).log10()[tokens.flatten()].double()
    sums = torch.zeros(3, len(config.moe_layers), config.routed_experts, dtype=torch.float64)

    def observe(
        layer: int, _probability: torch.Tensor, indices: torch.Tensor, _weights: torch.Tensor
    ) -> None:
        row, chosen = layer - config.dense_layers, indices.flatten()
        value = frequency.repeat_interleave(indices.shape[1])
        for power in range(3):
            sums[power, row].index_add_(0, chosen, value**power)

    with torch.no_grad():
        forward(config, miniature.weights, tokens, observe=observe)
    served, total, squares = sums
    mean = total / served
    variance = ((squares - total * mean) / (served - 1)).clamp(min=0)
    error = torch.where(served > 1, (variance / served).sqrt(), torch.nan)
    return mean.numpy(), error.numpy()


def _served_table(model: str, tokens: int) -> pd.DataFrame:
    """One row an expert that serves a token: its score, the frequency of its tokens, its load."""
    from workloads.checkpoint import load_miniature
    from workloads.routing import trace
    from workloads.tasks import benchmarks

    miniature = load_miniature(model)
    sets = benchmarks(miniature, tokens=tokens, split="calibration")
    text = torch.cat([item.tokens[:, :-1] for item in sets if item.kind == "text"])
    routing = trace(miniature, text)
    frequency, error = served_frequency(miniature, text)
    layer, expert = np.indices(frequency.shape).reshape(2, -1)
    table = pd.DataFrame(
        {
            "model": model,
            "moe_layer": layer,
            "expert": expert,
            "max_neuron_norm": expert_scores("max_neuron_norm", miniature.weights, routing).ravel(),
            "mean_log10_token_frequency": frequency.ravel(),
            "mean_log10_token_frequency_stderr": error.ravel(),
            "load": routing.probability.ravel(),
        }
    )
    return table.dropna(subset="mean_log10_token_frequency")


def _rank_correlation(table: pd.DataFrame) -> tuple[float, float]:
    """Spearman's between score and frequency inside a layer, mean of the layers, and its error."""
    each = [
        float(part["max_neuron_norm"].corr(part["mean_log10_token_frequency"], method="spearman"))
        for _, part in table.groupby("moe_layer")
    ]
    # Of a rank correlation of n pairs; layers are taken as independent.
    return float(np.mean(each)), 1 / np.sqrt(len(table) - len(each))


def reproduce_frequency(tokens: int, progress: Progress) -> Reproduction:
    from workloads.checkpoint import load_miniature

    tables: list[pd.DataFrame] = []
    found: dict[str, tuple[float, float]] = {}
    say = counted(progress, len(MODELS))
    for model in MODELS:
        say(f"{model}: routing of {tokens} tokens")
        tables.append(_served_table(model, tokens))
        found[model] = _rank_correlation(tables[-1])
    each = [f"{model} {mean:+.2f} +- {error:.2f}" for model, (mean, error) in found.items()]
    table = pd.concat(tables, ignore_index=True)
    titles = {model: f"rank correlation, {text}" for model, text in zip(MODELS, each, strict=True)}
    return Reproduction(
        "fig6",
        table,
        captioned(
            frequency_scatter(table, titles),
            "Score of an expert against the frequency of the tokens it serves",
            PUBLISHED["fig6"],
        ),
        "experts with a high maximum neuron norm respond to frequent tokens, experts with a low "
        "one to rare tokens",
        PUBLISHED["fig6"],
        decided(found),
        "Rank correlation, inside a layer, of max neuron norm with the frequency of the tokens an "
        f"expert serves: {'; '.join(each)}. The claim {verdict(found)}.",
        "; ".join(load_miniature(model).source for model in MODELS),
    )
