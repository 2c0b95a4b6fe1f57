"""What a simulation and a cost depend on beside the question, so that no run mixes two of them."""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dse.search.settings import Settings
from workloads.architecture import MoEArchitecture

_ROOT = Path(__file__).parents[2]
_ROOMS = ("dse/placement", "dse/cost", "dse/simulation", "dse/checkpoints", "dse/search",
          "hwmodels", "workloads")  # fmt: skip
_MINIATURES = _ROOT / "workloads" / "miniature"
_SAMPLE = 1 << 16  # bytes
_CONSTANTS = (".toml", ".csv", ".json")
# Names and sources may tell where a model's file lay.
_NO_NUMBER = ("name", "title", "source", "hugging_face")

VERSIONS = ("analog-moe-dse", "torch", "aihwkit", "numpy", "pandas", "scipy", "optuna")
_DECIDING = ("analog-moe-dse", "torch", "aihwkit")


def versions() -> dict[str, str]:
    """Of Python and the packages that a run depends on."""
    return {"python": platform.python_version(), **{name: _version(name) for name in VERSIONS}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def fingerprints(settings: Settings, architecture: MoEArchitecture) -> dict[str, str]:
    """By kind of what a run's numbers follow from; equal ones may be mixed."""
    numbers = {k: v for k, v in asdict(architecture).items() if k not in _NO_NUMBER}
    stand_in = architecture.stand_in
    found = {
        "version": ", ".join(f"{name} {_version(name)}" for name in _DECIDING),
        "program": _files(*_program()),
        "constants": _files(*_constants()),
        "weights of the miniature": _files(
            _MINIATURES / f"{stand_in}.safetensors", _MINIATURES / "tokenizer.json"
        ),
        # The packages that the text comes from are held against this file's checksums.
        "text": _files(_MINIATURES / "held_out.json"),
        "model": _short(json.dumps(numbers, sort_keys=True, default=str).encode()),
    }
    if settings.checkpoint is not None:
        found["checkpoint"] = _short(*_samples(Path(settings.checkpoint)))
    return found


def check_same(recorded: Mapping[str, str], here: Mapping[str, str], what: str) -> None:
    """Refuse to go on with what was begun with something else.

    Args:
        recorded, here: of `fingerprints`.
        what: is gone on with.

    Raises:
        ValueError: one line with what differs and how to go on.
    """
    different = [
        f"{name} ({recorded.get(name, 'unknown')}, here {here.get(name, 'none')})"
        for name in dict.fromkeys([*here, *recorded])
        if recorded.get(name) != here.get(name)
    ]
    if different:
        raise ValueError(
            f"{what} was begun with another {' and another '.join(different)}: its results would "
            "be mixed; go on where it was begun, or start a new run"
        )


def _program() -> list[Path]:
    return [path for room in _ROOMS for path in (_ROOT / room).rglob("*.py")]


def _constants() -> list[Path]:
    found = [
        path
        for room in _ROOMS
        for path in (_ROOT / room).rglob("*")
        if path.suffix in _CONSTANTS and path.parent != _MINIATURES
    ]
    # Converter ranges and the like of a miniature stand in its record.
    return [*found, *_MINIATURES.glob("*-mini.json")]


@cache
def _files(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.relative_to(_ROOT)}\n".encode() + _content(path))
    return digest.hexdigest()[:12]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error


def _samples(checkpoint: Path) -> Iterator[bytes]:
    """A checkpoint's small files, and of its shards name, size and both ends: they are large."""
    for name in ("config.json", "tokenizer.json"):
        yield _content(checkpoint / name)
    for path in sorted(checkpoint.glob("*.safetensors")):
        size = path.stat().st_size
        yield f"{path.name} {size}\n".encode()
        with path.open("rb") as file:
            yield file.read(_SAMPLE)
            file.seek(max(size - _SAMPLE, 0))
            yield file.read(_SAMPLE)


def _short(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:12]
