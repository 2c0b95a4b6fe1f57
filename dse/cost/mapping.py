"""How weight matrices lie on tiles: blocks, their edges, and how many share a tile.

A matrix of n inputs and m outputs takes ceil(n / rows) * ceil(m / cols) blocks, one tier of a tile
each. Blocks at the edge use a part of the rows or columns only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.arrays import Array
from dse.placement.parts import ANALOG_PARTS, PARTS
from hwmodels.tile import Tile, row_groups, unit_energy_j
from workloads.architecture import MoEArchitecture
from workloads.inventory import inventory

if TYPE_CHECKING:
    import pandas as pd

Flags = bool | NDArray[np.bool_]
"""Yes or no, of all designs or of each."""


@dataclass(frozen=True)
class Part:
    """One dense part of a model over all its layers.

    Attributes:
        shapes: (inputs, outputs, number of such matrices).
        layers: number of layers that have the part, 1 for embedding and LM head.
        weights: of all its matrices.
        macs_per_token: weights times evaluations per token.
    """

    name: str
    shapes: tuple[tuple[int, int, int], ...]
    layers: int
    weights: int
    macs_per_token: float


@dataclass(frozen=True)
class ModelShape:
    """What the costs need of a model: its dense parts and one routed expert."""

    parts: tuple[Part, ...]
    expert_shapes: tuple[tuple[int, int, int], ...]
    expert_weights: int
    expert_width: int
    hidden_size: int


@lru_cache(maxsize=32)
def model_shape(architecture: MoEArchitecture) -> ModelShape:
    """Sum a model's inventory by part."""
    table = inventory(architecture)
    table["weights"] = table["inputs"] * table["outputs"]
    parts = []
    for name in PARTS:
        rows = table[table["part"] == name]
        if rows.empty:
            continue
        macs = float((rows["weights"] * rows["evaluations_per_token"]).sum())
        layers = max(int(rows["layer"].nunique()), 1)
        parts.append(Part(name, _shapes(rows), layers, int(rows["weights"].sum()), macs))
    routed = table[table["part"] == "routed_expert"]
    first = routed[(routed["layer"] == routed["layer"].min()) & (routed["expert"] == 0)]
    return ModelShape(
        tuple(parts),
        _shapes(first),
        int(first["weights"].sum()),
        architecture.expert_intermediate_size,
        architecture.hidden_size,
    )


_STORED = {
    "shared_expert": ".shared.",
    "dense_ffn": ".ffn.",
    "router": ".router",
    "mamba": ".mamba.",
}


def placeable_parts(
    architecture: MoEArchitecture, simulated: Iterable[str] | None = None
) -> tuple[str, ...]:
    """Dense parts that can be analog: of the model, and of the weights that stand for it.

    `simulated`: names of the tensors that the simulation has; None asks of the model only.
    """
    names = None if simulated is None else " ".join(simulated)
    present = {part.name for part in model_shape(architecture).parts}
    return tuple(
        part
        for part in ANALOG_PARTS
        if part in present and (names is None or _STORED.get(part, "") in names)
    )


def _shapes(rows: pd.DataFrame) -> tuple[tuple[int, int, int], ...]:
    pairs = zip(rows["inputs"].tolist(), rows["outputs"].tolist(), strict=True)
    return tuple((int(n), int(m), number) for (n, m), number in sorted(Counter(pairs).items()))


def blocks(shapes: tuple[tuple[int, int, int], ...], rows: ArrayLike, cols: ArrayLike) -> Array:
    """Tiers (blocks) that matrices of these (inputs, outputs, number) take: whole numbers."""
    row, col = np.asarray(rows, dtype=float), np.asarray(cols, dtype=float)
    total = np.zeros(np.broadcast_shapes(row.shape, col.shape))
    for inputs, outputs, number in shapes:
        total = total + number * (np.ceil(inputs / row) * np.ceil(outputs / col))
    return total


def matrix_energy_j(tile: Tile, shapes: tuple[tuple[int, int, int], ...]) -> dict[str, Array]:
    """Energy of evaluating each of these matrices once, by component of the tile (J).

    The sum of `tile_energy_j` over blocks, where partly filled ones are charged for the rows and
    columns that they use: every input drives a row in each column of blocks, every weight is read,
    and every output is converted in each row of blocks.
    """
    rows, cols = np.asarray(tile.rows, dtype=float), np.asarray(tile.cols, dtype=float)
    driven: Array = np.zeros(())
    converted: Array = driven
    read = np.zeros(())
    for inputs, outputs, number in shapes:
        full = np.floor(inputs / rows)
        edge = inputs - full * rows
        groups = full * row_groups(tile, rows) + (edge > 0) * row_groups(tile, edge)
        driven = driven + number * inputs * np.ceil(outputs / cols)
        converted = converted + number * outputs * groups
        read = read + number * inputs * outputs
    counts = {"input": driven, "array": read, "adc": converted, "digital": converted}
    return {name: counts[name] * energy for name, energy in unit_energy_j(tile).items()}


