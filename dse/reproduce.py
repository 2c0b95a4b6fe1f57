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

from dse.placement import digital_mask, digital_order, expert_scores
from dse.simulation import Noise, SimulationResult, Simulator, paired_difference
from workloads.moe import forward

if TYPE_CHECKING:
    from workloads.checkpoint import Miniature

BoolArray = npt.NDArray[np.bool_]
Progress = Callable[[str], None]

MODELS = {"deepseekmoe-mini": "deepseekmoe", "olmoe-mini": "olmoe"}
FIGURES = ("fig3", "fig4", "fig5", "fig6", "table1", "theory")
MAGNITUDES = (1.5, 2.5, 4.0, 8.0)

# Published average accuracies in percent (Table 1, both models, 8-bit DAC and ADC, no noise).
PUBLISHED_TABLE_1 = {
    "deepseekmoe-mini": (61.28, 61.03, 55.04),
    "olmoe-mini": (63.17, 62.46, 61.54),
}


@dataclass(frozen=True)
class Reproduction:
    """One figure or table: name, table, figure (plotly), the paper's claim, whether it holds on
    the miniatures, and one sentence with the numbers."""

    name: str
    table: pd.DataFrame
    figure: Any
    claim: str
    holds: bool
    sentence: str
    source: str


def reproduce(
    name: str, *, seeds: int = 4, tokens: int = 8192, progress: Progress | None = None
) -> Reproduction:
    """Draw one of FIGURES. `seeds` noise seeds (even), `tokens` test tokens a model.

    Raises ValueError for an unknown name, with the nearest one.
    """
    say = progress or (lambda _message: None)
    if name == "theory":
        from dse.theory import reproduce_theory

        return reproduce_theory(progress=say)
    runs: dict[str, Callable[[int, int, Progress], Reproduction]] = {
        "table1": _table_1,
        "fig3": _figure_3,
        "fig4": lambda *given: _figure_4_5("fig4", 0.125, *given),
        "fig5": lambda *given: _figure_4_5("fig5", 0.25, *given),
        "fig6": _figure_6,
    }
    if name not in runs:
        from difflib import get_close_matches

        near = get_close_matches(name, FIGURES, n=1)
        hint = f"; nearest is {near[0]}" if near else ""
        raise ValueError(f"nothing called {name!r} to reproduce: {', '.join(FIGURES)}{hint}")
    return runs[name](seeds, tokens, say)


def _simulator(model: str, seeds: int, tokens: int) -> Simulator:
    from workloads.architecture import load_model
    from workloads.checkpoint import load_miniature
    from workloads.tasks import benchmarks

    miniature = load_miniature(model)
    return Simulator(miniature, benchmarks(miniature, tokens), load_model(MODELS[model]), seeds)


def _source(models: Sequence[str]) -> str:
    from workloads.checkpoint import load_miniature

    return "; ".join(load_miniature(model).source for model in models)


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
        simulator = _simulator(model, seeds, tokens)
        noise, analog = Noise(magnitude=0.0), ~simulator.all_digital()
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
    said = "; ".join(
        f"{model} {difference:+.4f} +- {error:.4f} nats"
        for model, (difference, error) in zip(PUBLISHED_TABLE_1, worse, strict=True)
    )
    return Reproduction(
        "table1",
        table,
        _bars(table, "placement", "delta_loss_nats", "Loss added by 8-bit DAC and ADC (nats)"),
        "with 8-bit converters and no programming noise, analog dense modules lose clearly more "
        "accuracy than analog experts alone",
        all(clear),
        f"Adding the dense modules to analog experts changes the loss by {said}: the claim "
        f"{_verdict(clear)}.",
        _source(list(MODELS)),
    )


