"""The shipped miniatures are what their records say, and good scale models."""

import numpy as np
import pytest
import torch

from dse.experiments.miniature_quality import Quality, measure, variation
from dse.placement.scores import REGISTER, weight_scores
from workloads.checkpoint import MINIATURES, load_miniature, read_record
from workloads.miniature.generated import TASKS
from workloads.tasks import benchmarks


@pytest.fixture(scope="module", params=MINIATURES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def quality(name: str) -> Quality:
    miniature = load_miniature(name)
    tokens = read_record(name)["quality"]["benchmark_tokens"]
    return measure(miniature, benchmarks(miniature, tokens))


def test_quality_is_as_recorded(name: str, quality: Quality) -> None:
    recorded = read_record(name)["quality"]
    # Another processor rounds otherwise, so a near tie may fall the other way.
    assert quality.text_loss == pytest.approx(recorded["text_loss_nats"], abs=0.003)
    assert quality.text_top1 == pytest.approx(recorded["text_top1"], abs=0.003)
    assert quality.task_accuracy == pytest.approx(recorded["task_accuracy"], abs=0.01)
    np.testing.assert_allclose(variation(quality.load), recorded["load_variation"], rtol=0.02)
    np.testing.assert_allclose(
        variation(quality.max_neuron_norm), recorded["max_neuron_norm_variation"], rtol=1e-4
    )


def test_experts_differ(quality: Quality) -> None:
    """The aims of the recipe: 0.5 for load and 0.25 for the maximum neuron norm."""
    assert variation(quality.load).mean() >= 0.5
    assert variation(quality.max_neuron_norm).min() >= 0.25


def test_the_model_has_learned(quality: Quality) -> None:
    for name, result in quality.scores.items():
        if name not in TASKS:
            # Far below the 7.6 nats of a uniform guess among 2048 tokens.
            assert result.loss < 3.5
    assert quality.task_accuracy > 0.5


def test_every_token_chooses_its_experts(name: str, quality: Quality) -> None:
    config = load_miniature(name).config
    tokens = read_record(name)["quality"]["benchmark_tokens"]
    expected = tokens // 128 * 128 * config.experts_per_token
    np.testing.assert_array_equal(quality.load.sum(-1), expected)


def test_max_neuron_norm_of_a_changed_expert() -> None:
    """Doubling one neuron that is the largest of its matrix doubles the product."""
    miniature = load_miniature("olmoe-mini")
    score = REGISTER["max_neuron_norm"]
    before = weight_scores(score, miniature.weights)
    weight = miniature.weights["layers.2.experts.down"]
    assert weight.shape == (64, 128, 32)
    largest = max(range(128), key=lambda row: float((weight[5, row] ** 2).sum()))
    weight[5, largest] *= 2
    after = weight_scores(score, miniature.weights)
    assert after[2, 5] == pytest.approx(2 * before[2, 5], rel=1e-5)
    np.testing.assert_array_equal(
        np.delete(after.ravel(), 2 * 64 + 5), np.delete(before, 2 * 64 + 5)
    )
    assert torch.isfinite(torch.from_numpy(after)).all()
