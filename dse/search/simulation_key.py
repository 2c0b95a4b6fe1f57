"""Which simulation gives a design its accuracy: all that the loss depends on, as one number.

Designs of equal key share a simulation, and numbers compare fast in arrays of thousands. A number
has a place for each field, as large as the question has values of that field: no value is ever
cut off or joined with another.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from dse.placement.parts import ANALOG_PARTS

if TYPE_CHECKING:
    from dse.simulation.result import Simulated

Codes = NDArray[np.int64]

CLEAN = -1
"""Key code of a design with nothing analog and 16 bits throughout: the model's own accuracy."""

DIGITAL_STEPS = 32
"""Digital shares that are told apart in simulations. The analog share is rounded up to the next,
so that a design's accuracy is that of a placement with at least as many analog experts."""


class Key(NamedTuple):
    """All that the simulated accuracy of a design depends on; equal keys, one simulation.

    Attributes:
        analog_modules: dense parts that are analog, one bit for each of ANALOG_PARTS (`parts_of`).
        noise_model: of the cells, shared by technologies with the same cells.
        tile_rows: rows of the full-size tile; they set its row blocks and its converters' ranges.
        digital_weight_bits, kv_bits: of what is stored for the digital units.
        order: score and scope that say which experts are digital; ("", "") when all agree.
        digital: experts of the miniature that are digital.
    """

    analog_modules: int
    noise_model: str
    tile_rows: int
    dac_bits: int
    adc_bits: int
    digital_weight_bits: int
    kv_bits: int
    order: tuple[str, str]
    digital: int

    @property
    def analog_parts(self) -> tuple[str, ...]:
        """Names of the dense parts that are analog."""
        return parts_of(self.analog_modules)


ASCENDING = ("dac_bits", "adc_bits", "digital_weight_bits", "kv_bits", "digital")
"""Fields whose digits ascend with their values, and of which more only helps."""


@dataclass(frozen=True)
class KeySpace:
    """The values that each field of a key can take in a question, and the numbers made of them.

    Attributes:
        values: by field of `Key`; the digit of a field is the place of its value among them.
    """

    values: Mapping[str, Sequence[Any]]

    def __post_init__(self) -> None:
        if tuple(self.values) != Key._fields:
            raise ValueError(f"a key has the fields {', '.join(Key._fields)}")
        size = prod(len(values) for values in self.values.values())
        if size > np.iinfo(np.int64).max:
            raise ValueError(f"{size:.1e} simulations are too many to be told apart")

    def digits(self, name: str, column: NDArray[Any]) -> NDArray[np.int64]:
        """Digits of the values of a field that counts.

        Raises:
            ValueError: a value that the field cannot take.
        """
        values = self.values[name]
        given, inverse = np.unique(column, return_inverse=True)
        if unknown := [value for value in given.tolist() if value not in values]:
            raise ValueError(f"{name} {unknown[0]} is none that a simulation can have")
        return np.array([values.index(value) for value in given.tolist()], np.int64)[inverse]

    def pack(self, digits: Mapping[str, NDArray[Any]]) -> Codes:
        """Key codes from the digits of each field, arrays of one length.

        Raises:
            ValueError: a digit that its field does not have.
        """
        codes = np.zeros((), dtype=np.int64)
        for name, values in self.values.items():
            digit = np.asarray(digits[name])
            if digit.size and not 0 <= digit.min() <= digit.max() < len(values):
                raise ValueError(f"{name} has {len(values)} values, not a number {digit.max()}")
            codes = codes * len(values) + digit
        return codes

    def unpack(self, codes: Codes) -> dict[str, NDArray[np.int64]]:
        """Digits of key codes by field; CLEAN counts as 0."""
        digits, rest = {}, np.maximum(codes, 0)
        for name in reversed(Key._fields):
            rest, digits[name] = np.divmod(rest, len(self.values[name]))
        return digits

    def column(self, name: str, codes: Codes) -> NDArray[Any]:
        """Values of one field of key codes."""
        return np.asarray(self.values[name])[self.unpack(codes)[name]]

    def key(self, code: int) -> Key:
        """What a key code stands for.

        Raises:
            ValueError: the clean model has no key.
        """
        if code == CLEAN:
            raise ValueError("the clean model has no key")
        digits = self.unpack(np.array([code]))
        return Key(**{name: self.values[name][int(digits[name][0])] for name in Key._fields})


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


def least_loss(keys: KeySpace, codes: Codes, results: "Mapping[int, Simulated]") -> Array:
    """Least loss increase that simulations can have, given those already done (nats).

    More digital experts of the same order and finer converters can only help; what such a
    cleaner placement lost, less two standard errors, bounds the others from below.
    """
    good = [code for code, result in results.items() if code != CLEAN and not result.failed]
    if not good:
        return np.zeros(len(codes))
    loss = np.array([results[code].delta_loss_nats for code in good])
    error = np.array([results[code].delta_loss_stderr for code in good])
    numbers, known = keys.unpack(codes), keys.unpack(np.array(good))
    exact = known["digital_weight_bits"] == len(keys.values["digital_weight_bits"]) - 1
    worse = (codes != CLEAN)[:, None] & np.ones(len(good), dtype=bool)
    for name in Key._fields:
        one, other = numbers[name][:, None], known[name]
        helps = one <= other if name in ASCENDING else one == other
        # More digital experts help for sure where digital ones lose nothing themselves.
        worse &= np.where(exact, helps, one == other) if name == "digital" else helps
    least = np.where(worse, np.maximum(loss - 2 * error, 0.0), 0.0).max(axis=1)
    for code, measured in zip(good, loss, strict=True):
        least[codes == code] = measured
    return np.asarray(least)
