"""What was computed on a checkpoint, kept on disk: its routing and scores, and every simulation.

One folder a checkpoint in the user's cache folder. A checkpoint is known by its config.json, its
tokenizer and each shard's name, size and time of last change, so weights that are replaced start
afresh; a simulation by everything that its result depends on. Results are appended line by line:
what a killed run had finished is there for the next.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.runs.folder import one_line_errors, write_atomically
from workloads.cache import cache_folder
from workloads.checkpoint_folder import CheckpointFolder

# Raised when the simulation of a checkpoint changes in a way that changes its numbers.
_VERSION = "1"
RESULTS = "simulations.jsonl"


def fingerprint(checkpoint: CheckpointFolder) -> str:
    """Hexadecimal name of a checkpoint's content, without reading its shards."""
    digest = hashlib.sha256(_VERSION.encode())
    for name in ("config.json", "tokenizer.json"):
        digest.update((checkpoint.path / name).read_bytes())
    for file in sorted({tensor.file for tensor in checkpoint.tensors.values()}):
        stat = file.stat()
        digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def results_folder(checkpoint: CheckpointFolder) -> Path:
    """The folder of a checkpoint's results; made when it is not there.

    Raises:
        ValueError: it cannot be made.
    """
    folder = cache_folder("checkpoints") / fingerprint(checkpoint)[:24]
    with one_line_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


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
