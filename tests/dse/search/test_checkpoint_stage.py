"""A search with a checkpoint: on miniatures written out as checkpoints, and on random weights."""

import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import spearmanr
from typer.testing import CliRunner

from dse.checkpoints.fingerprint import results_folder
from dse.checkpoints.model import RealModel
from dse.checkpoints.simulator import CheckpointSimulator, Placement
from dse.cli.app import app
from dse.kept import keep_result, read_results
from dse.placement.scores import expert_scores
from dse.runs.folder import load_run
from dse.search import checkpoint_stage as checkpoint_search
from dse.search.checkpoint_stage import Effort, Stage, placement_of, run_stage, spread, wanted_codes
from dse.search.costing import cost
from dse.search.settings import Settings
from dse.search.setup import make_problem
from dse.search.simulating import simulate
from dse.search.simulation_key import CLEAN
from dse.simulation.result import Simulated
from dse.simulation.simulator import Noise
from dse.simulation.statistics import rank_correlation
from workloads.checkpoint import FOLDER, load_miniature
from workloads.checkpoint_export import write_checkpoint, write_random
from workloads.checkpoint_folder import open_checkpoint

RECORDED = Path(__file__).parents[2] / "workloads" / "reference_logits"
SMALL = ["--tokens", "1536", "--checkpoint-tokens", "512", "--trials", "4",
         "--fix", "analog_modules=none", "--budget-area", "200mm2"]  # fmt: skip


