"""Do the miniatures' experts differ as real ones do: `python benchmarks/miniature.py [--json]`.

The share of the loss from programming noise that comes back when a quarter of the experts of every
layer is digital: chosen by maximum neuron norm, activation frequency, routing weight, or at random.
A deliberately independent check of the simulation: the PCM polynomial of Le Gallo et al. 2023 on
the expert weights, scaled to each output row's largest weight, no converters. Every repetition has
its own noise (an antithetic pair) and its own random choice; all choices of a repetition share both
noise and tokens.
"""

import argparse
import json

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dse.placement.scores import REGISTER, weight_scores
from workloads.checkpoint import MINIATURES, Miniature, load_miniature
from workloads.moe import forward
from workloads.tasks import Benchmark, benchmarks

PARTS = ("gate", "up", "down")


def programming_noise(weight: Tensor, magnitude: float, generator: torch.Generator) -> Tensor:
    """One draw of PCM programming noise; conductances in uS with a maximum of 25 uS."""
    largest = weight.abs().amax(-1, keepdim=True).clamp_min(1e-12)
    g = weight.abs() / largest
    sigma = (-1.1731 * g**2 + 1.9650 * g + 0.2635) / 25.0
    return torch.randn(weight.shape, generator=generator) * sigma * largest * magnitude


def mean_loss(
    miniature: Miniature,
    weights: dict[str, Tensor],
    tasks: tuple[Benchmark, ...],
    usage: tuple[Tensor, Tensor] | None = None,
) -> float:
    """Loss over all scored tokens; adds to (counts, routing weights) [layers, experts] if given."""
    first = miniature.config.dense_layers

    def observe(layer: int, probabilities: Tensor, indices: Tensor, chosen: Tensor) -> None:
        if usage is not None:
            usage[0][layer - first].index_add_(0, indices.flatten(), torch.ones(indices.numel()))
            usage[1][layer - first].index_add_(0, indices.flatten(), chosen.flatten())

    total, scored = 0.0, 0
    with torch.inference_mode():
        for task in tasks:
            logits = forward(miniature.config, weights, task.tokens[:, :-1], observe=observe)
            target = task.tokens[:, 1:][task.answer_mask]
            losses = functional.cross_entropy(logits[task.answer_mask], target, reduction="sum")
            total, scored = total + float(losses), scored + len(target)
    return total / scored


def top_experts(scores: Tensor, share: float) -> Tensor:
    """The experts [layers, experts] that are digital: the same share of every layer."""
    count = round(share * scores.shape[1])
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, scores.topk(count).indices, True)


def recovered(
    name: str, magnitude: float, share: float, repetitions: int, tokens: int
) -> dict[str, object]:
    """Share of the loss recovered by each choice, with the difference to a random choice."""
    miniature = load_miniature(name)
    tasks = benchmarks(miniature, tokens)
    layers, experts = len(miniature.config.moe_layers), miniature.config.routed_experts
    usage = (torch.zeros(layers, experts), torch.zeros(layers, experts))
    clean = mean_loss(miniature, miniature.weights, tasks, usage)
    scores = {
        "max_neuron_norm": torch.from_numpy(
            weight_scores(REGISTER["max_neuron_norm"], miniature.weights)
        ),
        "activation_frequency": usage[0],
        "routing_weight": usage[1],
    }
    digital = {key: top_experts(value, share) for key, value in scores.items()}
    digital["none"] = torch.zeros(layers, experts, dtype=torch.bool)
    added: dict[str, list[float]] = {key: [] for key in (*digital, "random")}
    for seed in range(repetitions):
        generator = torch.Generator().manual_seed(seed)
        digital["random"] = top_experts(torch.rand(layers, experts, generator=generator), share)
        noise = {
            key: programming_noise(miniature.weights[key], magnitude, generator)
            for layer in miniature.config.moe_layers
            for key in (f"layers.{layer}.experts.{part}" for part in PARTS)
        }
        for choice, mask in digital.items():
            losses = [
                mean_loss(miniature, _noisy(miniature, noise, mask, sign), tasks)
                for sign in (1.0, -1.0)
            ]
            added[choice].append(float(np.mean(losses)) - clean)
    return {"source": miniature.source, "clean_loss": clean, **_summary(added)}


def _noisy(
    miniature: Miniature, noise: dict[str, Tensor], digital: Tensor, sign: float
) -> dict[str, Tensor]:
    first = miniature.config.dense_layers
    changed = {}
    for key, draw in noise.items():
        analog = (~digital[int(key.split(".")[1]) - first]).view(-1, 1, 1)
        changed[key] = miniature.weights[key] + sign * analog * draw
    return {**miniature.weights, **changed}


def _summary(added: dict[str, list[float]]) -> dict[str, object]:
    nothing = np.mean(added["none"])
    shares = {key: (nothing - np.array(losses)) / nothing for key, losses in added.items()}
    error = np.sqrt(len(added["none"]))
    table: dict[str, object] = {
        "added_loss_nats": float(nothing),
        "added_loss_stderr": float(np.std(added["none"], ddof=1) / error),
    }
    for key in added:
        if key == "none":
            continue
        row = {"recovered": float(shares[key].mean())}
        if key != "random":
            gain = (np.array(added["random"]) - np.array(added[key])) / nothing
            row["above_random"] = float(gain.mean())
            row["above_random_stderr"] = float(gain.std(ddof=1) / error)
            row["standard_errors"] = row["above_random"] / row["above_random_stderr"]
        table[key] = row
    return table


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--magnitude", type=float, default=4.0, help="of the programming noise")
    parser.add_argument("--share", type=float, default=0.25, help="of the experts that is digital")
    parser.add_argument("--repetitions", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    options = (arguments.magnitude, arguments.share, arguments.repetitions, arguments.tokens)
    results = {name: recovered(name, *options) for name in MINIATURES}
    if arguments.json:
        print(json.dumps({"options": vars(arguments), "results": results}))
        return
    for result in results.values():
        print(f"{result['source']}: clean {result['clean_loss']:.3f} nats, ", end="")
        print(f"noise adds {result['added_loss_nats']:.4f} +- {result['added_loss_stderr']:.4f}")
        for key, value in result.items():
            if isinstance(value, dict):
                print(f"  {key}: " + ", ".join(f"{k} {v:.3f}" for k, v in value.items()))


if __name__ == "__main__":
    main()
