"""Speed-up of a search by more processes: the same question with --jobs 1, 2 and 4.

Each run searches the same number of trials into a folder of its own. Compared is the time from the
first trial to the last; reading the model, which every process does for itself, is shown apart.

    python benchmarks/workers.py [--trials 32] [--tokens 4096] [--json]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

JOBS = (1, 2, 4)


def search(jobs: int, trials: int, tokens: int) -> dict[str, Any]:
    """Run one search and say how long its parts took."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        command = [sys.executable, "-m", "dse", "explore", "--model", "deepseekmoe",
                   "--budget-area", "200mm2", "--trials", str(trials), "--tokens", str(tokens),
                   "--jobs", str(jobs), "--output", str(folder), "--json"]  # fmt: skip
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, check=True)
        seconds = time.perf_counter() - started
    document = json.loads(done.stdout)
    wall = document["wall_seconds"]
    return {
        "jobs": jobs,
        "trials": document["counts"]["trials"],
        "simulations": document["counts"]["simulations"],
        "hypervolume": document["hypervolume"],
        "set_up_s": wall["set_up"],
        "search_s": sum(wall[name] for name in ("cost", "simulation", "overhead")),
        "whole_s": seconds,
    }


def benchmark(trials: int, tokens: int) -> dict[str, Any]:
    """One row for each number of processes, with its speed-up over one process."""
    rows = [search(jobs, trials, tokens) for jobs in JOBS]
    for row in rows:
        row["speed_up"] = rows[0]["search_s"] / row["search_s"]
    return {"cores": os.cpu_count(), "rows": rows}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    result = benchmark(given.trials, given.tokens)
    if given.as_json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['cores']} cores, {given.trials} trials of {given.tokens} tokens")
    for row in result["rows"]:
        print(
            f"{row['jobs']} processes: {row['trials']} trials ({row['simulations']} simulations) "
            f"in {row['search_s']:.1f} s, speed-up {row['speed_up']:.2f}; set-up "
            f"{row['set_up_s']:.1f} s, hypervolume {row['hypervolume']:.4f}"
        )


if __name__ == "__main__":
    main()
