"""Figures and the HTML report of a finished run; reads the run folder, never runs anything."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports import figures
    from reports.html import write_report
    from reports.run_folder import Run, read_run

__all__ = ["Run", "figures", "read_run", "write_report"]

_HOME = {
    "Run": "reports.run_folder",
    "read_run": "reports.run_folder",
    "write_report": "reports.html",
}


def __getattr__(name: str) -> Any:
    """Load plotly and pandas only when something of this package is used."""
    if name == "figures":
        return import_module("reports.figures")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'reports' has no attribute {name!r}")
