"""The step over its layers: bars follow each other, the drill-down adds up, a page shows both."""

import pandas as pd
import pytest

from reports.figures import breakdown_icicle, step_timeline
from reports.figures.step import pace, step_bars, step_words

LAYERS = pd.DataFrame(
    [(5, 0, 0, "attention", "accelerator", 0.0, 2.0, 3.0, 1.0, 0.0),
     (5, 0, 0, "dense_ffn", "accelerator", 2.0, 1.0, 3.0, 0.5, 0.0),
     (5, 1, 2, "attention", "accelerator", 0.0, 2.0, 6.0, 2.0, 0.0),
     (5, 1, 2, "analog_experts", "tiles", 2.0, 4.0, 6.0, 0.0, 0.25),
     (5, 3, 3, "lm_head", "accelerator", 0.0, 1.5, 1.5, 0.25, 0.0)],
    columns=["trial", "first_layer", "last_layer", "module", "resource", "start_s", "busy_s",
             "layer_s", "energy_mac_j_per_token", "energy_tile_adc_j_per_token"],
)  # fmt: skip
LAYERS["latency_mac_s_per_token"] = [2.0, 1.0, 4.0, 0.0, 1.5]
LAYERS["latency_tile_adc_s_per_token"] = [0.0, 0.0, 0.0, 8.0, 0.0]
LAYERS["area_tile_adc_mm2"] = [0.0, 0.0, 0.0, 3.0, 0.0]
CANDIDATES = pd.DataFrame({"trial": [5, 6], "energy_module_static_j_per_token": [1.0, 1.0]})


def test_a_layer_waits_for_the_one_before() -> None:
    bars = step_bars(LAYERS, 5)
    attention = bars[bars["module"] == "attention"]
    assert list(attention["start_s"]) == [0.0, 3.0, 9.0]
    assert list(bars[bars["resource"] == "tiles"]["start_s"]) == [5.0, 11.0]
    head = bars[bars["module"] == "lm_head"].iloc[0]
    assert head["start_s"] + head["busy_s"] == 16.5 and head["layer"] == 3


def test_following_steps_are_later_by_the_interval() -> None:
    figure = step_timeline(LAYERS, 5, interval_s=4.0)
    first, later = figure.data[1], figure.data[0]
    assert later.name == "following steps" and min(later.base) == 4.0 and max(later.base) == 27.0
    assert min(first.base) == 0.0
    assert not step_timeline(LAYERS, 6).data and "front" in step_timeline(LAYERS, 6).to_json()


def design(
    tokens_per_s: float, accelerator: float, tiles: float, sequences: float, cut: int = 4
) -> pd.Series:
    apart = {"accelerator": accelerator, "tiles": tiles, "sequences": sequences}
    columns = {f"interval_resource_{name}_s": seconds for name, seconds in apart.items()}
    return pd.Series(
        {"trial": 5, "throughput_tokens_per_s": tokens_per_s, "micro_batches": cut, **columns}
    )


def test_a_pace_of_several_batches_is_not_that_of_one() -> None:
    row = design(8.0, 3.9, 3.0, 1.0)
    found = pace(LAYERS, row, 4 * 32)
    assert found is not None
    assert (found.latency_s, found.interval_s, found.accelerator_s) == (16.5, 4.0, 3.9)
    assert "accelerator" in found.resource
    words = step_words(LAYERS, row, 4 * 32)
    assert "4.1 micro-batches" in words and "one alone gets 1.94 tokens/s" in words
    assert "alone" not in step_words(LAYERS, row.replace(8.0, 32 / 16.5), 4 * 32)
    assert pace(LAYERS, row.drop("interval_resource_tiles_s"), 32) is None, "not recorded"


@pytest.mark.parametrize(
    ("tiles", "cut", "words"),
    [(3.95, 32, "tiles of the busiest"), (3.8, 1, "into 1 micro-batch."),
     (3.8, 2, "into 2 micro-batches")],
)  # fmt: skip
def test_what_sets_the_pace_is_named(tiles: float, cut: int, words: str) -> None:
    row = design(1.9, 3.9, tiles, 16.5 / cut, cut)
    assert words in step_words(LAYERS, row, 32 * cut)


def test_area_and_time_drill_down_to_layers_and_what_they_share() -> None:
    table = CANDIDATES.assign(
        area_component_tile_adc_mm2=4.0, area_component_accelerator_mac_mm2=9.0
    )
    time = breakdown_icicle(table, 5, "latency", "layer", LAYERS).data[0]
    assert time.values[0] == 16.5, "the end of the step"
    area = breakdown_icicle(table, 5, "area", "layer", LAYERS).data[0]
    values = dict(zip(area.labels, area.values, strict=True))
    assert values["total"] == 13.0 and values["layers 1 to 2"] == 3.0
    assert values["tiers without weights"] == 1.0
    assert values["digital accelerator"] == 9.0


def test_the_drill_down_adds_up() -> None:
    trace = breakdown_icicle(CANDIDATES, 5, "energy", "layer", LAYERS).data[0]
    values = dict(zip(trace.ids, trace.values, strict=True))
    assert values["total"] == pytest.approx(1.0 + 1.5 + 2.25 + 0.25)
    for place, value in values.items():
        inner = [v for i, v, p in zip(trace.ids, trace.values, trace.parents, strict=True)
                 if p == place]  # fmt: skip
        assert not inner or sum(inner) == pytest.approx(value)
    assert "layers 1 to 2" in trace.labels and "layer 0" in trace.labels
