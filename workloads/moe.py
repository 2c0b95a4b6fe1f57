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

from workloads.decoder_config import DecoderConfig, LongRope, Yarn
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
    What only some families have is computed when its tensor is there: `*_bias`, QK-norm scales of
    one head's width, `attention.sinks`, `router_correction`, and `shared_router` [1, d], which
    weighs the shared expert.
    """
    hidden = embed(config, weights["embedding"], tokens)
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


def embed(config: DecoderConfig, table: Tensor, tokens: Tensor) -> Tensor:
    """Hidden states [B*T, d] before the first layer."""
    rows = functional.embedding(tokens, table).flatten(0, 1)
    return rows if config.embedding_multiplier == 1 else rows * config.embedding_multiplier


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
        return add(config, hidden, _gated(weights, f"layers.{layer}.ffn", x, linear))
    return add(config, hidden, _experts(config, weights, x, layer, grouped_linear, linear, observe))


def add(config: DecoderConfig, hidden: Tensor, update: Tensor) -> Tensor:
    """Hidden states and what a part of a layer adds to them."""
    scale = config.residual_multiplier
    return hidden + (update if scale == 1 else update * scale)


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
    x = _layer_norm(hidden, weights, f"{here}.attention_norm", config)
    hidden = add(config, hidden, _attention(config, weights, x, layer, shape, linear))
    return hidden, _layer_norm(hidden, weights, f"{here}.ffn_norm", config)


def head_forward(
    config: DecoderConfig,
    weights: dict[str, Tensor],
    hidden: Tensor,
    *,
    linear: Linear = plain_linear,
) -> Tensor:
    """Logits [N, V] from the hidden states [N, d] after the last layer."""
    x = _layer_norm(hidden, weights, "final_norm", config)
    logits = linear("lm_head", x, weights["embedding" if config.tie_embeddings else "lm_head"])
    if (bias := weights.get("lm_head_bias")) is not None:
        logits = logits + bias
    return logits if config.logits_divisor == 1 else logits / config.logits_divisor


def _layer_norm(x: Tensor, weights: dict[str, Tensor], name: str, config: DecoderConfig) -> Tensor:
    """RMS norm, or the layer norm of families that store a bias with it."""
    if (bias := weights.get(f"{name}_bias")) is not None:
        return functional.layer_norm(x, x.shape[-1:], weights[name], bias, config.rms_norm_eps)
    return _norm(x, weights[name], config)


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
    mixed = _attend(
        query.to(value.dtype),
        key.to(value.dtype),
        value,
        _scale(config, query.shape[-1]),
        config.window(layer),
        weights.get(f"{here}.sinks"),
    )
    flat = mixed.transpose(1, 2).reshape(shape[0] * shape[1], -1)
    return _projection(weights, f"{here}.output", flat, linear)


def _scale(config: DecoderConfig, width: int) -> float:
    """Factor of the scores of attention over heads of this width."""
    scale = config.attention_scale or width**-0.5
    if config.latent is not None and isinstance(config.yarn, Yarn) and config.yarn.mscale_all_dim:
        scale *= config.yarn.amplitude(config.yarn.mscale_all_dim) ** 2
    return scale


def _attend(
    query: Tensor, key: Tensor, value: Tensor, scale: float, window: int, sinks: Tensor | None
) -> Tensor:
    """Causal attention [B, heads, T, width]; keys and values may have fewer heads.

    window: tokens that a token sees, itself included; 0 is all before it. sinks [heads]: scores
    of a token that takes attention and gives nothing (gpt-oss).
    """
    length, shared = query.shape[2], key.shape[1] != query.shape[1]
    seen = None
    if 0 < window < length:
        place = torch.arange(length, device=query.device)
        distance = place.unsqueeze(1) - place
        seen = (distance >= 0) & (distance < window)
    if sinks is None:
        return functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=seen,
            is_causal=seen is None,
            scale=scale,
            enable_gqa=shared,
        )
    if shared:
        each = query.shape[1] // key.shape[1]
        key, value = (t.repeat_interleave(each, dim=1) for t in (key, value))
    if seen is None:
        seen = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    scores = (query @ key.transpose(2, 3) * scale).masked_fill(~seen, -math.inf)
    sink = sinks.to(scores.dtype).view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
    probabilities = torch.cat((scores, sink), dim=-1).softmax(-1)[..., :-1]
    return probabilities @ value


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
    width = config.rotary_columns or config.head_dim
    turn = _rotation(shape[1], width, config.rope_theta, config.yarn, x.device)
    return _rotate_first(heads[0], width, *turn), _rotate_first(heads[1], width, *turn), heads[2]


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
    length: int, width: int, theta: float, yarn: Yarn | LongRope | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    frequency = theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    amplitude = 1.0
    if isinstance(yarn, LongRope):
        if length > yarn.longest:
            raise ValueError(f"rows of {length} tokens; rotations are known up to {yarn.longest}")
        frequency = frequency / torch.tensor(yarn.factors, dtype=torch.float64)
        amplitude = yarn.amplitude
    elif yarn is not None:
        frequency = frequency * _stretch(width, theta, yarn)
        amplitude = yarn.attention_factor or (
            yarn.amplitude(yarn.mscale) / yarn.amplitude(yarn.mscale_all_dim)
        )
    angle = torch.outer(torch.arange(length, dtype=torch.float64), frequency).repeat(1, 2)
    cosine, sine = amplitude * angle.cos(), amplitude * angle.sin()
    return cosine.float().to(device), sine.float().to(device)


def _stretch(width: int, theta: float, yarn: Yarn) -> Tensor:
    """Factor of each frequency: 1 for fast rotations, 1 / factor for slow ones, a ramp between."""

    def column(turns: float) -> float:
        """Which rotation makes so many turns in the original context."""
        slowness = yarn.original_max_position_embeddings / (2 * math.pi * turns)
        return width * math.log(slowness) / (2 * math.log(theta))

    low, high = column(yarn.beta_fast), column(yarn.beta_slow)
    if yarn.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    position = torch.arange(width // 2, dtype=torch.float64)
    ramp = ((position - low) / (max(high - low, 0) or 1e-3)).clamp(0, 1)
    return ramp / yarn.factor + 1 - ramp


def _rotate_first(x: Tensor, width: int, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate the first columns of a head; the others stay."""
    if width == x.shape[-1]:
        return _rotate(x, cosine, sine)
    turned = _rotate(x[..., :width], cosine, sine)
    return torch.cat((turned.to(x.dtype), x[..., width:]), dim=-1)


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
        y = grouped_linear(name, rows, weights[name], counts)
        bias = weights.get(f"{name}_bias")
        return y if bias is None else y + bias.repeat_interleave(counts, dim=0)

    down = expert_outputs(config, product, rows)
    routed = Combine.apply(down, chosen.to(down.dtype), inverse, order)
    if not config.shared_experts:
        return routed
    return routed + shared_forward(weights, x, layer, linear=linear)


