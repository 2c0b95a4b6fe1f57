"""config.json as a typed document: what must stand in it, and in one line what does not.

`Settings` and `Traffic` say themselves which keys they have; none is filled in by a default.
"""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from dse.cost.workload import Traffic
from dse.search.settings import Settings, one_line

SCHEMA = 2
"""Raised when a key of config.json changes its meaning; 1 had no number."""

# What stands in it from the first moment, and what a search adds at its end.
_BEGUN: dict[str, Any] = {
    "command": str, "started": str, "model": str, "model_title": str, "model_source": str,
    "budget_area_mm2": float, "traffic": dict[str, Any], "seed": int, "versions": dict[str, str],
    "fingerprints": dict[str, str], "settings": dict[str, Any],
}  # fmt: skip
_ENDED: dict[str, Any] = {
    "outcome": str, "generation": str, "tables": list[str], "recommended_trial": int | None,
    "recommended_design": str | None, "counts": dict[str, int], "hypervolume": float,
    "wall_seconds": dict[str, float], "accuracy_source": str | None, "routing_source": str,
    "technologies": dict[str, str], "technology_kinds": dict[str, str], "accelerator": str,
    "model_error": dict[str, Any],
}  # fmt: skip
_SHARED: dict[str, Any] = {"storage": str, "study": str}


def read_document(path: Path) -> dict[str, Any]:
    """Read config.json of a run.

    Raises:
        ValueError: one line with the key that is missing or of another kind.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    try:
        check_document(document)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return dict(document)


def check_document(document: Any) -> None:
    """Raise ValueError, in one line, for what cannot be the config.json of a run."""
    if not isinstance(document, dict):
        raise ValueError(f"it is a {type(document).__name__}, an object is needed")
    schema = document.get("schema")
    if schema != SCHEMA:
        raise ValueError(
            f"schema is {schema!r}, this dse reads {SCHEMA}: another version wrote the run; "
            "use that one, or start a new run"
        )
    wanted = dict(_BEGUN)
    if "outcome" in document:
        wanted |= _ENDED
    if "study" in document or "storage" in document:
        wanted |= _SHARED
    for key, kind in wanted.items():
        _check(document, key, kind)
    _check_traffic(document["traffic"])
    settings = Settings.read(document["settings"])
    _check_copies(document, settings)


def _check(document: dict[str, Any], key: str, kind: Any) -> None:
    from pydantic import TypeAdapter, ValidationError

    if key not in document:
        raise ValueError(f"{key} is missing")
    try:
        TypeAdapter(kind).validate_python(document[key], strict=True)
    except ValidationError as error:
        raise ValueError(one_line(error, key)) from None


def _check_traffic(document: dict[str, Any]) -> None:
    known = {entry.name for entry in fields(Traffic)}
    for name in sorted(known ^ set(document)):
        raise ValueError(f"traffic.{name} is {'missing' if name in known else 'unknown'}")
    try:
        Traffic(**{name: value for name, value in document.items() if value is not None})
    except (TypeError, ValueError) as error:
        raise ValueError(f"traffic: {error}") from None


def _check_copies(document: dict[str, Any], settings: Settings) -> None:
    """What stands twice must be the same; which of the two was edited cannot be told."""
    for name in ("budget_area_mm2", "seed"):
        if document[name] != getattr(settings, name):
            raise ValueError(
                f"{name} is {document[name]}, and settings.{name} {getattr(settings, name)}"
            )
