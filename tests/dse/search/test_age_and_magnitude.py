"""Age and magnitude as parts of the question: read, refused, recorded, and felt by the losses."""

import math

import numpy as np
import pytest
from command_line import invoke, one_line

from dse import units
from dse.search.full_loss import full_columns
from dse.search.settings import Settings
from dse.search.simulating import noise_of
from dse.search.simulation_key import CLEAN
from dse.simulation.benchmark_points import points_lost
from dse.simulation.full_model import COLUMNS, causes, full_loss, unexplained
from dse.simulation.result import Simulated
from hwmodels.nonideality import Noise


def settings(**given):
    return Settings(**({"model": "olmoe", "budget_area_mm2": 200.0} | given))


def test_defaults_are_a_day_and_one():
    made = settings()
    assert (made.age_s, made.magnitude) == (86400.0, 1.0)
    assert made.document()["age_s"] == 86400.0 and made.document()["magnitude"] == 1.0
    assert Settings.read(made.document()) == made


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h", 3600), ("1day", 86400), ("2 days", 172800), ("1month", 365.25 / 12 * 86400),
     ("1year", 365.25 * 86400), ("fresh", 0), ("90 min", 5400)],
)  # fmt: skip
def test_ages_are_read(text, seconds):
    assert units.age(text) == pytest.approx(seconds)


def test_ages_are_written():
    written = [units.age_text(s) for s in (0, 3600, 86400, 5 * 86400, 365.25 / 12 * 86400)]
    assert written == ["fresh", "1 h", "1 day", "5 days", "1 month"]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--age", "-1 day", "must be greater than zero"),
        ("--age", "3 fortnights", "'fortnights' is no unit of age"),
        ("--age", "nan", "'nan' is not an age"),
        ("--age", "2000 years", "larger than a century"),
        ("--magnitude", "nan", "nan"),
        ("--magnitude", "-1", "-1"),
    ],
)
def test_bad_ages_and_magnitudes_in_one_line(option, value, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("explore", "--model", "olmoe", "--budget-area", "200mm2", option, value)
    one_line(result, words)
    assert not any(tmp_path.iterdir())


def test_cells_that_were_not_measured_so_long_are_left_out():
    """Of the search's own choices; asked for by name they are refused in one line."""
    month = settings(age_s=units.age("1month"))
    assert "rram-22nm" not in month.space()["technology"].choices
    assert "two days" in month.without_such_an_age()["rram-22nm"] or (
        "172800 s" in month.without_such_an_age()["rram-22nm"]
    )
    assert "rram-22nm" in settings().space()["technology"].choices
    with pytest.raises(ValueError, match="rram-22nm") as error:
        settings(age_s=units.age("1month"), choices={"technology": ["rram-22nm"]})
    assert "\n" not in str(error.value)


def test_noise_of_a_key_has_the_questions_age_and_magnitude(problem):
    from dataclasses import replace

    key = problem.keys.key(int(problem_code(problem)))
    aged = replace(problem, age_s=172800.0, magnitude=1.5)
    noise = noise_of(aged, key)
    assert (noise.time_s, noise.magnitude) == (172800.0, 1.5)
    assert noise_of(replace(problem, age_s=0.0), key).time_s is None


def problem_code(problem):
    from dse.search.costing import cost

    costed = cost(problem, problem.space.random(64, np.random.default_rng(0)))
    return next(code for code in costed.codes.tolist() if code != CLEAN)


@pytest.fixture(scope="module")
def problem():
    from dse.search.setup import make_problem

    return make_problem(settings(), simulate=False)


def test_columns_of_known_missing_and_clean_results(problem):
    code = problem_code(problem)
    results = {
        CLEAN: Simulated(delta_loss_nats=0.0, delta_loss_stderr=0.0),
        code: Simulated(delta_loss_nats=0.05, delta_loss_stderr=0.002),
    }
    found = full_columns(problem, results, np.array([code, CLEAN, code + 1]))
    assert set(found) == set(COLUMNS)
    assert found["full_loss_nats"][:2].tolist() == [0.05, 0.0]
    assert all(np.isnan(values[2]) for values in found.values())
    assert found["full_points_low"][0] < found["full_points"][0] < found["full_points_high"][0] < 0
    assert found["full_points"][1] == 0


def test_points_of_a_checkpoints_own_loss_by_hand():
    """No gain: the band is the slope's 15 % and the loss's own error."""
    own = full_loss(0.02, 0.0, None, "olmoe", "olmoe-mini")
    ratio = -own.full_points / points_lost(0.02, 63.17)
    assert -own.full_points_low == pytest.approx(-own.full_points * math.exp(0.15))
    assert ratio == pytest.approx(1.12, abs=0.1)  # of the fit: points a nat against the table's
    noisy = full_loss(0.02, 0.004, None, "olmoe", "olmoe-mini")
    assert noisy.full_points_low < own.full_points_low


def test_causes_add_up_and_follow_what_is_analog():
    noise = Noise(magnitude=1.5)
    experts = causes(noise, 1.0, (), "olmoe-mini")
    assert experts["attention"] == experts["lm_head"] == 0 == experts["converters of dense"]
    half = causes(noise, 0.5, (), "olmoe-mini")
    assert half["experts"] == pytest.approx(experts["experts"] / 2)
    every = causes(noise, 1.0, ("attention", "lm_head"), "olmoe-mini")
    assert every["attention"] > 0 and every["converters of dense"] > 0
    assert experts["experts"] == every["experts"]


def test_a_choice_of_experts_and_another_model_widen_the_band():
    made_of = causes(Noise(), 0.75, (), "olmoe-mini")

    def width(model, analog):
        found = full_loss(0.05, 0.0, made_of, model, "olmoe-mini", analog)
        return found.full_points_high - found.full_points_low

    assert width("olmoe", 0.75) > 1.5 * width("olmoe", 1.0)
    assert width("mixtral", 1.0) > 1.5 * width("olmoe", 1.0)


def test_what_no_gain_explains_is_said():
    assert "6.24 points" in unexplained("deepseekmoe", ("attention",))
    assert unexplained("deepseekmoe", ()) == unexplained("olmoe", ("attention",)) == ""
