"""The data sheet of one tile: what `dse tile` prints."""

from typing import Any

from dse import units
from dse.cli.console import print_table
from hwmodels.technology import load_technology
from hwmodels.tile import Tile, tile_area_mm2, tile_energy_j, tile_latency_s, tile_weights


def tile_document(
    technology: str,
    rows: int,
    cols: int,
    tiers: int,
    adc_bits: int,
    dac_bits: int,
    columns_per_adc: int,
) -> dict[str, Any]:
    """Energy and latency of one MVM, area of the tile, their parts, and efficiencies.

    Raises:
        ValueError: unknown technology or a value out of range.
    """
    cells = load_technology(technology)
    if columns_per_adc > cols > 0:
        raise ValueError(f"columns_per_adc is {columns_per_adc}; the tile has {cols} columns")
    tile = Tile(cells, rows, cols, tiers, dac_bits, adc_bits, columns_per_adc)
    parts = {
        "energy_j": tile_energy_j(tile),
        "latency_s": tile_latency_s(tile),
        "area_mm2": tile_area_mm2(tile),
    }
    broken_down = {
        name: {part: float(value) for part, value in values.items()}
        for name, values in parts.items()
    }
    totals = {name: sum(values.values()) for name, values in broken_down.items()}
    operations = 2.0 * rows * cols
    return {
        "technology": cells.name,
        "source": cells.source,
        "kind": cells.kind,
        "design": {
            "rows": rows,
            "cols": cols,
            "tiers": tiers,
            "adc_bits": adc_bits,
            "dac_bits": dac_bits,
            "columns_per_adc": columns_per_adc,
        },
        "weights": int(tile_weights(tile)),
        **totals,
        "tops_per_w": operations / totals["energy_j"] / 1e12,
        "tops": operations / totals["latency_s"] / 1e12,
        "weights_per_mm2": float(tile_weights(tile)) / totals["area_mm2"],
        "breakdown": broken_down,
    }


def print_tile(document: dict[str, Any]) -> None:
    """Print the data sheet as one table."""
    design = document["design"]
    shared = design["columns_per_adc"]
    title = (
        f"{document['technology']} ({document['kind']}) {design['rows']}x{design['cols']}"
        f"x{design['tiers']}, {design['dac_bits']}-bit inputs, one {design['adc_bits']}-bit ADC "
        f"for {f'{shared} columns' if shared > 1 else 'each column'}"
    )
    rows = []
    for name, unit, label in (
        ("energy_j", "J", "energy of an MVM"),
        ("latency_s", "s", "latency of an MVM"),
        ("area_mm2", "mm2", "area"),
    ):
        total = document[name]
        rows.append((label, "", _shown(total, unit), ""))
        for part, value in document["breakdown"][name].items():
            if value:
                rows.append(("", part, _shown(value, unit), f"{100 * value / total:.1f} %"))
    rows.append(("efficiency", "", f"{document['tops_per_w']:.3g} TOPS/W", ""))
    rows.append(("speed", "", f"{document['tops']:.3g} TOPS", ""))
    rows.append(("density", "", f"{units.si(document['weights_per_mm2'], '')} weights/mm2", ""))
    print_table(("quantity", "part", "value", "share"), rows, title=title, left=2)


def _shown(value: float, unit: str) -> str:
    return units.area(value) if unit == "mm2" else units.si(value, unit)
