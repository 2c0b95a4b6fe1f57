"""A checkpoint's decoder, one layer at a time and in it one group of experts at a time.

All placements and noise draws of a pass go through a group of experts before the next one is
read, so that the weights and programmed tiles in memory are those of one group, whatever the size
of the checkpoint. Each expert's noise has a seed of its own: the size of the groups, which the
memory allows, does not change a result.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from dse.noisy_model import NoisyModel, _Moments, batches, input_of, layer_of
from dse.placed_model import PlacedModel
from hwmodels.nonideality import (
    Noise,
    ProgrammedMatrix,
    analog_grouped_linear,
    block_sizes,
    prepare,
    program,
)
from workloads.checkpoint_folder import CheckpointFolder, layer_names, read_tensors, read_weights
from workloads.families import PARTS, FamilyConfig, family_weight_shapes, stored_names
from workloads.moe import (
    Linear,
    Observe,
    attention_half,
    head_forward,
    layer_forward,
    plain_grouped_linear,
    plain_linear,
    route,
    shared_forward,
)

# Sequences that pass a layer's attention together.
_BATCH = 16
Draw = tuple[int, int]


class LayerWeights(dict[str, Tensor]):
    """A checkpoint's tensors of `workloads.moe` except experts; another layer's replace the held.

    `embedding` and what follows the last layer (`final_norm`, `lm_head`) are layers of their own.
    """

    def __init__(
        self, checkpoint: CheckpointFolder, config: FamilyConfig, device: torch.device
    ) -> None:
        super().__init__()
        self.checkpoint, self.config, self.device = checkpoint, config, device

    def __missing__(self, name: str) -> Tensor:
        self.clear()
        if name.startswith("layers."):
            every = layer_names(self.config, layer_of(name, self.config.layers))
            names = tuple(one for one in every if ".experts." not in one)
        elif name == "embedding":
            names = ("embedding",)
        else:
            names = ("final_norm", "embedding" if self.config.tie_embeddings else "lm_head")
        read = read_weights(self.checkpoint, self.config, names, device=self.device)
        if self.config.tie_embeddings and name in ("final_norm", "lm_head"):
            read["lm_head"] = read.pop("embedding")
        if name not in read:
            raise KeyError(name)
        self.update(read)
        return self[name]


@dataclass(frozen=True)
class ExpertGroup:
    """Some of a layer's `total` experts: numbers, and matrices by part, [G, outputs, inputs]."""

    layer: int
    experts: range
    total: int
    weights: dict[str, Tensor]


