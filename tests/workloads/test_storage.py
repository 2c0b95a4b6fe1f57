"""Weights in 8 and 4 bits, experts stored together, and what is refused with a line."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_fixture import DEEPSEEK, EXPERT, deepseek_tensors, write_folder
from safetensors.torch import load_file, save_file
from torch import Tensor

from workloads.architecture import load_model
from workloads.checkpoint_folder import forward, load_tokenizer, open_checkpoint, read_tensors
from workloads.shards import samples

RECORDED = Path(__file__).parent / "reference_logits"
TOKENS = torch.arange(8).view(1, 8)


def quantised(
    tensors: dict[str, Tensor], block: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Expert matrices in E4M3 with a factor for each block, and the numbers that they stand for."""
    stored, meant = dict(tensors), dict(tensors)
    for name, matrix in tensors.items():
        if ".experts." not in name:
            continue
        rows, columns = (-(-size // block) for size in matrix.shape)
        scale = torch.empty(rows, columns)
        eight = torch.empty(matrix.shape, dtype=torch.float8_e4m3fn)
        wide = torch.empty(matrix.shape)
        for i in range(rows):
            for j in range(columns):
                place = (slice(i * block, (i + 1) * block), slice(j * block, (j + 1) * block))
                scale[i, j] = matrix[place].abs().max() / 448  # the largest E4M3 number
                eight[place] = (matrix[place] / scale[i, j]).to(torch.float8_e4m3fn)
                wide[place] = eight[place].float() * scale[i, j]
        stored[name], stored[f"{name}_scale_inv"], meant[name] = eight, scale, wide
    return stored, meant


@pytest.mark.parametrize("block", [6, 128])
def test_fp8_in_blocks_is_read_as_its_numbers(block: int, tmp_path: Path) -> None:
    """Experts are 8 by 16: blocks that do not divide them, and blocks that hold all."""
    stored, meant = quantised(deepseek_tensors(), block)
    said = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [block, block]}}
    eight = open_checkpoint(write_folder(tmp_path / "eight", DEEPSEEK | said, stored, shards=3))
    plain = open_checkpoint(write_folder(tmp_path / "plain", DEEPSEEK, meant))
    ((_, matrix),) = read_tensors(eight, (EXPERT,))
    torch.testing.assert_close(matrix, meant[EXPERT], rtol=0, atol=0)
    torch.testing.assert_close(forward(eight, TOKENS), forward(plain, TOKENS), rtol=0, atol=0)


def test_fp8_without_its_factors_is_refused(tmp_path: Path) -> None:
    stored, _ = quantised(deepseek_tensors(), 8)
    said = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [8, 8]}}
    wrong = stored | {f"{EXPERT}_scale_inv": torch.ones(3, 3)}
    with pytest.raises(ValueError, match=r"scale_inv has shape \[3, 3\], expected \[1, 2\]"):
        open_checkpoint(write_folder(tmp_path / "wrong", DEEPSEEK | said, wrong))
    del stored[f"{EXPERT}_scale_inv"]
    with pytest.raises(ValueError, match=f"tensor {EXPERT} has no {EXPERT}_scale_inv"):
        open_checkpoint(write_folder(tmp_path / "none", DEEPSEEK | said, stored))
    with pytest.raises(ValueError, match=r"is F8_E4M3, accepted: BF16"):
        open_checkpoint(write_folder(tmp_path / "unsaid", DEEPSEEK, stored))


def gpt_oss(folder: Path, experts: dict[str, Tensor], said: dict[str, Any]) -> Path:
    """The recorded gpt-oss, widened to 32 so that its rows are whole blocks, with these experts."""
    config = json.loads((RECORDED / "gpt_oss" / "config.json").read_text())
    size = {"hidden_size": 32, "intermediate_size": 32, "head_dim": 8, "num_hidden_layers": 1}
    config |= size | said | {"layer_types": ["full_attention"]}
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> Tensor:
        return 0.3 * torch.randn(shape, generator=generator)

    here = "model.layers.0"
    tensors = {
        "model.embed_tokens.weight": random(32, 32),
        "model.norm.weight": 1 + random(32),
        "lm_head.weight": random(32, 32),
        f"{here}.input_layernorm.weight": 1 + random(32),
        f"{here}.post_attention_layernorm.weight": 1 + random(32),
        f"{here}.self_attn.sinks": random(4),
        f"{here}.mlp.router.weight": random(4, 32),
        f"{here}.mlp.router.bias": random(4),
        f"{here}.mlp.experts.gate_up_proj_bias": random(4, 64),
        f"{here}.mlp.experts.down_proj_bias": random(4, 32),
    }
    for part, outputs, inputs in (("q", 32, 32), ("k", 16, 32), ("v", 16, 32), ("o", 32, 32)):
        tensors[f"{here}.self_attn.{part}_proj.weight"] = random(outputs, inputs)
        tensors[f"{here}.self_attn.{part}_proj.bias"] = random(outputs)
    tensors |= {f"{here}.mlp.experts.{name}": tensor for name, tensor in experts.items()}
    return write_folder(folder, config, tensors)


