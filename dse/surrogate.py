"""What an unsimulated placement is likely to lose, learnt from those that were simulated.

A Gaussian process on the logarithm of the loss increase, over the few numbers that accuracy
depends on. It never stands in for a result: it only chooses what to simulate next.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Losses below the resolution of a simulation (about 2 mnat) are alike.
RESOLUTION_NATS = 2e-3
# A change by this much makes two simulations share about 60 % of what they know. Wide on purpose:
# with fifty points, lengths fitted by maximum likelihood moved from seed to seed.
_LENGTHS = {"blocks": 2.0, "dac_bits": 2.0, "adc_bits": 2.0, "analog": 0.35}
_CATEGORY_DISTANCE = {"noise_model": 1.0, "score": 0.5, "scope": 0.4}
_SIGNAL = 1.5
_NOISE = 0.15
# Before the first simulation: a placement with every expert analog loses about this much.
_PRIOR_LOG_LOSS = np.log(0.05)


@dataclass(frozen=True)
class Features:
    """Placements as columns: what the loss depends on."""

    numbers: Floats
    categories: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: NDArray[np.int64]) -> "Features":
        return Features(self.numbers[rows], self.categories[rows])


def features(
    row_blocks: NDArray[Any],
    dac_bits: NDArray[Any],
    adc_bits: NDArray[Any],
    analog_fraction: NDArray[Any],
    noise_model: NDArray[np.int64],
    score: NDArray[np.int64],
    scope: NDArray[np.int64],
) -> Features:
    """Scale the inputs by their lengths; categories are numbered."""
    numbers = np.stack(
        [
            np.log2(np.maximum(row_blocks, 1)) / _LENGTHS["blocks"],
            dac_bits / _LENGTHS["dac_bits"],
            adc_bits / _LENGTHS["adc_bits"],
            analog_fraction / _LENGTHS["analog"],
        ],
        axis=1,
    )
    return Features(numbers, np.stack([noise_model, score, scope], axis=1))


def _kernel(a: Features, b: Features) -> Floats:
    squared = ((a.numbers[:, None] - b.numbers[None]) ** 2).sum(axis=2)
    distances = np.array(list(_CATEGORY_DISTANCE.values()))
    differs = a.categories[:, None] != b.categories[None]
    squared = squared + (differs * distances**2).sum(axis=2)
    return np.asarray(_SIGNAL**2 * np.exp(-0.5 * squared))


def _trend(analog_fraction: Floats) -> Floats:
    """Expected log loss: in proportion to the analog share, as independent errors add up."""
    return np.asarray(_PRIOR_LOG_LOSS + np.log(np.maximum(analog_fraction, 1e-3)))


def predict(
    known: Features, known_loss_nats: Floats, candidates: Features
) -> tuple[Floats, Floats]:
    """Predict the loss increase of placements.

    Args:
        known: simulated placements; may be empty.
        known_loss_nats: [known] their measured loss increase; what is below the resolution of a
            simulation counts as the resolution.
        candidates: placements to predict.

    Returns:
        Median loss increase (nats) and the standard deviation of its natural logarithm.
    """
    analog = candidates.numbers[:, 3] * _LENGTHS["analog"]
    mean = _trend(analog)
    if not len(known):
        return np.exp(mean), np.full(len(candidates), _SIGNAL)
    targets = np.log(np.maximum(known_loss_nats, RESOLUTION_NATS))
    residual = targets - _trend(known.numbers[:, 3] * _LENGTHS["analog"])
    covariance = _kernel(known, known) + _NOISE**2 * np.eye(len(known))
    across = _kernel(candidates, known)
    factor = np.linalg.cholesky(covariance)
    half = np.linalg.solve(factor, across.T)
    mean = mean + half.T @ np.linalg.solve(factor, residual)
    variance = np.maximum(_SIGNAL**2 - (half**2).sum(axis=0), 1e-9)
    return np.exp(mean), np.sqrt(variance)
