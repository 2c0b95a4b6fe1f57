"""What the devices do to weights: programming noise, drift, read noise.

The random part of the noisy simulation is aihwkit's: its `inference.noise` models run on the
conductances of all tiles at once (any number of leading dimensions, such as the experts of a
layer). The deterministic part, the converters, is `hwmodels.analog_product`.

Weights are stored [..., outputs, inputs]. A matrix with more inputs than a tile has rows is cut
into row blocks; each block has its own column maxima, input range, compensation and ADC reading.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from hwmodels.noise_models import (
    MeasuredNoise,
    check_noise_model,
    is_own,
    longest_age_s,
    own_noise,
)

# The only times at which the RRAM measurements were taken (Wan et al., Nature 2022).
RRAM_TIMES_S = (1.0, 86400.0, 172800.0)

# aihwkit's floor of the drift read-out (GlobalDriftCompensation.readout).
_SMALLEST_READOUT = 1e-4

# Conductances that a noise model is given at a time: what it makes of them stays in the cache.
_PIECE = 1 << 17

_FILTERS = threading.Lock()


@dataclass(frozen=True)
class Noise:
    """Everything about the hardware that accuracy depends on.

    noise_model: one of NOISE_MODELS, or the path of a technology's TOML file with one's own
    measured noise. magnitude: factor c on the programming noise (0: none; for
    "rram" also on its long-term noise). time_s: seconds between programming and use, None for
    just programmed (no drift, no read noise). tile_rows: rows of a tile of the full-size
    hardware. dac_bits, adc_bits: converter resolution, 2 to 16, None for an ideal converter.
    input_range_std: kappa, the input range in standard deviations of the calibrated inputs.
    output_range: lambda, the ADC range in units of input range times largest weight of a column.
    word_line_drop, bit_line_drop: voltage lost on wires, as `hwmodels.tile_limits.line_drops`
    gives it for the full-size block (0: none).
    A value outside its range raises ValueError.
    """

    noise_model: str = "pcm"
    magnitude: float = 1.0
    time_s: float | None = None
    tile_rows: int = 512
    dac_bits: int | None = 8
    adc_bits: int | None = 8
    input_range_std: float = 12.0
    output_range: float = 2.0
    word_line_drop: float = 0.0
    bit_line_drop: float = 0.0

    def __post_init__(self) -> None:
        check_noise_model(self.noise_model)
        if not (math.isfinite(self.magnitude) and self.magnitude >= 0):
            raise ValueError(f"noise magnitude is {self.magnitude}; a finite number >= 0 is needed")
        if self.tile_rows < 1:
            raise ValueError(f"tile_rows is {self.tile_rows}; at least 1 is needed")
        for name in ("dac_bits", "adc_bits"):
            bits = getattr(self, name)
            if bits is not None and not (2 <= bits <= 16 and int(bits) == bits):
                raise ValueError(f"{name} is {bits}; a whole number from 2 to 16 is needed")
        for name in ("input_range_std", "output_range"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; a finite number above 0 is needed")
        for name in ("word_line_drop", "bit_line_drop"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}; a finite number >= 0 is needed")
        check_age(self.noise_model, self.time_s)


def check_age(noise_model: str, age_s: float | None) -> None:
    """Raise ValueError unless a noise model was measured to such an age; None: just programmed."""
    if age_s is None:
        return
    if not (math.isfinite(age_s) and age_s >= 0):
        raise ValueError(f"time_s is {age_s}; a finite number of seconds >= 0, or none, is needed")
    longest = longest_age_s(noise_model)
    if age_s > longest:
        raise ValueError(
            f"noise model {noise_model!r} was measured to an age of {longest:g} s only, not of "
            f"{age_s:g} s; the nearest is {longest:g} s"
        )


def measured_time_s(noise_model: str, age_s: float) -> float:
    """The age to simulate: for RRAM the next that was measured, no better than what is asked."""
    if noise_model != "rram":
        return age_s
    return min(known for known in RRAM_TIMES_S if known >= age_s)


class PolynomialNoise:
    """One's own measured noise, with the methods of aihwkit's models; conductances in uS."""

    def __init__(self, noise: MeasuredNoise, magnitude: float) -> None:
        self.noise, self.magnitude, self.g_max = noise, magnitude, noise.g_max_us

    def _at(self, name: str, conductance: Tensor) -> Tensor:
        """One of its polynomials at conductances up to g_max."""
        relative = (conductance.abs() / self.g_max).clamp_(max=1.0)
        highest, *lower = reversed(getattr(self.noise, name))
        value = torch.full_like(relative, highest)
        for coefficient in lower:
            value = value.mul_(relative).add_(coefficient)
        return value

    def apply_programming_noise_to_conductance(self, g_target: Tensor) -> Tensor:
        deviation = self._at("programming_us", g_target).mul_(self.magnitude)
        return deviation.mul_(torch.randn_like(g_target)).add_(g_target).clamp_(min=0.0)

    def generate_drift_coefficients(self, g_target: Tensor) -> Tensor:
        spread = self._at("drift_exponent_std", g_target).mul_(torch.randn_like(g_target))
        return spread.add_(self._at("drift_exponent_mean", g_target)).abs_()

    def apply_drift_noise_to_conductance(
        self, g_prog: Tensor, exponent: Tensor, t_inference: float
    ) -> Tensor:
        age = t_inference + self.noise.drift_start_s
        drifted = g_prog * torch.pow(age / self.noise.drift_start_s, -exponent)
        # 1/f noise from the read time on; younger than that nothing has accumulated.
        decades = max(math.log((age + self.noise.read_time_s) / (2 * self.noise.read_time_s)), 0.0)
        noise = self._at("read_noise", g_prog).mul_(drifted).mul_(math.sqrt(decades))
        return noise.mul_(torch.randn_like(g_prog)).add_(drifted).clamp_(min=0.0)


def device_model(name: str, magnitude: float = 1.0) -> Any:
    """The noise model of that name or file, its programming noise scaled by `magnitude`."""
    check_noise_model(name)
    return PolynomialNoise(own_noise(name), magnitude) if is_own(name) else _named(name, magnitude)


@cache
def _named(name: str, magnitude: float) -> Any:
    """aihwkit's noise model of that name with its programming noise scaled by `magnitude`.

    Two defaults of aihwkit are corrected: the RRAM polynomial belongs to g_max = 40 uS (with the
    default of 25 uS its relative noise is 1.6 times too large), and the CMO-HfOx acceptance range
    of 2 % must be given as 2 (the default 2e-2 is no key of its table and silently means 0.2 %).
    """
    from aihwkit.inference.noise.hermes import HermesNoiseModel
    from aihwkit.inference.noise.pcm import PCMLikeNoiseModel
    from aihwkit.inference.noise.reram import ReRamCMONoiseModel, ReRamWan2022NoiseModel

    if name == "pcm":
        return PCMLikeNoiseModel(prog_noise_scale=magnitude)
    if name in ("hermes", "hermes-1device"):
        devices = 2 if name == "hermes" else 1
        return HermesNoiseModel(num_devices=devices, prog_noise_scale=magnitude)
    if name == "rram":
        return ReRamWan2022NoiseModel(g_max=40.0, noise_scale=magnitude)
    return ReRamCMONoiseModel(acceptance_range=2, prog_noise_scale=magnitude)


class SignedNormal(TorchFunctionMode):
    """While active, `torch.randn_like` draws from `generator` and multiplies by `sign`.

    This is how an antithetic pair is made without rewriting any noise model: the same generator
    seed with sign +1 and -1 gives noise of opposite sign for every random number that aihwkit
    draws (programming, drift exponent, read noise), each with its right distribution.
    """

    def __init__(self, generator: torch.Generator, sign: int = 1) -> None:
        super().__init__()
        self.generator = generator
        self.sign = sign

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.randn_like:
            draw = torch.empty_like(args[0]).normal_(generator=self.generator)
            return draw.neg_() if self.sign < 0 else draw
        return func(*args, **(kwargs or {}))


def block_sizes(inputs: int, blocks: int) -> tuple[int, ...]:
    """`inputs` rows cut into `blocks` as evenly as possible, larger blocks first (as aihwkit)."""
    if not 1 <= blocks <= inputs:
        raise ValueError(f"{inputs} inputs cannot be cut into {blocks} row blocks")
    base, extra = divmod(inputs, blocks)
    return tuple(base + (index < extra) for index in range(blocks))


@dataclass(frozen=True)
class ProgrammedMatrix:
    """Weights as they sit in the tiles.

    weight [..., outputs, inputs]: in units of the column maximum of their tile, noisy and drifted.
    scale [..., blocks, outputs]: column maximum times drift compensation, applied digitally.
    sizes: the number of inputs of each row block; they add up to inputs.
    """

    weight: Tensor
    scale: Tensor
    sizes: tuple[int, ...]

    def effective_weight(self) -> Tensor:
        """The weights that a digital reader would need for the same result, [..., out, in]."""
        sizes = torch.tensor(self.sizes, device=self.scale.device)
        columns = self.scale.repeat_interleave(sizes, dim=-2, output_size=sum(self.sizes))
        return self.weight * columns.transpose(-1, -2)


@torch.no_grad()
def program(
    weight: Tensor,
    sizes: Sequence[int],
    noise: Noise,
    *,
    generator: torch.Generator,
    sign: int = 1,
    error_scale: float = 1.0,
) -> ProgrammedMatrix:
    """Write weights [..., outputs, inputs] into tiles of the given row-block sizes.

    error_scale multiplies the error of every weight, whatever its cause and after compensation.
    Draws on the CPU, so that a seed means the same on every device; the result lies where
    `weight` lies. Equal in distribution to aihwkit's `program_weights` followed, if
    `noise.time_s` is given, by `drift_weights(time_s)` with global drift compensation read
    without converter error; then the wires' `with_ir_drop`. Raises ValueError when the sizes do not
    add up or weights have NaN.
    """
    if sum(sizes) != weight.shape[-1]:
        raise ValueError(f"row blocks {tuple(sizes)} do not add up to {weight.shape[-1]} inputs")
    if not bool(torch.isfinite(weight).all()):
        raise ValueError("weights contain NaN or infinity")
    parts = list(weight.detach().to("cpu").split(list(sizes), dim=-1))
    column = torch.stack([part.abs().amax(-1) for part in parts], dim=-2)
    column = torch.where(column > 0, column, torch.ones_like(column))
    scaled = torch.cat(
        [part / column[..., block, :, None] for block, part in enumerate(parts)], dim=-1
    )
    noisy, compensation = scaled, None
    if noise.magnitude > 0 or noise.time_s is not None:
        model = device_model(noise.noise_model, float(noise.magnitude))
        write = _write_single_device if noise.noise_model == "cmo-hfox" else _write_device_pair
        age_s = noise.time_s
        if age_s is not None:
            age_s = measured_time_s(noise.noise_model, age_s)
        with SignedNormal(generator, sign), _quiet(noise.noise_model):
            noisy, compensation = write(model, scaled, tuple(sizes), age_s)
        if error_scale != 1:
            noisy = _with_scaled_error(scaled, noisy, compensation, tuple(sizes), error_scale)
    if compensation is not None:
        column = column * compensation.unsqueeze(-1)
    if noise.word_line_drop or noise.bit_line_drop:
        noisy = with_ir_drop(noisy, sizes, noise.word_line_drop, noise.bit_line_drop)
    return _on(weight.device, ProgrammedMatrix(noisy, column, tuple(sizes)))


def _with_scaled_error(
    target: Tensor,
    noisy: Tensor,
    compensation: Tensor | None,
    sizes: tuple[int, ...],
    error_scale: float,
) -> Tensor:
    """Programmed weights whose errors against the target, once compensated, are scaled."""
    if compensation is not None:
        blocks = torch.tensor(sizes, device=target.device)
        factor = compensation.repeat_interleave(blocks, dim=-1, output_size=sum(sizes))
        target = target / factor.unsqueeze(-2)
    return torch.lerp(target, noisy, error_scale)


@contextmanager
def _quiet(noise_model: str) -> Iterator[None]:
    """Silences aihwkit's HERMES model, which indexes with a list that holds one mask.

    Torch warns each time. Filters of warnings are one for all threads: one may change them.
    """
    if not noise_model.startswith("hermes"):
        yield
        return
    with _FILTERS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using a non-tuple sequence")
        yield


def _on(device: torch.device, matrix: ProgrammedMatrix) -> ProgrammedMatrix:
    if matrix.weight.device == device:
        return matrix
    return replace(matrix, weight=matrix.weight.to(device), scale=matrix.scale.to(device))


def _write_device_pair(
    model: Any, scaled: Tensor, sizes: tuple[int, ...], time_s: float | None
) -> tuple[Tensor, Tensor | None]:
    """Positive and negative weights on a device each, the other one at zero conductance."""
    target = torch.stack([scaled, -scaled]).clamp_(min=0.0).mul_(model.g_max)
    programmed = _in_pieces(model.apply_programming_noise_to_conductance, target)
    before = (programmed[0] - programmed[1]).div_(model.g_max)
    if time_s is None:
        return before, None
    exponent = _in_pieces(model.generate_drift_coefficients, target)
    # As in aihwkit's tile, drift starts from the programmed difference, mapped once more.
    ratio = model.g_max / _of_tile(before.abs(), sizes, torch.amax)
    held = torch.stack([before, -before]).clamp_(min=0.0).mul_(ratio)
    drift = partial(model.apply_drift_noise_to_conductance, t_inference=time_s)
    drifted = _in_pieces(drift, held, exponent)
    after = (drifted[0] - drifted[1]).div_(ratio)
    return after, _compensation(before, after, sizes)


def _in_pieces(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """A function of single elements, a piece of contiguous tensors of one shape at a time.

    What draws one number an element, as these models do, draws the same as on whole tensors: torch
    draws sixteen at a time, so pieces are multiples of that and the last one is no short rest.
    """
    result = torch.empty_like(tensors[0])
    cuts = tuple(range(_PIECE, result.numel() - _PIECE + 1, _PIECE))
    pieces = [tensor.view(-1).tensor_split(cuts) for tensor in (result, *tensors)]
    for out, *given in zip(*pieces, strict=True):
        out.copy_(function(*given))
    return result


def _write_single_device(
    model: Any, scaled: Tensor, sizes: tuple[int, ...], time_s: float | None
) -> tuple[Tensor, Tensor | None]:
    """One device a weight: the tile's smallest weight at g_min, its largest at g_max."""
    target, smallest, ratio = _to_single_device(model, scaled, sizes)
    programmed = model.apply_programming_noise_to_conductance(target)
    before = (programmed - model.g_min).div_(ratio).add_(smallest)
    if time_s is None:
        return before, None
    exponent = model.generate_drift_coefficients(target)
    held, smallest, ratio = _to_single_device(model, before, sizes)
    drifted = model.apply_drift_noise_to_conductance(held, exponent, time_s)
    after = (drifted - model.g_min).div_(ratio).add_(smallest)
    return after, _compensation(before, after, sizes)


