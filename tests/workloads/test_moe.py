"""The batched decoder against a plain one that handles one token and one expert at a time."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from workloads.decoder_config import DecoderConfig, weight_shapes
from workloads.moe import forward

DEEPSEEK_LIKE = DecoderConfig(
    vocab_size=50,
    hidden_size=16,
    layers=3,
    heads=4,
    kv_heads=2,
    head_dim=4,
    dense_layers=1,
    dense_intermediate_size=24,
    routed_experts=6,
    experts_per_token=3,
    expert_intermediate_size=8,
    shared_experts=2,
    renormalise_top_k=False,
    qk_norm=False,
)
OLMOE_LIKE = dataclasses.replace(
    DEEPSEEK_LIKE, kv_heads=4, dense_layers=0, shared_experts=0, qk_norm=True
)
RENORMALISED = dataclasses.replace(OLMOE_LIKE, renormalise_top_k=True, tie_embeddings=True)
CONFIGS = {"deepseek": DEEPSEEK_LIKE, "olmoe": OLMOE_LIKE, "renormalised": RENORMALISED}


def random_weights(config: DecoderConfig) -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {
        name: (1 + 0.3 * torch.randn(shape) if name.endswith("norm") else torch.randn(shape) * 0.4)
        for name, shape in weight_shapes(config).items()
    }


def naive_norm(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    return x / math.sqrt(float((x.detach() ** 2).mean()) + eps) * scale


def naive_rope(x: Tensor, position: int, theta: float) -> Tensor:
    """Each pair (i, i + half) turned by its angle, as a complex number."""
    half = len(x) // 2
    angles = [position * theta ** (-2 * i / len(x)) for i in range(half)]
    turned = [
        complex(float(x[i]), float(x[i + half])) * complex(math.cos(a), math.sin(a))
        for i, a in enumerate(angles)
    ]
    return torch.tensor([c.real for c in turned] + [c.imag for c in turned])


def naive_gated(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    g = gate @ x
    return down @ (g / (1 + torch.exp(-g)) * (up @ x))


def naive_attention(c: DecoderConfig, w: dict[str, Tensor], here: str, xs: list[Tensor]) -> Tensor:
    """The attention output of the last position."""

    def projected(part: str, x: Tensor) -> Tensor:
        y = w[f"{here}.attention.{part}"] @ x
        if c.qk_norm and part != "value":
            y = naive_norm(y, w[f"{here}.attention.{part}_norm"], c.rms_norm_eps)
        return y

    d, position = c.head_dim, len(xs) - 1
    out = []
    for head in range(c.heads):
        group = head * c.kv_heads // c.heads
        query = naive_rope(projected("query", xs[-1])[head * d : (head + 1) * d], position, 1e4)
        keys = [
            naive_rope(projected("key", x)[group * d : (group + 1) * d], p, 1e4)
            for p, x in enumerate(xs)
        ]
        scores = torch.stack([query @ key for key in keys]) / math.sqrt(d)
        shares = torch.exp(scores) / torch.exp(scores).sum()
        values = [projected("value", x)[group * d : (group + 1) * d] for x in xs]
        out.append(sum((s * v for s, v in zip(shares, values, strict=True)), torch.zeros(d)))
    return w[f"{here}.attention.output"] @ torch.cat(out)


def naive_ffn(c: DecoderConfig, w: dict[str, Tensor], layer: int, x: Tensor) -> Tensor:
    here = f"layers.{layer}"
    if layer < c.dense_layers:
        return naive_gated(x, *(w[f"{here}.ffn.{p}"] for p in ("gate", "up", "down")))
    scores = torch.exp(w[f"{here}.router"] @ x)
    shares = scores / scores.sum()
    best = sorted(range(c.routed_experts), key=lambda e: -float(shares[e]))[: c.experts_per_token]
    scale = sum(float(shares[e]) for e in best) if c.renormalise_top_k else 1.0
    y = torch.zeros(c.hidden_size)
    for e in best:
        parts = (w[f"{here}.experts.{p}"][e] for p in ("gate", "up", "down"))
        y = y + shares[e] / scale * naive_gated(x, *parts)
    if c.shared_experts:
        y = y + naive_gated(x, *(w[f"{here}.shared.{p}"] for p in ("gate", "up", "down")))
    return y


def naive_forward(c: DecoderConfig, w: dict[str, Tensor], tokens: list[int]) -> Tensor:
    hidden = [w["embedding"][token] for token in tokens]
    for layer in range(c.layers):
        here = f"layers.{layer}"
        xs = [naive_norm(h, w[f"{here}.attention_norm"], c.rms_norm_eps) for h in hidden]
        mixed = [naive_attention(c, w, here, xs[: p + 1]) for p in range(len(xs))]
        hidden = [h + m for h, m in zip(hidden, mixed, strict=True)]
        xs = [naive_norm(h, w[f"{here}.ffn_norm"], c.rms_norm_eps) for h in hidden]
        hidden = [h + naive_ffn(c, w, layer, x) for h, x in zip(hidden, xs, strict=True)]
    head = w["embedding" if c.tie_embeddings else "lm_head"]
    return torch.stack([head @ naive_norm(h, w["final_norm"], c.rms_norm_eps) for h in hidden])


@pytest.mark.parametrize("family", CONFIGS)
def test_forward_equals_a_naive_decoder(family: str) -> None:
    config = CONFIGS[family]
    weights = random_weights(config)
    tokens = torch.randint(0, config.vocab_size, (2, 7))
    logits = forward(config, weights, tokens)
    for row in range(2):
        expected = naive_forward(config, weights, tokens[row].tolist())
        torch.testing.assert_close(logits[row], expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("family", CONFIGS)
def test_gradients_equal_finite_differences(family: str) -> None:
    config = CONFIGS[family]
    weights = {name: w.requires_grad_() for name, w in random_weights(config).items()}
    tokens = torch.randint(0, config.vocab_size, (2, 6))
    direction = torch.randn(2, 6, config.vocab_size) / 25

    def objective() -> Tensor:
        return (forward(config, weights, tokens) * direction).double().sum()

    objective().backward()
    for name in ("embedding", "layers.1.experts.gate", "layers.2.experts.down", "layers.1.router"):
        gradient = weights[name].grad
        assert gradient is not None
        step = 1e-3 * gradient / gradient.norm()
        with torch.no_grad():
            weights[name] += step
            above = objective()
            weights[name] -= 2 * step
            below = objective()
            weights[name] += step
        expected = float(gradient.norm()) * 2e-3
        assert float(above - below) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("family", CONFIGS)
def test_hooks_see_every_matrix_once_and_observe_every_routed_layer(family: str) -> None:
    config = CONFIGS[family]
    weights = random_weights(config)
    seen: list[str] = []
    layers: list[int] = []

    def linear(name: str, x: Tensor, weight: Tensor) -> Tensor:
        seen.append(name)
        return x @ weight.T

    def grouped(name: str, x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
        seen.append(name)
        assert int(counts.sum()) == len(x) == 2 * 5 * config.experts_per_token
        parts = x.split(counts.tolist())
        return torch.cat([rows @ w.T for rows, w in zip(parts, weight, strict=True)])

    def observe(layer: int, probabilities: Tensor, indices: Tensor, chosen: Tensor) -> None:
        layers.append(layer)
        assert probabilities.shape == (10, config.routed_experts)
        torch.testing.assert_close(probabilities.sum(-1), torch.ones(10))
        used = probabilities.gather(1, indices)
        if config.renormalise_top_k:
            used = used / used.sum(-1, keepdim=True)
        torch.testing.assert_close(chosen, used)

    tokens = torch.randint(0, config.vocab_size, (2, 5))
    logits = forward(
        config, weights, tokens, linear=linear, grouped_linear=grouped, observe=observe
    )
    torch.testing.assert_close(logits, forward(config, weights, tokens), rtol=1e-4, atol=1e-4)
    matrices = {n for n in weights if not n.endswith("norm") and n != "embedding"} | {"lm_head"}
    assert sorted(seen) == sorted(matrices)
    assert layers == list(config.moe_layers)


def test_a_token_does_not_see_the_future() -> None:
    weights = random_weights(OLMOE_LIKE)
    tokens = torch.randint(0, 50, (1, 8))
    changed = tokens.clone()
    changed[0, 5] = (changed[0, 5] + 1) % 50
    before, after = (forward(OLMOE_LIKE, weights, t) for t in (tokens, changed))
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])
