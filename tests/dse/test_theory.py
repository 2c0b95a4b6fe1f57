"""The analytical setting: its pattern arithmetic, the fit, and Lemma 4.1 on trained layers."""

import numpy as np
import pytest
import torch

from dse.theory import (
    Layer,
    Setting,
    draw,
    experiment,
    fitted_exponent,
    serves_rare,
    tolerated,
    train,
)

SMALL = Setting(patterns=12, experts=8, neurons=6, length=5, steps=60)


def test_the_output_equals_the_layer_written_out_with_vectors():
    """Tokens as one-hot vectors, experts one at a time, neurons as matrix products."""
    torch.manual_seed(0)
    layer = Layer(torch.randn(4, 10), torch.randn(4, 3, 10), torch.tensor([1.0, -1.0, 1.0, -1.0]))
    tokens = torch.randint(0, 10, (6, 5))
    expected = []
    for sequence in tokens:
        x = torch.nn.functional.one_hot(sequence, 10).float()
        total = 0.0
        for expert in range(4):
            scores = x @ layer.router[expert]
            best, chosen = scores.topk(2)
            gate = best.softmax(0)
            for weight, index in zip(gate, chosen, strict=True):
                neurons = (layer.neurons[expert] @ x[index]).relu().sum()
                total += layer.sign[expert] * weight * neurons
        expected.append(total)
    torch.testing.assert_close(layer.output(tokens, 2), torch.stack(expected))


def test_each_sequence_has_exactly_one_deciding_token():
    generator = torch.Generator().manual_seed(0)
    tokens, label, rare = draw(SMALL, 4000, generator)
    deciding = tokens < 4
    assert (deciding.sum(1) == 1).all()
    pattern = tokens[deciding]
    assert torch.equal(pattern % 2 == 1, rare)
    assert torch.equal(torch.where(pattern < 2, 1.0, -1.0), label)
    assert rare.double().mean().item() == pytest.approx(SMALL.rare_share, abs=0.02)


def test_lemma_frequent_patterns_give_larger_norms():
    table = experiment(Setting(steps=80), shares=(0.25, 0.5), seeds=1)
    assert (table["norm_auc"] > 0.7).all()
    assert (table["norm_frequent"] > table["norm_rare"]).all()


def test_training_solves_the_task():
    setting = Setting()
    layer = train(setting, 0.5, 0)
    tokens, label, rare = draw(setting, 1000, torch.Generator().manual_seed(5), rare_share=0.5)
    right = layer.output(tokens, setting.capacity) * label > 0
    assert right[rare].double().mean() > 0.99 and right[~rare].double().mean() > 0.99
    assert 0 < serves_rare(layer).sum() < setting.experts


def test_fewer_analog_experts_tolerate_more_noise():
    setting = Setting()
    layer = train(setting, 0.25, 1)
    everything = torch.ones(setting.experts, dtype=torch.bool)
    some = everything.clone()
    some[layer.largest_norm().argsort()[8:]] = False
    assert tolerated(layer, setting, some, 1) > tolerated(layer, setting, everything, 1)


def test_the_fit_recovers_a_known_exponent_with_its_error():
    generator = np.random.default_rng(0)
    gamma = np.linspace(0.1, 0.9, 40)
    slopes, errors = [], []
    for _ in range(300):
        noisy = 3.0 * gamma**-1.2 * np.exp(0.1 * generator.normal(size=40))
        slope, error = fitted_exponent(gamma, noisy)
        slopes.append(slope)
        errors.append(error)
    assert np.mean(slopes) == pytest.approx(-1.2, abs=0.01)
    assert np.mean(errors) == pytest.approx(np.std(slopes), rel=0.15)
    with pytest.raises(ValueError, match="three runs"):
        fitted_exponent(np.ones(5), np.ones(5))
