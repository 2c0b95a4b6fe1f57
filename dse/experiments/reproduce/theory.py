"""The seed paper's analytical setting, trained: one MoE layer on two-class patterns.

Tokens are orthonormal patterns. A sequence has one token that decides its class and otherwise
irrelevant ones; each class has a frequent deciding pattern and a rare one (a share `rare_share`
of the sequences). Experts choose tokens (each takes the `capacity` tokens of largest router
score and weighs them by a softmax); an expert is a layer of ReLU neurons whose output signs are
fixed, half of them +1 and half -1. Gradient descent on the hinge loss, with one step size for the
router and another for the neurons. Neurons start near zero; the router of an expert starts
leaning to one deciding pattern, as a pretrained one would, which is how gamma is set.

Lemma 4.1: experts that specialise on frequent patterns get the larger maximum neuron norm.
Theorem 4.2: with the highest-norm experts digital, the tolerated programming noise can be
Omega(1/gamma) times as large, gamma the share of experts that serve rare patterns (and stay
analog). That is a lower bound of the gain, so it is the gain that is fitted. Two noises:

- random: independent normal draws, as devices have. Noise of many experts adds in quadrature,
  which by itself gives a gain of 1/sqrt(gamma);
- worst case: every weight moves by the same magnitude against the label. Noise of many experts
  adds up, which gives 1/gamma when the norms are alike, and more when Lemma 4.1 holds.

Either is relative to the largest weight of a neuron. How far training has gone matters: at first
a neuron grows in proportion to how often its pattern comes; the hinge loss stops the frequent
ones at margin 1 while the rare ones grow on, and few rare experts need larger norms than many
frequent ones. So a layer is looked at when its smallest margins reach each of `MARGINS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dse.kept import Kept

SHARES = (0.125, 0.25, 0.375, 0.5, 0.75)
# Margin that 99 % of the frequent and 99 % of the rare sequences have: just solved, to converged.
MARGINS = (0.1, 0.5, 0.9)
NOISES = ("random", "worst")
# Class of the deciding patterns 0 to 3; the odd ones are rare.
_CLASS = torch.tensor([1.0, 1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Setting:
    """Sizes of the analytical model and of its training."""

    patterns: int = 32
    length: int = 16
    experts: int = 32
    neurons: int = 16
    capacity: int = 2
    rare_share: float = 0.1
    batch: int = 256
    longest: int = 1500
    neuron_step: float = 0.01
    router_step: float = 0.05
    leaning: float = 0.3
    start: float = 0.001


@dataclass(frozen=True)
class Layer:
    """router [experts, patterns], neurons [experts, neurons, patterns], sign [experts, neurons]."""

    router: Tensor
    neurons: Tensor
    sign: Tensor

    def answers(self) -> Tensor:
        """What every expert answers to every pattern, [experts, patterns]; a token is a pattern."""
        return (self.neurons.relu() * self.sign.unsqueeze(2)).sum(1)

    def output(self, tokens: Tensor, capacity: int) -> Tensor:
        """f(x) of token sequences [B, T] of pattern indices; its sign is the predicted class."""
        return combine(self.answers(), *self.route(tokens, capacity))

    def route(self, tokens: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
        """Patterns that every expert picks and their weights, both [B, capacity, experts]."""
        scores = self.router.T[tokens]  # [B, T, experts]
        chosen, position = scores.topk(capacity, dim=1)
        picked = tokens.unsqueeze(-1).expand(-1, -1, scores.shape[2]).gather(1, position)
        return picked, chosen.softmax(dim=1)

    def largest_norm(self) -> Tensor:
        """Maximum neuron norm of every expert, [experts]."""
        return self.neurons.norm(dim=2).amax(1)


def combine(answers: Tensor, picked: Tensor, gate: Tensor) -> Tensor:
    """Weighted answers [experts, patterns] to the picked patterns [B, capacity, experts], [B]."""
    return (gate * answers[torch.arange(answers.shape[0]), picked]).sum((1, 2))


def draw(
    setting: Setting, count: int, generator: torch.Generator, rare_share: float | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Sequences [count, length], classes +-1 [count], and which are decided by a rare pattern."""
    share = setting.rare_share if rare_share is None else rare_share
    tokens = torch.randint(4, setting.patterns, (count, setting.length), generator=generator)
    negative = torch.randint(0, 2, (count,), generator=generator)
    rare = torch.rand(count, generator=generator) < share
    place = torch.randint(0, setting.length, (count,), generator=generator)
    tokens[torch.arange(count), place] = 2 * negative + rare.long()
    return tokens, 1.0 - 2.0 * negative, rare


