"""Loading the shipped miniatures."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from workloads.checkpoint import FOLDER, load_miniature, miniature_names


@pytest.mark.parametrize("name", miniature_names())
def test_a_miniature_loads_as_finite_float32(name: str) -> None:
    miniature = load_miniature(name)
    assert all(weight.dtype == torch.float32 for weight in miniature.weights.values())
    assert all(bool(weight.isfinite().all()) for weight in miniature.weights.values())
    assert name in miniature.source
    assert "M tokens" in miniature.source


def test_the_families_are_what_their_names_say() -> None:
    deepseek = load_miniature("deepseekmoe-mini").config
    assert (deepseek.dense_layers, deepseek.routed_experts, deepseek.experts_per_token) == (
        1,
        64,
        6,
    )
    assert (deepseek.shared_experts, deepseek.renormalise_top_k) == (2, False)
    olmoe = load_miniature("olmoe-mini").config
    assert (olmoe.dense_layers, olmoe.routed_experts, olmoe.experts_per_token) == (0, 64, 8)
    assert (olmoe.shared_experts, olmoe.qk_norm) == (0, True)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'olmo-mini'; nearest: olmoe-mini"):
        load_miniature("olmo-mini")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for suffix in ("json", "safetensors"):
        shutil.copy(FOLDER / f"olmoe-mini.{suffix}", tmp_path)
    shutil.copy(FOLDER / "tokenizer.json", tmp_path)
    return tmp_path


def test_changed_weights_are_refused(copied: Path) -> None:
    file = copied / "olmoe-mini.safetensors"
    weights = load_file(file)
    weights["final_norm"][0] += 1
    save_file(weights, file)
    with pytest.raises(ValueError, match=r"olmoe-mini\.safetensors has SHA-256"):
        load_miniature("olmoe-mini", copied)


def test_a_changed_tokenizer_is_refused(copied: Path) -> None:
    (copied / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json has SHA-256"):
        load_miniature("olmoe-mini", copied)


def test_missing_weights_are_one_clear_line(copied: Path) -> None:
    (copied / "olmoe-mini.safetensors").unlink()
    with pytest.raises(ValueError, match=r"cannot read .*: No such file"):
        load_miniature("olmoe-mini", copied)
