"""The layer-by-layer noisy simulation gives the numbers of the one that holds all weights."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dse.checkpoints.memory import plan_memory
from dse.checkpoints.simulator import CheckpointSimulator, text_benchmark
from dse.checkpoints.stream import LayerWeights, StreamedModel
from dse.simulation.mitigation import copy_of, program_expert
from dse.simulation.noisy_model import NoisyModel
from dse.simulation.simulator import Noise, Simulator
from hwmodels.nonideality import ProgrammedMatrix
from workloads.checkpoint import FOLDER, Miniature, load_miniature
from workloads.checkpoint_export import write_checkpoint
from workloads.checkpoint_folder import decoder_config, load_checkpoint, open_checkpoint
from workloads.tasks import Benchmark, benchmarks

RECORDED = Path(__file__).parents[2] / "workloads" / "reference_logits"


@pytest.fixture(autouse=True)
def noise_by_expert(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the simulator that holds all weights draw the noise of each expert by its own seed."""
    whole = NoisyModel.programmed

    def programmed(
        self: NoisyModel, name: str, noise: Noise, seed: int, sign: int
    ) -> ProgrammedMatrix:
        if ".experts." not in name:
            return whole(self, name, noise, seed, sign)
        sizes = self.sizes(name, noise.tile_rows)
        made = [
            program_expert(weight, sizes, noise, name, expert, (seed, sign))
            for expert, weight in enumerate(self.weights[name])
        ]
        weight, scale = (torch.stack([getattr(m, n) for m in made]) for n in ("weight", "scale"))
        return ProgrammedMatrix(weight, scale, sizes)

    monkeypatch.setattr(NoisyModel, "programmed", programmed)


def equal(
    first: Simulator, second: Simulator, digital: np.ndarray, modules: tuple[str, ...]
) -> None:
    noise = Noise(magnitude=4.0, tile_rows=64)
    left = first.evaluate(noise, digital, modules)
    right = second.evaluate(noise, digital, modules)
    np.testing.assert_allclose(left.loss_by_sequence, right.loss_by_sequence, rtol=1e-3)
    assert left.top1 == pytest.approx(right.top1, abs=1e-3)
    assert left.clean_loss == pytest.approx(right.clean_loss, rel=1e-6)
    assert left.delta_loss_stderr == pytest.approx(right.delta_loss_stderr, rel=0.03)
    assert right.delta_loss != 0


@pytest.mark.parametrize("name", ["olmoe-mini", "deepseekmoe-mini"])
def test_a_miniature_s_folder_gives_the_miniature_s_result(name: str, tmp_path: Path) -> None:
    miniature = load_miniature(name)
    write_checkpoint(miniature, tmp_path / name)
    texts = [bench for bench in benchmarks(miniature, 2048) if bench.kind == "text"][:2]
    calibration = texts[0].tokens[:, :-1]
    whole = Simulator(miniature, texts, seeds=2, calibration_tokens=calibration)
    layered = CheckpointSimulator(tmp_path / name, texts, calibration, seeds=2)
    digital = np.random.default_rng(0).random(whole.all_digital().shape) < 0.5
    digital[0] = True
    equal(whole, layered, digital, ())
    equal(whole, layered, digital, ("attention", "router", "lm_head"))
    clean = layered.evaluate(Noise(), layered.all_digital())
    assert (clean.delta_loss, clean.delta_loss_stderr) == (0, 0)
    assert clean.source.startswith("checkpoint ")


@pytest.mark.parametrize("name", ["olmoe-mini", "deepseekmoe-mini"])
def test_mitigations_are_those_of_the_miniature(name: str, tmp_path: Path) -> None:
    miniature = load_miniature(name)
    write_checkpoint(miniature, tmp_path / name)
    both = ("router-recalibration", "expert-replacement")
    texts = [bench for bench in benchmarks(miniature, 2048) if bench.kind == "text"]
    calibration = texts[3].tokens[:, :-1]
    how = {"seeds": 2, "mitigation": both}
    whole = Simulator(miniature, texts[:3], calibration_tokens=calibration, **how)
    layered = CheckpointSimulator(tmp_path / name, texts[:3], calibration, **how)
    digital = np.random.default_rng(0).random(whole.all_digital().shape) < 0.3
    digital[0] = True  # fitted where there is no noise yet, too
    layered.model.group = 24  # a replaced expert and its copy are read in different groups
    equal(whole, layered, digital, ())
    assert layered.clean().delta_loss == 0
    plain = CheckpointSimulator(tmp_path / name, texts[:3], calibration, seeds=2)
    noise = Noise(magnitude=4.0, tile_rows=64)
    difference = layered.evaluate(noise, digital).loss - plain.evaluate(noise, digital).loss
    assert abs(difference) > 1e-4


