"""The digital constants against dies and boards that nothing was fitted to."""

import pandas as pd
import pytest

from hwmodels.validation_digital import die_area_mm2, validate_digital
from hwmodels.validation_gpu import UNSEEN, summarise_gpus, validate_gpus
from workloads.decoders import step_reads


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return validate_digital(step_reads)


@pytest.mark.parametrize(
    ("quantity", "rows", "median", "worst"),
    [
        ("die (mm2)", 5, 0.20, 0.35),
        ("idle (W)", 5, 0.28, 0.35),
        ("full load (W)", 7, 0.15, 0.47),
        ("J/token", 5, 0.12, 0.15),
    ],
)
def test_machines(
    table: pd.DataFrame, quantity: str, rows: int, median: float, worst: float
) -> None:
    """As reached: 19 and 34 % in area, 26 and 33 % at rest, 12 and 46 % at full load, 11 and 14 %
    in J/token before anything is fitted to it.
    """
    errors = table[table["quantity"].str.startswith(quantity)]["error"].abs()
    assert len(errors) == rows
    assert errors.median() <= median and errors.max() <= worst


def test_operations_beside_measured_data_paths(table: pd.DataFrame) -> None:
    """An A100's tensor cores take 0.66 pJ and its memory 4.6 pJ/bit, less control (SC 2025)."""
    found = table.set_index("quantity")["predicted"]
    assert found["MAC, data path (pJ)"] == pytest.approx(0.66, rel=0.2)
    assert found["memory, data path (pJ/bit)"] == pytest.approx(4.64, rel=0.35)


def test_die_by_hand() -> None:
    """Two 128 x 128 units of 14 mm2 with their vector units, 64 MiB of 56 mm2, one HBM2e stack."""
    row = {
        "node_nm": "7",
        "matrix_macs": str(2 * 128**2),
        "vector_lanes": "0",
        "core_sram_MiB": "0",
        "cache_MiB": "0",
        "scratchpad_MiB": "64",
        "memory": "hbm2e",
        "interfaces": "1",
    }
    assert die_area_mm2(row) == pytest.approx(1.2 * (1.5 * 28 + 56 + 9.67 + 5.3))


def test_gpu_runs_never_fitted() -> None:
    """Other models and tasks of the leaderboard on one GPU: 8 and 15 % where it is busy."""
    unseen = validate_gpus(step_reads, UNSEEN)
    assert not unseen["in_fit"].any()
    table = summarise_gpus(validate_gpus(step_reads), unseen)
    found = table.set_index(["prediction", "runs", "quantity"])
    busy = found.loc["never fitted", "busy"]
    assert busy.loc["step_time_s", "rows"] >= 80
    assert busy.loc["step_time_s", "median_absolute_error"] <= 0.09
    assert busy.loc["energy_j_per_token", "median_absolute_error"] <= 0.17
    assert (busy["within_30_percent"] >= 0.84).all()
    everything = found.loc["left out", "all"]
    assert everything.loc["step_time_s", "median_absolute_error"] <= 0.08
    assert (everything["within_30_percent"] >= 0.90).all()
