"""A miniature written out as a Hugging Face folder, in the shard format of real checkpoints."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from workloads.checkpoint import Miniature
from workloads.decoder_config import DecoderConfig
from workloads.families import stored_names


def write_checkpoint(miniature: Miniature, folder: str | Path, shard_bytes: int = 8 << 20) -> None:
    """Write config.json, tokenizer.json and float32 safetensors shards with their index.

    The folder appears complete or not at all. `shard_bytes` bounds a shard, give or take one
    tensor.

    Raises:
        ValueError: the folder exists, or no family stores such a decoder.
    """
    target = Path(folder)
    if target.exists():
        raise ValueError(f"{target} exists already; give a new folder")
    config = hugging_face_config(miniature.config)
    tensors = _stored_tensors(miniature, config["model_type"])
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        _write_json(temporary / "config.json", config)
        miniature.tokenizer.save(str(temporary / "tokenizer.json"))
        _write_shards(temporary, tensors, shard_bytes)
        temporary.chmod(0o755)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def hugging_face_config(config: DecoderConfig) -> dict[str, Any]:
    """The config.json of a decoder: an OLMoE with QK-norm, else a DeepSeekMoE.

    Raises:
        ValueError: no family combines what the decoder has.
    """
    common = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "num_experts_per_tok": config.experts_per_token,
        "norm_topk_prob": config.renormalise_top_k,
        "hidden_act": "silu",
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tie_embeddings,
        "torch_dtype": "float32",
    }
    if not config.qk_norm:
        return {
            "model_type": "deepseek",
            **common,
            "intermediate_size": config.dense_intermediate_size,
            "moe_intermediate_size": config.expert_intermediate_size,
            "n_routed_experts": config.routed_experts,
            "n_shared_experts": config.shared_experts,
            "first_k_dense_replace": config.dense_layers,
            "moe_layer_freq": 1,
            "scoring_func": "softmax",
        }
    if config.dense_layers or config.shared_experts:
        raise ValueError("no family has QK-norm together with dense layers or shared experts")
    return {
        "model_type": "olmoe",
        **common,
        "intermediate_size": config.expert_intermediate_size,
        "num_experts": config.routed_experts,
    }


def _stored_tensors(miniature: Miniature, family: str) -> dict[str, Tensor]:
    """Every tensor under its stored name, stacked experts one by one."""
    experts = miniature.config.routed_experts
    return {
        name: part.contiguous()
        for key, weight in miniature.weights.items()
        for name, part in zip(
            stored_names(family, key, experts),
            weight if weight.ndim == 3 else (weight,),
            strict=True,
        )
    }


def _write_shards(folder: Path, tensors: Mapping[str, Tensor], shard_bytes: int) -> None:
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor.clone()  # safetensors refuses tensors that share memory
        size += tensor.nbytes
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(folder / "model.safetensors.index.json", index)


def _write_json(file: Path, document: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