class StreamedModel(NoisyModel):
    """A NoisyModel whose weights come from the checkpoint when they are asked for.

    group: experts that are held at a time.
    """

    def __init__(
        self,
        checkpoint: CheckpointFolder,
        config: FamilyConfig,
        device: torch.device,
        group: int,
        cache_bytes: int,
    ) -> None:
        # NaN is refused when a tensor is read, and a tied head is an lm_head of its own.
        super().__init__(
            replace(config, tie_embeddings=False), {}, device=device, cache_bytes=cache_bytes
        )
        self.checkpoint, self.family, self.group = checkpoint, config, group
        self.weights = LayerWeights(checkpoint, config, device)
        self.shapes = family_weight_shapes(config)
        self.shapes.setdefault("lm_head", self.shapes["embedding"])

    def embed(self, tokens: Tensor) -> Tensor:
        """Hidden states [B*T, d] before the first layer; reads only the rows that occur."""
        (name,) = stored_names(self.family.family, "embedding", 0)
        used, place = tokens.cpu().flatten().unique(return_inverse=True)
        ((_, table),) = read_tensors(self.checkpoint, (name,))
        return table[used].float()[place].to(self.device)

    def enter(self, name: str) -> None:
        """Hold the dense weights of the layer of `name`; forget the tiles of the one before."""
        if name not in self.weights:
            self._programmed.clear()
            self._cached_bytes = 0
            _ = self.weights[name]

    def expert_groups(self, layer: int) -> Iterator[ExpertGroup]:
        """The experts of a layer in groups, read one after the other."""
        count = self.config.routed_experts
        for start in range(0, count, self.group):
            experts = range(start, min(start + self.group, count))
            yield ExpertGroup(layer, experts, count, self._read_experts(layer, experts))

    def _read_experts(self, layer: int, experts: range) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = {}
        places: dict[str, Tensor] = {}
        for part in PARTS:
            name = f"layers.{layer}.experts.{part}"
            shape = (len(experts), *self.shapes[name][1:])
            weights[part] = torch.empty(shape, device=self.device)
            stored = stored_names(self.family.family, name, self.config.routed_experts)
            places |= dict(zip(stored[experts.start : experts.stop], weights[part], strict=True))
        for name, tensor in read_tensors(self.checkpoint, places):
            places[name].copy_(tensor)
        return weights

    def sizes(self, name: str, tile_rows: int) -> tuple[int, ...]:
        """Row blocks of a matrix."""
        inputs = self.shapes[name][-1]
        return block_sizes(inputs, math.ceil(inputs / tile_rows))

    def input_range(self, name: str, noise: Noise) -> Tensor:
        """beta_inp of a matrix, [blocks] or [experts, blocks]; see NoisyModel."""
        if ".experts." not in name:
            return super().input_range(name, noise)
        deviation = self._moments[input_of(name)].deviation(self.sizes(name, noise.tile_rows))
        deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        return (noise.input_range_std * deviation).float()

    def program_experts(
        self, group: ExpertGroup, part: str, which: Sequence[int], noise: Noise, draw: Draw
    ) -> ProgrammedMatrix:
        """Tiles of some experts of a group (`which`: positions in it) for one noise draw."""
        name = f"layers.{group.layer}.experts.{part}"
        sizes = self.sizes(name, noise.tile_rows)
        made = [
            program_expert(group.weights[part][i], sizes, noise, name, group.experts[i], draw)
            for i in which
        ]
        weight = torch.stack([matrix.weight for matrix in made])
        return ProgrammedMatrix(weight, torch.stack([matrix.scale for matrix in made]), sizes)

    @torch.no_grad()
    def calibrate(
        self,
        tokens: Tensor,
        observe: Observe | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Measure the inputs of every matrix in a clean forward pass over tokens [B, T]."""
        self._moments = {}
        recorder = _Recorder(self)
        state = State(self.embed(tokens), recorder)
        shape = (tokens.shape[0], tokens.shape[1])
        for layer in range(self.config.layers):
            self.enter(f"layers.{layer}.attention_norm")
            advance(self, layer, [state], shape, observe)
            if progress is not None:
                progress(layer + 1, self.config.layers)
        self.enter("final_norm")
        head_forward(self.config, self.weights, state.hidden, linear=recorder.inputs_only)


def program_expert(
    weight: Tensor, sizes: tuple[int, ...], noise: Noise, name: str, expert: int, draw: Draw
) -> ProgrammedMatrix:
    """Tiles of one expert's matrix [outputs, inputs]; the draw and the expert seed the noise."""
    digest = hashlib.blake2b(f"{draw[0]}/{name}/{expert}".encode(), digest_size=7).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest))
    return program(weight, sizes, noise, generator=generator, sign=draw[1])


