"""What mitigations do to one placement, against the same placement without them."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch

from dse.checkpoints.model import Layers, RealModel, real_architecture
from dse.checkpoints.scores import check_weight_score, checkpoint_scores
from dse.checkpoints.simulator import check_modules, check_seeds
from dse.placement.experts import digital_mask, digital_order
from dse.placement.scores import expert_scores
from dse.search.setup import traced_routing
from dse.simulation.anchors import published_gains
from dse.simulation.converter_ranges import said, with_ranges
from dse.simulation.mitigation import MitigatedModel
from dse.simulation.mitigation_names import check_mitigation
from dse.simulation.noisy_model import dense_matrices
from dse.simulation.simulator import Noise, SimulationResult, Simulator, paired_difference
from dse.simulation.statistics import stratified_mean
from workloads.architecture import load_architecture
from workloads.checkpoint import load_miniature
from workloads.miniature import corpus
from workloads.tasks import LENGTH, benchmarks


def mitigation_table(
    model: str,
    noise: Noise,
    mitigations: Sequence[str],
    share: float = 0.25,
    score: str = "max_neuron_norm",
    analog_modules: Sequence[str] = (),
    tokens: int = 8192,
    seeds: int = 4,
) -> tuple[pandas.DataFrame, str]:
    """One row without, one with each mitigation, one with both; and the source of the numbers.

    Columns: loss added by the noise (nats) and its error; the change of it that the mitigation
    makes and its paired error (same tokens, same noise seeds); the change of accuracy with its
    error over tasks and seeds; the busiest expert's load over the even one, mean of the layers.
    """
    names = check_mitigation(mitigations)
    architecture = load_architecture(model)
    miniature = load_miniature(architecture.stand_in)
    noise = with_ranges(noise, miniature.name)
    gains, sets = published_gains(miniature.name), benchmarks(miniature, tokens)
    plain = Simulator(miniature, sets, architecture, seeds=seeds, gains=gains)
    scores = expert_scores(score, miniature.weights, traced_routing(miniature))
    digital = _most_worthy(scores, share)
    rows = _effects(plain, noise, digital, analog_modules, names)
    for row, some in zip(rows, _chosen(names), strict=True):
        row["largest_load"] = _largest_load(plain, noise, digital, analog_modules, some)
    return pandas.DataFrame(rows), f"{miniature.source}; {said(noise)}"


def checkpoint_mitigation_table(
    folder: str | Path,
    noise: Noise,
    mitigations: Sequence[str],
    share: float = 0.25,
    score: str = "max_neuron_norm",
    analog_modules: Sequence[str] = (),
    tokens: int = 2048,
    seeds: int = 4,
    memory_bytes: int | None = None,
    model: str = "",
    layers: Layers = lambda *_: None,
) -> tuple[pandas.DataFrame, str]:
    """The same for a real checkpoint, on text: no accuracy, no load. One pass over it a row.

    layers is called with words, layers done and layers in each pass.
    Raises ValueError for fewer than two rows of tokens a text, which have no error, and when the
    checkpoint is not one of `model` (empty: of any).
    """
    least = 2 * len(corpus.DOMAINS) * LENGTH
    if tokens < least:
        raise ValueError(f"tokens is {tokens}: at least {least}, for an error bar")
    names = check_mitigation(mitigations)
    check_seeds(seeds)
    check_weight_score(score)
    if model:
        real_architecture(str(folder), model)
    real = RealModel(folder, tokens, seeds, memory_bytes, names)
    check_modules(real.config, analog_modules)
    noise = with_ranges(noise, real.checkpoint.architecture.stand_in)
    digital = _most_worthy(checkpoint_scores(real.checkpoint, score), share)
    rows = _effects(real.simulator(layers), noise, digital, analog_modules, names)
    return pandas.DataFrame(rows).dropna(axis=1, how="all"), f"{real.source}; {said(noise)}"


def _most_worthy(scores: np.ndarray, share: float) -> np.ndarray:
    order = digital_order(scores, "global")
    return digital_mask(order, round(share * len(order)), (scores.shape[0], scores.shape[1]))


def _chosen(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """None, each, and all together."""
    return [(), *((name,) for name in names), *([names] if len(names) > 1 else [])]


def _effects(
    plain: Simulator,
    noise: Noise,
    digital: np.ndarray,
    modules: Sequence[str],
    names: tuple[str, ...],
) -> list[dict[str, Any]]:
    """Rows of the table; the first one is without a mitigation."""
    rows: list[dict[str, Any]] = []
    base = None
    for some in _chosen(names):
        simulator = copy.copy(plain)
        simulator.mitigation = some
        result = simulator.evaluate(noise, digital, modules)
        base = base or result
        loss, loss_error = paired_difference(result, base)
        accuracy, accuracy_error = _accuracy_change(result, base)
        rows.append(
            {
                "mitigation": "both" if len(some) > 1 else "".join(some) or "none",
                "delta_loss_nats": result.delta_loss,
                "delta_loss_stderr": result.delta_loss_stderr,
                "loss_change_nats": loss if some else np.nan,
                "loss_change_nats_stderr": loss_error if some else np.nan,
                "accuracy_change": accuracy if some else np.nan,
                "accuracy_change_stderr": accuracy_error if some else np.nan,
            }
        )
    return rows


def _accuracy_change(first: SimulationResult, second: SimulationResult) -> tuple[float, float]:
    change = first.accuracy_by_task - second.accuracy_by_task
    if not change.shape[1]:
        return np.nan, np.nan
    return stratified_mean([(change, np.ones(change.shape[1]))], np.ones(1))


def _largest_load(
    simulator: Simulator,
    noise: Noise,
    digital: np.ndarray,
    modules: Sequence[str],
    mitigation: tuple[str, ...],
) -> float:
    """Tokens of the busiest expert over those of an even share, on the calibration text."""
    dense = dense_matrices(simulator.model.weights, tuple(modules))
    config, loads = simulator.miniature.config, []
    for draw in simulator.draws(noise)[:2]:
        with torch.no_grad():
            placed = MitigatedModel(
                simulator.model, noise, torch.from_numpy(digital), dense, *draw, mitigation
            )  # fmt: skip
        loads += [float(fit.load.max()) for fit in placed.fits.values()]
    return float(np.mean(loads)) * config.routed_experts / config.experts_per_token
