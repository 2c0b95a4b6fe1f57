"""How good a miniature is: `python -m dse.experiments.miniature_quality NAME [--json] [--record]`.

Clean loss, top-1 and task accuracy on the benchmarks, and how much the experts of a layer differ
(coefficients of variation of load and of the maximum neuron norm).
"""

import argparse
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dse.placement.scores import REGISTER, weight_scores
from workloads.checkpoint import FOLDER, MINIATURES, Miniature, load_miniature, read_record
from workloads.miniature.train import record_text
from workloads.moe import forward
from workloads.tasks import Benchmark, Score, benchmarks, score


@dataclass(frozen=True)
class Quality:
    """Clean accuracy of a miniature and the spread of its experts, per MoE layer."""

    scores: dict[str, Score]  # by benchmark
    load: np.ndarray  # [moe_layers, experts]: tokens per expert
    max_neuron_norm: np.ndarray  # [moe_layers, experts]

    @property
    def text_loss(self) -> float:
        """Mean next-token loss in nats over the text domains."""
        return float(np.mean([s.loss for s in self.scores.values() if s.accuracy is None]))

    @property
    def text_top1(self) -> float:
        """Mean next-token top-1 over the text domains."""
        return float(np.mean([s.top1 for s in self.scores.values() if s.accuracy is None]))

    @property
    def task_accuracy(self) -> float:
        """Mean accuracy over the generated tasks."""
        return float(np.mean([s.accuracy for s in self.scores.values() if s.accuracy is not None]))


def variation(values: np.ndarray) -> np.ndarray:
    """Coefficient of variation along the last axis: standard deviation over mean."""
    return np.asarray(values.std(-1) / values.mean(-1))


def measure(miniature: Miniature, tasks: tuple[Benchmark, ...]) -> Quality:
    """Run the clean miniature over the benchmarks."""
    experts = miniature.config.routed_experts
    load = {layer: torch.zeros(experts) for layer in miniature.config.moe_layers}

    def observe(
        layer: int, probabilities: torch.Tensor, indices: torch.Tensor, chosen: torch.Tensor
    ) -> None:
        load[layer] += torch.bincount(indices.flatten(), minlength=experts)

    scores = {}
    with torch.inference_mode():
        for task in tasks:
            inputs = task.tokens[:, :-1]
            logits = forward(miniature.config, miniature.weights, inputs, observe=observe)
            scores[task.name] = score(logits, task)
    loads = torch.stack(list(load.values())).numpy()
    norms = weight_scores(REGISTER["max_neuron_norm"], miniature.weights)
    return Quality(scores, loads, norms)


def summary(miniature: Miniature, tokens: int) -> dict[str, Any]:
    """The quality of a miniature on benchmarks of so many tokens, as a table of plain values."""
    quality = measure(miniature, benchmarks(miniature, tokens))
    return {
        "benchmark_tokens": tokens,
        "text_loss_nats": quality.text_loss,
        "text_top1": quality.text_top1,
        "task_accuracy": quality.task_accuracy,
        "load_variation": variation(quality.load).tolist(),
        "max_neuron_norm_variation": variation(quality.max_neuron_norm).tolist(),
        "unused_experts": (quality.load == 0).sum(-1).tolist(),
        "benchmarks": {name: vars(value) for name, value in quality.scores.items()},
    }


def write_record(name: str, table: dict[str, Any]) -> None:
    """Put the table into the training record of a miniature, under "quality"."""
    file = FOLDER / f"{name}.json"
    file.write_text(record_text({**read_record(name), "quality": table}), encoding="utf-8")


def main() -> None:
    """Command line of the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=MINIATURES)
    parser.add_argument("--tokens", type=int, default=65_536)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--record", action="store_true", help="store it in the training record")
    arguments = parser.parse_args()
    miniature = load_miniature(arguments.name)
    table = summary(miniature, arguments.tokens)
    if arguments.record:
        write_record(arguments.name, table)
    if arguments.json:
        print(json.dumps({"source": miniature.source, **table}))
        return
    print(miniature.source)
    for key, value in table.items():
        if isinstance(value, list):
            print(f"{key}: {'  '.join(f'{x:.3g}' for x in value)}")
        elif not isinstance(value, dict):
            print(f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}")
    for name, result in table["benchmarks"].items():
        parts = (f"{key} {value:.3f}" for key, value in result.items() if value is not None)
        print(f"  {name:14s}", "  ".join(parts))


if __name__ == "__main__":
    main()
