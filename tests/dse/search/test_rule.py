"""The rule that recommends: read as people write it, and applied to small sets worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.search.rule import Judged, Rule, read_rule, recommend


def judged(rows: list[tuple[float, ...]]) -> Judged:
    """Designs as (energy mJ, thousand tokens/s, area mm2, loss mnat, has tiles)."""
    energy, speed, area, loss, tiles = (
        np.array(column, dtype=float) for column in zip(*rows, strict=True)
    )
    costs = {"energy_j_per_token": 1e-3 * energy, "throughput_tokens_per_s": 1e3 * speed,
             "area_mm2": area}  # fmt: skip
    return Judged(costs, 1e-3 * loss, 31e-3 * loss, tiles > 0, np.ones(len(rows), dtype=bool))


def test_least_energy_of_those_that_lose_at_most_a_point() -> None:
    # 33 mnat are 1.02 points at 31 points a nat, 32 are 0.99.
    designs = judged([(60, 2.5, 168, 0, 0), (12, 9, 150, 33, 1), (14, 9, 150, 32, 1)])
    assert recommend(Rule(), designs) == 2
    assert recommend(Rule(0.034, "nats"), designs) == 1
    assert recommend(Rule(0.5), designs) == 0


def test_no_digit_that_cannot_be_told_decides() -> None:
    # The second is 0.5 % less frugal, as fast, and takes two thirds of the area.
    designs = judged([(14.00, 9, 200, 1, 1), (14.07, 9, 131, 1, 1), (60, 2, 168, 0, 0)])
    assert recommend(Rule(), designs) == 1


def test_tiles_must_pay_clearly_against_digital() -> None:
    rows = [(60, 2.5, 168, 0, 0), (56, 2.5, 168, 0, 1)]
    assert recommend(Rule(), judged(rows)) == 0  # 7 % less energy
    assert recommend(Rule(), judged([rows[0], (53, 2.5, 168, 0, 1)])) == 1  # 12 %
    assert recommend(Rule(), judged([rows[0], (60, 2.5, 140, 0, 1)])) == 1  # 17 % less area
    assert recommend(Rule(), judged([rows[0], (60, 2.5, 140, 1, 1)])) == 0  # but less accurate


def test_what_is_preferred_decides() -> None:
    designs = judged([(60, 2.5, 90, 0, 0), (12, 9, 150, 1, 1), (14, 19, 180, 1, 1)])
    picks = [recommend(Rule(prefer=name), designs) for name in ("energy", "throughput", "area")]
    assert picks == [1, 2, 0]


def test_nothing_is_recommended_where_nothing_is_allowed() -> None:
    assert recommend(Rule(0.0), judged([(60, 2.5, 168, 5, 1)])) is None


design = st.tuples(
    *(st.integers(0, 60).map(lambda n: 1.007**n) for _ in range(3)),
    st.integers(0, 3).map(float),
    st.integers(0, 1),
)


@given(st.lists(design, min_size=1, max_size=12))
def test_nothing_is_as_good_and_clearly_better_in_one(rows) -> None:
    designs = judged(rows)
    chosen = recommend(Rule(), designs)
    energy, speed, area, loss, tiles = rows[chosen]
    for e, s, a, d, _ in rows:
        as_good = d <= loss and e <= 1.01 * energy and s >= 0.99 * speed
        assert not (as_good and (e < 0.9 * energy or s > 1.1 * speed or a < 0.9 * area))
    digital = [row for row in rows if not row[4]]
    if tiles and digital:
        gains = energy < 0.9 * min(row[0] for row in digital) * 1.01
        assert gains or any(
            energy <= 1.01 * e and s <= speed / 0.99 and (speed > 1.1 * s or area < 0.9 * a)
            for e, s, a, _, _ in digital
        )


@pytest.mark.parametrize(
    ("max_loss", "said"),
    [("1point", "1 point of accuracy"), ("0.5 points", "0.5 points"), ("0.03nats", "0.03 nats")],
)
def test_the_largest_loss_as_people_write_it(max_loss: str, said: str) -> None:
    assert f"lose at most {said}" in str(read_rule(max_loss, "energy"))


@pytest.mark.parametrize(
    ("max_loss", "prefer", "words"),
    [("1", "energy", "1point or 0.03nats"), ("-1point", "energy", "-1point"),
     ("nan points", "energy", "nan"), ("1point", "enrgy", "nearest is energy")],
)  # fmt: skip
def test_a_rule_that_means_nothing_is_refused(max_loss: str, prefer: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_rule(max_loss, prefer)
