"""Three lines to a result in a fresh Python, as README says them; what a notebook then shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hwmodels import Tile

LINES = """
from dse import explore
run = explore("deepseekmoe", budget_area="200mm2", trials=1, tokens=1536, report=False)
print(run.front()["area_mm2"].max() <= 200, "<table" in run._repr_html_())

from hwmodels import Tile
tile = Tile("pcm-14nm", 512, 512)
print(tile.technology.name, "<td>512</td>" in tile._repr_html_())

from workloads import load_model
model = load_model("olmoe")
print(model.routed_experts, "6.92" in model._repr_html_())
"""


def test_three_lines_to_a_result(tmp_path):
    command = [sys.executable, "-c", LINES]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        command, cwd=tmp_path, env=here, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True True", "pcm-14nm True", "64 True"]


def test_an_unknown_technology_of_a_tile_is_one_line():
    with pytest.raises(ValueError, match="unknown technology 'pcm-14'; nearest is pcm-14nm"):
        Tile("pcm-14", 512, 512)


@pytest.mark.parametrize("technology", [None, 3])
def test_a_tile_of_no_technology_says_what_there_is(technology):
    with pytest.raises(ValueError, match=r"must be a Technology or one of .*pcm-14nm"):
        Tile(technology, 512, 512)


def test_a_number_in_a_text_is_not_taken():
    with pytest.raises(ValueError, match="rows must be a number, not the text '512'"):
        Tile("pcm-14nm", "512", 512)


def test_a_tile_prints_in_two_lines():
    assert "<Technology pcm-14nm" in repr(Tile("pcm-14nm", 512, 512))
    assert len(repr(Tile("pcm-14nm", 512, 512))) < 250
