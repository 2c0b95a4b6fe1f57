"""Finished parts of a long job, kept on disk: stopped at any point, a rerun goes on from there.

A file for each version of the code in the user's cache folder. A part is known by everything that
its result depends on, and is appended as soon as it is done: Ctrl-C, a kill or a crash loses only
the part in hand.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dse.files import one_line_errors, write_atomically
from workloads.cache import cache_folder

_PACKAGES = ("dse", "hwmodels", "workloads")


class Kept:
    """Results by what they depend on (`digest_of`), in a folder, or in memory only (None).

    trouble: why the folder cannot be used, or ""; the job goes on without it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder, self.trouble = folder, ""
        self._known: dict[str, dict[str, Any]] = {}
        if folder is not None:
            try:
                with one_line_errors(folder):
                    self._known = read_results(folder)
            except ValueError as error:
                self._give_up(error)

    @property
    def on_disk(self) -> int:
        """How many results a later run will find."""
        return 0 if self.folder is None else len(self._known)

    def get(self, *depends_on: Any) -> dict[str, Any] | None:
        """The result that was put under the same `depends_on`, or None."""
        return self._known.get(digest_of(*depends_on))

    def put(self, result: Mapping[str, Any], *depends_on: Any) -> None:
        """Keep a result of finite numbers, lists and dictionaries."""
        key = digest_of(*depends_on)
        self._known[key] = dict(result)
        if self.folder is not None:
            try:
                with one_line_errors(self.folder):
                    self.folder.mkdir(parents=True, exist_ok=True)
                keep_result(self.folder, key, result)
            except ValueError as error:
                self._give_up(error)

    def _give_up(self, error: ValueError) -> None:
        self.folder, self.trouble = None, str(error)


def kept_of_this_code() -> Kept:
    """The user's results of this very code: another version computes its own."""
    return Kept(cache_folder("reproduce") / code_digest()[:24])


@cache
def code_digest() -> str:
    """Hexadecimal digest of torch's version and of all code, tables and weights that we ship."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256(torch.__version__.encode())
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and path.parent.name != "__pycache__":
                digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


# Raised when the simulation of a checkpoint changes in a way that changes its numbers.
_VERSION = "1"


RESULTS = "simulations.jsonl"


def digest_of(*parts: Any) -> str:
    """Hexadecimal digest of arrays and of things whose repr says all about them."""
    digest = hashlib.sha256(_VERSION.encode())
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape}".encode() + part.tobytes())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Results by key; a line that a kill cut off is passed over."""
    path = folder / RESULTS
    found: dict[str, dict[str, Any]] = {}
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            found[str(entry["key"])] = dict(entry["result"])
        except (ValueError, KeyError, TypeError):
            continue
    return found


def keep_result(folder: Path, key: str, result: Mapping[str, Any]) -> None:
    """Append a result and flush it to disk.

    Raises:
        ValueError: the disk is full or read-only.
    """
    from filelock import FileLock

    line = json.dumps({"key": key, "result": dict(result)}, allow_nan=False) + "\n"
    path = folder / RESULTS
    with one_line_errors(path), FileLock(folder / ".lock"), path.open("ab+") as file:
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_arrays(folder: Path, name: str) -> dict[str, NDArray[np.float64]] | None:
    """Arrays that `keep_arrays` wrote; None when there are none that can be read."""
    path = folder / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, KeyError):
        return None


def keep_arrays(folder: Path, name: str, arrays: Mapping[str, NDArray[np.float64]]) -> None:
    """Write arrays, all or nothing."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    write_atomically(folder / f"{name}.npz", write)
