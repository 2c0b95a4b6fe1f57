"""The run's tables: candidates with every metric and breakdown, and progress."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.pareto import non_dominated
from dse.search.costed_table import costed_frame, missing_where
from dse.search.costing import cost
from dse.search.pool import Pool, Results, simulated_columns
from dse.search.problem import Problem
from dse.search.screening import Screening
from dse.search.simulation_key import CLEAN
from dse.simulation.result import Simulated

if TYPE_CHECKING:
    import pandas

# Rows of each kind that the table keeps beside the whole front; more would only slow the report.
OTHERS_KEPT = 600
RULED_OUT_KEPT = 200


@dataclass(frozen=True)
class Chosen:
    """Designs for the table: choice numbers, and the trial that proposed each (-1: none)."""

    indices: NDArray[np.int64]
    trial: NDArray[np.int64]


def choose(
    problem: Problem, screening: Screening, proposed: Chosen, pool: Pool, seed: int
) -> Chosen:
    """The designs that go into the table: proposed ones, the front, and a sample of the rest.

    Args:
        proposed: designs of finished trials.
        pool: every design left from the search.
        seed: of the samples.
    """
    generator = np.random.default_rng([seed, 2])
    complete, values = screening.complete(pool)
    # Designs as good within what can be told may take less area: those of each size enter, too.
    area = np.log10(complete.metrics["area_mm2"])
    front = non_dominated(values) | non_dominated(np.column_stack([np.round(values, 2), area]))
    others = np.flatnonzero(~front)
    if len(others) > OTHERS_KEPT:
        others = np.sort(generator.choice(others, OTHERS_KEPT, replace=False))
    kept = complete.indices[np.concatenate([np.flatnonzero(front), others])]
    drawn = problem.space.random(4 * RULED_OUT_KEPT, generator)
    costed = cost(problem, drawn)
    ruled_out = drawn[~costed.feasible][:RULED_OUT_KEPT]
    indices = np.concatenate([proposed.indices, kept, ruled_out])
    trial = np.concatenate([proposed.trial, np.full(len(kept) + len(ruled_out), -1)])
    _, first = np.unique(indices, axis=0, return_index=True)
    first.sort()
    return Chosen(indices[first], trial[first])


def candidates_table(
    problem: Problem,
    results: Results,
    chosen: Chosen,
    reasons: dict[int, str],
    cheap: Results | None = None,
) -> "pandas.DataFrame":
    """One row a design.

    Args:
        results: simulations by key code.
        reasons: why trials failed or were ruled out, by trial number.
        cheap: those on the miniature, where `results` are a checkpoint's. A design that only they
            know is a candidate: it has the miniature's accuracy and takes no part in the front.

    Returns:
        Columns as design and metrics, breakdowns, `state` and `reason`; a value that was not
        computed is missing.
    """
    costed = cost(problem, chosen.indices)
    table = costed_frame(problem, costed, {**(cheap or {}), **results})
    next_number = int(chosen.trial.max(initial=-1)) + 1
    fresh = chosen.trial < 0
    trial = chosen.trial.copy()
    trial[fresh] = next_number + np.arange(int(fresh.sum()))
    table.insert(0, "trial", trial)
    table.insert(1, "searched", ~fresh)
    told = [reasons.get(int(number), "") for number in chosen.trial]
    reason = np.where(costed.reason != "", costed.reason, np.array(told, dtype=object))
    failed = [results.get(int(code), Simulated()).failed for code in costed.codes]
    known = np.isfinite(table["delta_loss_nats"].to_numpy(dtype=float))
    state = np.where(known & (costed.reason == ""), "complete", "ruled_out").astype(object)
    if cheap is not None:
        on_checkpoint = np.isin(costed.codes, list(results))
        state[(state == "complete") & ~on_checkpoint] = "candidate"
        for name in ("delta_loss_nats", "delta_loss_stderr"):
            table[f"miniature_{name}"] = simulated_columns(cheap, costed.codes)[name]
    state[np.array([bool(text) for text in failed]) & (costed.reason == "")] = "failed"
    reason = np.where(state == "complete", "", reason)
    reason = np.where(state == "candidate", "accuracy is the miniature's: not on the checkpoint",
                      reason)  # fmt: skip
    reason = np.where((state == "ruled_out") & (reason == ""), "not simulated: promised no gain",
                      reason)  # fmt: skip
    reason = np.where(state == "failed", np.array(failed, dtype=object), reason)
    table["state"] = state
    table["reason"] = missing_where(reason, reason == "")
    table["reference_name"] = None
    allowed = state == "complete"
    for constraint in problem.limits.on_accuracy:
        column = table[constraint.metric.column].to_numpy(dtype=float)
        broken = allowed & ~(constraint.excess(column) <= 0)
        table.loc[broken, "reason"] = f"breaks {constraint}"
        allowed &= ~broken
    return table


def progress_table(rows: Sequence[dict[str, Any]]) -> "pandas.DataFrame":
    """Hypervolume, simulations and designs costed after each trial."""
    import pandas

    names = ["trial", "seconds", "hypervolume", "simulated", "costed"]
    return pandas.DataFrame(list(rows), columns=names).sort_values("trial", ignore_index=True)


def counts(
    problem: Problem,
    screening: Screening,
    table: "pandas.DataFrame",
    cheap: Results | None = None,
) -> dict[str, int]:
    """How many designs were costed, simulations run, designs on the front.

    cheap: simulations on the miniature, where those of the screening are a checkpoint's.
    """
    told = screening.results if cheap is None else cheap
    found = {
        "designs_in_space": problem.space.size,
        "designs_costed": screening.costed,
        "simulations": sum(code != CLEAN for code in told),
        "designs_in_table": len(table),
        "designs_with_simulated_accuracy": int((table["state"] == "complete").sum()),
        "designs_on_front": int(table["on_front"].sum()),
    }
    if cheap is not None:
        found["checkpoint_simulations"] = sum(code != CLEAN for code in screening.results)
    return found
