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


def boards_of(runs: Sequence[Measurement], curve: Curve | None = None) -> Accelerator:
    """The board of each run, as one accelerator with an entry a run.

    With the constants of `curve` where runs on such boards were fitted, else its preset as it is.
    """
    names = sorted({run.gpu for run in runs})
    boards = [load_accelerator(name) for name in names]
    if curve is not None:
        boards = [with_curve(b, curve) if b.name in FITTED_BOARDS else b for b in boards]
    return stack_accelerators(boards, np.array([names.index(run.gpu) for run in runs]))


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
    boards = boards_of(runs)
    measured = np.log(np.array([[run.time_s, run.energy_j] for run in runs], dtype=float).T)
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


def _predictions(
    runs: Sequence[Measurement], count: StepCounter
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times and energies [2, runs] by the fitted curve, and by the one without the run's model."""
    known = {model_name(run.model) for run in fitted_runs(count)}
    families = [model_name(run.model) for run in runs]
    families = [family if family in known else "" for family in families]
    fitted, left_out = np.empty((2, len(runs))), np.empty((2, len(runs)))
    for family in sorted(set(families)):
        index = [place for place, name in enumerate(families) if name == family]
        some = [runs[place] for place in index]
        for found, without in ((fitted, ""), (left_out, family)):
            boards = boards_of(some, fitted_curve(count, without))
            found[:, index] = gpu_table.predict_steps(some, boards)
    return fitted, left_out


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


def _base(row: dict[str, str]) -> dict[str, Any]:
    return {
        "model": row["model"],
        "task": row["task"],
        "precision": row["weight_precision"],
        "gpu": row["gpu"],
        "batch": row["avg_batch"],
        "in_fit": False,
        "waits_for_host": False,
    }


def _expressed(row: dict[str, str], count: StepCounter) -> Measurement:
    """The row as a run; ValueError says in one line why it cannot be predicted."""
    run = gpu_table.parse(row, count)
    if run.gpu not in accelerator_names():
        known = ", ".join(accelerator_names())
        raise ValueError(f"no preset for the GPU {row['gpu']!r}; presets: {known}")
    _check_memory(run)
    return run


def _rows_of(
    base: dict[str, Any], run: Measurement, predicted: NDArray[np.float64], fitted: bool
) -> list[dict[str, Any]]:
    """Rows of one run, by quantity; `predicted` [fitted or left out, quantity]."""
    waits = gpu_table.waits_for_host(run, load_accelerator(run.gpu))
    base |= {"in_fit": fitted, "waits_for_host": waits, "note": _note(run, waits)}
    rows = []
    truths = (("step_time_s", run.time_s), ("energy_j_per_token", run.energy_j))
    for (quantity, truth), (everything, left_out) in zip(truths, predicted.T, strict=True):
        rows.append(
            {
                **base,
                "quantity": quantity,
                "measured": truth,
                "predicted": everything,
                "error": everything / truth - 1 if truth else None,
                "predicted_left_out": left_out,
                "error_left_out": left_out / truth - 1 if truth else None,
                "reason": "" if truth else "no measured value in the row",
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

    runs: dict[int, tuple[dict[str, Any], Measurement]] = {}
    rows = []
    for place, row in enumerate(gpu_table.read_table(path), start=1):
        base = {"run": place, **_base(row)}
        try:
            runs[place] = base, _expressed(row, count)
        except ValueError as error:
            rows.append({**base, "quantity": "", "reason": str(error), "note": ""})
    if runs:
        known = fitted_runs(count)
        found = np.array(_predictions([run for _, run in runs.values()], count))
        for index, (base, run) in enumerate(runs.values()):
            rows += _rows_of(base, run, found[:, :, index], run in known)
    rows.sort(key=lambda row: row["run"])
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = ["measured", "predicted", "error", "predicted_left_out", "error_left_out"]
    table["batch"] = pd.to_numeric(table["batch"], errors="coerce")
    return table.astype(dict.fromkeys(numbers, float))


UNSEEN = gpu_table.SILICON / "gpu_unseen.csv"
"""Runs of the same leaderboard, on one GPU, that no constant was fitted to."""


def summarise_gpus(table: pd.DataFrame, unseen: pd.DataFrame) -> pd.DataFrame:
    """Errors by quantity: of shipped runs with their model left out, and of runs never fitted.

    Each with and without runs in which the GPU waited for its host. `within_30_percent` is a share.
    """
    import pandas as pd

    rows = []
    for kind, part in (("left out", table), ("never fitted", unseen)):
        busy = part[~part["waits_for_host"].astype(bool)]
        for host, some in (("all", part), ("busy", busy)):
            known = some.dropna(subset=["error_left_out"])
            for quantity, one in known.groupby("quantity", sort=False):
                error = one["error_left_out"].abs()
                worst = one.iloc[int(error.to_numpy().argmax())]
                rows.append(
                    {
                        "prediction": kind,
                        "runs": host,
                        "quantity": quantity,
                        "rows": len(one),
                        "median_absolute_error": float(error.median()),
                        "within_30_percent": float((error <= 0.30).mean()),
                        "worst_error": float(worst["error_left_out"]),
                        "worst_run": f"{worst['model']} on {worst['gpu']}, batch "
                        f"{worst['batch']:.0f}",
                    }
                )
    return pd.DataFrame(rows)
