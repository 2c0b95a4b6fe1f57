"""Every name that a user meets is explained: parameters in columns.json and in the help."""

from command_line import invoke

from dse.metrics import METRICS
from dse.runs.columns import described_columns
from dse.search.space import default_space


def test_every_parameter_and_metric_is_described_once() -> None:
    entries = described_columns(default_space())
    names = [entry["column"] for entry in entries]
    assert len(names) == len(set(names))
    parameters = set(default_space().names) - {"tiles_share"}  # no column of the table
    assert parameters | {one.column for one in METRICS} <= set(names)
    assert all(entry["help"].endswith(".") and entry["name"] for entry in entries)
    energy = next(entry for entry in entries if entry["column"] == "energy_j_per_token")
    assert (energy["unit"], energy["direction"], energy["scale"]) == ("J/token", "lower", "log")


def test_the_help_names_all_that_fix_takes_and_what_is_required() -> None:
    told = " ".join(invoke("explore", "--help").stdout.split())
    fix = told.partition("--fix")[2].partition("--space")[0]
    assert [name for name in default_space().names if name not in fix] == []
    assert told.count("[required, but for --resume]") == 2
    assert "at least 1536" in told
