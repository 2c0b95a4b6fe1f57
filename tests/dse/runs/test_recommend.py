"""Marks, flips and words of a recommendation on tables worked by hand."""

import numpy as np
import pandas as pd
import pytest

from dse.metrics import Limits, metric
from dse.runs import bounds, flips, recommendation, words
from dse.runs.recommend import answers, mark, with_reference_designs
from dse.search.rule import Judged, Rule
from dse.search.settings import Settings
from dse.search.space import default_space

OBJECTIVES = [metric(name) for name in ("delta_loss", "energy_per_token", "throughput")]
KINDS = {"pcm-14nm": "silicon", "pcm-3d": "projection"}
EXPERTS = 100
COLUMNS = ("trial", "technology", "tiles", "digital_experts", "delta_loss_nats",
           "energy_j_per_token", "throughput_tokens_per_s", "area_mm2")  # fmt: skip


def table(*rows: tuple[object, ...]) -> pd.DataFrame:
    """Designs by COLUMNS; complete, with an error of 1 mnat where they have tiles."""
    found = pd.DataFrame(list(rows), columns=list(COLUMNS))
    tiles = found["tiles"] > 0
    return found.assign(
        state="complete", reason=None, reference_name=None, analog_modules="none",
        technology_kind=[KINDS.get(name) for name in found["technology"]],
        digital_expert_fraction=found["digital_experts"] / EXPERTS,
        delta_loss_stderr=np.where(tiles, 1e-3, 0.0), mac_units=1024, sram_mib=1.0, hbm_stacks=2,
        tile_rows=np.where(tiles, 512, np.nan), tile_cols=np.where(tiles, 512, np.nan),
        tiers=np.where(tiles, 64, np.nan), dac_bits=np.where(tiles, 8, np.nan), memory="hbm3",
        dies=1, digital_weight_bits=16,
        adc_bits=np.where(tiles, 8, np.nan), placement_score=None, placement_scope=None,
    )  # fmt: skip


DIGITAL = (0, None, 0, 100, 0.0, 60e-3, 2500.0, 168.0)
PROJECTED = (1, "pcm-3d", 20, 0, 5e-3, 14e-3, 9000.0, 150.0)
ONE_EXPERT = (2, "pcm-14nm", 22, 99, 0.0, 59.9e-3, 2500.0, 190.0)


def marked(*rows: tuple[object, ...]) -> pd.DataFrame:
    return mark(table(*rows), Rule(), OBJECTIVES)


def test_the_two_answers_stand_side_by_side() -> None:
    hardly = (2, "pcm-14nm", 22, 98, 0.0, 59.9e-3, 2500.0, 190.0)
    found = marked(DIGITAL, PROJECTED, hardly)
    assert found["recommended_of"].tolist() == ["silicon", "all", ""]
    assert found["is_recommended"].tolist() == [False, True, False]
    assert found["on_front"].tolist() == [True, True, False]
    assert found["ties"].tolist() == [2, 1, 0]  # two experts make no difference
    only_silicon = marked(DIGITAL, hardly)
    assert only_silicon["recommended_of"].tolist() == ["silicon, all", ""]


def test_tiles_that_hold_next_to_nothing_are_not_recommended() -> None:
    cheap = (3, "pcm-14nm", 22, 99.5, 0.0, 20e-3, 9000.0, 100.0)
    assert marked(DIGITAL, cheap)["recommended_of"].tolist() == ["silicon, all", ""]
    used = (3, "pcm-14nm", 22, 90, 0.0, 20e-3, 9000.0, 100.0)
    assert marked(DIGITAL, used)["recommended_of"].tolist() == ["", "silicon, all"]


def test_ruled_out_and_unknown_designs_are_neither_recommended_nor_on_the_front() -> None:
    designs = table(DIGITAL, PROJECTED)
    designs.loc[1, "state"] = "ruled_out"
    found = mark(designs, Rule(), OBJECTIVES)
    assert found["on_front"].tolist() == [True, False]
    designs = table(DIGITAL, PROJECTED)
    designs.loc[1, "reason"] = "breaks accuracy>=0.9"
    assert mark(designs, Rule(), OBJECTIVES)["recommended_of"].tolist()[1] == ""


def test_references_within_the_limits_become_designs() -> None:
    rows = table(DIGITAL, PROJECTED, PROJECTED)
    rows["state"], rows["reference_name"] = "reference", ["digital", "fits", "too large"]
    rows.loc[2, ["reason", "area_mm2"]] = ["does not fit", 81916.0]
    rows.loc[0, "area_mm2"] = 201.0
    found = with_reference_designs(rows, Limits(200.0).on_cost)
    assert len(found) == 4
    assert found.iloc[3][["state", "area_mm2", "trial"]].tolist() == ["complete", 150.0, 2]
    assert found.iloc[3]["reference_name"] is None


