"""Anchors: their arithmetic by hand, the fit against what it must give back, bad files."""

import math

import pytest

from dse.simulation import anchors
from dse.simulation.anchors import (
    Anchor,
    fit,
    left_out,
    predict,
    predicted,
    published_anchors,
    published_fit,
    read_anchors,
)
from dse.simulation.benchmark_points import points_lost
from dse.simulation.responses import BITS, Response, responses
from workloads.checkpoint import load_miniature

OLMOE = [a for a in published_anchors() if a.in_points and a.stand_in == "olmoe-mini"]


def test_points_by_hand():
    """63.17 %: the first 1.17 points at 30.8 a nat take 0.038 nats, the next at 29.1."""
    assert points_lost(0.02, 63.17) == pytest.approx(0.02 * 30.8)
    first = 1.17 / 30.8
    assert points_lost(0.1, 63.17) == pytest.approx(1.17 + (0.1 - first) * 29.1)
    assert points_lost(-0.01, 63.17) == pytest.approx(-0.308)
    assert points_lost(0.1, 75.0) == pytest.approx(3.85)  # above all models of the table
    assert points_lost(1e3, 63.17) == pytest.approx(23.17)  # nothing below 40 %


def response(**changes):
    values = {
        "sensitivity": {"experts": 0.8, "attention": 1.5, "lm_head": 3.0},
        "sensitivity_stderr": {},
        "quarter_digital": 0.6,
        "converter_loss": {
            "experts": {"4": 0.32, "5": 0.08, "6": 0.02, "7": 0.005},
            "dense": {"4": 1.28, "5": 0.32, "6": 0.08, "7": 0.02},
        },
        "weights": "",
    }
    return Response(**(values | changes))


def test_converter_losses_between_and_beyond_bits():
    """A factor of four a bit: half a bit is a factor of two; beyond 7 bits so on."""
    made = response()
    assert made.lost_to_converters("experts", 5.5) == pytest.approx(0.04)
    assert made.lost_to_converters("experts", 9.0) == pytest.approx(0.005 / 16)
    assert made.lost_to_converters("dense", 4.0) == pytest.approx(1.28)


def parameters(**values):
    return lambda name: values.get(name, 0.0)


def test_predictions_by_hand(monkeypatch):
    monkeypatch.setattr(anchors, "responses", lambda: {"olmoe-mini": response()})
    monkeypatch.setattr(anchors, "_pcm_error_squared", lambda rows: 0.008)
    every = {(a.what, a.magnitude): a for a in OLMOE}
    given = parameters(log_experts=math.log(4), log_lm_head=math.log(0.5), bits_olmoe_experts=2.0)
    # Converters: 8 bits less 2 are 6, 0.02 nats; of dense modules 8 bits, 0.02 / 4 nats.
    experts = every["experts", 0.0]
    assert predicted(experts, given) == pytest.approx(30.8 * 0.02)
    assert predicted(every["all", 0.0], given) == pytest.approx(30.8 * 0.025)
    # c = 1.5: 1.5^2 * 0.008 * 4 * 0.8 = 0.0576 nats more, so 0.0776; with a quarter digital 0.6.
    noisy = every["experts", 1.5]
    assert predicted(noisy, given) == pytest.approx(points_lost(0.0776, 63.17))
    quarter = every["75 % of experts", 1.5]
    assert predicted(quarter, given) == pytest.approx(points_lost(0.6 * 0.0776, 63.17))
    # With the dense modules 0.018 * (1.5 + 0.5 * 3) = 0.054 and 0.005 of converters more.
    assert predicted(every["all", 1.5], given) == pytest.approx(points_lost(0.1366, 63.17))
    # In nats: all but the head 0.01 * (4 * 0.8 + 1.5), the head alone 0.01 * 0.5 * 3.
    body = next(a for a in published_anchors() if a.model == "Qwen3-30B-A3B")
    assert predicted(body, given) == pytest.approx(0.0074 * 4.7)
    head = next(a for a in published_anchors() if a.what == anchors.HEAD)
    shifted = parameters(log_lm_head=math.log(0.5), **{f"offset_{head.model}": math.log(2)})
    assert predicted(head, shifted) == pytest.approx(2 * head.error_squared * 1.5)