def invoke(*arguments: object):
    return CliRunner().invoke(app, ["explore", *map(str, arguments)])


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory) -> Path:
    """A cache folder of the tests' own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "olmoe"
    write_checkpoint(load_miniature("olmoe-mini"), folder)
    return folder


@pytest.fixture(scope="module")
def problem(checkpoint):
    settings = Settings(
        str(checkpoint), 200.0, checkpoint=str(checkpoint), tokens=1536, checkpoint_tokens=512
    )
    return make_problem(settings)


@pytest.fixture(scope="module")
def finished(checkpoint, tmp_path_factory) -> Path:
    """One small search with a checkpoint, for all tests that look at its run."""
    folder = tmp_path_factory.mktemp("search") / "run"
    result = invoke(*SMALL, "--checkpoint", checkpoint, "--output", folder)
    assert result.exit_code == 0, result.output
    (folder / "terminal.txt").write_text(result.stdout)
    return folder


def one_line(result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


def test_orders_are_those_of_the_real_experts(problem):
    miniature = load_miniature("olmoe-mini")
    for score in ("max_neuron_norm", "router_norm"):
        own = expert_scores(score, miniature.weights, problem.routing)
        np.testing.assert_allclose(problem.scores[score], own, rtol=1e-5)
    np.testing.assert_allclose(problem.routing.probability.sum(1), 8, rtol=1e-9)
    assert problem.routing.source.startswith("traced on 512 tokens of checkpoint ")


def test_a_miniature_and_its_checkpoint_rank_placements_alike(problem):
    """The same weights, cut into the same row blocks: only text and noise draws differ."""
    names = list(problem.space.names)
    generator = np.random.default_rng(0)
    designs = problem.space.random(4000, generator)
    for name, value in (("tile_rows", 128), ("analog_modules", "none"), ("dac_bits", 8)):
        if value in problem.space[name].choices:
            designs[:, names.index(name)] = problem.space[name].choices.index(value)
    codes = np.unique(cost(problem, designs).codes)
    codes = codes[codes != CLEAN]
    keys = [problem.keys.key(int(code)) for code in codes]
    wanted = []
    for bits, share in itertools.product((4, 5, 6, 8), (0.1, 0.9)):
        far = [abs(k.adc_bits - bits) + abs(k.digital / 256 - share) for k in keys]
        wanted.append(int(codes[int(np.argmin(far))]))
    wanted = list(dict.fromkeys(wanted))
    cheap = {code: simulate(problem, code) for code in wanted}
    stage = run_stage(problem, problem.real, wanted, Effort())
    assert stage.codes == sorted(wanted)
    correlation = stage.correlation(cheap)
    assert correlation.points == len(wanted) >= 6
    assert correlation.spearman > 0.9
    assert correlation.p_value < 0.01
    again = run_stage(problem, problem.real, wanted, Effort())
    assert (again.simulated, again.reused) == (0, len(wanted))
    assert again.results == stage.results


def test_the_front_is_the_checkpoint_s_and_every_accuracy_says_its_source(finished):
    run = load_run(finished)
    table, told = run.candidates, run.config["checkpoint"]
    front = run.front()
    assert len(front)
    assert front["accuracy_source"].str.startswith("checkpoint ").all()
    assert front["accuracy"].isna().all()  # text has no tasks
    candidates = table[table["state"] == "candidate"]
    assert candidates["accuracy_source"].str.startswith("miniature ").all()
    assert not candidates["on_front"].any()
    assert told["placements_simulated"] == len(run.table("checkpoint")) > 2
    both = run.table("checkpoint").dropna()
    if told["rank_correlation"]["spearman"] is not None:
        losses = (both["miniature_delta_loss_nats"], both["checkpoint_delta_loss_nats"])
        assert told["rank_correlation"]["spearman"] == pytest.approx(spearmanr(*losses)[0])
    assert run.config["counts"]["checkpoint_simulations"] == told["placements_simulated"]
    assert "Accuracy is of the checkpoint" in (finished / "terminal.txt").read_text()
    assert "Miniature against checkpoint" in run.report.read_text()


def test_a_resumed_run_simulates_nothing_again(finished, tmp_path, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise AssertionError("simulated again")

    monkeypatch.setattr(CheckpointSimulator, "evaluate_all", refuse)
    one_line(invoke("--resume", "--output", finished, "--checkpoint", tmp_path), "--checkpoint")
    resumed = invoke("--resume", "--output", finished, "--json")
    assert resumed.exit_code == 0, resumed.output
    told = json.loads(resumed.stdout)["checkpoint"]
    assert told == load_run(finished).config["checkpoint"] and told["placements_simulated"] > 0


RANDOM = {"model_type": "olmoe", "num_hidden_layers": 2, "hidden_size": 128,
          "intermediate_size": 64, "num_attention_heads": 4, "num_experts": 32,
          "num_experts_per_tok": 4, "vocab_size": 2048}  # fmt: skip


def test_a_search_killed_on_random_weights_goes_on_where_it_was(tmp_path, monkeypatch):
    """kill -9 between two passes over the checkpoint: nothing is lost, nothing done twice."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, run = tmp_path / "random", tmp_path / "run"
    write_random(RANDOM, folder, shard_bytes=1 << 20)
    assert len(list(folder.glob("model-0000?-of-00005.safetensors"))) == 5
    command = [sys.executable, "-m", "dse", "explore", *SMALL, "--trials", "12",
               "--checkpoint", str(folder), "--output", str(run)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    results = tmp_path / "cache/dse/checkpoints"
    while process.poll() is None and not any(results.glob("*/simulations.jsonl")):
        time.sleep(0.01)
    while process.poll() is None:  # the clean model is the first line
        (file,) = results.glob("*/simulations.jsonl")
        if file.read_bytes().count(b"\n") > 1:
            break
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    before = file.read_text()
    kept = read_results(file.parent)
    resumed = invoke("--resume", "--output", run, "--json")
    assert resumed.exit_code == 0, resumed.output
    told = json.loads(resumed.stdout)["checkpoint"]
    assert told["reused"] == len(kept) - 1 > 0
    assert told["newly_simulated"] == told["placements_wanted"] - told["reused"] > 0
    lines = file.read_text()
    assert lines.startswith(before[: before.rfind("\n") + 1])
    keys = [json.loads(line)["key"] for line in lines.splitlines() if line.endswith("}")]
    assert len(keys) == len(set(keys)) == told["placements_wanted"] + 1
    assert told["rank_correlation"]["points"] == len(load_run(run).table("checkpoint").dropna())
    assert "Miniature against checkpoint" in load_run(run).report.read_text()


def test_a_mitigation_on_a_checkpoint_is_told_with_its_error(checkpoint):
    options = ["--checkpoint", checkpoint, "--tokens", "1024", "--seeds", "2", "--magnitude", "4"]
    result = CliRunner().invoke(app, ["mitigate", *map(str, options), "--json"])
    assert result.exit_code == 0, result.output
    none, *others = json.loads(result.stdout)["mitigation"]
    assert none["loss_change_nats"] is None
    assert [row["mitigation"] for row in others] == [
        "router-recalibration", "expert-replacement", "both"
    ]  # fmt: skip
    for row in others:
        change = row["delta_loss_nats"] - none["delta_loss_nats"]
        assert row["loss_change_nats"] == pytest.approx(change, rel=0.3, abs=2e-3)
        assert 0 < row["loss_change_nats_stderr"] < row["delta_loss_stderr"]


def test_a_mitigated_placement_is_another_simulation(checkpoint):
    digital = np.ones((4, 64), dtype=bool)
    keys = {
        RealModel(checkpoint, 512, 2, mitigation=names).key(Placement(Noise(), digital))
        for names in ((), ("router-recalibration",), ("expert-replacement",))
    }
    assert len(keys) == 3


def fake_stage(
    problem, seconds_a_layer, limit, monkeypatch, interrupt_at=99, first=1.0, reading=0.0
):
    """The stage on a simulator whose four layers take a known time of a made-up clock.

    first: what the first layer takes of the others' time. reading: seconds of the clean passes.
    """
    clock, passes = [0.0], []

    def evaluate_all(placements, progress):
        passes.append(len(placements))
        if len(passes) == interrupt_at:
            raise KeyboardInterrupt
        for layer in range(4):
            clock[0] += seconds_a_layer * len(placements) * (1.0 if layer else first)
            progress(layer + 1, 4)
        return [result] * len(placements)

    result = SimpleNamespace(delta_loss=0.1, delta_loss_stderr=0.01, top1=0.3, top1_stderr=0.01,
                             source="made up", seconds=1.0)  # fmt: skip
    simulator = SimpleNamespace(plan=SimpleNamespace(placements=4), evaluate_all=evaluate_all,
                                clean=lambda: result, programmable=lambda one: True)  # fmt: skip
    kept: dict[str, dict] = {}
    monkeypatch.setattr(checkpoint_search.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(checkpoint_search, "read_results", lambda folder: dict(kept))
    monkeypatch.setattr(
        checkpoint_search, "keep_result", lambda folder, key, one: kept.update({key: one})
    )

    def read(layers):
        clock[0] += reading
        return simulator

    monkeypatch.setattr(problem.real, "simulator", read)
    designs = problem.space.random(2000, np.random.default_rng(3))
    codes = [c for c in np.unique(cost(problem, designs).codes).tolist() if c != CLEAN][:10]
    return run_stage(problem, problem.real, codes, Effort(limit)), passes, kept, clock[0]


@pytest.mark.parametrize("first", [1.0, 0.0])
@pytest.mark.parametrize("limit", [10.0, 23.0, 35.0, 100.0])
def test_passes_end_within_their_time(problem, limit, first, monkeypatch):
    stage, passes, kept, taken = fake_stage(problem, 1.0, limit, monkeypatch, first=first)
    each = 3.0 + first
    assert taken <= limit
    assert stage.simulated == len(stage.codes) == len(kept) - 1
    assert stage.simulated == min(10, int(limit / each))  # no time is lost before the last pass
    assert stage.outcome == ("finished" if stage.simulated == 10 else "timeout")
    assert sum(passes) - stage.simulated <= 1  # given up: at most one, of one placement


@pytest.mark.parametrize(("first", "taken"), [(1.0, 100.0), (0.0, 100.0), (0.1, 110.0)])
def test_a_time_too_short_for_one_placement_is_said_early(problem, first, taken, monkeypatch):
    """After the first layer with experts of one placement."""
    stage, passes, _, clock = fake_stage(problem, 100.0, 60.0, monkeypatch, first=first)
    assert not stage.codes
    about = (300 + 100 * first) / 60
    assert stage.outcome == (
        f"one placement takes about {about:.2g} min, more than --checkpoint-time leaves"
    )
    assert passes == [1]
    assert clock == pytest.approx(taken)


def test_a_time_that_reading_takes_is_said(problem, monkeypatch):
    stage, passes, _, _ = fake_stage(problem, 1.0, 60.0, monkeypatch, reading=70.0)
    assert (stage.outcome, passes) == ("reading it took all of --checkpoint-time", [])


def test_an_interrupt_keeps_what_was_simulated(problem, monkeypatch):
    stage, passes, kept, _ = fake_stage(problem, 1.0, 1e6, monkeypatch, interrupt_at=2)
    assert (stage.outcome, stage.simulated, passes) == ("interrupted", 1, [1, 4])
    assert len(kept) == 2  # the clean model too


def test_choice_of_placements_spreads_over_the_loss():
    losses = [0.01, 0.0101, 0.011, 0.1, 0.1001, 1.0]
    cheap = {code: Simulated(delta_loss_nats=loss) for code, loss in enumerate(losses)}
    order = spread([0, 1, 2, 3, 4, 5], cheap)
    assert order[:3] == [0, 5, 3]
    assert sorted(order) == [0, 1, 2, 3, 4, 5]
    cheap |= {CLEAN: Simulated(delta_loss_nats=0.0), 6: Simulated(failed="not finite")}
    assert set(wanted_codes([3], cheap)) == {0, 1, 2, 3, 4, 5}
    assert wanted_codes([3], cheap)[0] == 3


def test_full_size_placements_hold_at_least_the_analog_share(problem):
    designs = problem.space.random(300, np.random.default_rng(1))
    for code in np.unique(cost(problem, designs).codes).tolist():
        if code != CLEAN:
            analog = 1 - problem.keys.key(code).digital / np.prod(problem.miniature_shape)
            assert (~placement_of(problem, code).digital).mean() >= analog - 1e-12


def test_rank_correlation_against_scipy_and_brute_force():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 6))
    none = np.zeros(6)
    found = rank_correlation(x, y, none, none)
    assert found.spearman == pytest.approx(spearmanr(x, y)[0])
    all_orders = [spearmanr(x, y[list(order)])[0] for order in itertools.permutations(range(6))]
    assert found.p_value == pytest.approx(np.mean(np.array(all_orders) >= found.spearman - 1e-9))
    long = np.arange(40.0)
    sure = rank_correlation(long, long, np.full(40, 0.1), np.full(40, 0.1))
    assert sure.spearman == 1
    assert sure.low > 0.98
    assert np.isnan(rank_correlation(x[:3], y[:3], none[:3], none[:3]).spearman)