def _initial(setting: Setting, rare_experts: float, generator: torch.Generator) -> Layer:
    sign = torch.ones(setting.experts, setting.neurons)
    sign[:, 1::2] = -1.0
    expert = torch.arange(setting.experts)
    rare = expert < round(rare_experts * setting.experts)
    router = 0.01 * torch.randn(setting.experts, setting.patterns, generator=generator)
    router[expert, 2 * (expert % 2) + rare.long()] += setting.leaning
    shape = (setting.experts, setting.neurons, setting.patterns)
    return Layer(router, setting.start * torch.randn(shape, generator=generator), sign)


def train(setting: Setting, rare_experts: float, seed: int) -> dict[float, tuple[int, Layer]]:
    """Train a layer in which that share of the experts starts leaning to a rare pattern.

    Returns step and layer when 99 % of the frequent and of the rare sequences first have each
    margin of MARGINS (looked at every 5 steps); margins not reached in `longest` steps are absent.
    """
    generator = torch.Generator().manual_seed(seed)
    layer = _initial(setting, rare_experts, generator)
    leaves = (layer.router.requires_grad_(), layer.neurons.requires_grad_())
    tokens, label, rare = draw(setting, 400, generator, rare_share=0.5)
    found: dict[float, tuple[int, Layer]] = {}
    for step in range(1, setting.longest + 1):
        batch, wanted, _ = draw(setting, setting.batch, generator)
        loss = (1 - wanted * layer.output(batch, setting.capacity)).relu().mean()
        gradients = torch.autograd.grad(loss, leaves)
        with torch.no_grad():
            layer.router.sub_(setting.router_step * gradients[0])
            layer.neurons.sub_(setting.neuron_step * gradients[1])
            if step % 5:
                continue
            margin = label * layer.output(tokens, setting.capacity)
        smallest = float(min(margin[rare].quantile(0.01), margin[~rare].quantile(0.01)))
        for wish in MARGINS:
            if wish not in found and smallest >= wish:
                copy = (layer.router.detach().clone(), layer.neurons.detach().clone())
                found[wish] = (step, Layer(*copy, layer.sign))
        if len(found) == len(MARGINS):
            break
    return found


def serves_rare(layer: Layer) -> Tensor:
    """Whether an expert speaks most for the class of a rare deciding pattern, [experts] bool."""
    return (layer.answers()[:, :4] * _CLASS).argmax(1) % 2 == 1


def noisy_answers(layer: Layer, analog: Tensor, shift: Tensor | float, magnitude: float) -> Tensor:
    """Answers when the weights of analog experts move by magnitude * max|w| of the neuron * shift.

    analog [experts] bool; shift broadcasts to the neurons.
    """
    sigma = magnitude * layer.neurons.abs().amax(2, keepdim=True) * analog.view(-1, 1, 1)
    return Layer(layer.router, layer.neurons + sigma * shift, layer.sign).answers()


