"""The seed paper's figures (arXiv 2603.02633) from our own runs on the miniatures.

Every function returns a Reproduction: a table with standard errors, a plotly figure, and a
sentence that says whether the paper's claim holds on the miniatures. A claim that does not hold
is reported as not holding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from dse.converter_ranges import said, with_ranges
from dse.placement import expert_scores
from dse.reproduce_figures import (
    accuracy_beside,
    bars,
    captioned,
    frequency_scatter,
)
from dse.simulation import Noise, SimulationResult, Simulator, paired_difference
from workloads.moe import forward

if TYPE_CHECKING:
    from workloads.checkpoint import Miniature

Progress = Callable[[str], None]

MODELS = {"deepseekmoe-mini": "deepseekmoe", "olmoe-mini": "olmoe"}
FIGURES = ("fig3", "fig4", "fig5", "fig6", "table1", "theory")

# Published average accuracies in percent (Table 1, both models, 8-bit DAC and ADC, no noise).
PUBLISHED_TABLE_1 = {
    "deepseekmoe-mini": (61.28, 61.03, 55.04),
    "olmoe-mini": (63.17, 62.46, 61.54),
}

# What the paper reports, with its own models, tasks and tiles.
PUBLISHED = {
    "table1": "average accuracy in % with all digital, experts analog, experts and dense analog: "
    + "; ".join(
        f"{model.removesuffix('-mini')} {', '.join(map(str, values))}"
        for model, values in PUBLISHED_TABLE_1.items()
    ),
    "fig3": "dense modules are 3-6 % of the parameters, yet computing them in analog loses more "
    "accuracy than computing over 80 % of the parameters (the routed experts) in analog",
    "fig4_5": "with 12.5 % or 25 % of the experts digital, max neuron norm is above activation "
    "frequency, activation weight and router norm at every noise magnitude, on both models; at "
    "c = 2.5 it recovers a third to a half of the loss",
    "fig6": "experts with a high score respond to frequent tokens ('the', 'a', 'and'), experts "
    "with a low score to rare ones",
}


@dataclass(frozen=True)
class Reproduction:
    """One figure or table: name, table, figure (plotly), the paper's claim and what it published,
    whether the claim holds on the miniatures, and a sentence with our numbers; shown are the
    columns for a terminal."""

    name: str
    table: pd.DataFrame
    figure: Any
    claim: str
    published: str
    holds: bool
    sentence: str
    source: str
    shown: tuple[str, ...] = ()

    def cells(self) -> pd.DataFrame:
        """The columns that a terminal has room for (`shown`, or all), errors beside their means."""
        columns = self.shown or [name for name in map(str, self.table) if "_stderr" not in name]
        return pd.DataFrame({name: _cells(self.table, name) for name in columns})


def _cells(table: pd.DataFrame, name: str) -> list[object]:
    for error in (f"{name}_stderr", f"{name.removesuffix('_nats')}_stderr"):
        if error in table:
            pairs = zip(table[name], table[error], strict=True)
            return [f"{value:.3g} ± {width:.1g}" for value, width in pairs]
    return list(table[name])


def reproduce(
    name: str, *, seeds: int = 4, tokens: int = 8192, progress: Progress | None = None
) -> Reproduction:
    """Draw one of FIGURES. `seeds` noise seeds (even), `tokens` test tokens a model.

    Raises ValueError for an unknown name, with the nearest one.
    """
    say = progress or (lambda _message: None)
    if name == "theory":
        from dse.theory_table import reproduce_theory

        return reproduce_theory(seeds=seeds, progress=say)
    from dse.reproduce_selections import reproduce_selections

    runs: dict[str, Callable[[int, int, Progress], Reproduction]] = {
        "table1": _table_1,
        "fig3": _figure_3,
        "fig4": lambda *given: reproduce_selections("fig4", 0.125, *given),
        "fig5": lambda *given: reproduce_selections("fig5", 0.25, *given),
        "fig6": _figure_6,
    }
    if name not in runs:
        from difflib import get_close_matches

        near = get_close_matches(name, FIGURES, n=1)
        hint = f"; nearest is {near[0]}" if near else ""
        raise ValueError(f"nothing called {name!r} to reproduce: {', '.join(FIGURES)}{hint}")
    return runs[name](seeds, tokens, say)


def simulator_for(model: str, seeds: int, tokens: int) -> Simulator:
    from workloads.architecture import load_model
    from workloads.checkpoint import load_miniature
    from workloads.tasks import benchmarks

    miniature = load_miniature(model)
    return Simulator(miniature, benchmarks(miniature, tokens), load_model(MODELS[model]), seeds)


def noise_for(model: str, magnitude: float) -> Noise:
    """The paper's setting: PCM programming noise, 8-bit converters, ranges calibrated."""
    return with_ranges(Noise(magnitude=magnitude), model)


