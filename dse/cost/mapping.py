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
from hwmodels.tile import Tile, row_groups
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


@dataclass(frozen=True)
class Layout:
    """Matrices in blocks on one kind of tile; each quantity is that of evaluating every one once.

    Attributes:
        blocks: tiers that they take: whole numbers.
        weights: of the matrices: cells that are read.
        driven: rows driven: every input drives one in each column of blocks.
        converted: conversions: of every output in each row of blocks, once a group of rows driven
            together.
        partial_sums: digital additions that join the rows of blocks.
        moved_bytes: activations to the blocks at DAC resolution, and partial sums back at that of
            the ADC.
    """

    blocks: Array
    weights: int
    driven: Array
    converted: Array
    partial_sums: Array
    moved_bytes: Array


Shapes = tuple[tuple[int, int, int], ...]
"""(inputs, outputs, number) of matrices."""


def lay_out(shapes: Shapes, tile: Tile) -> Layout:
    """Matrices on tiles: ceil(inputs / rows) rows of blocks, ceil(outputs / cols) columns."""
    rows, cols = np.asarray(tile.rows, dtype=float), np.asarray(tile.cols, dtype=float)
    blocks, driven, converted, sums, returned = (np.zeros(()) for _ in range(5))
    weights = 0
    for inputs, outputs, number in shapes:
        full = np.floor(inputs / rows)
        edge = inputs - full * rows
        high, wide = full + (edge > 0), np.ceil(outputs / cols)
        groups = high
        if tile.rows_at_once is not None:
            groups = full * row_groups(tile, rows) + row_groups(tile, edge)
        blocks = blocks + number * high * wide
        driven = driven + number * inputs * wide
        converted = converted + number * outputs * groups
        returned = returned + number * outputs * high
        sums = sums + number * outputs * (high - 1)
        weights += number * inputs * outputs
    bits = driven * np.asarray(tile.dac_bits) + returned * np.asarray(tile.adc_bits)
    return Layout(blocks, weights, driven, converted, sums, bits / 8)


def layout_energy_j(unit_j: dict[str, Array], layout: Layout) -> dict[str, Array]:
    """Energy of evaluating each of the matrices once, by component of the tile (J).

    The sum of `tile_energy_j` over blocks, where partly filled ones are charged for the rows and
    columns that they use. `unit_j`: `hwmodels.tile.unit_energy_j` of the tile.
    """
    counts: dict[str, Array | int] = {
        "input": layout.driven,
        "array": layout.weights,
        "adc": layout.converted,
        "digital": layout.converted,
    }
    return {name: counts[name] * energy for name, energy in unit_j.items()}


@dataclass(frozen=True)
class Mapping:
    """Where the analog part of designs lies; arrays of one length.

    Attributes:
        order: which placement order, an index into the tables of the orders.
        digital_experts: after what does not fit became digital.
        analog_weights: weights on tiles.
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
    analog_weights: Array
    expert_blocks: Array
    up_blocks: Array
    down_blocks: Array
    sharing: Array
    tiles_per_expert: Array
    fits: NDArray[np.bool_]
    utilisation: Array
    occupancy: Array


def layouts(shape: ModelShape, tile: Tile, analog: dict[str, Flags]) -> dict[str, Layout]:
    """Of one expert, of its down matrix alone, and of the dense parts that a design has analog."""
    down = ((shape.expert_width, shape.hidden_size, 1),)
    shapes = {"routed_expert": shape.expert_shapes, "down": down}
    for part in shape.parts:
        if np.any(analog.get(part.name, False)):
            shapes[part.name] = part.shapes
    return {name: lay_out(matrices, tile) for name, matrices in shapes.items()}


def map_experts(
    laid: dict[str, Layout],
    experts: int,
    tile: Tile,
    tiles: ArrayLike,
    order: NDArray[np.int64],
    digital_experts: NDArray[np.int64],
    analog: dict[str, Flags],
) -> Mapping:
    """Put the dense analog parts on tiles, then experts, last in the order first, until full.

    `laid`: `layouts` of the model; `analog`: whether a dense part is analog, by its name.
    """
    count = np.asarray(tiles, dtype=float)
    capacity = count * np.asarray(tile.tiers, dtype=float)
    expert, down_blocks = laid["routed_expert"], laid["down"].blocks
    dense, dense_weights = np.zeros(()), np.zeros(())
    for name, flags in analog.items():
        dense = dense + np.where(flags, laid[name].blocks, 0.0)
        dense_weights = dense_weights + np.where(flags, laid[name].weights, 0.0)
    room = np.floor(np.maximum(capacity - dense, 0.0) / expert.blocks)
    analog_experts = np.minimum(experts - digital_experts, room)
    used_blocks = dense + analog_experts * expert.blocks
    weights = dense_weights + analog_experts * expert.weights
    cells = np.asarray(tile.rows, dtype=float) * np.asarray(tile.cols, dtype=float)
    sharing = np.maximum(used_blocks / np.maximum(count, 1.0), 1.0)
    return Mapping(
        order,
        np.asarray(experts - analog_experts, dtype=np.int64),
        weights,
        expert.blocks,
        expert.blocks - down_blocks,
        down_blocks,
        sharing,
        expert.blocks / sharing,
        capacity >= dense,
        np.where(used_blocks > 0, weights / np.maximum(used_blocks * cells, 1.0), 1.0),
        weights / np.maximum(capacity * cells, 1.0),
    )