def test_mxfp4_is_read_as_transformers_reads_it(tmp_path: Path) -> None:
    """Recorded blocks and numbers; a whole folder of them equals the folder of the numbers."""
    recorded = load_file(RECORDED / "mxfp4.safetensors")
    folder = tmp_path / "blocks"
    generator = torch.Generator().manual_seed(0)
    packed, plain = {}, {}
    for name, rows in (("gate_up_proj", 64), ("down_proj", 32)):
        blocks = torch.randint(0, 256, (4, rows, 1, 16), generator=generator, dtype=torch.uint8)
        scales = torch.randint(122, 127, (4, rows, 1), generator=generator, dtype=torch.uint8)
        packed |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        # By hand: low half first; sign, two bits of exponent, one of mantissa.
        codes = torch.stack((blocks % 16, blocks // 16), -1).flatten(2).int()
        exponent, mantissa = codes // 2 % 4, codes % 2
        size = torch.where(
            exponent == 0, 0.5 * mantissa, 2.0 ** (exponent - 1) * (1 + 0.5 * mantissa)
        )
        numbers = size * torch.where(codes >= 8, -1.0, 1.0) * 2.0 ** (scales.int() - 127)
        plain[name] = numbers.transpose(1, 2).contiguous()
    four = gpt_oss(folder, packed, {"quantization_config": {"quant_method": "mxfp4"}})
    wide = gpt_oss(tmp_path / "plain", plain, {})
    torch.testing.assert_close(
        forward(open_checkpoint(four), TOKENS),
        forward(open_checkpoint(wide), TOKENS),
        rtol=0,
        atol=1e-5,
    )
    from workloads.shards import _from_mxfp4

    ours = torch.stack(
        [_from_mxfp4(*one) for one in zip(recorded["blocks"], recorded["scales"], strict=True)]
    )
    # transformers turns them to inputs by outputs.
    torch.testing.assert_close(ours.transpose(1, 2), recorded["numbers"], rtol=0, atol=0)


def test_fused_experts_of_another_shape_are_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(RECORDED / "mixtral_fused", tmp_path / "fused")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 12}))
    with pytest.raises(ValueError, match=r"_proj has shape .*config\.json says \[4, "):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"quant_method": "gptq", "bits": 4}, "weights in GPTQ format are not read"),
        ({"quant_method": "awq"}, "weights in AWQ format are not read"),
        ({"quant_method": "bitsandbytes"}, "weights in bitsandbytes format .* original checkpoint"),
        ({"quant_method": "fp8"}, "'quantization_config.weight_block_size' is None"),
        ({"quant_method": "fp8", "weight_block_size": [0, 1]}, r"weight_block_size' is \[0, 1\]"),
        ({}, None),
    ],
)
def test_quantised_formats_are_called_by_name(
    said: dict[str, Any], words: str | None, tmp_path: Path
) -> None:
    config = DEEPSEEK | {"quantization_config": said}
    folder = write_folder(tmp_path / "quantised", config, deepseek_tensors())
    if words is None:
        open_checkpoint(folder)
        return
    with pytest.raises(ValueError, match=words) as error:
        open_checkpoint(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model-q4.gguf", "GGUF files are quantised for llama.cpp"),
        ("pytorch_model-00001-of-00002.bin", r"\.bin files are not read: .*save_pretrained"),
        ("consolidated.00.pth", r"\.pth files are not read"),
        ("readme.txt", "other formats are not read"),
    ],
)
def test_other_files_are_called_by_name(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(DEEPSEEK))
    (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=words):
        open_checkpoint(tmp_path)


def test_a_pointer_is_called_one(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "lfs", DEEPSEEK, deepseek_tensors())
    file = folder / "model-00002-of-00002.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(ValueError, match=r"00002\.safetensors is a Git-LFS pointer.*git lfs pull"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tokenizer.model", r"tokenizer\.model, a SentencePiece model, is not read"),
        ("tiktoken.model", r"tiktoken\.model, a tiktoken model, is not read"),
    ],
)
def test_other_tokenizers_are_named(name: str, words: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "other", DEEPSEEK, deepseek_tensors())
    (folder / name).write_bytes(b"\n\x0e")
    with pytest.raises(ValueError, match=words):
        load_tokenizer(open_checkpoint(folder))


