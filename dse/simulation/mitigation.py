"""Two post-training mitigations of a noisy placement, fitted on calibration text.

After ROMER (Zhou et al., arXiv 2605.11800), which calibrates a mixture-of-experts model once it
sits on noisy analog hardware: *router recalibration* by percentile normalisation of the router's
logits, and *expert replacement* of under-used experts by frequent ones. We know its abstract;
what it leaves open is decided here and said in the functions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dse.simulation.mitigation_names import check_mitigation
from dse.simulation.noisy_model import kind_of, layer_of, percentiles
from dse.simulation.placed_model import PlacedModel
from hwmodels.analog_product import AnalogMatrix
from hwmodels.nonideality import Noise, ProgrammedMatrix, program

REPLACED_SHARE = 1 / 16
"""Share of a layer's experts that gives way to copies of as many others. Twice as many cost the
olmoe-mini 0.015 to 0.022 nats at c = 1.5 to 8; the paper's abstract names no share."""


@dataclass(frozen=True)
class LayerFit:
    """What a layer's router does differently; experts are numbered as placed.

    scale, shift [E]: of the logits. copied, freed [n]: expert copied[i] also sits in the tiles of
    freed[i], whose own weights are gone. load [E]: share of the calibration tokens afterwards.
    """

    scale: Tensor
    shift: Tensor
    copied: Tensor
    freed: Tensor
    load: Tensor

    def apply(self, logits: Tensor) -> Tensor:
        """Mitigated logits [N, E]; every second token goes to the copy, so both share the load."""
        changed = logits * self.scale + self.shift
        if len(self.freed):
            odd = (torch.arange(len(logits), device=logits.device) % 2).bool().unsqueeze(1)
            wanted = changed[:, self.copied]
            never = torch.full_like(wanted, -torch.inf)
            changed[:, self.copied] = torch.where(odd, never, wanted)
            changed[:, self.freed] = torch.where(odd, wanted, never)
        return changed


@dataclass(eq=False)
class MitigatedModel(PlacedModel):
    """A placed model whose routers are fitted layer by layer on the calibration text.

    Each layer is fitted on inputs that noise and the mitigations of earlier layers have already
    changed. names: of `MITIGATIONS`. fits: one for each layer with routed experts.
    """

    names: Sequence[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.names = check_mitigation(self.names)
        self.fits: dict[int, LayerFit] = {}
        tokens = self.model.calibration_tokens
        if tokens is None:
            raise ValueError("a mitigation needs a calibrated model")
        shape = (tokens.shape[0], tokens.shape[1])
        self.layers(self.model.embed(tokens), 0, shape)  # meets every router once, and fits it

    def linear(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        logits = super().linear(name, x, weight)
        if kind_of(name) != "router":
            return logits
        layer = layer_of(name, self.config.layers)
        if layer not in self.fits:
            self.fits[layer] = self._fit(layer, name, logits)
        return self.fits[layer].apply(logits)

    def _fit(self, layer: int, name: str, logits: Tensor) -> LayerFit:
        """Fit a layer's router, and write the copies that it asks for."""
        experts = logits.shape[1]
        order = self.orders.get(layer)
        clean = self.model.router_spread[name]
        first = experts  # of the analog experts, which come last
        if order is not None:
            clean = clean[:, order]
            first = self.digital_counts[f"layers.{layer}.experts.gate"]
        analog = torch.arange(first, experts, device=logits.device)
        fit = fit_layer(logits, clean, analog, self.names, self.config.experts_per_token)
        self._copy(layer, fit.copied - first, fit.freed - first, first)
        return fit

    def _copy(self, layer: int, copied: Tensor, freed: Tensor, digital: int) -> None:
        """Write the weights of experts `copied` into the tiles of `freed`, with its own noise."""
        if not len(freed):
            return
        model, noise, draw = self.model, self.noise, (self.seed, self.sign)
        for part in ("gate", "up", "down"):
            name = f"layers.{layer}.experts.{part}"
            source, slots = (self.orders[layer][digital + which] for which in (copied, freed))
            sizes, scale = model.sizes(name, noise.tile_rows), model.error_scale(name, noise)
            made = [
                program_expert(weight, sizes, noise, copy_of(name), slot, draw, scale)
                for weight, slot in zip(model.weights[name][source], slots.tolist(), strict=True)
            ]
            weight = torch.stack([matrix.weight for matrix in made])
            tiles = ProgrammedMatrix(weight, torch.stack([m.scale for m in made]), sizes)
            ranges = model.input_range(name, noise)[source]
            made_ready = model.prepared(name, tiles, ranges, noise)
            self.matrices[name] = _put(self.matrices[name], made_ready, freed)


def fit_layer(
    logits: Tensor, clean: Tensor, analog: Tensor, names: Sequence[str], experts_per_token: int
) -> LayerFit:
    """Map noisy logits' percentiles onto the clean ones, then free under-used analog experts.

    Percentile normalisation is taken expert by expert as the linear map between the 5th and the
    95th percentiles; the paper's abstract names no percentiles.

    Args:
        logits: of the calibration tokens, [N, E].
        clean: `router_spread` of the layer, [2, E].
        analog: numbers of the analog experts.
    """
    experts = logits.shape[1]
    none = torch.empty(0, dtype=torch.int64, device=logits.device)
    scale, shift = torch.ones_like(logits[0]), torch.zeros_like(logits[0])
    if "router-recalibration" in names:
        noisy = percentiles(logits)
        scale = (clean[1] - clean[0]) / (noisy[1] - noisy[0]).clamp(min=1e-9)
        shift = clean[0] - noisy[0] * scale

    def load(fit: LayerFit) -> Tensor:
        """Share of the tokens that each expert gets, [E]."""
        chosen = fit.apply(logits).topk(experts_per_token, dim=-1).indices.flatten()
        return torch.bincount(chosen, minlength=experts) / len(logits)

    fit = LayerFit(scale, shift, none, none, none)
    if "expert-replacement" in names:
        # Experts that a token needs are left; an expert is copied or freed, not both.
        count = min(round(REPLACED_SHARE * experts), len(analog) // 2, experts - experts_per_token)
        by_use = analog[load(fit)[analog].argsort(descending=True, stable=True)]
        fit = replace(fit, copied=by_use[:count], freed=by_use.flip(0)[:count])
    return replace(fit, load=load(fit))


def copy_of(name: str) -> str:
    """What names a matrix in the seed of the noise of its copies."""
    return f"{name}/copy"


def program_expert(
    weight: Tensor,
    sizes: tuple[int, ...],
    noise: Noise,
    name: str,
    expert: int,
    draw: tuple[int, int],
    error_scale: float = 1.0,
) -> ProgrammedMatrix:
    """Tiles of one expert's matrix [outputs, inputs]; the draw and the expert seed the noise."""
    digest = hashlib.blake2b(f"{draw[0]}/{name}/{expert}".encode(), digest_size=7).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest))
    return program(weight, sizes, noise, generator=generator, sign=draw[1], error_scale=error_scale)


def _put(matrix: AnalogMatrix, part: AnalogMatrix, experts: Tensor) -> AnalogMatrix:
    """A matrix with some experts' tiles in place of its own."""
    return replace(
        matrix,
        weight=matrix.weight.index_copy(0, experts, part.weight),
        input_scale=matrix.input_scale.index_copy(0, experts, part.input_scale),
        output_scale=matrix.output_scale.index_copy(1, experts, part.output_scale),
    )