@pytest.mark.parametrize(
    "family",
    [
        "qwen2_moe",
        "qwen3_moe",
        "mixtral_window",
        "deepseek_v2",
        "deepseek_v3_fused",
        "glm4_moe",
        "gpt_oss",
        "granitemoe",
        "phimoe",
    ],
)
def test_other_families_are_simulated_alike(family: str, tmp_path: Path) -> None:
    folder = tmp_path / family
    shutil.copytree(RECORDED / family, folder)
    (folder / "logits.safetensors").unlink()
    shutil.copy(FOLDER / "tokenizer.json", folder)
    tokens = torch.randint(0, 32, (20, 13), generator=torch.Generator().manual_seed(0))
    unscored = torch.full((20, 12), -1)
    bench = Benchmark("random", "text", tokens, unscored == -1, unscored)
    whole = Simulator(load_checkpoint(folder), [bench], seeds=4, calibration_tokens=tokens)
    layered = CheckpointSimulator(folder, [bench], tokens, seeds=4)
    equal(whole, layered, ~whole.all_digital(), ("attention", "lm_head"))


def test_several_placements_in_one_pass_are_those_one_by_one(tmp_path: Path) -> None:
    miniature = load_miniature("olmoe-mini")
    write_checkpoint(miniature, tmp_path / "olmoe")
    bench = benchmarks(miniature, 2048)[:1]
    simulator = CheckpointSimulator(tmp_path / "olmoe", bench, bench[0].tokens[:, :-1], seeds=2)
    shape = simulator.all_digital().shape
    late = simulator.all_digital()
    late[-1] = False
    masks = [np.zeros(shape, dtype=bool), late, simulator.all_digital()]
    steps: list[tuple[int, int]] = []
    together = simulator.evaluate_many(Noise(), masks, progress=lambda *step: steps.append(step))
    for mask, result in zip(masks, together, strict=True):
        alone = simulator.evaluate(Noise(), mask)
        np.testing.assert_array_equal(result.loss_by_sequence, alone.loss_by_sequence)
    assert steps[-1] == (shape[0], shape[0])
    with pytest.raises(ValueError, match=r"the placement has shape \(1, 1\)"):
        simulator.evaluate(Noise(), np.ones((1, 1), dtype=bool))


def test_groups_of_any_size_give_the_same_result(tmp_path: Path) -> None:
    miniature = load_miniature("deepseekmoe-mini")
    write_checkpoint(miniature, tmp_path / "deepseek")
    bench = benchmarks(miniature, 2048)[:1]
    simulator = CheckpointSimulator(tmp_path / "deepseek", bench, bench[0].tokens[:, :-1], seeds=2)
    digital = np.random.default_rng(1).random(simulator.all_digital().shape) < 0.4
    assert simulator.model.group == miniature.config.routed_experts
    together = simulator.evaluate(Noise(magnitude=4.0), digital)
    simulator.model.group = 7
    apart = simulator.evaluate(Noise(magnitude=4.0), digital)
    np.testing.assert_allclose(together.loss_by_sequence, apart.loss_by_sequence, rtol=1e-4)