def _to_single_device(
    model: Any, weight: Tensor, sizes: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Conductances, and the smallest weight and conductance per weight of each one's tile."""
    smallest = _of_tile(weight, sizes, torch.amin)
    span = _of_tile(weight, sizes, torch.amax) - smallest
    # A tile whose weights are all equal has no range; any positive one will do.
    ratio = (model.g_max - model.g_min) / torch.where(span > 0, span, torch.ones_like(span))
    return (weight - smallest).mul_(ratio).add_(model.g_min), smallest, ratio


def _of_tile(weight: Tensor, sizes: tuple[int, ...], reduce: Callable[..., Tensor]) -> Tensor:
    """A value per tile (amin or amax over its weights), [..., 1, inputs] for broadcasting."""
    parts = weight.split(list(sizes), dim=-1)
    values = [reduce(part, (-2, -1), keepdim=True).expand(part[..., :1, :].shape) for part in parts]
    result = torch.cat(values, dim=-1)
    return result if reduce is torch.amin else torch.where(result != 0, result, 1.0)


def _compensation(before: Tensor, after: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Global drift compensation of each tile, [..., blocks]: mean |read-out| before over after."""
    factors = []
    for old, new in zip(before.split(sizes, dim=-1), after.split(sizes, dim=-1), strict=True):
        reference = old.abs().mean((-2, -1)).clamp_(min=_SMALLEST_READOUT)
        factors.append(reference / new.abs().mean((-2, -1)).clamp_(min=_SMALLEST_READOUT))
    return torch.stack(factors, dim=-1)


@torch.no_grad()
def with_ir_drop(
    weight: Tensor, sizes: Sequence[int], word_line_drop: float, bit_line_drop: float
) -> Tensor:
    """What tiles compute with when wires take voltage, each column's gain calibrated away.

    weight [..., outputs, inputs] in units of the column maximum; sizes: the row blocks. A cell's
    weight falls by 1 / (1 + x), x the first order of what is lost on its way from the row driver
    and to the column's foot:

        x_ij = D_w / m^2 sum_k min(j, k) |w_ik|  +  D_b / n^2 sum_k min(d_i, d_k) |w_kj|

    j the column's place from the drivers, d_i the row's from the foot, the second sum over weights
    of the same sign, for positive and negative ones have their own lines. The digital scale of a
    column then fits its weights best, as a calibration with many inputs finds it.
    """
    result = torch.empty_like(weight)
    blocks = zip(weight.split(sizes, dim=-1), result.split(sizes, dim=-1), strict=True)
    for given, kept in blocks:
        part = given.contiguous()
        size, outputs = part.shape[-1], part.shape[-2]
        magnitude = part.abs()
        # Weights of the same sign are half of all magnitudes and half of the signed sum.
        lost = _from_foot(part).mul_(part.sign()).add_(_from_foot(magnitude))
        lost.mul_(0.5 * bit_line_drop / size**2)
        lost.add_(_from_driver(magnitude), alpha=word_line_drop / outputs**2).add_(1.0)
        left = torch.div(part, lost, out=lost)
        power = (left * left).sum(-1, keepdim=True)
        gain = magnitude.mul_(left.abs()).sum(-1, keepdim=True)
        torch.mul(left, gain.div_(torch.where(power > 0, power, 1.0)), out=kept)
    return result


def _from_driver(load: Tensor) -> Tensor:
    """sum_k min(j, k) load_k over outputs, the drivers before the first.

    min(j, k) counts the stretches of wire that both share: those up to j each carry what lies at or
    beyond them. Two running sums.
    """
    carried = load.sum(-2, keepdim=True) - load.cumsum(-2) + load
    return carried.cumsum(-2)


def _from_foot(load: Tensor) -> Tensor:
    """The same over inputs, counted from the column's foot after the last."""
    carried = load.cumsum(-1)
    sums = carried.cumsum(-1)
    return carried.sub_(sums).add_(sums[..., -1:])