def sources(models: Sequence[str]) -> str:
    """Where the models of a noisy figure come from, and the ranges of their converters."""
    from workloads.checkpoint import load_miniature

    return "; ".join(
        f"{load_miniature(model).source}, {said(noise_for(model, 0.0))}" for model in models
    )


def _has(simulator: Simulator, part: str) -> bool:
    config = simulator.miniature.config
    absent = {
        "shared_expert": config.shared_experts == 0,
        "dense_ffn": config.dense_layers == 0,
    }
    return not absent.get(part, False)


def _dense_parts(simulator: Simulator) -> tuple[str, ...]:
    parts = ("attention", "shared_expert", "dense_ffn", "lm_head")
    return tuple(part for part in parts if _has(simulator, part))


def _table_1(seeds: int, tokens: int, progress: Progress) -> Reproduction:
    rows, worse = [], []
    for model, published in PUBLISHED_TABLE_1.items():
        progress(f"{model}: converters only")
        simulator = simulator_for(model, seeds, tokens)
        noise, analog = noise_for(model, 0.0), ~simulator.all_digital()
        results = [
            simulator.evaluate(noise, ~analog),
            simulator.evaluate(noise, analog),
            simulator.evaluate(noise, analog, _dense_parts(simulator)),
        ]
        labels = ("all digital", "experts analog", "experts and dense analog")
        for label, result, value in zip(labels, results, published, strict=True):
            rows.append({"model": model, "placement": label, **_numbers(result),
                         "published_accuracy_percent": value})  # fmt: skip
        worse.append(paired_difference(results[2], results[1]))
    clear = [difference > 2 * error for difference, error in worse]
    table = pd.DataFrame(rows)
    each = []
    for (model, published), (difference, error) in zip(
        PUBLISHED_TABLE_1.items(), worse, strict=True
    ):
        _, some, most = table[table["model"] == model].to_dict("records")
        points = most["accuracy_percent"] - some["accuracy_percent"]
        spread = np.hypot(most["accuracy_percent_stderr"], some["accuracy_percent_stderr"])
        each.append(
            f"{model} {difference:+.4f} +- {error:.4f} nats and {points:+.1f} +- {spread:.1f} "
            f"points of accuracy (published {published[2] - published[1]:+.2f} points)"
        )
    return Reproduction(
        "table1",
        table,
        captioned(
            accuracy_beside(table, "placement"),
            "Accuracy change with 8-bit DAC and ADC, no programming noise",
            PUBLISHED["table1"],
        ),
        "with 8-bit converters and no programming noise, analog dense modules lose clearly more "
        "accuracy than analog experts alone",
        PUBLISHED["table1"],
        all(clear),
        f"Adding the dense modules to analog experts changes loss and accuracy by "
        f"{'; '.join(each)}. Judged by the loss, which is the finer measure, the claim "
        f"{verdict(clear)}.",
        sources(list(MODELS)),
        ("model", "placement", "delta_loss_nats", "accuracy_percent", "published_accuracy_percent"),
    )


def verdict(clear: Sequence[bool]) -> str:
    if all(clear):
        return "holds on both miniatures"
    return "holds on one miniature of two" if any(clear) else "does not hold on the miniatures"


