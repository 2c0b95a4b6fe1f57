"""The command line: every bad input is one line and exit code 2, good input one whole run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
from command_line import invoke, one_line
from typer.main import get_command
from typer.testing import CliRunner

from dse.cli import app
from dse.run import created, is_run, load_run, locked
from dse.settings import Settings

QUICK = ["--tokens", "1536", "--trials", "2"]
EXPLORE = ["explore", "--model", "deepseekmoe", "--budget-area", "200mm2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """One small search, run once for all tests that look at a run."""
    folder = tmp_path_factory.mktemp("search") / "run"
    result = invoke(*EXPLORE, *QUICK, "--output", folder)
    assert result.exit_code == 0, result.output
    (folder / "terminal.txt").write_text(result.stdout)
    return folder


@pytest.fixture
def empty(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("model", "budget", "words"),
    [
        ("deepseekmo", "200mm2", ["deepseekmoe"]),
        ("deepseekmoe", "200", ["200mm2"]),
        ("deepseekmoe", "200 mm", ["mm2", "cm2"]),
        ("deepseekmoe", "-5mm2", ["greater than zero"]),
        ("deepseekmoe", "1e99mm2", ["300 mm wafer"]),
        ("deepseekmoe", "", ["--budget-area"]),
        ("missing/config.json", "200mm2", ["missing/config.json"]),
    ],
)
def test_bad_models_and_budgets(empty, model, budget, words):
    one_line(invoke("explore", "--model", model, f"--budget-area={budget}"), *words)
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fix", "tile_row=512"], ["tile_rows"]),
        (["--fix", "adc_bits=99"], ["adc_bits=99", "2 to 14"]),
        (["--fix", "technology=pcm-14"], ["pcm-14nm"]),
        (["--fix", "tile_rows"], ["name=value"]),
        (["--constraint", "latency=5ms"], ["latency_per_token<=5ms"]),
        (["--constraint", "latencies<=5ms"], ["nearest is"]),
        (["--constraint", "latency_per_token<=5mm2"], ["no unit of time"]),
        (["--objective", "speed"], ["throughput"]),
        (["--min-accuracy", "55"], ["from 0 to 1"]),
        (["--budget-power", "15"], ["15W"]),
        (["--batch", "0"], ["batch is 0"]),
        (["--mode", "train"], ["decode, prefill"]),
        (["--sampler", "cmaes"], ["screening"]),
        (["--seed", "-1"], ["seed is -1"]),
        (["--jobs", "0"], ["jobs is 0"]),
        (["--timeout", "90"], ["has no unit: write 90"]),
        (["--trials", "some"], ["--trials"]),
        (["--space", "nowhere.toml"], ["nowhere.toml"]),
        (["--resume"], ["--output RUN"]),
        (["--batch", "1000000000000"], ["at most 1,000,000"]),
        (["--jobs", "100000"], ["from 1 to 256"]),
        (["--sampler", "screning"], ["nearest is screening"]),
        (["--constraint", "accuracy>=2"], ["a share from 0 to 1"]),
        (["--constraint", "throughput>=-5"], ["greater than zero"]),
        (["--fix", "technology=pcm-14nm", "tiers=8"], ["tiers=8", "pcm-14nm 1"]),
        (["--study", "mine"], ["--storage"]),
        (["--max-memory", "8GiB"], ["--checkpoint"]),
        (["--checkpoint-tokens", "512"], ["--checkpoint"]),
    ],
)
def test_bad_options(empty, options, words):
    one_line(invoke(*EXPLORE, *options), *words)
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ["config.json"]),
        ("[1, 2]", ["config.json"]),
        ('{"model_type": "resnet"}', ["resnet"]),
        ("\x00\x01", ["config.json"]),
    ],
)
def test_unreadable_or_foreign_config(empty, content, words):
    path = empty / "config.json"
    path.write_text(content)
    one_line(invoke("explore", "--model", path, "--budget-area", "200mm2"), *words)
    assert list(empty.iterdir()) == [path]


def test_a_budget_too_small_names_the_smallest_that_works(empty):
    result = invoke("explore", "--model", "deepseekmoe", "--budget-area", "3mm2", *QUICK)
    one_line(result, "nothing fits in 3 mm2", "smallest budget that works")
    assert list(empty.iterdir()) == []
    smallest = result.stderr.split("here is ")[1].split(" mm2")[0]
    works = invoke("explore", "--model", "deepseekmoe", "--budget-area", f"{smallest}mm2", *QUICK)
    assert works.exit_code == 0, works.output


def test_a_space_file_limits_the_search(empty):
    space = empty / "space.toml"
    space.write_text('technology = "pcm-3d"\nadc_bits = { minimum = 6, maximum = 8 }\n')
    result = invoke(*EXPLORE, *QUICK, "--space", space, "--fix", "tile_rows=512,1024", "--json")
    assert result.exit_code == 0, result.output
    designs = json.loads(result.stdout)["front"]
    with_tiles = [design for design in designs if design["tile_rows"] is not None]
    assert with_tiles
    assert {design["technology"] for design in with_tiles} == {"pcm-3d"}
    assert {design["tile_rows"] for design in with_tiles} <= {512, 1024}
    assert {design["adc_bits"] for design in with_tiles} <= {6, 7, 8}
    space.write_text("adc_bit = 6\n")
    one_line(invoke(*EXPLORE, "--space", space), "adc_bits")


def test_a_run_leaves_a_whole_folder(finished):
    run = load_run(finished)
    names = {path.name for path in finished.iterdir() if not path.name.startswith(".")}
    assert names == {"config.json", "study.journal", "candidates.parquet", "experts.parquet",
                     "layers.parquet", "progress.parquet", "tornado.parquet", "report.html",
                     "terminal.txt"}  # fmt: skip
    table = run.candidates
    assert table["trial"].is_unique
    assert set(table["state"]) <= {"complete", "ruled_out", "failed", "reference"}
    front = run.front()
    assert len(front) > 2
    assert (front["area_mm2"] <= 200 + 1e-6).all()
    assert front[["delta_loss_nats", "accuracy", "energy_j_per_token"]].notna().all(axis=None)
    assert front["accuracy_source"].str.contains("miniature").all()
    assert table.loc[table["state"] == "ruled_out", "reason"].notna().all()
    assert int(table["is_knee"].sum()) == 1
    assert run.config["recommended_trial"] == int(table.loc[table["is_knee"], "trial"].iloc[0])
    references = table[table["state"] == "reference"]["reference_name"].tolist()
    assert references == ["all digital", "all experts analog", "all analog"]


def test_breakdowns_add_up_to_their_totals(finished):
    table = load_run(finished).candidates
    for prefix, unit, total in (
        ("energy_component_", "_j_per_token", "energy_j_per_token"),
        ("energy_module_", "_j_per_token", "energy_j_per_token"),
        ("area_component_", "_mm2", "area_mm2"),
    ):
        parts = [c for c in table if c.startswith(prefix) and c.endswith(unit)]
        assert len(parts) > 2
        difference = (table[parts].sum(axis=1) - table[total]).abs()
        assert (difference <= 1e-9 * table[total]).all()


def test_the_expert_table_says_which_experts_are_digital(finished):
    run = load_run(finished)
    experts = run.table("experts")
    assert len(experts) == 27 * 64
    for name in (column for column in experts if column.startswith("rank_")):
        assert sorted(experts[name]) == list(range(len(experts)))
    assert experts["load"].sum() == pytest.approx(27 * 6)


def test_the_terminal_table_fits_and_names_its_sources(finished):
    text = (finished / "terminal.txt").read_text()
    assert max(len(line) for line in text.splitlines() if line.startswith(("|", "+"))) <= 100
    assert "*" in text
    assert "all digital" in text
    assert "miniature deepseekmoe-mini" in text
    assert str(finished / "report.html") in text.replace("\n", "")


COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
# Every command as a user may call it; a new one that is neither here nor below fails the test.
CALLS: dict[str, list[str]] = {
    "explore": ["--resume", "--output", "RUN"],
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
ELSEWHERE = {
    "worker": "test_workers.py",
    "storage-proxy": "test_workers.py",
    "benchmark": "test_benchmark.py",
    "mitigate": "test_mitigation.py",
}
IN_TEXT = ("models", "tile", "scores", "show", "best", "compare", "tornado")


def test_no_command_is_forgotten():
    assert {*CALLS, *ELSEWHERE} == set(COMMANDS)
    for command, file in ELSEWHERE.items():
        text = (Path(__file__).parent / file).read_text()
        assert f'"{command}"' in text and '"--json"' in text and "json.loads" in text


@pytest.mark.parametrize("command", CALLS)
def test_json_is_one_document_and_nothing_else(finished, command, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    filled = [str(finished) if word == "RUN" else word for word in CALLS[command]]
    result = invoke(command, *filled, "--json")
    assert result.exit_code == 0, result.output
    json.loads(result.stdout, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))


@pytest.mark.parametrize("command", IN_TEXT)
def test_output_in_a_pipe_is_plain_text_of_100_columns(finished, command):
    """Only the path of a folder may be longer, for it must stay whole."""
    filled = [str(finished) if word == "RUN" else word for word in CALLS[command]]
    result = invoke(command, *filled)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if str(finished) not in line]
    assert max(map(len, lines), default=0) <= 100
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_refuses_nonsense(empty, command):
    """What no option takes, whatever the command: no value, an empty one, a word for a number."""
    one_line(invoke(command, "--no-such-option"), "--no-such-option")
    for option in COMMANDS[command].params:
        name = option.opts[0]
        if not name.startswith("--") or getattr(option, "is_flag", False):
            continue
        one_line(invoke(command, name), name)
        one_line(invoke(command, name, ""), name, "empty")
        if option.type_descriptor.annotation in (int, float, int | None, float | None):
            one_line(invoke(command, name, "many"), name, "'many'")
    assert list(empty.iterdir()) == []


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


@pytest.mark.parametrize("command", ["show", "best", "report", "export"])
def test_a_folder_that_is_no_run(tmp_path, command):
    options = ["--csv"] if command == "export" else []
    one_line(invoke(command, tmp_path, *options), "is not a run folder")
    one_line(invoke(command, tmp_path / "nowhere", *options), "is not a run folder")


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
    result = invoke("explore", "--resume", "--output", finished)
    assert result.exit_code == 0, result.output
    assert load_run(finished).table("progress").equals(before)


@pytest.mark.parametrize(
    "option",
    [("--model", "olmoe"), ("--budget-area", "100mm2"), ("--seed", "7"), ("--batch", "8"),
     ("--fix", "tile_rows=512"), ("--budget-power", "15W"), ("--tokens", "4096")],
)  # fmt: skip
def test_a_resumed_run_keeps_its_question(finished, option):
    before = (finished / "config.json").read_bytes()
    resumed = invoke("explore", "--resume", "--output", finished, *option)
    one_line(resumed, "was started with another --")
    assert (finished / "config.json").read_bytes() == before


def test_the_defaults_shown_are_those_of_the_settings():
    defaults = {field.name: field.default for field in fields(Settings)}
    shown = {option.name: option.default for option in COMMANDS["explore"].params}
    assert f"[{defaults['trials']}]" in invoke("explore", "--help").stdout
    for name in ("batch", "context", "mode", "seed", "sampler", "tokens", "checkpoint_tokens"):
        assert shown[name] == defaults[name]


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


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    return begin(*EXPLORE, "--output", str(folder), *options)


def begin(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    def heed_interrupts() -> None:
        # A shell's background job ignores them, and so would its children.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        [sys.executable, "-m", "dse", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, **environment}, preexec_fn=heed_interrupts,
    )  # fmt: skip


def finished_trials(folder: Path) -> int:
    """Complete (1) and ruled out (2) trials; a failed one (3) may be one that was queued again."""
    journal = folder / "study.journal"
    content = journal.read_bytes() if journal.exists() else b""
    return content.count(b'"state":1,') + content.count(b'"state":2,')


def wait_for_trials(process: subprocess.Popen[bytes], folder: Path, count: int) -> None:
    deadline = time.monotonic() + 240
    while finished_trials(folder) < count and process.poll() is None:
        assert time.monotonic() < deadline, "the search did not come to its trials in time"
        time.sleep(0.05)


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_a_blow_loses_no_finished_trial(tmp_path, blow):
    folder = tmp_path / "run"
    process = start(folder, "--trials", "40", "--tokens", "1536")
    wait_for_trials(process, folder, 2)
    one_line(invoke(*EXPLORE, "--output", folder, "--resume"), "another search")
    process.send_signal(blow)
    output, errors = process.communicate(timeout=240)
    kept = finished_trials(folder)
    assert kept >= 2
    if blow == signal.SIGINT:
        assert process.returncode == 0, errors
        assert (folder / "report.html").exists()
        assert b"--resume" in output
    result = invoke("explore", "--resume", "--output", folder, "--trials", kept + 1)
    assert result.exit_code == 0, result.output
    assert finished_trials(folder) == kept + 1
    progress = load_run(folder).table("progress")
    assert len(progress) == kept + 1
    assert progress["hypervolume"].is_monotonic_increasing


def test_a_figure_of_the_paper_is_stopped_in_one_line_and_goes_on(tmp_path):
    figure = ("reproduce", "fig3", "--seeds", "2", "--tokens", "1536")
    process = begin(*figure, XDG_CACHE_HOME=str(tmp_path))
    deadline = time.monotonic() + 240

    def finished() -> list[str]:
        return [line for file in tmp_path.rglob("*.jsonl") for line in file.open()]

    while not finished() and process.poll() is None:
        assert time.monotonic() < deadline, "the first simulation did not come in time"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 130 and output == b""
    *progress, last = errors.decode().strip().splitlines()
    assert last.startswith("dse: interrupted; finished simulations are kept")
    assert all(" done" in line for line in progress)
    kept = finished()
    assert 0 < len(kept) < 9
    process = begin(*figure, "--json", XDG_CACHE_HOME=str(tmp_path))
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    rows = json.loads(output)["fig3"]
    # One simulation a row, those of the stopped run among them.
    assert finished()[: len(kept)] == kept and len(finished()) == len(rows)


def test_help_loads_nothing_heavy():
    code = (
        "import sys, dse.cli; "
        "print([name for name in ('torch', 'plotly', 'pandas', 'optuna') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_two_processes_share_one_study(tmp_path):
    folder = tmp_path / "run"
    result = invoke(*EXPLORE, "--tokens", 1536, "--trials", 5, "--jobs", 2, "--output", folder)
    assert result.exit_code == 0, result.output
    assert finished_trials(folder) == 5
    run = load_run(folder)
    assert run.config["counts"]["trials"] == 5
    lines = (folder / "study.journal").read_text().splitlines()
    simulated = [
        json.loads(line)["user_attr"]["simulation"] for line in lines if '"simulation"' in line
    ]
    assert len(simulated) >= run.config["counts"]["simulations"]


def test_a_full_disk_is_one_line_and_leaves_no_half_written_file(tmp_path):
    """A limit on the size of files stands in for a full disk: writing beyond it fails the same."""
    folder = tmp_path / "run"
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000)); "
        "from dse.cli import main; main()"
    )
    command = [sys.executable, "-c", code, *EXPLORE, *QUICK, "--output", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    errors = [line for line in result.stderr.splitlines() if not line.startswith("trial ")]
    assert len(errors) == 1, result.stderr
    assert errors[0].startswith("dse: cannot write")
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names <= {"config.json", "study.journal"}
    again = invoke("explore", "--resume", "--output", folder)
    assert again.exit_code == 0, again.output
    assert load_run(folder).report.exists()


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/mounts").exists(), reason="no mounts")
def test_a_read_only_place_is_one_line(tmp_path):
    one_line(invoke(*EXPLORE, *QUICK, "--output", "/proc/run"), "cannot write /proc/run")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("dse explore --model deepseek", {"deepseekmoe", "deepseek-v2-lite"}),
        ("dse sensitivity --model olm", {"olmoe"}),
        ("dse tile --technology pcm", {"pcm-14nm", "pcm-3d"}),
        ("dse explore --fix technology=rram-2", {"technology=rram-22nm"}),
        ("dse til", {"tile"}),
        ("dse explore --sampler tp", {"tpe", "tpe-multivariate"}),
        ("dse explore --mode pre", {"prefill"}),
        ("dse explore --objective accuracy --objective ener", {"energy_per_token"}),
        ("dse explore --constraint lat", {"latency_per_token"}),
        ("dse explore --mitigation exp", {"expert-replacement"}),
        ("dse explore --fix t", {"technology=", "tile_rows="}),
        ("dse explore --fix adc_bits=8 placement_sc", {"placement_scope=", "placement_score="}),
        ("dse explore --fix adc_bits=8 hbm", {"hbm_stacks=1", "hbm_stacks=8"}),
        ("dse explore --fix technology = pcm", {"pcm-14nm", "pcm-3d"}),  # as bash splits words
        ("dse sensitivity --noise-model her", {"hermes", "hermes-1device"}),
        ("dse mitigate --score max", {"max_neuron_norm"}),
        ("dse reproduce fig", {"fig3", "fig6"}),
        ("dse best run --weights thr", {"throughput"}),
    ],
)
def test_the_shell_completes_names(monkeypatch, words, offered) -> None:
    monkeypatch.setenv("_DSE_COMPLETE", "complete_zsh")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", words)
    result = CliRunner().invoke(app, [], prog_name="dse")
    assert all(name in result.stdout for name in offered), result.output
    assert "mixtral" not in result.stdout
