"""A decoder whose matrices are, as a placement says, clean or written into analog tiles.

The decoder itself is `workloads.moe`; this file supplies its two product hooks. Programmed tiles
are cached per (noise, seed, matrix), so that a placement only chooses between clean and noisy
tensors. Layers before the first analog matrix are not recomputed.
"""

from __future__ import annotations

import difflib
import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from hwmodels.nonideality import (
    AnalogMatrix,
    Noise,
    ProgrammedMatrix,
    analog_grouped_linear,
    block_sizes,
    multiply,
    prepare,
    program,
    to_codes,
)
from workloads.decoder_config import DecoderConfig
from workloads.moe import (
    feed_forward_half,
    head_forward,
    layer_forward,
    plain_grouped_linear,
    plain_linear,
)

# Dense parts that can be placed, by the names of the matrices they consist of.
PARTS = {
    "attention": (
        "attention.query", "attention.query_a", "attention.query_b", "attention.key",
        "attention.value", "attention.key_value_a", "attention.key_value_b", "attention.output",
    ),
    "shared_expert": ("shared.gate", "shared.up", "shared.down"),
    "dense_ffn": ("ffn.gate", "ffn.up", "ffn.down"),
    "router": ("router",),
    "lm_head": ("lm_head",),
}  # fmt: skip

# An expert that saw fewer calibration rows than this takes the input range of its layer.
_FEWEST_ROWS = 32

# Between them lie most of a router's logits; what router recalibration maps onto each other.
PERCENTILES = (0.05, 0.95)


class FullModel(Protocol):
    """What the simulation needs of the full-size architecture: the widths of its matrices."""

    @property
    def hidden_size(self) -> int: ...

    @property
    def heads(self) -> int: ...

    @property
    def head_dim(self) -> int: ...

    @property
    def expert_intermediate_size(self) -> int: ...

    @property
    def shared_intermediate_size(self) -> int: ...

    @property
    def dense_intermediate_size(self) -> int: ...


def full_inputs(full_model: FullModel) -> dict[str, int]:
    """Inputs of each kind of matrix at full size, by the last parts of its name."""
    hidden = full_model.hidden_size
    value = getattr(full_model, "value_head_dim", 0) or full_model.head_dim
    inputs = {
        "attention.output": full_model.heads * value,
        "experts.down": full_model.expert_intermediate_size,
        "shared.down": full_model.shared_intermediate_size,
        "ffn.down": full_model.dense_intermediate_size,
        "router": hidden,
        "lm_head": hidden,
    }
    for name in ("attention.query", "attention.key", "attention.value"):
        inputs[name] = hidden
    for block in ("experts", "shared", "ffn"):
        inputs[f"{block}.gate"] = inputs[f"{block}.up"] = hidden
    return {name: count for name, count in inputs.items() if count}


def kind_of(name: str) -> str:
    """ "layers.3.experts.gate" -> "experts.gate"."""
    return name.split(".", 2)[2] if name.startswith("layers.") else name


def layer_of(name: str, layers: int) -> int:
    """The layer a matrix belongs to; the LM head comes after the last one."""
    return int(name.split(".", 2)[1]) if name.startswith("layers.") else layers


def dense_matrices(weights: Mapping[str, Tensor], modules: tuple[str, ...]) -> frozenset[str]:
    """Names of the weight matrices that analog_modules stand for.

    A module is a part ("attention", "router", ...) or the beginning of a matrix's name
    ("layers.2.attention", "layers.0.shared.down"). Raises ValueError for one that matches no
    dense matrix of this model, so that nothing is called analog that is not simulated.
    """
    kinds = {kind for part in PARTS.values() for kind in part}
    dense = [name for name in weights if kind_of(name) in kinds]
    found: set[str] = set()
    for module in modules:
        if module in PARTS:
            matches = {name for name in dense if kind_of(name) in PARTS[module]}
        else:
            matches = {name for name in dense if name == module or name.startswith(f"{module}.")}
        if not matches:
            known = [*PARTS, *dense]
            nearest = difflib.get_close_matches(module, known, n=1, cutoff=0.3)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise ValueError(
                f"no dense module {module!r} in this model: give one of {', '.join(PARTS)} "
                f"that it has, or the name of a weight matrix{hint}"
            )
        found |= matches
    return frozenset(found)


