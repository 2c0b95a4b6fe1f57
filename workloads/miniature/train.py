"""Trains a shipped miniature: `python -m workloads.miniature.train NAME`.

Everything random is a function of (seed, step), so a run that is interrupted goes on from its
last checkpoint as if nothing had happened, and on one thread gives the same weights again.
"""

import argparse
import ctypes
import dataclasses
import hashlib
import json
import math
import platform
import random
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from workloads.cache import cache_folder
from workloads.decoder_config import DecoderConfig, weight_shapes
from workloads.miniature import corpus, generated
from workloads.moe import forward


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights of a miniature, apart from the text."""

    config: DecoderConfig
    balancing: float  # weight of the load-balancing loss
    tokens: int
    cosine_tokens: int  # length of the cosine that the learning rate follows
    cool_down_tokens: int  # over the last of the tokens it falls to zero linearly as well
    learning_rate: float = 3e-3
    final_rate: float = 0.05  # share of the learning rate that is left at the cosine's end
    betas: tuple[float, float] = (0.9, 0.95)
    # With 1e-8 every expert is updated at full rate however few tokens it serves; a larger value
    # lets an expert's weights grow with the gradient it receives, as under plain gradient descent.
    epsilon: float = 3e-6
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    warm_up_steps: int = 200
    batch: int = 16
    length: int = 128
    initial_std: float = 0.02
    domains: tuple[float, ...] = (0.2, 0.22, 0.16, 0.12)  # shares; the rest: generated tasks
    prompt_weight: float = 0.1  # loss weight of task tokens that nothing predicts
    answer_weight: float = 2.0
    seed: int = 0

    @property
    def steps(self) -> int:
        """Optimiser steps that see at least the wanted number of tokens."""
        return self.steps_of(self.tokens)

    def steps_of(self, tokens: int) -> int:
        """Optimiser steps that see at least so many tokens."""
        return math.ceil(tokens / (self.batch * self.length))


_COMMON: dict[str, Any] = {
    "vocab_size": corpus.VOCABULARY,
    "hidden_size": 128,
    "heads": 4,
    "kv_heads": 4,
    "head_dim": 32,
    "routed_experts": 64,
    "expert_intermediate_size": 32,
    "renormalise_top_k": False,
}
RECIPES = {
    "deepseekmoe-mini": Recipe(
        DecoderConfig(
            layers=5,
            dense_layers=1,
            dense_intermediate_size=512,
            experts_per_token=6,
            shared_experts=2,
            qk_norm=False,
            **_COMMON,
        ),
        balancing=3e-4,
        tokens=15_400_000,
        cosine_tokens=18_000_000,
        cool_down_tokens=4_200_000,
    ),
    "olmoe-mini": Recipe(
        DecoderConfig(
            layers=4,
            dense_layers=0,
            dense_intermediate_size=0,
            experts_per_token=8,
            shared_experts=0,
            qk_norm=True,
            **_COMMON,
        ),
        balancing=5e-4,
        tokens=15_400_000,
        cosine_tokens=21_000_000,
        cool_down_tokens=3_600_000,
    ),
}


def initial_weights(recipe: Recipe) -> dict[str, Tensor]:
    """Normal weights of one small standard deviation, norm scales of one."""
    generator = torch.Generator().manual_seed(recipe.seed)
    return {
        name: torch.ones(shape)
        if name.endswith("norm")
        else torch.randn(shape, generator=generator) * recipe.initial_std
        for name, shape in weight_shapes(recipe.config).items()
    }


def make_batch(
    recipe: Recipe, texts: dict[str, np.ndarray], ids: dict[str, int], step: int
) -> tuple[Tensor, Tensor]:
    """Tokens [batch, length + 1] and loss weights [batch, length] of one step."""
    rng = np.random.default_rng([recipe.seed, step])
    words = random.Random(f"{recipe.seed}/{step}")
    length = recipe.length + 1
    shares = [*recipe.domains, 1 - sum(recipe.domains)]
    tokens = np.empty((recipe.batch, length), dtype=np.int64)
    weights = np.ones((recipe.batch, length), dtype=np.float32)
    for row, source in enumerate(rng.choice(len(shares), size=recipe.batch, p=shares)):
        if source < len(corpus.DOMAINS):
            text = texts[corpus.DOMAINS[source]]
            start = rng.integers(len(text) - length)
            tokens[row] = text[start : start + length]
            continue
        task = words.choice(tuple(generated.TASKS))
        tokens[row], scored = generated.fill(task, "train", words, ids, length)
        weights[row] = np.where(np.array(scored) >= 0, recipe.answer_weight, recipe.prompt_weight)
    return torch.from_numpy(tokens), torch.from_numpy(weights[:, 1:])


def training_loss(
    recipe: Recipe, weights: dict[str, Tensor], tokens: Tensor, loss_weights: Tensor
) -> tuple[Tensor, Tensor]:
    """The weighted next-token loss, and the load-balancing loss (1 when perfectly balanced)."""
    balance: list[Tensor] = []
    experts = recipe.config.routed_experts

    def observe(layer: int, probabilities: Tensor, indices: Tensor, chosen: Tensor) -> None:
        load = torch.bincount(indices.flatten(), minlength=experts) / indices.numel()
        balance.append(experts * (load * probabilities.mean(0)).sum())

    logits = forward(recipe.config, weights, tokens[:, :-1], observe=observe)
    losses = functional.cross_entropy(
        logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
    )
    flat = loss_weights.flatten()
    return (losses * flat).sum() / flat.sum(), torch.stack(balance).mean()


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine, over the last steps times a linear fall to zero."""
    warm_up = min(1.0, (step + 1) / recipe.warm_up_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * step / recipe.steps_of(recipe.cosine_tokens)))
    cool_down = min(1.0, (recipe.steps - step) / recipe.steps_of(recipe.cool_down_tokens))
    rate = recipe.learning_rate * warm_up * (recipe.final_rate + (1 - recipe.final_rate) * cosine)
    return rate * cool_down


