"""Hugging Face folders in the shard format of real checkpoints: a miniature, or random weights."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from workloads.architecture import parse_config
from workloads.checkpoint import Miniature
from workloads.decoder_config import DecoderConfig
from workloads.families import family_config, family_weight_shapes, stacked, stored_names
from workloads.miniature.corpus import TOKENIZER_FILE

_POOL = 1 << 24


def write_checkpoint(miniature: Miniature, folder: str | Path, shard_bytes: int = 8 << 20) -> None:
    """Write config.json, tokenizer.json and float32 safetensors shards with their index.

    The folder appears complete or not at all. `shard_bytes` bounds a shard, give or take one
    tensor.

    Raises:
        ValueError: the folder exists, or no family stores such a decoder.
    """
    config = hugging_face_config(miniature.config)
    tensors = _stored_tensors(miniature, config["model_type"])
    with _complete_or_not(Path(folder)) as temporary:
        _write_json(temporary / "config.json", config)
        miniature.tokenizer.save(str(temporary / "tokenizer.json"))
        _write_shards(temporary, tensors.items(), shard_bytes)


def write_random(config: Mapping[str, Any], folder: str | Path, shard_bytes: int = 1 << 30) -> None:
    """Write a checkpoint of random bfloat16 weights for a config.json, with our own tokenizer.

    Its numbers mean nothing; format and size are real. Matrices are normal with the standard
    deviation 0.02 of an untrained model, cut out of one random pool at different places; norms
    are 1. The rest as in `write_checkpoint`; one shard at a time is in memory.
    """
    architecture = parse_config(config, where="config.json", name="", title="")
    decoder = family_config(architecture, config, "config.json")
    generator = torch.Generator().manual_seed(0)
    pool = torch.empty(_POOL).normal_(0, 0.02, generator=generator).bfloat16()

    def tensors() -> Iterator[tuple[str, Tensor]]:
        for name, shape in family_weight_shapes(decoder).items():
            one = torch.Size(shape[1:] if stacked(name) else shape)
            for stored in stored_names(decoder.family, name, decoder.routed_experts):
                yield stored, _random(one, pool, generator)

    with _complete_or_not(Path(folder)) as temporary:
        _write_json(temporary / "config.json", {**config, "torch_dtype": "bfloat16"})
        (temporary / "tokenizer.json").write_bytes(TOKENIZER_FILE.read_bytes())
        _write_shards(temporary, tensors(), shard_bytes)


def _random(shape: torch.Size, pool: Tensor, generator: torch.Generator) -> Tensor:
    if len(shape) == 1:
        return torch.ones(shape, dtype=pool.dtype)
    count = shape.numel()
    if count >= len(pool):
        pool = pool.repeat(2 + count // len(pool))
    start = int(torch.randint(len(pool) - count, (), generator=generator))
    return pool[start : start + count].view(shape)


@contextmanager
def _complete_or_not(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes `target` when all has been written."""
    if target.exists():
        raise ValueError(f"{target} exists already; give a new folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        yield temporary
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
            weight if stacked(key) else (weight,),
            strict=True,
        )
    }


def _write_shards(folder: Path, tensors: Iterable[tuple[str, Tensor]], shard_bytes: int) -> None:
    """Write shards one after the other; their names say how many there are, so last of all."""
    held: dict[str, Tensor] = {}
    members: list[list[str]] = []
    size = total = 0

    def write() -> None:
        nonlocal size
        save_file(held, folder / str(len(members)), metadata={"format": "pt"})
        members.append(list(held))
        held.clear()
        size = 0

    for name, tensor in tensors:
        if held and size + tensor.nbytes > shard_bytes:
            write()
        held[name] = tensor.clone()  # safetensors refuses tensors that share memory
        size, total = size + tensor.nbytes, total + tensor.nbytes
    write()
    weight_map: dict[str, str] = {}
    for number, names in enumerate(members):
        file = f"model-{number + 1:05}-of-{len(members):05}.safetensors"
        (folder / str(number)).rename(folder / file)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(folder / "model.safetensors.index.json", index)


def _write_json(file: Path, document: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
