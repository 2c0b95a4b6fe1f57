"""How a miniature's sensitivity to errors of its weights grows with depth, width and tokens.

    python benchmarks/ladder.py --folder F [--tokens 5e6] [--layers 2 4 8] [--hidden 128 64]
    python benchmarks/ladder.py --folder F --states F/olmoe-mini-2442.pt ...   [--json]

Trains the recipe of olmoe-mini at each depth and width (resumable: one checkpoint each in the
folder) and measures A_g = dL / eps^2 of its groups of matrices, as `dse.simulation.responses`
does; with --states it measures states that a training kept, and trains nothing. What is measured
is added to ladder_results.json beside this file, and log A is fitted to log layers and log tokens
over the rows with the recipe's width. On one core 5 M tokens take about 8 minutes at 2 layers,
15 at 4 and 30 at 8.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dse.simulation.gains import EXPERTS, Gains
from dse.simulation.responses import dense_parts, sensitivity
from dse.simulation.simulator import Noise, Simulator
from workloads.architecture import load_model
from workloads.checkpoint import Miniature, load_miniature
from workloads.decoder_config import DecoderConfig
from workloads.miniature.train import RECIPES, Recipe, keep_freed_memory, train
from workloads.tasks import benchmarks

RESULTS = Path(__file__).with_name("ladder_results.json")
FAMILY = "olmoe-mini"
TOKENS, SEEDS = 8192, 8


def rung(layers: int, hidden: int, tokens: int) -> tuple[str, Recipe]:
    """The recipe at another depth and width: heads, experts and rates in proportion."""
    base = RECIPES[FAMILY]
    share = hidden / base.config.hidden_size
    config = dataclasses.replace(
        base.config,
        layers=layers,
        hidden_size=hidden,
        heads=max(round(base.config.heads * share), 1),
        kv_heads=max(round(base.config.kv_heads * share), 1),
        expert_intermediate_size=round(base.config.expert_intermediate_size * share),
    )
    recipe = dataclasses.replace(
        base,
        config=config,
        tokens=tokens,
        cosine_tokens=round(tokens * base.cosine_tokens / base.tokens),
        cool_down_tokens=round(tokens * base.cool_down_tokens / base.tokens),
    )
    return f"{FAMILY}-{layers}x{hidden}-{tokens / 1e6:g}M", recipe


def measured(
    name: str, config: DecoderConfig, weights: dict[str, Any], seen: int
) -> dict[str, Any]:
    """A_g of a model with its errors over text and noise draws, and its clean loss."""
    family = name.split("-mini")[0]
    tokenizer = load_miniature(FAMILY).tokenizer
    own = {key: value.float() for key, value in weights.items()}
    miniature = Miniature(name, config, own, tokenizer, f"{name}, {seen / 1e6:.1f} M tokens")
    sets = benchmarks(miniature, TOKENS)
    simulator = Simulator(miniature, sets, load_model(family), SEEDS, gains=Gains())
    row: dict[str, Any] = {
        "name": name, "layers": config.layers, "hidden": config.hidden_size, "tokens": seen,
        "parameters": sum(value.numel() for value in own.values()),
        "loss_nats": simulator.evaluate(Noise(), simulator.all_digital()).loss,
    }  # fmt: skip
    for group in (EXPERTS, *dense_parts(miniature)):
        devices = Noise(dac_bits=None, adc_bits=None)
        row[f"A_{group}"], row[f"A_{group}_stderr"] = sensitivity(simulator, devices, group)
    return row


def of_state(file: Path) -> dict[str, Any]:
    """The same of a state that a training kept."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    recipe = state["recipe"]
    config = DecoderConfig(**recipe["config"])
    seen = state["step"] * recipe["batch"] * recipe["length"]
    return measured(file.stem, config, state["weights"], seen)


