"""What is wrong with a checkpoint folder is said in one line that names the file and the tensor."""

import json
from pathlib import Path

import pytest
import torch
from checkpoint_fixture import DEEPSEEK, EXPERT, deepseek_tensors, write_folder
from torch import Tensor

from workloads.checkpoint_folder import decoder_config, forward, load_tokenizer, open_checkpoint


def test_a_missing_shard_is_named(deepseek: Path) -> None:
    (deepseek / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"shard .*model-00002-of-00002\.safetensors is missing"):
        open_checkpoint(deepseek)


def test_a_shard_that_cannot_be_opened_is_not_called_missing(deepseek: Path) -> None:
    file = deepseek / "model-00002-of-00002.safetensors"
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(ValueError, match=r"cannot read .*00002\.safetensors: Too many levels"):
        open_checkpoint(deepseek)


@pytest.mark.parametrize("kept", [0, 5, 1000, -1])
def test_a_truncated_shard_is_named(deepseek: Path, kept: int) -> None:
    file = deepseek / "model-00001-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"model-00001-of-00002\.safetensors is truncated"):
        open_checkpoint(deepseek)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({EXPERT: torch.zeros(8, 15)}, rf"00002\.safetensors: tensor {EXPERT} has shape \[8, 15\]"),
        ({EXPERT: torch.zeros(8, 16, dtype=torch.int8)}, rf"tensor {EXPERT} is I8"),
        ({"model.norm.weight": torch.zeros(3)}, r"tensor model\.norm\.weight has shape \[3\]"),
        ({"model.extra.bias": torch.zeros(3)}, r"tensor model\.extra\.bias is no part"),
        (
            {"model.layers.2.self_attn.q_proj.weight": torch.full((16, 16), torch.nan)},
            r"safetensors: tensor model\.layers\.2\.self_attn\.q_proj\.weight contains NaN",
        ),
    ],
)
def test_a_bad_tensor_is_named(change: dict[str, Tensor], message: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bad", DEEPSEEK, deepseek_tensors() | change)
    with pytest.raises(ValueError, match=message) as error:
        forward(open_checkpoint(folder), torch.zeros(1, 2, dtype=torch.int64))
    assert "\n" not in str(error.value)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    tensors = deepseek_tensors()
    del tensors[EXPERT]
    with pytest.raises(ValueError, match=f"no shard holds tensor {EXPERT}"):
        open_checkpoint(write_folder(tmp_path / "bad", DEEPSEEK, tensors))


def test_an_index_that_promises_too_much_is_refused(deepseek: Path) -> None:
    index = deepseek / "model.safetensors.index.json"
    listed = json.loads(index.read_text())
    listed["weight_map"]["model.more"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(listed))
    with pytest.raises(ValueError, match=r"00001-of-00002\.safetensors: tensor model\.more is mis"):
        open_checkpoint(deepseek)
    listed["weight_map"]["model.more"] = "../elsewhere.safetensors"
    index.write_text(json.dumps(listed))
    with pytest.raises(ValueError, match=r"'\.\./elsewhere\.safetensors' is no file name"):
        open_checkpoint(deepseek)
    index.write_text("[]")
    with pytest.raises(ValueError, match="is no index"):
        open_checkpoint(deepseek)


# The families that docs/checkpoints.md names, and no other.
READ = (
    r"accepted: olmoe, deepseek, deepseek_v2, deepseek_v3, glm4_moe, qwen2_moe, qwen3_moe, "
    r"mixtral, phimoe, granitemoe, gpt_oss, kimi_k2\)$"
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model_type": "deepsek"},
            f"'deepsek' is not supported for checkpoints .{READ}",
        ),
        (
            {"model_type": "jamba", "num_experts": 6},
            f"'jamba' is not supported for checkpoints.*{READ}",
        ),
        ({"model_type": ["olmoe"]}, f"'olmoe'. is not supported for checkpoints.*{READ}"),
        ({"hidden_act": "gelu"}, "'hidden_act' is 'gelu', supported is 'silu'"),
        ({"rope_scaling": {"type": "yarn"}}, "'rope_scaling.type' is 'yarn', supported is 'defaul"),
        ({"scoring_func": "sigmoid"}, "'scoring_func' is 'sigmoid', supported is 'softmax'"),
        ({"rope_scaling": "yarn"}, "'rope_scaling' is 'yarn', expected an object or null"),
        ({"head_dim": 3}, "3 columns of a head cannot be rotated in pairs"),
        ({"rope_theta": "big"}, "'rope_theta' is 'big', expected a positive number"),
    ],
)
def test_what_is_not_computed_is_refused(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "bad", DEEPSEEK | change, deepseek_tensors())
    with pytest.raises(ValueError, match=message):
        decoder_config(open_checkpoint(folder))


def test_folders_that_are_none(tmp_path: Path, deepseek: Path) -> None:
    with pytest.raises(ValueError, match="is no folder"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"cannot read .*tokenizer\.json: No such file"):
        load_tokenizer(open_checkpoint(deepseek))
    (deepseek / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer"):
        load_tokenizer(open_checkpoint(deepseek))
    for file in deepseek.glob("model*"):
        file.unlink()
    with pytest.raises(ValueError, match=r"holds neither model\.safetensors nor"):
        open_checkpoint(deepseek)


def test_a_token_outside_the_vocabulary_is_refused(deepseek: Path) -> None:
    with pytest.raises(ValueError, match="token numbers must be from 0 to 39"):
        forward(open_checkpoint(deepseek), torch.tensor([[40]]))
