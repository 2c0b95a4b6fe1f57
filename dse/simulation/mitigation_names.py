"""Names of what may lessen the loss from noise, known without torch."""

from __future__ import annotations

from collections.abc import Sequence

from hwmodels.catalog import check_name

MITIGATIONS = ("router-recalibration", "expert-replacement")  # see dse.simulation.mitigation


def check_mitigation(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once; ValueError with the nearest for an unknown one."""
    for name in names:
        check_name("mitigation", name, MITIGATIONS)
    return tuple(dict.fromkeys(names))
