"""A mixture-of-experts decoder as a pure function over a flat dictionary of tensors.

One function covers both families of the study: DeepSeekMoE-like (first layers dense, shared
experts, top-k without renormalisation) and OLMoE-like (QK-norm, no shared experts). The experts
of a layer are one batched tensor. Every matrix product goes through one of two hooks, which is
how a noisy simulation gets in without a second copy of the model.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from workloads.decoder_config import DecoderConfig, Yarn
from workloads.dispatch import Combine, Dispatch, by_expert, top

Linear = Callable[[str, Tensor, Tensor], Tensor]
GroupedLinear = Callable[[str, Tensor, Tensor, Tensor], Tensor]
Observe = Callable[[int, Tensor, Tensor, Tensor], None]


def plain_linear(name: str, x: Tensor, weight: Tensor) -> Tensor:
    """[N, in] times [out, in] transposed: the clean product."""
    return functional.linear(x, weight)


def plain_grouped_linear(name: str, x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """The clean product of rows sorted by expert: [N, in] and [E, out, in] to [N, out].

    PyTorch's grouped product needs row sizes of a multiple of 16 bytes: in and out of 4 floats.
    """
    ends = counts.cumsum(0).to(torch.int32)
    return functional.grouped_mm(x, weight.transpose(1, 2), offs=ends)


def forward(
    config: DecoderConfig,
    weights: dict[str, Tensor],
    tokens: Tensor,
    *,
    linear: Linear = plain_linear,
    grouped_linear: GroupedLinear = plain_grouped_linear,
    observe: Observe | None = None,
) -> Tensor:
    """Logits [B, T, V] of the next token for tokens [B, T].

    `linear(name, x, weight)` and `grouped_linear(name, x, weight, counts)` compute every matrix
    product; x is [N, in], for the grouped one sorted by expert with `counts` [E] rows each.
    `observe(layer, probabilities [N, E], indices [N, k], routing weights [N, k])` is called once
    per layer with routed experts. N is B*T; for the grouped product it is B*T*k.
    What only some families have is computed when its tensor is there: `attention.*_bias`,
    QK-norm scales of one head's width, and `shared_router` [1, d], which weighs the shared expert.
    """
    hidden = functional.embedding(tokens, weights["embedding"]).flatten(0, 1)
    for layer in range(config.layers):
        hidden = layer_forward(
            config,
            weights,
            hidden,
            layer,
            (tokens.shape[0], tokens.shape[1]),
            linear=linear,
            grouped_linear=grouped_linear,
            observe=observe,
        )
    return head_forward(config, weights, hidden, linear=linear).view(*tokens.shape, -1)


def layer_forward(
    config: DecoderConfig,
    weights: dict[str, Tensor],
    hidden: Tensor,
    layer: int,
    shape: tuple[int, int],
    *,
    linear: Linear = plain_linear,
    grouped_linear: GroupedLinear = plain_grouped_linear,
    observe: Observe | None = None,
) -> Tensor:
    """One decoder layer: hidden states [B*T, d] before it to those after it; shape is (B, T)."""
    hidden, x = attention_half(config, weights, hidden, layer, shape, linear=linear)
    return feed_forward_half(
        config, weights, hidden, x, layer,
        linear=linear, grouped_linear=grouped_linear, observe=observe,
    )  # fmt: skip


def feed_forward_half(
    config: DecoderConfig,
    weights: dict[str, Tensor],
    hidden: Tensor,
    x: Tensor,
    layer: int,
    *,
    linear: Linear = plain_linear,
    grouped_linear: GroupedLinear = plain_grouped_linear,
    observe: Observe | None = None,
) -> Tensor:
    """Hidden states after a layer from the two that its `attention_half` returned."""
    if layer < config.dense_layers:
        return hidden + _gated(weights, f"layers.{layer}.ffn", x, linear)
    return hidden + _experts(config, weights, x, layer, grouped_linear, linear, observe)


def attention_half(
    config: DecoderConfig,
    weights: dict[str, Tensor],
    hidden: Tensor,
    layer: int,
    shape: tuple[int, int],
    *,
    linear: Linear = plain_linear,
) -> tuple[Tensor, Tensor]:
    """Hidden states [B*T, d] after a layer's attention, and the input of what follows it."""
    here = f"layers.{layer}"
    x = _norm(hidden, weights[f"{here}.attention_norm"], config)
    hidden = hidden + _attention(config, weights, x, layer, shape, linear)
    return hidden, _norm(hidden, weights[f"{here}.ffn_norm"], config)


