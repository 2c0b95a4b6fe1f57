"""The digital roofline against measured decoding on GPUs: one efficiency curve for all runs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwmodels import gpu_table
from hwmodels.digital import accelerator_names, load_accelerator, memory_capacity_bytes
from hwmodels.gpu_table import Measurement

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
    "reason",
    "note",
)

# Start, spread of ln(value) before any measurement is seen.
CURVE = {
    "memory_efficiency": (0.9, 0.03),  # sustained share of HBM bandwidth in copy benchmarks
    "stage_overhead_s": (80e-6, 1.0),
    "token_overhead_s": (80e-6, 1.0),
    "static_power_w": (150.0, 0.7),
    "memory_energy_j_per_byte": (150e-12, 0.7),
    "mac_energy_j": (2e-12, 1.0),
    "routing_exponent": (0.7, 0.5),
}
RESIDUAL_SCALE = 0.05


Key = tuple[str, ...]


def _key(row: dict[str, str]) -> Key:
    return row["model"], row["task"], row["avg_batch"], row["gpu"]


def _errors(measurement: Measurement, values: dict[str, float]) -> list[float]:
    curve = {name: value for name, value in values.items() if name != "routing_exponent"}
    accelerator = gpu_table.with_curve(load_accelerator("h100"), curve)
    time, energy = gpu_table.predict_step(measurement, accelerator, values["routing_exponent"])
    pairs = ((time, measurement.time_s), (energy, measurement.energy_j))
    return [float(np.log(value / truth)) for value, truth in pairs if truth]


@functools.cache
def fitted_curve(left_out: Key | None = None) -> dict[str, float]:
    """Constants of the H100's curve fitted to the shipped table, or to all of it but one row.

    Least squares on logarithms; each constant is also drawn to its start with the spread above.
    """
    from scipy.optimize import least_squares

    rows = [row for row in gpu_table.read_table() if _key(row) != left_out]
    measurements = [gpu_table.parse(row) for row in rows]
    start = np.log([value for value, _ in CURVE.values()])
    spread = np.array([width for _, width in CURVE.values()])

    def residuals(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        values = dict(zip(CURVE, np.exp(logs).tolist(), strict=True))
        values["memory_efficiency"] = min(values["memory_efficiency"], 1.0)
        errors = [error for one in measurements for error in _errors(one, values)]
        return np.concatenate([np.array(errors) / RESIDUAL_SCALE, (logs - start) / spread])

    result = least_squares(residuals, start, xtol=1e-5, ftol=1e-5)
    return dict(zip(CURVE, np.exp(result.x).tolist(), strict=True))


def _predict(measurement: Measurement, curve: dict[str, float]) -> tuple[float, float]:
    """Prediction by the H100's fitted curve, or by another preset as it is."""
    exponent = curve["routing_exponent"]
    accelerator = load_accelerator(measurement.gpu)
    if measurement.gpu == "h100":
        constants = {name: value for name, value in curve.items() if name != "routing_exponent"}
        accelerator = gpu_table.with_curve(accelerator, constants)
    return gpu_table.predict_step(measurement, accelerator, exponent)


def _check_memory(measurement: Measurement) -> None:
    """Raise ValueError where weights and cache are larger than the memory of the GPUs."""
    weights, cache = gpu_table.weight_bytes(measurement), gpu_table.cache_bytes(measurement)
    there = measurement.gpus * float(memory_capacity_bytes(load_accelerator(measurement.gpu)))
    if weights + cache > there:
        raise ValueError(
            f"{weights / 1e9:.0f} GB of weights and {cache / 1e9:.0f} GB of keys and values do not "
            f"fit the {there / 1e9:.0f} GB of "
            f"{measurement.gpus} {measurement.gpu.upper()}"
        )


def _note(measurement: Measurement) -> str:
    """What a prediction leaves out, in words."""
    notes = []
    if measurement.gpu != "h100":
        bare = not load_accelerator(measurement.gpu).stage_overhead_s
        how = "without overheads, a lower bound" if bare else "with efficiencies of its preset"
        notes.append(f"{measurement.gpu.upper()} is not fitted: data-sheet roofline {how}")
    if measurement.gpus > 1:
        notes.append("links between GPUs are not counted")
    return "; ".join(notes)


def _rows_of(row: dict[str, str], shipped: set[Key]) -> list[dict[str, Any]]:
    base: dict[str, Any] = {
        "model": row["model"],
        "task": row["task"],
        "precision": row["weight_precision"],
        "gpu": row["gpu"],
        "batch": row["avg_batch"],
        "in_fit": _key(row) in shipped,
    }
    try:
        measurement = gpu_table.parse(row)
        if measurement.gpu not in accelerator_names():
            known = ", ".join(accelerator_names())
            raise ValueError(f"no preset for the GPU {row['gpu']!r}; presets: {known}")
        _check_memory(measurement)
    except ValueError as error:
        return [{**base, "quantity": "", "reason": str(error), "note": ""}]
    fitted = _predict(measurement, fitted_curve())
    left_out = _predict(measurement, fitted_curve(_key(row) if base["in_fit"] else None))
    rows = []
    truths = (("step_time_s", measurement.time_s), ("energy_j_per_token", measurement.energy_j))
    for index, (quantity, truth) in enumerate(truths):
        rows.append(
            {
                **base,
                "quantity": quantity,
                "measured": truth,
                "predicted": fitted[index],
                "error": fitted[index] / truth - 1 if truth else None,
                "predicted_left_out": left_out[index],
                "error_left_out": left_out[index] / truth - 1 if truth else None,
                "reason": "" if truth else "no measured value in the row",
                "note": _note(measurement),
            }
        )
    return rows


def validate_gpus(path: str | Path | None = None) -> pd.DataFrame:
    """Predicted beside measured decoding for a table of GPU runs (the shipped one by default).

    One row a run (numbered as they stand) and quantity: time of a decode step (step_time_s) and
    energy of an output token (energy_j_per_token). `predicted_left_out` uses a curve fitted without
    that run. Other models, precisions and batch sizes use the same curve; the batch is taken as a
    number; `note` says what a prediction leaves out. Raises ValueError in one line for a file that
    is no such table.
    """
    import pandas as pd

    shipped = {_key(row) for row in gpu_table.read_table()}
    rows = [
        {"run": number, **entry}
        for number, row in enumerate(gpu_table.read_table(path), start=1)
        for entry in _rows_of(row, shipped)
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = ["measured", "predicted", "error", "predicted_left_out", "error_left_out"]
    table["batch"] = pd.to_numeric(table["batch"], errors="coerce")
    return table.astype(dict.fromkeys(numbers, float))
