"""More processes on one study: each proposes, simulates and tells; the journal is their meeting."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from dse import run as runs
from dse.settings import Settings

# Grace for a helper that is asked to stop before it is killed.
_STOP_S = 5.0


def turn(folder: Path) -> AbstractContextManager[Any]:
    """Lock that one worker holds while it claims a trial; freed when its process dies."""
    from filelock import FileLock

    return FileLock(folder / ".claim.lock")


@contextmanager
def helpers(
    settings: Settings, folder: Path, count: int, timeout_s: float | None
) -> Iterator[None]:
    """Start `count` processes on the study in `folder`; they end with it."""
    if count < 1:
        yield
        return
    share_cores(count + 1)
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(
            target=help_search,
            args=(settings.document(), str(folder), number, count + 1, timeout_s),
            daemon=True,
        )
        for number in range(1, count + 1)
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(_STOP_S)
            if process.is_alive():
                process.kill()
                process.join()


def share_cores(workers: int) -> None:
    """Give each of several workers its share of the cores."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))


def help_search(
    document: dict[str, Any], folder: str, number: int, workers: int, timeout_s: float | None
) -> None:
    """Body of a helper process: search until the study has its trials."""
    from dse import search
    from dse.problem import CLEAN
    from dse.screening import Screening
    from dse.setup import make_problem

    # Ctrl-C reaches the whole process group; the first process decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    share_cores(workers)
    settings = Settings.read(document)
    problem = make_problem(settings)
    path = Path(folder)
    study = search.open_study(search.journal_storage(path / runs.JOURNAL), problem)
    results = search.load_results(study)
    results[CLEAN] = problem.simulate(CLEAN)
    screening = Screening(problem, results, settings.seed)
    study.sampler = search.make_sampler(settings.sampler, screening, settings.seed + 1000 * number)
    search.run_search(
        study,
        problem,
        screening,
        trials=settings.trials,
        timeout_s=timeout_s,
        clock=search.Clock(),
        turn=turn(path),
    )


def _end_with_parent() -> None:
    """End this process when the one that started it dies, however it dies."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
