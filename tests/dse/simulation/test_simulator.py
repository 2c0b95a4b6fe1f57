"""The simulation against the clean decoder, a slow reference loop, and brute force over seeds."""

import math

import model_fixture
import numpy as np
import pytest
import torch
from torch.nn import functional

from dse.simulation.noisy_model import NoisyModel, dense_matrices, kind_of
from dse.simulation.placed_model import PlacedModel
from dse.simulation.simulator import Noise, Simulator, paired_difference
from dse.simulation.statistics import stratified_mean
from hwmodels.analog_product import analog_linear, prepare
from workloads.architecture import load_model
from workloads.moe import forward

random_miniature, token_sets = model_fixture.random_miniature, model_fixture.token_sets


def simulator(miniature=None, seeds=4, **arguments):
    miniature = miniature or random_miniature()
    sets = arguments.pop("sets", None) or token_sets(miniature)
    return Simulator(
        miniature, sets, seeds=seeds, calibration_tokens=sets[0].tokens[:, :-1], **arguments
    )


@pytest.fixture(scope="module")
def small():
    return simulator()


def clean_reference(miniature, sets):
    """Loss and top-1 over all text tokens and mean task accuracy, straight from the decoder."""
    loss, right, accuracies = [], [], []
    for item in sets:
        with torch.no_grad():
            logits = forward(miniature.config, miniature.weights, item.tokens[:, :-1])
        targets = item.tokens[:, 1:]
        if item.kind == "text":
            mask = item.answer_mask
            loss.append(functional.cross_entropy(logits[mask], targets[mask], reduction="none"))
            right.append(logits[mask].argmax(-1) == targets[mask])
            continue
        hit = logits.argmax(-1) == targets
        numbers = [n for n in item.instance.unique().tolist() if n >= 0]
        accuracies.append(np.mean([bool(hit[item.instance == n].all()) for n in numbers]))
    return (
        torch.cat(loss).mean().item(),
        torch.cat(right).float().mean().item(),
        np.mean(accuracies),
    )


@pytest.mark.parametrize(
    "changes",
    [{}, {"dense_layers": 0, "shared_experts": 0, "qk_norm": True}, {"tie_embeddings": True}],
)
def test_all_digital_equals_the_clean_decoder(changes):
    miniature = random_miniature(**changes)
    sets = token_sets(miniature)
    result = simulator(miniature, sets=sets)
    clean = result.evaluate(Noise(), result.all_digital())
    loss, top1, accuracy = clean_reference(miniature, sets)
    assert clean.loss == pytest.approx(loss, abs=1e-6)
    assert clean.top1 == pytest.approx(top1) and clean.accuracy == pytest.approx(accuracy)
    assert (clean.delta_loss, clean.delta_loss_stderr) == (0.0, 0.0)
    assert clean.top1_stderr == clean.accuracy_stderr == 0.0


def test_ideal_hardware_changes_nothing(small):
    """No noise, ideal converters: the analog path computes what the digital one does."""
    noise = Noise(magnitude=0.0, dac_bits=None, adc_bits=None, tile_rows=16)
    parts = ("attention", "shared_expert", "dense_ffn", "router", "lm_head")
    result = small.evaluate(noise, ~small.all_digital(), parts)
    assert abs(result.delta_loss) < 1e-5


def reference_forward(model, noise, digital, dense, seed, sign, tokens):
    """A slow second implementation: one expert at a time, no reordering, no shared codes."""

    def linear(name, x, weight):
        if name not in dense:
            return x @ weight.T
        matrix = model.programmed(name, noise, seed, sign)
        return analog_linear(x, prepare(matrix, model.input_range(name, noise), noise))

    def grouped(name, x, weight, counts):
        parts, start = [], 0
        layer = int(name.split(".")[1]) - model.config.dense_layers
        programmed = model.programmed(name, noise, seed, sign)
        ranges = model.input_range(name, noise)
        for expert, count in enumerate(counts.tolist()):
            rows = x[start : start + count]
            start += count
            if digital[layer, expert]:
                parts.append(rows @ weight[expert].T)
                continue
            single = type(programmed)(
                programmed.weight[expert], programmed.scale[expert], programmed.sizes
            )
            parts.append(analog_linear(rows, prepare(single, ranges[expert], noise)))
        return torch.cat(parts)

    with torch.no_grad():
        return forward(model.config, model.weights, tokens, linear=linear, grouped_linear=grouped)


