"""Checkpoint folders against transformers' recorded logits and a decoder written by hand."""

import dataclasses
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_fixture import DEEPSEEK, EXPERT, deepseek_tensors, write_folder
from safetensors.torch import load_file, save_file
from torch import Tensor

from workloads import moe
from workloads.architecture import parse_config
from workloads.checkpoint import load_miniature, miniature_names
from workloads.checkpoint_export import hugging_face_config, write_checkpoint
from workloads.checkpoint_folder import (
    decoder_config,
    forward,
    load_checkpoint,
    load_tokenizer,
    open_checkpoint,
    read_weights,
)
from workloads.families import family_config, family_weight_shapes

RECORDED = Path(__file__).parent / "reference_logits"
FAMILIES = (
    "olmoe",
    "qwen2_moe",
    "qwen3_moe",
    "qwen3_moe_yarn",
    "mixtral",
    "mixtral_fused",
    "mixtral_window",
    "deepseek_v2",
    "deepseek_v2_lite",
    "deepseek_v2_grouped",
    "deepseek_v3",
    "deepseek_v3_fused",
    "glm4_moe",
    "gpt_oss",
    "granitemoe",
    "phimoe",
    "phimoe_fused",
)


def naive_deepseek(w: dict[str, np.ndarray], tokens: np.ndarray) -> np.ndarray:
    """Logits [T, V] of one sequence in float64, one head, token and expert at a time.

    Written from the DeepSeekMoE paper (arXiv 2401.06066, equations 3 to 9) and the LLaMA
    attention that it builds on.
    """

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * w[f"{name}.weight"]

    def mlp(x: np.ndarray, name: str) -> np.ndarray:
        gate = w[f"{name}.gate_proj.weight"] @ x
        inner = gate / (1 + np.exp(-gate)) * (w[f"{name}.up_proj.weight"] @ x)
        return w[f"{name}.down_proj.weight"] @ inner

    def softmax(x: np.ndarray) -> np.ndarray:
        e = np.exp(x - x.max())
        return e / e.sum()

    def turn(x: np.ndarray, position: int) -> np.ndarray:
        half = len(x) // 2
        angle = position * 10000.0 ** (-np.arange(half) / half)
        z = (x[:half] + 1j * x[half:]) * np.exp(1j * angle)
        return np.concatenate((z.real, z.imag))

    heads, size = 4, 4
    h = w["model.embed_tokens.weight"][tokens]
    for layer in range(3):
        here = f"model.layers.{layer}"
        x = norm(h, f"{here}.input_layernorm")
        q, k, v = (x @ w[f"{here}.self_attn.{p}_proj.weight"].T for p in "qkv")
        mixed = np.zeros_like(h)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for t in range(len(tokens)):
                query = turn(q[t, part], t)
                scores = [query @ turn(k[s, part], s) / np.sqrt(size) for s in range(t + 1)]
                mixed[t, part] = softmax(np.array(scores)) @ v[: t + 1, part]
        h = h + mixed @ w[f"{here}.self_attn.o_proj.weight"].T
        x = norm(h, f"{here}.post_attention_layernorm")
        for t in range(len(tokens)):
            if layer == 0:
                h[t] += mlp(x[t], f"{here}.mlp")
                continue
            affinity = softmax(w[f"{here}.mlp.gate.weight"] @ x[t])
            for expert in np.argsort(-affinity)[:3]:
                h[t] += affinity[expert] * mlp(x[t], f"{here}.mlp.experts.{expert}")
            h[t] += mlp(x[t], f"{here}.mlp.shared_experts")
    return norm(h, "model.norm") @ w["lm_head.weight"].T


