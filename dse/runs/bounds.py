"""Parameters of the recommended design at an end of the space, and what the next would give."""

from typing import TYPE_CHECKING, Any

import numpy as np

from dse import units
from dse.cost.recorded import Model, systems
from dse.runs import flips
from dse.runs.words import missing, times
from dse.search.rule import SAME, Judged
from dse.search.settings import Settings
from dse.search.space import Parameter, Space

if TYPE_CHECKING:
    import pandas

_CELLS = ("tile_rows", "tile_cols", "tiers")
_ACCURACY = ("tile_rows", "dac_bits", "adc_bits", "digital_expert_fraction")
_OF_TILES = (*_CELLS, "dac_bits", "adc_bits", "columns_per_adc")


def at_bounds(
    model: Model, design: "pandas.DataFrame", space: Space, settings: Settings
) -> list[dict[str, Any]]:
    """Numbers of a design [one row] that are the least or the most of several that were searched.

    Returns:
        `parameter`, `value`, `next` (None where there is no further value) and `gives`.
    """
    row, found = design.iloc[0], []
    tiles = float(row["tiles"]) > 0
    for parameter in space.parameters:
        if parameter.name not in design or (parameter.name in _OF_TILES and not tiles):
            continue
        value = row[parameter.name]
        if parameter.categorical or missing(value) or len(parameter.choices) < 2:
            continue
        value = float(value)
        if value not in (float(parameter.choices[0]), float(parameter.choices[-1])):
            continue
        further = following(parameter, value)
        if further is None and parameter.name not in _CELLS:
            continue  # a share of all or nothing has nothing beyond it
        gives = "" if further is None else _gives(model, design, parameter.name, further, settings)
        found.append({"parameter": parameter.name, "value": value, "next": further,
                      "gives": gives})  # fmt: skip
    return found


def following(parameter: Parameter, value: float) -> float | None:
    """The value beyond an end of the choices, in their own steps; None outside of what there is."""
    choices = [float(choice) for choice in parameter.choices]
    near, end = (choices[1], choices[0]) if value == choices[0] else (choices[-2], choices[-1])
    geometric = end > 0 and near > 0 and len(choices) > 2 and np.isclose(
        choices[1] * choices[1], choices[0] * choices[2])  # fmt: skip
    further = end * end / near if geometric else end + (end - near)
    if parameter.whole:
        further = float(round(further))
    assert parameter.minimum is not None and parameter.maximum is not None
    inside = parameter.minimum <= further <= parameter.maximum
    return further if inside and further != value else None


def _gives(
    model: Model,
    design: "pandas.DataFrame",
    name: str,
    further: float,
    settings: Settings,
) -> str:
    """What a design with the next value reaches against what it reaches now."""
    changed = design.assign(**{name: further})
    if name in _CELLS:
        before = float(design[name].iloc[0])
        changed["tiles"] = np.ceil(design["tiles"].astype(float) * before / further)
    try:
        now, then = (_costs(model, table, settings) for table in (design, changed))
    except ValueError as error:
        return f"nothing that can be built ({error})"
    found = []
    for column, more, less in (
        ("energy_j_per_token", "energy", "energy"),
        ("throughput_tokens_per_s", "throughput", "throughput"),
        ("area_mm2", "area", "area"),
    ):
        ratio = float(then.costs[column][0] / now.costs[column][0])
        if abs(ratio - 1) >= SAME:
            found.append(times(ratio, more, less))
    if not found:
        found = ["the same energy, throughput and area"]
    area = float(then.costs["area_mm2"][0])
    if area > settings.budget_area_mm2 * (1 + 1e-9):
        found.append(f"over the budget at {units.area(area, 3)}")
    elif not then.allowed[0]:
        found.append("against a limit")
    if name in _ACCURACY:
        found.append("accuracy not simulated")
    return ", ".join(found)


def _costs(model: Model, table: "pandas.DataFrame", settings: Settings) -> Judged:
    at = flips.Ground(model, table.reset_index(drop=True), settings)
    return flips.costed(at, systems(model, at.table)[0])