class Way:
    """How a state's products are computed; clean unless a subclass says otherwise."""

    def linear(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        return plain_linear(name, x, weight)

    def analog(self, group: ExpertGroup) -> list[int]:
        """Positions in the group of the analog experts."""
        return []

    def digital_product(
        self, name: str, x: Tensor, weight: Tensor, counts: Tensor, experts: Tensor
    ) -> Tensor:
        return plain_grouped_linear(name, x, weight, counts)


class _Recorder(Way):
    """Clean products that add up the inputs of every matrix."""

    def __init__(self, model: StreamedModel) -> None:
        self.model = model

    def _record(self, name: str, x: Tensor, groups: int, group: Tensor | None) -> None:
        if input_of(name) != name:
            return
        moments = self.model._moments
        if name not in moments:
            zeros = torch.zeros(groups, x.shape[1], dtype=torch.float64, device=x.device)
            count = torch.zeros(groups, dtype=torch.int64, device=x.device)
            moments[name] = _Moments(count, zeros, zeros.clone())
        moments[name].add(x, group)

    def linear(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        self._record(name, x, 1, None)
        return plain_linear(name, x, weight)

    def inputs_only(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        self._record(name, x, 1, None)
        return x

    def digital_product(
        self, name: str, x: Tensor, weight: Tensor, counts: Tensor, experts: Tensor
    ) -> Tensor:
        group = experts.repeat_interleave(counts)
        self._record(name, x, self.model.config.routed_experts, group)
        return plain_grouped_linear(name, x, weight, counts)


@dataclass
class Noisy(Way):
    """One layer of a placement under one draw: `digital` [experts] of this layer."""

    placed: PlacedModel
    noise: Noise
    draw: Draw
    digital: Tensor

    @property
    def tiles(self) -> tuple[object, ...]:
        """States with equal ones share programmed tiles."""
        noise = self.noise
        return (noise.noise_model, noise.magnitude, noise.time_s, noise.tile_rows, self.draw)

    def linear(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        return self.placed.linear(name, x, weight)

    def analog(self, group: ExpertGroup) -> list[int]:
        return [i for i, expert in enumerate(group.experts) if not self.digital[expert]]


@dataclass
class State:
    """Hidden states [B*T, d] on their way through the layers, and how the next one is computed."""

    hidden: Tensor
    way: Way = field(default_factory=Way)


@dataclass(frozen=True)
class _Routed:
    """Inputs of a layer's experts: x [N, d], and for each row k experts and their weights."""

    x: Tensor
    indices: Tensor
    weights: Tensor


def advance(
    model: StreamedModel,
    layer: int,
    states: Sequence[State],
    shape: tuple[int, int],
    observe: Observe | None = None,
) -> None:
    """Take all states [B*T, d] of shape (B, T) through one layer."""
    routed = [_before_experts(model, layer, state, shape, observe) for state in states]
    if layer not in model.config.moe_layers:
        return
    for group in model.expert_groups(layer):
        shared: dict[tuple[object, ...], list[tuple[State, _Routed]]] = {}
        for state, inputs in zip(states, routed, strict=True):
            assert inputs is not None
            analog = state.way.analog(group)
            digital = sorted(set(range(len(group.experts))) - set(analog))
            _add_digital(group, digital, state, inputs)
            if analog and isinstance(state.way, Noisy):
                shared.setdefault(state.way.tiles, []).append((state, inputs))
        for members in shared.values():
            _add_analog(model, group, members)


def _before_experts(
    model: StreamedModel,
    layer: int,
    state: State,
    shape: tuple[int, int],
    observe: Observe | None,
) -> _Routed | None:
    """Attention, routing and dense parts of a layer; None when the layer has no experts."""
    linear: Linear = state.way.linear
    weights, config, length = model.weights, model.config, shape[1]
    after, inputs = [], []
    for batch in batches(shape[0], _BATCH):
        part = state.hidden[batch.start * length : batch.stop * length]
        size = (batch.stop - batch.start, length)
        if layer not in config.moe_layers:
            after.append(layer_forward(config, weights, part, layer, size, linear=linear))
            continue
        hidden, x = attention_half(config, weights, part, layer, size, linear=linear)
        indices, chosen = route(config, weights, x, layer, linear=linear, observe=observe)
        if config.shared_experts:
            hidden = hidden + shared_forward(weights, x, layer, linear=linear)
        after.append(hidden)
        inputs.append((x, indices, chosen))
    state.hidden = torch.cat(after)
    return _Routed(*(torch.cat(parts) for parts in zip(*inputs, strict=True))) if inputs else None


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


def _add_digital(group: ExpertGroup, which: list[int], state: State, inputs: _Routed) -> None:
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
        return state.way.digital_product(name, rows, used, counts, experts)

    _add_experts(state, inputs.x[token], token, weight, product)


def _add_analog(
    model: StreamedModel, group: ExpertGroup, members: Sequence[tuple[State, _Routed]]
) -> None:
    """Add what analog experts of a group compute, for states that share noise and draw."""
    ways = [state.way for state, _ in members]
    needed = sorted({i for way in ways for i in way.analog(group)})
    first = ways[0]
    assert isinstance(first, Noisy)
    tiles = {
        part: model.program_experts(group, part, needed, first.noise, first.draw) for part in PARTS
    }
    for state, inputs in members:
        way = state.way
        assert isinstance(way, Noisy)
        which = way.analog(group)
        rows = torch.tensor([needed.index(i) for i in which], device=inputs.x.device)
        experts = torch.tensor(which, device=inputs.x.device) + group.experts.start
        token, weight, counts = _rows(inputs, experts, group.total)
        product = _analog_product(model, group.layer, tiles, rows, experts, counts, way.noise)
        _add_experts(state, inputs.x[token], token, weight, product)


def _analog_product(
    model: StreamedModel,
    layer: int,
    tiles: dict[str, ProgrammedMatrix],
    rows: Tensor,
    experts: Tensor,
    counts: Tensor,
    noise: Noise,
) -> Callable[[str, Tensor], Tensor]:
    """Products of rows sorted by expert with the experts' tiles (`rows`: their places in them)."""

    def product(part: str, x: Tensor) -> Tensor:
        name = f"layers.{layer}.experts.{part}"
        whole = tiles[part]
        if len(rows) < len(whole.weight):
            whole = replace(whole, weight=whole.weight[rows], scale=whole.scale[rows])
        ranges = model.input_range(name, noise)[experts]
        return analog_grouped_linear(x, prepare(whole, ranges, noise), counts)

    return product


def _add_experts(
    state: State,
    x: Tensor,
    token: Tensor,
    weight: Tensor,
    product: Callable[[str, Tensor], Tensor],
) -> None:
    """Add gated experts' outputs for rows x, times their routing weight, to the hidden states."""
    if not len(token):
        return
    down = product("down", functional.silu(product("gate", x)) * product("up", x))
    state.hidden.index_add_(0, token, down * weight.to(down.dtype).unsqueeze(1))
