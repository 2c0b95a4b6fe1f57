"""Kill `dse explore` at random moments, resume, and see whether anything was lost.

Each round starts or resumes the search in one folder and kills it (SIGKILL) after a random time.
Afterwards the search is finished and its front compared with that of an undisturbed search of the
same seed, as `dse compare` does it: beaten is a design beyond two standard errors.

    python benchmarks/faults.py [--kills 20] [--trials 48] [--tokens 2048] [--json]
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dse.runs.best import compare
from dse.runs.folder import load_run
from dse.search.study.slots import finished
from dse.search.study.storage import STUDY, journal_storage

LONGEST_S = 40.0


def command(folder: Path, trials: int, tokens: int) -> list[str]:
    """Start the search, or go on when the folder holds a run."""
    start = [sys.executable, "-m", "dse", "explore", "--output", str(folder)]
    if (folder / "config.json").exists():
        return [*start, "--resume", "--json"]
    asked = ["--model", "deepseekmoe", "--budget-area", "200mm2", "--tokens", str(tokens)]
    return [*start, *asked, "--trials", str(trials), "--json"]


def trials_of(folder: Path) -> tuple[dict[int, Any], int]:
    """Finished trials of a run, by number, and how many more are in hand."""
    path = folder / "study.journal"
    if not path.exists():
        return {}, 0
    try:
        study = optuna.load_study(storage=journal_storage(path), study_name=STUDY)
    except KeyError:  # killed before the study was there
        return {}, 0
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return {trial.number: _content(trial) for trial in finished(study)}, len(running)


def _content(trial: FrozenTrial) -> tuple[Any, ...]:
    return trial.state, trial.values, trial.params, trial.user_attrs


def run(folder: Path, trials: int, tokens: int) -> dict[str, Any]:
    """Run to the end and return the document that it prints."""
    done = subprocess.run(command(folder, trials, tokens), capture_output=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def torment(folder: Path, kills: int, trials: int, tokens: int) -> dict[str, int]:
    """Kill and resume; what the kills hit, and finished trials that were lost or changed."""
    moments = random.Random(0)
    killed = in_hand = lost = 0
    for number in range(kills):
        before, _ = trials_of(folder)
        process = subprocess.Popen(
            command(folder, trials, tokens), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(moments.uniform(0.5, LONGEST_S))
        killed += process.poll() is None
        process.kill()
        process.wait()
        after, running = trials_of(folder)
        in_hand += running > 0
        lost += sum(after.get(trial) != content for trial, content in before.items())
        print(f"kill {number + 1}: {len(after)} trials finished", file=sys.stderr)
    return {"kills": killed, "kills_in_mid_trial": in_hand, "finished_trials_lost": lost}


def benchmark(kills: int, trials: int, tokens: int) -> dict[str, Any]:
    """The comparison of a tormented and an undisturbed search."""
    with tempfile.TemporaryDirectory() as place:
        tormented, undisturbed = Path(place) / "tormented", Path(place) / "undisturbed"
        result: dict[str, Any] = dict(torment(tormented, kills, trials, tokens))
        fronts = {}
        for folder in (tormented, undisturbed):
            document = run(folder, trials, tokens)
            fronts[folder.name] = {
                "trials": document["counts"]["trials"],
                "simulations": document["counts"]["simulations"],
                "hypervolume": document["hypervolume"],
            }
        compared = compare(load_run(tormented), load_run(undisturbed))
        for side in compared["runs"]:
            fronts[Path(side["run"]).name] |= {
                name: side[name] for name in ("designs_on_front", "designs_beaten_by_the_other")
            }
        return {**result, "searches": fronts}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    result = benchmark(given.kills, given.trials, given.tokens)
    if given.as_json:
        print(json.dumps(result, indent=2))
        return
    for name, value in result.items():
        if name != "searches":
            print(f"{name.replace('_', ' ')}: {value}")
    for name, search in result["searches"].items():
        print(f"{name}: {search['trials']} trials, {search['simulations']} simulations, "
              f"hypervolume {search['hypervolume']:.4f}; {search['designs_beaten_by_the_other']} "
              f"of {search['designs_on_front']} designs beaten by the other")  # fmt: skip


if __name__ == "__main__":
    main()
