"""The shape of a mixture-of-experts decoder, and of every tensor that it reads."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Yarn:
    """Rotations for a longer context than trained on (arXiv 2309.00071), by config.json's keys."""

    factor: float
    original_max_position_embeddings: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float = 1.0
    mscale_all_dim: float = 0.0

    def amplitude(self, scale: float) -> float:
        """0.1 * scale * ln(factor) + 1, by which attention sharpens with the context."""
        return 0.1 * scale * math.log(self.factor) + 1 if self.factor > 1 else 1.0


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
    yarn: Yarn | None = None

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
