"""The shape of a mixture-of-experts decoder, and of every tensor that it reads."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Yarn:
    """Rotations for a longer context than trained on (arXiv 2309.00071), by config.json's keys."""

    factor: float
    original_max_position_embeddings: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float = 1.0
    mscale_all_dim: float = 0.0
    truncate: bool = True  # whether the ramp begins and ends at whole columns
    attention_factor: float = 0.0  # 0: from the other numbers

    def amplitude(self, scale: float) -> float:
        """0.1 * scale * ln(factor) + 1, by which attention sharpens with the context."""
        return 0.1 * scale * math.log(self.factor) + 1 if self.factor > 1 else 1.0


@dataclass(frozen=True)
class LongRope:
    """Rotations slowed down column by column, for texts no longer than trained on (2402.13753)."""

    factors: tuple[float, ...]
    amplitude: float
    longest: int


@dataclass(frozen=True)
class Router:
    """How experts are chosen, beyond the softmax of OLMoE.

    Attributes:
        scoring: sparsemixer is Phi-3.5's (arXiv 2409.12136, at inference): the second expert's
            weight is taken without the first.
        groups: of experts; only those of `kept_groups` can be chosen (DeepSeek-V2, -V3).
        best_of_group: a group is as good as the sum of so many of its experts.
        jitter: of sparsemixer; experts whose score is further from the best have no say.
    """

    scoring: Literal["softmax", "sigmoid", "sparsemixer"] = "softmax"
    groups: int = 1
    kept_groups: int = 1
    best_of_group: int = 1
    jitter: float = 0.01


@dataclass(frozen=True)
class ClampedSwiGlu:
    """The gate of gpt-oss: (up + 1) * gate * sigmoid(alpha * gate), both clamped to the limit."""

    limit: float
    alpha: float = 1.702


@dataclass(frozen=True)
class LatentAttention:
    """Keys and values through a low-rank latent (DeepSeek-V2, arXiv 2405.04434, section 2.1).

    A head's queries and keys are `nope` columns without and `rope` columns with rotation; the
    rotated key is one for all heads. query_rank 0: queries are not compressed.
    """

    rank: int
    nope: int
    rope: int
    value: int
    query_rank: int = 0


@dataclass(frozen=True)
class DecoderConfig:
    """The shape of a decoder; the names follow Hugging Face's config.json, spelled out."""

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    dense_layers: int  # the first layers whose feed-forward part is dense
    dense_intermediate_size: int
    routed_experts: int
    experts_per_token: int
    expert_intermediate_size: int
    shared_experts: int
    renormalise_top_k: bool  # whether the k chosen routing weights are scaled to sum to one
    qk_norm: bool  # RMS norm over the whole query and key projection, as in OLMoE
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-5
    tie_embeddings: bool = False
    routed_scaling: float = 1.0  # of the routing weights
    latent: LatentAttention | None = None
    yarn: Yarn | LongRope | None = None
    router: Router = Router()
    clamp: ClampedSwiGlu | None = None
    sliding_window: int = 0
    sliding_layers: tuple[int, ...] = ()
    rotary_columns: int = 0  # the first ones of a head; 0 is all of them
    embedding_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    logits_divisor: float = 1.0
    attention_scale: float = 0.0  # 0 is one over the root of a head's width

    def window(self, layer: int) -> int:
        """Tokens that a layer's attention sees; 0 is all."""
        return self.sliding_window if layer in self.sliding_layers else 0

    @property
    def moe_layers(self) -> range:
        """Indices of the layers that have routed experts."""
        return range(self.dense_layers, self.layers)


def weight_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that `forward` reads; matrices are [outputs, inputs]."""
    hidden, width = config.hidden_size, config.expert_intermediate_size
    shapes: dict[str, tuple[int, ...]] = {"embedding": (config.vocab_size, hidden)}
    if not config.tie_embeddings:
        shapes["lm_head"] = (config.vocab_size, hidden)
    shapes["final_norm"] = (hidden,)
    for layer in range(config.layers):
        here = f"layers.{layer}"
        shapes[f"{here}.attention_norm"] = (hidden,)
        shapes[f"{here}.ffn_norm"] = (hidden,)
        shapes |= _attention_shapes(config, f"{here}.attention")
        if layer < config.dense_layers:
            shapes |= _gated_shapes(f"{here}.ffn", config.dense_intermediate_size, hidden)
            continue
        shapes[f"{here}.router"] = (config.routed_experts, hidden)
        for name, shape in _gated_shapes(f"{here}.experts", width, hidden).items():
            shapes[name] = (config.routed_experts, *shape)
        if config.shared_experts:
            shapes |= _gated_shapes(f"{here}.shared", config.shared_experts * width, hidden)
    return shapes


def _attention_shapes(config: DecoderConfig, here: str) -> dict[str, tuple[int, ...]]:
    hidden, latent = config.hidden_size, config.latent
    query, key = config.heads * config.head_dim, config.kv_heads * config.head_dim
    if latent is None:
        shapes: dict[str, tuple[int, ...]] = {
            f"{here}.query": (query, hidden),
            f"{here}.key": (key, hidden),
            f"{here}.value": (key, hidden),
            f"{here}.output": (hidden, query),
        }
        if config.qk_norm:
            shapes |= {f"{here}.query_norm": (query,), f"{here}.key_norm": (key,)}
        return shapes
    shapes = {f"{here}.query": (query, hidden)}
    if latent.query_rank:
        shapes = {
            f"{here}.query_a": (latent.query_rank, hidden),
            f"{here}.query_a_norm": (latent.query_rank,),
            f"{here}.query_b": (query, latent.query_rank),
        }
    return shapes | {
        f"{here}.key_value_a": (latent.rank + latent.rope, hidden),
        f"{here}.key_value_a_norm": (latent.rank,),
        f"{here}.key_value_b": (config.heads * (latent.nope + latent.value), latent.rank),
        f"{here}.output": (hidden, config.heads * latent.value),
    }


def _gated_shapes(prefix: str, width: int, hidden: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{prefix}.gate": (width, hidden),
        f"{prefix}.up": (width, hidden),
        f"{prefix}.down": (hidden, width),
    }
