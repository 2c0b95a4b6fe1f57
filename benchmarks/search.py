"""Which sampler reaches the true Pareto front with the fewest simulations.

A reduced space is enumerated and every accuracy in it is really simulated, once; what was simulated
is kept in a file, so that a second run costs seconds. Then each sampler searches that space with
the kept accuracies, and the table says which share of the true hypervolume it reaches after 1, 2,
5 and 10 % of the simulations: mean and spread over seeds.

    python benchmarks/search.py [--seeds 10] [--keep FILE] [--json]
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from dse import search
from dse.limits import objective_values
from dse.pareto import hypervolume, non_dominated
from dse.problem import CLEAN, Problem
from dse.run import write_json
from dse.screening import Screening, pool_of, simulated_columns
from dse.settings import SAMPLERS, Settings
from dse.setup import make_problem

BUDGETS = (0.01, 0.02, 0.05, 0.10)
REDUCED: dict[str, list[Any]] = {
    "technology": ["pcm-14nm", "pcm-3d", "rram-22nm"],
    "tile_rows": [512],
    "tile_cols": [512],
    "tiers": [64, 512],
    "tiles_share": [0.3, 0.6, 1.0],
    "adc_bits": [5, 6, 8],
    "dac_bits": [8],
    "columns_per_adc": [1, 4, 16],
    "digital_expert_fraction": [0, 0.125, 0.25, 0.5, 0.75, 1],
    "placement_score": ["max_neuron_norm", "activation_frequency"],
    "placement_scope": ["global"],
    "mac_units": [1024, 8192],
    "sram_mib": [1],
    "hbm_stacks": [2, 4],
}
# The GP sampler takes seconds a trial with constraints; fewer seeds keep the benchmark usable.
SLOW = {"gp": 3}


def enumerated(problem: Problem) -> Any:
    """Every design of the space that no limit rules out, costed."""
    sizes = [len(parameter.choices) for parameter in problem.space.parameters]
    indices = np.stack([grid.ravel() for grid in np.indices(sizes)], axis=1)
    costed = problem.cost(indices)
    return pool_of(costed).take(np.flatnonzero(costed.feasible))


def simulate_all(problem: Problem, codes: Any, keep: Path) -> dict[int, dict[str, Any]]:
    """Simulate every key once; `keep` remembers them between calls of this script."""
    kept: dict[int, dict[str, Any]] = {}
    if keep.exists():
        kept = {int(code): result for code, result in json.loads(keep.read_text()).items()}
    missing = [code for code in [CLEAN, *codes] if code not in kept]
    for done, code in enumerate(missing, start=1):
        kept[code] = problem.simulate(code)
        if done % 10 == 0 or done == len(missing):
            write_json(keep, {str(key): value for key, value in kept.items()})
            print(f"{done} of {len(missing)} simulations", file=sys.stderr)
    return kept


class Kept:
    """Stands where the simulator was: what was simulated is looked up by its key."""

    def __init__(self, problem: Problem, results: dict[int, dict[str, Any]]) -> None:
        self.problem, self.results = problem, results
        self.asked: list[int] = []

    def __call__(self, code: int, analog_modules: Any = ()) -> dict[str, Any]:
        self.asked.append(code)
        return self.results[code]


class LookedUp(Problem):
    """A problem whose simulations are looked up."""

    lookup: Kept

    def simulate(self, code: int, analog_modules: Any = ()) -> dict[str, Any]:
        return self.lookup(code, analog_modules)


def share_of_truth(
    sampler: str, problem: Problem, results: Any, seed: int, limit: int, truth: Any
) -> tuple[list[float], float]:
    """Hypervolume reached after each simulation, as a share of the true one; seconds taken."""
    looked_up = LookedUp(**{name: getattr(problem, name) for name in problem.__dataclass_fields__})
    object.__setattr__(looked_up, "lookup", Kept(problem, results))
    started = time.perf_counter()
    study = search.open_study(optuna.storages.InMemoryStorage(), problem)
    screening = Screening(looked_up, {CLEAN: results[CLEAN]}, seed)
    study.sampler = search.make_sampler(sampler, screening, seed)
    reached: list[float] = []
    corner, volume, everything = truth
    known = {CLEAN}
    for trial in range(40 * limit):
        counted = search.Counted(trial, 40 * limit)
        search.run_trial(study, study.ask(), looked_up, screening, search.Clock(), counted)
        fresh = set(screening.results) - known
        if fresh:
            known |= fresh
            values = _complete_values(looked_up, everything, screening.results)
            reached.append(hypervolume(values, corner) / volume)
        if len(reached) >= limit:
            break
    return reached, time.perf_counter() - started


def plain_share(
    sampler: str, problem: Problem, results: Any, seed: int, limit: int, truth: Any
) -> list[float]:
    """The same for Optuna alone: each trial simulates, and counts for its own design only."""
    corner, volume, _ = truth
    study = search.open_study(optuna.storages.InMemoryStorage(), problem)
    screening = replace_pool(problem, results, seed)
    study.sampler = search.make_sampler(sampler, screening, seed)
    rows: list[Any] = []
    reached: list[float] = []
    for _ in range(limit):
        trial = study.ask()
        design = np.array([[trial.suggest_int(p.name, 0, len(p.choices) - 1)
                            for p in problem.space.parameters]])  # fmt: skip
        costed = problem.cost(design)
        trial.set_constraint("limits", float(costed.excess[0]))
        simulated = simulated_columns(results, costed.codes)
        values = objective_values(problem.objectives, {**costed.metrics, **simulated})[0]
        if costed.feasible[0]:
            rows.append(values)
        if np.isfinite(values).all():
            study.tell(trial, values.tolist())
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        reached.append(hypervolume(np.array(rows), corner) / volume if rows else 0.0)
    return reached


def replace_pool(problem: Problem, results: Any, seed: int) -> Screening:
    """A screening that only names the space for a sampler that does not use it."""
    screening = object.__new__(Screening)
    screening.problem, screening.results, screening.seed = problem, results, seed
    return screening


def _complete_values(problem: Problem, pool: Any, results: Any) -> Any:
    known = pool.take(np.flatnonzero(np.isin(pool.codes, list(results))))
    simulated = simulated_columns(results, known.codes)
    return objective_values(problem.objectives, {**known.metrics, **simulated})


def benchmark(seeds: int, keep: Path, tokens: int, trials: int) -> dict[str, Any]:
    """The table of all samplers."""
    settings = Settings("deepseekmoe", 200.0, choices=REDUCED, tokens=tokens)
    problem = make_problem(settings)
    everything = enumerated(problem)
    codes = [code for code in np.unique(everything.codes).tolist() if code != CLEAN]
    results = simulate_all(problem, codes, keep)
    problem = replace(problem, simulator=None)
    values = _complete_values(problem, everything, results)
    corner = np.quantile(values, 0.9, axis=0)
    truth = (corner, hypervolume(values, corner), everything)
    rows = []
    limit = max(1, round(max(BUDGETS) * len(codes)))
    for sampler in SAMPLERS:
        count = min(seeds, SLOW.get(sampler, seeds))
        for method in ("structured", "plain") if sampler != "screening" else ("structured",):
            runs, seconds = [], 0.0
            for seed in range(count):
                started = time.perf_counter()
                if method == "structured":
                    reached, _ = share_of_truth(sampler, problem, results, seed, limit, truth)
                else:
                    reached = plain_share(sampler, problem, results, seed, limit, truth)
                seconds += time.perf_counter() - started
                runs.append(
                    np.array([*reached, *[reached[-1] if reached else 0.0] * limit])[:limit]
                )
            rows.append(_row(sampler, method, np.array(runs), len(codes), seconds / count / limit))
            print(rows[-1], file=sys.stderr)
    return {
        "designs": int(np.prod([len(p.choices) for p in problem.space.parameters])),
        "designs_within_limits": len(everything),
        "simulations_in_all": len(codes),
        "true_front": int(non_dominated(values).sum()),
        "trials_of_plain": limit,
        "samplers": rows,
    }


def _row(sampler: str, method: str, runs: Any, total: int, seconds: float) -> dict[str, Any]:
    row: dict[str, Any] = {"sampler": sampler, "method": method, "seeds": len(runs)}
    for budget in BUDGETS:
        at = runs[:, max(1, round(budget * total)) - 1]
        name = f"{100 * budget:g}_percent"
        row[f"reached_at_{name}"] = float(at.mean())
        row[f"spread_at_{name}"] = float(at.std(ddof=1)) if len(at) > 1 else None
    row["overhead_s_per_simulation"] = seconds
    return row


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--keep", type=Path, default=Path("benchmarks/search_simulations.json"))
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    result = benchmark(given.seeds, given.keep, given.tokens, 0)
    if given.as_json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['designs_within_limits']} designs of {result['designs']} within the limits, "
          f"{result['simulations_in_all']} simulations, {result['true_front']} designs on the "
          "true front; share of its hypervolume (standard deviation over seeds) after")  # fmt: skip
    heads = [f"{100 * budget:g} %" for budget in BUDGETS]
    print(f"{'sampler':18}{'method':12}" + "".join(f"{head:>16}" for head in heads))
    for row in result["samplers"]:
        cells = []
        for budget in BUDGETS:
            name = f"{100 * budget:g}_percent"
            spread = row[f"spread_at_{name}"]
            cells.append(f"{row[f'reached_at_{name}']:.4f} ({spread or 0:.4f})")
        print(f"{row['sampler']:18}{row['method']:12}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
