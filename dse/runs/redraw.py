"""`dse report`: the report drawn again, of a finished run or of a search under way."""

from pathlib import Path

from dse.runs import folder as runs
from dse.runs.record import finish, write_report
from dse.runs.study import find_study
from dse.search import loop as search
from dse.search import workers
from dse.search.loop import screen
from dse.search.settings import Settings
from dse.search.setup import make_problem
from dse.search.study.storage import Place, shared_place, shown


def draw(folder: Path, storage: str = "", name: str = "") -> Path:
    """Draw report.html: from the run's tables, or from its study while that is being worked on.

    Args:
        storage: URL of the storage that holds the study; the folder is made if need be.
        name: of the study there; the run's own by default.
    """
    config = runs.read_config(folder) if runs.is_run(folder) or not storage else None
    if config is not None and "study" not in config and name:
        raise ValueError(f"the study of {folder} lies in its own journal: leave out --study")
    if config is None and not name:
        raise ValueError(f"{folder} is no run folder, so name the study: add --study NAME")
    if storage and (config is None or "study" in config):
        _draw_study(folder, shared_place(storage, name or find_study(folder, storage).study))
    elif config is not None and config.get("outcome", runs.UNDER_WAY) == runs.UNDER_WAY:
        place = find_study(folder, storage)
        if not Path(place.url).exists():
            raise ValueError(f"{folder} has no {runs.JOURNAL} to draw a report from")
        _draw_study(folder, place)
    return write_report(folder)


def _draw_study(folder: Path, place: Place) -> None:
    """Write the tables of a study as it stands."""
    with place.errors(), runs.one_line_errors(folder):
        storage = place.open()
        if place.is_journal:
            carried = {"config": runs.read_config(folder)}
        else:
            carried = workers.read_announced(storage, place)
        with workers.usable_settings(carried) as settings:
            problem = make_problem(settings)
        study = search.open_study(storage, problem, place.study)
        screening = screen(settings, problem, study)
        under_way = len(search.finished(study)) < settings.trials
        if not runs.is_run(folder):
            folder.mkdir(parents=True, exist_ok=True)
            home = {"storage": shown(place.url), "study": place.study}
            runs.write_json(folder / runs.CONFIG, carried["config"] | home)
        asked = Settings.read(carried["config"]["settings"])
        outcome = runs.UNDER_WAY if under_way else "finished"
        finish(asked, folder, study, screening, outcome, {"cost": 0.0})
