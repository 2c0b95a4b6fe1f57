"""The digital model against measured decoding on GPUs: one set of constants for all boards.

What is fitted is what no data sheet says: sustained shares, fixed times, and three energies that
start at published values. The leakage, the clock's energy and the formulas are those of any
accelerator. Runs in which the GPU waited for its host say nothing about it: predicted, not fitted.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwmodels import gpu_table
from hwmodels.digital import (
    Accelerator,
    accelerator_names,
    load_accelerator,
    memory_capacity_bytes,
    stack_accelerators,
)
from hwmodels.gpu_table import Measurement, StepCounter

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "run",
    "model",
    "task",
    "precision",
    "gpu",
    "batch",
    "quantity",
    "measured",
    "predicted",
    "error",
    "predicted_left_out",
    "error_left_out",
    "in_fit",
    "waits_for_host",
    "reason",
    "note",
)

# Start, and spread of ln(value) before any run is seen.
CURVE = {
    "memory_efficiency": (0.9, 0.05),  # sustained share of HBM bandwidth in copy benchmarks
    "cache_efficiency": (0.6, 0.3),
    "stage_overhead_s": (40e-6, 0.7),
    "grouped_overhead_s": (50e-6, 0.7),
    "token_overhead_s": (80e-6, 0.7),
    "stage_token_overhead_s": (1e-6, 0.5),
    "memory_energy_j_per_byte": (93.4e-12, 0.15),  # 11.68 pJ/bit, GH200 (Antepara et al., SC 2025)
    "mac_energy_j": (0.98e-12, 0.3),  # A100's tensor cores (same), 7 nm to 5 nm
    "clock_energy_j_per_mm2": (85e-12, 0.3),  # P100 and V100
}
RESIDUAL_SCALE = 0.1
"""Error that counts as one standard deviation; beyond it an error counts less than its square."""
FITTED_BOARDS = ("h100", "b200")


Curve = dict[str, float]


def with_curve(accelerator: Accelerator, curve: Curve) -> Accelerator:
    """The accelerator with other constants of its efficiency and power curve."""
    changes: dict[str, Any] = dict(curve)
    return dataclasses.replace(accelerator, **changes)


def _boards(runs: Sequence[Measurement]) -> Accelerator:
    """The preset of each run's GPU, as one accelerator with an entry a run."""
    names = sorted({run.gpu for run in runs})
    index = np.array([names.index(run.gpu) for run in runs])
    return stack_accelerators([load_accelerator(name) for name in names], index)


@functools.lru_cache(maxsize=4)
def fitted_runs(count: StepCounter) -> tuple[Measurement, ...]:
    """The runs of the shipped table in which the GPU did not wait for its host."""
    runs = [gpu_table.parse(row, count) for row in gpu_table.read_table()]
    return tuple(
        run for run in runs if not gpu_table.waits_for_host(run, load_accelerator(run.gpu))
    )


