"""What kills, signals and edits do to a run: lost, doubled or wrong, counted.

Each try is a process of its own with the real search and made-up evaluations: it is killed
(SIGKILL) before a change of a file that is drawn by chance among those of its stage, and then the
search is resumed. Afterwards a trial that was finished before is lost when it is missing or other
than it was, a slot is doubled when two finished trials hold it, and the run is wrong when its files
are of two sets, a table disagrees with the study, or a design changed its name.

    python benchmarks/faults.py [--tries 20] [--trials 6] [--json]
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pandas as pd

from dse import explorer
from dse.runs import folder as runs
from dse.search.design_name import design_names
from dse.search.settings import Settings
from dse.search.setup import make_problem
from dse.search.study import slots
from dse.search.study.storage import STUDY, journal_storage

STAGES = ("set-up", "search", "candidates", "tornado", "flips", "layers", "experts", "progress",
          "config", "move", "report")  # fmt: skip
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")


class KnownLoss:
    """In place of the noisy simulation: a loss in closed form, at once."""

    def __init__(self, real: Any) -> None:
        self.miniature, self.source = real.miniature, "made up"

    def evaluate(self, noise: Any, digital: Any, analog_modules: Any = (), **more: Any) -> Any:
        loss = float((1 - digital.mean()) * (0.01 + 2.0 ** (3 - noise.adc_bits)))
        loss += 0.02 * len(analog_modules)
        errors = dict.fromkeys(("delta_loss_stderr", "top1_stderr", "accuracy_stderr"), 1e-3)
        return SimpleNamespace(
            delta_loss=loss, top1=0.4 - 0.1 * loss, accuracy=0.8 - 0.3 * loss, seconds=0.0,
            source=self.source, **errors,
        )  # fmt: skip


def stage_of(event: str, given: tuple[Any, ...], folder: Path, begun: list[bool]) -> str:
    """The stage that a change of a file belongs to; "" of none in the run folder."""
    writes = event == "open" and set("wax+") & set(str(given[1]))
    if not (writes or event in _CHANGES) or not str(given[0]).startswith(str(folder)):
        return ""
    path = Path(str(given[0]))
    if path.name == runs.JOURNAL:
        begun[0] = True
        return "search"
    if runs.REPORT in path.name and event != "os.remove":
        return "report"
    if path.parent.name == ".next":
        return "config" if runs.CONFIG in path.name else path.stem
    if path.parent.name == ".whole" or path.name in (".next", ".whole"):
        return "move"
    return "" if begun[0] else "set-up"


def tell_tables() -> None:
    """Let the writing of a table be seen like other changes: pyarrow opens its files unseen."""
    write = pd.DataFrame.to_parquet

    def told(table: pd.DataFrame, path: Path, **options: Any) -> Any:
        for _ in range(2):  # before and after it
            sys.audit("os.mkdir", str(path), 0, -1)
            written = write(table, path, **options)
        return written

    pd.DataFrame.to_parquet = told  # type: ignore[method-assign, assignment]


def in_a_process(act: Callable[[], object], watch: Callable[..., None]) -> int:
    """Run in a fork whose changes of files are watched; returns how it ended, as os.wait does."""
    process = os.fork()
    if process:
        return os.waitpid(process, 0)[1]
    code = 1
    try:
        sys.addaudithook(watch)
        act()
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(code)


@dataclass
class Row:
    """One line of the table: how often a fault was tried, and what it did."""

    fault: str
    tried: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0


class Bench:
    """A search that can be started and resumed at once, for its problem is made only once."""

    def __init__(self, place: Path, trials: int) -> None:
        self.place = place
        self.settings = Settings("deepseekmoe", 200.0, trials=trials, tokens=1536)
        problem = make_problem(self.settings)
        problem = replace(problem, simulator=KnownLoss(problem.simulator))  # type: ignore[arg-type]
        explorer.make_problem = lambda *_, **__: problem  # type: ignore[assignment]
        self.space = problem.space

    def go_on(self, folder: Path) -> None:
        """Start the search, or resume it."""
        session = explorer.Session()
        if runs.is_run(folder):
            explorer.resume(folder, session)
        else:
            explorer.start(self.settings, folder, session)

    def changes(self) -> dict[str, int]:
        """How many changes of files each stage of an undisturbed search has."""
        folder, seen = self.place / "undisturbed", self.place / "seen"
        begun = [False]

        def watch(event: str, given: tuple[Any, ...]) -> None:
            if stage := stage_of(event, given, folder, begun):
                os.write(log, f"{stage}\n".encode())

        log = os.open(seen, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        if in_a_process(lambda: self.go_on(folder), watch):
            raise RuntimeError("an undisturbed search failed")
        os.close(log)
        stages = seen.read_text().split()
        return {stage: stages.count(stage) for stage in STAGES}

    def renamed(self, run: runs.Run, trials: dict[int, Any]) -> bool:
        """Whether a design of a trial bears another name than follows from its parameters."""
        table = run.candidates.set_index("trial")["design"]
        for number, (_, _, parameters, _) in trials.items():
            design = np.array([[parameters[name] for name in self.space.names]])
            if number in table.index and table[number] != design_names(self.space, design)[0]:
                return True
        return False

    def kill(self, stage: str, at: int, row: Row) -> None:
        """Kill a search before a change of its stage, resume it, and look."""
        folder = self.place / f"{stage}-{row.tried}"
        begun, left = [False], [at]

        def watch(event: str, given: tuple[Any, ...]) -> None:
            if stage_of(event, given, folder, begun) == stage:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        row.tried += os.WIFSIGNALED(in_a_process(lambda: self.go_on(folder), watch))
        before = finished(folder)
        row.wrong += in_a_process(lambda: self.go_on(folder), lambda *_: None) != 0
        self.look(folder, before, row)

    def look(self, folder: Path, before: dict[int, Any], row: Row) -> None:
        """Hold a resumed run against its study and against what was finished before."""
        after = finished(folder)
        row.lost += sum(after.get(number) != content for number, content in before.items())
        held = [content[-1] for content in after.values()]
        row.doubled += len(held) - len(set(held))
        run = runs.load_run(folder)
        missing = len(held) != self.settings.trials or len(run.table("progress")) != len(held)
        renamed = self.renamed(run, after)
        files = {path.name for path in folder.rglob("*") if path.is_file()}
        left_over = [name for name in files if name.endswith(".tmp")]
        row.wrong += missing or renamed or bool(left_over) or not run.is_whole()
        row.wrong += not run.report.exists() or not agrees(run, folder)


def finished(folder: Path) -> dict[int, Any]:
    """Finished trials of a run by number: state, values, parameters and slot."""
    path = folder / runs.JOURNAL
    if not path.exists():
        return {}
    try:
        study = optuna.load_study(storage=journal_storage(path), study_name=STUDY)
    except KeyError:  # killed before the study was there
        return {}
    trials = [t for t in study.trials if t.state.is_finished() and not slots.cut_off(t)]
    return {t.number: (t.state, t.values, t.params, t.user_attrs["slot"]) for t in trials}


def agrees(run: runs.Run, folder: Path) -> bool:
    """Whether the table has the energy that the study has of each complete trial."""
    table = run.candidates.set_index("trial")
    energy = run.config["settings"]["objectives"].index("energy_per_token")
    for number, (_, values, *_) in finished(folder).items():
        if values is None or number not in table.index:
            continue
        told = table.loc[number, "energy_j_per_token"]
        if not np.isclose(np.log10(told), values[energy]):
            return False
    return True


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tries", type=int, default=20, help="Kills at each stage.")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    moments, rows = random.Random(0), []
    with tempfile.TemporaryDirectory() as place:
        tell_tables()
        bench = Bench(Path(place), given.trials)
        for stage, changes in bench.changes().items():
            row = Row(f"SIGKILL: {stage}")
            for _ in range(given.tries if changes else 0):
                bench.kill(stage, moments.randint(1, changes), row)
            rows.append(row)
            print(row, file=sys.stderr)
    if given.as_json:
        print(json.dumps({"faults": [vars(row) for row in rows]}, indent=2))
        return
    for row in rows:
        print(f"{row.fault:22} tried {row.tried:3}  lost {row.lost}  doubled {row.doubled}  "
              f"wrong {row.wrong}")  # fmt: skip


if __name__ == "__main__":
    main()
