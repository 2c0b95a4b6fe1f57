"""One placement of a noisy model under one seed, and its passes through the decoder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dse.simulation.digital_format import DigitalFormat
from dse.simulation.noisy_model import NoisyModel, input_of
from hwmodels.analog_product import AnalogMatrix, analog_grouped_linear, multiply, to_codes
from hwmodels.nonideality import Noise
from workloads.moe import (
    feed_forward_half,
    head_forward,
    layer_forward,
    plain_grouped_linear,
    plain_linear,
)

# Rows of hidden states that the head gets at a time: their logits stay in a CPU's cache.
_HEAD_ROWS = 128


@dataclass(eq=False)
class PlacedModel:
    """One placement under one seed: the weights dictionary and the two product hooks.

    digital [moe_layers, experts] bool; dense: names of dense matrices that are analog; form: bits
    of what is digital. The
    experts of a layer are reordered, digital ones first, together with the router's rows, so that
    each kind is one contiguous group of rows and of weights.
    """

    model: NoisyModel
    noise: Noise
    digital: Tensor
    dense: frozenset[str]
    seed: int
    sign: int
    form: DigitalFormat = field(default=DigitalFormat(), kw_only=True)

    def __post_init__(self) -> None:
        model = self.model
        self.config = model.config
        self.clean = model.digital(self.form)
        self.weights = dict(self.clean)
        self.matrices = {
            name: model.analog(name, self.noise, self.seed, self.sign)
            for name in sorted(self.dense)
        }
        self.digital_counts: dict[str, int] = {}
        self.orders: dict[int, Tensor] = {}  # of the experts of a layer with analog ones
        self._codes: tuple[Tensor | None, str, Tensor | None] = (None, "", None)
        self._gated: dict[str, AnalogMatrix] = {}  # gate and up of a layer as one matrix
        self._up: tuple[Tensor | None, Tensor | None] = (None, None)
        for digital, layer in zip(self.digital, self.config.moe_layers, strict=True):
            if not bool(digital.all()):
                self._place_layer(layer, digital)

    def _place_layer(self, layer: int, digital: Tensor) -> None:
        model = self.model
        order = torch.argsort((~digital).to(torch.int8), stable=True).to(model.device)
        count = int(digital.sum())
        self.orders[layer] = order
        router = f"layers.{layer}.router"
        self.weights[router] = self.weights[router][order]
        if router in self.matrices:
            old = self.matrices[router]
            self.matrices[router] = replace(
                old, weight=old.weight[:, order], output_scale=old.output_scale[:, order]
            )
        for part in ("gate", "up", "down"):
            name = f"layers.{layer}.experts.{part}"
            self.digital_counts[name] = count
            programmed = model.programmed(name, self.noise, self.seed, self.sign)
            ranges = model.input_range(name, self.noise)
            if count:
                self.weights[name] = self.clean[name].index_select(0, order[:count])
                rest = order[count:]
                # Selecting rows of the transpose keeps the layout.
                weight = programmed.weight.mT.index_select(0, rest).mT
                programmed = replace(programmed, weight=weight, scale=programmed.scale[rest])
                ranges = ranges[rest]
            self.matrices[name] = model.prepared(name, programmed, ranges, self.noise)

    def linear(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        matrix = self.matrices.get(name)
        if matrix is None:
            result = plain_linear(name, x, weight)
        else:
            result = multiply(self._to_codes(name, x, matrix), matrix)
        return self.model.cached(name, result, self.form)

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

    def entropy(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Cross entropy of targets [N] and whether they are right, from last hidden states [N, d].

        A target that shares the largest logit counts as right.
        """
        pieces = zip(hidden.split(_HEAD_ROWS), targets.split(_HEAD_ROWS), strict=True)
        parts = [_entropy(self.head(states), right) for states, right in pieces]
        loss, right = (torch.cat(part) for part in zip(*parts, strict=True))
        return loss, right


def _entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of targets [N] under logits [N, V], which it overwrites, and who is right."""
    target = logits.gather(1, targets.unsqueeze(1))
    largest = logits.amax(1, keepdim=True)
    total = logits.sub_(largest).exp_().sum(1)
    return total.log_() + (largest - target).squeeze(1), (target == largest).squeeze(1)


def _side_by_side(left: AnalogMatrix, right: AnalogMatrix) -> AnalogMatrix:
    """Two matrices with the same inputs as one with the outputs of both."""
    return replace(
        left,
        weight=torch.cat((left.weight, right.weight), dim=-1),
        output_scale=torch.cat((left.output_scale, right.output_scale), dim=-1),
    )
