"""The training script on a tiny recipe, and what the shipped records say of the real one."""

import dataclasses
import hashlib
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from workloads.checkpoint import FOLDER, MINIATURES, read_record
from workloads.decoder_config import DecoderConfig
from workloads.miniature import corpus, generated
from workloads.miniature.train import RECIPES, Training, export, learning_rate, make_batch

TINY = dataclasses.replace(
    RECIPES["olmoe-mini"],
    config=dataclasses.replace(
        RECIPES["olmoe-mini"].config, layers=1, hidden_size=32, heads=2, kv_heads=2, head_dim=16
    ),
    tokens=16 * 2 * 64,
    cosine_tokens=16 * 2 * 64,
    cool_down_tokens=2 * 64,
    batch=2,
    length=64,
    warm_up_steps=3,
)


@pytest.fixture(scope="module")
def texts() -> dict[str, np.ndarray]:
    repeated = np.tile(np.arange(300, 320, dtype=np.uint16), 30)
    return dict.fromkeys(corpus.DOMAINS, repeated)


@pytest.fixture(scope="module")
def ids() -> dict[str, int]:
    return corpus.word_ids(corpus.load_tokenizer())


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(training: Training, steps: int, texts: dict[str, np.ndarray], ids: dict[str, int]) -> list:
    return [training.run_step(texts, ids)[0] for _ in range(steps)]


def test_training_lowers_the_loss(texts: dict[str, np.ndarray], ids: dict[str, int]) -> None:
    losses = run(Training(TINY), 16, texts, ids)
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.3


def test_a_resumed_training_is_bit_identical(
    tmp_path: Path, texts: dict[str, np.ndarray], ids: dict[str, int]
) -> None:
    whole = Training(TINY)
    run(whole, 8, texts, ids)
    first = Training(TINY)
    run(first, 5, texts, ids)
    first.save(tmp_path / "tiny.pt")
    second = Training(TINY)
    second.resume(tmp_path / "tiny.pt")
    run(second, 3, texts, ids)
    for name, weight in whole.weights.items():
        assert torch.equal(weight, second.weights[name]), name


def test_the_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    Training(TINY).save(tmp_path / "tiny.pt")
    other = Training(dataclasses.replace(TINY, balancing=1.0))
    with pytest.raises(ValueError, match="is the checkpoint of another recipe"):
        other.resume(tmp_path / "tiny.pt")


def test_export_records_its_own_checksum(tmp_path: Path) -> None:
    training = Training(TINY)
    record = export("tiny", training, "0" * 64, tmp_path)
    data = (tmp_path / "tiny.safetensors").read_bytes()
    assert record["weights_sha256"] == hashlib.sha256(data).hexdigest()
    assert record["parameters"] == sum(w.numel() for w in training.weights.values())


def test_batches_depend_on_seed_and_step_alone(
    texts: dict[str, np.ndarray], ids: dict[str, int]
) -> None:
    one, again, other = (make_batch(TINY, texts, ids, step)[0] for step in (4, 4, 5))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", MINIATURES)
def test_learning_rate_warms_up_and_falls_to_zero(name: str) -> None:
    recipe = RECIPES[name]
    rates = np.array([learning_rate(recipe, step) for step in range(recipe.steps + 1)])
    warm_up = recipe.warm_up_steps
    assert rates.max() == pytest.approx(recipe.learning_rate, rel=0.01)
    assert rates.argmax() == warm_up - 1
    assert (np.diff(rates[:warm_up]) > 0).all()
    assert (np.diff(rates[warm_up:]) < 0).all()
    assert rates[-1] == 0.0
    middle = recipe.cosine_tokens // 2 // (recipe.batch * recipe.length)
    half = recipe.learning_rate * (1 + recipe.final_rate) / 2
    assert rates[middle] == pytest.approx(half, rel=0.01)


def test_task_tokens_are_the_tokenizer_s_own(ids: dict[str, int]) -> None:
    tokenizer = corpus.load_tokenizer()
    for task in generated.TASKS:
        tokens, _ = generated.fill(task, "train", random.Random(0), ids, 100)
        end = len(tokens) - tokens[::-1].index(ids[generated.END])
        text = tokenizer.decode(tokens[:end])
        assert tokenizer.encode(text).ids == tokens[:end]


@pytest.mark.parametrize("name", MINIATURES)
def test_records_tell_how_the_shipped_weights_were_made(name: str) -> None:
    record = read_record(name)
    # What a later decoder can do besides is off in these miniatures: not in their records.
    stored = record["recipe"] | {
        "config": dataclasses.asdict(DecoderConfig(**record["recipe"]["config"]))
    }
    wanted = dataclasses.asdict(RECIPES[name])
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in wanted.items()} == stored
    assert record["steps"] == RECIPES[name].steps
    assert record["tokens_seen"] >= 15_000_000
    assert record["tokens_sha256"] == corpus.TRAINING_SHA256
    assert record["curve"][-1][0] == record["steps"]


def test_the_shipped_weights_are_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.glob("*.safetensors")) < 25e6
