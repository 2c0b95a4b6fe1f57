"""One small search: what its folder holds, and what every command prints of it."""

import json
import shutil
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from command_line import COMMANDS, EXPLORE, QUICK, invoke, one_line

from dse.experiments.equal_cost import OTHERS
from dse.runs.folder import created, is_run, load_run, locked
from dse.simulation.calibration import calibrate


@pytest.fixture(scope="module")
def finished(small_run, tmp_path_factory) -> Path:
    """The small search, in a folder that tests may resume it in."""
    return Path(shutil.copytree(small_run, tmp_path_factory.mktemp("search") / "run"))


@pytest.fixture
def short_sweeps(monkeypatch) -> None:
    """What is swept is another test's business: few scores, few converter ranges."""
    monkeypatch.setattr("dse.experiments.equal_cost.OTHERS", OTHERS[:1])
    few = {"input_ranges": (3.0,), "output_ranges": (0.5, 1.0)}
    monkeypatch.setattr("dse.simulation.calibration.calibrate", partial(calibrate, **few))


def test_a_run_leaves_a_whole_folder(finished):
    run = load_run(finished)
    names = {path.name for path in finished.iterdir() if not path.name.startswith(".")}
    assert names == {"config.json", "study.journal", "candidates.parquet", "experts.parquet",
                     "layers.parquet", "progress.parquet", "tornado.parquet", "report.html",
                     "flips.parquet", "columns.json", "terminal.txt"}  # fmt: skip
    table = run.candidates
    assert table["trial"].is_unique
    assert set(table["state"]) <= {"complete", "ruled_out", "failed", "reference"}
    front = run.front()
    assert len(front) > 2
    assert (front["area_mm2"] <= 200 + 1e-6).all()
    assert front[["delta_loss_nats", "accuracy", "energy_j_per_token"]].notna().all(axis=None)
    assert front["accuracy_source"].str.contains("miniature").all()
    assert table.loc[table["state"] == "ruled_out", "reason"].notna().all()
    assert int(table["is_recommended"].sum()) == 1
    assert run.config["recommended_trial"] == int(
        table.loc[table["is_recommended"], "trial"].iloc[0]
    )
    references = table[table["state"] == "reference"]["reference_name"].tolist()
    assert references[0] == "all digital"
    assert references[-3:] == ["paper's rule", "all experts analog", "all analog"]


def test_breakdowns_add_up_to_their_totals(finished):
    table = load_run(finished).candidates
    for prefix, unit, total in (
        ("energy_component_", "_j_per_token", "energy_j_per_token"),
        ("energy_module_", "_j_per_token", "energy_j_per_token"),
        ("area_component_", "_mm2", "area_mm2"),
    ):
        parts = [c for c in table if c.startswith(prefix) and c.endswith(unit)]
        assert len(parts) > 2
        known = table[table[total].notna()]
        difference = (known[parts].sum(axis=1) - known[total]).abs()
        assert (difference <= 1e-9 * known[total]).all()
    # What does not fit has no energy; it is ruled out for that.
    unknown = table[table["energy_j_per_token"].isna()]
    assert unknown["reason"].str.contains("do not fit").all()


def test_the_expert_table_says_which_experts_are_digital(finished):
    run = load_run(finished)
    experts = run.table("experts")
    assert len(experts) == 27 * 64
    for name in (column for column in experts if column.startswith("rank_")):
        assert sorted(experts[name]) == list(range(len(experts)))
    assert experts["load"].sum() == pytest.approx(27 * 6)


def test_the_terminal_table_fits_and_names_its_sources(small_run):
    text = (small_run / "terminal.txt").read_text()
    assert max(len(line) for line in text.splitlines() if line.startswith(("|", "+"))) <= 100
    assert "*" in text
    assert "quantised" in text and "Rule: the least energy per token" in text
    assert "miniature deepseekmoe-mini" in text
    assert str(small_run / "report.html") in text.replace("\n", "")


# Every command as a user may call it; a new one that is neither here nor below fails the test.
CALLS: dict[str, list[str]] = {
    "models": [],
    "tile": [],
    "validate": ["--seed"],
    "scores": ["--model", "olmoe"],
    "show": ["RUN"],
    "best": ["RUN", "--weights", "energy_per_token=1"],
    "compare": ["RUN", "RUN"],
    "export": ["RUN"],
    "report": ["RUN"],
    "tornado": ["RUN"],
    "reproduce": ["table1", "--tokens", "1536", "--seeds", "2"],
    "calibrate": ["--model", "olmoe", "--tokens", "1536"],
    "sensitivity": ["--model", "olmoe", "--tokens", "2048", "--seeds", "2"],
    "placements": ["--model", "olmoe", "--tokens", "1536", "--seeds", "8", "--share", "0.5"],
}
# These need a server, a checkpoint or more time: their own tests read their JSON.
ELSEWHERE = {"explore", "worker", "storage-proxy", "study", "benchmark", "mitigate"}
IN_TEXT = ("models", "tile", "scores", "show", "best", "compare", "tornado")


