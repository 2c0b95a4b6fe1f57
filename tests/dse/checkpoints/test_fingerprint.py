"""A checkpoint is known by its content, not by its names, sizes and times alone."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from checkpoint_fixture import DEEPSEEK, EXPERT, deepseek_tensors, write_folder

from dse.checkpoints.fingerprint import fingerprint
from workloads.checkpoint_folder import open_checkpoint

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def known(folder: Path) -> str:
    (folder / "tokenizer.json").write_text("{}")
    for shard in SHARDS:
        os.utime(folder / shard, ns=(10**18, 10**18))
    return fingerprint(open_checkpoint(folder))


def test_a_copy_is_the_same_checkpoint(tmp_path: Path) -> None:
    one = write_folder(tmp_path / "one", DEEPSEEK, deepseek_tensors())
    assert known(one) == known(shutil.copytree(one, tmp_path / "two"))


@pytest.mark.parametrize("place", [0, 8 * 16 - 1])
def test_other_weights_of_equal_names_sizes_and_times_are_another(
    place: int, tmp_path: Path
) -> None:
    tensors = deepseek_tensors()
    one = known(write_folder(tmp_path / "one", DEEPSEEK, tensors))
    tensors[EXPERT].view(-1)[place] += 1
    assert known(write_folder(tmp_path / "two", DEEPSEEK, tensors)) != one


def test_trained_further_is_another(tmp_path: Path) -> None:
    one = known(write_folder(tmp_path / "one", DEEPSEEK, deepseek_tensors()))
    moved = {name: torch.nextafter(w, w + 1) for name, w in deepseek_tensors().items()}
    assert known(write_folder(tmp_path / "two", DEEPSEEK, moved)) != one