def _verdict(clear: Sequence[bool]) -> str:
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

    rows, clear, said = [], [], []
    for model in MODELS:
        simulator = _simulator(model, seeds, tokens)
        weights = simulator.miniature.weights
        noise, digital = Noise(magnitude=2.5), simulator.all_digital()
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
        said.append(
            f"{model}: dense modules ({100 * share:.0f} % of these parameters) "
            f"{difference:+.4f} +- {error:.4f} nats against all routed experts, "
            f"{dense.delta_loss / total / (whole.delta_loss / experts):.1f} times as much per "
            "parameter"
        )
    table = pd.DataFrame(rows)
    return Reproduction(
        "fig3",
        table,
        _bars(table, "part", "delta_loss_per_million_parameters", "Loss added per million "
              "parameters (nats), programming noise c = 2.5"),
        "computing the dense modules (3-6 % of the parameters of the full models) in analog loses "
        "more accuracy than computing all routed experts (over 80 %) in analog",
        all(clear),
        f"{'; '.join(said)}. The claim {_verdict(clear)}.",
        _source(list(MODELS)),
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


def layer_matched_random(mask: BoolArray, seed: int) -> BoolArray:
    """As many digital experts in every layer as in `mask`, chosen at random within the layer."""
    generator = np.random.default_rng(seed)
    result = np.zeros_like(mask)
    for layer, count in enumerate(mask.sum(axis=1)):
        result[layer, generator.permutation(mask.shape[1])[:count]] = True
    return result


def selections(simulator: Simulator, share: float) -> dict[str, list[BoolArray]]:
    """Placements with that share of experts digital, by name; random ones in three draws."""
    from workloads.routing import trace
    from workloads.tasks import benchmarks

    miniature = simulator.miniature
    sets = benchmarks(miniature, tokens=8192, split="calibration")
    routing = trace(miniature, torch.cat([item.tokens[:, :-1] for item in sets]))
    shape = simulator.all_digital().shape
    count = round(share * shape[0] * shape[1])
    found: dict[str, list[BoolArray]] = {}
    for score in ("max_neuron_norm", "activation_frequency", "activation_weight", "router_norm"):
        values = expert_scores(score, miniature.weights, routing)
        scopes = ("global", "per_layer") if score == "max_neuron_norm" else ("global",)
        for scope in scopes:
            mask = digital_mask(digital_order(values, scope), count, shape)
            found[f"{score} {scope}"] = [mask]
    chosen = found["max_neuron_norm global"][0]
    even = found["max_neuron_norm per_layer"][0]
    found["random per_layer"] = [layer_matched_random(even, seed) for seed in range(3)]
    found["random, layers as max_neuron_norm global"] = [
        layer_matched_random(chosen, seed) for seed in range(3)
    ]
    return found


def _figure_4_5(
    name: str, share: float, seeds: int, tokens: int, progress: Progress
) -> Reproduction:
    rows: list[dict[str, object]] = []
    wins, said = [], []
    for model in MODELS:
        simulator = _simulator(model, seeds, tokens)
        placements = selections(simulator, share)
        best: list[bool] = []
        for magnitude in MAGNITUDES:
            progress(f"{model}: c = {magnitude}")
            noise = Noise(magnitude=magnitude)
            analog = simulator.evaluate(noise, ~simulator.all_digital())
            losses = {
                label: [simulator.evaluate(noise, mask) for mask in masks]
                for label, masks in placements.items()
            }
            rows += _selection_rows(model, magnitude, analog, losses)
            win, text = _comparison(model, magnitude, losses)
            best.append(win)
        wins.append(all(best))
        said.append(f"{text} It is clearly above all of them at {sum(best)} of {len(best)} "
                    "magnitudes.")  # fmt: skip
    table = pd.DataFrame(rows)
    own = table[table["selection"] == "max_neuron_norm global"].set_index(["model", "magnitude"])
    shares = own["recovered_share"].to_dict()
    published = 2.5 if 2.5 in MAGNITUDES else MAGNITUDES[-1]
    parts = ", ".join(f"{model} {100 * shares[model, published]:.0f} %" for model in MODELS)
    return Reproduction(
        name,
        table,
        _lines(table, f"{100 * share:g} % of the experts digital"),
        f"with {100 * share:g} % of the experts digital, max neuron norm is above activation "
        "frequency, activation weight and router norm at every noise magnitude on both models, "
        "and recovers a third to a half of the loss at 25 % and c = 2.5",
        all(wins),
        f"Max neuron norm (global) recovers {parts} of the added loss at c = {published:g} "
        "(published: a third to a half at 25 % and c = 2.5). "
        f"{' '.join(said)} The claim {_verdict(wins)}.",
        _source(list(MODELS)),
    )


def _selection_rows(
    model: str,
    magnitude: float,
    analog: SimulationResult,
    losses: dict[str, list[SimulationResult]],
) -> list[dict[str, object]]:
    rows = []
    for label, results in {"all experts analog": [analog], **losses}.items():
        gains = [paired_difference(analog, result) for result in results]
        # Draws of a random selection share tokens and seeds: their spread is what differs.
        spread = float(np.std([gain for gain, _ in gains], ddof=1)) if len(gains) > 1 else 0.0
        error = float(np.hypot(np.mean([e for _, e in gains]), spread / np.sqrt(len(gains))))
        gain = float(np.mean([gain for gain, _ in gains]))
        rows.append(
            {
                "model": model,
                "magnitude": magnitude,
                "selection": label,
                "delta_loss_nats": float(np.mean([item.delta_loss for item in results])),
                "delta_loss_stderr": float(np.mean([item.delta_loss_stderr for item in results])),
                "accuracy_percent": 100 * float(np.mean([item.accuracy for item in results])),
                "accuracy_percent_stderr": 100
                * float(np.mean([item.accuracy_stderr for item in results])),
                "recovered_nats": gain,
                "recovered_stderr": error,
                "recovered_share": gain / analog.delta_loss,
            }
        )
    return rows


def _comparison(
    model: str, magnitude: float, losses: dict[str, list[SimulationResult]]
) -> tuple[bool, str]:
    """Whether max neuron norm is clearly best, and a sentence against each kind of baseline."""
    own = losses["max_neuron_norm global"][0]
    rivals = {
        label: _mean_difference(results, own)
        for label, results in losses.items()
        if not label.startswith("max_neuron_norm") and not label.endswith("per_layer")
    }
    wins = all(gap > 2 * error for gap, error in rivals.values())
    text = "; ".join(f"{label} {gap:+.4f} +- {error:.4f}" for label, (gap, error) in rivals.items())
    return wins, f"{model}, loss above that of max neuron norm at c = {magnitude:g}: {text}."


def _mean_difference(
    results: Sequence[SimulationResult], reference: SimulationResult
) -> tuple[float, float]:
    pairs = [paired_difference(result, reference) for result in results]
    gaps = np.array([gap for gap, _ in pairs])
    inside = float(np.mean([error for _, error in pairs]))
    between = float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else 0.0
    return float(gaps.mean()), float(np.hypot(inside, between))


def served_frequency(miniature: Miniature, tokens: torch.Tensor) -> npt.NDArray[np.float64]:
    """Mean log10 frequency of the tokens that each expert serves, [moe_layers, experts].

    Frequency is a token's share of `tokens` [B, T]; NaN for an expert that serves none.
    """
    config = miniature.config
    counts = torch.bincount(tokens.flatten(), minlength=config.vocab_size)
    frequency = (counts / counts.sum()).log10()[tokens.flatten()].double()
    total = torch.zeros(len(config.moe_layers), config.routed_experts, dtype=torch.float64)
    served = torch.zeros_like(total)

    def observe(
        layer: int, _probability: torch.Tensor, indices: torch.Tensor, _weights: torch.Tensor
    ) -> None:
        row, chosen = layer - config.dense_layers, indices.flatten()
        total[row].index_add_(0, chosen, frequency.repeat_interleave(indices.shape[1]))
        served[row] += torch.bincount(chosen, minlength=config.routed_experts)

    with torch.no_grad():
        forward(config, miniature.weights, tokens, observe=observe)
    result: npt.NDArray[np.float64] = (total / served).numpy()
    return result


def _figure_6(seeds: int, tokens: int, progress: Progress) -> Reproduction:
    from scipy.stats import spearmanr

    from workloads.checkpoint import load_miniature
    from workloads.routing import trace
    from workloads.tasks import benchmarks

    rows: list[dict[str, object]] = []
    clear, said = [], []
    for model in MODELS:
        progress(f"{model}: routing of {tokens} tokens")
        miniature = load_miniature(model)
        sets = benchmarks(miniature, tokens=tokens, split="calibration")
        text = torch.cat([item.tokens[:, :-1] for item in sets if item.kind == "text"])
        routing = trace(miniature, text)
        score = expert_scores("max_neuron_norm", miniature.weights, routing)
        frequency = served_frequency(miniature, text)
        correlations = []
        for layer in range(score.shape[0]):
            known = np.isfinite(frequency[layer])
            correlations.append(
                float(spearmanr(score[layer][known], frequency[layer][known]).statistic)
            )
            for expert in np.flatnonzero(known):
                rows.append(
                    {
                        "model": model,
                        "moe_layer": layer,
                        "expert": int(expert),
                        "max_neuron_norm": score[layer, expert],
                        "mean_log10_token_frequency": frequency[layer, expert],
                        "load": routing.probability[layer, expert],
                    }
                )
        mean = float(np.mean(correlations))
        # Of a rank correlation of n pairs; layers are taken as independent.
        error = 1 / np.sqrt((score.shape[1] - 1) * len(correlations))
        clear.append(mean > 2 * error)
        said.append(f"{model} {mean:+.2f} +- {error:.2f}")
    table = pd.DataFrame(rows)
    return Reproduction(
        "fig6",
        table,
        _scatter(table),
        "experts with a high maximum neuron norm respond to frequent tokens, experts with a low "
        "one to rare tokens",
        all(clear),
        "Rank correlation, inside a layer, of max neuron norm with the frequency of the tokens an "
        f"expert serves: {'; '.join(said)}. The claim {_verdict(clear)}.",
        _source(list(MODELS)),
    )


def _bars(table: pd.DataFrame, category: str, value: str, title: str) -> Any:
    import plotly.graph_objects as go

    error = f"{value}_stderr" if f"{value}_stderr" in table else value.replace("nats", "stderr")
    figure = go.Figure()
    for model, part in table.groupby("model", sort=False):
        figure.add_bar(
            x=part[category], y=part[value], error_y={"array": part[error]}, name=str(model)
        )
    figure.update_layout(yaxis_title=title, barmode="group", template="plotly_white")
    return figure


def _lines(table: pd.DataFrame, title: str) -> Any:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    models = list(dict.fromkeys(table["model"]))
    figure = make_subplots(cols=len(models), rows=1, subplot_titles=models, shared_yaxes=True)
    for column, model in enumerate(models, start=1):
        for label, part in table[table["model"] == model].groupby("selection", sort=False):
            figure.add_trace(
                go.Scatter(
                    x=part["magnitude"],
                    y=part["delta_loss_nats"],
                    error_y={"array": part["delta_loss_stderr"]},
                    name=str(label),
                    legendgroup=str(label),
                    showlegend=column == 1,
                ),
                row=1,
                col=column,
            )
    figure.update_xaxes(title="programming noise magnitude c")
    figure.update_layout(title=title, yaxis_title="added loss (nats)", template="plotly_white")
    return figure


def _scatter(table: pd.DataFrame) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for model, part in table.groupby("model", sort=False):
        figure.add_scatter(
            x=part["mean_log10_token_frequency"],
            y=part["max_neuron_norm"],
            mode="markers",
            name=str(model),
            text=[f"MoE layer {row.moe_layer}, expert {row.expert}" for row in part.itertuples()],
        )
    figure.update_layout(
        xaxis_title="mean log10 frequency of the tokens an expert serves",
        yaxis_title="max neuron norm (product over matrices)",
        yaxis_type="log",
        template="plotly_white",
    )
    return figure
