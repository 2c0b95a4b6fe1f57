"""What was computed on a checkpoint, kept on disk: its routing and scores, and every simulation.

One folder a checkpoint in the user's cache folder. A checkpoint is known by its config.json, its
tokenizer and each shard's name, size and time of last change, so weights that are replaced start
afresh; a simulation by everything that its result depends on. Results are appended line by line:
what a killed run had finished is there for the next.
"""

import hashlib
from pathlib import Path

from dse.files import one_line_errors
from dse.kept import _VERSION
from workloads.cache import cache_folder
from workloads.checkpoint_folder import CheckpointFolder


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
