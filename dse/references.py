"""Points to compare with: all digital, all analog, and everything dense digital."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dse.cost import System
from dse.limits import Limits
from dse.mapping import NO_PARTS, blocks, join_parts, model_shape, read_parts
from dse.problem import Costed, Problem
from dse.screening import Results, Screening
from dse.tables import costed_frame

if TYPE_CHECKING:
    import pandas

ALL_DIGITAL = "all digital"
ALL_ANALOG = "all analog"
EXPERTS_ANALOG = "dense digital, all experts analog"
_SAMPLE = 6000
_ANY_AREA_MM2 = 1e9


def exact_fit(problem: Problem, indices: NDArray[np.int64]) -> Costed:
    """Cost designs with just as many tiles as their placement needs, whatever the budget."""
    columns = problem.space.values(indices)
    technology_index = indices[:, problem.space.names.index("technology")]
    tile, accelerator = problem.parts(columns, technology_index)
    shape = model_shape(problem.architecture)
    rows, cols = columns["tile_rows"], columns["tile_cols"]
    digital = np.ceil(columns["digital_expert_fraction"] * problem.experts - 1e-9).astype(int)
    needed = (problem.experts - digital) * blocks(shape.expert_shapes, rows, cols)
    modules = columns["analog_modules"]
    for part in shape.parts:
        if part.name in problem.dense_parts:
            analog = np.array([part.name in read_parts(str(text)) for text in modules])
            needed = needed + np.where(analog, blocks(part.shapes, rows, cols), 0)
    columns["tiles"] = np.ceil(needed / columns["tiers"]).astype(int)
    system = System(tile, columns["tiles"], accelerator)
    return problem.cost_system(indices, columns, system, technology_index)


def smallest_budget_mm2(problem: Problem) -> float:
    """Least area, rounded up to 0.1 mm2, with which some design meets every other limit.

    NaN when none does at any area.
    """
    unlimited = replace(problem, limits=Limits(_ANY_AREA_MM2, problem.limits.constraints))
    generator = np.random.default_rng(0)
    indices = problem.space.random(_SAMPLE, generator)
    best, least = indices, np.inf
    for _ in range(8):
        costed = exact_fit(unlimited, indices)
        area = np.where(costed.feasible, costed.metrics["area_mm2"], np.inf)
        order = np.argsort(area, kind="stable")[:50]
        if area[order[0]] < least:
            least = float(area[order[0]])
        best = indices[order]
        indices = np.concatenate(
            [best, problem.space.mutate(np.repeat(best, 40, axis=0), generator, rate=0.3)]
        )
    return float(np.ceil(least * 10 + 1e-6) / 10) if np.isfinite(least) else float("nan")


def reference_table(
    problem: Problem, screening: Screening, table: "pandas.DataFrame"
) -> "pandas.DataFrame":
    """Add the reference rows: each the best of its kind within the budget.

    Best is the least energy per token over throughput. Where none of its kind fits, the row is
    the smallest one and its `reason` says which area it needs.
    """
    import pandas

    rows = [
        _reference(problem, screening, ALL_DIGITAL, 1.0, NO_PARTS),
        _reference(problem, screening, EXPERTS_ANALOG, 0.0, NO_PARTS),
        _reference(problem, screening, ALL_ANALOG, 0.0, join_parts(problem.dense_parts)),
    ]
    first = int(table["trial"].max()) + 1 if len(table) else 0
    for number, row in enumerate(rows):
        row["trial"] = first + number
    return pandas.concat([table, *rows], ignore_index=True)


def _reference(
    problem: Problem,
    screening: Screening,
    name: str,
    digital_fraction: float,
    analog_modules: str,
) -> "pandas.DataFrame":
    """One reference design as a table of one row."""
    choices: dict[str, list[object]] = {
        "digital_expert_fraction": [digital_fraction],
        "analog_modules": [analog_modules],
    }
    # With 8-bit converters where the space has them, so that only the placement differs.
    for bits in ("adc_bits", "dac_bits"):
        if 8 in problem.space[bits].choices:
            choices[bits] = [8]
    same = replace(problem, space=problem.space.limit(choices))
    unlimited = replace(same, limits=Limits(_ANY_AREA_MM2))
    generator = np.random.default_rng([screening.seed, 4])
    costed = exact_fit(unlimited, same.space.random(_SAMPLE, generator))
    screening.costed += _SAMPLE
    area, delay = costed.metrics["area_mm2"], 1 / costed.metrics["throughput_tokens_per_s"]
    product = costed.metrics["energy_j_per_token"] * delay
    fits = costed.feasible & (area <= problem.limits.area_mm2)
    rank = np.where(fits, product, np.inf) if fits.any() else np.where(
        costed.feasible, area, np.inf
    )  # fmt: skip
    row = int(rank.argmin())
    chosen = exact_fit(unlimited, costed.indices[row : row + 1])
    code = int(chosen.codes[0])
    results: Results = {code: screening.results.get(code, {})}
    if not results[code]:
        results[code] = same.simulate(code)
    frame = costed_frame(same, chosen, results)
    reason = results[code].get("reason")
    if not fits.any():
        reason = f"does not fit: needs {float(area[row]):.4g} mm2"
    for column, value in (("state", "reference"), ("reason", reason), ("reference_name", name),
                          ("searched", False), ("on_front", False),
                          ("is_knee", False)):  # fmt: skip
        frame[column] = value
    return frame
