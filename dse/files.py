"""Files written whole or not at all, and locks; what the file system refuses is one line."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


@contextmanager
def one_line_errors(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into a ValueError of one line that names the path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise ValueError(f"cannot write {path}: {reason}") from error


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk and move it into place.

    What a link points to is replaced, not the link; a pipe or a device is written to as it stands.

    Raises:
        ValueError: when the disk is full or read-only; `path` is then what it was before.
    """
    check_file(path)
    if path.exists() and not path.is_file():
        with one_line_errors(path):
            write(path)
        return
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with one_line_errors(path):
        try:
            write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def check_file(path: Path) -> None:
    """Raise ValueError in one line for a file that has no folder to lie in, or is one itself."""
    if path.is_dir():
        raise ValueError(f"cannot write {path}: it is a folder; add the name of a file")
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {path.parent}")


def write_json(path: Path, document: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Write a JSON document atomically; NaN and infinity are not JSON and raise ValueError."""
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


@contextmanager
def held(lock: Path, busy: str) -> Iterator[None]:
    """Hold a lock file; the operating system frees it when the process dies.

    Raises:
        ValueError: `busy`, when another process holds it.
    """
    from filelock import FileLock, Timeout

    with one_line_errors(lock.parent):
        lock.parent.mkdir(parents=True, exist_ok=True)
    held_lock = FileLock(lock)
    try:
        held_lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(busy) from None
    except OSError as error:
        raise ValueError(f"cannot write {lock.parent}: {error.strerror or error}") from error
    try:
        yield
    finally:
        held_lock.release()
