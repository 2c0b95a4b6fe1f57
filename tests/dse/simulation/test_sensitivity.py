"""Second-order sensitivity against the exact Fisher diagonal and against brute force."""

import model_fixture
import numpy as np
import pytest
import torch

from dse.simulation.noisy_model import NoisyModel
from dse.simulation.sensitivity import check_across, check_layer, estimate_on, measure
from dse.simulation.simulator import Noise, Simulator
from workloads.moe import forward


def sequences(miniature, rows, length=12, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, miniature.config.vocab_size, (rows, length), generator=generator)


def test_the_estimate_is_the_exact_fisher_diagonal_times_the_noise_variance():
    """All labels of all tokens enumerated by their probability, instead of drawn."""
    miniature = model_fixture.random_miniature(vocab_size=12, layers=2)
    tokens = sequences(miniature, rows=8, length=6)
    noise = Noise(magnitude=1.0)
    names = [f"layers.1.experts.{part}" for part in ("gate", "up", "down")]
    model = NoisyModel(miniature.config, miniature.weights)
    leaves = [miniature.weights[name].clone().requires_grad_() for name in names]
    weights = miniature.weights | dict(zip(names, leaves, strict=True))
    log_probability = forward(miniature.config, weights, tokens).flatten(0, 1).log_softmax(-1)
    exact = np.zeros(8)
    variance = [
        sum(
            (model.programmed(name, noise, seed, sign).effective_weight() - leaf.detach()).square()
            for seed in (0, 1)
            for sign in (1, -1)
        )
        / 4
        for name, leaf in zip(names, leaves, strict=True)
    ]
    for row in log_probability:
        for value in row:
            gradients = torch.autograd.grad(value, leaves, retain_graph=True)
            for gradient, spread in zip(gradients, variance, strict=True):
                curvature = value.exp().detach() * gradient.square() / len(log_probability)
                exact += (0.5 * curvature * spread).sum((1, 2)).double().numpy()
    # Many passes over the same sequences: only the drawn labels differ.
    result = estimate_on(miniature, tokens.repeat(150, 1), noise=noise)
    rows = result.table[result.table["part"] == "routed_expert"]
    error = rows["added_loss_stderr"].to_numpy()
    assert (np.abs(result.experts[0] - exact) < 4.5 * error + 1e-12).all()
    assert result.experts.sum() == pytest.approx(exact.sum(), rel=0.1)


def test_the_estimate_agrees_with_brute_force():
    miniature = model_fixture.random_miniature(seed=4, layers=2)
    # Labels drawn by the model itself: the data that second order is exact for.
    tokens = sequences(miniature, rows=128, length=25)
    with torch.no_grad():
        logits = forward(miniature.config, miniature.weights, tokens)
    generator = torch.Generator().manual_seed(0)
    labels = torch.multinomial(logits.flatten(0, 1).softmax(-1), 1, generator=generator)
    sets = model_fixture.token_sets(miniature, rows=128, length=24)[:1]
    sets[0].tokens[:] = tokens
    simulator = Simulator(miniature, sets, seeds=16, calibration_tokens=tokens)
    simulator._targets = labels.view(tokens.shape)[:, :-1]
    simulator._clean = simulator.score(
        simulator.placed(Noise(), simulator.all_digital(), frozenset(), 0, 1), None
    )
    noise = Noise(magnitude=1.0, dac_bits=None, adc_bits=None)
    result = estimate_on(miniature, tokens, noise=noise)
    everything = [[(0, expert) for expert in range(8)]]
    measured = measure(simulator, noise, experts=everything, modules=[("lm_head",)])
    parts = result.table.groupby("part")["added_loss_nats"].sum()
    for row, part in ((0, "routed_expert"), (1, "lm_head")):
        value, error = measured.loc[row, ["added_loss_nats", "added_loss_stderr"]]
        assert abs(parts[part] - value) < 4 * error + 0.15 * value
    table = check_layer(simulator, result, 0, groups=2)
    assert table["estimate_nats"].sum() == pytest.approx(parts["routed_expert"])
    assert table["estimate_nats"].is_monotonic_increasing
    # Single experts, and all dense parts: the same truth, within the error of its few draws.
    across = check_across(simulator, result).set_index("group")
    single = int(result.experts[0].argmax())
    assert f"MoE layer 0 expert {single}" in across.index
    error = np.hypot(across["estimate_stderr"], across["measured_stderr"])
    apart = (across["estimate_nats"] - across["measured_nats"]).abs()
    assert (apart < 4 * error + 0.15 * across["measured_nats"].abs()).all()
    value, error = result.of([(0, single)])
    row = result.table[(result.table["expert"] == single).fillna(False)].iloc[0]
    assert (value, error) == pytest.approx((row["added_loss_nats"], row["added_loss_stderr"]))


