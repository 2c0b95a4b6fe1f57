"""Records parameter counts and cached numbers of transformers, for test_published_configs.

Run in an environment of its own (transformers cannot be imported beside torchvision on a CPU):

    pip install torch==2.13.0 transformers==5.23.0
    python tests/workloads/reference_counts/record.py

Every model is built on the meta device from its config.json, and again without each of its keys
in turn; counts.json holds what changes then (null: transformers builds no such model, or one
without routed experts). A tiny model of each family with a recurrent state runs some tokens, and
the state in its cache is counted.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

import torch
from published import PUBLISHED
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

HERE = Path(__file__).parent
ARCHITECTURES = HERE.parents[2] / "workloads" / "architectures"
CONTEXT = 10_000
BUFFERS = ("e_score_correction_bias", "expert_bias")
STATES = ("granitemoehybrid", "jamba", "lfm2_moe", "minimax", "qwen3_next", "qwen3_5_moe_text")


def configs() -> dict[str, dict[str, Any]]:
    """The shipped architectures that transformers has, and the published ones."""
    found = {name: published.config for name, published in PUBLISHED.items()}
    for file in sorted(ARCHITECTURES.glob("*.toml")):
        config = tomllib.loads(file.read_text(encoding="utf-8"))["config"]
        if config["model_type"] in CONFIG_MAPPING:
            found[file.stem] = config
    return found


def build(config: dict[str, Any]) -> torch.nn.Module:
    family = {"kimi_k2": "deepseek_v3"}.get(config["model_type"], config["model_type"])
    given = {key: value for key, value in config.items() if key != "model_type"}
    if given.get("q_lora_rank") == 0:  # TOML has no null
        given["q_lora_rank"] = None
    if family == "dbrx":  # the default of this object lacks what the model reads
        given.setdefault("attn_config", {"rope_theta": 10000.0})
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**given))


def experts_of(config: Any) -> tuple[int, int]:
    inner = getattr(config, "ffn_config", config)
    names = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
    total = next(getattr(inner, name) for name in names if hasattr(inner, name))
    names = ("num_experts_per_tok", "moe_top_k")
    chosen = next(getattr(inner, name) for name in names if hasattr(inner, name))
    return (total[0] if isinstance(total, list) else total,
            chosen[0] if isinstance(chosen, list) else chosen)  # fmt: skip


def cached(model: torch.nn.Module) -> int:
    """Keys and values of one sequence of CONTEXT tokens, a latent as DeepSeek's code keeps it."""
    config = model.config
    window = getattr(config, "sliding_window", None) or None
    kinds = getattr(config, "layer_types", None)
    total = 0
    for number, layer in enumerate(model.model.layers if hasattr(model, "model")
                                   else model.transformer.blocks):  # fmt: skip
        kind = kinds[number] if kinds else "sliding_attention" if window else "full_attention"
        reach = CONTEXT
        if kind == "sliding_attention" and window:
            reach = min(CONTEXT, window)
        elif kind == "chunked_attention" and config.attention_chunk_size:
            reach = min(CONTEXT, config.attention_chunk_size)
        width = 0
        for name, part in layer.named_modules():
            last = name.split(".")[-1]
            if last in ("k_proj", "v_proj", "kv_a_proj_with_mqa"):
                width += part.out_features
            elif last == "Wqkv":
                width += part.out_features - part.in_features
        total += reach * width
    return total


def counts(config: dict[str, Any]) -> list[int] | None:
    """Total and active parameters and cached numbers; None for what is no mixture of experts."""
    try:
        model = build(config)
        experts, chosen = experts_of(model.config)
        assert experts > 1 and 0 < chosen <= experts
        if config["model_type"] == "dbrx":  # its forward pass fails otherwise
            assert model.config.d_model % model.config.n_heads == 0
    except Exception as error:
        print("   ", type(error).__name__, str(error)[:80])
        return None
    named = dict(model.named_parameters())
    named |= {n: b for n, b in model.named_buffers() if n.endswith(BUFFERS)}
    total = sum(tensor.numel() for tensor in named.values())
    routed = sum(t.numel() for n, t in named.items() if ".experts." in n and "shared" not in n)
    assert routed and routed % experts == 0
    return [total, total - routed // experts * (experts - chosen), cached(model)]


def state(family: str) -> dict[str, Any]:
    """Numbers in the cache of a tiny model that are no keys or values, and its config."""
    config = {
        "model_type": family, "vocab_size": 32, "hidden_size": 32, "intermediate_size": 16,
        "moe_intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "num_experts_per_tok": 2,
    }  # fmt: skip
    config |= {
        "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"],
                             "num_local_experts": 4, "mamba_n_heads": 4, "mamba_d_state": 6},
        "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 4,
                  "mamba_d_state": 6, "use_mamba_kernels": False},
        "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_experts": 4,
                     "num_dense_layers": 0},
        "minimax": {"layer_types": ["linear_attention", "full_attention"],
                    "num_local_experts": 4},
        "qwen3_next": {"layer_types": ["linear_attention", "full_attention"], "num_experts": 4,
                       "linear_num_key_heads": 2, "linear_num_value_heads": 4,
                       "linear_key_head_dim": 6, "linear_value_head_dim": 10},
    }.get(family.replace("qwen3_5_moe_text", "qwen3_next"), {})  # fmt: skip
    given = {key: value for key, value in config.items() if key != "model_type"}
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**given))
    with torch.no_grad():
        cache = model(torch.arange(1, 9)[None], use_cache=True).past_key_values
    held = [
        value
        for layer in cache.layers
        for name, value in vars(layer).items()
        if name not in ("keys", "values")
    ]
    held.append(getattr(cache, "linear_cache", []))
    tensors = [t for t in torch.utils._pytree.tree_leaves(held) if isinstance(t, torch.Tensor)]
    return {"config": config, "elements": sum(t.numel() for t in tensors if t.ndim > 1)}


def main() -> None:
    """Write counts.json."""
    recorded: dict[str, Any] = {"context": CONTEXT, "models": {}, "states": {}}
    for name, config in configs().items():
        print(name)
        base = counts(config)
        without = {}
        for key in config:
            if key != "model_type":
                rest = {other: value for other, value in config.items() if other != key}
                if (found := counts(rest)) != base:
                    without[key] = found
        recorded["models"][name] = {"all": base, "without": without}
    for family in STATES:
        recorded["states"][family] = state(family)
        print(family, recorded["states"][family]["elements"])
    text = json.dumps(recorded, indent=1)
    (HERE / "counts.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
