"""What is computed: model architectures, weight inventories, routing and the torch decoder.

Nothing here knows about hardware. Names load lazily, so that importing the package
loads neither torch nor pandas.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "MoEArchitecture": "architecture",
    "from_config": "architecture",
    "load_model": "architecture",
    "model_names": "architecture",
    "inventory": "inventory",
    "Routing": "routing",
    "load_miniature": "checkpoint",
    "benchmarks": "tasks",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    """Import the module that holds `name` on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'workloads' has no attribute {name!r}")
    return getattr(import_module(f"workloads.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