@pytest.mark.parametrize("tile_rows", [8, 20, 512])
@pytest.mark.parametrize("dense", [(), ("router", "lm_head", "attention", "shared_expert")])
def test_the_batched_pass_equals_one_expert_at_a_time(tile_rows, dense):
    miniature = random_miniature()
    model = NoisyModel(miniature.config, miniature.weights)
    tokens = token_sets(miniature)[0].tokens[:, :-1]
    model.calibrate(tokens)
    # 12-bit converters: a code that falls on the other side by rounding moves little.
    noise = Noise("pcm", 2.0, tile_rows=tile_rows, dac_bits=12, adc_bits=12)
    digital = np.random.default_rng(0).random((2, 8)) < 0.4
    names = frozenset(
        name for name in miniature.weights
        if kind_of(name).split(".")[0] in {"router", "lm_head", "attention", "shared"}
        and "norm" not in name
    ) if dense else frozenset()  # fmt: skip
    placed = PlacedModel(model, noise, torch.from_numpy(digital), names, 3, -1)
    with torch.no_grad():
        hidden = placed.layers(model.embed(tokens), 0, tuple(tokens.shape))
        ours = placed.head(hidden).view(*tokens.shape, -1)
    expected = reference_forward(model, noise, digital, names, 3, -1, tokens)
    close = (ours - expected).abs().amax(-1) < 0.02 * expected.std()
    # With a noisy router a token on the edge between two experts may go the other way.
    assert close.double().mean() > 0.98


def test_the_first_layers_are_not_recomputed_yet_count(small):
    """A placement whose only analog experts are in the last layer, against the whole pass."""
    digital = small.all_digital()
    digital[-1] = False
    noise = Noise(magnitude=3.0)
    result = small.evaluate(noise, digital)
    losses = []
    for seed, sign in small.draws(noise):
        placed = small.placed(noise, digital, frozenset(), seed, sign)
        scores = small.score(placed, 0)
        text = slice(0, 12)
        losses.append(scores.loss[0, text].sum() / (12 * 24))
    assert result.loss == pytest.approx(np.mean(losses), abs=1e-9)


def test_noise_hurts_more_the_more_there_is(small):
    # Random weights are at chance: what grows for sure is how far the outputs move.
    errors = []
    for magnitude in (1.0, 4.0, 12.0):
        noise = Noise(magnitude=magnitude)
        placed = small.placed(noise, ~small.all_digital(), frozenset(), 0, 1)
        with torch.no_grad():
            moved = placed.layers(small._clean_hidden[0], 0, tuple(small._inputs.shape))
        errors.append((moved - small._clean_hidden[-1]).norm().item())
    assert all(np.diff(errors) > 0)


def test_same_seeds_same_result_whatever_came_before():
    first, second = simulator(), simulator()
    mask = ~first.all_digital()
    second.evaluate(Noise("rram"), mask)
    second.evaluate(Noise("pcm", 2.0), mask, ("attention",))
    left, right = first.evaluate(Noise(), mask), second.evaluate(Noise(), mask)
    assert left.loss == right.loss and left.accuracy == right.accuracy
    assert np.array_equal(left.loss_by_sequence, right.loss_by_sequence)


def test_memory_bound_of_the_cache_changes_no_result():
    free, bounded = simulator(), simulator(cache_bytes=1)
    mask = ~free.all_digital()
    assert free.evaluate(Noise(), mask).loss == bounded.evaluate(Noise(), mask).loss
    assert len(bounded.model._programmed) == 1


def test_row_blocks_are_those_of_the_full_model():
    miniature = random_miniature()
    full = load_model("deepseekmoe")
    made = simulator(miniature, full_model=full)
    for rows in (128, 256, 512, 1024):
        for name, inputs in (
            ("layers.1.experts.gate", 2048),
            ("layers.1.experts.down", 1408),
            ("layers.1.shared.down", 2816),
            ("layers.0.ffn.down", 10944),
            ("layers.0.attention.output", 2048),
            ("lm_head", 2048),
        ):
            have = miniature.weights[name].shape[-1]
            assert len(made.model.sizes(name, rows)) == min(math.ceil(inputs / rows), have)


