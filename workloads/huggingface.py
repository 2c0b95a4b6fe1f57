"""Reading a Hugging Face config.json into fields of an architecture, one small reader a family.

Every field is taken from the key that the family's reference implementation reads; a key that
the reference implementation gives a default may be missing, any other one may not.
"""

import json
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any


class Keys:
    """Typed access to a config's keys; every error is one line that names key and file."""

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self.config, self.where = config, where

    def integer(self, key: str, default: int | None = None, minimum: int = 1) -> int:
        value = self.config.get(key)
        if value is None:
            if default is None:
                family = self.config.get("model_type")
                raise ValueError(f"{self.where}: key {key!r} is missing (model_type {family!r})")
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ValueError(
                f"{self.where}: key {key!r} is {value!r}, expected an integer >= {minimum}"
            )
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.config.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ValueError(f"{self.where}: key {key!r} is {value!r}, expected true or false")
        return value

    def layers(self, key: str, count: int) -> tuple[int, ...]:
        """A list of layer numbers below `count`; empty when the key is missing."""
        value = self.config.get(key) or []
        good = isinstance(value, list) and all(
            isinstance(layer, int) and 0 <= layer < count for layer in value
        )
        if not good:
            raise ValueError(
                f"{self.where}: key {key!r} is {value!r}, expected layer numbers below {count}"
            )
        return tuple(value)

    def kinds(self, key: str, count: int) -> list[str] | None:
        """A list of `count` words, one a layer; None when the key is missing."""
        value = self.config.get(key)
        if value is None:
            return None
        good = isinstance(value, list) and all(isinstance(kind, str) for kind in value)
        if not good or len(value) != count:
            raise ValueError(
                f"{self.where}: key {key!r} must list one kind for each of {count} layers"
            )
        return value


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; ValueError with one line when there is none."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError(
            f"{path} is not a JSON file; expected a Hugging Face config.json"
        ) from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no JSON object; expected a Hugging Face config.json")
    return config


def read_family(
    config: Mapping[str, Any], where: str, accepted: Collection[str], use: str = ""
) -> str:
    """The family of a config.json, its `model_type`.

    Args:
        config: the parsed JSON object.
        where: the file, for messages.
        accepted: families that will do.
        use: what for, behind "is not supported".

    Raises:
        ValueError: there is none, or it is not one of those accepted.
    """
    names = ", ".join(accepted)
    if "model_type" not in config:
        raise ValueError(f"{where}: key 'model_type' is missing; accepted families: {names}")
    family = config["model_type"]
    if not isinstance(family, str) or family not in accepted:
        near = get_close_matches(str(family), accepted, n=1)
        hint = f"nearest {near[0]!r}; " if near else ""
        raise ValueError(
            f"{where}: model_type {family!r} is not supported{use} ({hint}accepted: {names})"
        )
    return family


