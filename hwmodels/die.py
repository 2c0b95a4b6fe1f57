"""The die and what stands along its edge: reticle, memory stacks, links to other dies, host.

Dies are equal and square (at the reticle, 26 x 33 mm, a square has 0.7 % less edge). A fifth of a
die's edge is never memory's: corners, power, test, the host interface and the links to other dies;
where those two need more than a fifth, they get it. Time on links is not counted: nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwmodels import catalog
from hwmodels.arrays import Array, number
from hwmodels.components import scaling
from hwmodels.memory import Memory

RETICLE_MM2 = 26.0 * 33.0
"""Largest field of a scanner (nanocad-lab/CATCH wafer_process_definitions.xml)."""
MAX_DIES = 16
MEMORY_EDGE_SHARE = 0.8
"""Of a die's edge, at most; A100 uses 52 % and B200 60 % at a pitch of 12 mm (OpenTallas)."""


@dataclass(frozen=True)
class DieLink:
    """A die-to-die interface, in whole modules; bandwidths count both directions."""

    name: str
    source: str
    energy_j_per_bit: float
    """Both ends together."""
    energy_low_j_per_bit: float
    energy_high_j_per_bit: float
    module_bandwidth_bytes_per_s: float
    module_edge_mm: float
    module_area_mm2: float
    """On each of the two dies; analog, does not scale."""
    idle_share: float
    """Power of a module that moves nothing, over its power at full rate."""
    needs_interposer: bool


_UCIE = (
    "Geometry of modules at 32 GT/s: nanocad-lab/CATCH io_definitions.xml. Energies are targets of "
    "the UCIe specification, 0.5 V to 0.7 V; idle 15 % of peak: OpenTallas power_assumptions.json"
)
UCIE_ADVANCED = DieLink(
    name="ucie-advanced",
    source=f"64 bits. {_UCIE}, which takes 0.5 pJ/bit (0.29 is the best case, at 3 nm)",
    energy_j_per_bit=0.5e-12,
    energy_low_j_per_bit=0.25e-12,
    energy_high_j_per_bit=0.6e-12,
    module_bandwidth_bytes_per_s=4096e9 / 8,
    module_edge_mm=0.3888,
    module_area_mm2=0.4055,
    idle_share=0.15,
    needs_interposer=True,
)
UCIE_STANDARD = DieLink(
    name="ucie-standard",
    source=f"16 bits. {_UCIE}; above 16 GT/s 0.60 to 0.75 pJ/bit at 0.5 V",
    energy_j_per_bit=0.75e-12,
    energy_low_j_per_bit=0.5e-12,
    energy_high_j_per_bit=1.25e-12,
    module_bandwidth_bytes_per_s=1024e9 / 8,
    module_edge_mm=0.5715,
    module_area_mm2=0.7544,
    idle_share=0.15,
    needs_interposer=False,
)
LINKS = {link.name: link for link in (UCIE_ADVANCED, UCIE_STANDARD)}


@dataclass(frozen=True)
class HostInterface:
    """The interface to the host, one on every die."""

    name: str
    source: str
    lanes: int
    bandwidth_bytes_per_s: float
    """Both directions."""
    energy_j_per_bit: float
    energy_low_j_per_bit: float
    energy_high_j_per_bit: float
    idle_share: float
    phy_area_mm2: float
    controller_area_mm2: float
    """At 7 nm; logic, which scales."""
    edge_mm: float


PCIE5_X16 = HostInterface(
    name="pcie5-x16",
    source=(
        "32 GT/s a lane and direction. Energy: NVIDIA calls NVLink-C2C's 1.3 pJ/bit five times "
        "better than PCIe 5; 112G SerDes 5.6 to 7.5 (VLSI 2022, JSSC 2021, as in OpenTallas). Idle "
        "as UCIe. Area: 0.64 mm2 and 5.372 M transistors a lane (LLMCompass, 7 nm), at its 91.2 "
        "M/mm2. Edge: that area at the 1.75 mm depth of an LPDDR5 interface (arXiv 2510.06513), an "
        "assumption"
    ),
    lanes=16,
    bandwidth_bytes_per_s=2 * 16 * 32e9 / 8,
    energy_j_per_bit=6.5e-12,
    energy_low_j_per_bit=5.6e-12,
    energy_high_j_per_bit=7.5e-12,
    idle_share=0.15,
    phy_area_mm2=16 * 0.64,
    controller_area_mm2=16 * 5.3721 / 91.2,
    edge_mm=16 * 0.64 / 1.75,
)


def die_area_mm2(area_mm2: ArrayLike, dies: ArrayLike = 1) -> Array:
    """Area of one of `dies` equal dies that together have `area_mm2` (mm2)."""
    catalog.check_range("dies", dies, 1, MAX_DIES, whole=True)
    return number(area_mm2) / number(dies)


def fewest_dies(area_mm2: ArrayLike) -> Array:
    """Fewest equal dies, none larger than the reticle, that together have `area_mm2`."""
    return np.maximum(np.ceil(number(area_mm2) / RETICLE_MM2 - 1e-9), 1.0)


def fits_reticle(area_mm2: ArrayLike, dies: ArrayLike = 1) -> NDArray[np.bool_]:
    """Whether each of `dies` equal dies fits the reticle."""
    return die_area_mm2(area_mm2, dies) <= RETICLE_MM2 * (1 + 1e-9)


