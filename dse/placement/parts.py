"""Names of a model's dense parts, and texts that choose some of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hwmodels.catalog import nearest

if TYPE_CHECKING:
    pass


PARTS = (
    "embedding",
    "attention",
    "mamba",
    "router",
    "shared_expert",
    "dense_ffn",
    "lm_head",
)
"""Dense parts of a model, in the inventory's names."""


ANALOG_PARTS = tuple(part for part in PARTS if part != "embedding")
"""Dense parts that can be computed on tiles; an input embedding is looked up."""


NO_PARTS, ALL_PARTS = "none", "all"


def read_parts(text: str) -> tuple[str, ...]:
    """Analog dense parts of a text: `none`, `all`, or names joined by + (attention+lm_head).

    Raises:
        ValueError: a name that is no dense part; the line names the nearest.
    """
    if text in (NO_PARTS, ""):
        return ()
    if text == ALL_PARTS:
        return ANALOG_PARTS
    names = text.replace(",", "+").split("+")  # earlier runs wrote commas
    for name in names:
        if name not in ANALOG_PARTS:
            hint = nearest(name, (NO_PARTS, ALL_PARTS, *ANALOG_PARTS))
            raise ValueError(
                f"unknown analog part {name!r}: choose none, all, or some of "
                f"{', '.join(ANALOG_PARTS)} joined by +{hint}"
            )
    return tuple(part for part in ANALOG_PARTS if part in names)


def join_parts(parts: Iterable[str]) -> str:
    """Analog dense parts as the text that `read_parts` reads."""
    return "+".join(part for part in ANALOG_PARTS if part in set(parts)) or NO_PARTS