class Training:
    """The state of a training: weights, optimiser, step and loss curve."""

    def __init__(self, recipe: Recipe, device: str = "cpu") -> None:
        self.recipe, self.device = recipe, device
        self.weights = {
            k: v.to(device).requires_grad_() for k, v in initial_weights(recipe).items()
        }
        self.optimiser = torch.optim.AdamW(
            self.weights.values(),
            lr=recipe.learning_rate,
            betas=recipe.betas,
            eps=recipe.epsilon,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.step = 0
        self.curve: list[tuple[int, float, float]] = []
        self.seconds = 0.0

    def run_step(self, texts: dict[str, np.ndarray], ids: dict[str, int]) -> tuple[float, float]:
        """One optimiser step; the two losses."""
        tokens, loss_weights = make_batch(self.recipe, texts, ids, self.step)
        tokens, loss_weights = tokens.to(self.device), loss_weights.to(self.device)
        loss, balance = training_loss(self.recipe, self.weights, tokens, loss_weights)
        (loss + self.recipe.balancing * balance).backward()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), self.recipe.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        return float(loss.detach()), float(balance.detach())

    def save(self, file: Path) -> None:
        """Write a checkpoint; a reader never sees a half-written one."""
        state = {
            "recipe": dataclasses.asdict(self.recipe),
            "weights": {k: v.detach() for k, v in self.weights.items()},
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "curve": self.curve,
            "seconds": self.seconds,
        }
        partial = file.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(file)

    def resume(self, file: Path) -> None:
        """Go on from a checkpoint of the same recipe, else ValueError."""
        state = torch.load(file, map_location=self.device, weights_only=True)
        if state["recipe"] != dataclasses.asdict(self.recipe):
            raise ValueError(f"{file} is the checkpoint of another recipe: remove it to start anew")
        with torch.no_grad():
            for name, value in state["weights"].items():
                self.weights[name].copy_(value)
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.curve = [tuple(point) for point in state["curve"]]


