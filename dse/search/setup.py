"""From a user's settings to a problem that can be searched: load, trace, score, order."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dse.cost.mapping import placeable_parts
from dse.placement.experts import SCOPES, digital_order, stretch
from dse.placement.scores import REGISTER, expert_scores
from dse.search.problem import Array, Problem
from dse.search.settings import Settings
from dse.search.space import Space
from workloads.architecture import MoEArchitecture, load_architecture

if TYPE_CHECKING:
    import pandas

    from dse.checkpoints.model import RealModel
    from dse.simulation.simulator import Simulator
    from workloads.checkpoint import Miniature
    from workloads.routing import Routing

# The routing is traced on other text than accuracy is measured on.
_TRACE_TOKENS = 8192


def settings_architecture(settings: Settings) -> MoEArchitecture:
    """The model that settings ask for; a checkpoint must be one of it.

    Raises:
        ValueError: see `load_architecture`; or the checkpoint cannot be read or is another model.
    """
    if settings.checkpoint is None:
        return load_architecture(settings.model)
    from dse.checkpoints.model import real_architecture

    return real_architecture(settings.checkpoint, settings.model)


def traced_routing(miniature: "Miniature") -> "Routing":
    """Routing of a miniature, traced on its calibration text."""
    import torch

    from workloads.routing import trace
    from workloads.tasks import benchmarks

    held_out = benchmarks(miniature, tokens=_TRACE_TOKENS, split="calibration")
    tokens = torch.cat([benchmark.tokens for benchmark in held_out])
    return trace(miniature, tokens[:, :-1].numpy())


def make_problem(
    settings: Settings,
    simulate: bool = True,
    *,
    memory_bytes: int | None = None,
    layers: Callable[[str, int, int], None] = lambda *_: None,
) -> Problem:
    """Load the model and its miniature, measure routing and scores, and order the experts.

    Args:
        settings: what was asked for.
        simulate: build the noisy simulator too (a second); without it only cost is known.
        memory_bytes: that this process may hold while it works on a checkpoint.
        layers: called with words, layers done and layers during passes over a checkpoint.
    """
    from dse.cost.workload import Traffic
    from dse.simulation.measured_sensitivity import expert_sensitivity
    from workloads.checkpoint import load_miniature
    from workloads.routing import resample

    architecture = settings_architecture(settings)
    miniature = load_miniature(architecture.stand_in)
    observed = traced_routing(miniature)
    space = settings.space().for_parts(placeable_parts(architecture, miniature.weights))
    real = _real_model(settings, memory_bytes)
    if real is not None:  # before the first pass over the checkpoint, not after it
        space = at_16_bits(without_sensitivity(space))
    shape = (architecture.moe_layers, architecture.routed_experts)
    if real is None:
        routing = resample(observed, *shape, architecture.experts_per_token)
    else:
        routing = real.routing(layers)
    traffic = Traffic(
        settings.concurrency, settings.context, settings.prompt, settings.output_tokens
    )
    names = [str(name) for name in space["placement_score"].choices]
    wanted = any(REGISTER[name].measured for name in names)
    measured = expert_sensitivity(miniature, architecture) if wanted else None
    seed, tokens = settings.seed, max(round(traffic.round_tokens), 1)
    of_miniature = {
        name: expert_scores(name, miniature.weights, observed, seed, measured, tokens)
        for name in names
    }
    if real is None:
        scores = {name: stretch(values, *shape) for name, values in of_miniature.items()}
    else:
        scores = {name: real.scores(name, routing, seed, layers) for name in names}
    return Problem(
        architecture=architecture,
        routing=routing,
        space=space,
        traffic=traffic,
        cooling=settings.cooling,
        limits=settings.limits(),
        objectives=settings.metrics,
        scores=scores,
        orders=_orders(scores),
        miniature_orders=_orders(of_miniature),
        miniature_shape=observed.probability.shape,
        simulator=_simulator(settings, miniature, architecture, memory_bytes) if simulate else None,
        real=real,
        age_s=settings.age_s,
        magnitude=settings.magnitude,
    )


def _orders(scores: Mapping[str, Array]) -> dict[tuple[str, str], NDArray[np.int64]]:
    """Experts, most digital-worthy first, by score and scope."""
    return {
        (name, scope): digital_order(values, scope)
        for name, values in scores.items()
        for scope in SCOPES
    }


def _real_model(settings: Settings, memory_bytes: int | None) -> "RealModel | None":
    """The checkpoint that settings name."""
    if settings.checkpoint is None:
        return None
    from dse.checkpoints.model import RealModel

    return RealModel(
        settings.checkpoint,
        settings.checkpoint_tokens,
        settings.noise_seeds,
        memory_bytes,
        settings.mitigation,
    )


def _simulator(
    settings: Settings,
    miniature: "Miniature",
    architecture: MoEArchitecture,
    memory_bytes: int | None,
) -> "Simulator":
    """The noisy simulator of the miniature on its test text; its losses are the full model's."""
    from dse.simulation.anchors import published_gains
    from dse.simulation.simulator import Simulator
    from workloads.tasks import benchmarks

    return Simulator(
        miniature,
        benchmarks(miniature, tokens=settings.tokens, split="test"),
        architecture,
        seeds=settings.noise_seeds,
        gains=published_gains(miniature.name),
        cache_bytes=1 << 30 if memory_bytes is None else min(1 << 30, memory_bytes // 16),
        mitigation=settings.mitigation,
    )


def at_16_bits(space: Space) -> Space:
    """A space for a checkpoint, whose digital modules are simulated at 16 bits only.

    Raises:
        ValueError: no 16 bits were left to choose.
    """
    names = ("digital_weight_bits", "kv_bits")
    for name in names:
        if 16 not in space[name].choices:
            raise ValueError(f"{name}: with a checkpoint digital modules have 16 bits")
    return space.limit({name: [16] for name in names})


def without_sensitivity(space: Space) -> Space:
    """A space for a checkpoint: sensitivity is measured on miniatures, whose experts are others.

    Raises:
        ValueError: no other score is left.
    """
    choices = map(str, space["placement_score"].choices)
    others = [score for score in choices if not REGISTER[score].measured]
    if not others:
        raise ValueError(
            "measured sensitivities are those of a miniature: with a checkpoint choose "
            "another, such as max_neuron_norm"
        )
    return space.limit({"placement_score": others})


def expert_table(problem: Problem) -> "pandas.DataFrame":
    """One row a routed expert of the full model: load, scores, and its rank in each order."""
    import pandas

    layers, experts = problem.routing.probability.shape
    columns = {
        "layer": np.repeat(problem.architecture.moe_layer_indices, experts),
        "expert": np.tile(np.arange(experts), layers),
        "load": problem.routing.probability.ravel(),
        **{score: values.ravel() for score, values in problem.scores.items()},
    }
    for (score, scope), order in problem.orders.items():
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        columns[f"rank_{score}_{scope}"] = rank
    return pandas.DataFrame(columns)