def test_a_tensor_written_in_two_ways_is_refused(tmp_path: Path) -> None:
    """Experts one by one beside the same ones together: which of them would count?"""
    folder = shutil.copytree(RECORDED / "mixtral_fused", tmp_path / "both")
    other = load_file(RECORDED / "mixtral" / "model-00001-of-00003.safetensors")
    name = next(name for name in other if ".experts.0.w1" in name)
    file = folder / "model-00003-of-00002.safetensors"
    save_file({name: other[name]}, file)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"][name] = file.name
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"tensor .* is also stored as") as error:
        open_checkpoint(folder)
    assert name in str(error.value) and "gate_up_proj" in str(error.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json", "SHARD"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_device_is_refused_at_once(name: str, kind: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "odd", DEEPSEEK, deepseek_tensors())
    file = folder / name.replace("SHARD", "model-00001-of-00002.safetensors")
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    start = time.monotonic()
    with pytest.raises(ValueError, match=rf"cannot read {file}: it is no ordinary file"):
        open_checkpoint(folder)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({EXPERT: torch.full((8, 16), 1e30)}, rf"00002\.safetensors: tensor {EXPERT} has a weight"),
        ({EXPERT: torch.zeros(8, 16)}, rf"00002\.safetensors: tensor {EXPERT} is all zeros"),
    ],
)
def test_weights_that_are_none_are_named(
    change: dict[str, Tensor], words: str, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "bad", DEEPSEEK, deepseek_tensors() | change)
    with pytest.raises(ValueError, match=words) as error:
        forward(open_checkpoint(folder), TOKENS)
    assert "\n" not in str(error.value)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "twice", DEEPSEEK, deepseek_tensors())
    second = folder / "model-00002-of-00002.safetensors"
    save_file(load_file(second) | {"model.embed_tokens.weight": torch.ones(40, 16)}, second)
    with pytest.raises(ValueError, match=r"tensor model\.embed_tokens\.weight is also in"):
        open_checkpoint(folder)


@pytest.mark.parametrize("shard", ["..", ".", "a\0b", "../model.safetensors", ""])
def test_shard_names_that_are_none(shard: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "odd", DEEPSEEK, deepseek_tensors())
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": shard}}))
    with pytest.raises(ValueError, match=r"index\.json: .* is no file name in") as error:
        open_checkpoint(folder)
    assert "\n" not in str(error.value) and "\0" not in str(error.value)


def test_a_mark_of_the_byte_order_is_passed_over(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bom", DEEPSEEK, deepseek_tensors())
    file = folder / "config.json"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert open_checkpoint(folder).architecture == load_model(file).__class__(
        **{**vars(load_model(file)), "source": str(file)}
    )


def test_an_lm_head_of_its_own_is_used_though_config_says_tied(tmp_path: Path) -> None:
    """As transformers does; the count of parameters follows."""
    tensors = deepseek_tensors()
    apart = open_checkpoint(write_folder(tmp_path / "apart", DEEPSEEK, tensors))
    said = DEEPSEEK | {"tie_word_embeddings": True}
    both = open_checkpoint(write_folder(tmp_path / "both", said, tensors))
    assert torch.equal(forward(both, TOKENS), forward(apart, TOKENS))
    sizes = [one.architecture.total_parameters() for one in (both, apart)]
    assert sizes[0] == sizes[1]
    copied = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
    same = open_checkpoint(write_folder(tmp_path / "same", said, copied))
    assert same.architecture.tie_embeddings
    del copied["lm_head.weight"]
    alone = open_checkpoint(write_folder(tmp_path / "alone", said, copied))
    assert torch.equal(forward(same, TOKENS), forward(alone, TOKENS))


def test_samples_tell_weights_of_one_shape_apart(tmp_path: Path) -> None:
    """The same names, shapes and bytes in all; one number of one tensor's end is another."""
    tensors = deepseek_tensors()
    first = write_folder(tmp_path / "one", DEEPSEEK, tensors)
    second = write_folder(tmp_path / "two", DEEPSEEK, tensors)
    shard = open_checkpoint(first).tensors[EXPERT].file.name
    files = [folder / shard for folder in (first, second)]
    assert list(samples(files[0])) == list(samples(files[1]))
    tensors[EXPERT][-1, -1] += 1
    third = write_folder(tmp_path / "three", DEEPSEEK, tensors) / files[0].name
    assert third.stat().st_size == files[0].stat().st_size
    assert list(samples(files[0])) != list(samples(third))
    assert b"".join(list(samples(third))[1:]).find(tensors[EXPERT][-1].numpy().tobytes()) >= 0
