"""From tile to chip to system: what published chips lose on the way, and what the models say."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from hwmodels import chip_table
from hwmodels.chip_model import predict
from hwmodels.components import adc
from hwmodels.gpu_table import SILICON

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("system", "quantity", "measured", "predicted", "error", "note")

TILES, UNITS = 168, 12
"""ISAAC: tiles on the chip, in-situ units of eight crossbars in a tile (Shafiee et al. 2016)."""
COUNT = {"IMA": TILES * UNITS, "tile": TILES, "4 tiles": TILES / 4, "chip": 1}


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
    parts = isaac_parts()
    chip = parts[-1]
    area = sum(part["area_mm2"] or 0 for part in parts[:-1])
    converters = TILES * UNITS * 8 * 1.2e9 * float(adc.survey_energy_j(8, 1.2e9, 32.0))
    share = converters / chip["power_w"]
    return [
        {
            "system": "ISAAC",
            "quantity": "share of converters in chip power",
            "measured": 0.49,
            "predicted": share,
            "note": "16,128 converters of 8 bit at 1.2 GS/s by the survey regression at 32 nm",
        },
        {
            "system": "ISAAC",
            "quantity": "area_mm2",
            "measured": chip["area_mm2"],
            "predicted": area,
            "note": "sum of the published parts; input and output registers have no source we read",
        },
    ]


def _transducer() -> list[dict[str, Any]]:
    """The 34-tile chip and its five-chip system: TOPS/W of tile, chip and system."""
    import dataclasses

    from hwmodels.fitting import fitted_without

    rows = {row["id"]: row for row in chip_table.read_table()}
    chip = chip_table.parse(rows["ambrogio_chip"])
    constants = fitted_without(chip.family)
    steps = (("tile", 20.0), ("chip", 12.4), ("system", 6.94))
    notes = (
        "array, drivers, converters",
        "arrays take ISAAC's share of a chip's energy",
        "digital operations, one in 325, at the energy of a 14 nm processor",
    )
    return [
        {
            "system": "34-tile PCM chip",
            "quantity": f"TOPS/W of the {level}",
            "measured": measured,
            "predicted": predict(dataclasses.replace(chip, level=level), constants)["tops_per_w"],
            "note": note,
        }
        for (level, measured), note in zip(steps, notes, strict=True)
    ]


def validate_systems() -> pd.DataFrame:
    """Steps from tile to chip to system beside published ones (errors: predicted / measured - 1).

    The PCM chip is predicted with constants fitted without it.
    """
    import pandas as pd

    rows = [*_isaac(), *_transducer()]
    for row in rows:
        row["error"] = row["predicted"] / row["measured"] - 1
    return pd.DataFrame(rows, columns=list(COLUMNS))
