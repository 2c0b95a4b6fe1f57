"""The hardware that a placed model runs on: equal dies, each with tiles and an accelerator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.arrays import Array
from hwmodels import die
from hwmodels.components import link
from hwmodels.digital import Accelerator, accelerator_area_mm2, logic_power_w_per_mm2
from hwmodels.memory import Memory, load_memory, stack_memories
from hwmodels.technology import Technology
from hwmodels.tile import Tile, tile_area_mm2

HOST = die.PCIE5_X16
DIE_LINK = die.UCIE_ADVANCED
LINK_MODULES = 1
"""Of a link between two dies: one carries 512 GB/s, the activations of a hundred million tokens a
second of 2048 numbers."""


@dataclass(frozen=True)
class System:
    """Tiles beside digital accelerators; fields are scalars or arrays, one entry a design.

    Attributes:
        tiles: of all dies together.
        accelerator: that of one die, with its memory stacks.
        dies: equal ones in a row, over which the layers are spread.
    """

    tile: Tile
    tiles: ArrayLike
    accelerator: Accelerator
    dies: ArrayLike = 1

    def __post_init__(self) -> None:
        tiles = np.asarray(self.tiles)
        if not np.all(np.isfinite(tiles) & (tiles >= 0) & (tiles == np.floor(tiles))):
            raise ValueError("the number of tiles must be a whole number, not negative")
        dies = np.asarray(self.dies)
        if not np.all((dies >= 1) & (dies <= die.MAX_DIES) & (dies == np.floor(dies))):
            raise ValueError(f"dies is {dies.max()}: a whole number from 1 to {die.MAX_DIES}")

    @staticmethod
    def overhead_area_mm2_per_tile(accelerator: Accelerator) -> Array:
        """Area of the routers that join a tile to the digital units, beyond the tile (mm2)."""
        node: Any = accelerator.node_nm
        return np.asarray(1e6 * link.area_m2(1.0, node), dtype=float)


def hardware(
    technology: Technology, base: Accelerator, columns: Mapping[str, NDArray[Any]]
) -> tuple[Tile, Accelerator]:
    """Tile, and the accelerator of one die, from the columns of a table of candidates.

    The columns count MACs, SRAM and memory stacks of all dies together.
    """
    tile = Tile(
        technology=technology,
        rows=columns["tile_rows"],
        cols=columns["tile_cols"],
        tiers=columns["tiers"],
        dac_bits=columns["dac_bits"],
        adc_bits=columns["adc_bits"],
        columns_per_adc=columns["columns_per_adc"],
    )
    dies = columns["dies"]
    accelerator = replace(
        base,
        mac_units=columns["mac_units"] / dies,
        array_rows=columns["array_rows"],
        sram_bytes=columns["sram_mib"] * 2.0**20 / dies,
        hbm_stacks=columns["hbm_stacks"] / dies,
        memory=memories(columns["memory"]),
        weight_bits=columns["digital_weight_bits"],
        cache_bits=columns["kv_bits"],
    )
    return tile, accelerator


def memories(names: NDArray[Any]) -> Memory:
    """One stack of each design's kind of memory, from names; of ranges only that of the price."""
    kinds, index = np.unique(names.astype(str), return_inverse=True)
    loaded = [load_memory(str(kind)) for kind in kinds]
    priced = ("price_usd_per_byte",)
    kept = [
        replace(one, ranges={name: one.ranges[name] for name in priced if name in one.ranges})
        for one in loaded
    ]
    return stack_memories(kept, index)


def is_whole_chip(accelerator: Accelerator) -> bool:
    """Whether it is an existing chip, whose host interface and network its own area includes."""
    return accelerator.die_area_mm2 is not None


def areas_beside_tiles(accelerator: Accelerator, dies: ArrayLike = 1) -> dict[str, Array]:
    """Area by component of all that is no tile, all dies together (mm2)."""
    count = np.asarray(dies, dtype=float)
    parts = {
        f"accelerator_{name}": count * area
        for name, area in accelerator_area_mm2(accelerator).items()
    }
    parts["host"] = parts["die_link"] = parts["network"] = np.zeros(())
    if not is_whole_chip(accelerator):
        parts["host"] = count * die.host_area_mm2(HOST, accelerator.node_nm)
        modules = LINK_MODULES * 2 * (count - 1)  # both ends of every link of the row
        parts["die_link"] = die.link_area_mm2(DIE_LINK, modules)
        connected: Any = sum(parts.values())
        parts["network"] = die.NETWORK.area_share * connected
    return parts


def areas(system: System) -> dict[str, Array]:
    """Area by component (mm2): tiles, their routers, and what is beside them."""
    count = np.asarray(system.tiles, dtype=float)
    node: Any = system.accelerator.node_nm
    parts = {f"tile_{name}": count * area for name, area in tile_area_mm2(system.tile).items()}
    parts["link"] = 1e6 * link.area_m2(count, node)
    return parts | areas_beside_tiles(system.accelerator, system.dies)


def idle_beside_accelerator_w(system: System, area: Mapping[str, Array]) -> Array:
    """Power of host interfaces, links between dies and networks that move nothing (W)."""
    if is_whole_chip(system.accelerator):
        return np.zeros(())
    count = np.asarray(system.dies, dtype=float)
    links = die.link_idle_power_w(DIE_LINK, LINK_MODULES * (count - 1))
    density = logic_power_w_per_mm2(system.accelerator)
    return count * die.host_idle_power_w(HOST) + links + density * area["network"]


def stacks_fit(system: System, area_mm2: Array) -> NDArray[np.bool_]:
    """Whether the memory stacks find room along the edges of their dies."""
    if is_whole_chip(system.accelerator):
        return np.ones(area_mm2.shape, dtype=bool)
    count = np.asarray(system.dies, dtype=float)
    links = die.link_edge_mm(DIE_LINK, LINK_MODULES * die.neighbours(system.dies))
    stacks = count * np.asarray(system.accelerator.hbm_stacks, dtype=float)
    memory = system.accelerator.memory
    return die.stacks_fit(memory, stacks, area_mm2, system.dies, HOST, links)