def test_the_table_covers_every_part_once():
    miniature = model_fixture.random_miniature()
    table = estimate_on(miniature, sequences(miniature, 16)).table
    counts = table["part"].value_counts().to_dict()
    assert counts == {
        "routed_expert": 16,
        "attention": 3,
        "shared_expert": 2,
        "router": 2,
        "dense_ffn": 1,
        "lm_head": 1,
    }
    matrices = sum(
        tensor.numel()
        for name, tensor in miniature.weights.items()
        if "norm" not in name and name != "embedding"
    )
    assert table["parameters"].sum() == matrices
    assert (table["added_loss_nats"] >= 0).all() and (table["added_loss_stderr"] >= 0).all()


def test_groups_are_sums_with_the_error_of_the_sum():
    miniature = model_fixture.random_miniature()
    tokens = sequences(miniature, 32)
    result = estimate_on(miniature, tokens)
    groups = result.groups.set_index("group")
    table = result.table
    loss = groups["added_loss_nats"]
    assert loss["everything"] == pytest.approx(table["added_loss_nats"].sum())
    assert loss["all of routed_expert"] == pytest.approx(result.experts.sum())
    for row, layer in enumerate(miniature.config.moe_layers):
        assert loss[f"routed experts of layer {layer}"] == pytest.approx(result.experts[row].sum())
    attention = table["part"] == "attention"
    assert loss["all of attention"] == pytest.approx(table[attention]["added_loss_nats"].sum())
    assert groups.loc["everything", "parameters"] == table["parameters"].sum()
    # Other labels, and the same text in another order: the spread is about the stated error.
    again = [estimate_on(miniature, tokens, seed=seed).groups for seed in range(8)]
    spread = np.std([item.set_index("group").loc["everything", "added_loss_nats"]
                     for item in again], ddof=1)  # fmt: skip
    assert 0.3 < spread / groups.loc["everything", "added_loss_stderr"] < 1.7


def test_an_expert_that_no_token_uses_costs_nothing():
    miniature = model_fixture.random_miniature()
    miniature.weights["layers.1.router"][3] = 0.0
    miniature.weights["layers.1.router"][3, 0] = -1e-9
    tokens = sequences(miniature, 16)
    chosen = set()

    def observe(layer, probabilities, indices, weights):
        if layer == 1:
            chosen.update(indices.flatten().tolist())

    with torch.no_grad():
        forward(miniature.config, miniature.weights, tokens, observe=observe)
    result = estimate_on(miniature, tokens)
    for expert in range(8):
        assert (result.experts[0, expert] > 0) == (expert in chosen)


def test_bad_requests_are_refused():
    miniature = model_fixture.random_miniature()
    with pytest.raises(ValueError, match="at least 8 sequences"):
        estimate_on(miniature, sequences(miniature, 3))
    sets = model_fixture.token_sets(miniature)
    simulator = Simulator(miniature, sets, seeds=2, calibration_tokens=sets[0].tokens[:, :-1])
    sensitivity = estimate_on(miniature, sequences(miniature, 8))
    with pytest.raises(ValueError, match="MoE layer 7 does not exist"):
        check_layer(simulator, sensitivity, 7)