def head_forward(
    config: DecoderConfig,
    weights: dict[str, Tensor],
    hidden: Tensor,
    *,
    linear: Linear = plain_linear,
) -> Tensor:
    """Logits [N, V] from the hidden states [N, d] after the last layer."""
    x = _norm(hidden, weights["final_norm"], config)
    head = weights["embedding" if config.tie_embeddings else "lm_head"]
    return linear("lm_head", x, head)


def _norm(x: Tensor, scale: Tensor, config: DecoderConfig) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],), scale, config.rms_norm_eps)


def _gated(weights: dict[str, Tensor], prefix: str, x: Tensor, linear: Linear) -> Tensor:
    gate = linear(f"{prefix}.gate", x, weights[f"{prefix}.gate"])
    up = linear(f"{prefix}.up", x, weights[f"{prefix}.up"])
    return linear(f"{prefix}.down", functional.silu(gate) * up, weights[f"{prefix}.down"])


def _attention(
    config: DecoderConfig,
    weights: dict[str, Tensor],
    x: Tensor,
    layer: int,
    shape: tuple[int, int],
    linear: Linear,
) -> Tensor:
    here = f"layers.{layer}.attention"
    project = _latent_heads if config.latent is not None else _plain_heads
    query, key, value = project(config, weights, here, x, shape, linear)
    scale = query.shape[-1] ** -0.5
    if config.yarn is not None and config.yarn.mscale_all_dim:
        scale *= config.yarn.amplitude(config.yarn.mscale_all_dim) ** 2
    mixed = functional.scaled_dot_product_attention(
        query.to(value.dtype),
        key.to(value.dtype),
        value,
        is_causal=True,
        scale=scale,
        enable_gqa=config.kv_heads != config.heads,
    )
    flat = mixed.transpose(1, 2).reshape(shape[0] * shape[1], -1)
    return _projection(weights, f"{here}.output", flat, linear)


def _plain_heads(
    config: DecoderConfig,
    weights: dict[str, Tensor],
    here: str,
    x: Tensor,
    shape: tuple[int, int],
    linear: Linear,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys, values [B, heads, T, head_dim], rotated."""
    query, key, value = (
        _projection(weights, f"{here}.{part}", x, linear) for part in ("query", "key", "value")
    )
    if config.qk_norm:
        query = _norm_groups(query, weights[f"{here}.query_norm"], config)
        key = _norm_groups(key, weights[f"{here}.key_norm"], config)
    heads = [t.view(*shape, -1, config.head_dim).transpose(1, 2) for t in (query, key, value)]
    turn = _rotation(shape[1], config.head_dim, config.rope_theta, config.yarn, x.device)
    return _rotate(heads[0], *turn), _rotate(heads[1], *turn), heads[2]


def _latent_heads(
    config: DecoderConfig,
    weights: dict[str, Tensor],
    here: str,
    x: Tensor,
    shape: tuple[int, int],
    linear: Linear,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same out of the latent; values are narrower than queries and keys."""
    latent = config.latent
    assert latent is not None

    def narrow(part: str, y: Tensor) -> Tensor:
        # The published code leaves these two norms at 1e-6, whatever rms_norm_eps is.
        return functional.rms_norm(y, y.shape[-1:], weights[f"{here}.{part}_norm"], 1e-6)

    if latent.query_rank:
        low = narrow("query_a", _projection(weights, f"{here}.query_a", x, linear))
        query = _projection(weights, f"{here}.query_b", low, linear)
    else:
        query = _projection(weights, f"{here}.query", x, linear)
    low, turned = _projection(weights, f"{here}.key_value_a", x, linear).split(
        (latent.rank, latent.rope), dim=-1
    )
    both = _projection(weights, f"{here}.key_value_b", narrow("key_value_a", low), linear)
    both = both.view(*shape, config.heads, -1).transpose(1, 2)
    key, value = both.split((latent.nope, latent.value), dim=-1)
    still, moving = (
        query.view(*shape, config.heads, -1)
        .transpose(1, 2)
        .split((latent.nope, latent.rope), dim=-1)
    )
    turn = _rotation(shape[1], latent.rope, config.rope_theta, config.yarn, x.device)
    turned = turned.view(*shape, 1, -1).transpose(1, 2)
    moving, turned = (_rotate(_halves(part), *turn) for part in (moving, turned))
    key = torch.cat((key, turned.to(key.dtype).expand(-1, config.heads, -1, -1)), dim=-1)
    return torch.cat((still, moving.to(still.dtype)), dim=-1), key, value


def _halves(x: Tensor) -> Tensor:
    """Columns rotated in neighbouring pairs, reordered for `_rotate`, which pairs halves."""
    return x.unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)


