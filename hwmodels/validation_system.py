"""From tile to chip to system: what published chips lose on the way, and what the models say."""

from __future__ import annotations

import csv
import dataclasses
import math
from typing import TYPE_CHECKING, Any

from hwmodels import chip_table
from hwmodels.chip_model import (
    SYSTEM_ANALOG_PER_DIGITAL,
    SYSTEM_DIGITAL_OP_J,
    energy_parts_j,
    predict,
)
from hwmodels.chip_table import Chip
from hwmodels.chip_tiles import Constants, tile_of
from hwmodels.components import adc
from hwmodels.gpu_table import SILICON
from hwmodels.uncertainty import PULSE_WIDTH_SILICON

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("system", "quantity", "measured", "predicted", "low", "high", "error", "note")

TILES, UNITS = 168, 12
"""ISAAC: tiles on the chip, in-situ units of eight crossbars in a tile (Shafiee et al. 2016)."""
COUNT = {"IMA": TILES * UNITS, "tile": TILES, "4 tiles": TILES / 4, "chip": 1}
REGISTER_BYTES, EDRAM_BYTES = 2048 + 256, 65536
"""Input and output register of a unit, and the memory of a tile (same)."""

DIGITAL_OP_LOW_J = 1 / 7e12
"""Digital pipelines synthesised at 14 nm: 5 to 7 TOPS/W (Chen et al., Nature Communications 16,
8661, 2025, on the same PCM chip; the figure as others quote it)."""
CONSTANT_OF = {
    "input": "driver_slot_energy_j",
    "array": "mean_conductance_s",
    "adc": "adc_unit_energy_j",
    "digital": "output_bit_energy_j",
}
"""The constant of pulse-width tiles that each component's energy is proportional to."""


def isaac_parts() -> list[dict[str, Any]]:
    """Published parts of the ISAAC chip: component, power (W) and area (mm2) of the whole chip.

    A figure that is not published from a source that was read is None.
    """
    with (SILICON / "isaac.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    parts = []
    for row in rows:
        count = COUNT[row["per"]]
        power = float(row["power_mW"]) * 1e-3 * count if row["power_mW"] else None
        area = float(row["area_mm2"]) * count if row["area_mm2"] else None
        parts.append({"component": row["component"], "power_w": power, "area_mm2": area})
    return parts


def _isaac() -> list[dict[str, Any]]:
    parts = {part["component"].split(" ")[0]: part for part in isaac_parts()}
    chip = parts.pop("Chip")
    others = chip["power_w"] - parts["ADC"]["power_w"]
    rate_hz = 1.2e9
    converters = TILES * UNITS * 8 * rate_hz * float(adc.survey_energy_j(8, rate_hz, 32.0))
    low, share, high = (
        factor * converters / (factor * converters + others)
        for factor in (adc.SURVEY_SPREAD[0], 1.0, adc.SURVEY_SPREAD[1])
    )
    off = converters / parts["ADC"]["power_w"] - 1
    registers = TILES * UNITS * REGISTER_BYTES / (TILES * EDRAM_BYTES) * parts["eDRAM"]["area_mm2"]
    return [
        {
            "system": "ISAAC",
            "quantity": "share of converters in chip power",
            "measured": 0.49,
            "predicted": share,
            "low": low,
            "high": high,
            "note": "16,128 converters of 8 bit at 1.2 GS/s by the survey regression at 32 nm, "
            f"{100 * off:+.0f} % on the published 2 mW each; the other parts as published",
        },
        {
            "system": "ISAAC",
            "quantity": "area_mm2",
            "measured": chip["area_mm2"],
            "predicted": sum(part["area_mm2"] or 0 for part in parts.values()) + registers,
            "note": "sum of the published parts; registers of 2.25 KB a unit as dense as the eDRAM",
        },
    ]


def efficiency_range(chip: Chip, constants: Constants) -> tuple[float, float]:
    """Low and high end of a pulse-width chip's TOPS/W within the published ranges of constants.

    Constants are independent: effects on the energy combine as the root of the sum of squares.
    """
    tile = tile_of(chip, constants)
    assert tile is not None
    operations = 2.0 * chip.rows * chip.columns
    spread = {name: (low, high) for name, low, high, _ in PULSE_WIDTH_SILICON}
    parts = energy_parts_j(chip, constants, tile)
    nominal = 1e-12 / predict(chip, constants)["tops_per_w"]
    ends = []
    for index in (0, 1):
        moved = [parts[n] / operations * (spread[c][index] - 1) for n, c in CONSTANT_OF.items()]
        if chip.counts == "system" and index == 0:
            moved.append((SYSTEM_DIGITAL_OP_J - DIGITAL_OP_LOW_J) / SYSTEM_ANALOG_PER_DIGITAL)
        ends.append(math.sqrt(sum(change**2 for change in moved)))
    return 1e-12 / (nominal + ends[1]), 1e-12 / (nominal - ends[0])


def _transducer() -> list[dict[str, Any]]:
    """The 34-tile chip and its five-chip system: TOPS/W of tile, chip and system, and a step."""
    from hwmodels.fitting import fitted_without

    rows = {row["id"]: row for row in chip_table.read_table()}
    chip = chip_table.parse(rows["ambrogio_chip"])
    constants = fitted_without(chip.family)
    tile, system = (dataclasses.replace(chip, counts=level) for level in ("macro", "system"))
    halved = dataclasses.replace(chip, clock_hz=2e9)
    steps = (
        ("TOPS/W of the tile", tile, 20.0, "array, drivers, ramp comparators; outputs stay pulses"),
        ("TOPS/W of the chip", chip, 12.4, "and counters at the landing pads; the best of 5 chips"),
        ("... integrating half as long", halved, 15.4, "pulses of 0.5 ns a step"),
        (
            "TOPS/W of the system",
            system,
            6.94,
            f"and digital operations, one in 325, at the {1e12 * SYSTEM_DIGITAL_OP_J:.0f} pJ of a "
            f"14 nm processor ({1e12 * DIGITAL_OP_LOW_J:.2f} pJ in pipelines); what is left would "
            "take the power of each of the five chips",
        ),
    )
    found = []
    for quantity, level, measured, note in steps:
        low, high = efficiency_range(level, constants)
        value = predict(level, constants)["tops_per_w"]
        found.append(
            {
                "system": "34-tile PCM chip",
                "quantity": quantity,
                "measured": measured,
                "predicted": value,
                "low": low,
                "high": high,
                "note": note,
            }
        )
    time = {
        "system": "34-tile PCM chip",
        "quantity": "step (ns)",
        "measured": 300.0,
        "predicted": 1e9 * predict(chip, constants)["latency_s"],
        "note": "256 pulse-width steps of inputs without a sign; transport between tiles left out",
    }
    return [*found, time]


def validate_systems() -> pd.DataFrame:
    """Steps from tile to chip to system beside published ones (errors: predicted / measured - 1).

    `low` and `high`: the prediction within the published ranges of its constants, where there are
    any. The PCM chip (Ambrogio et al., Nature 620, 768, 2023: Fig. 6, Extended Data Fig. 7) is
    predicted with constants fitted without it.
    """
    import pandas as pd

    rows = [*_isaac(), *_transducer()]
    for row in rows:
        row["error"] = row["predicted"] / row["measured"] - 1
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"low": float, "high": float})