def test_a_line_that_a_kill_cut_off_costs_only_itself(checkpoint):
    folder = results_folder(open_checkpoint(checkpoint)) / "torn"
    folder.mkdir()
    keep_result(folder, "a", {"loss": 1.0})
    file = folder / "simulations.jsonl"
    file.write_text(file.read_text() + '{"key": "b", "res')
    keep_result(folder, "c", {"loss": 2.0})
    assert read_results(folder) == {"a": {"loss": 1.0}, "c": {"loss": 2.0}}


def test_replaced_weights_start_afresh(tmp_path):
    folder = tmp_path / "olmoe"
    shutil.copytree(RECORDED / "olmoe", folder)
    shutil.copy(FOLDER / "tokenizer.json", folder)
    before = results_folder(open_checkpoint(folder))
    shard = next(folder.glob("model-*.safetensors"))
    content = shard.read_bytes()
    shard.write_bytes(content)
    assert results_folder(open_checkpoint(folder)) != before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "olmoe"], ["layers is 4", "olmoe has 16", "leave out --model"]),
        (["--max-memory", "8"], ["has no unit: write 8GiB"]),
        (["--max-memory", "20MiB"], ["20 MiB are too little", "need", "raise --max-memory"]),
        (["--checkpoint-time", "30"], ["has no unit"]),
        (["--min-accuracy", "0.5"], ["delta_loss or top1"]),
        (["--checkpoint-tokens", "100"], ["at least 512"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(options, words, checkpoint, tmp_path):
    result = invoke(*SMALL, "--checkpoint", checkpoint, "--output", tmp_path / "run",
                    *options)  # fmt: skip
    one_line(result, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none_and_a_vocabulary_too_small(tmp_path):
    one_line(invoke(*SMALL, "--checkpoint", tmp_path / "no"), "is no folder")
    folder = tmp_path / "olmoe"  # 32 tokens, its tokenizer has 2048
    shutil.copytree(RECORDED / "olmoe", folder)
    shutil.copy(FOLDER / "tokenizer.json", folder)
    result = invoke(*SMALL, "--checkpoint", folder, "--output", tmp_path / "run")
    one_line(result, "but tokenizer.json makes a token")
    assert not (tmp_path / "run").exists()


def test_stage_without_results_has_no_correlation():
    assert np.isnan(Stage({}, []).correlation({}).spearman)


@pytest.mark.parametrize("command", ["scores", "mitigate"])
def test_another_model_than_the_checkpoint_s_is_refused(command, checkpoint):
    options = [command, "--model", "olmoe", "--checkpoint", str(checkpoint)]
    one_line(CliRunner().invoke(app, options), "layers is 4, but olmoe has 16")
