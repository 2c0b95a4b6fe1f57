"""`dse report`: the report drawn again, of a finished run or of a search under way."""

from pathlib import Path
from typing import Any

from dse.runs import folder as runs
from dse.runs.document import check_document
from dse.runs.record import finish, write_report
from dse.runs.study import check_same_program, find_study, open_storage
from dse.search import loop as search
from dse.search import workers
from dse.search.loop import screen
from dse.search.settings import Settings
from dse.search.setup import make_problem
from dse.search.study.storage import Place, has_secret, shared_place, shown


def draw(folder: Path, storage: str = "", name: str = "", insists: bool = True) -> Path:
    """Draw report.html: from the run's tables, or from its study while that is being worked on.

    Tables that a search has written meanwhile are drawn, and not written over.

    Args:
        storage: URL of the storage that holds the study; the folder is made if need be.
        name: of the study there; the run's own by default.
        insists: a storage for a run with a journal is an error, and not passed over.
    """
    config = runs.read_config(folder) if runs.is_run(folder) or not storage else None
    if config is not None and "study" not in config:
        if name:
            raise ValueError(f"the study of {folder} lies in its own journal: leave out --study")
        storage = storage if insists else ""
    if config is None and not name:
        raise ValueError(f"{folder} is no run folder, so name the study: add --study NAME")
    under_way = config is None or config.get("outcome", runs.UNDER_WAY) == runs.UNDER_WAY
    if config is None or ("study" in config and storage and name):
        _draw_study(folder, config, shared_place(storage, name))
    elif under_way or storage:
        _draw_study(folder, config, find_study(folder, storage))
    return write_report(folder)


def _draw_study(folder: Path, config: dict[str, Any] | None, place: Place) -> None:
    """Write the tables of a study as it stands."""
    if place.is_journal and not Path(place.url).exists():
        raise ValueError(f"{folder} has no {runs.JOURNAL} to draw a report from")
    with place.errors(), runs.one_line_errors(folder):
        storage = open_storage(config or {}, place)
        carried: dict[str, Any] = (
            {"config": config or {}} if place.is_journal else _announced(storage, place)
        )
        asked = carried["config"]
        check_same_program(asked, f"the study of {folder}")
        with workers.usable_settings(carried) as settings:
            problem = make_problem(settings)
        study = search.open_study(storage, problem, place.study)
        screening = screen(settings, problem, study)
        under_way = len(search.finished(study)) < settings.trials
        if not runs.is_run(folder):
            folder.mkdir(
                parents=True, exist_ok=True, mode=0o700 if has_secret(place.url) else 0o777
            )
            home = {"storage": shown(place.url), "study": place.study}
            runs.write_json(folder / runs.CONFIG, asked | home)
        outcome = runs.UNDER_WAY if under_way else "finished"
        before = "" if config is None else config.get("generation", "")
        finish(
            Settings.read(asked["settings"]), folder, study, screening, outcome, {"cost": 0.0},
            instead_of=before,
        )  # fmt: skip


def _announced(storage: Any, place: Place) -> dict[str, Any]:
    """What the study carries."""
    carried = workers.read_announced(storage, place)
    check_document(carried["config"])
    return carried