def test_the_mean_error_of_the_noise_adds_loss_in_first_order():
    """What targets add to the estimate is the slope of the true loss along the mean error."""
    miniature = model_fixture.random_miniature(seed=2, layers=2)
    text = sequences(miniature, rows=16, length=13)
    tokens, targets = text[:, :-1], text[:, 1:]
    noise = Noise(magnitude=1.0)
    both = estimate_on(miniature, tokens, noise=noise, targets=targets)
    second = estimate_on(miniature, tokens, noise=noise)
    model = NoisyModel(miniature.config, miniature.weights)
    names = [f"layers.1.experts.{part}" for part in ("gate", "up", "down")]
    shift = {
        name: sum(
            model.programmed(name, noise, seed, sign).effective_weight() - model.weights[name]
            for seed in (0, 1)
            for sign in (1, -1)
        )
        / 4
        for name in names
    }

    def loss(step: float) -> float:
        moved = {name: miniature.weights[name] + step * error for name, error in shift.items()}
        with torch.no_grad():
            logits = forward(miniature.config, miniature.weights | moved, tokens).flatten(0, 1)
        return float(torch.nn.functional.cross_entropy(logits.double(), targets.flatten()))

    slope = loss(0.5) - loss(-0.5)
    assert abs(slope) > 1e-5
    assert np.array_equal(both.experts, second.experts)
    added = both.draws.mean(axis=0) - second.experts
    assert added.sum() == pytest.approx(slope, rel=0.03)


def test_a_tied_lm_head_adds_what_finite_differences_of_its_tiles_say():
    """Its tiles are programmed, the embedding that shares its weights stays as it is.

    Logits are linear in the head, so its Gauss-Newton curvature is that of the loss itself.
    """
    shape = {"vocab_size": 8, "hidden_size": 16, "head_dim": 8, "layers": 2}
    miniature = model_fixture.random_miniature(tie_embeddings=True, **shape)
    assert "lm_head" not in miniature.weights
    text = sequences(miniature, rows=8, length=7)
    tokens, targets = text[:, :-1], text[:, 1:]
    noise = Noise(magnitude=1.0)
    model = NoisyModel(miniature.config, miniature.weights)
    head = miniature.weights["embedding"].double()
    errors = torch.stack(
        [
            model.programmed("lm_head", noise, seed, sign).effective_weight().double() - head
            for seed in (0, 1)
            for sign in (1, -1)
        ]
    )
    inputs = {}

    def keep(name: str, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        inputs[name] = x.double()
        return x @ weight.T

    with torch.no_grad():
        forward(miniature.config, miniature.weights, tokens, linear=keep)

    def loss(change: torch.Tensor) -> float:
        logits = inputs["lm_head"] @ (head + change).T
        return float(torch.nn.functional.cross_entropy(logits, targets.flatten()))

    here, curved = loss(torch.zeros_like(head)), 0.0
    square = errors.square().mean(0).flatten()
    for weight, step in enumerate(1e-3 * torch.eye(head.numel(), dtype=head.dtype)):
        change = step.view_as(head)
        bend = (loss(change) - 2 * here + loss(-change)) / 1e-6
        curved += 0.5 * float(square[weight]) * bend
    slope = (loss(1e-3 * errors.mean(0)) - loss(-1e-3 * errors.mean(0))) / 2e-3
    many = (tokens.repeat(100, 1), targets.repeat(100, 1))
    second = estimate_on(miniature, many[0], noise=noise).table.set_index("part").loc["lm_head"]
    both = estimate_on(miniature, many[0], noise=noise, targets=many[1])
    whole = both.table.set_index("part").loc["lm_head"]
    assert second["parameters"] == head.numel()
    assert abs(second["added_loss_nats"] - curved) < 4 * second["added_loss_stderr"]
    assert second["added_loss_nats"] == pytest.approx(curved, rel=0.1)
    assert abs(slope) > 0.01 * curved
    assert whole["added_loss_nats"] - second["added_loss_nats"] == pytest.approx(slope, rel=0.01)
