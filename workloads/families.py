"""How each model family stores its weights, and the decoder shape that its config.json gives.

The tensors of a Hugging Face checkpoint map one to one to the flat dictionary of `workloads.moe`,
except that a layer's experts, stored one by one, are stacked there. Sources: the published
checkpoints' indices and the modelling code of each family (transformers; for `deepseek` the code
that the DeepSeekMoE-16B repository ships).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workloads.architecture import MoEArchitecture
from workloads.decoder_config import DecoderConfig, LatentAttention, Yarn, weight_shapes

PARTS = ("gate", "up", "down")


@dataclass(frozen=True)
class FamilyConfig(DecoderConfig):
    """A decoder's shape with what only some families have."""

    family: str = ""
    qkv_bias: bool = False
    attention_output_bias: bool = False
    qk_norm_per_head: bool = False  # one scale of head_dim for all heads, as in Qwen3
    shared_intermediate_size: int = 0  # all shared experts fused into one
    shared_expert_gate: bool = False  # a sigmoid of the token weighs the shared expert, as in Qwen2


@dataclass(frozen=True)
class _Names:
    """Where a family keeps its experts, and the defaults of its configuration class."""

    block: str = "mlp"
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"
    shared: str = ""
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1e4


FAMILIES = {
    "olmoe": _Names(rms_norm_eps=1e-5),
    "deepseek": _Names(shared="shared_experts"),
    "deepseek_v2": _Names(shared="shared_experts"),
    "qwen2_moe": _Names(shared="shared_expert"),
    "qwen3_moe": _Names(),
    "mixtral": _Names(
        "block_sparse_moe", gate="w1", up="w3", down="w2", rms_norm_eps=1e-5, rope_theta=1e6
    ),
}
_LAYER = {
    "attention_norm": "input_layernorm.weight",
    "ffn_norm": "post_attention_layernorm.weight",
    "attention.query": "self_attn.q_proj.weight",
    "attention.key": "self_attn.k_proj.weight",
    "attention.value": "self_attn.v_proj.weight",
    "attention.output": "self_attn.o_proj.weight",
    "attention.query_bias": "self_attn.q_proj.bias",
    "attention.key_bias": "self_attn.k_proj.bias",
    "attention.value_bias": "self_attn.v_proj.bias",
    "attention.output_bias": "self_attn.o_proj.bias",
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
}
_YARN = ("factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "mscale",
         "mscale_all_dim")  # fmt: skip
_ROPE = ("rope_type", "type", "rope_theta", *_YARN)
_ENDS = {
    "embedding": "model.embed_tokens.weight",
    "lm_head": "lm_head.weight",
    "final_norm": "model.norm.weight",
}


def stored_names(family: str, name: str, experts: int) -> tuple[str, ...]:
    """Names in the checkpoint of one tensor of `workloads.moe`: `experts` for stacked experts."""
    if name in _ENDS:
        return (_ENDS[name],)
    _, layer, rest = name.split(".", 2)
    here = f"model.layers.{layer}"
    if rest in _LAYER:
        return (f"{here}.{_LAYER[rest]}",)
    names = FAMILIES[family]
    if rest == "router":
        return (f"{here}.{names.block}.gate.weight",)
    kind, part = rest.split(".")
    if kind == "shared":
        return (f"{here}.{names.block}.{names.shared}.{getattr(names, part)}.weight",)
    return tuple(
        f"{here}.{names.block}.experts.{expert}.{getattr(names, part)}.weight"
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
    query, key = config.heads * config.head_dim, config.kv_heads * config.head_dim
    hidden, width = config.hidden_size, config.shared_intermediate_size
    for layer in range(config.layers):
        here = f"layers.{layer}"
        if config.qk_norm_per_head:
            shapes[f"{here}.attention.query_norm"] = (config.head_dim,)
            shapes[f"{here}.attention.key_norm"] = (config.head_dim,)
        if config.qkv_bias:
            for part, size in (("query", query), ("key", key), ("value", key)):
                shapes[f"{here}.attention.{part}_bias"] = (size,)
        if config.attention_output_bias:
            shapes[f"{here}.attention.output_bias"] = (hidden,)
        if layer in config.moe_layers and config.shared_experts:
            shapes[f"{here}.shared.gate"] = shapes[f"{here}.shared.up"] = (width, hidden)
            shapes[f"{here}.shared.down"] = (hidden, width)
        if layer in config.moe_layers and config.shared_expert_gate:
            shapes[f"{here}.shared_router"] = (1, hidden)
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
    _refuse(a, config, where)
    defaults = FAMILIES[a.family]
    rope = _rope(config, where)
    theta = rope.get("rope_theta", config.get("rope_theta", defaults.rope_theta))
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
        rope_theta=_positive(theta, "rope_theta", where),
        rms_norm_eps=_positive(
            config.get("rms_norm_eps", defaults.rms_norm_eps), "rms_norm_eps", where
        ),
        tie_embeddings=a.tie_embeddings,
        family=a.family,
        qkv_bias=a.qkv_bias,
        attention_output_bias=a.attention_output_bias,
        qk_norm_per_head=a.qk_norm == "per_head",
        shared_intermediate_size=a.shared_intermediate_size,
        shared_expert_gate=a.shared_expert_gate,
        routed_scaling=_positive(
            config.get("routed_scaling_factor", 1.0), "routed_scaling_factor", where
        ),
        latent=LatentAttention(
            a.kv_lora_rank, a.qk_nope_head_dim, a.qk_rope_head_dim, a.value_head_dim, a.q_lora_rank
        )
        if a.kv_lora_rank
        else None,
        yarn=_yarn(config, where),
    )