def test_input_ranges_are_those_of_the_activations():
    """kappa times the standard deviation of what each expert sees, against a direct count."""
    miniature = random_miniature()
    model = NoisyModel(miniature.config, miniature.weights)
    tokens = torch.cat([item.tokens[:, :-1] for item in token_sets(miniature, rows=60)])
    model.calibrate(tokens)
    seen = {}

    def grouped(name, x, weight, counts):
        seen[name] = (x, counts)
        ends = counts.cumsum(0).to(torch.int32)
        return functional.grouped_mm(x, weight.transpose(1, 2), offs=ends)

    with torch.no_grad():
        forward(miniature.config, miniature.weights, tokens, grouped_linear=grouped)
    noise = Noise(tile_rows=12, input_range_std=5.0)
    name = "layers.2.experts.down"
    x, counts = seen[name]
    sizes = model.sizes(name, 12)
    for expert, rows in enumerate(x.split(counts.tolist())):
        for block, part in enumerate(rows.split(list(sizes), dim=1)):
            expected = 5.0 * part.std(correction=0).item()
            assert model.input_range(name, noise)[expert, block].item() == pytest.approx(
                expected, rel=1e-4
            )


def test_standard_error_is_right_on_average():
    """Two crossed sources with known variances: mean of the squared error is the true variance."""
    generator = np.random.default_rng(0)
    draws, clusters, units = 2, 30, 7.0
    means, squared = [], []
    for _ in range(4000):
        noise = 0.4 * generator.normal(size=(draws, 1))
        text = 1.0 * generator.normal(size=(1, clusters))
        both = 0.8 * generator.normal(size=(draws, clusters))
        sums = units * (noise + text + both)
        mean, error = stratified_mean([(sums, np.full(clusters, units))], np.ones(1))
        means.append(mean)
        squared.append(error**2)
    truth = 0.4**2 / draws + 1.0**2 / clusters + 0.8**2 / (draws * clusters)
    assert np.var(means) == pytest.approx(truth, rel=0.1)
    assert np.mean(squared) == pytest.approx(truth, rel=0.1)


def test_standard_error_of_the_simulation_against_many_seeds_and_texts():
    """Fresh noise and fresh text in every repetition: the spread is what the error says."""
    miniature = random_miniature(layers=2)
    noise = Noise(magnitude=8.0)
    deltas, squared = [], []
    for repetition in range(40):
        sets = token_sets(miniature, rows=5, length=12, seed=100 + repetition)
        made = simulator(miniature, sets=sets, first_seed=1000 * repetition)
        result = made.evaluate(noise, ~made.all_digital())
        deltas.append(result.delta_loss)
        squared.append(result.delta_loss_stderr**2)
    # 40 repetitions know a variance to about 23 %, the estimate with one degree of freedom less.
    assert 0.5 < np.mean(squared) / np.var(deltas, ddof=1) < 2.0


def test_paired_difference_is_sharper_than_two_separate_errors(small):
    some = small.all_digital()
    some[:, :2] = False
    more = some.copy()
    more[:, 2:3] = False
    noise = Noise(magnitude=4.0)
    first, second = small.evaluate(noise, some), small.evaluate(noise, more)
    difference, error = paired_difference(first, second)
    assert difference == pytest.approx(first.loss - second.loss, abs=1e-9)
    assert error > 0
    clean = small.evaluate(noise, small.all_digital())
    assert paired_difference(first, clean)[0] == pytest.approx(first.delta_loss)
    assert paired_difference(first, clean)[1] == pytest.approx(first.delta_loss_stderr, rel=0.5)