def test_no_command_is_forgotten():
    assert {*CALLS, *ELSEWHERE} == set(COMMANDS)


def strict_json(text: str):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("command", CALLS)
def test_json_is_one_document_and_nothing_else(finished, short_sweeps, command):
    filled = [str(finished) if word == "RUN" else word for word in CALLS[command]]
    result = invoke(command, *filled, "--json")
    assert result.exit_code == 0, result.output
    strict_json(result.stdout)


@pytest.mark.parametrize("command", IN_TEXT)
def test_output_in_a_pipe_is_plain_text_of_100_columns(finished, command):
    """Only the path of a folder may be longer, for it must stay whole."""
    filled = [str(finished) if word == "RUN" else word for word in CALLS[command]]
    result = invoke(command, *filled)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if str(finished) not in line]
    assert max(map(len, lines), default=0) <= 100
    assert "\x1b" not in result.stdout


def test_a_run_compared_with_itself_is_a_tie(finished):
    result = json.loads(invoke("compare", finished, finished, "--json").stdout)
    first, second = result["runs"]
    assert first["hypervolume"] == second["hypervolume"] > 0
    assert first["designs_beaten_by_the_other"] == 0


def test_best_for_one_metric_is_the_least_of_the_front(finished):
    weights = "energy_per_token=1"
    result = json.loads(invoke("best", finished, "--weights", weights, "--json").stdout)
    least = load_run(finished).front()["energy_j_per_token"].min()
    assert result["designs"][0]["energy_j_per_token"] == pytest.approx(least)


def test_an_existing_run_or_folder_is_not_overwritten(finished, tmp_path):
    before = sorted((p.name, p.stat().st_mtime_ns) for p in finished.iterdir())
    one_line(invoke(*EXPLORE, *QUICK, "--output", finished), "--resume")
    assert sorted((p.name, p.stat().st_mtime_ns) for p in finished.iterdir()) == before
    (tmp_path / "notes.txt").write_text("mine")
    one_line(invoke(*EXPLORE, *QUICK, "--output", tmp_path), "not a run folder")
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_that_another_search_has_just_taken_is_left_to_it(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    config = {"settings": {}}
    with locked(folder):  # and killed before it wrote a config.json
        with pytest.raises(ValueError, match="another search"), created(folder, config):
            pass
        assert (folder / ".lock").exists()
    with created(folder, config):
        assert is_run(folder)


def test_resuming_a_finished_run_keeps_its_trials(finished):
    before = load_run(finished).table("progress")
    result = invoke("explore", "--resume", "--output", finished, "--json")
    assert result.exit_code == 0, result.output
    document = strict_json(result.stdout)
    assert len(document["front"]) == len(load_run(finished).front())
    assert load_run(finished).table("progress").equals(before)


@pytest.mark.parametrize(
    "option",
    [("--model", "olmoe"), ("--budget-area", "100mm2"), ("--seed", "7"), ("--concurrency", "8"),
     ("--fix", "tile_rows=512"), ("--budget-power", "15W"), ("--tokens", "4096")],
)  # fmt: skip
def test_a_resumed_run_keeps_its_question(finished, option):
    before = (finished / "config.json").read_bytes()
    resumed = invoke("explore", "--resume", "--output", finished, *option)
    one_line(resumed, "was started with another --")
    assert (finished / "config.json").read_bytes() == before


def test_a_run_of_another_version_is_one_line(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    table = pd.read_parquet(tmp_path / "run" / "candidates.parquet")
    table.drop(columns="top1").to_parquet(tmp_path / "run" / "candidates.parquet")
    for command in ("show", "best", "tornado"):
        one_line(invoke(command, tmp_path / "run"), "lacks the column top1", "resume")
    (tmp_path / "run" / "study.journal").write_text('{"a": 1}\n')
    resumed = invoke("explore", "--resume", "--output", tmp_path / "run")
    one_line(resumed, "study.journal is not the journal of a search")


@pytest.mark.parametrize("place", ["nowhere/table.csv", "."])
def test_a_file_that_cannot_be_written_is_one_line(finished, empty, place):
    one_line(invoke("export", finished, "--csv", "--output", place), f"cannot write {place}")
    one_line(invoke("reproduce", "fig3", "--output", place), f"cannot write {place}")
    assert list(empty.iterdir()) == []
