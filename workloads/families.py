"""How each model family stores its weights, and the decoder shape that its config.json gives.

The tensors of a Hugging Face checkpoint map one to one to the flat dictionary of `workloads.moe`,
except that a layer's experts, stored one by one, are stacked there. Sources: the published
checkpoints' indices and the modelling code of each family (transformers; for `deepseek` the code
that the DeepSeekMoE-16B repository ships).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from workloads.architecture import MoEArchitecture
from workloads.decoder_config import DecoderConfig, LatentAttention, weight_shapes
from workloads.decoder_fields import computed_fields

PARTS = ("gate", "up", "down")


@dataclass(frozen=True)
class FamilyConfig(DecoderConfig):
    """A decoder's shape with what only some families have."""

    family: str = ""
    qkv_bias: bool = False
    attention_output_bias: bool = False
    attention_sinks: bool = False
    qk_norm_per_head: bool = False  # one scale of head_dim for all heads, as in Qwen3
    shared_intermediate_size: int = 0  # all shared experts fused into one
    shared_expert_gate: bool = False  # a sigmoid of the token weighs the shared expert, as in Qwen2
    expert_bias: bool = False
    router_bias: bool = False  # of the logits
    router_correction: bool = False  # of the choice alone
    norm_bias: bool = False
    lm_head_bias: bool = False


@dataclass(frozen=True)
class Names:
    """Where a family keeps its experts.

    Attributes:
        block: of a layer, with its experts.
        gate, up, down: an expert's matrices.
        shared: the shared experts; "" for none.
        router: the router's matrix.
        renamed: what transformers 5 writes in place of a part of these names.
        fused: how experts that are stored together lie in `gate_up_proj` [experts, ...]: gate's
            rows, then up's; or in turn, and inputs by outputs.
    """

    block: str = "mlp"
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"
    shared: str = ""
    router: str = "gate"
    renamed: tuple[tuple[str, str], ...] = ()
    fused: Literal["halves", "in_turn"] = "halves"


_MIXTRAL = Names("block_sparse_moe", gate="w1", up="w3", down="w2")
FAMILIES = {
    "olmoe": Names(),
    "deepseek": Names(shared="shared_experts"),
    "deepseek_v2": Names(shared="shared_experts"),
    "deepseek_v3": Names(shared="shared_experts"),
    "glm4_moe": Names(shared="shared_experts"),
    "qwen2_moe": Names(shared="shared_expert"),
    "qwen3_moe": Names(),
    "mixtral": replace(_MIXTRAL, renamed=((".mlp.", ".block_sparse_moe."),)),
    "phimoe": replace(
        _MIXTRAL,
        renamed=((".mlp.router.", ".block_sparse_moe.gate."), (".mlp.", ".block_sparse_moe.")),
    ),
    "granitemoe": Names(
        block="block_sparse_moe",
        router="router.layer",
        renamed=(
            (".block_sparse_moe.router.weight", ".block_sparse_moe.router.layer.weight"),
            (".block_sparse_moe.input_linear.weight", ".block_sparse_moe.experts.gate_up_proj"),
            (".block_sparse_moe.output_linear.weight", ".block_sparse_moe.experts.down_proj"),
        ),
    ),
    "gpt_oss": Names(router="router", fused="in_turn"),
}
_LAYER = {
    "attention_norm": "input_layernorm.weight",
    "attention_norm_bias": "input_layernorm.bias",
    "ffn_norm": "post_attention_layernorm.weight",
    "ffn_norm_bias": "post_attention_layernorm.bias",
    "attention.query": "self_attn.q_proj.weight",
    "attention.key": "self_attn.k_proj.weight",
    "attention.value": "self_attn.v_proj.weight",
    "attention.output": "self_attn.o_proj.weight",
    "attention.query_bias": "self_attn.q_proj.bias",
    "attention.key_bias": "self_attn.k_proj.bias",
    "attention.value_bias": "self_attn.v_proj.bias",
    "attention.output_bias": "self_attn.o_proj.bias",
    "attention.sinks": "self_attn.sinks",
    "attention.query_a": "self_attn.q_a_proj.weight",
    "attention.query_a_norm": "self_attn.q_a_layernorm.weight",
    "attention.query_b": "self_attn.q_b_proj.weight",
    "attention.key_value_a": "self_attn.kv_a_proj_with_mqa.weight",
    "attention.key_value_a_norm": "self_attn.kv_a_layernorm.weight",
    "attention.key_value_b": "self_attn.kv_b_proj.weight",
    "attention.query_norm": "self_attn.q_norm.weight",
    "attention.key_norm": "self_attn.k_norm.weight",
    "ffn.gate": "mlp.gate_proj.weight",
    "ffn.up": "mlp.up_proj.weight",
    "ffn.down": "mlp.down_proj.weight",
    "shared_router": "mlp.shared_expert_gate.weight",
    "router_correction": "mlp.gate.e_score_correction_bias",
}
_ENDS = {
    "embedding": "model.embed_tokens.weight",
    "lm_head": "lm_head.weight",
    "lm_head_bias": "lm_head.bias",
    "final_norm": "model.norm.weight",
    "final_norm_bias": "model.norm.bias",
}


def stacked(name: str) -> bool:
    """Whether a tensor of `workloads.moe` has one row, or matrix, for each expert."""
    return ".experts." in name