def of_rung(layers: int, hidden: int, tokens: int, folder: Path) -> dict[str, Any]:
    """Train one rung, or go on with it, and measure it."""
    name, recipe = rung(layers, hidden, tokens)
    trained = train(name, recipe, folder, "cpu")
    weights = {key: value.detach() for key, value in trained.weights.items()}
    return measured(name, recipe.config, weights, recipe.steps * recipe.batch * recipe.length)


def keep(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Add a row to the results, in place of one of the same name and tokens; all rows."""
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    rows = [one for one in rows if (one["name"], one["tokens"]) != (row["name"], row["tokens"])]
    rows = sorted([*rows, row], key=lambda one: (one["name"].split("-mini")[0], one["layers"],
                                                 one["hidden"], one["tokens"]))  # fmt: skip
    document = {"source": "python benchmarks/ladder.py", "rows": rows, "fits": fits(rows)}
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    return rows


def fits(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """log A of a group over log layers and log tokens, with errors; fewer than 4 rows: none."""
    width = RECIPES[FAMILY].config.hidden_size
    own = [row for row in rows if row["name"].startswith(FAMILY) and row["hidden"] == width]
    if len(own) < 4 or len({row["layers"] for row in own}) < 2:
        return []
    found = []
    for group in (EXPERTS, "attention", "lm_head"):
        columns = [[1.0, math.log(row["layers"]), math.log(row["tokens"])] for row in own]
        value = np.array([row[f"A_{group}"] for row in own])
        weight = value / np.array([row[f"A_{group}_stderr"] for row in own])
        left, right = np.array(columns) * weight[:, None], np.log(value) * weight
        best, *_ = np.linalg.lstsq(left, right, rcond=None)
        scatter = float(np.sum((right - left @ best) ** 2)) / max(len(own) - 3, 1)
        covariance = np.linalg.pinv(left.T @ left) * max(scatter, 1.0)
        olmoe = np.array([1.0, math.log(16), math.log(5.1e12)])
        found.append({
            "group": group, "rows": len(own), "exponent_layers": best[1],
            "exponent_layers_stderr": float(np.sqrt(covariance[1, 1])),
            "exponent_tokens": best[2],
            "exponent_tokens_stderr": float(np.sqrt(covariance[2, 2])),
            "extrapolated_to_olmoe": float(np.exp(olmoe @ best)),
            "extrapolated_log_stderr": float(np.sqrt(olmoe @ covariance @ olmoe)),
        })  # fmt: skip
    return found


def main() -> None:
    """Command line of the ladder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, required=True, help="checkpoints")
    parser.add_argument("--tokens", type=float, default=15e6)
    parser.add_argument("--layers", type=int, nargs="*", default=[2, 4, 8])
    parser.add_argument("--hidden", type=int, nargs="*", default=[128, 64])
    parser.add_argument("--states", type=Path, nargs="*", default=[], help="measure these only")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for file in arguments.states:
        rows = keep(of_state(file))
    if not arguments.states:
        for hidden in arguments.hidden:
            for layers in arguments.layers:
                rows = keep(of_rung(layers, hidden, int(arguments.tokens), arguments.folder))
                print(rows[-1], file=sys.stderr)
    if arguments.json:
        print(json.dumps({"rows": rows, "fits": fits(rows)}, indent=1))
        return
    for row in rows:
        groups = [key for key in row if key.startswith("A_") and not key.endswith("_stderr")]
        told = ", ".join(f"{key} {row[key]:.2f} ± {row[f'{key}_stderr']:.2f}" for key in groups)
        print(f"{row['name']}: {row['tokens'] / 1e6:.1f} M tokens, loss "
              f"{row['loss_nats']:.3f}; {told}")  # fmt: skip
    for one in fits(rows):
        print(f"{one['group']}: layers^{one['exponent_layers']:.2f} "
              f"tokens^{one['exponent_tokens']:.2f}, extrapolated to OLMoE "
              f"{one['extrapolated_to_olmoe']:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
