"""The noisy simulation that gives designs their accuracy, and what is guessed of it before."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.placement.experts import digital_mask
from dse.placement.parts import ANALOG_PARTS
from dse.search import surrogate
from dse.search.problem import Problem
from dse.search.simulation_key import CLEAN, Codes, Key
from dse.simulation.result import Simulated

if TYPE_CHECKING:
    from dse.simulation.digital_format import DigitalFormat
    from dse.simulation.simulator import Noise

DAMAGE = {
    "attention": 1.0,
    "mamba": 1.0,
    "router": 0.7,
    "shared_expert": 1.1,
    "dense_ffn": 2.9,
    "lm_head": 1.4,
}
"""Loss that a dense part adds when it is analog, over that of all routed experts: sensitivities of
deepseekmoe-mini times the gains. The search's first guess only; simulations decide."""


def features(problem: Problem, codes: Codes) -> surrogate.Features:
    """What the loss of simulations depends on, for the surrogate."""
    keys, names = problem.keys, problem.keys.values["order"]
    digits = keys.unpack(codes)
    scores, scopes = (sorted({name[n] for name in names}) for n in (0, 1))
    score = np.array([scores.index(name) for name, _ in names])[digits["order"]]
    scope = np.array([scopes.index(name) for _, name in names])[digits["order"]]
    analog = 1 - digits["digital"] / np.prod(problem.miniature_shape)
    for number, part in enumerate(ANALOG_PARTS):
        analog = analog + DAMAGE[part] * (digits["analog_modules"] >> number & 1)
    rows, model = keys.column("tile_rows", codes), problem.architecture
    blocks = np.sqrt(-(-model.hidden_size // rows) * -(-model.expert_intermediate_size // rows))
    dac, adc = keys.column("dac_bits", codes), keys.column("adc_bits", codes)
    weights, cached = (keys.column(name, codes) for name in ("digital_weight_bits", "kv_bits"))
    noise = digits["noise_model"]
    return surrogate.features(blocks, dac, adc, analog, weights, cached, noise, score, scope)


def simulate(problem: Problem, code: int, look: Mapping[str, Any] | None = None) -> Simulated:
    """Run the noisy simulation that a key code names, or the rest of it after a look.

    A loss that is not finite is a failure, said in the result.
    """
    from dse.simulation.simulator import Look

    noise, digital, modules, form = noise_and_placement(problem, code)
    after: dict[str, Any] = {"form": form}
    if look is not None:
        after["look"] = Look(np.array(look["loss"]), np.array(look["top1"]))
    assert problem.simulator is not None
    try:
        result = problem.simulator.evaluate(noise, digital, analog_modules=modules, **after)
    except ValueError as error:  # the simulator's word for a loss that is not finite
        return Simulated(failed=str(error))
    return Simulated.of(result)


def look(problem: Problem, code: int) -> dict[str, Any] | None:
    """First look at a simulation: enough to see that its designs are beaten.

    Returns:
        loss and top1 [pairs, sequences] as lists, seconds; None when a look would save nothing.
    """
    wanted = [objective.column for objective in problem.objectives if objective.simulated]
    if not getattr(problem.simulator, "races", False) or wanted != ["delta_loss_nats"]:
        return None
    assert problem.simulator is not None
    before = time.perf_counter()
    noise, digital, modules, form = noise_and_placement(problem, code)
    look = problem.simulator.look(noise, digital, modules, form)
    if not np.isfinite(look.loss).all():
        return None  # the whole simulation says what is wrong
    seconds = time.perf_counter() - before
    return {"loss": look.loss.tolist(), "top1": look.top1.tolist(), "seconds": seconds}


def noise_and_placement(
    problem: Problem, code: int
) -> "tuple[Noise, NDArray[np.bool_], tuple[str, ...], DigitalFormat]":
    """Noise, placement [layers, experts], analog dense parts and digital bits of a key code."""
    from dse.simulation.digital_format import DigitalFormat
    from dse.simulation.simulator import Noise

    if problem.simulator is None:
        raise ValueError("this problem was made without a simulator")
    if code == CLEAN:
        return Noise(), np.ones(problem.miniature_shape, dtype=bool), (), DigitalFormat()
    key = problem.keys.key(code)
    noise = noise_of(problem, key)
    order = problem.miniature_orders[order_of(problem, key)]
    mask = digital_mask(order, key.digital, problem.miniature_shape)
    return noise, mask, key.analog_parts, DigitalFormat(key.digital_weight_bits, key.kv_bits)


def noise_of(problem: Problem, key: Key) -> "Noise":
    """A key's noise at the question's age and magnitude, with the search's converter ranges.

    That of a key without anything analog is of no account.
    """
    from dse.simulation.converter_ranges import with_ranges
    from dse.simulation.simulator import Noise

    if not key.analog_modules and key.digital == np.prod(problem.miniature_shape):
        return Noise()
    noise = Noise(
        noise_model=key.noise_model,
        magnitude=problem.magnitude,
        time_s=problem.age_s or None,
        tile_rows=key.tile_rows,
        dac_bits=key.dac_bits,
        adc_bits=key.adc_bits,
    )
    if problem.simulator is None:
        return noise
    return with_ranges(noise, problem.simulator.miniature.name)


def order_of(problem: Problem, key: Key) -> tuple[str, str]:
    """Score and scope of a key's placement; any where all agree."""
    return key.order if key.order[0] else problem.order_names[0]
