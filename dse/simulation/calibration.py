"""Converter ranges: sweep kappa and lambda and choose the pair that costs the least accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dse.simulation.noisy_model import FullModel
from dse.simulation.simulator import Noise, SimulationResult, Simulator, paired_difference

if TYPE_CHECKING:
    from workloads.checkpoint import Miniature

INPUT_RANGES = (4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
OUTPUT_RANGES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


@dataclass(frozen=True)
class Calibration:
    """Outcome of a sweep.

    table: input_range_std (kappa), output_range (lambda), delta_loss_nats and its standard error,
    above_best_nats with the paired standard error of that difference, and chosen.
    noise: the given noise with the chosen ranges.
    """

    table: pd.DataFrame
    noise: Noise
    source: str


def calibrate(
    miniature: Miniature,
    full_model: FullModel | None = None,
    noise: Noise | None = None,
    *,
    input_ranges: Sequence[float] = INPUT_RANGES,
    output_ranges: Sequence[float] = OUTPUT_RANGES,
    analog_modules: Sequence[str] = (),
    tokens: int = 4096,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Choose kappa and lambda for a model and its converters' resolution.

    Every pair is simulated with all routed experts (and analog_modules) in analog under the noise,
    by default none but that of the converters, on the calibration split: the tokens that accuracy
    is reported on play no part. The pair of lowest loss is chosen. `progress(done, total)` is
    called after each pair. Raises ValueError when a range is not positive.
    """
    from workloads.tasks import benchmarks

    base = noise or Noise(magnitude=0.0)
    sets = benchmarks(miniature, tokens=tokens, split="calibration")
    simulator = Simulator(miniature, sets, full_model, seeds=2)
    return sweep(
        simulator,
        base,
        input_ranges=input_ranges,
        output_ranges=output_ranges,
        analog_modules=analog_modules,
        progress=progress,
    )


def sweep(
    simulator: Simulator,
    noise: Noise,
    *,
    input_ranges: Sequence[float] = INPUT_RANGES,
    output_ranges: Sequence[float] = OUTPUT_RANGES,
    analog_modules: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """The sweep of `calibrate` on a simulator of the caller's."""
    if not input_ranges or not output_ranges:
        raise ValueError("at least one value of kappa and one of lambda are needed")
    pairs = [(kappa, scale) for kappa in input_ranges for scale in output_ranges]
    analog = ~simulator.all_digital()
    results: list[SimulationResult] = []
    for done, (kappa, scale) in enumerate(pairs, start=1):
        trial = replace(noise, input_range_std=kappa, output_range=scale)
        results.append(simulator.evaluate(trial, analog, analog_modules))
        if progress is not None:
            progress(done, len(pairs))
    best = int(np.argmin([result.loss for result in results]))
    rows = []
    for index, ((kappa, scale), result) in enumerate(zip(pairs, results, strict=True)):
        above, error = paired_difference(result, results[best])
        rows.append(
            {
                "input_range_std": kappa,
                "output_range": scale,
                "delta_loss_nats": result.delta_loss,
                "delta_loss_stderr": result.delta_loss_stderr,
                "above_best_nats": above,
                "above_best_stderr": error,
                "accuracy": result.accuracy,
                "chosen": index == best,
            }
        )
    kappa, scale = pairs[best]
    chosen = replace(noise, input_range_std=kappa, output_range=scale)
    return Calibration(pd.DataFrame(rows), chosen, simulator.miniature.source)