def test_antithetic_pairs_cut_the_error_of_the_mean():
    miniature = random_miniature(layers=2)
    made = simulator(miniature, seeds=32)
    noise = Noise(magnitude=2.0)
    mask = ~made.all_digital()
    losses = {
        (seed, sign): made.score(made.placed(noise, mask, frozenset(), seed, sign), 0).loss.sum()
        for seed, sign in made.draws(noise)
    }
    plus = np.array([losses[seed, 1] for seed in range(16)])
    minus = np.array([losses[seed, -1] for seed in range(16)])
    paired = np.var((plus + minus) / 2)
    unpaired = (np.var(plus) + np.var(minus)) / 4
    assert paired < 0.5 * unpaired


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.evaluate(Noise(), np.ones((3, 8), bool)), r"shape \(3, 8\)"),
        (lambda s: s.evaluate(Noise(), s.all_digital(), ("atention",)), "nearest is attention"),
        (lambda s: s.evaluate(Noise(), s.all_digital(), ("layers.9.router",)), "layers"),
        (lambda s: s.evaluate(Noise(), s.all_digital(), ("experts",)), "no dense module"),
    ],
)
def test_bad_placements_are_refused(small, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(small)
    assert "\n" not in str(caught.value)


def test_a_part_the_model_lacks_is_refused():
    made = simulator(random_miniature(shared_experts=0, dense_layers=0))
    with pytest.raises(ValueError, match="no dense module 'shared_expert'"):
        made.evaluate(Noise(), made.all_digital(), ("shared_expert",))


def test_nan_weights_are_refused_by_name():
    miniature = random_miniature()
    miniature.weights["layers.2.experts.up"][1, 2, 3] = math.nan
    with pytest.raises(ValueError, match=r"layers\.2\.experts\.up"):
        simulator(miniature)


@pytest.mark.parametrize("seeds", [0, 3, -2])
def test_odd_seeds_are_refused(seeds):
    with pytest.raises(ValueError, match="even number"):
        simulator(seeds=seeds)


def test_every_dense_part_is_really_computed_in_analog(small):
    """Each part alone moves the outputs; nothing is called analog that was not simulated."""
    for part in ("attention", "shared_expert", "dense_ffn", "router", "lm_head"):
        result = small.evaluate(Noise(magnitude=2.0), small.all_digital(), (part,))
        assert not np.array_equal(
            result.loss_by_sequence,
            np.repeat(small.evaluate(Noise(), small.all_digital()).loss_by_sequence, 2, axis=0),
        )


def test_a_look_and_the_rest_are_the_whole_simulation(small):
    digital = small.all_digital()
    digital[:, ::2] = False
    noise = Noise(noise_model="pcm", tile_rows=16, adc_bits=7, dac_bits=7)
    whole, look = small.evaluate(noise, digital), small.look(noise, digital)
    joined = small.evaluate(noise, digital, look=look)
    assert joined.delta_loss == pytest.approx(whole.delta_loss, rel=1e-3)
    assert joined.delta_loss_stderr == pytest.approx(whole.delta_loss_stderr, rel=1e-2)
    assert (joined.top1, joined.accuracy) == pytest.approx((whole.top1, whole.accuracy), abs=1e-9)
    assert look.loss.shape[1] < whole.loss_by_sequence.shape[1]


@pytest.mark.parametrize("modules", [(), ("attention",), ("layers.1.attention.query",)])
def test_clean_attention_before_the_first_analog_expert_is_taken_from_memory(small, modules):
    digital = small.all_digital()
    digital[0, ::2] = False
    noise = Noise(noise_model="pcm", tile_rows=16)
    dense = dense_matrices(small.model.weights, modules)
    placed = small.placed(noise, digital, dense, 0, 1)
    first = small._first_analog_layer(digital, dense)
    reused, whole = (small.score(placed, first, reuse=reuse) for reuse in (True, False))
    np.testing.assert_allclose(reused.loss, whole.loss, rtol=1e-4)


def test_what_a_look_saw_is_not_computed_again(small, monkeypatch):
    digital = ~small.all_digital()
    noise = Noise(noise_model="pcm", tile_rows=16)
    scored = []
    score = small.score
    monkeypatch.setattr(small, "score", lambda p, f, rows: scored.append(rows) or score(p, f, rows))
    look = small.look(noise, digital)
    draws = len(scored)
    small.evaluate(noise, digital, look=look)
    assert not set(scored[0]) & set(scored[draws])
    assert sorted([*scored[0], *scored[draws]]) == list(range(len(small._inputs)))
