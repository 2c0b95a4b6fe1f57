"""The effects of uncertain constants on the designs of a finished run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.cost.recorded import (
    run_model,
)
from dse.cost.uncertainty import Effects, effects
from dse.cost.workload import Traffic
from hwmodels.catalog import nearest

if TYPE_CHECKING:
    import pandas as pd

    from dse.runs.folder import Run


def read_run(run: Run) -> tuple[pd.DataFrame, Effects]:
    """A finished run's candidates, and the effects of the constants on each of them."""
    from workloads.architecture import load_architecture

    settings, traffic = run.config["settings"], run.config["traffic"]
    architecture = load_architecture(settings["model"])
    model = run_model(
        architecture,
        Traffic(**{k: v for k, v in traffic.items() if v is not None}),
        run.table("experts"),
    )
    table = run.candidates
    return table, effects(model, table)


def position(table: pd.DataFrame, design: str | int | None) -> int:
    """Row of a design, by its name or trial, in a table of candidates; the recommended without one.

    Raises:
        ValueError: no such design (with the nearest), or nothing is recommended.
    """
    if design is None:
        marked = np.flatnonzero(table["is_recommended"].fillna(False).to_numpy(dtype=bool))
        if not len(marked):
            raise ValueError("this run recommends no design: choose one with --trial")
        return int(marked[0])
    text = str(design)
    if not text.removeprefix("-").isdigit():
        named = np.flatnonzero(table["design"].to_numpy(dtype=str) == text)
        if not len(named):
            raise ValueError(f"no design {text!r} in this run{nearest(text, table['design'])}")
        return int(named[0])
    trials = table["trial"].to_numpy(dtype=int)
    found = np.flatnonzero(trials == int(text))
    if not len(found):
        if not len(trials):
            raise ValueError(f"no trial {text}: the run holds no design")
        near = trials[np.abs(trials - int(text)).argmin()]
        raise ValueError(f"no trial {text} in this run; nearest is {near}")
    return int(found[0])
