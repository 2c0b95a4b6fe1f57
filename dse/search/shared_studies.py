"""The studies that a shared storage holds."""

from typing import Any

import optuna
from optuna.trial import TrialState

from dse.search.study.slots import finished
from dse.search.study.storage import Place, shown
from dse.search.workers import RUN


def list_studies(place: Place) -> list[dict[str, Any]]:
    """One entry a study, by name; what a study does not carry is None."""
    storage = place.open()
    names = sorted(found.study_name for found in storage.get_all_studies())
    return [_entry(optuna.load_study(study_name=name, storage=storage)) for name in names]


def remove_study(place: Place, force: bool = False) -> dict[str, Any]:
    """Remove a study; returns what it was.

    Raises:
        ValueError: no such study, or trials are in hand and it is not forced.
    """
    storage = place.open()
    try:
        study = optuna.load_study(study_name=place.study, storage=storage)
    except KeyError:
        names = sorted(found.study_name for found in storage.get_all_studies())
        there = f"there are {', '.join(names)}" if names else "it holds none"
        raise ValueError(f"no study {place.study!r} in {shown(place.url)}: {there}") from None
    entry = _entry(study)
    if entry["in_hand"] and not force:
        raise ValueError(
            f"study {place.study!r} has {entry['in_hand']} trials in hand: end its workers, or "
            "add --force"
        )
    optuna.delete_study(study_name=place.study, storage=storage)
    return entry


def _entry(study: optuna.Study) -> dict[str, Any]:
    config = study.user_attrs.get(RUN, {}).get("config", {})
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return {
        "study": study.study_name,
        "model": config.get("model"),
        "started": config.get("started"),
        "finished": len(finished(study)),
        "in_hand": len(running),
        "wanted": config.get("settings", {}).get("trials"),
    }
