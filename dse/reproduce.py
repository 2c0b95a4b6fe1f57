"""The seed paper's figures (arXiv 2603.02633) from our own runs on the miniatures.

Every function returns a Reproduction: a table with standard errors, a plotly figure, and a
sentence that says whether the paper's claim holds on the miniatures. A claim that does not hold
is reported as not holding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pandas as pd

from dse.converter_ranges import said, with_ranges
from dse.kept_results import Kept, KeptSimulator
from dse.reproduce_figures import (
    accuracy_beside,
    bars,
    captioned,
)
from dse.simulation import Noise, SimulationResult, Simulator, paired_difference

Progress = Callable[[str, int, int], None]
"""Told before each part: what it is, parts done, parts in all."""
Simulators = Callable[[str], Simulator]
"""From a miniature's name to its simulator."""

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
    name: str,
    *,
    seeds: int = 8,
    tokens: int = 8192,
    progress: Progress | None = None,
    kept: Kept | None = None,
) -> Reproduction:
    """Draw one of FIGURES. `seeds` noise seeds (even), `tokens` test tokens a model.

    kept: where finished simulations and trained layers are looked up and put.
    Raises ValueError for an unknown name, with the nearest one.
    """
    say = progress or (lambda _text, _done, _total: None)
    kept = kept or Kept()
    if name == "theory":
        from dse.theory_table import reproduce_theory

        return reproduce_theory(seeds=seeds, progress=say, kept=kept)
    if name == "fig6":
        from dse.reproduce_frequency import reproduce_frequency

        return reproduce_frequency(tokens, say)
    from dse.reproduce_selections import reproduce_selections

    runs: dict[str, Callable[[Simulators, Progress], Reproduction]] = {
        "table1": _table_1,
        "fig3": _figure_3,
        "fig4": partial(reproduce_selections, "fig4", 0.125),
        "fig5": partial(reproduce_selections, "fig5", 0.25),
    }
    if name not in runs:
        from difflib import get_close_matches

        near = get_close_matches(name.lower(), FIGURES, n=1)
        hint = f"; nearest is {near[0]}" if near else ""
        raise ValueError(f"nothing called {name!r} to reproduce: {', '.join(FIGURES)}{hint}")
    return runs[name](partial(simulator_for, seeds=seeds, tokens=tokens, kept=kept), say)


def simulator_for(model: str, *, seeds: int, tokens: int, kept: Kept) -> Simulator:
    from workloads.architecture import load_model
    from workloads.checkpoint import load_miniature
    from workloads.tasks import benchmarks

    miniature = load_miniature(model)
    return KeptSimulator(
        kept,
        (model, seeds, tokens),
        miniature,
        benchmarks(miniature, tokens),
        load_model(MODELS[model]),
        seeds,
    )


def counted(progress: Progress, total: int) -> Callable[[str], None]:
    """Tells progress how many parts came before each part that is named to it."""
    done = count()
    return lambda text: progress(text, next(done), total)


def noise_for(model: str, magnitude: float) -> Noise:
    """The paper's setting: PCM programming noise, 8-bit converters, ranges calibrated."""
    return with_ranges(Noise(magnitude=magnitude), model)


def sources(models: Sequence[str]) -> str:
    """Where the models of a noisy figure come from, and the ranges of their converters."""
    from workloads.checkpoint import load_miniature

    return "; ".join(
        f"{load_miniature(model).source}, {said(noise_for(model, 0.0))}" for model in models
    )


def _dense_parts(model: str) -> tuple[str, ...]:
    from workloads.checkpoint import load_miniature

    config = load_miniature(model).config
    there = {
        "attention": True,
        "shared_expert": config.shared_experts > 0,
        "dense_ffn": config.dense_layers > 0,
        "lm_head": True,
    }
    return tuple(part for part, yes in there.items() if yes)


