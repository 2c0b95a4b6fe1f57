"""What was computed on a checkpoint, kept on disk: its routing and scores, and every simulation.

One folder a checkpoint in the user's cache folder. A checkpoint is known by its config.json, its
tokenizer and each shard's name, size, time of last change, header and samples of every tensor, so
weights that are replaced start afresh; a simulation by everything that its result depends on.
Results are appended line by line: what a killed run had finished is there for the next.
"""

import hashlib
from pathlib import Path

from dse.files import one_line_errors
from dse.kept import _VERSION
from workloads.cache import cache_folder
from workloads.checkpoint_folder import CheckpointFolder
from workloads.shards import samples


def fingerprint(checkpoint: CheckpointFolder) -> str:
    """Hexadecimal name of a checkpoint's content, from a few bytes of every tensor."""
    digest = hashlib.sha256(_VERSION.encode())
    for name in ("config.json", "tokenizer.json"):
        digest.update((checkpoint.path / name).read_bytes())
    stored = checkpoint.tensors.values()
    scales = [tensor.scale for tensor in stored if tensor.scale is not None]
    for file in sorted({tensor.file for tensor in (*stored, *scales)}):
        stat = file.stat()
        digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        for sample in samples(file):
            digest.update(sample)
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
