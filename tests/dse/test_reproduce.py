"""The paper's figures: what can be checked without the minutes that a full run takes."""

import numpy as np
import pytest
import torch

from dse import reproduce as module
from dse.reproduce import layer_matched_random, reproduce, served_frequency
from workloads.checkpoint import load_miniature


def test_layer_matched_random_keeps_the_counts_of_every_layer():
    mask = np.random.default_rng(0).random((5, 32)) < 0.3
    first, second = layer_matched_random(mask, 0), layer_matched_random(mask, 1)
    assert np.array_equal(first.sum(1), mask.sum(1)) and np.array_equal(second.sum(1), mask.sum(1))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, layer_matched_random(mask, 0))


def test_served_frequency_lies_between_the_rarest_and_the_most_frequent_token():
    miniature = load_miniature("olmoe-mini")
    tokens = torch.randint(0, 50, (4, 64), generator=torch.Generator().manual_seed(0))
    result = served_frequency(miniature, tokens)
    share = torch.bincount(tokens.flatten()) / tokens.numel()
    known = result[np.isfinite(result)]
    assert known.min() >= share[share > 0].log10().min() - 1e-6
    assert known.max() <= share.log10().max() + 1e-6


@pytest.mark.parametrize("name", ["table1", "fig6"])
def test_a_quick_run_has_table_figure_and_sentence(name):
    result = reproduce(name, seeds=2, tokens=2048)
    assert set(result.table["model"]) == {"deepseekmoe-mini", "olmoe-mini"}
    assert np.isfinite(result.table.select_dtypes("number")).all().all()
    assert result.sentence.endswith(".") and "claim" in result.sentence
    assert "sha256" in result.source
    assert len(result.figure.data) >= 2


def test_a_quick_run_of_the_selection_scores(monkeypatch):
    monkeypatch.setattr(module, "MAGNITUDES", (8.0,))
    monkeypatch.setattr(module, "MODELS", {"olmoe-mini": "olmoe"})
    result = reproduce("fig5", seeds=2, tokens=2048)
    labels = set(result.table["selection"])
    assert {"all experts analog", "max_neuron_norm global", "random per_layer"} <= labels
    assert "random, layers as max_neuron_norm global" in labels
    analog = result.table[result.table["selection"] == "all experts analog"]
    assert (analog["recovered_nats"] == 0).all()


def test_an_unknown_figure_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="nearest is fig3"):
        reproduce("fig33")