def test_deepseek_logits_equal_a_decoder_written_by_hand(deepseek: Path) -> None:
    tokens = torch.randint(0, 40, (2, 9), generator=torch.Generator().manual_seed(1))
    logits = forward(open_checkpoint(deepseek), tokens, batch=1)
    exact = {name: tensor.double().numpy() for name, tensor in deepseek_tensors().items()}
    for row, sequence in zip(logits, tokens, strict=True):
        np.testing.assert_allclose(row, naive_deepseek(exact, sequence.numpy()), atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_those_that_transformers_computes(family: str) -> None:
    recorded = load_file(RECORDED / family / "logits.safetensors")
    logits = forward(open_checkpoint(RECORDED / family), recorded["tokens"])
    assert float(recorded["logits"].std()) > 1
    torch.testing.assert_close(logits, recorded["logits"], atol=1e-4, rtol=0)


def test_deepseek_v2_lite_reads_as_published(tmp_path: Path) -> None:
    """The published config.json is older than transformers' way of writing rotations."""
    folder = shutil.copytree(RECORDED / "deepseek_v2_lite", tmp_path / "lite")
    config = json.loads((folder / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"], kind = rope.pop("rope_theta"), rope.pop("rope_type")
    config["rope_scaling"] = rope | {"type": kind}
    config |= {"scoring_func": "softmax", "moe_layer_freq": 1, "n_group": 1, "seq_aux": True}
    del config["head_dim"]
    (folder / "config.json").write_text(json.dumps(config))
    recorded = load_file(folder / "logits.safetensors")
    (folder / "logits.safetensors").unlink()
    logits = forward(open_checkpoint(folder), recorded["tokens"])
    torch.testing.assert_close(logits, recorded["logits"], atol=1e-4, rtol=0)
    config["rope_scaling"]["factor"] = "big"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"'rope_scaling.factor' is 'big', expected a positive"):
        forward(open_checkpoint(folder), recorded["tokens"])


@pytest.mark.parametrize("family", FAMILIES)
def test_rotations_stand_in_their_own_object_first(family: str, tmp_path: Path) -> None:
    """As transformers reads a config.json that says them twice."""
    folder = shutil.copytree(RECORDED / family, tmp_path / family)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_theta": 77.0}))
    recorded = load_file(folder / "logits.safetensors")
    logits = forward(open_checkpoint(folder), recorded["tokens"])
    torch.testing.assert_close(logits, recorded["logits"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("olmoe", {"routed_scaling_factor": 2.5}, "'routed_scaling_factor' is 2.5, supported is 1"),
        ("olmoe", {"rope_scaling": {"full_attention": {}}}, "'rope_scaling.full_attention' is {}"),
        ("olmoe", {"intermediate_size": 6}, "experts are 16 by 6; only multiples of 4 are"),
        ("qwen2_moe", {"mlp_only_layers": [1]}, "come first, .* .see 'mlp_only_layers'"),
        ("qwen3_moe", {"partial_rotary_factor": 0.5}, "'partial_rotary_factor' is 0.5"),
        ("deepseek_v2", {"norm_topk_prob": True}, "'norm_topk_prob' is True, supported is null or"),
        ("deepseek_v2_lite", {"original_max_position_embeddings": 8}, "is 8, supported is null or"),
        ("deepseek_v2_lite", {"rope_parameters": {"attention_factor": 0}}, "attention_factor' is "),
        ("deepseek_v2_lite", {"rope_parameters": {"truncate": 1}}, "truncate' is 1, expected a fl"),
        ("deepseek_v3", {"scoring_func": "softmax"}, "'scoring_func' is 'softmax', supported is "),
        ("deepseek_v3", {"rope_interleave": False}, "'rope_interleave' is False, supported is T"),
        ("deepseek_v3", {"n_group": 4}, "2 of 4 groups of 6 experts cannot hold the 3 of a token"),
        ("deepseek_v3", {"topk_group": 1}, "1 of 3 groups of 6 experts cannot hold the 3 of a tok"),
        ("phimoe", {"num_experts_per_tok": 3}, "'num_experts_per_tok' is 3, supported is 2"),
        ("phimoe", {"rope_parameters": {"short_factor": [1.0]}}, "must list 2 numbers"),
        (
            "glm4_moe",
            {"rope_parameters": {"partial_rotary_factor": 0.4}},
            "3 columns of a head can",
        ),
        ("deepseek_v2_lite", {"rope_parameters": {"mscale": None}}, "'mscale_all_dim' go together"),
        ("deepseek_v2_lite", {"rope_parameters": {"mscale": 0}}, "mscale' is 0, expected a positi"),
    ],
)
def test_fields_that_would_change_the_logits_are_refused(
    family: str, change: dict[str, Any], message: str
) -> None:
    """Each of them made logits differ from transformers' (or has no single meaning)."""
    file = str(RECORDED / family / "config.json")
    config = json.loads(Path(file).read_text())
    for key, value in change.items():
        config[key] = {**config[key], **value} if key == "rope_parameters" else value
    architecture = parse_config(config, where=file, name="", title="", source="")
    with pytest.raises(ValueError, match=f"^{file}: .*{message}"):
        family_config(architecture, config, file)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_keeps_the_logits_to_its_precision(family: str) -> None:
    recorded = load_file(RECORDED / family / "logits.safetensors")
    logits = forward(open_checkpoint(RECORDED / family), recorded["tokens"], dtype=torch.bfloat16)
    assert logits.dtype == torch.bfloat16
    error = (logits.float() - recorded["logits"]).square().mean().sqrt()
    # Of groups of experts that are close, half precision may take another one.
    grouped = 0.1 if decoder_config(open_checkpoint(RECORDED / family)).router.groups > 1 else 0.05
    assert float(error / recorded["logits"].std()) < grouped


def published_dialect(config: dict[str, Any]) -> dict[str, Any]:
    """A config.json as files from before transformers 5 are written."""
    rope = dict(config.pop("rope_parameters"))
    kind = rope.pop("rope_type")
    config["rope_theta"] = rope.pop("rope_theta")
    if (share := rope.pop("partial_rotary_factor", None)) is not None:
        config["partial_rotary_factor"] = share
    if kind == "longrope":
        key = "original_max_position_embeddings"
        config[key] = rope.pop(key)
    config["rope_scaling"] = None if kind == "default" else rope | {"type": kind}
    if (experts := config.pop("num_local_experts", None)) is not None:
        plain = config["model_type"] in ("qwen3_moe", "qwen2_moe")
        config["num_experts" if plain else "num_local_experts"] = experts
    return config | {"sliding_window": config.get("sliding_window"), "hidden_act": "swish"}


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "deepseek_v2_lite"])
def test_published_files_read_as_those_of_transformers_5(family: str, tmp_path: Path) -> None:
    folder = shutil.copytree(RECORDED / family, tmp_path / family)
    recorded = load_file(folder / "logits.safetensors")
    config = published_dialect(json.loads((folder / "config.json").read_text()))
    (folder / "config.json").write_text(json.dumps(config))
    logits = forward(open_checkpoint(folder), recorded["tokens"])
    torch.testing.assert_close(logits, recorded["logits"], atol=1e-4, rtol=0)


