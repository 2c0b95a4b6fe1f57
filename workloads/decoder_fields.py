"""What a config.json says of a decoder beyond its shape: rotations, routing, activation, scales.

Defaults are those of each family's configuration class in transformers 5.23.0 (`deepseek`: of the
published one). What `workloads.moe` would compute differently is refused.
"""

from collections.abc import Mapping
from typing import Any

from workloads.architecture import MoEArchitecture
from workloads.decoder_config import ClampedSwiGlu, LongRope, Router, Yarn

_YARN = (
    "factor",
    "original_max_position_embeddings",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
)
_LONG = ("short_factor", "long_factor", "short_mscale", "long_mscale")
_ROPE = (
    "rope_type",
    "type",
    "rope_theta",
    "attention_factor",
    "truncate",
    "partial_rotary_factor",
    *_YARN,
)
_GPT_OSS_ROPE = {
    "rope_type": "yarn",
    "factor": 32.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}
_EPSILON = {"olmoe": 1e-5, "mixtral": 1e-5, "phimoe": 1e-5, "gpt_oss": 1e-5, "glm4_moe": 1e-5}
_THETA = {"mixtral": 1e6, "phimoe": 1e6, "gpt_oss": 150_000.0}
_SCALING = {"deepseek_v3": 2.5}
_GROUPS = {"deepseek_v3": (8, 4)}
_ROTARY = {"glm4_moe": 0.5}
_SCORING = {"deepseek_v3": "sigmoid", "glm4_moe": "sigmoid"}


