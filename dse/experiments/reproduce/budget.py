"""How many experts must be digital: against age, noise magnitude and area budget.

For each condition the placements of maximum neuron norm with more and more digital experts are
simulated with errors scaled to the full model's. Recommended is the least digital share that keeps
the loss of the benchmarks within ALLOWED_POINTS; the ends of the 68 % band give a share each. At
each budget the machine of least energy times time that holds such a placement is costed beside the
all-digital one: where the former needs no less energy, analog experts do not pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dse import units
from dse.experiments.reproduce.claims import (
    MODELS,
    Progress,
    Reproduction,
    Simulators,
    counted,
    sources,
)
from dse.experiments.reproduce.figures import COLOURS, DASHES, captioned
from dse.placement.experts import digital_mask, digital_order
from dse.placement.scores import REGISTER, weight_scores
from dse.simulation.converter_ranges import with_ranges
from dse.simulation.full_model import FullLoss, full_result

if TYPE_CHECKING:
    from dse.simulation.simulator import Noise, Simulator

ALLOWED_POINTS = 1.0
AGES_S = (0.0, 86400.0, 30.4375 * 86400.0, 365.25 * 86400.0)
MAGNITUDES = (1.0, 1.5)
BUDGETS_MM2 = (100.0, 200.0, 400.0)
SHARES = (0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0)
TECHNOLOGY, TILE_ROWS, DAC_BITS, ADC_BITS = "pcm-3d", 512, 8, 10
"""Tiles of every machine: those of the paper, with two bits more in the ADCs."""
PUBLISHED = (
    "OLMoE at c = 1.5 without drift loses 2.44 points with every expert analog, 1.35 with a "
    "quarter digital; other budgets and ages are not published"
)


def reproduce_budget(simulators: Simulators, progress: Progress) -> Reproduction:
    """The table, and one line a model and magnitude over age."""
    conditions = [(age, magnitude) for magnitude in MAGNITUDES for age in AGES_S]
    say = counted(progress, len(MODELS) * (len(conditions) + 1))
    rows: list[dict[str, Any]] = []
    for miniature, model in MODELS.items():
        simulator = simulators(miniature)
        say(f"{model}: machines")
        machines = machines_of(model)
        for age_s, magnitude in conditions:
            say(f"{model}: {units.age_text(age_s)}, c = {magnitude:g}")
            losses = _losses(simulator, model, age_s, magnitude)
            ends = [_share(losses, end) for end in ("full_points", "full_points_high",
                                                    "full_points_low")]  # fmt: skip
            for budget in BUDGETS_MM2:
                rows.append(_row(model, budget, age_s, magnitude, ends, losses, machines[budget]))
    return _reproduction(pd.DataFrame(rows))


def _losses(simulator: Simulator, model: str, age_s: float, magnitude: float) -> list[FullLoss]:
    """Losses at each of SHARES under one condition."""
    from dse.simulation.simulator import Noise

    miniature = simulator.miniature
    noise: Noise = with_ranges(
        Noise(
            magnitude=magnitude, time_s=age_s or None, tile_rows=TILE_ROWS,
            dac_bits=DAC_BITS, adc_bits=ADC_BITS,
        ),
        miniature.name,
    )  # fmt: skip
    shape = simulator.all_digital().shape
    scores = weight_scores(REGISTER["max_neuron_norm"], miniature.weights)
    order = digital_order(scores, "global")
    found = []
    for share in SHARES:
        digital = digital_mask(order, round(share * len(order)), shape)
        result = simulator.evaluate(noise, digital)
        found.append(full_result(result, noise, digital, (), model, miniature.name))
    return found


def _share(losses: Sequence[FullLoss], end: str) -> int:
    """Place in SHARES of the least digital share that keeps one end of the band within limits."""
    return next(n for n, loss in enumerate(losses) if -getattr(loss, end) <= ALLOWED_POINTS)


def machines_of(model: str) -> dict[float, list[dict[str, float] | None]]:
    """By budget: the best machine for each of SHARES, None where the experts do not fit."""
    from dse.search.settings import Settings
    from dse.search.setup import make_problem

    choices: dict[str, list[Any]] = {
        "technology": [TECHNOLOGY], "tile_rows": [TILE_ROWS], "dac_bits": [DAC_BITS],
        "adc_bits": [ADC_BITS], "analog_modules": ["none"], "placement_scope": ["global"],
        "placement_score": ["max_neuron_norm"], "digital_expert_fraction": list(SHARES),
    }  # fmt: skip
    settings = Settings(model=model, budget_area_mm2=BUDGETS_MM2[-1], choices=choices)
    problem = make_problem(settings, simulate=False)
    return {
        budget: _machines(replace(problem, limits=replace(problem.limits, area_mm2=budget)))
        for budget in BUDGETS_MM2
    }


def _machines(problem: Any) -> list[dict[str, float] | None]:
    from dse.search.costing import cost
    from dse.search.smallest import SAMPLE

    costed = cost(problem, problem.space.random(SAMPLE * 2, np.random.default_rng(0)))
    metrics = costed.metrics
    product = metrics["energy_j_per_token"] / metrics["throughput_tokens_per_s"]
    built = costed.columns["digital_experts"] / problem.experts
    best: list[dict[str, float] | None] = []
    for share in SHARES:
        fits = costed.feasible & (np.abs(built - share) < 0.5 / problem.experts)
        row = int(np.where(fits, product, np.inf).argmin())
        best.append({name: float(v[row]) for name, v in metrics.items()} if fits.any() else None)
    return best


def _row(
    model: str,
    budget: float,
    age_s: float,
    magnitude: float,
    ends: Sequence[int],
    losses: Sequence[FullLoss],
    machines: Sequence[dict[str, float] | None],
) -> dict[str, Any]:
    """One condition at one budget: shares, what the machine loses and costs."""
    fitting = [number for number, machine in enumerate(machines) if machine is not None]
    # More digital experts than wanted where the tiles of a budget hold fewer.
    built = next((number for number in fitting if number >= ends[0]), None)
    nan = float("nan")
    machine = machines[built] if built is not None else None
    digital = machines[-1]
    energy = machine["energy_j_per_token"] if machine else nan
    rival = digital["energy_j_per_token"] if digital else nan
    return {
        "model": model,
        "budget_area_mm2": budget,
        "age_s": age_s,
        "magnitude": magnitude,
        "digital_share": SHARES[ends[0]],
        "digital_share_low": SHARES[ends[1]],
        "digital_share_high": SHARES[ends[2]],
        "built_digital_share": SHARES[built] if built is not None else nan,
        "points_none_digital": losses[0].full_points,
        "full_points": losses[built].full_points if built is not None else nan,
        "full_points_low": losses[built].full_points_low if built is not None else nan,
        "full_points_high": losses[built].full_points_high if built is not None else nan,
        "energy_j_per_token": energy,
        "throughput_tokens_per_s": machine["throughput_tokens_per_s"] if machine else nan,
        "all_digital_energy_j_per_token": rival,
        "analog_pays": bool(energy < rival) if rival == rival and energy == energy else None,
    }


def _reproduction(table: pd.DataFrame) -> Reproduction:
    moves, sentences = [], []
    for model, part in table.groupby("model", sort=False):
        own = part[part["budget_area_mm2"] == BUDGETS_MM2[1]]
        first = own.iloc[0]
        last = own[(own["age_s"] == AGES_S[-1]) & (own["magnitude"] == MAGNITUDES[-1])].iloc[0]
        moves.append(last["digital_share"] > first["digital_share"])
        pays = own[own["analog_pays"].astype(bool) & (own["built_digital_share"] < 1)]
        sentences.append(
            f"{model}: {100 * first['digital_share']:g} % of the experts digital "
            f"({100 * first['digital_share_low']:g} to {100 * first['digital_share_high']:g} %) "
            f"just programmed at c = 1, {100 * last['digital_share']:g} % "
            f"({100 * last['digital_share_low']:g} to {100 * last['digital_share_high']:g} %) "
            f"after a year at c = {MAGNITUDES[-1]:g}; analog experts save energy at 200 mm2 in "
            f"{len(pays)} of {len(own)} conditions"
        )
    return Reproduction(
        "budget",
        table,
        captioned(_figure(table), f"Digital experts that keep the loss within {ALLOWED_POINTS:g} "
                  "point of the benchmarks", PUBLISHED),
        "the older and noisier the tiles, the more experts must be digital",
        PUBLISHED,
        all(moves),
        f"Least digital share that keeps the loss within {ALLOWED_POINTS:g} point, with the 68 % "
        f"band: {'; '.join(sentences)}.",
        sources(list(MODELS)),
        ("model", "budget_area_mm2", "age_s", "magnitude", "digital_share", "digital_share_low",
         "digital_share_high", "full_points", "energy_j_per_token",
         "all_digital_energy_j_per_token"),
    )  # fmt: skip


def _figure(table: pd.DataFrame) -> Any:
    """Share against age, a line a model and magnitude, bands as error bars."""
    import plotly.graph_objects as go

    figure = go.Figure()
    once = table[table["budget_area_mm2"] == BUDGETS_MM2[0]]
    groups = once.groupby(["model", "magnitude"], sort=False)
    for number, ((model, magnitude), part) in enumerate(groups):
        share = 100 * part["digital_share"]
        figure.add_scatter(
            x=[units.age_text(float(age)) for age in part["age_s"]],
            y=share,
            error_y={"type": "data", "array": 100 * part["digital_share_high"] - share,
                     "arrayminus": share - 100 * part["digital_share_low"]},
            name=f"{model}, c = {magnitude:g}",
            line={"color": COLOURS[number], "dash": DASHES[number]},
        )  # fmt: skip
    figure.update_layout(xaxis_title="age", yaxis_title="Digital experts (%)")
    return figure
