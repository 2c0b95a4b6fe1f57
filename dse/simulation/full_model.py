"""Losses of a scaled simulation as those of the full model: nats, points, and their 68 % band.

The simulation has the gains in it (`published_gains`), so its nats are the full model's. How far
they can be trusted follows from the fit to the anchors: which causes a loss has decides which
parameters' errors it carries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dse.simulation.anchors import SELECTION_ERROR, Fit, gain_of, published_fit
from dse.simulation.benchmark_points import SLOPE_ERROR, clean_percent, points_lost
from dse.simulation.digital_format import DigitalFormat
from dse.simulation.gains import EXPERTS
from dse.simulation.responses import DENSE, DIGITAL_SHARE, responses

if TYPE_CHECKING:
    from dse.simulation.result import SimulationResult
    from hwmodels.nonideality import Noise

# Of few analog experts the loss is small and its logarithm no measure any more: a factor of 2.7.
_MOST_SELECTION_ERROR = 1.0

COLUMNS = (
    "full_loss_nats",
    "full_loss_stderr",
    "full_points",
    "full_points_low",
    "full_points_high",
)
"""Loss of the full model (nats) with the standard error of its simulation over text and draws; and
the change of the average of the paper's benchmarks (points, negative where it loses) with the ends
of its 68 % band, which holds that error, the scatter of anchors and models, and the slope."""


@dataclass(frozen=True)
class FullLoss:
    """COLUMNS as numbers."""

    full_loss_nats: float
    full_loss_stderr: float
    full_points: float
    full_points_low: float
    full_points_high: float


def full_loss(
    nats: float,
    stderr: float,
    causes: Mapping[str, float] | None,
    model: str,
    stand_in: str,
    analog_experts: float = 1.0,
) -> FullLoss:
    """A simulated loss of the full model with its band.

    Args:
        nats, stderr: of a simulation with `published_gains`.
        causes: shares of it, see `causes`; only their proportions count. None: the loss was
            measured on the full model itself, and only the slope of points is uncertain.
        model: name of the full model.
        stand_in: the miniature that was simulated.
        analog_experts: share of the experts that is analog; what a choice of them saves is less
            certain than what all lose.
    """
    relative = SLOPE_ERROR
    if causes is not None:
        spread = _relative_error(causes, model, stand_in, published_fit())
        relative = math.hypot(spread, _selection_error(causes, stand_in, analog_experts))
    clean, slope = clean_percent(model), math.exp(published_fit()["log_slope"])
    points = slope * points_lost(nats, clean)
    ends = [points_lost(nats + sign * stderr, clean) for sign in (1, -1)]
    chance = slope * abs(ends[0] - ends[1]) / 2
    above = math.hypot(points * math.expm1(relative), chance)
    below = math.hypot(points * math.expm1(-relative), chance)
    return FullLoss(nats, stderr, -points, -points - above, -points + below)


def full_result(
    result: SimulationResult,
    noise: Noise,
    digital: NDArray[np.bool_],
    analog_modules: Sequence[str],
    model: str,
    stand_in: str,
) -> FullLoss:
    """A simulated placement, with `published_gains` in it, as the full model's; by `evaluate`."""
    analog = float(1 - np.asarray(digital).mean())
    made_of = causes(noise, analog, analog_modules, stand_in)
    loss, error = result.delta_loss, result.delta_loss_stderr
    return full_loss(loss, error, made_of, model, stand_in, analog)


def causes(
    noise: Noise,
    analog_experts: float,
    analog_modules: Sequence[str],
    stand_in: str,
    form: DigitalFormat | None = None,
) -> dict[str, float]:
    """Nats by cause to second order: groups' weights, and "converters of" experts and dense parts.

    What the simulation's loss is made of; the simulation itself also has what this leaves out.

    Args:
        noise: of the tiles.
        analog_experts: share of the experts that is analog, 0 to 1.
        analog_modules: dense parts that are analog.
        form: bits of what is digital.
    """
    from dse.simulation.digital_format import drawn_rounding_error_squared
    from dse.simulation.weight_error import drawn_error_squared

    found, response = published_fit(), responses()[stand_in]
    family = stand_in.removesuffix("-mini")
    analog = dict.fromkeys(analog_modules, 1.0) | {EXPERTS: analog_experts}
    written = drawn_error_squared(noise, noise.tile_rows)
    bits = form.weight_bits if form is not None else 16
    stored = drawn_rounding_error_squared(bits) if bits < 16 else 0.0
    nats: dict[str, float] = {}
    for group, value in response.sensitivity.items():
        share = analog.get(group, 0.0)
        error = share * written + (1 - share) * stored
        nats[group] = value * gain_of(group, found.__getitem__) * error
    dense = float(np.mean([group in analog for group in response.sensitivity if group != EXPERTS]))
    for kind, share in ((EXPERTS, analog_experts), (DENSE, dense)):
        lost = found[f"bits_{family}_{kind}"]
        ends = [bits for bits in (noise.dac_bits, noise.adc_bits) if bits is not None]
        # Half each: a converter's rounding power counts as much at the input as at the output.
        own = [response.lost_to_converters(kind, bits - lost) / 2 for bits in ends]
        nats[f"converters of {kind}"] = share * sum(own)
    return nats


def _relative_error(causes: Mapping[str, float], model: str, stand_in: str, found: Fit) -> float:
    """Standard deviation of the log of the points that these causes lose."""
    total = sum(causes.values())
    if not total > 0:
        return SLOPE_ERROR
    family = stand_in.removesuffix("-mini")
    slope = np.zeros(len(found.names))
    for cause, nats in causes.items():
        share = nats / total
        if cause.startswith("converters of "):
            kind = cause.removeprefix("converters of ")
            # A bit is a factor of four in rounding power.
            slope[found.names.index(f"bits_{family}_{kind}")] += share * math.log(4)
        elif cause != "router":
            own = cause if cause in ("attention", "lm_head") else EXPERTS
            slope[found.names.index(f"log_{own}")] += share
    slope[found.names.index("log_slope")] = 1.0
    variance = float(slope @ found.covariance @ slope)
    if model != "olmoe":  # the anchors are an OLMoE's; models differ
        variance += found.model_scatter**2
    variance += responses()[stand_in].training_scatter ** 2
    return math.sqrt(variance)


def _selection_error(causes: Mapping[str, float], stand_in: str, analog: float) -> float:
    """Standard deviation of the log of a loss from not knowing what a choice of experts saves.

    A share f of the experts is taken to lose f^k, k from the quarter that was measured; the error
    is relative to the log of that and counts for the experts' part of the loss.
    """
    total = sum(causes.values())
    experts = causes.get(EXPERTS, 0.0) + causes.get(f"converters of {EXPERTS}", 0.0)
    if not (0 < analog < 1 and total > 0):
        return 0.0
    power = math.log(responses()[stand_in].quarter_digital) / math.log(1 - DIGITAL_SHARE)
    saved = min(SELECTION_ERROR * power * -math.log(analog), _MOST_SELECTION_ERROR)
    return saved * experts / total


def unexplained(model: str, analog_modules: Sequence[str]) -> str:
    """A warning where a loss rests on a number that no gain explains; "" elsewhere."""
    if model != "deepseekmoe" or not set(analog_modules) - {"router"}:
        return ""
    return (
        "DeepSeekMoE's experts and dense modules lose 6.24 points to 8-bit converters, which no "
        "gain shared with OLMoE explains: analog dense parts likely lose more than said here"
    )
