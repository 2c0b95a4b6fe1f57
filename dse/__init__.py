"""Design-space exploration of mixture-of-experts models on heterogeneous analog-digital hardware.

    from dse import explore
    run = explore("deepseekmoe", budget_area="200mm2")
    run.front()

Names load on first use, so that `import dse` costs nothing.
"""

import os
from importlib import import_module
from typing import Any

# Torch's threads wait for one another at every operation. By default they do so spinning, which on
# a busy machine takes the time that the others need: reading and multiplying OLMoE's experts beside
# a load of 8 once took three times as long. Read when torch is loaded; a user's own choice counts.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.2.0"
__all__ = ["Run", "explore", "load_run"]

_HOME = {"explore": "dse.explorer", "Run": "dse.runs.folder", "load_run": "dse.runs.folder"}


def __getattr__(name: str) -> Any:
    """Import the module that holds `name` when it is first asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'dse' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
