"""The hardware that a placed model runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.arrays import Array
from hwmodels.components import link
from hwmodels.digital import Accelerator
from hwmodels.technology import Technology
from hwmodels.tile import Tile


@dataclass(frozen=True)
class System:
    """Tiles beside a digital accelerator; fields are scalars or arrays, one entry a design."""

    tile: Tile
    tiles: ArrayLike
    accelerator: Accelerator

    def __post_init__(self) -> None:
        tiles = np.asarray(self.tiles)
        if not np.all(np.isfinite(tiles) & (tiles >= 0) & (tiles == np.floor(tiles))):
            raise ValueError("the number of tiles must be a whole number, not negative")

    @staticmethod
    def overhead_area_mm2_per_tile(accelerator: Accelerator) -> Array:
        """Area of the routers that join a tile to the digital units, beyond the tile (mm2)."""
        node: Any = accelerator.node_nm
        return np.asarray(1e6 * link.area_m2(1.0, node), dtype=float)


def hardware(
    technology: Technology, base: Accelerator, columns: Mapping[str, NDArray[Any]]
) -> tuple[Tile, Accelerator]:
    """Tile and accelerator of designs, from the columns of a table of candidates."""
    tile = Tile(
        technology=technology,
        rows=columns["tile_rows"],
        cols=columns["tile_cols"],
        tiers=columns["tiers"],
        dac_bits=columns["dac_bits"],
        adc_bits=columns["adc_bits"],
        columns_per_adc=columns["columns_per_adc"],
    )
    accelerator = replace(
        base,
        mac_units=columns["mac_units"],
        sram_bytes=columns["sram_mib"] * 2.0**20,
        hbm_stacks=columns["hbm_stacks"],
    )
    return tile, accelerator