def input_of(name: str) -> str:
    """Matrices fed by the same activations share one name (and one set of DAC codes)."""
    for other, first in ((".up", ".gate"), (".key", ".query"), (".value", ".query")):
        if name.endswith(other):
            return name[: -len(other)] + first
    return name


@dataclass
class _Moments:
    """Sums over calibration rows: count [G], total and squares [G, inputs]; G experts or one."""

    count: Tensor
    total: Tensor
    squares: Tensor

    def add(self, x: Tensor, group: Tensor | None) -> None:
        x = x.double()
        if group is None:
            self.count += len(x)
            self.total += x.sum(0)
            self.squares += x.square().sum(0)
            return
        self.count += torch.bincount(group, minlength=len(self.count))
        self.total.index_add_(0, group, x)
        self.squares.index_add_(0, group, x.square())

    def deviation(self, sizes: tuple[int, ...]) -> Tensor:
        """Standard deviation of the inputs of each row block, [G, blocks]."""
        own = self._deviation(self.count, self.total, self.squares, sizes)
        whole = self._deviation(
            self.count.sum(0, keepdim=True),
            self.total.sum(0, keepdim=True),
            self.squares.sum(0, keepdim=True),
            sizes,
        )
        return torch.where(self.count.unsqueeze(1) >= _FEWEST_ROWS, own, whole)

    @staticmethod
    def _deviation(count: Tensor, total: Tensor, squares: Tensor, sizes: tuple[int, ...]) -> Tensor:
        columns = []
        for first, second in zip(
            total.split(sizes, dim=1), squares.split(sizes, dim=1), strict=True
        ):
            n = (count * first.shape[1]).clamp(min=1)
            mean = first.sum(1) / n
            columns.append((second.sum(1) / n - mean.square()).clamp(min=0).sqrt())
        return torch.stack(columns, dim=1)


