"""The report as a file: size, escaping, odd runs; test_browser_views.py sees what it looks like."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports import write_report
from reports.payload import MOST_STAGES, pack, thin_layers

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=alert(1)>"


def page_without_scripts(path: Path) -> str:
    return re.sub(r"<script.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_five_thousand_candidates_stay_below_eight_megabytes(large_report: Path) -> None:
    assert large_report.stat().st_size < 8e6


def test_a_front_of_many_layers_stays_below_eight_megabytes() -> None:
    """Every layer of each differs: the page keeps the designs it must and an even rest."""
    row = {"first_layer": 1, "last_layer": 1, "energy_mac_j_per_token": 0.1}
    layers = pd.DataFrame([row | {"trial": trial} for trial in range(300) for _ in range(100)])
    kept = thin_layers(layers, keep=[7, 299])
    assert len(kept) <= MOST_STAGES and {7, 299} <= set(kept["trial"])
    assert (kept.groupby("trial").size() == 100).all(), "a design is kept whole"
    assert kept["trial"].min() == 0 and kept["trial"].nunique() > 40


def test_packed_columns_hold_what_the_table_holds() -> None:
    many = np.arange(400.0)
    table = pd.DataFrame({"few": [1.0, np.nan, 3.0, 1.0] * 100, "many": many,
                          "text": ["a", None, "b", "a"] * 100, "names": [f"n{i}" for i in many],
                          "yes": [True, False] * 200})  # fmt: skip
    for name, packed in pack(table).items():
        assert unpacked(packed) == [None if pd.isna(v) else v for v in table[name]], name


def unpacked(packed: dict) -> list:
    """What the page makes of a packed column."""
    data = packed["data"]
    places = list(base64.b64decode(data)) if isinstance(data, str) else data
    if "values" not in packed:
        return list(np.frombuffer(base64.b64decode(data), dtype="<f4"))
    values = packed["values"]
    return [values[place] if 0 <= place < len(values) else None for place in places]


def test_the_page_asks_for_nothing_from_a_network(make_run: Callable[..., Path]) -> None:
    page = page_without_scripts(write_report(make_run(designs=40)))
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", page)
    assert "default-src 'none'" in page


def hostile(table: pd.DataFrame, config: dict) -> pd.DataFrame:
    config["model_title"] = HOSTILE
    config["command"] = HOSTILE
    table["technology"] = HOSTILE
    table["reason"] = HOSTILE
    table["reference_name"] = table["reference_name"].where(table["reference_name"].isna(), HOSTILE)
    table["placement_score"] = HOSTILE
    table["accuracy_source"] = HOSTILE
    return table


def test_hostile_text_never_becomes_markup(make_run: Callable[..., Path]) -> None:
    text = write_report(make_run(designs=40, change=hostile)).read_text(encoding="utf-8")
    assert "<script>window" not in text and "<img src=x" not in text
    assert "&lt;script&gt;window" in text
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert HOSTILE in json.loads(data[1])["columns"]["technology"]["values"]


def keep(**wanted: object) -> Callable[[pd.DataFrame, dict], pd.DataFrame]:
    def change(table: pd.DataFrame, config: dict) -> pd.DataFrame:
        for name, value in wanted.items():
            table = table[table[name] == value]
        if "complete" not in set(table["state"]):
            config["recommended_trial"] = None
        return table

    return change


@pytest.mark.parametrize(
    "settings",
    [
        {"designs": 0, "with_experts": False},
        {"designs": 1, "simulated": 1.0},
        {"change": keep(state="ruled_out")},
        {"change": keep(state="reference")},
        {"change": keep(is_knee=True), "with_experts": False},
        {"change": lambda table, config: config.clear() or table},
        {"change": lambda table, config: table[["trial", "state", "area_mm2", "energy_j_per_token",
                                                "throughput_tokens_per_s"]]},
    ],
    ids=["nothing", "one", "none feasible", "references", "knee alone", "no config", "few columns"],
)  # fmt: skip
def test_odd_runs_still_give_a_report(make_run: Callable[..., Path], settings: dict) -> None:
    page = page_without_scripts(write_report(make_run(**{"designs": 60, **settings})))
    assert "What to build" in page
    assert not re.search(r"\b(nan|None(?! of)|NaT|inf)\b", re.sub(r"<style>.*?</style>", "", page,
                                                           flags=re.DOTALL))  # fmt: skip