def document(designs: pd.DataFrame, **options: object) -> dict:
    facts = recommendation.Facts(EXPERTS, 200.0, KINDS, 81911.0, "a miniature")
    turning = pd.DataFrame(
        [("tiers that can be built", 64.0, "", 13.0, "build no tiles", "Tiers below 13.")],
        columns=["question", "now", "unit", "flips_at", "becomes", "sentence"],
    )
    return recommendation.document(designs, Rule(), facts, turning, [])


def test_what_silicon_cannot_hold_is_said_with_the_area_it_needs() -> None:
    said = document(marked(DIGITAL, ONE_EXPERT))
    why = "in measured silicon one expert fits; all of them need 81,911 mm2."
    assert said["silicon"]["sentence"].startswith(f"Build no analog tiles: {why}")
    assert "60 mJ per token, 2.5 k tok/s, 168 mm2, 0.0 points lost" in said["sentence"]
    assert said["silicon"]["design"] == said["projection"]["design"] == 0


def test_what_a_projection_must_deliver() -> None:
    designs = marked(DIGITAL, PROJECTED, ONE_EXPERT)
    designs["energy_component_tile_adc_j_per_token"] = [0.0, 5e-3, 0.0]
    said = document(designs)
    assert (said["silicon"]["design"], said["projection"]["design"]) == (0, 1)
    # The total may rise from 14 mJ to nine tenths of 60, by 40 mJ: tiles of 5 mJ to 45.
    needs = said["projection"]["must_deliver"]
    assert needs[0] == "at least 14 of 64 tiers"
    assert needs[1] == "tiles of at most 9 times the projected energy"
    # 5 mnat at 31 points a nat: 0.155, and a standard error of 0.031.
    assert needs[2] == "a loss of at most 1 point of accuracy (estimated: 0.2 points (0.1–0.2))"
    assert "4.3 times less energy and 3.6 times the throughput" in said["why"][0]


def test_nothing_allowed_is_said() -> None:
    said = document(marked((1, "pcm-3d", 20, 0, 0.5, 14e-3, 9000.0, 150.0)))
    assert said["sentence"] == (
        "No design of this search loses at most 1 point of accuracy and meets the limits."
    )
    assert said["silicon"]["design"] is None


def test_a_flip_is_found_where_it_is() -> None:
    """Tiles cost 14 mJ and 1 mJ for each unit of a constant; digital 60: they pay up to 40."""
    rows = marked(DIGITAL, PROJECTED)

    def designs(value: float) -> Judged:
        costs = {"energy_j_per_token": np.array([60.0, 14.0 + value]),
                 "throughput_tokens_per_s": np.full(2, 9e3),
                 "area_mm2": np.full(2, 100.0)}  # fmt: skip
        losses = np.zeros(2)
        return Judged(costs, losses, losses, np.array([False, True]), np.ones(2, dtype=bool))

    at = flips.Ground(None, rows, Settings("deepseekmoe", 200.0))
    asked = flips.Question("pain", "mJ", 1.0, ([10.0, 30.0, 50.0], [0.1]), designs)
    found = flips.answer(at, asked)
    assert found["flips_at"] == pytest.approx(40.0, rel=0.02)
    assert found["becomes"] == "build no tiles"
    assert found["sentence"].startswith("Pain above 40")
    calm = flips.Question("calm", "", 1.0, ([2.0], [0.5]), designs)
    found = flips.answer(at, calm)
    assert np.isnan(found["flips_at"])
    assert found["sentence"] == "Calm: no other answer from 0.5 to 2."


@pytest.mark.parametrize(
    ("name", "value", "following"),
    [("sram_mib", 32.0, 64.0), ("sram_mib", 1.0, 0.5), ("adc_bits", 10, 11), ("dac_bits", 5, 4),
     ("tiers", 1024, None), ("hbm_stacks", 64, 80), ("digital_expert_fraction", 0.0, None)],
)  # fmt: skip
def test_what_follows_an_end_of_the_space(name: str, value: float, following: float | None) -> None:
    assert bounds.following(default_space()[name], value) == following


def test_a_design_in_words() -> None:
    row = table(PROJECTED).iloc[0]
    assert words.tiles(row) == "20 tiles of pcm-3d (512 x 512 in 64 tiers, DAC/ADC of 8/8 bits)"
    assert words.analog_parts(row, EXPERTS) == "all 100 experts"
    assert (
        words.digital(row)
        == "1,024 MAC units, 1 MiB of SRAM, 2 stacks of hbm3 and digital weights of 16 bits"
    )
    assert words.times(0.88, "throughput", "energy") == "12 % less energy"
    assert words.times(4.3, "throughput", "energy") == "4.3 times the throughput"


def test_answers_of_a_marked_table() -> None:
    found = answers(marked(DIGITAL, PROJECTED))
    assert (found["silicon"]["trial"], found["all"]["trial"]) == (0, 1)