class NoisyModel:
    """Weights of one model, their calibrated input ranges and the cache of programmed tiles.

    row_inputs maps kinds of matrices to their inputs at full size (see full_inputs); None takes
    the model's own. cache_bytes bounds the memory of programmed tiles (oldest leave first).
    Raises ValueError naming the tensor when a weight is NaN or infinite.
    """

    def __init__(
        self,
        config: DecoderConfig,
        weights: Mapping[str, Tensor],
        *,
        row_inputs: Mapping[str, int] | None = None,
        device: torch.device | None = None,
        cache_bytes: int = 1 << 30,
    ) -> None:
        self.config = config
        self.device = device or torch.device("cpu")
        self.weights = {name: tensor.to(self.device) for name, tensor in weights.items()}
        if config.tie_embeddings and "lm_head" not in self.weights:
            self.weights["lm_head"] = self.weights["embedding"]
            self.config = replace(config, tie_embeddings=False)
        for name, tensor in self.weights.items():
            if not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"weight {name!r} contains NaN or infinity")
        self.row_inputs = dict(row_inputs or {})
        self.cache_bytes = cache_bytes
        self._programmed: OrderedDict[tuple[object, ...], ProgrammedMatrix] = OrderedDict()
        self._cached_bytes = 0
        self._moments: dict[str, _Moments] = {}
        self.calibration_tokens: Tensor | None = None
        self.router_spread: dict[str, Tensor] = {}  # clean PERCENTILES of the logits, [2, experts]

    @torch.no_grad()
    def calibrate(self, tokens: Tensor) -> None:
        """Measure the inputs of every matrix in a clean forward pass over tokens [B, T]."""
        self._moments = {}
        self.calibration_tokens = tokens

        def record(name: str, x: Tensor, weight: Tensor, group: Tensor | None) -> None:
            if input_of(name) != name:
                return
            if name not in self._moments:
                groups = weight.shape[0] if weight.ndim == 3 else 1
                zeros = torch.zeros(groups, x.shape[1], dtype=torch.float64, device=x.device)
                count = torch.zeros(groups, dtype=torch.int64, device=x.device)
                self._moments[name] = _Moments(count, zeros, zeros.clone())
            self._moments[name].add(x, group)

        def linear(name: str, x: Tensor, weight: Tensor) -> Tensor:
            record(name, x, weight, None)
            y = plain_linear(name, x, weight)
            if kind_of(name) == "router":
                self.router_spread[name] = percentiles(y)
            return y

        def grouped(name: str, x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
            group = torch.arange(len(counts), device=x.device).repeat_interleave(counts)
            record(name, x, weight, group)
            return plain_grouped_linear(name, x, weight, counts)

        shape = (tokens.shape[0], tokens.shape[1])
        hidden = self.embed(tokens)
        for layer in range(self.config.layers):
            hidden = layer_forward(
                self.config, self.weights, hidden, layer, shape,
                linear=linear, grouped_linear=grouped,
            )  # fmt: skip
        head_forward(self.config, self.weights, hidden, linear=linear)

    def embed(self, tokens: Tensor) -> Tensor:
        """Hidden states [B*T, d] before the first layer."""
        return torch.nn.functional.embedding(
            tokens.to(self.device), self.weights["embedding"]
        ).flatten(0, 1)

    def sizes(self, name: str, tile_rows: int) -> tuple[int, ...]:
        """Row blocks of a matrix: as many as at full size, the miniature's rows split evenly."""
        inputs = self.weights[name].shape[-1]
        at_full_size = self.row_inputs.get(kind_of(name), inputs)
        return block_sizes(inputs, min(math.ceil(at_full_size / tile_rows), inputs))

    def input_range(self, name: str, noise: Noise) -> Tensor:
        """beta_inp = kappa * std of the calibrated inputs, [blocks] or [experts, blocks]."""
        if not self._moments:
            raise ValueError("the input ranges are not calibrated yet")
        deviation = self._moments[input_of(name)].deviation(self.sizes(name, noise.tile_rows))
        # Inputs that are always zero need no range; any positive one keeps the scale finite.
        deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        ranges = (noise.input_range_std * deviation).to(self.weights[name].dtype)
        return ranges if self.weights[name].ndim == 3 else ranges[0]

    def programmed(self, name: str, noise: Noise, seed: int, sign: int) -> ProgrammedMatrix:
        """The tiles of one matrix (of all experts of a layer) for one seed; cached."""
        sizes = self.sizes(name, noise.tile_rows)
        key = (name, sizes, noise.noise_model, noise.magnitude, noise.time_s, seed, sign)
        if key in self._programmed:
            self._programmed.move_to_end(key)
            return self._programmed[key]
        digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=7).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest))
        matrix = program(self.weights[name], sizes, noise, generator=generator, sign=sign)
        self._programmed[key] = matrix
        self._cached_bytes += _bytes(matrix)
        while self._cached_bytes > self.cache_bytes and len(self._programmed) > 1:
            self._cached_bytes -= _bytes(self._programmed.popitem(last=False)[1])
        return matrix

    def analog(self, name: str, noise: Noise, seed: int, sign: int) -> AnalogMatrix:
        """One matrix ready for products under a noise and seed."""
        return prepare(
            self.programmed(name, noise, seed, sign), self.input_range(name, noise), noise
        )


def percentiles(logits: Tensor) -> Tensor:
    """PERCENTILES of each expert's logits [N, E] over the rows, [2, E]."""
    return logits.float().quantile(torch.tensor(PERCENTILES, device=logits.device), dim=0)


def _bytes(matrix: ProgrammedMatrix) -> int:
    return matrix.weight.nbytes + matrix.scale.nbytes


