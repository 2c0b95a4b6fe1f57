"""Names of designs: a short hash of a design's parameters, the same in every run and for good."""

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from dse.search.space import Space

LETTERS = "bcdfghjklmnpqrstvwxz"
"""No vowels, which would make words, and no digits, which a spreadsheet reads as a number."""

LENGTH = 8
"""20^8 names: among a thousand designs two share one with a probability of 2e-5."""


def design_names(space: Space, indices: NDArray[np.int64]) -> list[str]:
    """The names of designs, from choice numbers [designs, parameters].

    They follow from the values, so that limits on the space, trials and seeds change none.
    """
    columns = {name: values.tolist() for name, values in space.values(indices).items()}
    return [
        _name({name: values[row] for name, values in columns.items()})
        for row in range(len(indices))
    ]


def _name(parameters: dict[str, object]) -> str:
    # A choice of 8 may be whole or not, after the other choices of its parameter: one spelling.
    plain = {k: v if isinstance(v, str) else float(str(v)) for k, v in parameters.items()}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).digest()
    number, letters = int.from_bytes(digest), ""
    for _ in range(LENGTH):
        number, letter = divmod(number, len(LETTERS))
        letters += LETTERS[letter]
    return letters
