"""Where the study of a run lies."""

from pathlib import Path

from dse.runs import folder as runs
from dse.search.study.storage import Place, shared_place


def _journal(folder: Path) -> Place:
    return Place(str(folder / runs.JOURNAL))


def find_study(folder: Path, storage: str = "") -> Place:
    """Where the study of a run lies, which the run knows, password aside.

    Args:
        storage: URL with the password; a run with a journal needs none.

    Raises:
        ValueError: the URL is missing.
    """
    config = runs.read_config(folder)
    if "study" not in config:
        return _journal(folder)
    if not storage:
        raise ValueError(f"the study of {folder} lies in {config['storage']}: add --storage URL")
    return shared_place(storage, config["study"])
