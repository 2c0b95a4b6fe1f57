"""What stands in the place of attention in some layers and keeps a state of fixed size.

Shapes follow the published modelling code of each kind. A convolution of width w keeps the last w
inputs of each channel, as transformers' caches do.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RecurrentMixer:
    """A Mamba mixer, linear attention or a short convolution; all numbers are those of one layer.

    Attributes:
        part: of the inventory; Mamba's matrices are "mamba", those of the others "attention".
        matrices: name, inputs and outputs of each weight matrix.
        vector_parameters: parameters that are no matrix.
        state_elements: numbers kept for a sequence, the convolution's last inputs included.
        state_macs: multiply-accumulates on the state and the convolution for one token.
    """

    part: Literal["mamba", "attention"]
    matrices: tuple[tuple[str, int, int], ...]
    vector_parameters: int
    state_elements: int
    state_macs: int


def mamba(
    hidden: int, inner: int, state: int, width: int, rank: int, conv_bias: bool, bias: bool
) -> RecurrentMixer:
    """Jamba's Mamba mixer (arXiv 2312.00752, and norms over the step, B and C: 2403.19887).

    A token decays the state [inner, state], adds its input and reads it: three
    multiply-accumulates an element.
    """
    vectors = inner * (width + state + 2) + rank + 2 * state  # convolution, A, D, dt bias; norms
    return RecurrentMixer(
        "mamba",
        (
            ("mamba_input", hidden, 2 * inner),
            ("mamba_x", inner, rank + 2 * state),
            ("mamba_dt", rank, inner),
            ("mamba_output", inner, hidden),
        ),
        vectors + conv_bias * inner + bias * (2 * inner + hidden),
        inner * (state + width),
        inner * (3 * state + width),
    )


def mamba2(
    hidden: int,
    heads: int,
    head: int,
    groups: int,
    state: int,
    width: int,
    conv_bias: bool,
    bias: bool,
) -> RecurrentMixer:
    """A Mamba-2 mixer (arXiv 2405.21060) as in Granite 4: one projection for all inputs."""
    inner = heads * head
    channels = inner + 2 * groups * state
    vectors = channels * width + 3 * heads + inner  # convolution; A, D, dt bias; gated norm
    return RecurrentMixer(
        "mamba",
        (("mamba_input", hidden, inner + channels + heads), ("mamba_output", inner, hidden)),
        vectors + conv_bias * channels + bias * (inner + channels + heads + hidden),
        inner * state + channels * width,
        3 * inner * state + channels * width,
    )


def gated_delta_net(
    hidden: int, key_heads: int, value_heads: int, key: int, value: int, width: int
) -> RecurrentMixer:
    """A gated delta network (arXiv 2412.06464) as in Qwen3-Next.

    A token decays the state [key, value] of each value head, reads what it holds for its key,
    writes the difference and reads the result: four multiply-accumulates an element.
    """
    keys, values = key_heads * key, value_heads * value
    channels = 2 * keys + values
    return RecurrentMixer(
        "attention",
        (
            ("linear_query_key_value", hidden, channels),
            ("linear_gate", hidden, values),
            ("linear_decay", hidden, 2 * value_heads),
            ("linear_output", values, hidden),
        ),
        channels * width + 2 * value_heads + value,  # convolution; A, dt bias; norm
        value_heads * key * value + channels * width,
        4 * value_heads * key * value + channels * width,
    )


def lightning_attention(hidden: int, heads: int, head: int) -> RecurrentMixer:
    """Lightning attention with an output gate (MiniMax-01, arXiv 2501.08313)."""
    inner = heads * head
    return RecurrentMixer(
        "attention",
        (
            ("linear_query_key_value", hidden, 3 * inner),
            ("linear_gate", hidden, inner),
            ("linear_output", inner, hidden),
        ),
        inner,  # norm
        inner * head,
        3 * inner * head,
    )


def short_convolution(hidden: int, width: int, bias: bool) -> RecurrentMixer:
    """A gated short convolution (LFM2)."""
    return RecurrentMixer(
        "attention",
        (("convolution_input", hidden, 3 * hidden), ("convolution_output", hidden, hidden)),
        hidden * width + bias * 5 * hidden,
        hidden * width,
        hidden * width,
    )
