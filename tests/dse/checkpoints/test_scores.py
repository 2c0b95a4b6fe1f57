"""Scores over a checkpoint's experts: against the norms by hand, memory, the command."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_fixture import DEEPSEEK, deepseek_tensors, write_folder
from typer.testing import CliRunner

from dse.checkpoints.scores import checkpoint_scores
from dse.cli.app import app
from dse.placement.scores import expert_scores
from dse.simulation.simulator import Noise, Simulator
from workloads.checkpoint import load_miniature
from workloads.checkpoint_export import write_checkpoint
from workloads.checkpoint_folder import load_checkpoint, open_checkpoint
from workloads.routing import uniform
from workloads.tasks import benchmarks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "deepseek", DEEPSEEK, deepseek_tensors())


def test_scores_are_the_norms_of_the_stored_tensors(folder: Path) -> None:
    tensors = {name: tensor.double().numpy() for name, tensor in deepseek_tensors().items()}
    norms, routers = np.ones((2, 6)), np.zeros((2, 6))
    for layer in (1, 2):
        here = f"model.layers.{layer}.mlp"
        for expert in range(6):
            routers[layer - 1, expert] = np.sqrt(
                (tensors[f"{here}.gate.weight"][expert] ** 2).sum()
            )
            for part in ("gate", "up", "down"):
                matrix = tensors[f"{here}.experts.{expert}.{part}_proj.weight"]
                norms[layer - 1, expert] *= max(np.sqrt((row**2).sum()) for row in matrix)
    checkpoint = open_checkpoint(folder)
    np.testing.assert_allclose(checkpoint_scores(checkpoint), norms, rtol=1e-6)
    np.testing.assert_allclose(checkpoint_scores(checkpoint, "router_norm"), routers, rtol=1e-6)


@pytest.mark.parametrize("kind", ["max_neuron_norm", "router_norm"])
def test_scores_of_an_exported_miniature_are_the_miniature_s(kind: str, tmp_path: Path) -> None:
    miniature = load_miniature("olmoe-mini")
    write_checkpoint(miniature, tmp_path / "olmoe")
    config = miniature.config
    routing = uniform(len(config.moe_layers), config.routed_experts, config.experts_per_token)
    steps: list[tuple[int, int]] = []
    scores = checkpoint_scores(
        open_checkpoint(tmp_path / "olmoe"), kind, lambda *step: steps.append(step)
    )
    np.testing.assert_allclose(scores, expert_scores(kind, miniature.weights, routing), rtol=1e-6)
    assert steps[-1] == (config.layers, config.layers)


def test_latent_attention_does_not_keep_experts_from_being_scored(tmp_path: Path) -> None:
    latent = {"qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "kv_lora_rank": 8, "v_head_dim": 4}
    config = DEEPSEEK | latent | {"model_type": "deepseek_v2"}
    folder = write_folder(tmp_path / "v2", config, deepseek_tensors())
    plain = write_folder(tmp_path / "v1", DEEPSEEK, deepseek_tensors())
    found, expected = (checkpoint_scores(open_checkpoint(one)) for one in (folder, plain))
    np.testing.assert_array_equal(found, expected)


def test_memory_is_that_of_a_few_matrices_not_of_the_checkpoint(tmp_path: Path) -> None:
    size = {"hidden_size": 512, "moe_intermediate_size": 512, "num_hidden_layers": 5}
    config = DEEPSEEK | size
    folder = write_folder(tmp_path / "large", config, deepseek_tensors(config), shards=8)
    stored = sum(file.stat().st_size for file in folder.iterdir())
    code = """
import resource, sys
from dse.checkpoints.scores import checkpoint_scores
from workloads.checkpoint_folder import open_checkpoint
def peak(): return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
small, large = map(open_checkpoint, sys.argv[1:])
checkpoint_scores(small)
before = peak()
checkpoint_scores(large)
print(peak() - before)
"""
    small = write_folder(tmp_path / "small", DEEPSEEK, deepseek_tensors())
    command = [sys.executable, "-c", code, str(small), str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert stored > 90e6
    assert int(run.stdout) < stored / 3


def run_scores(*options: str) -> str:
    result = CliRunner().invoke(app, ["scores", *options], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_command_prints_a_row_a_layer(folder: Path) -> None:
    lines = run_scores("--checkpoint", str(folder)).splitlines()
    cells = ["".join(line.split("|")[1:2]).strip() for line in lines]
    assert [cell for cell in cells if cell.isdigit()][:2] == ["1", "2"]
    assert lines[-1].startswith("source: checkpoint ")


def test_json_holds_every_score(folder: Path) -> None:
    document = json.loads(run_scores("--checkpoint", str(folder), "--json"))
    scores = np.array([row["scores"] for row in document["layers"]])
    np.testing.assert_allclose(scores, checkpoint_scores(open_checkpoint(folder)))
    assert [row["layer"] for row in document["layers"]] == [1, 2]
    assert (document["family"], document["score"]) == ("deepseek", "max_neuron_norm")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("max_neuron_nrm", "is unknown: choose .*nearest is max_neuron_norm"),
        ("activation_frequency", "needs a forward pass"),
    ],
)
def test_other_scores_are_refused(kind: str, message: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=message):
        checkpoint_scores(open_checkpoint(folder), kind)


def test_bad_input_is_one_line_and_exit_code_2(folder: Path) -> None:
    name = "model.layers.2.mlp.experts.5.down_proj.weight"
    bad = deepseek_tensors() | {name: torch.full((16, 8), torch.inf)}
    write_folder(folder, DEEPSEEK, bad)
    result = CliRunner().invoke(app, ["scores", "--checkpoint", str(folder)])
    assert result.exit_code == 2
    assert f"tensor {name} contains NaN or infinity" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["olmoe-mini", "deepseekmoe-mini"])
def test_the_noisy_simulation_runs_on_a_checkpoint_folder(name: str, tmp_path: Path) -> None:
    miniature = load_miniature(name)
    write_checkpoint(miniature, tmp_path / name)
    read = load_checkpoint(tmp_path / name)
    texts = [bench for bench in benchmarks(miniature, 2048) if bench.kind == "text"]
    calibration = texts[0].tokens[:, :-1]
    losses = []
    for model in (miniature, read):
        simulator = Simulator(model, texts, seeds=2, calibration_tokens=calibration)
        result = simulator.evaluate(Noise(magnitude=4.0), ~simulator.all_digital())
        losses.append(result.delta_loss)
    assert losses[0] == losses[1] > 0
    assert read.source.startswith("checkpoint ")