def _projection(weights: dict[str, Tensor], name: str, x: Tensor, linear: Linear) -> Tensor:
    y = linear(name, x, weights[name])
    bias = weights.get(f"{name}_bias")
    return y if bias is None else y + bias


def _norm_groups(x: Tensor, scale: Tensor, config: DecoderConfig) -> Tensor:
    """RMS norm over each group of columns as wide as the scale: the whole row, or one head."""
    if len(scale) == x.shape[-1]:
        return _norm(x, scale, config)
    return _norm(x.unflatten(-1, (-1, len(scale))), scale, config).flatten(-2)


@lru_cache(maxsize=16)
def _rotation(
    length: int, width: int, theta: float, yarn: Yarn | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    frequency = theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    amplitude = 1.0
    if yarn is not None:
        frequency = frequency * _stretch(width, theta, yarn)
        amplitude = yarn.amplitude(yarn.mscale) / yarn.amplitude(yarn.mscale_all_dim)
    angle = torch.outer(torch.arange(length, dtype=torch.float64), frequency).repeat(1, 2)
    cosine, sine = amplitude * angle.cos(), amplitude * angle.sin()
    return cosine.float().to(device), sine.float().to(device)


def _stretch(width: int, theta: float, yarn: Yarn) -> Tensor:
    """Factor of each frequency: 1 for fast rotations, 1 / factor for slow ones, a ramp between."""

    def column(turns: float) -> float:
        """Which rotation makes so many turns in the original context."""
        slowness = yarn.original_max_position_embeddings / (2 * math.pi * turns)
        return width * math.log(slowness) / (2 * math.log(theta))

    low = max(math.floor(column(yarn.beta_fast)), 0)
    high = min(math.ceil(column(yarn.beta_slow)), width - 1)
    position = torch.arange(width // 2, dtype=torch.float64)
    ramp = ((position - low) / (max(high - low, 0) or 1e-3)).clamp(0, 1)
    return ramp / yarn.factor + 1 - ramp


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=-1)
    result = x * cosine
    half = left.shape[-1]
    result[..., :half].addcmul_(right, sine[..., :half], value=-1)
    result[..., half:].addcmul_(left, sine[..., half:])
    return result


def _experts(
    config: DecoderConfig,
    weights: dict[str, Tensor],
    x: Tensor,
    layer: int,
    grouped_linear: GroupedLinear,
    linear: Linear,
    observe: Observe | None,
) -> Tensor:
    here = f"layers.{layer}"
    indices, chosen = route(config, weights, x, layer, linear=linear, observe=observe)
    expert = indices.flatten()
    order = by_expert(expert)
    inverse = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=x.device))
    counts = torch.bincount(expert, minlength=config.routed_experts)
    rows = Dispatch.apply(x, order // config.experts_per_token, inverse)

    def product(part: str, rows: Tensor) -> Tensor:
        name = f"{here}.experts.{part}"
        return grouped_linear(name, rows, weights[name], counts)

    down = product("down", functional.silu(product("gate", rows)) * product("up", rows))
    routed = Combine.apply(down, chosen.to(down.dtype), inverse, order)
    if not config.shared_experts:
        return routed
    return routed + shared_forward(weights, x, layer, linear=linear)


def route(
    config: DecoderConfig,
    weights: dict[str, Tensor],
    x: Tensor,
    layer: int,
    *,
    linear: Linear = plain_linear,
    observe: Observe | None = None,
) -> tuple[Tensor, Tensor]:
    """Which experts each row of x [N, d] goes to and with which weight, both [N, k]."""
    name = f"layers.{layer}.router"
    scores = linear(name, x, weights[name])
    # In half precision close probabilities would tie: routing is at least float32.
    probabilities = scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    chosen, indices = top(probabilities, config.experts_per_token)
    if config.renormalise_top_k:
        chosen = chosen / chosen.sum(dim=-1, keepdim=True)
    chosen = chosen * config.routed_scaling
    if observe is not None:
        observe(layer, probabilities, indices, chosen)
    return indices, chosen


def shared_forward(
    weights: dict[str, Tensor], x: Tensor, layer: int, *, linear: Linear = plain_linear
) -> Tensor:
    """What the shared experts of a layer add to each row of x [N, d]."""
    here = f"layers.{layer}"
    shared = _gated(weights, f"{here}.shared", x, linear)
    if (weighting := weights.get(f"{here}.shared_router")) is not None:
        shared = shared * linear(f"{here}.shared_router", x, weighting).sigmoid()
    return shared