def stored_names(family: str, name: str, experts: int) -> tuple[str, ...]:
    """Names in the checkpoint of one tensor of `workloads.moe`: `experts` for stacked experts."""
    if name in _ENDS:
        return (_ENDS[name],)
    _, layer, rest = name.split(".", 2)
    here = f"model.layers.{layer}"
    if rest in _LAYER:
        return (f"{here}.{_LAYER[rest]}",)
    names = FAMILIES[family]
    kind = "bias" if rest.endswith("_bias") else "weight"
    rest = rest.removesuffix("_bias")
    if rest == "router":
        return (f"{here}.{names.block}.{names.router}.{kind}",)
    where, part = rest.split(".")
    if where == "shared":
        return (f"{here}.{names.block}.{names.shared}.{getattr(names, part)}.{kind}",)
    return tuple(
        f"{here}.{names.block}.experts.{expert}.{getattr(names, part)}.{kind}"
        for expert in range(experts)
    )


def expert_shapes(architecture: MoEArchitecture) -> dict[str, tuple[int, ...]]:
    """Stored name and shape of every router and routed expert matrix, [outputs, inputs]."""
    a = architecture
    wide = (a.expert_intermediate_size, a.hidden_size)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in a.moe_layer_indices:
        here = f"layers.{layer}"
        (router,) = stored_names(a.family, f"{here}.router", a.routed_experts)
        shapes[router] = (a.routed_experts, a.hidden_size)
        for part in PARTS:
            shape = wide[::-1] if part == "down" else wide
            for name in stored_names(a.family, f"{here}.experts.{part}", a.routed_experts):
                shapes[name] = shape
    return shapes


def family_weight_shapes(config: FamilyConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of `workloads.moe` for a decoder of this family."""
    shapes = weight_shapes(config)
    for layer in range(config.layers):
        shapes |= _attention_extras(config, f"layers.{layer}")
        if layer in config.moe_layers:
            shapes |= _expert_extras(config, f"layers.{layer}")
    if config.norm_bias:
        shapes["final_norm_bias"] = (config.hidden_size,)
    if config.lm_head_bias:
        shapes["lm_head_bias"] = (config.vocab_size,)
    return shapes


def _attention_extras(config: FamilyConfig, here: str) -> dict[str, tuple[int, ...]]:
    query, key = config.heads * config.head_dim, config.kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {}
    if config.qk_norm_per_head:
        shapes[f"{here}.attention.query_norm"] = (config.head_dim,)
        shapes[f"{here}.attention.key_norm"] = (config.head_dim,)
    if config.qkv_bias:
        for part, size in (("query", query), ("key", key), ("value", key)):
            shapes[f"{here}.attention.{part}_bias"] = (size,)
    if config.attention_output_bias:
        shapes[f"{here}.attention.output_bias"] = (config.hidden_size,)
    if config.attention_sinks:
        shapes[f"{here}.attention.sinks"] = (config.heads,)
    if config.norm_bias:
        shapes[f"{here}.attention_norm_bias"] = (config.hidden_size,)
        shapes[f"{here}.ffn_norm_bias"] = (config.hidden_size,)
    return shapes


def _expert_extras(config: FamilyConfig, here: str) -> dict[str, tuple[int, ...]]:
    hidden, width = config.hidden_size, config.shared_intermediate_size
    shapes: dict[str, tuple[int, ...]] = {}
    if config.shared_experts:
        shapes[f"{here}.shared.gate"] = shapes[f"{here}.shared.up"] = (width, hidden)
        shapes[f"{here}.shared.down"] = (hidden, width)
    if config.shared_expert_gate:
        shapes[f"{here}.shared_router"] = (1, hidden)
    if config.router_bias:
        shapes[f"{here}.router_bias"] = (config.routed_experts,)
    if config.router_correction:
        shapes[f"{here}.router_correction"] = (config.routed_experts,)
    if config.expert_bias:
        for part in PARTS:
            size = hidden if part == "down" else config.expert_intermediate_size
            shapes[f"{here}.experts.{part}_bias"] = (config.routed_experts, size)
    return shapes


def family_config(
    architecture: MoEArchitecture, config: Mapping[str, Any], where: str
) -> FamilyConfig:
    """The decoder that a config.json describes.

    Args:
        architecture: what `workloads.architecture.from_config` read from the same file.
        config: the parsed JSON object; `where` names the file in messages.

    Raises:
        ValueError: the model computes something that `workloads.moe` does not.
    """
    a = architecture
    corrected = a.router_bias and a.family in ("deepseek_v3", "glm4_moe")
    return FamilyConfig(
        vocab_size=a.vocab_size,
        hidden_size=a.hidden_size,
        layers=a.layers,
        heads=a.heads,
        kv_heads=a.kv_heads,
        head_dim=a.head_dim,
        dense_layers=a.dense_layers,
        dense_intermediate_size=a.dense_intermediate_size,
        routed_experts=a.routed_experts,
        experts_per_token=a.experts_per_token,
        expert_intermediate_size=a.expert_intermediate_size,
        shared_experts=a.shared_experts,
        renormalise_top_k=a.renormalise_top_k,
        qk_norm=a.qk_norm != "none",
        tie_embeddings=a.tie_embeddings,
        sliding_window=a.sliding_window,
        sliding_layers=a.sliding_layer_indices,
        family=a.family,
        qkv_bias=a.qkv_bias,
        attention_output_bias=a.attention_output_bias,
        attention_sinks=a.attention_sinks,
        qk_norm_per_head=a.qk_norm == "per_head",
        shared_intermediate_size=a.shared_intermediate_size,
        shared_expert_gate=a.shared_expert_gate,
        expert_bias=a.expert_bias,
        router_bias=a.router_bias and not corrected,
        router_correction=corrected,
        norm_bias=a.norm_bias,
        lm_head_bias=a.lm_head_bias,
        latent=LatentAttention(
            a.kv_lora_rank, a.qk_nope_head_dim, a.qk_rope_head_dim, a.value_head_dim, a.q_lora_rank
        )
        if a.kv_lora_rank
        else None,
        **computed_fields(a, config, where),
    )