def _rope(config: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """How positions are rotated: `rope_scaling`, or `rope_parameters` since transformers 5."""
    for key in ("rope_scaling", "rope_parameters"):
        rope = config.get(key) or {}
        if not isinstance(rope, Mapping):
            raise ValueError(f"{where}: key {key!r} is {rope!r}, expected an object or null")
        for part, value in rope.items():
            if part not in _ROPE and value is not None:
                raise ValueError(f"{where}: key '{key}.{part}' is {value!r}, supported is null")
        if rope:
            return rope
    return {}


def _yarn(config: Mapping[str, Any], where: str) -> Yarn | None:
    rope = _rope(config, where)
    if rope.get("rope_type", rope.get("type")) != "yarn":
        return None
    # With one of them alone, transformers and the published code compute different amplitudes.
    if (rope.get("mscale") is None) != (rope.get("mscale_all_dim") is None):
        raise ValueError(f"{where}: keys 'rope_scaling.mscale' and 'mscale_all_dim' go together")
    given = {
        key: _positive(rope.get(key), f"rope_scaling.{key}", where)
        for key in _YARN
        if key in _YARN[:2] or rope.get(key) is not None
    }
    return Yarn(**given)


def _positive(value: Any, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"{where}: key {key!r} is {value!r}, expected a positive number")
    return float(value)


def _refuse(a: MoEArchitecture, config: Mapping[str, Any], where: str) -> None:
    """Refuse what would be computed differently, rather than compute something else."""
    if a.moe_layer_indices != tuple(range(a.dense_layers, a.layers)):
        kinds = ("moe_layer_freq", "mlp_only_layers", "decoder_sparse_step")
        keys = ", ".join(repr(key) for key in kinds if config.get(key))
        raise ValueError(
            f"{where}: dense layers must come first, before all layers with experts (see {keys})"
        )
    if (width := a.qk_rope_head_dim or a.head_dim) % 2:
        raise ValueError(f"{where}: {width} columns of a head cannot be rotated in pairs")
    if a.hidden_size % 4 or a.expert_intermediate_size % 4:  # see plain_grouped_linear
        raise ValueError(
            f"{where}: experts are {a.hidden_size} by {a.expert_intermediate_size}; only multiples "
            "of 4 are computed"
        )
    rope = _rope(config, where)
    rotations = ("default", "yarn") if a.kv_lora_rank else ("default",)
    windowed = config.get("use_sliding_window", a.family == "mixtral")
    accepted: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "hidden_act": (config.get("hidden_act", "silu"), ("silu",)),
        "rope_scaling.type": (rope.get("rope_type", rope.get("type", "default")), rotations),
        "attention_bias": (a.kv_lora_rank > 0 and a.qkv_bias, (False,)),
        "clip_qkv": (config.get("clip_qkv"), (None,)),
        "sliding_window": (config.get("sliding_window") if windowed else None, (None,)),
        "scoring_func": (config.get("scoring_func", "softmax"), ("softmax",)),
        "topk_method": (config.get("topk_method", "greedy"), ("greedy",)),
        "partial_rotary_factor": (config.get("partial_rotary_factor"), (None, 1.0)),
        "original_max_position_embeddings": (
            config.get("original_max_position_embeddings"),
            (None, rope.get("original_max_position_embeddings")),
        ),
    }
    if a.family == "deepseek_v2":
        # With it the published code leaves the scaling out; transformers does not know it.
        accepted["norm_topk_prob"] = (config.get("norm_topk_prob"), (None, False))
    else:
        accepted["routed_scaling_factor"] = (config.get("routed_scaling_factor", 1.0), (1.0,))
    for key, (value, choices) in accepted.items():
        if value not in choices:
            known = " or ".join("null" if choice is None else repr(choice) for choice in choices)
            raise ValueError(f"{where}: key {key!r} is {value!r}, supported is {known}")
