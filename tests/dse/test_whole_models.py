"""What the peers convert of an MoE block, and what this simulation does with the same weights."""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dse.simulation import Noise, Simulator

_SPEC = importlib.util.spec_from_file_location(
    "model_fixture", Path(__file__).with_name("model_fixture.py")
)
model_fixture = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(model_fixture)


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


def test_aihwkit_leaves_fused_experts_digital():
    from aihwkit.nn.conversion import convert_to_analog
    from aihwkit.simulator.configs import TorchInferenceRPUConfig

    miniature = olmoe()
    analog = convert_to_analog(Block(miniature.weights), TorchInferenceRPUConfig())
    tiles = list(analog.analog_tiles()) if hasattr(analog, "analog_tiles") else []
    converted = sum(tile.out_size * tile.in_size for tile in tiles)
    attention = sum(
        tensor.numel()
        for name, tensor in miniature.weights.items()
        if ".attention." in name and not name.endswith("norm")
    )
    assert converted == attention
    assert isinstance(analog.experts.gate_up_proj, nn.Parameter)


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
        placed = simulator._placed(Noise(magnitude=3.0), digital, frozenset(), 0, 1)
        with torch.no_grad():
            noisy = placed.layers(simulator._clean_hidden[0], 0, tuple(simulator._inputs.shape))
        moved = ((noisy - clean).abs().amax(1) > 1e-4).numpy()
        routed = (chosen[0] == expert).any(1).numpy()
        assert np.array_equal(moved, routed)
