"""Constraints and settings as people write them, and what is said of those that mean nothing."""

import pytest

from dse import explore
from dse.metrics import read_constraint
from dse.search.settings import Settings


@pytest.mark.parametrize(
    ("text", "column", "at_most", "bound"),
    [
        ("latency_per_token <= 5 ms", "latency_s_per_token", True, 5e-3),
        ("latency_per_token≤5 ms", "latency_s_per_token", True, 5e-3),
        ("LATENCY_PER_TOKEN =< 5ms", "latency_s_per_token", True, 5e-3),
        ("power < 15W", "power_w", True, 15.0),
        ("energy_per_token <= 5 mJ/token", "energy_j_per_token", True, 5e-3),
        ("throughput>=1k", "throughput_tokens_per_s", False, 1000.0),
        ("throughput ≥ 2e3 tokens/s", "throughput_tokens_per_s", False, 2000.0),
        ("throughput > 1.5 k tok/s", "throughput_tokens_per_s", False, 1500.0),
        ("accuracy>=60%", "accuracy", False, 0.6),
        ("delta_loss<=0.1 nats", "delta_loss_nats", True, 0.1),
    ],
)
def test_constraints_in_other_words(text: str, column: str, at_most: bool, bound: float) -> None:
    read = read_constraint(text)
    assert (read.metric.column, read.at_most) == (column, at_most)
    assert read.bound == pytest.approx(bound)
    assert read_constraint(str(read)) == read


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tokens_per_s>=1000", "nearest is throughput"),
        ("throughput>=1,000", "a plain number"),
        ("throughput>=1 k tok", "tok/s"),
        ("accuracy>=60", "a share from 0 to 1"),
        ("latency_per_token<=5ms, power<=10W", "more than one constraint"),
        ("1ms<=latency_per_token<=5ms", "unknown metric '1ms'"),
    ],
)
def test_constraints_that_say_nothing(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_constraint(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"constraints": ["latency_per_token<=5ms", "latency_per_token>=6ms"]}, "no design has"),
        ({"constraints": ["power<=9W", "power>=5W", "power<=4W"]}, "power>=5 W and power<=4 W"),
        ({"constraints": "area>=300mm2"}, "area>=300 mm2 and area<=200 mm2"),
        ({"objectives": "accurcy"}, "nearest is accuracy"),
        ({"budget_area": float("nan")}, "budget area is nan"),
        ({"budget_area": -5}, "budget area is -5"),
        ({"budget_area": None}, "an area"),
        ({"concurrency": 1.5}, "concurrency is 1.5: a whole number"),
        ({"concurrency": "32"}, "concurrency is '32': a whole number"),
        ({"seed": True}, "seed is True: a whole number"),
        ({"model": None}, "model is None"),
        ({"trails": 3}, "unknown option 'trails'; nearest is trials"),
        ({"timeout": 90}, "nearest is timeout_s"),
        ({"jobs": 0}, "jobs is 0"),
        ({"choices": {"tile_rows": 3}}, "tile_rows=3"),
    ],
)
def test_wrong_arguments_of_explore(change, words: str, tmp_path) -> None:
    with pytest.raises(ValueError, match=words):
        explore(**{"model": "olmoe", "output": tmp_path / "run", "trials": 1} | change)
    assert not (tmp_path / "run").exists()


def test_a_lower_bound_below_an_upper_one_is_no_contradiction() -> None:
    both = ("power>=5W", "power<=9W", "power<=7W", "area<=50mm2")
    assert len(Settings("olmoe", 200.0, constraints=both).limits().constraints) == 4


def test_one_value_fixes_a_parameter() -> None:
    space = Settings("olmoe", 200.0, choices={"tile_rows": 512, "technology": "pcm-3d"}).space()
    assert space["tile_rows"].choices == (512,)
    assert space["technology"].choices == ("pcm-3d",)