def neighbours(dies: ArrayLike) -> Array:
    """Dies that each of `dies` dies in a row is linked to; of two, turned round, one."""
    catalog.check_range("dies", dies, 1, MAX_DIES, whole=True)
    return np.minimum(number(dies) - 1, 2.0)


def link_modules(link: DieLink, bytes_per_s: ArrayLike) -> Array:
    """Whole modules of a link that carry `bytes_per_s`, both directions together."""
    return np.ceil(number(bytes_per_s) / link.module_bandwidth_bytes_per_s)


def link_edge_mm(link: DieLink, modules: ArrayLike) -> Array:
    """Edge of a die that `modules` modules take (mm)."""
    return number(modules) * link.module_edge_mm


def link_area_mm2(link: DieLink, modules: ArrayLike) -> Array:
    """Area of `modules` modules on one die (mm2)."""
    return number(modules) * link.module_area_mm2


def link_energy_j(link: DieLink, bytes_moved: ArrayLike) -> Array:
    """Energy of moving bytes from one die to another (J), both ends."""
    return 8 * number(bytes_moved) * link.energy_j_per_bit


def link_idle_power_w(link: DieLink, modules: ArrayLike) -> Array:
    """Power of `modules` connected modules that move nothing (W), both ends."""
    peak = 8 * link.module_bandwidth_bytes_per_s * link.energy_j_per_bit
    return number(modules) * link.idle_share * peak


def host_area_mm2(host: HostInterface, node_nm: ArrayLike) -> Array:
    """Area of the host interface on one die of a node (mm2); only its controller scales."""
    scale = scaling.area_factor(7.0, node_nm)
    return host.phy_area_mm2 + host.controller_area_mm2 * scale


def host_idle_power_w(host: HostInterface) -> float:
    """Power of a host interface that moves nothing (W)."""
    return host.idle_share * 8 * host.bandwidth_bytes_per_s * host.energy_j_per_bit


def memory_edge_mm(
    area_mm2: ArrayLike, host: HostInterface = PCIE5_X16, link_edge_mm: ArrayLike = 0.0
) -> Array:
    """Edge of a square die of `area_mm2` that is free for memory (mm).

    Four fifths of it, or what the host interface and `link_edge_mm` of links leave.
    """
    edge = 4 * np.sqrt(number(area_mm2))
    left = edge - host.edge_mm - number(link_edge_mm)
    return np.maximum(np.minimum(MEMORY_EDGE_SHARE * edge, left), 0.0)


def most_stacks(
    memory: Memory,
    area_mm2: ArrayLike,
    host: HostInterface = PCIE5_X16,
    link_edge_mm: ArrayLike = 0.0,
) -> Array:
    """Largest number of stacks of a kind that one die of `area_mm2` takes (whole).

    Interfaces stand side by side along the die's edge, stacks side by side on the interposer
    around it: the wider of the two counts. A row of stacks may pass a corner of the die, since only
    their interfaces face it.
    """
    width = np.maximum(number(memory.edge_mm), number(memory.stack_width_mm))
    return np.floor(memory_edge_mm(area_mm2, host, link_edge_mm) / width)


def stacks_fit(
    memory: Memory,
    stacks: ArrayLike,
    area_mm2: ArrayLike,
    dies: ArrayLike = 1,
    host: HostInterface = PCIE5_X16,
    link_edge_mm: ArrayLike = 0.0,
) -> NDArray[np.bool_]:
    """Whether `stacks` stacks in all, spread evenly, fit `dies` equal dies of `area_mm2` in all."""
    each = number(stacks) / number(dies)
    return each <= most_stacks(memory, die_area_mm2(area_mm2, dies), host, link_edge_mm)


@dataclass(frozen=True)
class OnChipNetwork:
    """Wires and switches between memory interfaces, on-chip memory and arithmetic of a die."""

    source: str
    energy_j_per_bit_mm: float
    energy_low_j_per_bit_mm: float
    energy_high_j_per_bit_mm: float
    area_share: float
    """Of the die area that it connects."""
    area_share_low: float
    area_share_high: float


NETWORK = OnChipNetwork(
    source=(
        "Energy: 0.2 fF/um (NeuroSim) at 0.75 V, a quarter of the bits charging, 1.6 for repeaters "
        "(OpenTallas, 7 nm); from 0.040 (low swing, 45 nm, DATE 2013) to twice the activity. Area: "
        "crossbar of MI250X's die 4.6 %, of A100's 9.3 % (die photos, LLMCompass)"
    ),
    energy_j_per_bit_mm=0.045e-12,
    energy_low_j_per_bit_mm=0.04e-12,
    energy_high_j_per_bit_mm=0.09e-12,
    area_share=0.07,
    area_share_low=0.046,
    area_share_high=0.093,
)


def network_energy_j(
    bytes_moved: ArrayLike, area_mm2: ArrayLike, network: OnChipNetwork = NETWORK
) -> Array:
    """Energy of moving bytes between the edge of a square die and any place on it (J).

    From a point on an edge half a side inwards and a third of a side along it: the mean Manhattan
    distance is 5/6 of a side.
    """
    distance_mm = 5 / 6 * np.sqrt(number(area_mm2))
    return 8 * number(bytes_moved) * network.energy_j_per_bit_mm * distance_mm
