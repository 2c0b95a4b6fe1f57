"""Costed designs as a table: design, metrics, simulated accuracy and breakdowns."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.cost.package import package_columns
from dse.search.costing import Costed
from dse.search.design_name import design_names
from dse.search.full_loss import full_columns
from dse.search.pool import Results, simulated_columns
from dse.search.problem import Problem
from dse.simulation.result import Simulated

if TYPE_CHECKING:
    import pandas


_TILE_COLUMNS = ("technology", "tile_rows", "tile_cols", "tiers", "adc_bits", "dac_bits",
                 "columns_per_adc", "tile_area_mm2")  # fmt: skip


_PLACEMENT = ("placement_score", "placement_scope")


def costed_frame(problem: Problem, costed: Costed, results: Results) -> "pandas.DataFrame":
    """Design, metrics, simulated accuracy and breakdowns of costed designs."""
    import pandas

    # Tiles that no expert fits are bought all the same; without analog experts no score chooses.
    absent = dict.fromkeys(_TILE_COLUMNS, costed.columns["tiles"] == 0)
    absent |= dict.fromkeys(_PLACEMENT, costed.columns["digital_experts"] >= problem.experts)
    columns: dict[str, Any] = {"design": design_names(problem.space, costed.indices)}
    for name, values in costed.columns.items():
        if name == "tiles_share":
            continue
        columns[name] = missing_where(values, absent[name]) if name in absent else values
    columns["concurrency"] = np.full(len(costed.indices), problem.traffic.concurrency)
    columns["digital_expert_fraction"] = costed.columns["digital_experts"] / problem.experts
    columns.update(costed.metrics)
    columns.update(package_columns(costed.system, costed.costs))
    columns.update(simulated_columns(results, costed.codes))
    columns.update(full_columns(problem, results, costed.codes))
    sources = [results.get(int(code), Simulated()).accuracy_source or None for code in costed.codes]
    columns["accuracy_source"] = sources
    breakdown = costed.costs.to_frame()
    for name in breakdown.columns:
        columns.setdefault(str(name), breakdown[name].to_numpy())
    return pandas.DataFrame(columns)


def missing_where(values: NDArray[Any], where: NDArray[np.bool_]) -> Any:
    """Values with some replaced by missing: NaN for numbers, None for text."""
    if values.dtype.kind in "iuf":
        import pandas

        dtype = "Int64" if values.dtype.kind in "iu" else "Float64"
        return pandas.Series(values, dtype=dtype).mask(where).array
    replaced = values.astype(object)
    replaced[where] = None
    return replaced
