"""The seed paper's figures (arXiv 2603.02633) from our own runs on the miniatures.

Every function returns a Reproduction: a table with standard errors, a plotly figure, and a
sentence that says whether the paper's claim holds on the miniatures. A claim that does not hold
is reported as not holding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from dse.experiments.reproduce.claims import (
    FIGURES,
    MODELS,
    PUBLISHED,
    PUBLISHED_TABLE_1,
    Progress,
    Reproduction,
    Simulators,
    counted,
    decided,
    noise_for,
    sources,
    verdict,
)
from dse.experiments.reproduce.figures import accuracy_beside, bars, captioned
from dse.kept import Kept
from dse.simulation.anchors import published_gains
from dse.simulation.kept_simulator import KeptSimulator
from dse.simulation.simulator import SimulationResult, Simulator, paired_difference
from hwmodels.catalog import nearest


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
        from dse.experiments.reproduce.theory_table import reproduce_theory

        return reproduce_theory(seeds=seeds, progress=say, kept=kept)
    if name == "fig6":
        from dse.experiments.reproduce.fig6 import reproduce_frequency

        return reproduce_frequency(tokens, say)
    from dse.experiments.reproduce.budget import reproduce_budget
    from dse.experiments.reproduce.fig4_5 import reproduce_selections
    from dse.experiments.reproduce.table2_accuracy import reproduce_table_2

    runs: dict[str, Callable[[Simulators, Progress], Reproduction]] = {
        "budget": reproduce_budget,
        "table1": _table_1,
        "table2": reproduce_table_2,
        "fig3": _figure_3,
        "fig4": partial(reproduce_selections, "fig4", 0.125),
        "fig5": partial(reproduce_selections, "fig5", 0.25),
    }
    if name not in runs:
        accepted = f"{', '.join(FIGURES)}{nearest(name, FIGURES)}"
        raise ValueError(f"nothing called {name!r} to reproduce: {accepted}")
    return runs[name](partial(simulator_for, seeds=seeds, tokens=tokens, kept=kept), say)


def simulator_for(model: str, *, seeds: int, tokens: int, kept: Kept) -> Simulator:
    """The miniature with errors scaled to the full model's."""
    from workloads.architecture import load_model
    from workloads.checkpoint import load_miniature
    from workloads.tasks import benchmarks

    miniature = load_miniature(model)
    gains = published_gains(model)
    return KeptSimulator(
        kept,
        (model, seeds, tokens, gains),
        miniature,
        benchmarks(miniature, tokens),
        load_model(MODELS[model]),
        seeds,
        gains=gains,
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
        decided(worse),
        f"Adding the dense modules to analog experts changes loss and accuracy by "
        f"{'; '.join(each)}. Judged by the loss, which is the finer measure, the claim "
        f"{verdict(worse)}.",
        sources(list(MODELS)),
        ("model", "placement", "delta_loss_nats", "accuracy_percent", "published_accuracy_percent"),
    )


def _numbers(result: SimulationResult) -> dict[str, float]:
    return {
        "delta_loss_nats": result.delta_loss,
        "delta_loss_stderr": result.delta_loss_stderr,
        "accuracy_percent": 100 * result.accuracy,
        "accuracy_percent_stderr": 100 * result.accuracy_stderr,
    }


def _figure_3(simulators: Simulators, progress: Progress) -> Reproduction:
    from dse.simulation.noisy_model import PARTS, kind_of

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
        decided(worse),
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
