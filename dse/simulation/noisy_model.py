"""A decoder whose matrices are, as a placement says, clean or written into analog tiles.

The decoder itself is `workloads.moe`; this file supplies its two product hooks. Programmed tiles
are cached per (noise, seed, matrix), so that a placement only chooses between clean and noisy
tensors. Layers before the first analog matrix are not recomputed.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from dse.simulation.digital_format import (
    HEAD_DIM,
    DigitalFormat,
    drawn_rounding_error_squared,
    rounded,
    rounding_error_squared,
)
from dse.simulation.gains import EXPERTS, Gains
from dse.simulation.weight_error import drawn_error_squared, relative_error_squared
from hwmodels.analog_product import AnalogMatrix, laid_by_inputs, prepare
from hwmodels.catalog import nearest
from hwmodels.nonideality import Noise, ProgrammedMatrix, block_sizes, program
from workloads.decoder_config import DecoderConfig
from workloads.moe import (
    embed,
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

# Experts of a layer whose weights' error is measured: those of a layer are alike in it.
_SAMPLED = 16

# Weights whose errors are drawn at least: eps^2 to about 1 %.
_ENOUGH = 1 << 16

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


def group_of(name: str) -> str:
    """The group of matrices that a matrix's gain is that of, one of `gains.GROUPS`."""
    kind = kind_of(name)
    return next((part for part, kinds in PARTS.items() if kind in kinds), EXPERTS)


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
            raise ValueError(
                f"no dense module {module!r} in this model: give one of {', '.join(PARTS)} that it "
                f"has, or the name of a weight matrix{nearest(module, (*PARTS, *dense))}"
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
class Moments:
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


def add_inputs(
    moments: dict[str, Moments], name: str, x: Tensor, groups: int, group: Tensor | None
) -> None:
    """Add inputs [rows, inputs] of one product to the sums of its matrix, by group of the rows.

    Matrices that are fed the same activations share the sums of one of them (`input_of`).
    """
    if input_of(name) != name:
        return
    if name not in moments:
        zeros = torch.zeros(groups, x.shape[1], dtype=torch.float64, device=x.device)
        count = torch.zeros(groups, dtype=torch.int64, device=x.device)
        moments[name] = Moments(count, zeros, zeros.clone())
    moments[name].add(x, group)


class NoisyModel:
    """Weights of one model, their calibrated input ranges and the cache of programmed tiles.

    row_inputs maps kinds of matrices to their inputs at full size (see full_inputs); None takes
    the model's own. gains scale errors to those of the full model (None: they stay the
    miniature's). cache_bytes bounds the memory of programmed tiles (oldest leave first).
    Raises ValueError naming the tensor when a weight is NaN or infinite.
    """

    def __init__(
        self,
        config: DecoderConfig,
        weights: Mapping[str, Tensor],
        *,
        row_inputs: Mapping[str, int] | None = None,
        gains: Gains | None = None,
        device: torch.device | None = None,
        cache_bytes: int = 1 << 30,
    ) -> None:
        self.gains = gains
        self._own_error: dict[tuple[object, ...], float] = {}
        self._error_lock = threading.Lock()
        self._digital: dict[int, dict[str, Tensor]] = {}
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
        self._lock = threading.Lock()  # draws of a placement run side by side
        self.moments: dict[str, Moments] = {}  # of each matrix's inputs, once calibrated
        self.calibration_tokens: Tensor | None = None
        self.router_spread: dict[str, Tensor] = {}  # clean PERCENTILES of the logits, [2, experts]

    @torch.no_grad()
    def calibrate(self, tokens: Tensor) -> None:
        """Measure the inputs of every matrix in a clean forward pass over tokens [B, T]."""
        self.moments = {}
        self.calibration_tokens = tokens

        def record(name: str, x: Tensor, weight: Tensor, group: Tensor | None) -> None:
            add_inputs(self.moments, name, x, len(weight) if weight.ndim == 3 else 1, group)

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
        return embed(self.config, self.weights["embedding"], tokens.to(self.device))

    def sizes(self, name: str, tile_rows: int) -> tuple[int, ...]:
        """Row blocks of a matrix: as many as at full size, the miniature's rows split evenly."""
        inputs = self.weights[name].shape[-1]
        at_full_size = self.row_inputs.get(kind_of(name), inputs)
        return block_sizes(inputs, min(math.ceil(at_full_size / tile_rows), inputs))

    def input_range(self, name: str, noise: Noise) -> Tensor:
        """beta_inp = kappa * std of the calibrated inputs, [blocks] or [experts, blocks]."""
        if not self.moments:
            raise ValueError("the input ranges are not calibrated yet")
        deviation = self.moments[input_of(name)].deviation(self.sizes(name, noise.tile_rows))
        # Inputs that are always zero need no range; any positive one keeps the scale finite.
        deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        ranges = (noise.input_range_std * deviation).to(self.weights[name].dtype)
        return ranges if self.weights[name].ndim == 3 else ranges[0]

    def programmed(self, name: str, noise: Noise, seed: int, sign: int) -> ProgrammedMatrix:
        """The tiles of one matrix (of all experts of a layer) for one seed; cached."""
        sizes = self.sizes(name, noise.tile_rows)
        key = (name, sizes, *_devices(noise), seed, sign)
        with self._lock:
            if key in self._programmed:
                self._programmed.move_to_end(key)
                return self._programmed[key]
        digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=7).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest))
        matrix = laid_by_inputs(
            program(
                self.weights[name], sizes, noise,
                generator=generator, sign=sign, error_scale=self.error_scale(name, noise),
            )
        )  # fmt: skip
        with self._lock:
            if key not in self._programmed:  # another draw may have been faster
                self._programmed[key] = matrix
                self._cached_bytes += _bytes(matrix)
            while self._cached_bytes > self.cache_bytes and len(self._programmed) > 1:
                self._cached_bytes -= _bytes(self._programmed.popitem(last=False)[1])
        return matrix

    def analog(self, name: str, noise: Noise, seed: int, sign: int) -> AnalogMatrix:
        """One matrix ready for products under a noise and seed."""
        return self.prepared(
            name, self.programmed(name, noise, seed, sign), self.input_range(name, noise), noise
        )

    def prepared(
        self, name: str, tiles: ProgrammedMatrix, ranges: Tensor, noise: Noise
    ) -> AnalogMatrix:
        """Tiles of a matrix ready for products, with the converters that its group has."""
        lost = self.gains.lost_bits.get(group_of(name), 0.0) if self.gains is not None else 0.0
        return prepare(tiles, ranges, noise, lost)

    def error_scale(self, name: str, noise: Noise) -> float:
        """What the errors of a matrix's weights are multiplied by: sqrt(gain) eps_full / eps_own.

        Both eps are those of the same devices, at full size in blocks of as many rows as the full
        model's matrix has there; eps_own is that of all matrices of the kind. 1 without gains.
        """
        if self.gains is None or (noise.magnitude == 0 and noise.time_s is None):
            return 1.0
        kind, group = kind_of(name), group_of(name)
        own = self._own_error_squared(kind, noise)
        if own == 0:
            return 1.0
        full = self._full_error_squared(kind, noise)
        return math.sqrt(self.gains.sensitivity.get(group, 1.0) * full / own)

    def _full_error_squared(self, kind: str, noise: Noise) -> float:
        """eps^2 of a kind of matrix at full size."""
        assert self.gains is not None
        own = next(weight for name, weight in self.weights.items() if kind_of(name) == kind)
        inputs = self.row_inputs.get(kind, own.shape[-1])
        rows = math.ceil(inputs / math.ceil(inputs / noise.tile_rows))
        return drawn_error_squared(noise, rows, self.gains.tail_index.get(group_of(kind)))

    def group_error_squared(self, group: str, noise: Noise) -> float:
        """eps^2 of a group of matrices at full size, its kinds weighted by their squares."""
        error = size = 0.0
        for name, weight in self.weights.items():
            if group_of(name) == group and _is_matrix(kind_of(name)):
                square = float(weight.double().square().sum())
                error += square * self._full_error_squared(kind_of(name), noise)
                size += square
        return error / size

    def _own_error_squared(self, kind: str, noise: Noise) -> float:
        """eps^2 of the kind's matrices in the miniature's tiles, one draw."""
        # Sorted: files give weights in any order, and each has a seed of its own.
        names = sorted(name for name in self.weights if kind_of(name) == kind)
        sizes = self.sizes(names[0], noise.tile_rows)
        key = (kind, sizes, *_devices(noise))
        with self._error_lock:
            if key not in self._own_error:
                weights = [self.weights[name] for name in names]
                self._own_error[key] = _error_of_all(weights, sizes, noise)
            return self._own_error[key]

    def digital(self, form: DigitalFormat) -> dict[str, Tensor]:
        """All weights as the digital parts hold them; norms, embedding and router are not rounded.

        With gains, rounding errors are scaled as programming errors are.
        """
        if form.weight_bits == 16:
            return self.weights
        with self._lock:
            if form.weight_bits not in self._digital:
                self._digital[form.weight_bits] = {
                    name: self._rounded(name, form.weight_bits) for name in self.weights
                }
            return self._digital[form.weight_bits]

    def _rounded(self, name: str, bits: int) -> Tensor:
        weight, kind = self.weights[name], kind_of(name)
        if not _is_matrix(kind) or kind == "router":
            return weight
        values = rounded(weight, bits)
        if self.gains is None:
            return values
        own = rounding_error_squared(weight, bits)
        gain = self.gains.sensitivity.get(group_of(name), 1.0)
        scale = math.sqrt(gain * drawn_rounding_error_squared(bits) / own) if own else 1.0
        return torch.lerp(weight, values, scale)

    def cached(self, name: str, states: Tensor, form: DigitalFormat) -> Tensor:
        """Keys or values [rows, heads * width] as the cache gives them back.

        A scale for each token and head; with gains, errors are scaled as those of the attention.
        """
        if form.kv_bits == 16 or kind_of(name) not in ("attention.key", "attention.value"):
            return states
        heads = states.unflatten(-1, (self.config.kv_heads, -1))
        width = heads.shape[-1]
        values = rounded(heads, form.kv_bits, width)
        if self.gains is not None:
            own = drawn_rounding_error_squared(form.kv_bits, width)
            full = drawn_rounding_error_squared(form.kv_bits, HEAD_DIM)
            gain = self.gains.sensitivity.get("attention", 1.0)
            values = torch.lerp(heads, values, math.sqrt(gain * full / own))
        return values.flatten(-2)