def _numbers(result: SimulationResult) -> dict[str, float]:
    return {
        "delta_loss_nats": result.delta_loss,
        "delta_loss_stderr": result.delta_loss_stderr,
        "accuracy_percent": 100 * result.accuracy,
        "accuracy_percent_stderr": 100 * result.accuracy_stderr,
    }


def _figure_3(seeds: int, tokens: int, progress: Progress) -> Reproduction:
    from dse.noisy_model import PARTS, kind_of

    rows, clear, each = [], [], []
    for model in MODELS:
        simulator = simulator_for(model, seeds, tokens)
        weights = simulator.miniature.weights
        noise, digital = noise_for(model, 2.5), simulator.all_digital()
        experts = sum(w.numel() for name, w in weights.items() if ".experts." in name)
        progress(f"{model}: routed experts in analog")
        whole = simulator.evaluate(noise, ~digital)
        rows.append(_per_parameter(model, "routed_experts", experts, whole))
        total = 0
        for part in _dense_parts(simulator):
            progress(f"{model}: {part} in analog")
            size = sum(w.numel() for name, w in weights.items() if kind_of(name) in PARTS[part])
            total += size
            rows.append(
                _per_parameter(model, part, size, simulator.evaluate(noise, digital, (part,)))
            )
        dense = simulator.evaluate(noise, digital, _dense_parts(simulator))
        rows.append(_per_parameter(model, "all_dense", total, dense))
        difference, error = paired_difference(dense, whole)
        clear.append(difference > 2 * error)
        share = total / (total + experts)
        each.append(
            f"{model}: dense modules ({100 * share:.0f} % of these parameters) "
            f"{difference:+.4f} +- {error:.4f} nats against all routed experts, "
            f"{dense.delta_loss / total / (whole.delta_loss / experts):.1f} times as much per "
            "parameter"
        )
    table = pd.DataFrame(rows)
    return Reproduction(
        "fig3",
        table,
        captioned(
            bars(table, "part", "delta_loss_per_million_parameters",
                 "delta_loss_per_million_parameters_stderr",
                 "added loss per million parameters (nats)"),
            "Loss added by computing a part in analog, programming noise c = 2.5",
            PUBLISHED["fig3"],
        ),
        "computing the dense modules (3-6 % of the parameters of the full models) in analog loses "
        "more accuracy than computing all routed experts (over 80 %) in analog",
        PUBLISHED["fig3"],
        all(clear),
        f"{'; '.join(each)}. The claim {verdict(clear)}.",
        sources(list(MODELS)),
        ("model", "part", "parameters", "delta_loss_nats", "delta_loss_per_million_parameters"),
    )  # fmt: skip


def _per_parameter(
    model: str, part: str, parameters: int, result: SimulationResult
) -> dict[str, object]:
    per_million = 1e6 / parameters
    return {
        "model": model,
        "part": part,
        "parameters": parameters,
        **_numbers(result),
        "delta_loss_per_million_parameters": result.delta_loss * per_million,
        "delta_loss_per_million_parameters_stderr": result.delta_loss_stderr * per_million,
    }


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


def _figure_6(seeds: int, tokens: int, progress: Progress) -> Reproduction:
    from workloads.checkpoint import load_miniature

    tables, found = [], []
    for model in MODELS:
        progress(f"{model}: routing of {tokens} tokens")
        tables.append(_served_table(model, tokens))
        found.append(_rank_correlation(tables[-1]))
    clear = [mean > 2 * error for mean, error in found]
    each = [
        f"{model} {mean:+.2f} +- {error:.2f}"
        for model, (mean, error) in zip(MODELS, found, strict=True)
    ]
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
        all(clear),
        "Rank correlation, inside a layer, of max neuron norm with the frequency of the tokens an "
        f"expert serves: {'; '.join(each)}. The claim {verdict(clear)}.",
        "; ".join(load_miniature(model).source for model in MODELS),
    )
