"""What an unsimulated placement is likely to lose, learnt from those that were simulated.

A law with non-negative terms (each kind of cell, each converter, in proportion to the analog
share) times a Gaussian process on what it leaves over. It never stands in for a result: it only
chooses what to simulate next.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from dse.simulation.statistics import stratified_mean

# Losses below the resolution of a simulation (about 1 mnat) are alike.
RESOLUTION_NATS = 1e-3
# A change by this much makes two simulations share about 60 % of what they know. Wide on purpose:
# with fifty points there is too little to fit them from.
_LENGTHS = {
    "blocks": 2.0,
    "dac_bits": 2.0,
    "adc_bits": 2.0,
    "analog": 0.35,
    "digital_weight_bits": 2.0,
    "kv_bits": 4.0,
}
_CATEGORY_DISTANCE = {"noise_model": 1.0, "score": 0.5, "scope": 0.4}
_SIGNAL = 1.0
_NOISE = 0.15
# Loss with every expert analog before anything is known: from the cells, and from an 8-bit
# converter; quantisation errors grow fourfold (in variance) with each bit less.
_PRIOR_CELL_NATS = 1e-2
_PRIOR_CONVERTER_NATS = 2e-4
# Digital weights of 4 bits round by as much as two bits of error more than 8-bit cells write.
_PRIOR_DIGITAL_NATS = 2e-2


# What is digital, in units of all routed experts as `analog` is: dense parts lose like them.
_WHOLE, _LEAST_DIGITAL = 3.0, 0.5


@dataclass(frozen=True)
class Features:
    """Placements as columns: numbers scaled by their lengths, categories numbered."""

    numbers: Array
    categories: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def column(self, name: str) -> Array:
        """One of the numbers, unscaled: `blocks` (log2), `analog`, and bits."""
        return np.asarray(self.numbers[:, list(_LENGTHS).index(name)] * _LENGTHS[name])


def features(
    row_blocks: NDArray[Any],
    dac_bits: NDArray[Any],
    adc_bits: NDArray[Any],
    analog_fraction: NDArray[Any],
    digital_weight_bits: NDArray[Any],
    kv_bits: NDArray[Any],
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
            digital_weight_bits / _LENGTHS["digital_weight_bits"],
            kv_bits / _LENGTHS["kv_bits"],
        ],
        axis=1,
    )
    return Features(numbers, np.stack([noise_model, score, scope], axis=1))


def predict(known: Features, known_loss_nats: Array, candidates: Features) -> tuple[Array, Array]:
    """Predict the loss increase of placements.

    Args:
        known: simulated placements; may be empty.
        known_loss_nats: [known] their measured loss increase; what is below the resolution of a
            simulation counts as the resolution.
        candidates: placements to predict.

    Returns:
        Median loss increase (nats) and the standard deviation of its natural logarithm.
    """
    cells = 1 + int(max(candidates.categories[:, 0].max(initial=0),
                        known.categories[:, 0].max(initial=0)))  # fmt: skip
    measured = np.maximum(known_loss_nats, RESOLUTION_NATS)
    law = _fit_law(_terms(known, cells), measured)
    mean = np.log(_terms(candidates, cells) @ law + RESOLUTION_NATS / 2)
    if not len(known):
        return np.exp(mean), np.full(len(candidates), _SIGNAL)
    residual = np.log(measured) - np.log(_terms(known, cells) @ law + RESOLUTION_NATS / 2)
    covariance = _kernel(known, known) + _NOISE**2 * np.eye(len(known))
    factor = np.linalg.cholesky(covariance)
    half = np.linalg.solve(factor, _kernel(candidates, known).T)
    mean = mean + half.T @ np.linalg.solve(factor, residual)
    variance = np.maximum(_SIGNAL**2 - (half**2).sum(axis=0), 1e-9)
    return np.exp(mean), np.sqrt(variance)


def mean_and_error(change_nats: Array) -> tuple[float, float]:
    """Mean of a change [pairs, sequences] and its standard error over noise draws and text."""
    return stratified_mean([(change_nats, np.ones(change_nats.shape[1]))], np.ones(1))


def _terms(placements: Features, cells: int) -> Array:
    """Terms of the law [placements, cells + 4].

    The cells of each kind, the ADC, the DAC; rounded weights, and rounded keys and values.
    """
    analog = placements.column("analog")
    cell = placements.categories[:, :1] == np.arange(cells)
    adc, dac = (4.0 ** (8 - placements.column(name)) for name in ("adc_bits", "dac_bits"))
    weights = np.maximum(placements.column("digital_weight_bits"), 1.0)
    rounded = np.column_stack([4.0 ** (4 - weights), 4.0 ** (8 - placements.column("kv_bits"))])
    rounded[:, 0] *= np.maximum(_WHOLE - analog, _LEAST_DIGITAL)
    rounded *= np.column_stack([weights, placements.column("kv_bits")]) < 16
    return np.concatenate([analog[:, None] * np.column_stack([cell, adc, dac]), rounded], axis=1)


def _fit_law(terms: Array, measured: Array) -> Array:
    """Non-negative least squares on relative errors, each coefficient drawn to its prior."""
    from scipy.optimize import nnls

    prior = np.full(terms.shape[1], _PRIOR_CELL_NATS)
    prior[-4:] = _PRIOR_CONVERTER_NATS
    prior[-2] = _PRIOR_DIGITAL_NATS
    weights = 1 / (measured + 2 * RESOLUTION_NATS)
    system = np.concatenate([terms * weights[:, None], np.diag(0.5 / prior)])
    return np.asarray(
        nnls(system, np.concatenate([measured * weights, np.full(len(prior), 0.5)]))[0]
    )


def _kernel(a: Features, b: Features) -> Array:
    squared = ((a.numbers[:, None] - b.numbers[None]) ** 2).sum(axis=2)
    distances = np.array(list(_CATEGORY_DISTANCE.values()))
    differs = a.categories[:, None] != b.categories[None]
    squared = squared + (differs * distances**2).sum(axis=2)
    return np.asarray(_SIGNAL**2 * np.exp(-0.5 * squared))