@pytest.mark.parametrize("time_s", [None, 3600.0])
def test_experts_programmed_side_by_side_are_those_one_by_one(time_s: float | None) -> None:
    """Bit for bit: the seed of each expert is its own, whichever thread draws from it."""
    checkpoint = open_checkpoint(RECORDED / "olmoe")
    config = decoder_config(checkpoint)
    noise = Noise(magnitude=2.0, tile_rows=5, time_s=time_s)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        model = StreamedModel(checkpoint, config, torch.device("cpu"), 4, 0, programmed_at_once=3)
        group = list(model.expert_groups(1))[1]  # experts 4 and 5 of 6
        together = model.program_experts(group, [(0, 4), (1, 5), (1, 2)], noise, (7, -1))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    for part, whole in together.items():
        name = f"layers.1.experts.{part}"
        for row, (place, slot, own) in enumerate(
            [(0, 4, name), (1, 5, name), (1, 2, copy_of(name))]
        ):
            one = program_expert(group.weights[part][place], whole.sizes, noise, own, slot, (7, -1))
            assert torch.equal(whole.weight[row], one.weight)
            assert torch.equal(whole.scale[row], one.scale)


def test_threads_that_program_fit_into_the_memory() -> None:
    """A matrix more at a time takes 64 MiB for its copies: none where there is little to spare."""
    checkpoint = open_checkpoint(RECORDED / "olmoe")
    config = replace(decoder_config(checkpoint), hidden_size=1024, expert_intermediate_size=1024)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert plan_memory(checkpoint, config, 2048, 4, 64 << 30).programmed == 4
        with pytest.raises(ValueError, match="need") as raised:
            plan_memory(checkpoint, config, 2048, 4, 1 << 20)
        words = str(raised.value).split(" need ")[1].split(";")[0].split()
        needed = math.ceil(float(words[0]) * {"MiB": 1 << 20, "GiB": 1 << 30}[words[1]])
        assert plan_memory(checkpoint, config, 2048, 4, needed + (64 << 20)).programmed == 1
    finally:
        torch.set_num_threads(threads)


def test_memory_is_divided_and_too_little_names_what_is_needed() -> None:
    checkpoint = open_checkpoint(RECORDED / "olmoe")
    config = decoder_config(checkpoint)
    with pytest.raises(
        ValueError, match=r"^1 MiB are too little .* need [\d.]+ [MG]iB; raise"
    ) as raised:
        plan_memory(checkpoint, config, 2048, 4, 1 << 20)
    words = str(raised.value).split(" need ")[1].split(";")[0].split()
    needed = math.ceil(float(words[0]) * {"MiB": 1 << 20, "GiB": 1 << 30}[words[1]])
    assert plan_memory(checkpoint, config, 2048, 4, needed + (64 << 20)).group >= 1
    plenty = plan_memory(checkpoint, config, 2048, 4, 64 << 30)
    assert plenty.group == config.routed_experts
    assert plenty.placements > 1


def test_weights_of_one_layer_are_held() -> None:
    checkpoint = open_checkpoint(RECORDED / "qwen3_moe")
    config = decoder_config(checkpoint)
    weights = LayerWeights(checkpoint, config, torch.device("cpu"))
    assert weights["embedding"].shape == (32, 16)
    _ = weights["layers.1.router"]
    assert all(name.startswith("layers.1.") for name in weights)
    assert torch.equal(
        weights["lm_head"], LayerWeights(checkpoint, config, torch.device("cpu"))["embedding"]
    )
    with pytest.raises(KeyError):
        _ = weights["layers.0.nothing"]


def test_a_text_becomes_rows_of_tokens() -> None:
    tokenizer = load_miniature("olmoe-mini").tokenizer
    text = "the cell array multiplies and adds " * 60
    bench = text_benchmark("words", text, tokenizer, tokens=64, length=16)
    assert bench.tokens.shape == (4, 17)
    assert bench.tokens.flatten().tolist() == tokenizer.encode(text).ids[:68]
    assert bool(bench.answer_mask.all())
    with pytest.raises(ValueError, match=r"text 'words' has .* tokens"):
        text_benchmark("words", text, tokenizer, tokens=100_000)


def test_tokens_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    miniature: Miniature = load_miniature("olmoe-mini")
    write_checkpoint(miniature, tmp_path / "olmoe")
    bench = benchmarks(miniature, 2048)[:1]
    message = r"tensor model\.embed_tokens\.weight has \d+ rows, but .* makes a token 1000000"
    with pytest.raises(ValueError, match=message):
        CheckpointSimulator(tmp_path / "olmoe", bench, torch.full((1, 4), 10**6))
