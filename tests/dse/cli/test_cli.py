"""The command line without a run: every bad input is one line and exit code 2."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from command_line import COMMANDS, EXPLORE, QUICK, invoke, one_line
from typer.testing import CliRunner

from dse.cli.app import app
from dse.search.settings import Settings
from dse.search.space import default_space


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
        (["--concurrency", "0"], ["concurrency is 0"]),
        (["--cooling", "water"], ["air, cold-plate, none"]),
        (["--prompt", "100"], ["prompt without output_tokens"]),
        (["--objective", "time_to_first_token"], ["--prompt"]),
        (["--fix", "memory=hbm4"], ["nearest is hbm3"]),
        (["--fix", "digital_weight_bits=5"], ["4, 8, 16", "nearest is 4"]),
        (["--sampler", "cmaes"], ["screening"]),
        (["--seed", "-1"], ["seed is -1"]),
        (["--jobs", "0"], ["jobs is 0"]),
        (["--timeout", "90"], ["has no unit: write 90"]),
        (["--trials", "some"], ["--trials"]),
        (["--space", "nowhere.toml"], ["nowhere.toml"]),
        (["--resume"], ["--output RUN"]),
        (["--concurrency", "1000000000000"], ["at most 1,000,000"]),
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


def test_a_space_file_with_an_unknown_key_is_one_line(empty):
    space = empty / "space.toml"
    space.write_text("adc_bit = 6\n")
    one_line(invoke(*EXPLORE, "--space", space), "adc_bits")


def test_no_command_is_a_question_for_help():
    bare, asked = invoke(), invoke("--help")
    assert bare.exit_code == 0 and bare.stdout == asked.stdout
    assert len(bare.stdout.splitlines()) > len(COMMANDS)


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


@pytest.mark.parametrize("command", ["show", "best", "report", "export"])
def test_a_folder_that_is_no_run(tmp_path, command):
    options = ["--csv"] if command == "export" else []
    one_line(invoke(command, tmp_path, *options), "is not a run folder")
    one_line(invoke(command, tmp_path / "nowhere", *options), "is not a run folder")


def test_the_help_of_fix_lists_every_parameter():
    options = {option.name: option.help for option in COMMANDS["explore"].params}
    listed = options["fix"].split("Names: ")[1].removesuffix(".").split(", ")
    assert listed == list(default_space().names)


def test_the_defaults_shown_are_those_of_the_settings():
    defaults = {field.name: field.default for field in fields(Settings)}
    shown = {option.name: option.default for option in COMMANDS["explore"].params}
    assert f"[default: {defaults['trials']}]" in invoke("explore", "--help").stdout
    for name in (
        "concurrency",
        "context",
        "cooling",
        "seed",
        "sampler",
        "tokens",
        "checkpoint_tokens",
    ):
        assert shown[name] == defaults[name]


def test_help_and_completion_load_nothing_heavy():
    code = (
        "import sys, dse.cli.app; from dse.cli.commands import complete as offered; "
        "assert offered.noise_models('') and offered.figures('') and offered.metrics(''); "
        "print([name for name in ('torch', 'plotly', 'pandas', 'optuna') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


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
        ("dse explore --cooling c", {"cold-plate"}),
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