def test_a_window_longer_than_the_text_changes_nothing(tmp_path: Path) -> None:
    folder = shutil.copytree(RECORDED / "mixtral", tmp_path / "mixtral")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sliding_window": 12}))
    recorded = load_file(folder / "logits.safetensors")
    logits = forward(open_checkpoint(folder), recorded["tokens"])
    torch.testing.assert_close(logits, recorded["logits"], atol=1e-4, rtol=0)
    (folder / "config.json").write_text(json.dumps(config | {"sliding_window": 11}))
    shorter = forward(open_checkpoint(folder), recorded["tokens"])
    # Only the twelfth token sees one token less.
    assert torch.equal((shorter - logits).abs().amax((0, 2)) > 1e-4, torch.arange(12) == 11)


def test_rows_longer_than_rotations_are_known_are_refused() -> None:
    with pytest.raises(ValueError, match="rows of 33 tokens; rotations are known up to 32"):
        forward(open_checkpoint(RECORDED / "phimoe"), torch.zeros(1, 33, dtype=torch.int64))


def test_layers_that_predict_further_tokens_are_passed_over(tmp_path: Path) -> None:
    """Published DeepSeek-V3 and GLM-4.5 files have one after the last layer."""
    folder = shutil.copytree(RECORDED / "deepseek_v3", tmp_path / "v3")
    name, file = "model.layers.3.eh_proj.weight", "model-00006-of-00005.safetensors"
    save_file({name: torch.ones(16, 32)}, folder / file)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"][name] = file
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_nextn_predict_layers": 1}))
    recorded = load_file(RECORDED / "deepseek_v3" / "logits.safetensors")
    logits = forward(open_checkpoint(folder), recorded["tokens"])
    torch.testing.assert_close(logits, recorded["logits"], atol=1e-4, rtol=0)
    (folder / "config.json").write_text(json.dumps(config | {"num_nextn_predict_layers": 0}))
    with pytest.raises(ValueError, match=r"tensor model\.layers\.3\.eh_proj\.weight is no part"):
        decoder_config(open_checkpoint(folder))


