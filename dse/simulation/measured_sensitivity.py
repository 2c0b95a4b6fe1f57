"""The measured sensitivity of a miniature's experts, kept on disk once it is known."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dse.kept import digest_of, keep_arrays, read_arrays
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
    folder = cache_folder("sensitivity") if folder is None else folder
    name = f"{miniature.name}-{_digest(miniature, architecture)[:24]}"
    shape = (len(miniature.config.moe_layers), miniature.config.routed_experts)
    kept = (read_arrays(folder, name) or {}).get("experts")
    if kept is not None and kept.shape == shape and np.isfinite(kept).all():
        return kept
    from dse.simulation.sensitivity import estimate

    measured = estimate(miniature, architecture, tokens=TOKENS, first_order=False).experts
    with suppress(OSError, ValueError):
        folder.mkdir(parents=True, exist_ok=True)
        keep_arrays(folder, name, {"experts": measured})
    return measured


def _digest(miniature: "Miniature", architecture: MoEArchitecture) -> str:
    """Of everything that the measurement depends on."""
    from dse.simulation.noisy_model import full_inputs
    from dse.simulation.simulator import Noise

    weights = [miniature.weights[name].numpy() for name in sorted(miniature.weights)]
    inputs = sorted(full_inputs(architecture).items())
    return digest_of(_VERSION, miniature.config, inputs, Noise(), TOKENS, *weights)
