"""Which designs of a run's table stand on its front, and which one the rule recommends.

Two answers: the best of measured silicon, and the best of all technologies.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.metrics import Constraint, Metric, objective_values
from dse.pareto import distinct_front, knee
from dse.placement.parts import NO_PARTS
from dse.search.rule import POINTS_PER_NAT, PREFERENCES, SAME, Judged, Rule, recommend

if TYPE_CHECKING:
    import pandas

SILICON, ALL = "silicon", "all"
USED = 0.01
"""Tiles that compute no larger share of the experts, and nothing else, hold next to nothing."""


def loss_columns(table: "pandas.DataFrame") -> tuple[str, str]:
    """Columns of the added loss and of its standard error."""
    full = ("full_loss_nats", "full_loss_stderr")
    return full if full[0] in table else ("delta_loss_nats", "delta_loss_stderr")


def points_lost(table: "pandas.DataFrame") -> NDArray[np.float64]:
    """Points of accuracy that designs lose against digital; NaN where it is not known."""
    if "full_points" in table:  # of accuracy gained: negative where a design loses
        return -numbers(table, "full_points")
    return POINTS_PER_NAT * numbers(table, loss_columns(table)[0])


def numbers(table: "pandas.DataFrame", name: str) -> NDArray[np.float64]:
    """A column as floats; NaN where there is no number."""
    import pandas

    values = pandas.to_numeric(table[name], errors="coerce")
    return np.asarray(values.to_numpy(dtype=float, na_value=np.nan))


def judged(table: "pandas.DataFrame", allowed: NDArray[np.bool_]) -> Judged:
    """A table of designs as the rule sees it."""
    costs = {c: numbers(table, c) for c, _ in PREFERENCES.values() if c in table}
    loss = numbers(table, loss_columns(table)[0])
    return Judged(costs, loss, points_lost(table), numbers(table, "tiles") > 0, allowed)


def with_reference_designs(
    table: "pandas.DataFrame", limits: Sequence[Constraint]
) -> "pandas.DataFrame":
    """The table with each reference that meets the limits as a design, too, so that it can win."""
    import pandas

    fits = (table["state"] == "reference") & table["reason"].isna()
    fits &= np.isfinite(numbers(table, loss_columns(table)[0]))
    for limit in limits:
        if limit.metric.column in table:
            fits &= limit.excess(numbers(table, limit.metric.column)) <= 1e-9
    copies = table[fits].assign(state="complete", reference_name=None)
    first = int(table["trial"].max()) + 1 if len(table) else 0
    copies["trial"] = first + np.arange(len(copies))
    return pandas.concat([table, copies], ignore_index=True)


def mark(table: "pandas.DataFrame", rule: Rule, objectives: Sequence[Metric]) -> "pandas.DataFrame":
    """Add what the search concludes of each design.

    Returns:
        The table with `is_recommended` (of all technologies), `recommended_of` ("silicon", "all",
        "silicon, all" or ""), `on_front`, `ties` (designs that one on the front stands for, itself
        included) and `is_knee`.
    """
    tiles = numbers(table, "tiles") > 0
    table = table.copy()
    complete = ((table["state"] == "complete") & table["reason"].isna()).to_numpy(dtype=bool)
    usable = complete & ~holds_nothing(table)
    silicon = ~tiles | (table["technology_kind"] == SILICON).to_numpy(dtype=bool)
    of = np.full(len(table), "", dtype=object)
    chosen = []
    for name, among in ((SILICON, usable & silicon), (ALL, usable)):
        row = recommend(rule, judged(table, among))
        if row is not None:
            of[row] = f"{of[row]}, {name}" if of[row] else name
            chosen.append(row)
    table["recommended_of"] = of
    table["is_recommended"] = [text.endswith(ALL) for text in of]
    return _with_front(table, objectives, complete, list(dict.fromkeys(chosen[::-1])))


def holds_nothing(table: "pandas.DataFrame") -> NDArray[np.bool_]:
    """Designs whose tiles compute next to none of the experts and no dense part."""
    analog = 1 - numbers(table, "digital_expert_fraction")
    modules = table["analog_modules"].fillna(NO_PARTS).isin((NO_PARTS, ""))
    return np.asarray((numbers(table, "tiles") > 0) & (analog <= USED + 1e-9) & modules, dtype=bool)


def _with_front(
    table: "pandas.DataFrame",
    objectives: Sequence[Metric],
    complete: NDArray[np.bool_],
    chosen: list[int],
) -> "pandas.DataFrame":
    """Add the front of designs that can be told apart, those chosen among them, and its knee."""
    values = objective_values(objectives, {m.column: numbers(table, m.column) for m in objectives})
    values[~complete] = np.nan
    errors = np.zeros_like(values)
    tolerance = np.zeros(len(objectives))
    for column, one in enumerate(objectives):
        if one.simulated:
            # Two paired standard errors of a difference: losses are measured on the same tokens and
            # noise draws, which halves the error of their difference at least.
            errors[:, column] = np.nan_to_num(numbers(table, one.error_column))
        else:
            tolerance[column] = np.log10(1 + SAME)
    ties = [numbers(table, name) for name in ("area_mm2", "cost_usd") if name in table]
    front = distinct_front(values, tolerance, errors, np.stack(ties, axis=1), chosen)
    table["on_front"], table["is_knee"], table["ties"] = False, False, 0
    table.loc[front.rows, "on_front"] = True
    table.loc[front.rows, "ties"] = front.stands_for
    if len(front.rows):
        table.loc[front.rows[knee(values[front.rows])], "is_knee"] = True
    return table


def answers(table: "pandas.DataFrame") -> dict[str, Any]:
    """Rows of the two answers by "silicon" and "all"; None where the rule allows no design."""
    found: dict[str, Any] = {}
    for name in (SILICON, ALL):
        marked = table["recommended_of"].fillna("").str.split(", ").map(lambda of, n=name: n in of)
        rows = table[marked.astype(bool)]
        found[name] = rows.iloc[0] if len(rows) else None
    return found