def _table_1(simulators: Simulators, progress: Progress) -> Reproduction:
    rows: list[dict[str, Any]] = []
    worse: dict[str, tuple[float, float]] = {}
    say = counted(progress, 2 * len(PUBLISHED_TABLE_1))
    for model, published in PUBLISHED_TABLE_1.items():
        simulator = simulators(model)
        say(f"{model}: experts analog, converters only")
        noise, analog = noise_for(model, 0.0), ~simulator.all_digital()
        results = [simulator.evaluate(noise, ~analog), simulator.evaluate(noise, analog)]
        say(f"{model}: experts and dense modules analog, converters only")
        results.append(simulator.evaluate(noise, analog, _dense_parts(model)))
        labels = ("all digital", "experts analog", "experts and dense analog")
        for label, result, value in zip(labels, results, published, strict=True):
            rows.append({"model": model, "placement": label, **_numbers(result),
                         "published_accuracy_percent": value})  # fmt: skip
        worse[model] = paired_difference(results[2], results[1])
    table = pd.DataFrame(rows)
    each = []
    for model, (difference, error) in worse.items():
        published = PUBLISHED_TABLE_1[model]
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
        all(difference > 2 * error for difference, error in worse.values()),
        f"Adding the dense modules to analog experts changes loss and accuracy by "
        f"{'; '.join(each)}. Judged by the loss, which is the finer measure, the claim "
        f"{verdict(worse)}.",
        sources(list(MODELS)),
        ("model", "placement", "delta_loss_nats", "accuracy_percent", "published_accuracy_percent"),
    )


def verdict(found: Mapping[str, tuple[float, float]]) -> str:
    """Whether a claim that a number is positive holds, from that number and its standard error.

    A number within two standard errors of zero decides nothing.
    """
    states = {
        model: "holds" if value > 2 * error
        else "does not hold" if value < -2 * error
        else "is not decided (within two standard errors of no difference)"
        for model, (value, error) in found.items()
    }  # fmt: skip
    if len(set(states.values())) == 1:
        return (
            f"{next(iter(states.values()))} on {'both' if len(states) == 2 else 'the'} miniatures"
        )
    return ", and ".join(f"{state} on {model}" for model, state in states.items())


def _numbers(result: SimulationResult) -> dict[str, float]:
    return {
        "delta_loss_nats": result.delta_loss,
        "delta_loss_stderr": result.delta_loss_stderr,
        "accuracy_percent": 100 * result.accuracy,
        "accuracy_percent_stderr": 100 * result.accuracy_stderr,
    }


def _figure_3(simulators: Simulators, progress: Progress) -> Reproduction:
    from dse.noisy_model import PARTS, kind_of

    rows, each = [], []
    worse: dict[str, tuple[float, float]] = {}
    say = counted(progress, sum(2 + len(_dense_parts(model)) for model in MODELS))
    for model in MODELS:
        simulator, parts = simulators(model), _dense_parts(model)
        say(f"{model}: routed experts in analog")
        weights = simulator.miniature.weights
        noise, digital = noise_for(model, 2.5), simulator.all_digital()
        experts = sum(w.numel() for name, w in weights.items() if ".experts." in name)
        whole = simulator.evaluate(noise, ~digital)
        rows.append(_per_parameter(model, "routed_experts", experts, whole))
        total = 0
        for part in parts:
            say(f"{model}: {part} in analog")
            size = sum(w.numel() for name, w in weights.items() if kind_of(name) in PARTS[part])
            total += size
            rows.append(
                _per_parameter(model, part, size, simulator.evaluate(noise, digital, (part,)))
            )
        say(f"{model}: all dense modules in analog")
        dense = simulator.evaluate(noise, digital, parts)
        rows.append(_per_parameter(model, "all_dense", total, dense))
        difference, error = worse[model] = paired_difference(dense, whole)
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
        all(difference > 2 * error for difference, error in worse.values()),
        f"{'; '.join(each)}. The claim {verdict(worse)}.",
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
