"""The constants of digital accelerators against machines: area of dies, power of boards, J/token.

Predicted from published parameters (silicon/dies.csv, silicon/boards.csv, presets). Nothing was
fitted to the area of a die, or to the power of a board at rest or at full load; densities, though,
come from die photos of an A100 and from figures of a TPUv4i, as the notes say.
"""

from __future__ import annotations

import csv
import dataclasses
from typing import TYPE_CHECKING, Any

from hwmodels import digital, gpu_table
from hwmodels.components import mac, sram
from hwmodels.digital import Accelerator, load_accelerator
from hwmodels.gpu_table import SILICON, StepCounter
from hwmodels.memory import interface_area_mm2, load_memory
from hwmodels.validation_gpu import CURVE, boards_of, fitted_curve, fitted_runs, model_name
from hwmodels.validation_system import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

DIE_SHARE = 1.2
"""A whole die over cores, caches and memory interfaces: crossbar, host, links and the rest. 1.20 on
GA100's die photo, 1.21 on Aldebaran's (LLMCompass)."""
ARRAY_SHARE = 1.5
"""Matrix units of a TPU with their vector units and control over the bare units (edge-7nm)."""
PRODUCT, FULL = 8192, 0.7
"""Side of the matrices whose product a board at full load computes, and its share of the peak rate:
an assumption, that of the presets."""
PUBLISHED = ("mac_energy_j", "memory_energy_j_per_byte", "clock_energy_j_per_mm2")
"""Constants of the fitted curve that start at values published of other machines or tests."""
MIB = 2**20


def _read(name: str) -> list[dict[str, str]]:
    with (SILICON / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def die_area_mm2(row: dict[str, str]) -> float:
    """Area of a die from the counts of its parts (a row of silicon/dies.csv)."""
    node, units = float(row["node_nm"]), float(row["matrix_macs"])
    lanes = float(row["vector_lanes"])
    arrays = units * float(mac.area_m2(16, 16, node)) * (1 if lanes else ARRAY_SHARE)
    cores = arrays + lanes * float(mac.vector_lane_area_m2(node))
    cached = (float(row["core_sram_MiB"]) + float(row["cache_MiB"])) * MIB
    held = float(row["scratchpad_MiB"]) * MIB
    memory = float(sram.cache_area_m2(cached, node)) + float(sram.area_m2(held, node))
    stacks = float(row["interfaces"])
    edge: Any = 0.0
    if stacks:
        edge = sum(interface_area_mm2(load_memory(row["memory"]), stacks, node).values())
    return DIE_SHARE * (1e6 * (cores + memory) + float(edge))


def full_power_w(accelerator: Accelerator) -> float:
    """Power during a large product of square matrices at the sustained rate (W), not limited."""
    macs, moved = float(PRODUCT) ** 3, 3 * 2.0 * PRODUCT**2
    accelerator = dataclasses.replace(accelerator, compute_efficiency=FULL)
    seconds = float(digital.stage_time_s(accelerator, macs, moved, stages=0))
    work = macs * float(digital.mac_energy_j(accelerator))
    work += moved * float(digital.memory_energy_j_per_byte(accelerator))
    return float(digital.static_power_w(accelerator)) + work / seconds


def _row(system: str, quantity: str, measured: float, predicted: float, note: str = "") -> Any:
    values = {"measured": measured, "predicted": predicted, "error": predicted / measured - 1}
    return {"system": system, "quantity": quantity, "note": note, **values}


def _areas() -> list[dict[str, Any]]:
    notes = {
        "TPUv4i": "published as less than that; its own matrix units and SRAM set two densities",
        "A100": "its own die photo set three densities",
    }
    return [
        _row(
            row["die"],
            "die (mm2)",
            float(row["area_mm2"]),
            die_area_mm2(row),
            notes.get(row["die"], ""),
        )
        for row in _read("dies.csv")
    ]


def _powers() -> list[dict[str, Any]]:
    rows = []
    for board in _read("boards.csv"):
        accelerator = load_accelerator(board["board"])
        name = accelerator.title.partition(" ")[2]
        array = accelerator.mac_energy_j is None
        if board["idle_W"]:
            idle = digital.static_power_w if array else digital.idle_power_w
            note = "with its clock running, as nothing says that it stops" if array else ""
            power_w = float(idle(accelerator))
            rows.append(_row(name, "idle (W)", float(board["idle_W"]), power_w, note))
        full = full_power_w(accelerator)
        note = (
            f"{PRODUCT}-wide product at peak clock, {FULL:g} of the peak rate; published: its limit"
        )
        rows.append(_row(name, "full load (W)", float(board["full_W"]), full, note))
    return rows


def _operations() -> list[dict[str, Any]]:
    """Single operations where somebody measured them, by the formulas of any accelerator."""
    a100 = load_accelerator("a100")
    path = 8 * 13.11e-12 - float(digital.memory_energy_j_per_byte(_array(a100)))
    edge = 1e12 * float(mac.energy_j(7.0))
    return [
        _row(
            "A100",
            "MAC, data path (pJ)",
            0.66,
            edge,
            "an array at 7 nm; instructions and registers of the tensor cores take 0.74 more",
        ),
        _row(
            "A100",
            "memory, data path (pJ/bit)",
            13.11 - 8.47,
            13.11 - 1e12 * path / 8,
            "stack, interface and controller; caches and instructions take 8.47 more",
        ),
    ]


def _array(accelerator: Accelerator) -> Accelerator:
    return dataclasses.replace(accelerator, memory_energy_j_per_byte=None, mac_energy_j=None)


def _decoding(count: StepCounter) -> list[dict[str, Any]]:
    """J/token of each model and GPU, energies as published elsewhere: the run of median error.

    Times and shares are the fitted ones, and the power of a sequence's own work is the board's
    limit, as these runs say.
    """
    energies = {name: value for name, (value, _) in CURVE.items() if name in PUBLISHED}
    published = fitted_curve(count) | energies
    groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
    runs = fitted_runs(count)
    predicted = gpu_table.predict_steps(runs, boards_of(runs, published))[1]
    for run, energy in zip(runs, predicted.tolist(), strict=True):
        if run.energy_j:
            groups.setdefault((run.gpu, model_name(run.model)), []).append((run.energy_j, energy))
    rows = []
    for (gpu, model), pairs in groups.items():
        pairs = sorted(pairs, key=lambda pair: pair[1] / pair[0])
        measured, found = pairs[len(pairs) // 2]
        note = f"median of {len(pairs)} runs; energies as published elsewhere, times fitted"
        rows.append(_row(gpu.upper(), f"J/token, {model}", measured, found, note))
    return rows


def validate_digital(count: StepCounter) -> pd.DataFrame:
    """Areas, powers and energies of published machines beside predicted ones, one row a figure.

    Columns as of validate_systems; `count` says what a step of a model reads and computes.
    """
    import pandas as pd

    rows = [*_areas(), *_powers(), *_operations(), *_decoding(count)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"low": float, "high": float})
