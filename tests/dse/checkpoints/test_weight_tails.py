"""Tails of a checkpoint's weights: by hand, of known distributions, in the command."""

import json

import numpy as np
import pytest
import torch
from checkpoint_fixture import DEEPSEEK, deepseek_tensors, write_folder
from typer.testing import CliRunner

from dse.checkpoints.weight_tails import _Sums, weight_tails
from dse.cli.app import app
from workloads.checkpoint_folder import open_checkpoint


def test_peaks_by_hand():
    """Two rows a tile: [3, 4] has peak 4 and rms sqrt(12.5), [0, 0] counts for nothing."""
    sums = _Sums()
    sums.add(torch.tensor([[3.0, 4.0, 0.0, 0.0], [1.0, -1.0, 2.0, 0.0]]), 2)
    expected = np.mean([4 / np.sqrt(12.5), 1.0, np.sqrt(2)])
    assert sums.peaks / sums.blocks == pytest.approx(expected)
    assert sums.blocks == 3 and sums.weights == 8


def test_tail_index_of_known_distributions():
    """Student's t of 10 degrees has kurtosis 3 + 6 / (10 - 4); a Gaussian has no tail index."""
    generator = np.random.default_rng(0)
    heavy, light = _Sums(), _Sums()
    heavy.add(torch.from_numpy(generator.standard_t(10, (4000, 500))), 100)
    light.add(torch.from_numpy(generator.uniform(-1, 1, (400, 500))), 100)
    assert heavy.tail_index == pytest.approx(10, rel=0.1)
    assert light.tail_index == 100.0


def test_a_checkpoint_by_layer_and_group(tmp_path):
    tensors = deepseek_tensors()
    folder = write_folder(tmp_path / "deepseek", DEEPSEEK, tensors)
    table = weight_tails(open_checkpoint(folder), 8)
    experts = table[(table["layer"] == 1) & (table["group"] == "experts")].iloc[0]
    peaks = []
    for name, tensor in tensors.items():
        if name.startswith("model.layers.1.mlp.experts."):
            for block in tensor.float().split(8, dim=1):
                peaks += (block.abs().amax(1) / block.square().mean(1).sqrt()).tolist()
    assert experts["peak_over_rms"] == pytest.approx(np.mean(peaks), rel=1e-5)
    assert experts["weights"] == 6 * 3 * 16 * 8
    assert set(table["group"]) == {
        "experts", "attention", "shared_expert", "dense_ffn", "router", "lm_head"
    }  # fmt: skip


def test_in_the_command(tmp_path):
    folder = write_folder(tmp_path / "deepseek", DEEPSEEK, deepseek_tensors())
    result = CliRunner().invoke(app, ["scores", "--checkpoint", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    tails = json.loads(result.stdout)["tails"]
    assert {row["group"] for row in tails} >= {"experts", "lm_head"}
    assert all(row["peak_over_rms"] > 1 for row in tails)


def test_a_tile_without_rows_is_refused(tmp_path):
    folder = write_folder(tmp_path / "deepseek", DEEPSEEK, deepseek_tensors())
    with pytest.raises(ValueError, match="tile_rows is 0"):
        weight_tails(open_checkpoint(folder), 0)
