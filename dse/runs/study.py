"""Where the study of a run lies, and whether it is the one that the run was begun with."""

from pathlib import Path
from typing import Any

import optuna

from dse.runs import folder as runs
from dse.search.fingerprints import check_same, fingerprints
from dse.search.settings import Settings
from dse.search.setup import settings_architecture
from dse.search.study.journal import DamagedJournalError
from dse.search.study.slots import finished
from dse.search.study.storage import Place, shared_place


def journal_place(folder: Path) -> Place:
    """The study in a run's own journal."""
    return Place(str(folder / runs.JOURNAL))


def find_study(folder: Path, storage: str = "") -> Place:
    """Where the study of a run lies, which the run knows, password aside.

    Args:
        storage: URL with the password; a run with a journal has none.

    Raises:
        ValueError: the URL is missing, or given for a run with a journal.
    """
    config = runs.read_config(folder)
    if "study" not in config:
        if storage:
            raise ValueError(f"the study of {folder} lies in its own journal: leave out --storage")
        return journal_place(folder)
    if not storage:
        raise ValueError(f"the study of {folder} lies in {config['storage']}: add --storage URL")
    return shared_place(storage, config["study"])


def open_storage(config: dict[str, Any], place: Place) -> "optuna.storages.BaseStorage":
    """The storage of a run's study, held against what config.json counted.

    Raises:
        ValueError: fewer trials than config.json counted, or a journal that was changed.
    """
    counted = config.get("counts", {}).get("trials", 0)
    told = f"{runs.CONFIG} counted {counted} finished trials: put back a copy, or start a new run"
    if place.is_journal and counted and not Path(place.url).exists():
        raise ValueError(f"{place.url} is missing; {told}")
    try:
        storage = place.open()
    except DamagedJournalError as error:
        raise ValueError(f"{error}; {told}") from None
    if counted:
        try:
            found = len(finished(optuna.load_study(study_name=place.study, storage=storage)))
        except KeyError:
            found = 0
        if found < counted:
            where = place.url if place.is_journal else f"the study {place.study!r}"
            raise ValueError(f"{where} ends after {found} of the trials; {told}")
    return storage


def check_same_program(config: dict[str, Any], what: str) -> None:
    """Refuse a run that was begun with another version, other weights, text or constants."""
    settings = Settings.read(config["settings"])
    here = fingerprints(settings, settings_architecture(settings))
    check_same(config["fingerprints"], here, what)