def export(name: str, training: Training, token_sha256: str, folder: Path) -> dict[str, Any]:
    """Write fp16 weights and the training record of a miniature; returns the record."""
    file = folder / f"{name}.safetensors"
    half = {k: v.detach().half().cpu().contiguous() for k, v in sorted(training.weights.items())}
    file.write_bytes(save(half))
    recipe = training.recipe
    record = {
        "name": name,
        "recipe": dataclasses.asdict(recipe),
        "steps": training.step,
        "tokens_seen": training.step * recipe.batch * recipe.length,
        "parameters": sum(v.numel() for v in half.values()),
        "tokens_sha256": token_sha256,
        "tokenizer_sha256": hashlib.sha256(corpus.TOKENIZER_FILE.read_bytes()).hexdigest(),
        "weights_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "versions": {
            "python": platform.python_version(),
            **{p: metadata.version(p) for p in (*corpus.VERSIONS, "tokenizers", "numpy")},
        },
        "device": training.device,
        "training_s": round(training.seconds, 1),
        "curve_columns": ["step", "loss", "balancing_loss"],
        "curve": [[step, round(a, 4), round(b, 4)] for step, a, b in training.curve],
    }
    (folder / f"{name}.json").write_text(record_text(record), encoding="utf-8")
    return record


def record_text(record: dict[str, Any]) -> str:
    """A training record as JSON with one point of the loss curve a line."""
    curve = ",\n  ".join(json.dumps(point) for point in record["curve"])
    text = json.dumps({**record, "curve": "CURVE"}, indent=1)
    return text.replace('"CURVE"', f"[\n  {curve}\n ]") + "\n"


def keep_freed_memory() -> None:
    """Ask glibc to reuse the memory of freed activations instead of returning it each step."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(-4, 0)  # M_MMAP_MAX: serve large blocks from the heap
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: keep the heap


def train(name: str, recipe: Recipe, folder: Path, device: str, report_every: int = 50) -> Training:
    """Train to the end of the recipe, with a checkpoint about every two minutes."""
    texts, _ = corpus.training_tokens()
    ids = corpus.word_ids(corpus.load_tokenizer())
    training = Training(recipe, device)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / f"{name}.pt"
    if checkpoint.exists():
        training.resume(checkpoint)
    before, start, saved = training.seconds, time.monotonic(), time.monotonic()
    recent: list[tuple[float, float]] = []
    while training.step < recipe.steps:
        recent.append(training.run_step(texts, ids))
        training.seconds = before + time.monotonic() - start
        if training.step % report_every == 0 or training.step == recipe.steps:
            loss, balance = np.mean(recent, axis=0).tolist()
            recent = []
            training.curve.append((training.step, loss, balance))
            speed = training.step * recipe.batch * recipe.length / training.seconds
            print(
                f"{name} step {training.step}/{recipe.steps} loss {loss:.4f} "
                f"balance {balance:.3f} {speed:.0f} tokens/s",
                flush=True,
            )
            if time.monotonic() - saved > 120 or training.step == recipe.steps:
                training.save(checkpoint)
                saved = time.monotonic()
    return training


def main() -> None:
    """Command line of the training."""
    usual = cache_folder(corpus.TRAINING)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--tokens", type=int, help="training tokens (default: the recipe's)")
    parser.add_argument("--checkpoint-dir", type=Path, default=usual)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="change the recipe"
    )
    parser.add_argument(
        "--export", type=Path, metavar="FOLDER", help="export the checkpoint as it is; no training"
    )
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    recipe = RECIPES[arguments.name]
    if arguments.tokens is not None:
        recipe = dataclasses.replace(recipe, tokens=arguments.tokens)
    for change in arguments.set:
        field, value = change.split("=")
        recipe = dataclasses.replace(recipe, **{field: json.loads(value)})
    folder = arguments.checkpoint_dir
    if arguments.export:
        training = Training(recipe, "cpu")
        training.resume(folder / f"{arguments.name}.pt")
        target = arguments.export
    else:
        training = train(arguments.name, recipe, folder, arguments.device)
        target = corpus.HERE if folder == usual else folder
    record = export(arguments.name, training, corpus.training_tokens()[1], target)
    print(f"{arguments.name}: {record['tokens_seen']} tokens, sha256 {record['weights_sha256']}")


if __name__ == "__main__":
    main()