def tolerated(
    layer: Layer, setting: Setting, analog: Tensor, seed: int, noise: str = "random", *,
    rare: bool, draws: int = 4, required: float = 0.95,
) -> float:  # fmt: skip
    """Largest noise magnitude at which mean accuracy stays at `required`, by bisection.

    rare: sequences decided by a rare pattern, or by a frequent one. noise: one of NOISES. The
    same draws are used at every magnitude. NaN when 0.0001 is already too much.
    """
    generator = torch.Generator().manual_seed(10_000 + seed)
    tokens, label, _ = draw(setting, 256, generator, rare_share=float(rare))
    picked, gate = layer.route(tokens, setting.capacity)
    normal = [torch.randn(layer.neurons.shape, generator=generator) for _ in range(draws)]
    against = layer.sign.unsqueeze(2)

    def right(magnitude: float) -> float:
        if noise == "random":
            outputs = [
                combine(noisy_answers(layer, analog, shift, magnitude), picked, gate)
                for shift in normal
            ]
            return float(np.mean([float((f * label > 0).double().mean()) for f in outputs]))
        up = combine(noisy_answers(layer, analog, against, magnitude), picked, gate)
        down = combine(noisy_answers(layer, analog, -against, magnitude), picked, gate)
        return float((torch.where(label > 0, down, -up) > 0).double().mean())

    low, high = 1e-4, 1e4
    if right(low) < required:
        return float("nan")
    for _ in range(12):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if right(middle) >= required else (low, middle)
    return low


def _measure(layer: Layer, setting: Setting, seed: int) -> dict[str, float]:
    """Norms, and tolerated noise with all experts analog and with the top-norm ones digital."""
    rare, norm = serves_rare(layer), layer.largest_norm()
    everything = torch.ones(setting.experts, dtype=torch.bool)
    analog = ~everything
    analog[norm.argsort()[: int(rare.sum())]] = True
    row = {
        "gamma": float(rare.double().mean()),
        "frequent_norm_larger": float((norm[~rare][:, None] > norm[rare]).double().mean()),
        "norm_ratio": float(norm[~rare].mean() / norm[rare].mean()),
    }
    for noise in NOISES:
        for name, chosen in (("all_analog", everything), ("top_norm_digital", analog)):
            for kind in (False, True):
                value = tolerated(layer, setting, chosen, seed, noise, rare=kind)
                row[f"{noise}_{name}_{'rare' if kind else 'frequent'}"] = value
            both = (row[f"{noise}_{name}_frequent"], row[f"{noise}_{name}_rare"])
            row[f"{noise}_{name}"] = float(np.minimum(*both))
        row[f"{noise}_gain"] = row[f"{noise}_top_norm_digital"] / row[f"{noise}_all_analog"]
    return row


def experiment(
    setting: Setting | None = None,
    *,
    shares: tuple[float, ...] = SHARES,
    seeds: int = 4,
    progress: Callable[[str, int, int], None] | None = None,
    kept: Kept | None = None,
) -> pd.DataFrame:
    """Train at several shares of rare experts; one row a share, seed and margin reached.

    kept: where layers trained before are looked up, and new ones put. Layers whose
    experts all serve patterns of one kind are left out.

    gamma is the share of experts that serve rare patterns after training, frequent_norm_larger
    the share of (frequent, rare) pairs of experts in which the frequent one has the larger
    maximum neuron norm. Tolerated magnitudes end in _frequent or _rare for the sequences they are
    of, or are the smaller of the two; a gain is top_norm_digital over all_analog.
    """
    setting, kept = setting or Setting(), kept or Kept()
    rows: list[dict[str, Any]] = []
    runs = list(product(shares, range(seeds)))
    for done, (share, seed) in enumerate(runs):
        if progress is not None:
            progress(f"training, {100 * share:g} % of the experts lean to a rare pattern", done,
                     len(runs))  # fmt: skip
        found = kept.get("theory", setting, share, seed)
        if found is None:
            found = {"layers": _trained(setting, share, seed)}
            kept.put(found, "theory", setting, share, seed)
        rows += found["layers"]
    return pd.DataFrame(rows, dtype=float)


def _trained(setting: Setting, share: float, seed: int) -> list[dict[str, Any]]:
    """The rows of one training; None for a magnitude that is not a number."""
    rows = []
    for margin, (step, layer) in train(setting, share, seed).items():
        if 0 < int(serves_rare(layer).sum()) < setting.experts:  # else nothing to compare
            measured = {
                name: value if np.isfinite(value) else None
                for name, value in _measure(layer, setting, seed).items()
            }
            rows.append({"share": share, "seed": seed, "margin": margin, "steps": step, **measured})
    return rows