def computed_fields(a: MoEArchitecture, config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Fields of `workloads.decoder_config.DecoderConfig` by name.

    Raises:
        ValueError: the model computes something that `workloads.moe` does not; one line.
    """
    _refuse(a, config, where)
    rope = _rope(a.family, config, where)
    family = a.family
    theta = rope.get("rope_theta", config.get("rope_theta", _THETA.get(family, 1e4)))
    said = {
        "rms_norm_eps": _EPSILON.get(family, 1e-6),
        "routed_scaling_factor": _SCALING.get(family, 1.0),
    }
    numbers = {key: _positive(config.get(key, value), key, where) for key, value in said.items()}
    scales: dict[str, float] = {}
    if family == "granitemoe":
        scales = {
            name: _positive(config.get(key, 1.0), key, where)
            for name, key in (
                ("embedding_multiplier", "embedding_multiplier"),
                ("residual_multiplier", "residual_multiplier"),
                ("attention_scale", "attention_multiplier"),
                ("logits_divisor", "logits_scaling"),
            )
        }
    return {
        "rope_theta": _positive(theta, "rope_theta", where),
        "rms_norm_eps": numbers["rms_norm_eps"],
        "routed_scaling": numbers["routed_scaling_factor"],
        "yarn": _stretched(a, rope, config, where),
        "rotary_columns": _rotary_columns(a, rope, config, where),
        "router": _router(a, config, where),
        "clamp": _clamp(config, where) if family == "gpt_oss" else None,
        **scales,
    }


def _clamp(config: Mapping[str, Any], where: str) -> ClampedSwiGlu:
    given = {"swiglu_limit": 7.0, "swiglu_alpha": 1.702}
    read = {key: _positive(config.get(key, value), key, where) for key, value in given.items()}
    return ClampedSwiGlu(read["swiglu_limit"], read["swiglu_alpha"])


def _router(a: MoEArchitecture, config: Mapping[str, Any], where: str) -> Router:
    """Scores and groups; a model without groups has them null or one."""
    if a.family == "phimoe":
        if a.experts_per_token != 2:
            raise ValueError(
                f"{where}: key 'num_experts_per_tok' is {a.experts_per_token}, supported is 2"
            )
        jitter = config.get("router_jitter_noise", 0.01)
        return Router("sparsemixer", jitter=_positive(jitter, "router_jitter_noise", where))
    sigmoid = _SCORING.get(a.family) == "sigmoid"
    if not sigmoid and config.get("topk_method", "greedy") != "group_limited_greedy":
        return Router()
    names = ("n_group", "topk_group")
    default = _GROUPS.get(a.family, (1, 1))
    groups, kept = (
        int(_positive(config.get(key, value) or 1, key, where))
        for key, value in zip(names, default, strict=True)
    )
    each = a.routed_experts // groups
    if a.routed_experts % groups or kept > groups or kept * each < a.experts_per_token:
        raise ValueError(
            f"{where}: {kept} of {groups} groups of {a.routed_experts} experts cannot hold the "
            f"{a.experts_per_token} of a token (see 'n_group', 'topk_group')"
        )
    if sigmoid and each < 2 and kept < groups:
        raise ValueError(f"{where}: key 'n_group' is {groups}: a group needs two experts")
    return Router("sigmoid" if sigmoid else "softmax", groups, kept, 2 if sigmoid else 1)


def _rope(family: str, config: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """How positions are rotated: `rope_scaling`, or `rope_parameters` since transformers 5."""
    for key in ("rope_scaling", "rope_parameters"):
        rope = config.get(key) or {}
        if not isinstance(rope, Mapping):
            raise ValueError(f"{where}: key {key!r} is {rope!r}, expected an object or null")
        known = _ROPE + _LONG if family == "phimoe" else _ROPE
        for part, value in rope.items():
            if part not in known and value is not None:
                raise ValueError(f"{where}: key '{key}.{part}' is {value!r}, supported is null")
        if rope:
            return rope
    return _GPT_OSS_ROPE if family == "gpt_oss" else {}


def _stretched(
    a: MoEArchitecture, rope: Mapping[str, Any], config: Mapping[str, Any], where: str
) -> Yarn | LongRope | None:
    kind = rope.get("rope_type", rope.get("type"))
    if kind == "longrope":
        return _long_rope(a, rope, config, where)
    if kind != "yarn":
        return None
    # With one of them alone, transformers and the published code compute different amplitudes.
    if (rope.get("mscale") is None) != (rope.get("mscale_all_dim") is None):
        raise ValueError(f"{where}: keys 'rope_scaling.mscale' and 'mscale_all_dim' go together")
    given = {
        key: _positive(rope.get(key), f"rope_scaling.{key}", where)
        for key in _YARN
        if key in _YARN[:2] or rope.get(key) is not None
    }
    truncate = rope.get("truncate", True)
    if not isinstance(truncate, bool):
        raise ValueError(f"{where}: key 'rope_scaling.truncate' is {truncate!r}, expected a flag")
    factor = rope.get("attention_factor")
    if factor is not None:
        given["attention_factor"] = _positive(factor, "rope_scaling.attention_factor", where)
    return Yarn(**given, truncate=truncate)


def _long_rope(
    a: MoEArchitecture, rope: Mapping[str, Any], config: Mapping[str, Any], where: str
) -> LongRope:
    key = "original_max_position_embeddings"
    longest = rope.get(key, config.get(key))
    factors = rope.get("short_factor")
    if not isinstance(factors, list) or len(factors) != a.head_dim // 2:
        raise ValueError(
            f"{where}: key 'rope_scaling.short_factor' must list {a.head_dim // 2} numbers"
        )
    return LongRope(
        tuple(_positive(one, "rope_scaling.short_factor", where) for one in factors),
        _positive(rope.get("short_mscale"), "rope_scaling.short_mscale", where),
        int(_positive(longest, f"rope_scaling.{key}", where)),
    )


def _rotary_columns(
    a: MoEArchitecture, rope: Mapping[str, Any], config: Mapping[str, Any], where: str
) -> int:
    """Columns of a head that are rotated, 0 for all; transformers 5 says so with the rotations."""
    key = "partial_rotary_factor"
    given = rope.get(key, config.get(key))
    share = _positive(_ROTARY.get(a.family, 1.0) if given is None else given, key, where)
    if share == 1:
        return 0
    if a.family not in _ROTARY:
        raise ValueError(f"{where}: key {key!r} is {given!r}, supported is null or 1.0")
    columns = int(a.head_dim * share)
    if columns % 2 or not 0 < columns <= a.head_dim:
        raise ValueError(f"{where}: {columns} columns of a head cannot be rotated in pairs")
    return columns


def _positive(value: Any, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
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
    for key, (value, choices) in _accepted(a, config, where).items():
        if value not in choices:
            known = " or ".join("null" if choice is None else repr(choice) for choice in choices)
            raise ValueError(f"{where}: key {key!r} is {value!r}, supported is {known}")


def _accepted(
    a: MoEArchitecture, config: Mapping[str, Any], where: str
) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """By key: the value of a config.json, and those that are computed."""
    rope = _rope(a.family, config, where)
    scoring = _SCORING.get(a.family, "softmax")
    methods = {"deepseek_v2": ("greedy", "group_limited_greedy"), "deepseek_v3": ("noaux_tc",)}
    method = methods.get(a.family, ("noaux_tc", "greedy") if scoring == "sigmoid" else ("greedy",))
    latent = a.kv_lora_rank > 0
    other = {"phimoe": ("default", "longrope"), "deepseek": ("default",)}
    rotations = other.get(a.family, ("default", "yarn"))
    accepted: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "hidden_act": (config.get("hidden_act", "silu"), ("silu", "swish")),
        "rope_scaling.type": (rope.get("rope_type", rope.get("type", "default")), rotations),
        "attention_bias": (latent and a.qkv_bias, (False,)),
        "clip_qkv": (config.get("clip_qkv"), (None,)),
        "scoring_func": (config.get("scoring_func", scoring), (scoring,)),
        "topk_method": (config.get("topk_method", method[0]), method),
        "rope_interleave": (config.get("rope_interleave", latent), (latent,)),
    }
    if a.family != "phimoe":
        accepted["original_max_position_embeddings"] = (
            config.get("original_max_position_embeddings"),
            (None, rope.get("original_max_position_embeddings")),
        )
    if a.family == "deepseek_v2":
        # With it the published code leaves the scaling out; transformers does not know it.
        accepted["norm_topk_prob"] = (config.get("norm_topk_prob"), (None, False))
    elif scoring != "sigmoid":
        accepted["routed_scaling_factor"] = (config.get("routed_scaling_factor", 1.0), (1.0,))
    return accepted