def test_published_numbers_are_those_of_the_papers():
    losses = {(a.family, a.what, a.magnitude): a.loss for a in published_anchors() if a.in_points}
    # 63.17 - 60.73, - 58.45, - 61.82, - 62.46, - 61.54; 61.28 - 61.03, - 55.04.
    assert losses == {
        ("olmoe", "experts", 1.5): 2.44, ("olmoe", "all", 1.5): 4.72,
        ("olmoe", "75 % of experts", 1.5): 1.35, ("olmoe", "experts", 0.0): 0.71,
        ("olmoe", "all", 0.0): 1.63, ("deepseekmoe", "experts", 0.0): 0.25,
        ("deepseekmoe", "all", 0.0): 6.24,
    }  # fmt: skip
    heads = [a for a in published_anchors() if a.what == anchors.HEAD]
    # ln((5.9066 + 0.2499) / (5.9066 + 0.2166)) = 0.00542, and so on.
    assert heads[0].loss == pytest.approx(math.log(6.1565 / 6.1232), abs=1e-5)
    assert not any(a.status.split()[0] == "M" for a in published_anchors() if a.status)


def test_fit_gives_back_what_made_its_anchors(monkeypatch):
    """Anchors of given parameters: the fit finds them but for what is known beforehand.

    The attention is given what its ratio to the experts (0.69 at full size) says.
    """
    full = responses()["olmoe-mini"].sensitivity
    ratio = 1.41 / 2.04 * full["experts"] / full["attention"]
    given = {
        "log_experts": 1.2, "log_attention": 1.2 + math.log(ratio), "log_lm_head": -0.9,
        "bits_olmoe_experts": 2.0, "bits_olmoe_dense": 1.4, "bits_deepseekmoe_experts": 1.6,
    }  # fmt: skip
    made = [
        Anchor(**{**vars(a), "loss": predicted(a, parameters(**given))})
        for a in published_anchors()
    ]
    found = fit(made)
    for name in ("log_experts", "log_attention", "log_lm_head", "bits_olmoe_experts"):
        assert found[name] == pytest.approx(given[name], abs=0.15), name


def test_olmoe_left_out_within_its_aim():
    """The aim: 0.6 points, each row predicted by a fit to all others."""
    for anchor in OLMOE:
        out = left_out(anchor)
        assert abs(out.value - anchor.loss) < 0.6, anchor.name
        assert out.low < out.value < out.high


def test_band_covers_two_thirds():
    every = [a for a in published_anchors() if not a.not_fitted_because]
    inside = [left_out(a).low <= a.loss <= left_out(a).high for a in every]
    assert sum(inside) >= 2 / 3 * len(inside)


def test_a_model_never_seen_has_a_wider_band():
    found = published_fit()
    body = next(a for a in published_anchors() if a.model == "Mistral-7B")
    seen = predict(body, found)
    unseen = predict(Anchor(**{**vars(body), "model": "another"}), found)
    assert unseen.high / unseen.low > 1.5 * seen.high / seen.low


def test_unexplained_number_is_not_used():
    odd = [a for a in published_anchors() if a.not_fitted_because]
    assert any(a.family == "deepseekmoe" and a.loss == 6.24 for a in odd)
    changed = [
        Anchor(**{**vars(a), "loss": 2 * a.loss}) if a.not_fitted_because else a
        for a in published_anchors()
    ]
    assert fit(changed).values == pytest.approx(published_fit().values, abs=1e-6)


def test_responses_belong_to_the_shipped_weights():
    """Measured again when weights change: python -m dse.simulation.responses."""
    from dse.simulation.responses import weights_digest

    for name, made in responses().items():
        assert made.weights == weights_digest(load_miniature(name)), name
        assert set(made.converter_loss["experts"]) == {str(bits) for bits in BITS}


HEADER = "model,layers,perturbation,delta_loss_nats,gaussian_rel_err_sq\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model,layers\na,1\n", "lacks the column 'perturbation'"),
        ("model,layers,what_is_analog,noise,clean,delta\n", "no anchors"),
        (HEADER + "a,1,q,nan,0.01\n", "delta_loss_nats is 'nan'"),
        (HEADER + "a,1,q,-0.1,0.01\n", "must be above 0"),
        (HEADER + "a,1,q,0.1\n", "gaussian_rel_err_sq is ''"),
        ("model,what_is_analog,layers,noise,clean,delta\nOLMoE,all,16,PCM,x,-1\n", "clean is 'x'"),
        ("", "lacks the column"),
    ],
)
def test_bad_anchor_files_in_one_line(tmp_path, text, said):
    path = tmp_path / "anchors.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        read_anchors(path)
    assert "\n" not in str(error.value)


def test_missing_anchor_file(tmp_path):
    with pytest.raises(ValueError, match="cannot read"):
        read_anchors(tmp_path / "none.csv")
