"""`dse validate --accuracy`: what it prints and refuses."""

import json

import pytest
from command_line import invoke, one_line

from dse.simulation.anchors import published_anchors

HEADER = "model,layers,perturbation,delta_loss_nats,gaussian_rel_err_sq\n"


def test_every_anchor_with_its_prediction_and_band():
    document = json.loads(invoke("validate", "--accuracy", "--json").stdout)
    rows = document["anchors"]
    assert len(rows) == len(published_anchors())
    assert all(row["low"] < row["left_out"] < row["high"] for row in rows)
    own = [r for r in rows if r["model"].startswith("OLMoE") and r["unit"] == "points"]
    assert len(own) == 5 and all(abs(row["error"]) <= 0.6 and row["used"] for row in own)
    odd = next(row for row in rows if row["published"] == 6.24)
    assert not odd["used"] and "no gain" in odd["note"]
    assert any("6.24" in sentence for sentence in document["findings"])
    # Worst first: by how far a row lies from its band's middle.
    assert rows[0]["covered"] is False and rows[-1]["covered"] is True


def test_printed_in_a_terminals_width():
    result = invoke("validate", "--accuracy")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 100
    for word in ("worst row first", "gain of experts", "aim", "Not fitted"):
        assert word in result.stdout


def test_anchors_of_ones_own_are_predicted_and_not_fitted(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(HEADER + "mine-7b,32,Q4,0.03,0.007\n")
    (row,) = json.loads(invoke("validate", "--accuracy", "--anchors", path, "--json").stdout)[
        "anchors"
    ]
    assert row["used"] is False and row["predicted"] == row["left_out"] > 0
    # A model nobody measured: the band spans more than a factor of two.
    assert row["high"] / row["low"] > 2


@pytest.mark.parametrize(
    ("text", "words"),
    [("model,layers\n", "lacks the column"), (HEADER, "no anchors"),
     (HEADER + "a,1,q,nan,1\n", "delta_loss_nats is 'nan'")],
)  # fmt: skip
def test_bad_anchors_in_one_line(tmp_path, text, words):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    one_line(invoke("validate", "--accuracy", "--anchors", path), words)


def test_anchors_without_accuracy_are_refused(tmp_path):
    one_line(invoke("validate", "--anchors", tmp_path / "mine.csv"), "--accuracy")