def moved_bytes(tile: Tile, shapes: tuple[tuple[int, int, int], ...]) -> Array:
    """Activation bytes to and from the blocks when each matrix is evaluated once.

    Every block receives its rows' inputs at DAC resolution and returns its columns' partial sums
    at ADC resolution.
    """
    row, col = np.asarray(tile.rows, dtype=float), np.asarray(tile.cols, dtype=float)
    received: Array = np.zeros(())
    returned = received
    for inputs, outputs, number in shapes:
        received = received + number * inputs * np.ceil(outputs / col)
        returned = returned + number * outputs * np.ceil(inputs / row)
    bits = received * np.asarray(tile.dac_bits) + returned * np.asarray(tile.adc_bits)
    return np.asarray(bits / 8, dtype=float)


def partial_sums(shapes: tuple[tuple[int, int, int], ...], rows: ArrayLike) -> Array:
    """Digital additions that join the row blocks when each matrix is evaluated once."""
    row = np.asarray(rows, dtype=float)
    total: Array = np.zeros(())
    for inputs, outputs, number in shapes:
        total = total + number * outputs * (np.ceil(inputs / row) - 1)
    return total


@dataclass(frozen=True)
class Mapping:
    """Where the analog part of designs lies; arrays of one length.

    Attributes:
        order: which placement order, an index.
        digital_experts: after what does not fit became digital.
        expert_blocks: blocks of one expert.
        up_blocks, down_blocks: of these, those of its gate and up, and of its down matrix.
        sharing: mean number of blocks on a tile that holds any, at least 1.
        tiles_per_expert: tiles that one expert's share of all comes to.
        fits: whether the dense analog parts alone fit the tiles.
        utilisation: weights over cells in the blocks that hold them; 1 without analog weights.
        occupancy: weights over all cells of all tiles; 0 without tiles.
    """

    order: NDArray[np.int64]
    digital_experts: NDArray[np.int64]
    expert_blocks: Array
    up_blocks: Array
    down_blocks: Array
    sharing: Array
    tiles_per_expert: Array
    fits: NDArray[np.bool_]
    utilisation: Array
    occupancy: Array


def map_experts(
    shape: ModelShape,
    experts: int,
    tile: Tile,
    tiles: ArrayLike,
    order: NDArray[np.int64],
    digital_experts: NDArray[np.int64],
    analog: dict[str, Flags],
) -> Mapping:
    """Put the dense analog parts on tiles, then experts, last in the order first, until full.

    `analog`: whether a dense part is analog, by its name.
    """
    rows, cols = np.asarray(tile.rows, dtype=float), np.asarray(tile.cols, dtype=float)
    count = np.asarray(tiles, dtype=float)
    capacity = count * np.asarray(tile.tiers, dtype=float)
    expert_blocks = blocks(shape.expert_shapes, rows, cols)
    dense: Array = np.zeros(())
    dense_weights = dense
    for part in shape.parts:
        if part.name in analog and np.any(analog[part.name]):
            dense = dense + np.where(analog[part.name], blocks(part.shapes, rows, cols), 0.0)
            dense_weights = dense_weights + np.where(analog[part.name], part.weights, 0.0)
    room = np.floor(np.maximum(capacity - dense, 0.0) / expert_blocks)
    analog_experts = np.minimum(experts - digital_experts, room)
    used_blocks = dense + analog_experts * expert_blocks
    weights = dense_weights + analog_experts * shape.expert_weights
    cells = rows * cols
    sharing = np.maximum(used_blocks / np.maximum(count, 1.0), 1.0)
    down_blocks = blocks(((shape.expert_width, shape.hidden_size, 1),), rows, cols)
    return Mapping(
        order,
        np.asarray(experts - analog_experts, dtype=np.int64),
        expert_blocks,
        expert_blocks - down_blocks,
        down_blocks,
        sharing,
        expert_blocks / sharing,
        capacity >= dense,
        np.where(used_blocks > 0, weights / np.maximum(used_blocks * cells, 1.0), 1.0),
        weights / np.maximum(capacity * cells, 1.0),
    )
