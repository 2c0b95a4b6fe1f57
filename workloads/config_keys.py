"""Typed access to the keys of a Hugging Face config.json.

A key that is missing stands for the default of the family's reference implementation; an explicit
null is no missing key: it says "none", and only keys that can be none accept it.
"""

from collections.abc import Mapping
from typing import Any

MOST_LAYERS, MOST_EXPERTS, MOST_ROWS = 10_000, 100_000, 1_000_000
"""Layers, experts a layer, and experts of all layers beyond which a number is called a mistake: the
largest published model (Kimi-K2) has 61 layers with 384 experts, Switch-C 15 with 2,048."""
_MOST = 1_000_000_000


class Keys:
    """A config's keys with a family's defaults; every error is one line that names key and file.

    Args:
        config: the parsed JSON object.
        where: the file, for messages.
        defaults: values of keys that may be missing.
        aliases: other names of keys, by the name that is read.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        where: str,
        defaults: Mapping[str, Any],
        aliases: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.where, self.defaults, self._family = where, defaults, config.get("model_type")
        self.config = dict(config)
        for key, others in (aliases or {}).items():
            for other in others:
                self._rename(other, key)

    def _rename(self, other: str, key: str) -> None:
        if other not in self.config:
            return
        value = self.config[other]
        if key in self.config and self.config[key] != value:
            raise ValueError(
                f"{self.where}: keys {key!r} ({self.config[key]!r}) and {other!r} ({value!r}) are "
                "one and the same, give one of them"
            )
        self.config[key] = value

    def get(self, key: str) -> Any:
        """The value of a key or its default."""
        if key in self.config:
            return self.config[key]
        if key not in self.defaults:
            raise ValueError(
                f"{self.where}: key {key!r} is missing (model_type {self._family!r} has no default)"
            )
        return self.defaults[key]

    def integer(
        self, key: str, null: int | None = None, minimum: int = 1, maximum: int = _MOST
    ) -> int:
        """An integer; `null` is what an explicit null, or a default of none, stands for."""
        value = self.get(key)
        if value is None and null is not None:
            return null
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ValueError(
                f"{self.where}: key {key!r} is {_shown(value)}, expected an integer >= {minimum}"
            )
        if value > maximum:
            raise ValueError(
                f"{self.where}: key {key!r} is {_shown(value)}, expected at most {maximum:,}"
            )
        return value

    def flag(self, key: str) -> bool:
        """True or false; null is false."""
        value = self.get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise ValueError(
                f"{self.where}: key {key!r} is {_shown(value)}, expected true or false"
            )
        return value

    def layers(self, key: str, count: int) -> tuple[int, ...] | None:
        """A list of layer numbers below `count`; None for null."""
        value = self.get(key)
        if value is None:
            return None
        good = isinstance(value, list) and all(
            isinstance(layer, int) and 0 <= layer < count for layer in value
        )
        if not good:
            raise ValueError(
                f"{self.where}: key {key!r} is {_shown(value)}, expected layer numbers below "
                f"{count}"
            )
        return tuple(value)

    def kinds(self, key: str, count: int, known: tuple[str, ...]) -> list[str] | None:
        """A list of one word a layer, each one of those known; None for null."""
        value = self.get(key)
        if value is None:
            return None
        good = isinstance(value, list) and all(kind in known for kind in value)
        if not good or len(value) != count:
            raise ValueError(
                f"{self.where}: key {key!r} must list one of {', '.join(known)} for each of "
                f"{count} layers"
            )
        return value

    def uniform(self, key: str, null: int | None = None, minimum: int = 1) -> int:
        """An integer that may be written once a layer, if it is the same in each."""
        value = self.get(key)
        if isinstance(value, list) and value:
            if any(one != value[0] for one in value):
                raise ValueError(
                    f"{self.where}: key {key!r} differs between layers; only the same number in "
                    "each is supported"
                )
            self.config[key] = value[0]
        return self.integer(key, null, minimum)

    def inner(self, key: str, defaults: Mapping[str, Any]) -> "Keys":
        """The keys of an object within the config."""
        value = self.config.get(key) or {}
        if not isinstance(value, Mapping):
            raise ValueError(f"{self.where}: key {key!r} is {_shown(value)}, expected an object")
        return Keys({"model_type": self._family, **value}, f"{self.where}, {key}", defaults)


def _shown(value: Any) -> str:
    """A value in a message, shortened; Python refuses to print integers of thousands of digits."""
    if isinstance(value, int) and abs(value) > 10**18:
        return f"an integer of {int(value.bit_length() * 0.30103) + 1} digits"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