def expert_outputs(
    config: DecoderConfig, product: Callable[[str, Tensor], Tensor], rows: Tensor
) -> Tensor:
    """Gated experts' outputs for their rows; `product(part, rows)` multiplies by their matrices."""
    gate, up = product("gate", rows), product("up", rows)
    if config.clamp is None:
        return product("down", functional.silu(gate) * up)
    limit, alpha = config.clamp.limit, config.clamp.alpha
    gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    return product("down", (up + 1) * gate * torch.sigmoid(alpha * gate))


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
    if (bias := weights.get(f"{name}_bias")) is not None:
        scores = scores + bias
    # In half precision close probabilities would tie: routing is at least float32.
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if config.router.scoring == "sparsemixer":
        probabilities, chosen, indices = _sparsemixer(scores, config.router.jitter)
    else:
        sigmoid = config.router.scoring == "sigmoid"
        probabilities = scores.sigmoid() if sigmoid else scores.softmax(dim=-1)
        chosen, indices = _choose(config, probabilities, weights.get(f"{name}_correction"))
    if config.renormalise_top_k:
        chosen = chosen / chosen.sum(dim=-1, keepdim=True)
    chosen = chosen * config.routed_scaling
    if observe is not None:
        observe(layer, probabilities, indices, chosen)
    return indices, chosen


def _choose(
    config: DecoderConfig, probabilities: Tensor, correction: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The best experts of the best groups; a correction [E] counts in the choice alone."""
    router, ranked = config.router, probabilities
    if correction is not None:
        ranked = ranked + correction
    if router.kept_groups < router.groups:
        grouped = ranked.unflatten(-1, (router.groups, -1))
        worth = grouped.topk(router.best_of_group, dim=-1).values.sum(-1)
        kept = torch.zeros_like(worth, dtype=torch.bool)
        kept.scatter_(-1, worth.topk(router.kept_groups, dim=-1).indices, True)
        ranked = grouped.masked_fill(~kept.unsqueeze(-1), -math.inf).flatten(-2)
    if ranked is probabilities:
        return top(probabilities, config.experts_per_token)
    indices = ranked.topk(config.experts_per_token, dim=-1).indices
    return probabilities.gather(-1, indices), indices


def _sparsemixer(scores: Tensor, jitter: float) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities [N, E], and weights and numbers of the two chosen experts [N, 2]."""
    probabilities, chosen, indices = scores.softmax(dim=-1), [], []
    left = scores
    for _ in range(2):
        best, index = left.max(dim=-1, keepdim=True)
        far = (best - scores) / torch.maximum(scores.abs(), best) > 2 * jitter
        gates = left.masked_fill(far, -math.inf).softmax(dim=-1)
        chosen.append(gates.gather(-1, index))
        indices.append(index)
        left = left.scatter(-1, index, -math.inf)
    return probabilities, torch.cat(chosen, dim=-1), torch.cat(indices, dim=-1)


def shared_forward(
    weights: dict[str, Tensor], x: Tensor, layer: int, *, linear: Linear = plain_linear
) -> Tensor:
    """What the shared experts of a layer add to each row of x [N, d]."""
    here = f"layers.{layer}"
    shared = _gated(weights, f"{here}.shared", x, linear)
    if (weighting := weights.get(f"{here}.shared_router")) is not None:
        shared = shared * linear(f"{here}.shared_router", x, weighting).sigmoid()
    return shared