class PlacedModel:
    """One placement under one seed: the weights dictionary and the two product hooks.

    digital [moe_layers, experts] bool; dense: names of dense matrices that are analog. The
    experts of a layer are reordered, digital ones first, together with the router's rows, so that
    each kind is one contiguous group of rows and of weights.
    """

    def __init__(
        self,
        model: NoisyModel,
        noise: Noise,
        digital: Tensor,
        dense: frozenset[str],
        seed: int,
        sign: int,
    ) -> None:
        self.config = model.config
        self.weights = dict(model.weights)
        self.matrices = {name: model.analog(name, noise, seed, sign) for name in sorted(dense)}
        self.digital_counts: dict[str, int] = {}
        self.orders: dict[int, Tensor] = {}  # of the experts of a layer with analog ones
        self._codes: tuple[Tensor | None, str, Tensor | None] = (None, "", None)
        self._gated: dict[str, AnalogMatrix] = {}  # gate and up of a layer as one matrix
        self._up: tuple[Tensor | None, Tensor | None] = (None, None)
        for index, layer in enumerate(self.config.moe_layers):
            if not bool(digital[index].all()):
                self._place_layer(model, noise, layer, digital[index], seed, sign)

    def _place_layer(
        self, model: NoisyModel, noise: Noise, layer: int, digital: Tensor, seed: int, sign: int
    ) -> None:
        order = torch.argsort((~digital).to(torch.int8), stable=True).to(model.device)
        count = int(digital.sum())
        self.orders[layer] = order
        router = f"layers.{layer}.router"
        self.weights[router] = self.weights[router][order]
        if router in self.matrices:
            old = self.matrices[router]
            self.matrices[router] = replace(
                old, weight=old.weight[order], output_scale=old.output_scale[:, order]
            )
        for part in ("gate", "up", "down"):
            name = f"layers.{layer}.experts.{part}"
            self.digital_counts[name] = count
            programmed = model.programmed(name, noise, seed, sign)
            ranges = model.input_range(name, noise)
            if count:
                self.weights[name] = model.weights[name].index_select(0, order[:count])
                rest = order[count:]
                programmed = replace(
                    programmed, weight=programmed.weight[rest], scale=programmed.scale[rest]
                )
                ranges = ranges[rest]
            self.matrices[name] = prepare(programmed, ranges, noise)

    def linear(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        matrix = self.matrices.get(name)
        if matrix is None:
            return plain_linear(name, x, weight)
        return multiply(self._to_codes(name, x, matrix), matrix)

    def grouped_linear(self, name: str, x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
        matrix = self.matrices.get(name)
        if matrix is None:
            return plain_grouped_linear(name, x, weight, counts)
        digital = self.digital_counts[name]
        if not digital:
            return self._grouped_analog(name, x, x, matrix, counts)
        rows = int(counts[:digital].sum())
        clean = plain_grouped_linear(name, x[:rows], weight, counts[:digital])
        noisy = self._grouped_analog(name, x, x[rows:], matrix, counts[digital:])
        return torch.cat((clean, noisy))

    def _grouped_analog(
        self, name: str, source: Tensor, x: Tensor, matrix: AnalogMatrix, counts: Tensor
    ) -> Tensor:
        """Rows x (a part of `source`) through analog experts.

        Gate and up have the same inputs: one product computes both, the second half is kept.
        """
        if name.endswith(".up") and self._up[0] is source and self._up[1] is not None:
            up = self._up[1]
            self._up = (None, None)
            return up
        if not name.endswith(".gate"):
            return analog_grouped_linear(x, matrix, counts)
        if name not in self._gated:
            self._gated[name] = _side_by_side(matrix, self.matrices[f"{name[:-5]}.up"])
        gate, up = analog_grouped_linear(x, self._gated[name], counts).chunk(2, dim=1)
        self._up = (source, up)
        return gate

    def _to_codes(self, name: str, x: Tensor, matrix: AnalogMatrix) -> Tensor:
        """DAC codes of x, kept for the next matrix that the same activations feed."""
        held, held_name, codes = self._codes
        if held is x and held_name == input_of(name) and codes is not None:
            return codes
        codes = to_codes(x, matrix)
        self._codes = (x, input_of(name), codes)
        return codes

    def layers(self, hidden: Tensor, first: int, shape: tuple[int, int]) -> Tensor:
        """Hidden states after the last layer from those [B*T, d] before layer `first`."""
        for layer in range(first, self.config.layers):
            hidden = layer_forward(
                self.config, self.weights, hidden, layer, shape,
                linear=self.linear, grouped_linear=self.grouped_linear,
            )  # fmt: skip
        return hidden

    def layers_after_attention(
        self, hidden: Tensor, x: Tensor, first: int, shape: tuple[int, int]
    ) -> Tensor:
        """The same from what `attention_half` of layer `first` returned."""
        hidden = feed_forward_half(
            self.config, self.weights, hidden, x, first,
            linear=self.linear, grouped_linear=self.grouped_linear,
        )  # fmt: skip
        return self.layers(hidden, first + 1, shape)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits [N, V] of hidden states [N, d] after the last layer."""
        return head_forward(self.config, self.weights, hidden, linear=self.linear)


def _side_by_side(left: AnalogMatrix, right: AnalogMatrix) -> AnalogMatrix:
    """Two matrices with the same inputs as one with the outputs of both."""
    return replace(
        left,
        weight=torch.cat((left.weight, right.weight), dim=-2),
        output_scale=torch.cat((left.output_scale, right.output_scale), dim=-1),
    )


def batches(rows: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `rows`."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
