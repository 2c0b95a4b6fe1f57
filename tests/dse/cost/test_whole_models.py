"""What the peers convert of an MoE block, and what this simulation does with the same weights."""

import json
from pathlib import Path

import model_fixture
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn

from dse.simulation.noisy_model import PARTS, dense_matrices
from dse.simulation.simulator import Noise, Simulator
from workloads.checkpoint import Miniature
from workloads.checkpoint_folder import decoder_config, open_checkpoint, read_weights
from workloads.families import family_weight_shapes

RECORDED = Path(__file__).parents[2] / "workloads" / "reference_logits"


class FusedExperts(nn.Module):
    """Experts as three-dimensional parameters, the layout of transformers 5."""

    def __init__(self, gate_up, down):
        super().__init__()
        self.gate_up_proj = nn.Parameter(gate_up)
        self.down_proj = nn.Parameter(down)


class Block(nn.Module):
    """One OLMoE block's matrices: four attention projections, router and fused experts."""

    def __init__(self, weights):
        super().__init__()
        for part in ("query", "key", "value", "output"):
            weight = weights[f"layers.0.attention.{part}"]
            linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            linear.weight.data.copy_(weight)
            self.add_module(part, linear)
        self.router = nn.Parameter(weights["layers.0.router"].clone())
        gate_up = torch.cat([weights[f"layers.0.experts.{p}"] for p in ("gate", "up")], dim=1)
        self.experts = FusedExperts(gate_up, weights["layers.0.experts.down"].clone())


def olmoe():
    return model_fixture.random_miniature(
        layers=1, dense_layers=0, shared_experts=0, qk_norm=True, routed_experts=16
    )


def peer_conversion(peer, model):
    """The model after a peer's convert_to_analog, and the names of its analog layers."""
    if peer == "aihwkit":
        from aihwkit.nn.conversion import convert_to_analog
        from aihwkit.simulator.configs import TorchInferenceRPUConfig
    else:
        from aihwkit_lightning.nn.conversion import convert_to_analog
        from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig
    converted = convert_to_analog(model, TorchInferenceRPUConfig())
    modules = dict(converted.named_modules())
    return converted, {name for name, m in modules.items() if type(m).__name__ == "AnalogLinear"}


@pytest.mark.parametrize("peer", ["aihwkit", "aihwkit-lightning"])
def test_peers_leave_fused_experts_digital(peer):
    analog, names = peer_conversion(peer, Block(olmoe().weights))
    assert names == {"query", "key", "value", "output"}
    assert isinstance(analog.experts.gate_up_proj, nn.Parameter)


def small_olmoe():
    """The OLMoE checkpoint that transformers wrote (see record.py), as the simulation takes it."""
    checkpoint = open_checkpoint(RECORDED / "olmoe")
    config = decoder_config(checkpoint)
    weights = read_weights(checkpoint, config, family_weight_shapes(config))
    return Miniature("olmoe", config, weights, Tokenizer(WordLevel({"a": 0})), checkpoint.source)


@pytest.mark.parametrize("peer", ["aihwkit", "aihwkit-lightning"])
def test_the_same_olmoe_converted_by_the_peers_and_by_us(peer):
    """Peers, as recorded from transformers' own model: attention and LM head. Ours: all of it."""
    recorded = json.loads((RECORDED / "olmoe_converted.json").read_text())
    sizes, theirs = recorded["parameters"], recorded["analog_modules"][peer]
    experts = sum(count for name, count in sizes.items() if ".experts." in name)
    matrices = sum(n for name, n in sizes.items() if "norm" not in name and "embed" not in name)
    assert experts > matrices / 2
    assert sum(sizes[f"{name}.weight"] for name in theirs) < matrices / 2
    assert not any("experts" in name or name.endswith("gate") for name in theirs)

    miniature = small_olmoe()
    sets = model_fixture.token_sets(miniature)
    simulator = Simulator(miniature, sets, seeds=1, calibration_tokens=sets[0].tokens[:, :-1])
    parts = tuple(part for part in PARTS if part in {"attention", "router", "lm_head"})
    dense = dense_matrices(miniature.weights, parts)
    placed = simulator.placed(Noise(), ~simulator.all_digital(), dense, 0, 1)
    assert sum(miniature.weights[name].numel() for name in placed.matrices) == matrices
    # Each of them, alone in analog, changes the loss: none is analog in name only.
    clean = simulator.evaluate(Noise(), simulator.all_digital())
    for name in sorted(dense):
        alone = simulator.evaluate(Noise(magnitude=3.0), simulator.all_digital(), (name,))
        assert alone.loss != clean.loss


def test_ours_computes_every_expert_in_analog():
    """Each expert alone changes the outputs of exactly the tokens that are routed to it."""
    miniature = olmoe()
    sets = model_fixture.token_sets(miniature)
    simulator = Simulator(miniature, sets, seeds=1, calibration_tokens=sets[0].tokens[:, :-1])
    chosen = {}

    def observe(layer, probabilities, indices, weights):
        chosen[layer] = indices

    from workloads.moe import forward

    with torch.no_grad():
        forward(miniature.config, miniature.weights, simulator._inputs, observe=observe)
    clean = simulator._clean_hidden[-1]
    for expert in range(16):
        digital = simulator.all_digital()
        digital[0, expert] = False
        placed = simulator.placed(Noise(magnitude=3.0), digital, frozenset(), 0, 1)
        with torch.no_grad():
            noisy = placed.layers(simulator._clean_hidden[0], 0, tuple(simulator._inputs.shape))
        moved = ((noisy - clean).abs().amax(1) > 1e-4).numpy()
        routed = (chosen[0] == expert).any(1).numpy()
        assert np.array_equal(moved, routed)
