"""Files written whole or not at all, and locks; what the file system refuses is one line."""

import glob
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


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
    What a process that was killed left of its temporary file of the same name is removed.

    Raises:
        ValueError: when the disk is full or read-only; `path` is then what it was before.
    """
    check_file(path)
    if path.exists() and not path.is_file():
        with one_line_errors(path):
            write(path)
        return
    path = path.resolve()
    remove_left_behind(path.parent, path.name)
    temporary = path.with_name(f".{path.name}.{_HOST}.{os.getpid()}.tmp")
    with one_line_errors(path):
        try:
            write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


_HOST = socket.gethostname()


def remove_left_behind(folder: Path, name: str = "") -> None:
    """Remove temporary files of `write_atomically` whose process, of this machine, is dead.

    Args:
        name: of the file that they were for; any by default.
    """
    for path in folder.glob(f".{glob.escape(name) or '*'}.{_HOST}.*.tmp"):
        number = path.name.removesuffix(".tmp").rpartition(".")[2]
        if number.isdigit() and not alive(int(number)):
            with suppress(OSError):
                path.unlink()


def alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Flush a folder's files and their names to disk."""
    for path in [*(one for one in folder.iterdir() if one.is_file()), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


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
def held(lock: Path, busy: str, patience_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file; the operating system frees it when the process dies.

    Raises:
        ValueError: `busy`, when another process holds it for longer than `patience_s`.
    """
    from filelock import FileLock, Timeout

    with one_line_errors(lock.parent):
        lock.parent.mkdir(parents=True, exist_ok=True)
    held_lock = FileLock(lock)
    try:
        held_lock.acquire(timeout=patience_s)
    except Timeout:
        raise ValueError(busy) from None
    except OSError as error:
        raise ValueError(f"cannot write {lock.parent}: {error.strerror or error}") from error
    try:
        yield
    finally:
        held_lock.release()
