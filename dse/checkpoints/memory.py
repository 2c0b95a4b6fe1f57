"""How many experts and placements fit into a given memory while a checkpoint is simulated."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from dse import units
from workloads.checkpoint_folder import CheckpointFolder
from workloads.families import FamilyConfig, family_weight_shapes, stacked

LOGITS_BYTES = 48 << 20
"""Logits held at a time; the loss makes two more copies of them."""

MOST_PLACEMENTS = 8
# Of a number as it is read; those of 8 and 4 bits become 32 beside the mapped file.
_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8, "F8_E4M3": 5, "U8": 5}
# Copies of one expert matrix while noise models write it: device pairs, deviations, draws.
_PROGRAMMING_COPIES = 16
# What the allocator keeps and small tensors take.
_SLACK_BYTES = 96 << 20


@dataclass(frozen=True)
class MemoryPlan:
    """How a memory is used.

    Attributes:
        group: experts of a layer that are held together.
        placements: of one pass.
        cache_bytes: for programmed tiles of dense matrices.
        dense_weights: most weights that a dense matrix may have to be programmed.
        programmed: expert matrices that are programmed at the same time, a thread each.
    """

    group: int
    placements: int
    cache_bytes: int
    dense_weights: int
    programmed: int


def plan_memory(
    checkpoint: CheckpointFolder,
    config: FamilyConfig,
    tokens: int,
    draws: int,
    max_bytes: int | None = None,
) -> MemoryPlan:
    """Divide the memory between weights, tiles and the states of placements.

    Args:
        tokens: of one pass; draws: noise draws of a placement.
        max_bytes: of this process, what it holds already included; None takes most of what the
            machine has to spare.

    Raises:
        ValueError: not even one expert and one placement fit; the line says what would.
    """
    used = resident_bytes()
    most = used + int(0.8 * available_bytes()) if max_bytes is None else max_bytes
    stored = max(_BYTES.get(tensor.dtype, 0) for tensor in checkpoint.tensors.values())
    hidden, width = config.hidden_size, config.expert_intermediate_size
    matrix = 4 * hidden * width
    # Float32 weights, programmed tiles and one placement's own copy, beside the mapped file.
    expert = int(3 * matrix * (3 + stored / 4))
    state = 3 * 4 * tokens * hidden
    rows = 4 * tokens * config.experts_per_token * (hidden + 3 * width)
    outside = max(_ends(config, stored), _dense_layer(config, stored))
    ranges = 16 * len(config.moe_layers) * config.routed_experts * (hidden + width)
    fixed = used + _SLACK_BYTES + ranges + state  # the clean state travels along
    # Rows of a group: its share of all, and never more than every token once an expert.
    share = min(1.0, 4 / config.routed_experts)
    group_work = _PROGRAMMING_COPIES * matrix + int(share * rows)
    least = fixed + draws * state + max(outside, expert + group_work)
    if most < least:
        raise ValueError(
            f"{units.memory(most)} are too little for {checkpoint.path}: one expert at a time and "
            f"one placement need {units.memory(least, up=True)}; raise --max-memory"
        )
    free = most - least
    # Each thread more than one needs the copies of another matrix.
    more = _PROGRAMMING_COPIES * matrix
    programmed = min(torch.get_num_threads(), 1 + free // (8 * more))
    free -= (programmed - 1) * more
    dense_weights = free // (4 * _PROGRAMMING_COPIES)
    placements = min(MOST_PLACEMENTS, 1 + int(0.5 * free) // (draws * state))
    free -= (placements - 1) * draws * state
    spare = max(outside - expert - group_work, 0)
    each = expert + rows // config.routed_experts
    group = min(config.routed_experts, 1 + (free + spare) // each)
    return MemoryPlan(group, placements, min(1 << 30, free // 4), dense_weights, programmed)


def _ends(config: FamilyConfig, stored: int) -> int:
    """Bytes while the embedding or the head is read and used, the mapped file included."""
    return config.vocab_size * config.hidden_size * (4 + stored) + 3 * LOGITS_BYTES


def _dense_layer(config: FamilyConfig, stored: int) -> int:
    """Bytes of the largest layer without its routed experts, the mapped file included."""
    sizes: dict[str, int] = {}
    for name, shape in family_weight_shapes(config).items():
        if name.startswith("layers.") and not stacked(name):
            layer, count = name.split(".")[1], 1
            for length in shape:
                count *= length
            sizes[layer] = sizes.get(layer, 0) + count
    return max(sizes.values()) * (4 + stored)


def resident_bytes() -> int:
    """Memory that this process holds now."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource

        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def available_bytes() -> int:
    """Memory that the machine could give without swapping; half of all where it does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
