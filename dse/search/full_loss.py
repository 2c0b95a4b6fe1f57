"""Losses of designs as those of the full model: nats and points with their band."""

from typing import TYPE_CHECKING

import numpy as np

from dse.arrays import Array
from dse.search.pool import Results
from dse.search.problem import Problem
from dse.search.simulating import noise_of
from dse.search.simulation_key import CLEAN, Codes
from dse.simulation.digital_format import DigitalFormat
from dse.simulation.full_model import COLUMNS, FullLoss, causes, full_loss

if TYPE_CHECKING:
    from dse.simulation.result import Simulated


def full_columns(problem: Problem, results: Results, codes: Codes) -> dict[str, Array]:
    """`full_model.COLUMNS` of designs; missing where nothing was simulated."""
    unique, inverse = np.unique(codes, return_inverse=True)
    nan = float("nan")
    missing = FullLoss(nan, nan, nan, nan, nan)
    found = []
    for code in unique.tolist():
        result = results.get(code)
        known = result is not None and np.isfinite(result.delta_loss_nats)
        found.append(_of(problem, code, result) if known and result is not None else missing)
    return {name: np.array([getattr(one, name) for one in found])[inverse] for name in COLUMNS}


def _of(problem: Problem, code: int, result: "Simulated") -> FullLoss:
    """One result; a checkpoint's is the full model's own and carries no gain's error."""
    model, stand_in = problem.architecture.name, problem.architecture.stand_in
    own = problem.simulator is None or result.accuracy_source != problem.simulator.source
    loss, error = result.delta_loss_nats, result.delta_loss_stderr
    if own or code == CLEAN:
        return full_loss(loss, error, None, model, stand_in)
    key = problem.keys.key(code)
    analog = 1 - key.digital / float(np.prod(problem.miniature_shape))
    form = DigitalFormat(key.digital_weight_bits, key.kv_bits)
    made_of = causes(noise_of(problem, key), analog, key.analog_parts, stand_in, form)
    return full_loss(loss, error, made_of, model, stand_in, analog)
