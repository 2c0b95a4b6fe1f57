"""Keys of simulations: what the accuracy of a design depends on, packed into one number.

Designs of equal key share a simulation, and numbers compare fast in arrays of thousands.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from dse.placement.parts import ANALOG_PARTS

Codes = NDArray[np.int64]
CLEAN = -1
"""Key code of a design with no analog expert: its accuracy is the model's own."""

DIGITAL_STEPS = 32
"""Digital shares that are told apart in simulations. The analog share is rounded up to the next,
so that a design's accuracy is that of a placement with at least as many analog experts."""

NO_ORDER = 31
"""Stands in key codes for the order where all orders agree."""


class Packed(NamedTuple):
    """The numbers of a key code: arrays of one length.

    Attributes:
        modules: analog dense parts, one bit for each of ANALOG_PARTS; first, so that codes without
            any are those of older runs.
        noise: number of the noise model of the cells.
        inputs, hidden: row blocks of an expert's input and hidden dimension.
        order: number of the order that says which experts are digital, or NO_ORDER.
        digital: experts of the miniature that are digital.
    """

    modules: Codes
    noise: Codes
    inputs: Codes
    hidden: Codes
    dac_bits: Codes
    adc_bits: Codes
    order: Codes
    digital: Codes


# One more than the largest of each of these numbers.
_RADICES = (64, 16, 512, 512, 16, 16, 32, 65536)


class Key(NamedTuple):
    """All that the simulated accuracy of a design depends on; equal keys, one simulation.

    Attributes:
        noise_model: of the cells, shared by technologies with the same cells.
        row_blocks: pieces that an expert's input and hidden dimension are cut into.
        tile_rows: rows of the full-size tile (the first choice that gives `row_blocks`).
        score, scope: which experts are digital; empty when none is, and all choices agree.
        digital: experts of the miniature that are digital.
        analog_modules: dense parts that are analog.
    """

    noise_model: str
    row_blocks: tuple[int, int]
    tile_rows: int
    dac_bits: int
    adc_bits: int
    score: str
    scope: str
    digital: int
    analog_modules: tuple[str, ...]


def pack(numbers: Packed) -> Codes:
    """Key codes; a number too large for its place counts as the largest."""
    codes = np.zeros(len(numbers.noise), dtype=np.int64)
    for number, radix in zip(numbers, _RADICES, strict=True):
        codes = codes * radix + np.minimum(number, radix - 1)
    return codes


def unpack(codes: Codes) -> Packed:
    """The numbers packed into key codes; CLEAN counts as 0."""
    numbers, rest = [], np.maximum(codes, 0)
    for radix in reversed(_RADICES):
        numbers.append(rest % radix)
        rest = rest // radix
    return Packed(*numbers[::-1])


def miniature_digital(digital: Codes, experts: int, total: int) -> Codes:
    """Digital experts of a miniature of `total` that stand for `digital` of `experts`."""
    steps = np.ceil((1 - digital / experts) * DIGITAL_STEPS - 1e-9)
    return np.asarray(total - np.ceil(steps * total / DIGITAL_STEPS).astype(int))


def parts_of(bits: int) -> tuple[str, ...]:
    """Dense parts of a number with one bit for each of ANALOG_PARTS."""
    return tuple(part for number, part in enumerate(ANALOG_PARTS) if bits >> number & 1)


def bits_of(parts: Iterable[str]) -> int:
    """The number of `parts_of`."""
    return sum(1 << ANALOG_PARTS.index(part) for part in parts)


def least_loss(codes: Codes, results: Mapping[int, Mapping[str, Any]]) -> Array:
    """Least loss increase that simulations can have, given those already done (nats).

    More digital experts of the same order and finer converters can only help; what such a
    cleaner placement lost, less two standard errors, bounds the others from below.
    """
    good = [c for c, result in results.items() if c != CLEAN and "reason" not in result]
    if not good:
        return np.zeros(len(codes))
    loss, error = (
        np.array([results[code][name] for code in good])
        for name in ("delta_loss_nats", "delta_loss_stderr")
    )
    numbers, known = unpack(codes), unpack(np.array(good))
    worse = (codes != CLEAN)[:, None] & np.ones(len(good), dtype=bool)
    for name in Packed._fields:
        one, other = getattr(numbers, name)[:, None], getattr(known, name)
        no_cleaner = name in ("dac_bits", "adc_bits", "digital")
        worse &= one <= other if no_cleaner else one == other
    least = np.where(worse, np.maximum(loss - 2 * error, 0.0), 0.0).max(axis=1)
    for code, measured in zip(good, loss, strict=True):
        least[codes == code] = measured
    return np.asarray(least)
