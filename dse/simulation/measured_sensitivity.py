"""The measured sensitivity of a miniature's experts, kept on disk once it is known."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dse.files import write_atomically
from workloads.architecture import MoEArchitecture
from workloads.cache import cache_folder

if TYPE_CHECKING:
    from workloads.checkpoint import Miniature

TOKENS = 16384
"""Of the calibration text, so that what the scores choose can be judged on the test text."""
# Raised when `dse.simulation.sensitivity.estimate` changes in a way that changes its numbers.
_VERSION = "1"


def expert_sensitivity(
    miniature: "Miniature", architecture: MoEArchitecture, folder: Path | None = None
) -> NDArray[np.float64]:
    """Loss that each expert adds in analog [moe_layers, experts], nats, by `sensitivity.estimate`.

    Under the default noise model: other cells scale it, they hardly change its order. Measured
    once (seconds) and kept in `folder`, by default the user's cache folder (XDG_CACHE_HOME moves
    it); a file that cannot be read or written only costs the time to measure again.
    """
    if folder is None:
        folder = cache_folder("sensitivity")
    path = folder / f"{miniature.name}-{_digest(miniature, architecture)[:24]}.npy"
    shape = (len(miniature.config.moe_layers), miniature.config.routed_experts)
    try:
        kept = np.asarray(np.load(path), dtype=float)
        if kept.shape == shape and np.isfinite(kept).all():
            return kept
    except (OSError, ValueError, EOFError):
        pass
    from dse.simulation.sensitivity import estimate

    measured = estimate(miniature, architecture, tokens=TOKENS, first_order=False).experts
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda temporary: _save(temporary, measured))
    except (OSError, ValueError):
        pass
    return measured


def _save(path: Path, values: NDArray[np.float64]) -> None:
    with path.open("wb") as file:
        np.save(file, values)


def _digest(miniature: "Miniature", architecture: MoEArchitecture) -> str:
    """Of everything that the measurement depends on."""
    from dse.simulation.noisy_model import full_inputs
    from dse.simulation.simulator import Noise

    digest = hashlib.sha256(_VERSION.encode())
    for part in (miniature.config, sorted(full_inputs(architecture).items()), Noise(), TOKENS):
        digest.update(repr(part).encode())
    for name in sorted(miniature.weights):
        digest.update(name.encode() + miniature.weights[name].numpy().tobytes())
    return digest.hexdigest()
