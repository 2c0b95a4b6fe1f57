"""Three lines to a tile and a model, as README says them; what a notebook then shows."""

import pytest

from hwmodels import Tile
from workloads import load_model


def test_three_lines_to_a_result():
    tile = Tile("pcm-14nm", 512, 512)
    assert tile.technology.name == "pcm-14nm" and "<td>512</td>" in tile._repr_html_()
    model = load_model("olmoe")
    assert model.routed_experts == 64 and "6.92" in model._repr_html_()


def test_an_unknown_technology_of_a_tile_is_one_line():
    with pytest.raises(ValueError, match="unknown technology 'pcm-14'; did you mean 'pcm-14nm'"):
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
