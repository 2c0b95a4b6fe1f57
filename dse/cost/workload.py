"""What runs: sequences served at the same time, their lengths, and one step of some of them.

In a round every sequence yields one output token. A request of `prompt` tokens yields its first
output token from the prompt's last, so that a round of N sequences decodes N (O - 1) / O tokens and
carries N P / O tokens of prompts: the mix in which requests come and go. A pipelined machine cuts a
round into micro-batches that follow one another through the layers; a step is the way of one of
them. Prompts pass in chunks, as many tokens as a micro-batch has room for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.arrays import Array
from dse.cost.mapping import Flags, Part, model_shape
from workloads.architecture import MoEArchitecture


@dataclass(frozen=True)
class Traffic:
    """`concurrency` sequences served at the same time.

    Attributes:
        context: tokens in the cache of each sequence that decodes; not looked at with a prompt.
        prompt, output_tokens: of each request; both or none. With one output token a request is
            its prefill.
    """

    concurrency: int = 32
    context: int = 1024
    prompt: int | None = None
    output_tokens: int | None = None

    def __post_init__(self) -> None:
        if (self.prompt is None) != (self.output_tokens is None):
            given, other = ("prompt", "output_tokens")[:: -1 if self.prompt is None else 1]
            raise ValueError(f"{given} without {other}: requests need both, or a context alone")
        for name in ("concurrency", "context", "prompt", "output_tokens"):
            value = getattr(self, name)
            optional = name in ("prompt", "output_tokens")
            if value is None and optional:
                continue
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")

    def __str__(self) -> str:
        """`32 sequences at 1024 tokens`, `8 requests of 512 and 64 tokens`."""
        if self.prompt is None:
            return f"{self.concurrency} sequences at {self.context} tokens"
        return f"{self.concurrency} requests of {self.prompt} and {self.output_tokens} tokens"

    @property
    def decoded_tokens(self) -> float:
        """Tokens of a round that come from a step of decoding."""
        if not self.output_tokens:
            return float(self.concurrency)
        return self.concurrency * (self.output_tokens - 1) / self.output_tokens

    @property
    def prompt_tokens(self) -> float:
        """Tokens of prompts in a round."""
        if not self.prompt or not self.output_tokens:
            return 0.0
        return self.concurrency * self.prompt / self.output_tokens

    @property
    def round_tokens(self) -> float:
        """Tokens that pass the layers in a round."""
        return self.decoded_tokens + self.prompt_tokens

    @property
    def decode_context(self) -> int:
        """Tokens in the cache of a sequence that decodes, on average."""
        if not self.prompt or not self.output_tokens:
            return self.context
        return self.prompt + self.output_tokens // 2

    @property
    def held_context(self) -> int:
        """Tokens of a sequence that the memory must have room for."""
        if not self.prompt or not self.output_tokens:
            return self.context
        return self.prompt + self.output_tokens

    def micro_batches(self, layers: int) -> NDArray[np.int64]:
        """Numbers of micro-batches to choose from: 1, 2, 4, ... up to what is of use.

        No more than there are tokens in a round, nor than twice the layers: attention and experts
        of every layer then have one each.
        """
        most = max(min(int(self.round_tokens), 2 * layers), 1)
        powers = 2 ** np.arange(most.bit_length(), dtype=np.int64)
        return np.unique(np.append(powers[powers <= most], most))


ACTIVATION_BYTES = 2
STATE_BYTES = 2
"""Of a number of a recurrent state; states are updated in place, so they stay at 16 bits."""
ACTIVATIONS_AT_ONCE = 4
"""Vectors of a token that a stage has on the chip: input, output, what it adds to, one more."""


@dataclass(frozen=True)
class Step:
    """A model, one micro-batch of its traffic, and which dense parts are analog.

    Attributes:
        micro_batches: into how many a round is cut; a number, or one for each design.
        analog: by name of the part; parts that no design has analog may be missing.
    """

    architecture: MoEArchitecture
    traffic: Traffic
    micro_batches: Any
    analog: dict[str, Flags]

    def is_analog(self, name: str) -> Flags:
        return self.analog.get(name, False)

    @cached_property
    def parts(self) -> dict[str, Part]:
        return {part.name: part for part in model_shape(self.architecture).parts}

    @cached_property
    def decoded(self) -> Array:
        """Tokens that decode."""
        return np.asarray(self.traffic.decoded_tokens / self.micro_batches)

    @cached_property
    def prefilled(self) -> Array:
        """Tokens of prompts."""
        return np.asarray(self.traffic.prompt_tokens / self.micro_batches)

    @cached_property
    def tokens(self) -> Array:
        return self.decoded + self.prefilled

    @cached_property
    def output_tokens(self) -> Array:
        """Tokens that the step yields: those whose logits are needed."""
        return np.asarray(self.traffic.concurrency / self.micro_batches)

    def part_tokens(self, name: str) -> Array:
        return self.output_tokens if name == "lm_head" else self.tokens

    @cached_property
    def prompts(self) -> Array:
        """Prompts that begin and end in a step, on average."""
        return self.prefilled / (self.traffic.prompt or 1)

    @cached_property
    def chunks(self) -> Array:
        """Chunks in which a prompt passes the layers: each of one step."""
        return 1 / np.clip(self.prompts, 1e-9, 1.0)

    @cached_property
    def prefill_attention_macs(self) -> Array:
        """Of scores and values of prompt tokens; one sees half its prompt on average."""
        seen = ((self.traffic.prompt or 1) + 1) // 2
        return self.prefilled * self.architecture.attention_macs(seen)

    @cached_property
    def attention_macs(self) -> Array:
        """Of scores and values, all layers."""
        each = self.architecture.attention_macs(self.traffic.decode_context)
        return self.decoded * each + self.prefill_attention_macs

    @cached_property
    def prefill_cache_elements(self) -> Array:
        """Keys and values that prompts write, and read once a chunk: those of the chunks so far."""
        one_prompt = self.architecture.kv_cache_elements(self.traffic.prompt or 0)
        return self.prompts * one_prompt * (1 + (self.chunks + 1) / 2)

    @cached_property
    def cache_elements(self) -> Array:
        """Keys and values read and written."""
        one, all_ = map(self.architecture.kv_cache_elements, (1, self.traffic.decode_context))
        return self.decoded * (all_ + one) + self.prefill_cache_elements

    @cached_property
    def state_bytes(self) -> Array:
        """Recurrent states read and written: once a decoded token, and once a chunk of a prompt."""
        one = 2 * self.architecture.recurrent_state_elements * STATE_BYTES
        return (self.decoded + self.prompts * self.chunks) * one

    @cached_property
    def held_cache_elements(self) -> int:
        """Keys and values of all sequences at the same time, at their longest."""
        each = self.architecture.kv_cache_elements(self.traffic.held_context)
        return self.traffic.concurrency * each

    @cached_property
    def held_state_bytes(self) -> int:
        each = self.architecture.recurrent_state_elements * STATE_BYTES
        return self.traffic.concurrency * each

    @cached_property
    def activation_bytes(self) -> Array:
        """Activations that a stage works on."""
        width = self.architecture.hidden_size * ACTIVATION_BYTES
        return ACTIVATIONS_AT_ONCE * width * self.tokens

    @cached_property
    def crossing_bytes(self) -> Array:
        """What crosses from one layer to the next."""
        return self.architecture.hidden_size * ACTIVATION_BYTES * self.tokens
