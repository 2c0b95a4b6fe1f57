"""What selection scores and measured sensitivity say about a model's experts, as tables."""

from typing import TYPE_CHECKING

import numpy as np

from dse.placement import SCORES, expert_scores
from dse.setup import load_architecture, traced_routing
from workloads.checkpoint import load_miniature

if TYPE_CHECKING:
    import pandas

    from dse.simulation import Noise


def score_table(model: str, share: float) -> "pandas.DataFrame":
    """One row a selection score, measured on the miniature that stands for the model.

    Columns: coefficient of variation within a layer, share of the experts' work that the digital
    `share` of experts takes (global order), and Spearman correlation with the load.
    """
    import pandas
    from scipy.stats import spearmanr

    architecture = load_architecture(model)
    miniature = load_miniature(architecture.stand_in)
    routing = traced_routing(miniature)
    count = round(share * routing.probability.size)
    rows = []
    for score in SCORES:
        if score == "sensitivity":  # measured by a command of its own
            continue
        values = expert_scores(score, miniature.weights, routing)
        variation = values.std(axis=1) / np.abs(values.mean(axis=1))
        chosen = np.argsort(-values.ravel(), kind="stable")[:count]
        work = routing.probability.ravel()[chosen].sum() / routing.probability.sum()
        correlation = spearmanr(values.ravel(), routing.probability.ravel()).statistic
        rows.append((score, float(variation.mean()), float(work), float(correlation)))
    columns = ["score", "variation_in_a_layer", "work_of_digital_experts", "correlation_with_load"]
    return pandas.DataFrame(rows, columns=columns)


def sensitivity_table(model: str, noise: "Noise", tokens: int) -> "pandas.DataFrame":
    """Loss that each part of the model would add under a noise, with its standard error.

    Summed over layers and experts; the routed experts are one row.
    """
    from dse.sensitivity import estimate

    architecture = load_architecture(model)
    miniature = load_miniature(architecture.stand_in)
    table = estimate(miniature, architecture, noise, tokens=tokens).table
    squared = table.assign(variance=table["added_loss_stderr"] ** 2)
    parts = squared.groupby("part")[["parameters", "added_loss_nats", "variance"]].sum()
    parts["added_loss_stderr"] = np.sqrt(parts.pop("variance"))
    parts["nats_per_million_parameters"] = parts["added_loss_nats"] / parts["parameters"] * 1e6
    return parts.reset_index().sort_values("added_loss_nats", ascending=False, ignore_index=True)
