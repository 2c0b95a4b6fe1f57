"""What runs: sequences, their lengths, and one step of them through a model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dse.cost.mapping import Flags, Part, model_shape
from workloads.architecture import MoEArchitecture

if TYPE_CHECKING:
    pass
from typing import TYPE_CHECKING

from hwmodels.catalog import nearest

if TYPE_CHECKING:
    pass


MODES = ("decode", "prefill")


@dataclass(frozen=True)
class Workload:
    """What runs: `batch` sequences of `context` tokens; one decode step, or their prefill."""

    batch: int = 32
    context: int = 1024
    mode: str = "decode"

    def __post_init__(self) -> None:
        for name in ("batch", "context"):
            value = getattr(self, name)
            if isinstance(value, bool) or int(value) != value or value < 1:
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
        if self.mode not in MODES:
            hint = nearest(self.mode, MODES)
            raise ValueError(f"unknown mode {self.mode!r}: choose decode or prefill{hint}")

    @property
    def tokens(self) -> int:
        """Tokens of one step."""
        return self.batch * (self.context if self.mode == "prefill" else 1)


CACHE_BYTES = 2
"""Keys and values are kept in 16 bits."""


ACTIVATION_BYTES = 2


@dataclass(frozen=True)
class Step:
    """A model and its workload, and which dense parts are analog.

    Attributes:
        analog: by name of the part; parts that no design has analog may be missing.
    """

    architecture: MoEArchitecture
    batch: int
    context: int
    prefill: bool
    analog: dict[str, Flags]

    @property
    def tokens(self) -> int:
        return self.batch * self.context if self.prefill else self.batch

    def is_analog(self, name: str) -> Flags:
        return self.analog.get(name, False)

    @property
    def head_tokens(self) -> int:
        """Tokens whose logits are needed: in prefill the last of each sequence."""
        return self.batch

    @cached_property
    def parts(self) -> dict[str, Part]:
        return {part.name: part for part in model_shape(self.architecture).parts}

    def part_tokens(self, name: str) -> int:
        return self.head_tokens if name == "lm_head" else self.tokens

    @cached_property
    def attention_macs(self) -> int:
        """Of scores and values, all layers, one step; a prefill token sees half its context."""
        seen = (self.context + 1) // 2 if self.prefill else self.context
        return self.tokens * self.architecture.attention_macs(seen)

    @cached_property
    def cache_bytes(self) -> int:
        """KV cache read and written in a step; prefill writes and reads each entry once."""
        one, all_ = (self.architecture.kv_cache_elements(n) for n in (1, self.context))
        if self.prefill:
            return 2 * self.batch * all_ * CACHE_BYTES
        return self.batch * (all_ + one) * CACHE_BYTES

    @cached_property
    def held_cache_bytes(self) -> int:
        return self.batch * self.architecture.kv_cache_elements(self.context) * CACHE_BYTES
