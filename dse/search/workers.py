"""More processes on one study: helpers of `dse explore --jobs`, and `dse worker` on any machine.

A worker needs only the storage and the study's name: what to search travels with the study.
"""

import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.files import alive
from dse.search.fingerprints import check_same, fingerprints
from dse.search.settings import Settings
from dse.search.setup import settings_architecture
from dse.search.study.storage import Place, shown, unreachable

if TYPE_CHECKING:
    import optuna

    from dse.search.loop import Progress

# Grace for a helper that is asked to stop before it is killed.
_STOP_S = 5.0
# What a shared study carries: the config.json of its run, and how often its workers give signs.
RUN, HEARTBEAT = "run", "heartbeat_s"


@contextmanager
def helpers(
    settings: Settings, place: Place, count: int, timeout_s: float | None, heartbeat_s: float
) -> Iterator[None]:
    """Start `count` processes on the study of `place`; they end with it, and leave their cores."""
    if count < 1:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    share_cores(count + 1)
    context = multiprocessing.get_context("spawn")
    # Arguments travel through a pipe: a password in the URL shows in no list of processes.
    processes = [
        context.Process(
            target=help_search,
            args=(settings.document(), place, number, count + 1, timeout_s, heartbeat_s),
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
        torch.set_num_threads(threads)


def share_cores(workers: int) -> None:
    """Give each of several workers its share of the cores."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))


def help_search(
    document: dict[str, Any],
    place: Place,
    number: int,
    workers: int,
    timeout_s: float | None,
    heartbeat_s: float,
) -> None:
    """Body of a helper process: search until the study has its trials."""
    # Ctrl-C reaches the whole process group; the first process decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    share_cores(workers)
    settings = Settings.read(document)
    search_along(
        settings,
        place.open(),
        place.study,
        seed=settings.seed + 1000 * number,
        timeout_s=timeout_s,
        heartbeat_s=heartbeat_s,
    )


def _end_with_parent() -> None:
    """End this process when the one that started it dies, however it dies."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def search_along(
    settings: Settings,
    storage: "optuna.storages.BaseStorage",
    name: str,
    *,
    seed: int,
    timeout_s: float | None = None,
    heartbeat_s: float,
    show: "Callable[[Progress], None]" = lambda progress: None,
) -> str:
    """Run trials of an existing study until it has all; returns the outcome of `run_search`."""
    from dse.search import loop as search
    from dse.search.screening import Screening
    from dse.search.setup import make_problem

    problem = make_problem(settings)
    study = search.open_study(storage, problem, name)
    screening = Screening(problem, search.load_results(study), settings.seed)
    study.sampler = search.make_sampler(settings.sampler, screening, seed)
    return search.run_search(
        study,
        problem,
        screening,
        trials=settings.trials,
        timeout_s=timeout_s,
        clock=search.Clock(),
        show=show,
        heartbeat_s=heartbeat_s,
    )


def announce(study: "optuna.Study", config: dict[str, Any], heartbeat_s: float) -> None:
    """Let a study carry what its workers need, the file of its model included."""
    path = Path(config["model_source"])  # of a model without a name: its file
    carried: dict[str, Any] = {"config": config}
    if path.suffix == ".json" and path.is_file():
        carried["model"] = {
            "folder": path.parent.absolute().name,
            "file": path.name,
            "content": json.loads(path.read_text(encoding="utf-8")),
        }
    study.set_user_attr(RUN, carried)
    study.set_user_attr(HEARTBEAT, heartbeat_s)


@contextmanager
def reserved(place: Place, objectives: int) -> Iterator[None]:
    """Take the name of a new study in a shared storage; free again if its search never starts.

    Raises:
        ValueError: there is such a study.
    """
    if place.is_journal:
        yield
        return
    import optuna
    from optuna.exceptions import DuplicatedStudyError

    storage = place.open()
    directions = [optuna.study.StudyDirection.MINIMIZE] * objectives
    try:
        study = optuna.create_study(storage=storage, study_name=place.study, directions=directions)
    except DuplicatedStudyError:
        raise ValueError(
            f"{shown(place.url)} already holds a study {place.study!r}: go on with --resume, "
            "join it with dse worker, or name another with --study"
        ) from None
    try:
        yield
    except BaseException as error:
        if not unreachable(error) and RUN not in study.user_attrs:
            optuna.delete_study(study_name=place.study, storage=storage)
        raise


def read_announced(storage: "optuna.storages.BaseStorage", place: Place) -> dict[str, Any]:
    """What a study carries (see `announce`).

    Raises:
        ValueError: no such study (those that there are are named), or none of this tool.
    """
    import optuna

    try:
        study = optuna.load_study(study_name=place.study, storage=storage)
    except KeyError:
        names = [found.study_name for found in storage.get_all_studies()]
        there = f"there are {', '.join(sorted(names))}" if names else "it holds none"
        raise ValueError(f"no study {place.study!r} in {shown(place.url)}: {there}") from None
    attributes = study.user_attrs
    if RUN in attributes and "fingerprints" not in attributes[RUN].get("config", {}):
        raise ValueError(f"study {place.study!r} is that of another version of dse: use that one")
    if RUN not in attributes:
        raise ValueError(
            f"study {place.study!r} is being set up, or is not one of dse explore --storage"
        )
    return {**attributes[RUN], HEARTBEAT: attributes[HEARTBEAT]}


def _plain(name: Any) -> str:
    """A name that a study carries, if it is that of one file or folder.

    Raises:
        ValueError: it leads elsewhere: whoever can write to the storage could write any file.
    """
    if not isinstance(name, str) or name in ("", ".", "..") or {"/", "\\", "\0"} & set(name):
        raise ValueError(f"the study carries a model file in {name!r}: a plain name is needed")
    return name


@contextmanager
def usable_settings(carried: dict[str, Any]) -> Iterator[Settings]:
    """The settings that a study carries; a model file lies on disk inside the block."""
    document = carried["config"]["settings"]
    prefix = f"dse-{os.getpid()}-"
    _remove_models_left_behind()
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        if model := carried.get("model"):
            path = Path(folder) / _plain(model["folder"]) / _plain(model["file"])
            path.parent.mkdir()
            path.write_text(json.dumps(model["content"]), encoding="utf-8")
            document = {**document, "model": str(path)}
        yield Settings.read(document)


def _remove_models_left_behind() -> None:
    """Remove what killed workers of this user left of model files."""
    for folder in Path(tempfile.gettempdir()).glob("dse-*-*"):
        number = folder.name.split("-")[1]
        if number.isdigit() and not alive(int(number)) and folder.owner() == Path.home().owner():
            shutil.rmtree(folder, ignore_errors=True)


def work(
    place: Place,
    *,
    jobs: int = 1,
    timeout_s: float | None = None,
    show: "Callable[[Progress], None]" = lambda progress: None,
) -> dict[str, Any]:
    """Join a study of a shared storage; stop when it is finished, at a signal, or in time.

    Returns:
        The outcome, the trials finished here, and those of the whole study.
    """
    with place.errors():
        storage = place.open()
        carried = read_announced(storage, place)
        heartbeat_s = float(carried[HEARTBEAT])
        with usable_settings(carried) as settings:
            here_too = fingerprints(settings, settings_architecture(settings))
            check_same(carried["config"]["fingerprints"], here_too, f"study {place.study!r}")
            here = [0]

            def count(progress: "Progress") -> None:
                here[0] += 1
                show(progress)

            with helpers(settings, place, jobs - 1, timeout_s, heartbeat_s):
                outcome = search_along(
                    settings,
                    storage,
                    place.study,
                    seed=int.from_bytes(os.urandom(4)) // 2,
                    timeout_s=timeout_s,
                    heartbeat_s=heartbeat_s,
                    show=count,
                )
            return _document(storage, place, settings, outcome, here[0])


def _document(
    storage: "optuna.storages.BaseStorage",
    place: Place,
    settings: Settings,
    outcome: str,
    here: int,
) -> dict[str, Any]:
    import optuna

    from dse.search.study.slots import finished

    study = optuna.load_study(study_name=place.study, storage=storage)
    return {
        "study": place.study,
        "storage": shown(place.url),
        "outcome": outcome,
        "trials_here": here,
        "trials": len(finished(study)),
        "wanted": settings.trials,
    }
