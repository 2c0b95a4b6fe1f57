"""A checkpoint's decoder, one layer at a time and in it one group of experts at a time.

All placements and noise draws of a pass go through a group of experts before the next one is
read, so that the weights and programmed tiles in memory are those of one group, whatever the size
of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dse.checkpoints.stream import Draw, ExpertGroup, Slot, StreamedModel
from dse.simulation.mitigation import LayerFit, fit_layer
from dse.simulation.noisy_model import add_inputs, batches, kind_of, percentiles
from dse.simulation.placed_model import PlacedModel
from hwmodels.analog_product import analog_grouped_linear, prepare
from hwmodels.nonideality import Noise, ProgrammedMatrix
from workloads.moe import (
    Linear,
    Observe,
    add,
    attention_half,
    expert_outputs,
    head_forward,
    layer_forward,
    plain_grouped_linear,
    plain_linear,
    route,
    shared_forward,
)

# Sequences that pass a layer's attention together.
_BATCH = 16


@torch.no_grad()
def calibrate(
    model: StreamedModel,
    tokens: Tensor,
    observe: Observe | None = None,
    progress: Callable[[int, int], None] | None = None,
    along: Sequence[State] = (),
) -> None:
    """Measure inputs of every matrix and logits of every router in a clean pass over [B, T].

    along: states that are taken through all layers in the same pass. observe sees the routing of
    the tokens.
    """
    model.moments = {}
    model.calibration_tokens = tokens
    recorder = _Recorder(model, observe)
    state = begin(model, tokens, recorder)
    for layer in range(model.config.layers):
        model.enter(f"layers.{layer}.attention_norm")
        advance(model, layer, [state, *along])
        if progress is not None:
            progress(layer + 1, model.config.layers)
    model.enter("final_norm")
    head_forward(model.config, model.weights, state.hidden, linear=recorder.inputs_only)


class Way:
    """How a state's products are computed; clean unless a subclass says otherwise."""

    observe: Observe | None = None  # sees the routing

    def linear(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        return plain_linear(name, x, weight)

    def clean(self, group: ExpertGroup) -> list[int]:
        """Positions in the group of the digital experts."""
        return list(range(len(group.experts)))

    def analog(self, group: ExpertGroup) -> list[Slot]:
        """Tiles that hold experts of the group, in rising order."""
        return []

    def digital_product(
        self, name: str, x: Tensor, weight: Tensor, counts: Tensor, experts: Tensor
    ) -> Tensor:
        return plain_grouped_linear(name, x, weight, counts)


class _Recorder(Way):
    """Clean products that add up the inputs of every matrix."""

    def __init__(self, model: StreamedModel, observe: Observe | None) -> None:
        self.model, self.observe = model, observe

    def linear(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        add_inputs(self.model.moments, name, x, 1, None)
        y = plain_linear(name, x, weight)
        if kind_of(name) == "router":
            self.model.router_spread[name] = percentiles(y)
        return y

    def inputs_only(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        add_inputs(self.model.moments, name, x, 1, None)
        return x[:, :1]  # stands for the product, which nobody needs

    def digital_product(
        self, name: str, x: Tensor, weight: Tensor, counts: Tensor, experts: Tensor
    ) -> Tensor:
        group = experts.repeat_interleave(counts)
        add_inputs(self.model.moments, name, x, self.model.config.routed_experts, group)
        return plain_grouped_linear(name, x, weight, counts)


@dataclass(frozen=True)
class LayerMitigation:
    """Mitigations (`names`) of one layer, whose router is fitted on the last `rows` of a state.

    clean [2, experts]: percentiles of the router's logits without noise.
    """

    names: tuple[str, ...]
    rows: int
    clean: Tensor
    experts_per_token: int


@dataclass
class Noisy(Way):
    """One layer of a placement under one draw: `digital` [experts] of this layer.

    fit: of the layer's router; made when the router is met, if there is a mitigation.
    """

    placed: PlacedModel
    noise: Noise
    draw: Draw
    digital: Tensor
    mitigation: LayerMitigation | None = None
    fit: LayerFit | None = None

    @property
    def tiles(self) -> tuple[object, ...]:
        """States with equal ones share programmed tiles."""
        noise = self.noise
        return (noise.noise_model, noise.magnitude, noise.time_s, noise.tile_rows, self.draw)

    def linear(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        y = self.placed.linear(name, x, weight)
        if self.mitigation is None or kind_of(name) != "router":
            return y
        how, analog = self.mitigation, (~self.digital).nonzero().flatten().to(y.device)
        self.fit = fit_layer(y[-how.rows :], how.clean, analog, how.names, how.experts_per_token)
        return self.fit.apply(y)

    def clean(self, group: ExpertGroup) -> list[int]:
        return [i for i, expert in enumerate(group.experts) if self.digital[expert]]

    def analog(self, group: ExpertGroup) -> list[Slot]:
        held = {e: e for e in (~self.digital).nonzero().flatten().tolist()}
        if self.fit is not None:
            held |= dict(zip(self.fit.freed.tolist(), self.fit.copied.tolist(), strict=True))
        return sorted(
            (expert - group.experts.start, slot)
            for slot, expert in held.items()
            if expert in group.experts
        )


@dataclass
class State:
    """Hidden states [B*T, d] on their way through the layers, and how the next one is computed.

    shape: (B, T).
    """

    hidden: Tensor
    shape: tuple[int, int]
    way: Way = field(default_factory=Way)


def begin(model: StreamedModel, tokens: Tensor, way: Way | None = None) -> State:
    """The state of tokens [B, T] before the first layer."""
    return State(model.embed(tokens), (tokens.shape[0], tokens.shape[1]), way or Way())


@dataclass(frozen=True)
class _Routed:
    """Inputs of a layer's experts: x [N, d], and for each row k experts and their weights."""

    x: Tensor
    indices: Tensor
    weights: Tensor


def advance(model: StreamedModel, layer: int, states: Sequence[State]) -> None:
    """Take all states through one layer."""
    routed = [_before_experts(model, layer, state) for state in states]
    if layer not in model.config.moe_layers:
        return
    for group in model.expert_groups(layer):
        shared: dict[tuple[object, ...], list[tuple[State, _Routed]]] = {}
        for state, inputs in zip(states, routed, strict=True):
            assert inputs is not None
            _add_digital(model, group, state.way.clean(group), state, inputs)
            if isinstance(state.way, Noisy) and state.way.analog(group):
                shared.setdefault(state.way.tiles, []).append((state, inputs))
        for members in shared.values():
            _add_analog(model, group, members)


def _before_experts(model: StreamedModel, layer: int, state: State) -> _Routed | None:
    """Attention, routing and dense parts of a layer; None when the layer has no experts."""
    linear: Linear = state.way.linear
    weights, config, (rows, length) = model.weights, model.config, state.shape
    after, inputs = [], []
    sparse = layer in config.moe_layers
    for batch in batches(rows, _BATCH):
        part = state.hidden[batch.start * length : batch.stop * length]
        size = (batch.stop - batch.start, length)
        if not sparse:
            after.append(layer_forward(config, weights, part, layer, size, linear=linear))
            continue
        hidden, x = attention_half(config, weights, part, layer, size, linear=linear)
        if config.shared_experts:
            hidden = add(config, hidden, shared_forward(weights, x, layer, linear=linear))
        after.append(hidden)
        inputs.append(x)
    state.hidden = torch.cat(after)
    if not sparse:
        return None
    every = torch.cat(inputs)
    chosen = route(config, weights, every, layer, linear=linear, observe=state.way.observe)
    return _Routed(every, *chosen)


def _rows(inputs: _Routed, experts: Tensor, total: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows that go to the numbered experts, sorted by expert: token, weight, rows per expert."""
    position = torch.full((total,), -1, device=experts.device)
    position[experts] = torch.arange(len(experts), device=experts.device)
    local = position[inputs.indices]
    token, slot = (local >= 0).nonzero(as_tuple=True)
    order = torch.argsort(local[token, slot], stable=True)
    token, slot = token[order], slot[order]
    counts = torch.bincount(local[token, slot], minlength=len(experts))
    return token, inputs.weights[token, slot], counts


def _add_digital(
    model: StreamedModel, group: ExpertGroup, which: list[int], state: State, inputs: _Routed
) -> None:
    """Add what the clean experts of a group (`which`: positions in it) compute."""
    if not which:
        return
    device = inputs.x.device
    chosen = torch.tensor(which, device=device)
    experts = chosen + group.experts.start
    token, weight, counts = _rows(inputs, experts, group.total)

    def product(part: str, rows: Tensor) -> Tensor:
        whole = group.weights[part]
        used = whole if len(which) == len(group.experts) else whole.index_select(0, chosen)
        name = f"layers.{group.layer}.experts.{part}"
        y = state.way.digital_product(name, rows, used, counts, experts)
        return group.with_bias(part, y, chosen, counts)

    _add_experts(model, state, inputs.x[token], token, weight, product)


def _add_analog(
    model: StreamedModel, group: ExpertGroup, members: Sequence[tuple[State, _Routed]]
) -> None:
    """Add what analog experts of a group compute, for states that share noise and draw."""
    ways = [state.way for state, _ in members]
    needed = sorted({slot for way in ways for slot in way.analog(group)})
    place = {slot: i for i, slot in enumerate(needed)}
    first = ways[0]
    assert isinstance(first, Noisy)
    tiles = model.program_experts(group, needed, first.noise, first.draw)
    for state, inputs in members:
        way, device = state.way, inputs.x.device
        assert isinstance(way, Noisy)
        slots = way.analog(group)
        rows = torch.tensor([place[slot] for slot in slots], device=device)
        held = torch.tensor([i for i, _ in slots], device=device) + group.experts.start
        experts = torch.tensor([slot for _, slot in slots], device=device)
        token, weight, counts = _rows(inputs, experts, group.total)
        product = _analog_product(model, group, tiles, rows, held, counts, way.noise)
        _add_experts(model, state, inputs.x[token], token, weight, product)


def _analog_product(
    model: StreamedModel,
    group: ExpertGroup,
    tiles: dict[str, ProgrammedMatrix],
    rows: Tensor,
    held: Tensor,
    counts: Tensor,
    noise: Noise,
) -> Callable[[str, Tensor], Tensor]:
    """Products of rows sorted by expert with tiles (`rows`: which) that hold experts `held`."""

    def product(part: str, x: Tensor) -> Tensor:
        name = f"layers.{group.layer}.experts.{part}"
        whole = tiles[part]
        if len(rows) < len(whole.weight):
            whole = replace(whole, weight=whole.weight[rows], scale=whole.scale[rows])
        ranges = model.input_range(name, noise)[held]
        y = analog_grouped_linear(x, prepare(whole, ranges, noise), counts)
        return group.with_bias(part, y, held - group.experts.start, counts)

    return product


def _add_experts(
    model: StreamedModel,
    state: State,
    x: Tensor,
    token: Tensor,
    weight: Tensor,
    product: Callable[[str, Tensor], Tensor],
) -> None:
    """Add gated experts' outputs for rows x, times their routing weight, to the hidden states."""
    if not len(token):
        return
    down = expert_outputs(model.config, product, x)
    weight = weight * model.config.residual_multiplier
    state.hidden.index_add_(0, token, down * weight.to(down.dtype).unsqueeze(1))
