"""A small random DeepSeekMoE checkpoint, its tensors named as in the published index."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

DEEPSEEK = {
    "model_type": "deepseek",
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "moe_intermediate_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_shared_experts": 2,
    "n_routed_experts": 6,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
    "norm_topk_prob": False,
    "scoring_func": "softmax",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "tie_word_embeddings": False,
}

EXPERT = "model.layers.1.mlp.experts.3.up_proj.weight"


def deepseek_tensors(config: dict[str, object] = DEEPSEEK, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors under the names of deepseek-ai/deepseek-moe-16b-base."""
    size = {key: value for key, value in config.items() if isinstance(value, int)}
    hidden, width = size["hidden_size"], size["moe_intermediate_size"]
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return 0.3 * torch.randn(shape, generator=generator)

    def mlp(prefix: str, inner: int) -> dict[str, Tensor]:
        return {
            f"{prefix}.gate_proj.weight": random(inner, hidden),
            f"{prefix}.up_proj.weight": random(inner, hidden),
            f"{prefix}.down_proj.weight": random(hidden, inner),
        }

    tensors = {
        "model.embed_tokens.weight": random(size["vocab_size"], hidden),
        "model.norm.weight": 1 + random(hidden),
        "lm_head.weight": random(size["vocab_size"], hidden),
    }
    for layer in range(size["num_hidden_layers"]):
        here = f"model.layers.{layer}"
        for part in "qkvo":
            tensors[f"{here}.self_attn.{part}_proj.weight"] = random(hidden, hidden)
        tensors[f"{here}.input_layernorm.weight"] = 1 + random(hidden)
        tensors[f"{here}.post_attention_layernorm.weight"] = 1 + random(hidden)
        if layer < size["first_k_dense_replace"]:
            tensors |= mlp(f"{here}.mlp", size["intermediate_size"])
            continue
        tensors[f"{here}.mlp.gate.weight"] = random(size["n_routed_experts"], hidden)
        tensors |= mlp(f"{here}.mlp.shared_experts", size["n_shared_experts"] * width)
        for expert in range(size["n_routed_experts"]):
            tensors |= mlp(f"{here}.mlp.experts.{expert}", width)
    return tensors


def write_folder(
    folder: Path, config: dict[str, object], tensors: dict[str, Tensor], shards: int = 2
) -> Path:
    """Write config.json and the tensors, dealt to `shards` shards in turn, with their index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    weight_map = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(tensors.items())[number::shards])
        save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder
