"""Which sampler reaches the true Pareto front with the fewest simulations.

A reduced space is enumerated and every accuracy in it is really simulated, once; what was simulated
is kept in a file under readable keys, and a few are simulated again at each start, so that a file
that no longer matches the code is noticed. Each sampler then searches that space with the kept
accuracies. `structured` is a sampler inside `dse explore`: what limits rule out or known designs
beat is not simulated, and a simulation counts for all designs that share it. `plain` is Optuna
alone: each design within the limits is one simulation and counts for itself.

    python benchmarks/search.py [--seeds 10] [--samplers screening,tpe] [--keep FILE] [--json]
    python benchmarks/search.py --full [--models deepseekmoe,olmoe] [--json]

`--full` searches the whole space, really simulating, with the default number of trials and with
ten times as many, and compares the hypervolumes of the two fronts.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna

from dse.files import write_atomically
from dse.metrics import objective_values
from dse.pareto import hypervolume, non_dominated
from dse.search import loop as search
from dse.search.costing import cost
from dse.search.pool import Pool, Results, pool_of, simulated_columns
from dse.search.problem import Problem
from dse.search.screening import Screening
from dse.search.settings import SAMPLERS, Settings
from dse.search.setup import make_problem
from dse.search.simulating import look, noise_and_placement, simulate
from dse.search.simulation_key import CLEAN
from dse.search.space import default_space
from dse.simulation.result import SIMULATED, Look, Simulated

BUDGETS = (0.01, 0.02, 0.05, 0.10)
TOKENS = 4096
REDUCED: dict[str, list[Any]] = {
    "technology": ["pcm-14nm", "pcm-3d", "rram-22nm"],
    "tile_rows": [256, 512],
    "tile_cols": [512],
    "tiers": [64, 512],
    "tiles_share": [0.3, 1.0],
    "adc_bits": [5, 6, 7, 8],
    "dac_bits": [6, 8],
    "columns_per_adc": [1, 8],
    "digital_expert_fraction": [0, 0.125, 0.25, 0.5, 0.75, 1],
    "placement_score": ["max_neuron_norm", "activation_frequency"],
    "placement_scope": ["global"],
    "mac_units": [1024, 8192],
    "sram_mib": [1],
    "hbm_stacks": [4],
}
RECHECKED = 3
LOOK_SHARE = 0.25  # a look simulates a quarter of the tokens; its share of the time is measured
KEPT = "search_simulations.json"

Kept = dict[int, dict[str, Any]]
"""By key code a simulation's numbers, and under `look` its first look."""


@dataclass(frozen=True)
class Recorded:
    """A simulator whose simulations were all done before; by what `evaluate` is given."""

    miniature: Any
    kept: dict[Any, dict[str, Any]]
    races: bool = True

    @staticmethod
    def place(noise: Any, digital: np.ndarray, analog_modules: Sequence[str], form: Any) -> Any:
        return noise, digital.tobytes(), tuple(analog_modules), form

    def evaluate(
        self,
        noise: Any,
        digital: np.ndarray,
        analog_modules: Sequence[str] = (),
        look: Any = None,
        form: Any = None,
    ) -> SimpleNamespace:
        found = self.kept[self.place(noise, digital, analog_modules, form)]
        numbers = {name.removesuffix("_nats"): found[name] for name in SIMULATED}
        return SimpleNamespace(**numbers, source="recorded", seconds=found["seconds"])

    def look(self, *placed: Any) -> Look:
        found = self.kept[self.place(*placed)]["look"]
        return Look(np.array(found["loss"]), np.array(found["top1"]))


def recorded(problem: Problem, kept: Kept) -> Problem:
    """The problem with its simulator replaced by what it simulated before."""
    assert problem.simulator is not None
    placed = {Recorded.place(*noise_and_placement(problem, c)): kept[c] for c in kept}
    simulator: Any = Recorded(problem.simulator.miniature, placed)
    return replace(problem, simulator=simulator)


def results_of(kept: Kept) -> Results:
    """The simulations' numbers as the search carries them."""
    return {
        code: Simulated.read({name: value for name, value in one.items() if name != "look"})
        for code, one in kept.items()
    }


@dataclass(frozen=True)
class Truth:
    """The enumerated space: designs within the limits, all simulations, the true front's volume."""

    problem: Problem
    designs: Pool
    kept: Kept
    results: Results
    corner: np.ndarray
    volume: float
    front: int

    @property
    def simulations(self) -> int:
        return len(self.results) - 1

    def share(self, values: np.ndarray) -> float:
        """Hypervolume of objective values as a share of the true front's."""
        return hypervolume(values, self.corner) / self.volume if len(values) else 0.0


def reduced_problem() -> Problem:
    """DeepSeekMoE under 200 mm2; a parameter that REDUCED does not name has its first choice."""
    choices = {p.name: list(p.choices[:1]) for p in default_space().parameters} | REDUCED
    return make_problem(Settings("deepseekmoe", 200.0, choices=choices, tokens=TOKENS))


def readable(problem: Problem, code: int) -> str:
    """A key as text that does not depend on how codes are packed; empty parts are left out."""
    if code == CLEAN:
        return "clean"
    parts = problem.keys.key(code)._asdict().items()
    return " ".join(
        f"{name}={value}".replace(" ", "") for name, value in parts if value not in ("", ())
    )


def simulate_all(problem: Problem, codes: list[int], keep: Path) -> Kept:
    """Simulate every key once; `keep` remembers them between calls of this script."""
    assert problem.simulator is not None
    made_with = {
        "model": problem.architecture.name,
        "tokens": TOKENS,
        "noise_seeds": problem.simulator.seeds,
        "accuracy_source": problem.simulator.miniature.source,
    }
    names = {readable(problem, code): code for code in (CLEAN, *codes)}
    document = json.loads(keep.read_text()) if keep.exists() else {}
    kept = document.get("simulations", {})
    known = {name: code for name, code in names.items() if name in kept}
    if document and (document["made_with"] != made_with or not _matches(problem, known, kept)):
        print(f"{keep} is not what the code simulates: all is simulated again", file=sys.stderr)
        kept = {}
    missing = [name for name in names if name not in kept]
    for done, name in enumerate(missing, start=1):
        kept[name] = _simulated(problem, names[name])
        if done % 20 == 0 or done == len(missing):
            _write(keep, made_with, kept)
            print(f"{done} of {len(missing)} simulations", file=sys.stderr)
    return {code: kept[name] for name, code in names.items()}


def _write(keep: Path, made_with: dict[str, Any], kept: dict[str, dict[str, Any]]) -> None:
    """One line a simulation, so that two versions of the file can be compared."""
    lines = (f"{json.dumps(name)}: {json.dumps(result)}" for name, result in kept.items())
    text = f'{{"made_with": {json.dumps(made_with)},\n"simulations": {{\n'
    text += ",\n".join(lines) + "\n}}\n"
    write_atomically(keep, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _simulated(problem: Problem, code: int) -> dict[str, Any]:
    """What is kept of one simulation: its numbers, and of its first look the losses."""
    first = look(problem, code)
    result = simulate(problem, code, look=first).document()
    result.pop("accuracy_source")
    result["seconds"] = round(result["seconds"], 3)
    if first is not None:
        loss = np.round(first["loss"], 6).tolist()
        result["look"] = {"loss": loss, "top1": [], "seconds": round(first["seconds"], 3)}
    return result


def _matches(problem: Problem, names: dict[str, int], kept: dict[str, dict[str, Any]]) -> bool:
    """Whether a few kept keys, those of the largest losses, simulate to the same again."""
    worst = sorted(names, key=lambda name: -kept[name]["delta_loss_nats"])[:RECHECKED]
    return all(
        abs(_simulated(problem, names[name])["delta_loss_nats"] - kept[name]["delta_loss_nats"])
        <= 1e-5 + 0.2 * kept[name]["delta_loss_stderr"]
        for name in worst
    )


def find_truth(keep: Path) -> Truth:
    """Enumerate the reduced space, simulate what is missing, find the true front."""
    problem = reduced_problem()
    sizes = [len(parameter.choices) for parameter in problem.space.parameters]
    costed = cost(problem, np.stack([grid.ravel() for grid in np.indices(sizes)], axis=1))
    designs = pool_of(costed).take(np.flatnonzero(costed.feasible))
    codes = [code for code in np.unique(designs.codes).tolist() if code != CLEAN]
    kept = simulate_all(problem, codes, keep)
    results = results_of(kept)
    values = complete_values(problem, designs, results)
    corner = np.quantile(values, 0.9, axis=0)
    losses = [result.delta_loss_nats for result in results.values()]
    corner[0] = np.quantile(losses, 0.9)  # over simulations: most designs are nearly all digital
    front = int(non_dominated(values).sum())
    same, volume = recorded(problem, kept), hypervolume(values, corner)
    return Truth(same, designs, kept, results, corner, volume, front)


def complete_values(problem: Problem, designs: Pool, results: Results) -> np.ndarray:
    """Objective values of the designs whose simulation is among the results."""
    known = designs.take(np.flatnonzero(np.isin(designs.codes, list(results))))
    simulated = simulated_columns(results, known.codes)
    # A loss below the clean model's is noise; counting it would reward the luckiest draw.
    simulated["delta_loss_nats"] = np.maximum(simulated["delta_loss_nats"], 0.0)
    return objective_values(problem.objectives, {**known.metrics, **simulated})


class Budget:
    """Hypervolume reached by simulations spent; a simulation cut short counts as a part of one."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.most = max(BUDGETS) * truth.simulations
        self.spent, self.steps = 0.0, [(0.0, 0.0)]

    def add(self, spent: float, values: np.ndarray) -> None:
        self.spent += spent
        self.steps.append((self.spent, self.truth.share(values)))

    def reached(self) -> list[float]:
        """Share of the true hypervolume at each of the budgets."""
        limits = [budget * self.truth.simulations + 1e-9 for budget in BUDGETS]
        return [max(share for spent, share in self.steps if spent <= most) for most in limits]


def structured(truth: Truth, sampler: str, seed: int, race: bool = True) -> Budget:
    """A sampler inside the search of `dse explore`, anchors first as there."""
    problem = truth.problem
    if not race:
        simulator: Any = replace(problem.simulator, races=False)
        problem = replace(problem, simulator=simulator)
    study = search.open_study(optuna.storages.InMemoryStorage(), problem)
    screening = Screening(problem, {CLEAN: truth.results[CLEAN]}, seed)
    study.sampler = search.make_sampler(sampler, screening, seed)
    for design in screening.anchors().tolist():
        study.enqueue_trial(dict(zip(problem.space.names, design, strict=True)))
    budget = Budget(truth)
    most_trials = int(4 * budget.most)
    for trial in range(most_trials):
        before = len(screening.results), len(screening.looks)
        counted = search.Counted(trial, most_trials)
        search.run_trial(study, study.ask(), problem, screening, search.Clock(), counted)
        simulated, looked = len(screening.results) - before[0], len(screening.looks) - before[1]
        if simulated or looked:
            values = complete_values(problem, truth.designs, screening.results)
            budget.add(1.0 if simulated else LOOK_SHARE, values)
        if budget.spent >= budget.most:
            break
    return budget


def plain(truth: Truth, sampler: str, seed: int) -> Budget:
    """Optuna alone, told the limits as constraints; what breaks them is not simulated."""
    problem = truth.problem
    study = search.open_study(optuna.storages.InMemoryStorage(), problem)
    study.sampler = search.make_sampler(sampler, Screening(problem, dict(truth.results), 0), seed)
    budget, rows = Budget(truth), []
    while budget.spent < budget.most:
        trial = study.ask()
        design = np.array([[trial.suggest_int(p.name, 0, len(p.choices) - 1)
                            for p in problem.space.parameters]])  # fmt: skip
        costed = cost(problem, design)
        trial.set_constraint("limits", float(costed.excess[0]))
        if not costed.feasible[0]:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        values = complete_values(problem, pool_of(costed), truth.results)[0]
        rows.append(values)
        study.tell(trial, values.tolist())
        budget.add(1.0, np.array(rows))
    return budget


def reduced(seeds: int, samplers: Sequence[str], keep: Path) -> dict[str, Any]:
    """The table of all samplers."""
    truth = find_truth(keep)
    rows = []
    for sampler in samplers:
        methods = ["structured"]
        methods += ["structured, no look"] if sampler == "screening" else ["plain"]
        for method in methods:
            before = time.perf_counter()
            budgets = [
                plain(truth, sampler, seed)
                if method == "plain"
                else structured(truth, sampler, seed, race=method == "structured")
                for seed in range(seeds)
            ]
            seconds = (time.perf_counter() - before) / sum(budget.spent for budget in budgets)
            rows.append(_row(sampler, method, budgets) | {"overhead_s_per_simulation": seconds})
            print(json.dumps(rows[-1]), file=sys.stderr)
    sizes = [len(parameter.choices) for parameter in truth.problem.space.parameters]
    kept = [one for code, one in truth.kept.items() if code != CLEAN]
    whole = sum(result["seconds"] + result["look"]["seconds"] for result in kept)
    return {
        "designs": int(np.prod(sizes)),
        "designs_within_limits": len(truth.designs),
        "simulations": truth.simulations,
        "true_front": truth.front,
        "look_share_of_a_simulation": sum(r["look"]["seconds"] for r in kept) / whole,
        "budgets": list(BUDGETS),
        "samplers": rows,
    }


def _row(sampler: str, method: str, budgets: list[Budget]) -> dict[str, Any]:
    reached = np.array([budget.reached() for budget in budgets])
    spread = reached.std(axis=0, ddof=1).tolist() if len(reached) > 1 else None
    curve = [np.interp(np.linspace(0, budget.most, 48), *zip(*budget.steps, strict=True))
             for budget in budgets]  # fmt: skip
    return {
        "sampler": sampler,
        "method": method,
        "seeds": len(budgets),
        "reached": reached.mean(axis=0).tolist(),
        "spread": spread,
        "least": reached.min(axis=0).tolist(),
        "curve": np.round(np.mean(curve, axis=0), 6).tolist(),
    }


def full(models: Sequence[str], trials: int, factor: int, tokens: int) -> dict[str, Any]:
    """Hypervolume of the default search as a share of what `factor` times the trials reach."""
    rows = []
    for model in models:
        settings = Settings(model, 200.0, tokens=tokens)
        problem = make_problem(settings)
        # One search goes on: the longer one contains the shorter and is never worse by chance.
        screening = Screening(problem, {}, settings.seed)
        study = search.open_study(optuna.storages.InMemoryStorage(), problem)
        study.sampler = search.make_sampler(settings.sampler, screening, settings.seed)
        stages = []
        for count in (trials or settings.trials, factor * (trials or settings.trials)):
            clock = search.Clock()
            search.run_search(study, problem, screening, trials=count, clock=clock)
            stages.append(_stage(screening, count, clock))
            print(model, json.dumps(stages[-1]), file=sys.stderr)
        share = stages[0]["hypervolume"] / stages[1]["hypervolume"]
        rows.append({"model": model, "stages": stages, "share_reached": share})
    return {"tokens": tokens, "models": rows}


def _stage(screening: Screening, trials: int, clock: search.Clock) -> dict[str, Any]:
    """The front as `dse explore` would report it, the search itself left as it was."""
    pool, archive = screening.pool, screening.archive
    screening.refine()
    volume = screening.front_hypervolume()
    designs = len(screening.archive) if screening.archive is not None else 0
    screening.pool, screening.archive = pool, archive
    return {
        "trials": trials,
        "simulations": len(screening.results) - 1,
        "looks": len(screening.looks) - 1,
        "hypervolume": float(volume),
        "front": designs,
        "seconds": clock.total,
        "seconds_simulating": clock.simulation,
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--keep", type=Path, default=Path(__file__).with_name(KEPT))
    parser.add_argument("--full", action="store_true", help="the whole space, really simulating")
    parser.add_argument("--models", default="deepseekmoe,olmoe")
    parser.add_argument("--trials", type=int, default=0, help="of --full; 0: the default")
    parser.add_argument("--factor", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=8192, help="of a simulation of --full")
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    if given.full:
        result = full(given.models.split(","), given.trials, given.factor, given.tokens)
    else:
        result = reduced(given.seeds, given.samplers.split(","), given.keep)
    if given.as_json:
        print(json.dumps(result, indent=2))
    elif given.full:
        print_full(result)
    else:
        print_reduced(result)


def print_full(result: dict[str, Any]) -> None:
    """One line a model."""
    for row in result["models"]:
        few, many = row["stages"]
        print(f"{row['model']}: {few['trials']} trials in {few['seconds']:.0f} s reach "
              f"{100 * row['share_reached']:.1f} % of the hypervolume that {many['trials']} reach "
              f"in {few['seconds'] + many['seconds']:.0f} s")  # fmt: skip


def print_reduced(result: dict[str, Any]) -> None:
    """The table: share of the true hypervolume, its standard deviation over seeds."""
    print(f"{result['designs_within_limits']} designs of {result['designs']} within the limits, "
          f"{result['simulations']} simulations, {result['true_front']} designs on the true front; "
          "share of its hypervolume (standard deviation over seeds) after")  # fmt: skip
    heads = [f"{100 * budget:g} %" for budget in result["budgets"]]
    print(f"{'sampler':18}{'method':22}" + "".join(f"{head:>16}" for head in heads))
    for row in result["samplers"]:
        spread = row["spread"] or [float("nan")] * len(heads)
        cells = [f"{m:.3f} ({s:.3f})" for m, s in zip(row["reached"], spread, strict=True)]
        print(f"{row['sampler']:18}{row['method']:22}" + "".join(f"{c:>16}" for c in cells))


if __name__ == "__main__":
    main()
