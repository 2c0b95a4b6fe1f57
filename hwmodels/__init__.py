"""What hardware does: analytic models of crossbar tiles and digital accelerators, with sources.

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Tile": "tile",
    "Technology": "technology",
    "load_technology": "technology",
    "technology_from_table": "technology",
    "technology_names": "technology",
    "stack_technologies": "technology",
    "load_tile": "tile",
    "tile_names": "tile",
    "tile_energy_j": "tile",
    "tile_latency_s": "tile",
    "tile_area_mm2": "tile",
    "tile_weights": "tile",
    "ir_drops": "tile_limits",
    "ir_drop_error": "tile_limits",
    "line_drops": "tile_limits",
    "largest_rows": "tile_limits",
    "tier_leakage": "tile_limits",
    "largest_tiers": "tile_limits",
    "beyond_source": "tile_limits",
    "is_beyond_source": "tile_limits",
    "beyond_source_text": "tile_limits",
    "programming_energy_j": "programming",
    "programming_time_s": "programming",
    "check_noise_model": "noise_models",
    "longest_age_s": "noise_models",
    "Memory": "memory",
    "load_memory": "memory",
    "memory_names": "memory",
    "stack_memories": "memory",
    "most_stacks": "die",
    "stacks_fit": "die",
    "fits_reticle": "die",
    "power_density_limit_w_per_mm2": "heat",
    "power_density_w_per_mm2": "heat",
    "package_cost_usd": "manufacturing",
    "Accelerator": "digital",
    "load_accelerator": "digital",
    "accelerator_names": "digital",
    "accelerator_area_mm2": "digital",
    "peak_macs_per_s": "digital",
    "memory_bandwidth_bytes_per_s": "digital",
    "memory_capacity_bytes": "digital",
    "stage_time_s": "digital",
    "step_time_s": "digital",
    "step_energy_j": "digital",
    "mac_energy_j": "digital",
    "memory_energy_j_per_byte": "digital",
    "sram_energy_j_per_byte": "digital",
    "static_power_w": "digital",
    "validate_chips": "validation",
    "summarise_chips": "validation",
    "worst_cases": "validation",
    "not_predicted": "validation",
    "summarise_classes": "validation",
    "interval": "intervals",
    "technology_class": "intervals",
    "validate_gpus": "validation_gpu",
    "validate_systems": "validation_system",
    "ConstantRange": "uncertainty",
    "technology_ranges": "uncertainty",
    "programming_ranges": "uncertainty",
    "memory_ranges": "uncertainty",
    "accelerator_ranges": "uncertainty",
    "perturbed": "uncertainty",
    "scaled": "uncertainty",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"hwmodels.{_HOME[name]}"), name)
    raise AttributeError(f"module 'hwmodels' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