def test_only_one_layer_is_in_memory(deepseek: Path) -> None:
    alive: dict[int, list[weakref.ref[Tensor]]] = {}

    def linear(name: str, x: Tensor, weight: Tensor) -> Tensor:
        layer = int(name.split(".")[1]) if name.startswith("layers.") else 3
        alive.setdefault(layer, []).append(weakref.ref(weight))
        assert not any(ref() is not None for old in range(layer) for ref in alive.get(old, []))
        return moe.plain_linear(name, x, weight)

    done: list[tuple[int, int]] = []
    forward(
        open_checkpoint(deepseek),
        torch.zeros(1, 3, dtype=torch.int64),
        linear=linear,
        progress=lambda *step: done.append(step),
    )
    assert sorted(alive) == [0, 1, 2, 3]
    assert done == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_matrix_passes_the_hooks_and_every_router_is_observed(family: str) -> None:
    checkpoint = open_checkpoint(RECORDED / family)
    config = decoder_config(checkpoint)
    seen, layers = set(), []

    def linear(name: str, x: Tensor, weight: Tensor) -> Tensor:
        seen.add(name)
        return moe.plain_linear(name, x, weight)

    def grouped(name: str, x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
        seen.add(name)
        return moe.plain_grouped_linear(name, x, weight, counts)

    forward(
        checkpoint,
        torch.zeros(1, 3, dtype=torch.int64),
        linear=linear,
        grouped_linear=grouped,
        observe=lambda layer, *_: layers.append(layer),
    )
    shapes = family_weight_shapes(config)
    matrices = {n for n, shape in shapes.items() if len(shape) > 1 and not n.endswith("_bias")}
    assert seen == (matrices - {"embedding"}) | {"lm_head"}
    assert layers == list(config.moe_layers)


def test_a_snapshot_of_the_hub_s_cache_reads_like_a_folder(tmp_path: Path, deepseek: Path) -> None:
    """Links to blobs, tensors of several types, and what older checkpoints hold beside them."""
    tensors = deepseek_tensors()
    kinds = (torch.bfloat16, torch.float16, torch.float32)
    mixed = {key: t.to(kinds[i % 3]) for i, (key, t) in enumerate(tensors.items())}
    for layer in range(3):
        mixed[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    config = DEEPSEEK | {"head_dim": None, "num_key_value_heads": None, "dtype": "bfloat16"}
    blobs = write_folder(tmp_path / "models--owner--some-moe" / "blobs", config, mixed)
    snapshot = blobs.parent / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    for blob in blobs.iterdir():
        (snapshot / blob.name).symlink_to(f"../../blobs/{blob.name}")
    checkpoint = open_checkpoint(snapshot)
    assert checkpoint.architecture.name == "some-moe"
    plain = write_folder(tmp_path / "plain", DEEPSEEK, {k: t.float() for k, t in mixed.items()})
    tokens = torch.arange(8).view(1, 8)
    assert torch.equal(forward(checkpoint, tokens), forward(open_checkpoint(plain), tokens))


def test_a_single_file_reads_like_shards(tmp_path: Path, deepseek: Path) -> None:
    single = tmp_path / "single"
    single.mkdir()
    shutil.copy(deepseek / "config.json", single)
    save_file(deepseek_tensors(), single / "model.safetensors")
    tokens = torch.arange(8).view(1, 8)
    one, many = (forward(open_checkpoint(folder), tokens) for folder in (single, deepseek))
    assert torch.equal(one, many)


@pytest.mark.parametrize("name", miniature_names())
def test_an_exported_miniature_reads_back_to_identical_logits(name: str, tmp_path: Path) -> None:
    miniature = load_miniature(name)
    write_checkpoint(miniature, tmp_path / name)
    assert len(list((tmp_path / name).glob("model-*.safetensors"))) > 1
    checkpoint = open_checkpoint(tmp_path / name)
    whole = load_checkpoint(tmp_path / name)
    assert whole.weights.keys() == miniature.weights.keys()
    assert all(torch.equal(whole.weights[key], miniature.weights[key]) for key in whole.weights)
    assert load_tokenizer(checkpoint).to_str() == miniature.tokenizer.to_str()
    tokens = torch.arange(64).view(2, 32)
    with torch.no_grad():
        expected = moe.forward(miniature.config, miniature.weights, tokens)
    assert torch.equal(forward(checkpoint, tokens), expected)
    with pytest.raises(ValueError, match="exists already"):
        write_checkpoint(miniature, tmp_path / name)


def test_a_tokenizer_that_cuts_and_fills_texts_takes_whole_ones(tmp_path: Path) -> None:
    """Published files often keep the settings of training."""
    miniature = load_miniature("olmoe-mini")
    write_checkpoint(miniature, tmp_path / "olmoe")
    miniature.tokenizer.enable_truncation(16)
    miniature.tokenizer.enable_padding(length=512)
    miniature.tokenizer.save(str(tmp_path / "olmoe" / "tokenizer.json"))
    tokenizer = load_tokenizer(open_checkpoint(tmp_path / "olmoe"))
    text = "one word after another " * 20
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_a_decoder_that_no_family_has_is_not_exported() -> None:
    config = dataclasses.replace(load_miniature("deepseekmoe-mini").config, qk_norm=True)
    with pytest.raises(ValueError, match="no family has QK-norm together with"):
        hugging_face_config(config)


def test_weights_can_be_read_one_by_one(deepseek: Path) -> None:
    checkpoint = open_checkpoint(deepseek)
    name = "layers.1.experts.up"
    weights = read_weights(checkpoint, decoder_config(checkpoint), (name,))
    assert torch.equal(weights[name][3], deepseek_tensors()[EXPERT])
