"""Fields of an architecture from a config.json, one small reader a family.

Every field is taken from the key that the family's reference implementation reads: transformers,
or for `deepseek`, `bailing_moe` and `minimax_m1` the code that their published checkpoints ship.
"""

from collections.abc import Callable
from typing import Any

from workloads import recurrent
from workloads.config_keys import MOST_EXPERTS, MOST_LAYERS, Keys
from workloads.family_defaults import DBRX_ATTENTION, DBRX_FFN

_LINEAR, _FULL = "linear_attention", "full_attention"


def _base(keys: Keys) -> dict[str, Any]:
    """Fields that every family names alike, those of experts left out."""
    layers = keys.integer("num_hidden_layers", maximum=MOST_LAYERS)
    heads, hidden = keys.integer("num_attention_heads"), keys.integer("hidden_size")
    return {
        "layers": layers,
        "hidden_size": hidden,
        "vocab_size": keys.integer("vocab_size"),
        "heads": heads,
        "kv_heads": keys.integer("num_key_value_heads", null=heads),
        "head_dim": keys.integer("head_dim", null=hidden // heads),
        "moe_layer_indices": tuple(range(layers)),
        "attention_layer_indices": tuple(range(layers)),
        "tie_embeddings": keys.flag("tie_word_embeddings"),
    }


def _common(keys: Keys, experts: str) -> dict[str, Any]:
    """Those, and the experts: how many (key `experts`) and how many a token is routed to."""
    return {
        **_base(keys),
        "routed_experts": keys.integer(experts, null=0, minimum=0, maximum=MOST_EXPERTS),
        "experts_per_token": keys.integer("num_experts_per_tok"),
    }


def _attention_bias(keys: Keys) -> dict[str, Any]:
    bias = keys.flag("attention_bias")
    return {"qkv_bias": bias, "attention_output_bias": bias}


def _windows(keys: Keys, layers: tuple[int, ...]) -> dict[str, Any]:
    """A sliding window in these layers; null or 0 is none."""
    window = keys.integer("sliding_window", null=0, minimum=0)
    return {"sliding_window": window, "sliding_layer_indices": layers if window else ()}


def _dense(keys: Keys, layers: int, moe: tuple[int, ...], width: str) -> dict[str, Any]:
    """Layers with experts, and the width of the others' feed-forward part, if there are any."""
    return {
        "moe_layer_indices": moe,
        "dense_intermediate_size": keys.integer(width) if len(moe) < layers else 0,
    }


def _olmoe(keys: Keys) -> dict[str, Any]:
    return {
        **_common(keys, "num_experts"),
        **_attention_bias(keys),
        "expert_intermediate_size": keys.integer("intermediate_size"),
        "renormalise_top_k": keys.flag("norm_topk_prob"),
        "qk_norm": "full",
    }


def _deepseek(keys: Keys) -> dict[str, Any]:
    common, width = _common(keys, "n_routed_experts"), keys.integer("moe_intermediate_size")
    first = keys.integer("first_k_dense_replace", minimum=0)
    every = keys.integer("moe_layer_freq") if "moe_layer_freq" in keys.defaults else 1
    layers = common["layers"]
    moe = tuple(layer for layer in range(layers) if layer >= first and layer % every == 0)
    shared = keys.integer("n_shared_experts", null=0, minimum=0)
    return {
        **common,
        **_attention_bias(keys),
        **_dense(keys, layers, moe, "intermediate_size"),
        "expert_intermediate_size": width,
        "shared_experts": shared,
        "shared_intermediate_size": shared * width,
        "renormalise_top_k": keys.flag("norm_topk_prob"),
    }


def _deepseek_latent(keys: Keys) -> dict[str, Any]:
    nope, rope = keys.integer("qk_nope_head_dim"), keys.integer("qk_rope_head_dim")
    return {
        **_deepseek(keys),
        "kv_heads": keys.integer("num_attention_heads"),  # all decompress their own from the latent
        "head_dim": nope + rope,
        "q_lora_rank": keys.integer("q_lora_rank", null=0, minimum=0),
        "kv_lora_rank": keys.integer("kv_lora_rank"),
        "qk_nope_head_dim": nope,
        "qk_rope_head_dim": rope,
        "value_head_dim": keys.integer("v_head_dim"),
    }


def _deepseek_v3(keys: Keys) -> dict[str, Any]:
    # The router's correction bias (noaux_tc); multi-token-prediction layers are not counted,
    # as in the published 671 B.
    return {**_deepseek_latent(keys), "router_bias": keys.get("topk_method") == "noaux_tc"}


def _glm4(keys: Keys) -> dict[str, Any]:
    return {
        **_deepseek(keys),
        "attention_output_bias": False,
        "qk_norm": "per_head" if keys.flag("use_qk_norm") else "none",
        "router_bias": True,
    }


def _mixtral(keys: Keys) -> dict[str, Any]:
    common = _common(keys, "num_local_experts")
    return {
        **common,
        **_windows(keys, common["attention_layer_indices"]),
        "expert_intermediate_size": keys.integer("intermediate_size"),
        "renormalise_top_k": True,
    }


def _minimax_layers(keys: Keys, attention: tuple[int, ...]) -> dict[str, Any]:
    mixtral = _mixtral(keys)
    return {
        **mixtral,
        **_windows(keys, attention),
        "attention_layer_indices": attention,
        "recurrent": recurrent.lightning_attention(
            mixtral["hidden_size"], mixtral["heads"], mixtral["head_dim"]
        ),
    }


def _minimax(keys: Keys) -> dict[str, Any]:
    layers = keys.integer("num_hidden_layers", maximum=MOST_LAYERS)
    kinds = keys.kinds("layer_types", layers, (_LINEAR, _FULL)) or [_FULL, _LINEAR] * layers
    return _minimax_layers(keys, tuple(i for i in range(layers) if kinds[i] == _FULL))


def _minimax_m1(keys: Keys) -> dict[str, Any]:
    """`attn_type_list` has 1 for softmax attention, 0 for lightning attention."""
    layers = keys.integer("num_hidden_layers", maximum=MOST_LAYERS)
    kinds = keys.get("attn_type_list")
    if not isinstance(kinds, list) or len(kinds) != layers or not set(kinds) <= {0, 1}:
        raise ValueError(
            f"{keys.where}: key 'attn_type_list' must list 0 or 1 for each of {layers} layers"
        )
    return _minimax_layers(keys, tuple(i for i in range(layers) if kinds[i] == 1))


def _minimax_m2(keys: Keys) -> dict[str, Any]:
    return {**_mixtral(keys), "qk_norm": "full", "router_bias": True}


def _phi(keys: Keys) -> dict[str, Any]:
    return {
        **_mixtral(keys),
        **_attention_bias(keys),
        "renormalise_top_k": False,
        "lm_head_bias": keys.flag("lm_head_bias"),
        "norm_bias": True,  # LayerNorm
    }


def _qwen_moe_layers(keys: Keys) -> dict[str, Any]:
    common = _common(keys, "num_experts")
    layers, step = common["layers"], keys.integer("decoder_sparse_step")
    dense_only = set(keys.layers("mlp_only_layers", layers) or ())
    moe = tuple(
        layer for layer in range(layers) if layer not in dense_only and (layer + 1) % step == 0
    )
    return {
        **common,
        **_dense(keys, layers, moe, "intermediate_size"),
        "expert_intermediate_size": keys.integer("moe_intermediate_size"),
        "renormalise_top_k": keys.flag("norm_topk_prob"),
    }


def _shared_of_qwen(keys: Keys) -> dict[str, Any]:
    return {
        "shared_experts": 1,
        "shared_intermediate_size": keys.integer("shared_expert_intermediate_size"),
        "shared_expert_gate": True,
    }


def _qwen2(keys: Keys) -> dict[str, Any]:
    qwen, sliding = _qwen_moe_layers(keys), "sliding_attention"
    kinds = keys.kinds("layer_types", qwen["layers"], (sliding, _FULL))
    if kinds is None:  # every other layer, from the first
        last = keys.integer("max_window_layers", minimum=0)
        kinds = [sliding if i % 2 == 0 and i < last else _FULL for i in range(qwen["layers"])]
    windowed = tuple(i for i, kind in enumerate(kinds) if kind == sliding)
    return {
        **qwen,
        **_shared_of_qwen(keys),
        **(_windows(keys, windowed) if keys.flag("use_sliding_window") else {}),
        "qkv_bias": keys.flag("qkv_bias"),
    }


def _qwen3(keys: Keys) -> dict[str, Any]:
    qwen = _qwen_moe_layers(keys)
    windowed = keys.flag("use_sliding_window")
    return {
        **qwen,
        **_attention_bias(keys),
        **(_windows(keys, qwen["attention_layer_indices"]) if windowed else {}),
        "qk_norm": "per_head",
    }


def _qwen_linear(keys: Keys) -> dict[str, Any]:
    """Qwen3-Next: gated attention in every fourth layer, linear attention in the others."""
    qwen = _qwen_moe_layers(keys)
    layers = qwen["layers"]
    kinds = keys.kinds("layer_types", layers, (_LINEAR, _FULL))
    if kinds is None:
        interval = keys.integer("full_attention_interval")
        kinds = [_LINEAR if (i + 1) % interval else _FULL for i in range(layers)]
    return {
        **qwen,
        **_attention_bias(keys),
        **_shared_of_qwen(keys),
        "attention_layer_indices": tuple(i for i in range(layers) if kinds[i] == _FULL),
        "qk_norm": "per_head",
        "query_gate": True,
        "recurrent": recurrent.gated_delta_net(
            qwen["hidden_size"],
            keys.integer("linear_num_key_heads"),
            keys.integer("linear_num_value_heads"),
            keys.integer("linear_key_head_dim"),
            keys.integer("linear_value_head_dim"),
            keys.integer("linear_conv_kernel_dim"),
        ),
    }


def _qwen3_5(keys: Keys) -> dict[str, Any]:
    """Qwen3.5-MoE has experts in every layer, and always scales their weights to sum to one."""
    return {**_qwen_linear(keys), "renormalise_top_k": True}


def _gpt_oss(keys: Keys) -> dict[str, Any]:
    common, sliding = _common(keys, "num_local_experts"), "sliding_attention"
    layers = common["layers"]
    # The reference implementation's default: every other layer, from the first.
    kinds = keys.kinds("layer_types", layers, (sliding, _FULL)) or [sliding, _FULL] * layers
    return {
        **common,
        **_attention_bias(keys),
        **_windows(keys, tuple(i for i in range(layers) if kinds[i] == sliding)),
        "expert_intermediate_size": keys.integer("intermediate_size"),
        "renormalise_top_k": True,
        "expert_bias": True,
        "router_bias": True,
        "attention_sinks": True,
    }


def _granite(keys: Keys) -> dict[str, Any]:
    return {
        **_common(keys, "num_local_experts"),
        **_attention_bias(keys),
        "expert_intermediate_size": keys.integer("intermediate_size"),
        "renormalise_top_k": True,
    }


def _granite_shared(keys: Keys) -> dict[str, Any]:
    shared = keys.integer("shared_intermediate_size", null=0, minimum=0)
    return {
        **_granite(keys),
        "shared_experts": 1 if shared else 0,
        "shared_intermediate_size": shared,
    }


def _granite_hybrid(keys: Keys) -> dict[str, Any]:
    granite = _granite_shared(keys)
    layers, hidden = granite["layers"], granite["hidden_size"]
    # transformers 5 renamed the kinds of published files.
    mixers, attention = ("mamba", _LINEAR), ("attention", _FULL)
    kinds = keys.kinds("layer_types", layers, mixers + attention) or ["mamba"] * layers
    heads = keys.integer("mamba_n_heads")
    inner = keys.integer("mamba_expand") * hidden
    head = inner // heads if keys.get("mamba_d_head") == "auto" else keys.integer("mamba_d_head")
    if head * heads != inner:
        raise ValueError(
            f"{keys.where}: {heads} Mamba heads of {head} do not make up mamba_expand * "
            f"hidden_size = {inner}"
        )
    return {
        **granite,
        "attention_layer_indices": tuple(i for i in range(layers) if kinds[i] in attention),
        "recurrent": recurrent.mamba2(
            hidden,
            heads,
            head,
            keys.integer("mamba_n_groups"),
            keys.integer("mamba_d_state"),
            keys.integer("mamba_d_conv"),
            keys.flag("mamba_conv_bias"),
            keys.flag("mamba_proj_bias"),
        ),
    }


def _jamba(keys: Keys) -> dict[str, Any]:
    common, width = _common(keys, "num_experts"), keys.integer("intermediate_size")
    layers, hidden = common["layers"], common["hidden_size"]
    period, offset = _period(keys, "expert_layer")
    attention_period, attention_offset = _period(keys, "attn_layer")
    rank = keys.get("mamba_dt_rank")
    return {
        **common,
        "moe_layer_indices": tuple(i for i in range(layers) if i % period == offset),
        "attention_layer_indices": tuple(
            i for i in range(layers) if i % attention_period == attention_offset
        ),
        "expert_intermediate_size": width,
        "dense_intermediate_size": width,
        "recurrent": recurrent.mamba(
            hidden,
            keys.integer("mamba_expand") * hidden,
            keys.integer("mamba_d_state"),
            keys.integer("mamba_d_conv"),
            -(-hidden // 16) if rank == "auto" else keys.integer("mamba_dt_rank"),
            keys.flag("mamba_conv_bias"),
            keys.flag("mamba_proj_bias"),
        ),
    }


def _period(keys: Keys, name: str) -> tuple[int, int]:
    period = keys.integer(f"{name}_period")
    return period, keys.integer(f"{name}_offset", minimum=0, maximum=period - 1)


def _llama4(keys: Keys) -> dict[str, Any]:
    common = _common(keys, "num_local_experts")
    layers, chunked = common["layers"], "chunked_attention"
    step, interval = (
        keys.integer("interleave_moe_layer_step"),
        keys.integer("no_rope_layer_interval"),
    )
    moe = keys.layers("moe_layers", layers)
    kinds = keys.kinds("layer_types", layers, (chunked, _FULL))
    if kinds is None:  # an empty list of no_rope_layers is none, as in published files
        rotated = keys.get("no_rope_layers") or [(i + 1) % interval for i in range(layers)]
        if not isinstance(rotated, list) or len(rotated) != layers:
            raise ValueError(
                f"{keys.where}: key 'no_rope_layers' must list 0 or 1 for each of {layers} layers"
            )
        kinds = [chunked if rotates else _FULL for rotates in rotated]
    chunk = keys.integer("attention_chunk_size", null=0, minimum=0)
    width = keys.integer("intermediate_size")
    return {
        **common,
        **_attention_bias(keys),
        **_dense(
            keys,
            layers,
            tuple(range(step - 1, layers, step)) if moe is None else moe,
            "intermediate_size_mlp",
        ),
        "expert_intermediate_size": width,
        "shared_experts": 1,
        "shared_intermediate_size": width,
        "sliding_window": chunk,
        "sliding_layer_indices": tuple(i for i in range(layers) if chunk and kinds[i] == chunked),
    }


def _ernie(keys: Keys) -> dict[str, Any]:
    common, width = _common(keys, "moe_num_experts"), keys.integer("moe_intermediate_size")
    layers, every = common["layers"], keys.integer("moe_layer_interval")
    first = keys.integer("moe_layer_start_index", minimum=0)
    last = keys.integer("moe_layer_end_index", null=layers - 1, minimum=-1)
    last = layers - 1 if last == -1 else last
    moe = tuple(i for i in range(layers) if first <= i <= last and (i + 1) % every == 0)
    shared = keys.integer("moe_num_shared_experts", null=0, minimum=0)
    if keys.flag("use_bias"):
        raise ValueError(f"{keys.where}: key 'use_bias' is True, supported is False")
    return {
        **common,
        **_dense(keys, layers, moe, "intermediate_size"),
        "expert_intermediate_size": width,
        "shared_experts": shared,
        "shared_intermediate_size": shared * width,
        "renormalise_top_k": True,
        "router_bias": True,
    }


def _hunyuan(keys: Keys) -> dict[str, Any]:
    """Published files write some numbers once a layer; the experts are `intermediate_size` wide."""
    width = keys.integer("intermediate_size")
    keys.uniform("num_experts")
    keys.uniform("num_experts_per_tok")
    return {
        **_common(keys, "num_experts"),
        **_attention_bias(keys),
        "expert_intermediate_size": width,
        "shared_experts": 1,
        "shared_intermediate_size": width,
        "renormalise_top_k": True,
        "qk_norm": "per_head",
    }


def _lfm2(keys: Keys) -> dict[str, Any]:
    common, conv = _common(keys, "num_experts"), "conv"
    layers, hidden = common["layers"], common["hidden_size"]
    kinds = keys.kinds("layer_types", layers, (conv, _FULL))
    if kinds is None:
        raise ValueError(f"{keys.where}: key 'layer_types' is null, expected a list of {layers}")
    dense = keys.integer("num_dense_layers", minimum=0)
    return {
        **common,
        **_dense(keys, layers, tuple(range(dense, layers)), "intermediate_size"),
        "attention_layer_indices": tuple(i for i in range(layers) if kinds[i] == _FULL),
        "expert_intermediate_size": keys.integer("moe_intermediate_size"),
        "renormalise_top_k": keys.flag("norm_topk_prob"),
        "router_bias": keys.flag("use_expert_bias"),
        "qk_norm": "per_head",
        "recurrent": recurrent.short_convolution(
            hidden, keys.integer("conv_L_cache"), keys.flag("conv_bias")
        ),
    }


def _dbrx(keys: Keys) -> dict[str, Any]:
    attention, ffn = keys.inner("attn_config", DBRX_ATTENTION), keys.inner("ffn_config", DBRX_FFN)
    base = _base(keys)
    if base["hidden_size"] % base["heads"]:
        raise ValueError(
            f"{keys.where}: d_model {base['hidden_size']} is no multiple of {base['heads']} heads"
        )
    return {
        **base,
        "kv_heads": attention.integer("kv_n_heads"),
        "routed_experts": ffn.integer("moe_num_experts", maximum=MOST_EXPERTS),
        "experts_per_token": ffn.integer("moe_top_k"),
        "expert_intermediate_size": ffn.integer("ffn_hidden_size"),
        "renormalise_top_k": ffn.get("moe_normalize_expert_weights") is not None,
    }


def _bailing(keys: Keys) -> dict[str, Any]:
    """Ling 1 and Ling 2; the second has QK-norm and a bias in its router."""
    common, width = _common(keys, "num_experts"), keys.integer("moe_intermediate_size")
    layers = common["layers"]
    moe = tuple(range(keys.integer("first_k_dense_replace", minimum=0), layers))
    shared = keys.integer("num_shared_experts", null=0, minimum=0)
    shared_width = keys.integer("moe_shared_expert_intermediate_size", null=width)
    return {
        **common,
        **_dense(keys, layers, moe, "intermediate_size"),
        "expert_intermediate_size": width,
        "shared_experts": shared,
        "shared_intermediate_size": shared * shared_width,
        "renormalise_top_k": keys.flag("norm_topk_prob"),
        "router_bias": keys.flag("moe_router_enable_expert_bias"),
        "qk_norm": "per_head" if keys.flag("use_qk_norm") else "none",
        "qkv_bias": keys.flag("use_qkv_bias"),
        "attention_output_bias": keys.flag("use_bias"),
    }


READERS: dict[str, Callable[[Keys], dict[str, Any]]] = {
    "olmoe": _olmoe,
    "flex_olmo": _olmoe,
    "deepseek": _deepseek,
    "deepseek_v2": _deepseek_latent,
    "deepseek_v3": _deepseek_v3,
    "glm4_moe": _glm4,
    "mixtral": _mixtral,
    "minimax": _minimax,
    "minimax_m1": _minimax_m1,
    "minimax_m2": _minimax_m2,
    "phimoe": _phi,
    "qwen2_moe": _qwen2,
    "qwen3_moe": _qwen3,
    "qwen3_next": _qwen_linear,
    "qwen3_5_moe_text": _qwen3_5,
    "gpt_oss": _gpt_oss,
    "granitemoe": _granite,
    "granitemoeshared": _granite_shared,
    "granitemoehybrid": _granite_hybrid,
    "jamba": _jamba,
    "llama4_text": _llama4,
    "ernie4_5_moe": _ernie,
    "hunyuan_v1_moe": _hunyuan,
    "lfm2_moe": _lfm2,
    "dbrx": _dbrx,
    "bailing_moe": _bailing,
}

SAME = {
    "kimi_k2": "deepseek_v3",
    "bailing_moe_v2": "bailing_moe",
    "minimax_text_01": "minimax_m1",
}
"""Other names that published files give to one of these architectures."""

ALIASES: dict[str, dict[str, tuple[str, ...]]] = {
    "olmoe": {"num_experts": ("num_local_experts",)},
    "flex_olmo": {"num_experts": ("num_local_experts",)},
    "deepseek_v2": {"n_routed_experts": ("num_experts",)},
    "deepseek_v3": {"n_routed_experts": ("num_local_experts",)},
    "glm4_moe": {"n_routed_experts": ("num_local_experts",)},
    "mixtral": {"num_local_experts": ("num_experts",)},
    "minimax": {"num_local_experts": ("num_experts",)},
    "minimax_m2": {"num_local_experts": ("num_experts",)},
    "qwen3_moe": {"num_experts": ("num_local_experts",)},
    "gpt_oss": {"num_local_experts": ("num_experts",)},
    "granitemoehybrid": {"layer_types": ("layers_block_type",)},
    "jamba": {"num_experts": ("num_local_experts",)},
    "ernie4_5_moe": {
        "moe_num_experts": ("num_experts",),
        "num_experts_per_tok": ("moe_k",),
    },
    "hunyuan_v1_moe": {
        "num_experts": ("num_local_experts",),
        "num_experts_per_tok": ("moe_topk",),
    },
    "lfm2_moe": {"tie_word_embeddings": ("tie_embedding",)},
    "dbrx": {
        "hidden_size": ("d_model",),
        "num_hidden_layers": ("n_layers",),
        "num_attention_heads": ("n_heads",),
    },
}
"""Other names of keys, by the name that a reader asks for."""