def percentiles(logits: Tensor) -> Tensor:
    """PERCENTILES of each expert's logits [N, E] over the rows, [2, E]."""
    return logits.float().quantile(torch.tensor(PERCENTILES, device=logits.device), dim=0)


def _is_matrix(kind: str) -> bool:
    return kind.startswith("experts.") or any(kind in kinds for kinds in PARTS.values())


def _error_of_all(weights: Sequence[Tensor], sizes: tuple[int, ...], noise: Noise) -> float:
    """eps^2 of matrices together, of stacks of experts by some of them, small ones drawn again."""
    some = [w[:: max(len(w) // _SAMPLED, 1)] if w.ndim == 3 else w for w in weights]
    squares = [float(weight.double().square().sum()) for weight in some]
    draws = math.ceil(_ENOUGH / sum(weight.numel() for weight in some))
    error = 0.0
    for number, (weight, square) in enumerate(zip(some, squares, strict=True)):
        for draw in range(draws):
            seed = number * draws + draw
            error += square * relative_error_squared(weight, sizes, noise, seed) / draws
    return error / sum(squares) if any(squares) else 0.0


def _devices(noise: Noise) -> tuple[object, ...]:
    """What of a noise programmed weights depend on, but for their row blocks."""
    return (noise.noise_model, noise.magnitude, noise.time_s)


def _bytes(matrix: ProgrammedMatrix) -> int:
    return matrix.weight.nbytes + matrix.scale.nbytes


def batches(rows: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `rows`."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
