"""What selection scores and measured sensitivity say about a model's experts, as tables."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dse.placement.scores import REGISTER, expert_scores
from dse.search.setup import traced_routing
from workloads.architecture import load_architecture
from workloads.checkpoint import load_miniature

if TYPE_CHECKING:
    import pandas

    from dse.simulation.simulator import Noise


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
    for score in (name for name, one in REGISTER.items() if not one.measured):
        values = expert_scores(score, miniature.weights, routing)
        variation = values.std(axis=1) / np.abs(values.mean(axis=1))
        chosen = np.argsort(-values.ravel(), kind="stable")[:count]
        work = routing.probability.ravel()[chosen].sum() / routing.probability.sum()
        correlation = spearmanr(values.ravel(), routing.probability.ravel()).statistic
        rows.append((score, float(variation.mean()), float(work), float(correlation)))
    columns = ["score", "variation_in_a_layer", "work_of_digital_experts", "correlation_with_load"]
    return pandas.DataFrame(rows, columns=columns)


def sensitivity_tables(
    model: str,
    noise: "Noise",
    tokens: int,
    layer: int | None = None,
    seeds: int = 8,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[dict[str, "pandas.DataFrame"], dict[str, str]]:
    """Loss that parts of the full model would add under a noise, and a check of one layer.

    Tables: sensitivity (groups of parts), parts (each expert and dense part alone), check (the
    estimate against simulations: groups of one MoE layer, by default the middle one, then single
    experts, groups across layers and the dense parts). Facts: how well the estimate agrees, and
    the source.
    """
    import pandas

    from dse.simulation.anchors import published_gains
    from dse.simulation.sensitivity import check_across, check_layer, estimate
    from dse.simulation.simulator import Simulator
    from workloads.tasks import benchmarks

    architecture = load_architecture(model)
    miniature = load_miniature(architecture.stand_in)
    layers = len(miniature.config.moe_layers)
    layer = layers // 2 if layer is None else layer
    if not 0 <= layer < layers:
        raise ValueError(f"MoE layer {layer} does not exist: there are 0 to {layers - 1}")
    if seeds % 2:
        raise ValueError(f"seeds is {seeds}; an even number (antithetic pairs) is needed")
    say = progress or (lambda _text, _done, _total: None)
    gains = published_gains(miniature.name)
    found = estimate(
        miniature, architecture, noise, tokens=tokens, gains=gains,
        progress=partial(say, "estimate, passes"),
    )  # fmt: skip
    # The text that the estimate saw, so that only noise and order of the expansion differ.
    text = benchmarks(miniature, tokens=tokens, split="calibration")
    simulator = Simulator(miniature, text, architecture, seeds, gains=gains)
    groups = partial(say, f"check of MoE layer {layer}, groups")
    of_layer = check_layer(simulator, found, layer, groups=4, progress=groups)
    across = check_across(simulator, found, progress=partial(say, "check across layers, groups"))
    checked = pandas.concat([of_layer, across], ignore_index=True)
    error = np.hypot(checked["estimate_stderr"], checked["measured_stderr"])
    near = (checked["estimate_nats"] - checked["measured_nats"]).abs() <= 2 * error
    sentence = (
        f"Estimate and simulation agree within two standard errors in {int(near.sum())} of "
        f"{len(checked)} groups."
    )

    def largest_first(table: "pandas.DataFrame") -> "pandas.DataFrame":
        return table.sort_values("added_loss_nats", ascending=False, ignore_index=True)

    tables = {
        "sensitivity": largest_first(found.groups),
        "parts": largest_first(found.table),
        "check": checked,
    }
    return tables, {"finding": sentence, "source": found.source}
