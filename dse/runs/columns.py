"""What the columns of a run's table mean: written into its folder, and read by the report."""

from typing import Any

from dse.metrics import METRICS
from dse.search.space import Space

_PARAMETERS = {
    "technology": ("technology", "", "Cells of the tiles, and where their numbers come from."),
    "tile_rows": ("tile rows", "", "Inputs of a tile: rows of cells that are added in analog."),
    "tile_cols": ("tile columns", "", "Weight columns of a tile, one output each."),
    "tiers": ("tiers", "", "Layers of cells over each other in a tile, one in use at a time."),
    "adc_bits": ("ADC bits", "bit", "Resolution of the converters behind the columns."),
    "dac_bits": ("DAC bits", "bit", "Resolution of the inputs."),
    "columns_per_adc": ("columns per ADC", "", "Columns that take turns on one converter."),
    "digital_expert_fraction": ("digital experts", "", "Share of the experts computed digitally."),
    "placement_score": ("score", "", "What ranks experts: the first are digital."),
    "placement_scope": ("scope", "", "Experts ranked in each layer, or all together (global)."),
    "analog_modules": ("dense parts on tiles", "", "Parts beside the experts that are analog."),
    "mac_units": ("MAC units", "", "Multiply-accumulates a cycle of the digital accelerator."),
    "sram_mib": ("SRAM", "MiB", "On-chip memory of the digital accelerator."),
    "hbm_stacks": ("memory stacks", "", "Stacks of memory beside the die."),
    "memory": ("memory", "", "Kind of memory: its bandwidth, energy, area and edge."),
    "dies": ("dies", "", "Equal dies that the area is cut into."),
    "digital_weight_bits": ("digital weights", "bit", "Bits of a weight in digital memory."),
    "kv_bits": ("keys and values", "bit", "Bits of a cached key or value."),
}
_DECISION = (
    ("is_recommended", "recommended", "The design that the rule chooses of all technologies."),
    ("recommended_of", "best of", "What a design is the answer to: measured silicon, or all."),
    ("technology_kind", "kind of technology", "Measured silicon, a simulation, or a projection."),
    ("ties", "stands for", "Designs that cannot be told from this one, itself included."),
    ("on_front", "on the front", "No design that can be told apart is better."),
    ("is_knee", "knee", "Nearest to the ideal point of the front; a label, not the rule."),
)


def described_columns(space: Space) -> list[dict[str, Any]]:
    """One entry a column: `column`, `name`, `unit`, `direction`, `scale` and `help`.

    `direction` is "lower" or "higher" where that is better, else empty; `scale` is "log" where
    values are compared by ratio, else "linear".
    """
    metrics = [
        {
            "column": one.column,
            "name": one.label,
            "unit": f"{one.unit}/token" if one.column.endswith("_per_token") else one.unit,
            "direction": "higher" if one.larger_is_better else "lower",
            "scale": "log" if one.logarithmic else "linear",
            "help": one.help,
        }
        for one in METRICS
    ]
    parameters = [_entry(name, *_PARAMETERS[name]) for name in space.names if name in _PARAMETERS]
    return (
        metrics + parameters + [_entry(column, name, "", text) for column, name, text in _DECISION]
    )


def _entry(column: str, name: str, unit: str, text: str) -> dict[str, Any]:
    return {"column": column, "name": name, "unit": unit, "direction": "", "scale": "linear",
            "help": text}  # fmt: skip
