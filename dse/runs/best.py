"""Choosing from finished runs: the best by the rule or by weights, and two fronts compared."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.metrics import Metric, metric, objective_values
from dse.pareto import hypervolume, non_dominated
from dse.runs.folder import Run
from dse.runs.recommend import holds_nothing, judged
from dse.search.rule import Rule, recommend

if TYPE_CHECKING:
    import pandas


# Hypervolumes and values closer than this are alike.
_TIE = 1e-3


def read_weights(texts: Sequence[str]) -> dict[str, float]:
    """Read `delta_loss=2 energy_per_token=1`; commas separate as well as spaces.

    Raises:
        ValueError: unknown metric, negative or missing weight.
    """
    weights: dict[str, float] = {}
    for pair in ",".join(texts).split(","):
        name, equals, text = pair.strip().partition("=")
        wanted = metric(name.strip())
        try:
            weight = float(text)
        except ValueError:
            weight = -1.0
        if not equals or not 0 <= weight < float("inf"):
            raise ValueError(f"{pair!r}: write metric=weight with a weight of at least 0")
        if wanted.alias in weights:
            raise ValueError(f"{wanted.alias} is given twice: write one weight for it")
        weights[wanted.alias] = weight
    if not any(weights.values()):
        raise ValueError("at least one weight must be greater than zero")
    return weights


def by_rule(run: Run, rule: Rule, count: int = 3) -> "pandas.DataFrame":
    """What the rule recommends of a run's designs, then what it would of the rest of the front.

    Raises ValueError where it allows none of them.
    """
    table = run.candidates
    usable = ((table["state"] == "complete") & table["reason"].isna()).to_numpy(dtype=bool)
    usable = usable & ~holds_nothing(table)
    rows: list[int] = []
    while len(rows) < count:
        row = recommend(rule, judged(table, usable))
        if row is None:
            break
        rows.append(row)
        usable &= table["on_front"].to_numpy(dtype=bool)
        usable[row] = False
    if not rows:
        raise ValueError(f"{run.folder} has no design that loses at most {rule.limit}")
    return table.iloc[rows].reset_index(drop=True)


def best(run: Run, weights: Mapping[str, float], count: int = 3) -> "pandas.DataFrame":
    """The designs of a front with the least weighted distance to its best values.

    Raises ValueError for a metric that the front lacks, as accuracy on a checkpoint.

    Each metric is scaled to its range over the front (energy, throughput, latency, power and area
    by their logarithm) and enters with its weight.

    Returns:
        The front's best `count` designs with a column `score`, 0 being best in everything.
    """
    front = run.front()
    if not len(front):
        raise ValueError(f"{run.folder} has no design on its front")
    metrics = [metric(name) for name in weights]
    values = objective_values(metrics, _columns(front, metrics))
    for wanted, column in zip(metrics, values.T, strict=True):
        if np.isnan(column).any():
            raise ValueError(
                f"{wanted.alias} is not known of every design on the front of {run.folder}: "
                "give weights to others"
            )
    span = values.max(axis=0) - values.min(axis=0)
    scaled = (values - values.min(axis=0)) / np.where(span > 0, span, 1.0)
    shares = np.array(list(weights.values())) / sum(weights.values())
    front = front.assign(score=scaled @ shares)
    return front.sort_values("score", kind="stable", ignore_index=True).head(count)


def compare(first: Run, second: Run) -> dict[str, Any]:
    """Which of two fronts covers more, by how much, and where each wins.

    The hypervolume is taken over the objectives that both runs share, between the worst and the
    best values of the two fronts together, energy and its like by their logarithm: 1 would be a
    design that is best in everything. A design is beaten when the other front holds one at least
    as good in every objective and better in one; a simulated metric must differ by more than two
    standard errors of the difference to count as better.

    Raises:
        ValueError: no common objective, or an empty front.
    """
    shared = [
        name
        for name in first.config["settings"]["objectives"]
        if name in second.config["settings"]["objectives"]
    ]
    if not shared:
        raise ValueError(f"{first.folder} and {second.folder} share no objective")
    metrics = [metric(name) for name in shared]
    fronts = [run.front() for run in (first, second)]
    for run, front in zip((first, second), fronts, strict=True):
        if not len(front):
            raise ValueError(f"{run.folder} has no design on its front")
    values = [objective_values(metrics, _columns(front, metrics)) for front in fronts]
    together = np.concatenate(values)
    best_values, worst = together.min(axis=0), together.max(axis=0)
    span = np.where(worst > best_values, worst - best_values, 1.0)
    # A little beyond the worst, so that the ends of a front count too.
    scaled = [(value - best_values) / span / 1.1 for value in values]
    volumes = [hypervolume(value, np.ones(len(metrics))) for value in scaled]
    beaten = [
        _beaten(fronts[0], fronts[1], metrics),
        _beaten(fronts[1], fronts[0], metrics),
    ]
    result = {
        "objectives": shared,
        "runs": [_side(run, f, v, b) for run, f, v, b in
                 zip((first, second), fronts, volumes, beaten, strict=True)],
        "same_question": _question(first) == _question(second),
        "best_of_each_objective": [
            {
                "objective": wanted.alias,
                "first": _best_value(fronts[0], wanted),
                "second": _best_value(fronts[1], wanted),
                "told_apart": _told_apart(fronts, wanted),
            }
            for wanted in metrics
        ],
        "designs_on_joint_front": [
            int(non_dominated(together)[: len(values[0])].sum()),
            int(non_dominated(together)[len(values[0]) :].sum()),
        ],
    }  # fmt: skip
    if result["same_question"]:
        return result | {"verdict": verdict(result, metrics)}
    other = [_other_question(first, second)]
    if first.config["model"] != second.config["model"]:
        other.append("Designs for two models are no rivals: neither run wins.")
        return result | {"verdict": other}
    return result | {"verdict": other + verdict(result, metrics)}


def verdict(result: dict[str, Any], metrics: Sequence[Metric]) -> list[str]:
    """Which front wins, by how much, and where, in sentences."""
    names = [side["run"] for side in result["runs"]]
    volumes = [side["hypervolume"] for side in result["runs"]]
    beaten = [side["designs_beaten_by_the_other"] for side in result["runs"]]
    sizes = [side["designs_on_front"] for side in result["runs"]]
    more = int(volumes[1] > volumes[0])
    if abs(volumes[0] - volumes[1]) <= _TIE * max(volumes):
        sentences = [f"Tie: the two hypervolumes differ by less than {100 * _TIE:g} %."]
    else:
        gain = 100 * (volumes[more] / max(volumes[1 - more], 1e-300) - 1)
        amount = f"{gain:.3g} %" if gain < 1000 else f"{1 + gain / 100:.3g} times"
        sentences = [
            f"{names[more]} wins: its front covers {amount} more hypervolume and beats "
            f"{beaten[1 - more]} of the other's {sizes[1 - more]} designs beyond the error; "
            f"{beaten[more]} of its own {sizes[more]} are beaten."
        ]
    where: list[list[str]] = [[], []]
    for wanted, entry in zip(metrics, result["best_of_each_objective"], strict=True):
        first, second = entry["first"], entry["second"]
        if not entry["told_apart"]:
            continue
        better = int((second > first) == wanted.larger_is_better)
        values = (first, second)
        text = f"{wanted.text(values[better])} against {wanted.text(values[1 - better])}"
        where[better].append(f"{wanted.label} ({text})")
    for name, wins in zip(names, where, strict=True):
        if wins:
            sentences.append(f"{name} reaches the better {', '.join(wins)}.")
    return sentences


def _columns(table: "pandas.DataFrame", metrics: Sequence[Metric]) -> dict[str, Any]:
    return {m.column: table[m.column].to_numpy(dtype=float) for m in metrics}


def _side(run: Run, front: "pandas.DataFrame", volume: float, beaten: int) -> dict[str, Any]:
    return {
        "run": str(run.folder),
        "model": run.config["model"],
        "budget_area_mm2": run.config["budget_area_mm2"],
        "designs_on_front": len(front),
        "hypervolume": volume,
        "designs_beaten_by_the_other": beaten,
    }


_QUESTION = ("model", "budget_area_mm2", "traffic")


def _question(run: Run) -> tuple[str, ...]:
    return tuple(str(run.config[name]) for name in _QUESTION)


def _other_question(first: Run, second: Run) -> str:
    """What the runs ask that differs, before anybody reads which one wins."""
    pairs = zip(_QUESTION, _question(first), _question(second), strict=True)
    differing = [f"{name.replace('_', ' ')} ({_plain(one)} and {_plain(two)})"
                 for name, one, two in pairs if one != two]  # fmt: skip
    return f"The runs ask different questions: {', '.join(differing)}."


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _best_value(front: "pandas.DataFrame", wanted: Metric) -> float:
    column = front[wanted.column].astype(float)
    return float(column.max() if wanted.larger_is_better else column.min())


def _told_apart(fronts: Sequence["pandas.DataFrame"], wanted: Metric) -> bool:
    """Whether the best values of two fronts differ: beyond the error where there is one."""
    first, second = (_best_value(front, wanted) for front in fronts)
    if not wanted.simulated:
        return abs(first - second) > _TIE * max(abs(first), abs(second))
    best_is = "idxmax" if wanted.larger_is_better else "idxmin"
    one, other = (
        float(front.loc[getattr(front[wanted.column].astype(float), best_is)(),
                        wanted.error_column])
        for front in fronts
    )  # fmt: skip
    return bool(abs(first - second) > 2 * np.hypot(one, other))


def _beaten(front: "pandas.DataFrame", other: "pandas.DataFrame", metrics: list[Metric]) -> int:
    """Designs of `front` that some design of `other` beats beyond the simulation's error."""
    lost = 0
    for _, design in front.iterrows():
        no_worse = np.ones(len(other), dtype=bool)
        better = np.zeros(len(other), dtype=bool)
        for wanted in metrics:
            sign = -1.0 if wanted.larger_is_better else 1.0
            gain = sign * (float(design[wanted.column]) - other[wanted.column].to_numpy(float))
            margin = np.zeros(len(other))
            if wanted.simulated:
                name = wanted.error_column
                theirs = other[name].to_numpy(float)
                margin = 2 * np.hypot(float(design[name]), theirs)
            no_worse &= gain >= 0
            better |= gain > margin
        lost += bool((no_worse & better).any())
    return lost


def export(run: Run, kind: str) -> bytes:
    """All candidates of a run as csv, json or parquet."""
    table = run.candidates
    if kind == "csv":
        return as_text(table).to_csv(index=False).encode()
    if kind == "json":
        return (table.to_json(orient="records") + "\n").encode()
    if kind == "parquet":
        return bytes(table.to_parquet(index=False))
    raise ValueError(f"unknown format {kind!r}: choose csv, json or parquet")


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_text(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """A table whose texts no spreadsheet takes for a formula: an apostrophe goes before those."""
    texts = table.select_dtypes(exclude=["number", "bool", "boolean"]).columns
    safe = {
        name: table[name].map(
            lambda cell: f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
        )
        for name in texts
    }
    return table.assign(**safe)
