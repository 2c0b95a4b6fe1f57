"""Preset files: all load, every key is checked, errors name the nearest."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hwmodels
from hwmodels.digital import accelerator_names, load_accelerator
from hwmodels.technology import load_technology, technology_names
from hwmodels.tile import load_tile, tile_names

PRESETS = Path(hwmodels.__file__).parent / "presets"


def test_all_presets_load_and_name_a_source() -> None:
    assert {"pcm-14nm", "pcm-3d", "rram-22nm"} <= set(technology_names())
    assert {"hermes-core", "aimc-3d", "rram-22nm", "neurram", "isaac"} <= set(tile_names())
    assert {"a100", "h100", "edge-7nm"} <= set(accelerator_names())
    assert set(technology_names()) - set(technology_names(simulated=True)) == {
        "flash-40nm",
        "sram-16nm",
    }
    for name in technology_names():
        technology = load_technology(name)
        assert technology.name == name
        assert len(technology.source) > 40
    for name in accelerator_names():
        assert load_accelerator(name).name == name
    for name in tile_names():
        load_tile(name)


def test_the_projection_says_so() -> None:
    technology = load_technology("pcm-3d")
    assert technology.kind == "projection"
    assert "projection" in technology.source.lower()
    assert load_technology("pcm-14nm").kind == "silicon"


@pytest.mark.parametrize("name", technology_names())
def test_every_technology_says_what_its_source_has_shown(name: str) -> None:
    technology = load_technology(name)
    for what in ("rows", "cols", "tiers", "dac_bits", "adc_bits"):
        assert getattr(technology, f"shown_{what}") > 0, what
    assert len(technology.shown_source) > 10
    assert technology.shown_tiers == technology.max_tiers


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("", "lacks the key 'kind'"),
        ('kind = "silicone"', "'silicone'; nearest is silicon"),
        ('kind = "silicon"\nshown_row = 4', "'shown_row'; nearest is shown_row"),
        ('kind = "silicon"\nadc_floor_factor = 2', "adc_floor_factor is 2; .* from 0 to 1"),
    ],
)
def test_kind_and_limits_of_ones_own_technology(tmp_path: Path, new: str, message: str) -> None:
    text = (PRESETS / "technologies" / "flash-40nm.toml").read_text()
    text = text.replace('kind = "silicon"', new)
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_technology(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("load", "wrong", "near"),
    [
        (load_technology, "pcm-14", "pcm-14nm"),
        (load_tile, "hermes", "hermes-core"),
        (load_accelerator, "a10", "a100"),
    ],
)
def test_unknown_names(load: object, wrong: str, near: str) -> None:
    with pytest.raises(ValueError, match=near) as caught:
        load(wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "name", "load"),
    [
        ("technologies", "pcm-14nm", load_technology),
        ("tiles", "hermes-core", load_tile),
        ("accelerators", "edge-7nm", load_accelerator),
    ],
)
def test_files_of_ones_own(tmp_path: Path, folder: str, name: str, load: object) -> None:
    text = (PRESETS / folder / f"{name}.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text)
    load(path)
    key = {"technologies": "node_nm", "tiles": "rows", "accelerators": "mac_units"}[folder]
    path.write_text(text.replace(f"{key} =", f"{key}x ="))
    with pytest.raises(ValueError, match=f"{key}x.*nearest is {key}"):
        load(path)
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith(key)))
    with pytest.raises(ValueError, match=f"lacks the key '{key}'"):
        load(path)
    path.write_text("rows = [")
    with pytest.raises(ValueError, match="not valid TOML"):
        load(path)
    with pytest.raises(ValueError, match="cannot read"):
        load(tmp_path / "absent.toml")


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e9"])
def test_values_out_of_range(tmp_path: Path, value: str) -> None:
    text = (PRESETS / "technologies" / "pcm-14nm.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("node_nm = 14", f"node_nm = {value}"))
    with pytest.raises(ValueError, match="node_nm is") as caught:
        load_technology(path)
    assert "\n" not in str(caught.value)


def test_import_is_light() -> None:
    code = (
        "import sys, hwmodels as h; h.load_tile('hermes-core'); h.load_accelerator('a100')\n"
        "heavy = {'torch', 'pandas', 'scipy', 'plotly'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_exists() -> None:
    for name in hwmodels.__all__:
        assert getattr(hwmodels, name) is not None


def test_notebooks_show_a_table() -> None:
    tile, accelerator = load_tile("aimc-3d"), load_accelerator("edge-7nm")
    for part in (tile, tile.technology, accelerator):
        assert part._repr_html_().startswith("<table>")
    assert "<td>pcm-3d</td>" in tile._repr_html_()
    hostile = dataclasses.replace(tile.technology, title="<script>")
    assert "<script>" not in hostile._repr_html_()
    many = dataclasses.replace(tile, rows=np.arange(1, 100))
    assert "array of 99, 1 to 99" in many._repr_html_()