@functools.cache
def fitted_curve(count: StepCounter, left_out: str = "") -> Curve:
    """Constants fitted to the shipped runs, or to all of them but those of one model.

    Least squares on logarithms; each constant is also drawn to its start with the spread above.
    """
    from scipy.optimize import least_squares

    runs = [run for run in fitted_runs(count) if model_name(run.model) != left_out]
    boards = _boards(runs)
    measured = np.log([[run.time_s for run in runs], [run.energy_j for run in runs]])
    start = np.log([value for value, _ in CURVE.values()])
    spread = np.array([width for _, width in CURVE.values()])

    def residuals(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        values = dict(zip(CURVE, np.exp(logs).tolist(), strict=True))
        values["memory_efficiency"] = min(values["memory_efficiency"], 1.0)
        predicted = gpu_table.predict_steps(runs, with_curve(boards, values))
        errors = (np.log(predicted) - measured).reshape(-1) / RESIDUAL_SCALE
        softened = np.sign(errors) * np.sqrt(2 * (np.sqrt(1 + errors**2) - 1))
        return np.concatenate([softened, (logs - start) / spread])

    result = least_squares(residuals, start, xtol=1e-5, ftol=1e-5)
    return dict(zip(CURVE, np.exp(result.x).tolist(), strict=True))


def model_name(model: str) -> str:
    """Name of a model without its organisation, release and task: what is left out together."""
    words = model.split("/")[-1].lower().split("-")
    return "-".join(word for word in words if word not in RELEASES and not word.isdigit())


RELEASES = ("instruct", "thinking", "base", "fp8")


def _predict(run: Measurement, curve: Curve) -> tuple[float, float]:
    """Prediction by the fitted curve, or by another board's preset as it is."""
    accelerator = load_accelerator(run.gpu)
    if run.gpu in FITTED_BOARDS:
        accelerator = with_curve(accelerator, curve)
    time, energy = gpu_table.predict_steps([run], accelerator)
    return float(time[0]), float(energy[0])


def _check_memory(run: Measurement) -> None:
    """Raise ValueError where weights and cache are larger than the memory of the GPUs."""
    weights, cache = gpu_table.weight_bytes(run), run.least_cache_values * run.cache_bits / 8
    there = run.gpus * float(memory_capacity_bytes(load_accelerator(run.gpu)))
    if weights + cache > there:
        raise ValueError(
            f"{weights / 1e9:.0f} GB of weights and {cache / 1e9:.0f} GB of keys and values do not "
            f"fit the {there / 1e9:.0f} GB of {run.gpus} {run.gpu.upper()}"
        )


def _note(run: Measurement, waits: bool) -> str:
    """What a prediction leaves out, in words."""
    notes = []
    if waits:
        notes.append("the GPU waited for its host: the prediction is that of a busy one")
    if run.gpu not in FITTED_BOARDS:
        notes.append(f"nothing was measured on {run.gpu.upper()}: constants fitted to other boards")
    if run.gpus > 1:
        notes.append("links between GPUs are not counted")
    return "; ".join(notes)


def _rows_of(
    row: dict[str, str], count: StepCounter, fitted: tuple[Measurement, ...]
) -> list[dict[str, Any]]:
    base: dict[str, Any] = {
        "model": row["model"],
        "task": row["task"],
        "precision": row["weight_precision"],
        "gpu": row["gpu"],
        "batch": row["avg_batch"],
        "in_fit": False,
        "waits_for_host": False,
    }
    try:
        run = gpu_table.parse(row, count)
        if run.gpu not in accelerator_names():
            known = ", ".join(accelerator_names())
            raise ValueError(f"no preset for the GPU {row['gpu']!r}; presets: {known}")
        _check_memory(run)
    except ValueError as error:
        return [{**base, "quantity": "", "reason": str(error), "note": ""}]
    waits = gpu_table.waits_for_host(run, load_accelerator(run.gpu))
    base |= {"in_fit": run in fitted, "waits_for_host": waits}
    everything = _predict(run, fitted_curve(count))
    family = model_name(run.model)
    seen = family in {model_name(one.model) for one in fitted}
    left_out = _predict(run, fitted_curve(count, family)) if seen else everything
    rows = []
    truths = (("step_time_s", run.time_s), ("energy_j_per_token", run.energy_j))
    for index, (quantity, truth) in enumerate(truths):
        rows.append(
            {
                **base,
                "quantity": quantity,
                "measured": truth,
                "predicted": everything[index],
                "error": everything[index] / truth - 1 if truth else None,
                "predicted_left_out": left_out[index],
                "error_left_out": left_out[index] / truth - 1 if truth else None,
                "reason": "" if truth else "no measured value in the row",
                "note": _note(run, waits),
            }
        )
    return rows


def validate_gpus(count: StepCounter, path: str | Path | None = None) -> pd.DataFrame:
    """Predicted beside measured decoding for a table of GPU runs (the shipped one by default).

    One row a run (numbered as they stand) and quantity: time of a decode step (step_time_s) and
    energy of an output token (energy_j_per_token). `predicted_left_out` uses constants fitted
    without that model. Other models, precisions and batch sizes use the same constants; the batch
    is taken as a number; `note` says what a prediction leaves out, `waits_for_host` marks runs that
    measure something else than the GPU. Raises ValueError in one line for a file that is no such
    table.

    count: what a step of a model reads and computes.
    """
    import pandas as pd

    fitted = fitted_runs(count)
    rows = [
        {"run": number, **entry}
        for number, row in enumerate(gpu_table.read_table(path), start=1)
        for entry in _rows_of(row, count, fitted)
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = ["measured", "predicted", "error", "predicted_left_out", "error_left_out"]
    table["batch"] = pd.to_numeric(table["batch"], errors="coerce")
    return table.astype(dict.fromkeys(numbers, float))