def read_fields(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of `workloads.architecture.MoEArchitecture` that a config.json fixes, by name.

    Raises:
        ValueError: unknown `model_type`, a missing key, a value that cannot be; one line that
            begins with `where`, the file.
    """
    family, keys = read_family(config, where, READERS), Keys(config, where)
    fields = {"family": family, **_common(keys), **READERS[family](keys)}
    _check(fields, where)
    return fields


def _common(keys: Keys) -> dict[str, Any]:
    """Fields that every family names alike."""
    layers, heads = keys.integer("num_hidden_layers"), keys.integer("num_attention_heads")
    hidden = keys.integer("hidden_size")
    return {
        "layers": layers,
        "hidden_size": hidden,
        "vocab_size": keys.integer("vocab_size"),
        "heads": heads,
        "kv_heads": keys.integer("num_key_value_heads", default=heads),
        "head_dim": keys.integer("head_dim", default=hidden // heads),
        "moe_layer_indices": tuple(range(layers)),
        "attention_layer_indices": tuple(range(layers)),
        "tie_embeddings": keys.flag("tie_word_embeddings"),
        "experts_per_token": keys.integer("num_experts_per_tok"),
        "renormalise_top_k": keys.flag("norm_topk_prob"),
    }


def _check(fields: Mapping[str, Any], where: str) -> None:
    """Refuse numbers that contradict one another."""
    chosen, experts = fields["experts_per_token"], fields["routed_experts"]
    heads, kv_heads = fields["heads"], fields["kv_heads"]
    if chosen > experts:
        raise ValueError(f"{where}: {chosen} experts per token of only {experts} experts")
    if heads % kv_heads:
        raise ValueError(f"{where}: {heads} heads cannot share {kv_heads} key-value heads")
    if not fields["moe_layer_indices"]:
        raise ValueError(f"{where}: no layer has routed experts")
    if fields["head_dim"] < 1:
        raise ValueError(f"{where}: hidden_size {fields['hidden_size']} is less than {heads} heads")


def _olmoe(keys: Keys) -> dict[str, Any]:
    bias = keys.flag("attention_bias")
    return {
        "routed_experts": keys.integer("num_experts"),
        "expert_intermediate_size": keys.integer("intermediate_size"),
        "qk_norm": "full",
        "qkv_bias": bias,
        "attention_output_bias": bias,
    }


def _deepseek(keys: Keys) -> dict[str, Any]:
    layers, width = keys.integer("num_hidden_layers"), keys.integer("moe_intermediate_size")
    first = keys.integer("first_k_dense_replace", default=0, minimum=0)
    every = keys.integer("moe_layer_freq", default=1)
    moe = tuple(layer for layer in range(layers) if layer >= first and layer % every == 0)
    dense = len(moe) < layers
    shared = keys.integer("n_shared_experts", default=0, minimum=0)
    bias = keys.flag("attention_bias")
    return {
        "moe_layer_indices": moe,
        "routed_experts": keys.integer("n_routed_experts"),
        "expert_intermediate_size": width,
        "dense_intermediate_size": keys.integer("intermediate_size") if dense else 0,
        "shared_experts": shared,
        "shared_intermediate_size": shared * width,
        "qkv_bias": bias,
        "attention_output_bias": bias,
    }


def _deepseek_latent(keys: Keys) -> dict[str, Any]:
    nope, rope = keys.integer("qk_nope_head_dim"), keys.integer("qk_rope_head_dim")
    heads = keys.integer("num_attention_heads")
    return {
        **_deepseek(keys),
        "kv_heads": heads,  # every head decompresses its own keys and values from the latent
        "head_dim": nope + rope,
        "q_lora_rank": keys.integer("q_lora_rank", default=0, minimum=0),
        "kv_lora_rank": keys.integer("kv_lora_rank"),
        "qk_nope_head_dim": nope,
        "qk_rope_head_dim": rope,
        "value_head_dim": keys.integer("v_head_dim"),
    }


def _deepseek_v3(keys: Keys) -> dict[str, Any]:
    # The router's correction bias (noaux_tc); multi-token-prediction layers are not counted,
    # as in the published 671 B.
    return {
        **_deepseek_latent(keys),
        "router_bias": keys.config.get("topk_method", "noaux_tc") == "noaux_tc",
        "renormalise_top_k": keys.flag("norm_topk_prob", default=True),
    }


def _mixtral(keys: Keys) -> dict[str, Any]:
    return {
        "routed_experts": keys.integer("num_local_experts"),
        "expert_intermediate_size": keys.integer("intermediate_size"),
        "renormalise_top_k": True,
    }


def _qwen_moe_layers(keys: Keys) -> dict[str, Any]:
    layers = keys.integer("num_hidden_layers")
    step = keys.integer("decoder_sparse_step", default=1)
    dense_only = set(keys.layers("mlp_only_layers", layers))
    moe = tuple(
        layer for layer in range(layers) if layer not in dense_only and (layer + 1) % step == 0
    )
    # transformers 5 writes the experts of Qwen3-MoE under Mixtral's key.
    mixtral_s = keys.config.get("num_experts") is None and "num_local_experts" in keys.config
    return {
        "moe_layer_indices": moe,
        "routed_experts": keys.integer("num_local_experts" if mixtral_s else "num_experts"),
        "expert_intermediate_size": keys.integer("moe_intermediate_size"),
        "dense_intermediate_size": keys.integer("intermediate_size") if len(moe) < layers else 0,
    }


def _qwen2(keys: Keys) -> dict[str, Any]:
    return {
        **_qwen_moe_layers(keys),
        "shared_experts": 1,
        "shared_intermediate_size": keys.integer("shared_expert_intermediate_size"),
        "shared_expert_gate": True,
        "qkv_bias": keys.flag("qkv_bias", default=True),
    }


def _qwen3(keys: Keys) -> dict[str, Any]:
    bias = keys.flag("attention_bias")
    return {
        **_qwen_moe_layers(keys),
        "head_dim": keys.integer("head_dim", default=128),
        "qk_norm": "per_head",
        "qkv_bias": bias,
        "attention_output_bias": bias,
    }


def _gpt_oss(keys: Keys) -> dict[str, Any]:
    layers = keys.integer("num_hidden_layers")
    kinds = keys.kinds("layer_types", layers)
    if kinds is None:  # the reference implementation's default: every other layer, from the first
        kinds = ["sliding_attention", "full_attention"] * layers
    window = keys.integer("sliding_window", default=0, minimum=0)
    sliding = tuple(layer for layer in range(layers) if kinds[layer] == "sliding_attention")
    bias = keys.flag("attention_bias", default=True)
    return {
        "head_dim": keys.integer("head_dim", default=64),
        "routed_experts": keys.integer("num_local_experts"),
        "expert_intermediate_size": keys.integer("intermediate_size"),
        "renormalise_top_k": True,
        "qkv_bias": bias,
        "attention_output_bias": bias,
        "expert_bias": True,
        "router_bias": True,
        "attention_sinks": True,
        "sliding_window": window,
        "sliding_layer_indices": sliding if window else (),
    }


def _granite(keys: Keys) -> dict[str, Any]:
    bias = keys.flag("attention_bias")
    shared = keys.integer("shared_intermediate_size", default=0, minimum=0)
    return {
        "routed_experts": keys.integer("num_local_experts"),
        "expert_intermediate_size": keys.integer("intermediate_size"),
        "shared_experts": 1 if shared else 0,
        "shared_intermediate_size": shared,
        "renormalise_top_k": True,
        "qkv_bias": bias,
        "attention_output_bias": bias,
    }


def _phi(keys: Keys) -> dict[str, Any]:
    bias = keys.flag("attention_bias")
    return {
        "routed_experts": keys.integer("num_local_experts"),
        "expert_intermediate_size": keys.integer("intermediate_size"),
        "qkv_bias": bias,
        "attention_output_bias": bias,
        "lm_head_bias": keys.flag("lm_head_bias"),
        "norm_bias": True,  # LayerNorm
    }


def _jamba(keys: Keys) -> dict[str, Any]:
    layers, hidden = keys.integer("num_hidden_layers"), keys.integer("hidden_size")
    period = keys.integer("expert_layer_period", default=2)
    offset = keys.integer("expert_layer_offset", default=1, minimum=0)
    attention_period = keys.integer("attn_layer_period", default=8)
    attention_offset = keys.integer("attn_layer_offset", default=4, minimum=0)
    width = keys.integer("intermediate_size")
    rank = keys.config.get("mamba_dt_rank", "auto")
    return {
        "moe_layer_indices": tuple(i for i in range(layers) if i % period == offset % period),
        "attention_layer_indices": tuple(
            i for i in range(layers) if i % attention_period == attention_offset % attention_period
        ),
        "routed_experts": keys.integer("num_experts"),
        "expert_intermediate_size": width,
        "dense_intermediate_size": width,
        "mamba_state_size": keys.integer("mamba_d_state", default=16),
        "mamba_conv_width": keys.integer("mamba_d_conv", default=4),
        "mamba_expand": keys.integer("mamba_expand", default=2),
        "mamba_dt_rank": -(-hidden // 16) if rank == "auto" else keys.integer("mamba_dt_rank"),
    }


READERS: dict[str, Callable[[Keys], dict[str, Any]]] = {
    "olmoe": _olmoe,
    "deepseek": _deepseek,
    "deepseek_v2": _deepseek_latent,
    "deepseek_v3": _deepseek_v3,
    "mixtral": _mixtral,
    "qwen2_moe": _qwen2,
    "qwen3_moe": _qwen3,
    "gpt_oss": _gpt_oss,
    "granitemoe": _granite,
    "granitemoeshared": _granite,
    "phimoe": _phi,
    "jamba": _jamba,
}
