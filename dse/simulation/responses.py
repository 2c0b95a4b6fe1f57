"""What errors do to the shipped miniatures: sensitivities by group, losses by converter bits.

responses.json is written by `python -m dse.simulation.responses`: 8,192 test tokens and eight
noise draws a number. The fit of the gains (`dse.simulation.anchors`) holds published losses of
full models against these, without a simulation.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.simulation.gains import EXPERTS

if TYPE_CHECKING:
    from dse.simulation.simulator import SimulationResult, Simulator
    from hwmodels.nonideality import Noise
    from workloads.checkpoint import Miniature

FILE = Path(__file__).with_name("responses.json")
DENSE = "dense"
"""All dense modules but the router, which publications and we keep digital, together."""
MAGNITUDES = (2.0, 3.0)
BITS = (4, 5, 6, 7)
DIGITAL_SHARE = 0.25


@dataclass(frozen=True)
class Response:
    """What a miniature loses to errors of its matrices.

    Attributes:
        sensitivity: A_g = loss over eps^2 (nats), by group.
        sensitivity_stderr: of it, over text and noise draws.
        quarter_digital: loss with the quarter of experts of largest neuron norm digital, over the
            loss without.
        converter_loss: loss (nats) to DACs and ADCs of BITS bits and nothing else, of the experts
            and of the dense modules.
        weights: digest of the weights that were measured.
        training_scatter: deviation of log A_g over trainings of other seeds, 0 where none was
            measured.
    """

    sensitivity: dict[str, float]
    sensitivity_stderr: dict[str, float]
    quarter_digital: float
    converter_loss: dict[str, dict[str, float]]
    weights: str
    training_scatter: float = 0.0

    def lost_to_converters(self, which: str, bits: float) -> float:
        """Loss (nats) at a resolution that need not be whole: log-linear between measured ones.

        Beyond the finest a bit takes it down by four, as rounding errors' power goes.
        """
        measured = self.converter_loss[which]
        if bits >= BITS[-1]:
            return measured[str(BITS[-1])] * 4.0 ** (BITS[-1] - bits)
        low = min(max(math.floor(bits), BITS[0]), BITS[-2])
        below, above = math.log(measured[str(low)]), math.log(measured[str(low + 1)])
        return math.exp(below + (bits - low) * (above - below))


@cache
def responses() -> dict[str, Response]:
    """The table that is shipped, by miniature."""
    document = json.loads(FILE.read_text(encoding="utf-8"))
    return {name: Response(**values) for name, values in document["miniatures"].items()}


def weights_digest(miniature: Miniature) -> str:
    """What tells the weights that were measured from others."""
    digest = hashlib.sha256()
    for name in sorted(miniature.weights):
        digest.update(name.encode() + miniature.weights[name].numpy().tobytes())
    return digest.hexdigest()[:16]


def dense_parts(miniature: Miniature) -> tuple[str, ...]:
    """Dense modules that a miniature has, without the router."""
    from dse.simulation.noisy_model import PARTS, kind_of

    kinds = {kind_of(name) for name in miniature.weights}
    found = tuple(part for part, own in PARTS.items() if part != "router" and kinds & set(own))
    return found if "lm_head" in found else (*found, "lm_head")


def measure(miniature: Miniature, model: str, tokens: int = 8192, seeds: int = 8) -> Response:
    """Simulate what a Response holds; its errors are those of the full model, at a gain of one."""
    from dse.simulation.converter_ranges import with_ranges
    from dse.simulation.gains import Gains
    from dse.simulation.simulator import Noise, Simulator
    from workloads.architecture import load_model
    from workloads.tasks import benchmarks

    sets = benchmarks(miniature, tokens)
    simulator = Simulator(miniature, sets, load_model(model), seeds, gains=Gains())
    devices = Noise(dac_bits=None, adc_bits=None)
    parts = dense_parts(miniature)
    values, errors = {}, {}
    for group in (EXPERTS, *parts):
        values[group], errors[group] = sensitivity(simulator, devices, group)
        print(miniature.name, group, f"{values[group]:.2f}", file=sys.stderr)
    converters: dict[str, dict[str, float]] = {EXPERTS: {}, DENSE: {}}
    for bits in BITS:
        noise = with_ranges(Noise(magnitude=0.0), miniature.name)
        noise = replace(noise, dac_bits=bits, adc_bits=bits)
        converters[EXPERTS][str(bits)] = _analog(simulator, noise, EXPERTS).delta_loss
        none = simulator.all_digital()
        converters[DENSE][str(bits)] = simulator.evaluate(noise, none, parts).delta_loss
    share = _quarter_digital(simulator, replace(devices, magnitude=MAGNITUDES[-1]))
    return Response(values, errors, share, converters, weights_digest(miniature))


def _analog(simulator: Simulator, noise: Noise, group: str) -> SimulationResult:
    """One group of matrices analog, all else digital."""
    none = simulator.all_digital()
    if group == EXPERTS:
        return simulator.evaluate(noise, ~none)
    return simulator.evaluate(noise, none, (group,))


def sensitivity(simulator: Simulator, devices: Noise, group: str) -> tuple[float, float]:
    """A_g = loss / eps^2 of one group and its error: through the origin, over MAGNITUDES."""
    products = squares = errors = 0.0
    for magnitude in MAGNITUDES:
        noise = replace(devices, magnitude=magnitude)
        result = _analog(simulator, noise, group)
        size = simulator.model.group_error_squared(group, noise)
        products += size * result.delta_loss
        squares += size**2
        errors += (size * result.delta_loss_stderr) ** 2
    return products / squares, math.sqrt(errors) / squares


def _quarter_digital(simulator: Simulator, noise: Noise) -> float:
    from dse.placement.experts import digital_mask, digital_order
    from dse.placement.scores import REGISTER, weight_scores

    scores = weight_scores(REGISTER["max_neuron_norm"], simulator.miniature.weights)
    count = round(DIGITAL_SHARE * scores.size)
    mask = digital_mask(digital_order(scores, "global"), count, scores.shape)
    every = _analog(simulator, noise, EXPERTS).delta_loss
    return simulator.evaluate(noise, mask).delta_loss / every


def main() -> None:
    """Measure both miniatures and write the table."""
    from workloads.checkpoint import load_miniature, miniature_names

    found: dict[str, Any] = {}
    for name in miniature_names():
        found[name] = vars(measure(load_miniature(name), name.removesuffix("-mini")))
    source = "python -m dse.simulation.responses: 8,192 test tokens, 8 noise draws"
    document = {"source": source, "miniatures": found}
    FILE.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
