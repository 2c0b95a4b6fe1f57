"""Kill `dse explore` at random moments, resume, and see whether anything was lost.

Each round starts or resumes the search in one folder and kills it (SIGKILL) after a random time.
Afterwards the search is finished and compared with an undisturbed one of the same seed.

    python benchmarks/faults.py [--kills 20] [--trials 24] [--tokens 1536] [--json]
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


def command(folder: Path, trials: int, tokens: int) -> list[str]:
    """Start the search, or go on when the folder holds a run."""
    start = [sys.executable, "-m", "dse", "explore", "--output", str(folder)]
    if (folder / "config.json").exists():
        return [*start, "--resume", "--json"]
    asked = ["--model", "deepseekmoe", "--budget-area", "200mm2", "--tokens", str(tokens)]
    return [*start, *asked, "--trials", str(trials), "--json"]


def finished(folder: Path) -> list[str]:
    """Journal lines that finish a trial as complete or ruled out."""
    journal = folder / "study.journal"
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [line for line in lines if '"state":1,' in line or '"state":2,' in line]


def run(folder: Path, trials: int, tokens: int) -> dict[str, Any]:
    """Run to the end and return the document that it prints."""
    done = subprocess.run(command(folder, trials, tokens), capture_output=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def torment(folder: Path, kills: int, trials: int, tokens: int) -> tuple[int, int]:
    """Kill and resume; returns kills that hit a running search, and finished trials lost."""
    moments = random.Random(0)
    hit = lost = 0
    longest = 20.0
    for _ in range(kills):
        before = finished(folder)
        process = subprocess.Popen(
            command(folder, trials, tokens), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(moments.uniform(0.5, longest))
        hit += process.poll() is None
        process.kill()
        process.wait()
        after = set(finished(folder))
        lost += sum(line not in after for line in before)
    return hit, lost


def benchmark(kills: int, trials: int, tokens: int) -> dict[str, Any]:
    """The comparison of a tormented and an undisturbed search."""
    with tempfile.TemporaryDirectory() as place:
        tormented, undisturbed = Path(place) / "tormented", Path(place) / "undisturbed"
        hit, lost = torment(tormented, kills, trials, tokens)
        results = {path.name: run(path, trials, tokens) for path in (tormented, undisturbed)}
        return {
            "kills": kills,
            "kills_of_a_running_search": hit,
            "finished_trials_lost": lost,
            "trials": {name: r["counts"]["trials"] for name, r in results.items()},
            "simulations": {name: r["counts"]["simulations"] for name, r in results.items()},
            "hypervolume": {name: r["hypervolume"] for name, r in results.items()},
        }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=1536)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    result = benchmark(given.kills, given.trials, given.tokens)
    if given.as_json:
        print(json.dumps(result, indent=2))
        return
    for name, value in result.items():
        print(f"{name.replace('_', ' ')}: {value}")


if __name__ == "__main__":
    main()
