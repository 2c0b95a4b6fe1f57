"""Questions to a search and to finished runs: each works, bad input is one line and exit code 2."""

import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from command_line import invoke, one_line

from dse.runs.folder import load_run

EXPLORE = ["explore", "--model", "deepseekmoe", "--budget-area", "200mm2", "--tokens", "1536"]


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> Path:
    """One search that asks everything at once."""
    folder = tmp_path_factory.mktemp("decisions")
    (folder / "space.toml").write_text(
        'technology = "pcm-3d"\nadc_bits = { minimum = 7, maximum = 8 }\n'
    )
    result = invoke(
        *EXPLORE, "--trials", 4, "--output", folder / "run",
        "--fix", "tile_rows=512,1024", "tile_cols=512", "--fix", "placement_score=sensitivity",
        "--fix", "analog_modules=none,shared_expert",
        "--space", folder / "space.toml",
        "--objective", "delta_loss,energy_per_token", "--objective", "area",
        "--constraint", "latency_per_token<=20ms", "--min-accuracy", "0.5",
        "--budget-power", "300W", "--budget-energy", "70mJ",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder / "run"


def front(folder: Path) -> pd.DataFrame:
    table = pd.read_parquet(folder / "candidates.parquet")
    return table[table["on_front"]]


def test_every_limit_holds_on_the_front(asked):
    table = front(asked)
    assert len(table) > 1
    with_tiles = table[table["technology"].notna()]
    assert len(with_tiles)
    assert set(with_tiles["technology"]) == {"pcm-3d"}
    assert set(with_tiles["tile_rows"]) <= {512, 1024}
    assert set(with_tiles["tile_cols"]) == {512}
    assert set(with_tiles["adc_bits"]) <= {7, 8}
    assert set(with_tiles["placement_score"].dropna()) <= {"sensitivity"}
    assert set(table["analog_modules"]) <= {"none", "shared_expert"}
    assert (table["latency_s_per_token"] <= 20e-3).all()
    assert (table["accuracy"] >= 0.5).all()
    assert (table["power_w"] <= 300).all()
    assert (table["energy_j_per_token"] <= 70e-3).all()
    config = json.loads((asked / "config.json").read_text())
    assert config["settings"]["objectives"] == ["delta_loss", "energy_per_token", "area"]


def test_show_best_and_export_agree_with_the_table(asked):
    shown = json.loads(invoke("show", asked, "--json").stdout)
    assert len(shown["front"]) == len(front(asked))
    weights = ("--weights", "delta_loss=1", "area=3")
    result = json.loads(invoke("best", asked, *weights, "--json").stdout)
    assert result["weights"] == {"delta_loss": 1.0, "area": 3.0}
    same = json.loads(invoke("best", asked, "--weights", "delta_loss=1,area=3", "--json").stdout)
    assert same == result
    whole = pd.read_parquet(asked / "candidates.parquet")
    csv = pd.read_csv(io.StringIO(invoke("export", asked, "--csv").stdout))
    rows = json.loads(invoke("export", asked, "--json").stdout)
    assert len(csv) == len(rows) == len(whole)
    assert csv["energy_j_per_token"].sum() == pytest.approx(whole["energy_j_per_token"].sum())
    file = asked.parent / "copy.parquet"
    assert invoke("export", asked, "--parquet", "--output", file).exit_code == 0
    assert pd.read_parquet(file).shape == whole.shape


def test_export_leaves_links_and_pipes_what_they_are(asked, tmp_path):
    """A link is followed; `/dev/stdout`, here a pipe, is written into and not replaced."""
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    assert invoke("export", asked, "--csv", "--output", tmp_path / "link.csv").exit_code == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len(pd.read_csv(tmp_path / "real.csv")) > 1
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_text)
        assert invoke("export", asked, "--csv", "--output", pipe).exit_code == 0
        assert read.result(timeout=20) == (tmp_path / "real.csv").read_text()
    assert pipe.is_fifo()


def test_a_run_shows_itself_in_a_line_and_in_a_notebook(asked, tmp_path):
    run = load_run(asked)
    assert len(repr(run)) < 200
    folder = tmp_path / "a<b>"
    folder.symlink_to(asked)
    page = load_run(folder)._repr_html_()
    assert "a&lt;b&gt;" in page and f"{len(front(asked))} designs" in page
    assert all(name in page for name in ("energy_j_per_token", "area_mm2", "technology"))


def test_compare_says_who_wins_and_where(asked, tmp_path):
    worse = tmp_path / "worse"
    worse.mkdir()
    (worse / "config.json").write_text((asked / "config.json").read_text())
    table = pd.read_parquet(asked / "candidates.parquet")
    table["energy_j_per_token"] *= 1.5
    table.to_parquet(worse / "candidates.parquet")
    for pair in ((asked, worse), (worse, asked)):
        result = invoke("compare", *pair)
        assert result.exit_code == 0, result.output
        said = " ".join(result.stdout.split())
        assert f"{asked} wins: its front covers" in said
        assert f"{asked} reaches the better energy per token" in said
        assert f"{worse} reaches" not in said
    size = len(front(asked))
    document = json.loads(invoke("compare", asked, worse, "--json").stdout)
    assert f"beats {size} of the other's {size} designs" in document["verdict"][0]
    assert "Tie" in invoke("compare", asked, asked).stdout


def test_runs_of_other_questions_say_so_before_who_wins(asked, tmp_path):
    config = json.loads((asked / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model": "another"}))
    pd.read_parquet(asked / "candidates.parquet").to_parquet(tmp_path / "candidates.parquet")
    document = json.loads(invoke("compare", asked, tmp_path, "--json").stdout)
    assert not document["same_question"]
    expected = f"different questions: model ({config['model']} and another)."
    assert document["verdict"][0].endswith(expected)
    assert document["verdict"][1:] == ["Designs for two models are no rivals: neither run wins."]


def test_best_applies_the_rule_of_the_run_or_another(asked):
    table = pd.read_parquet(asked / "candidates.parquet")
    document = json.loads(invoke("best", asked, "--json").stdout)
    config = json.loads((asked / "config.json").read_text())
    assert document["rule"] == config["recommendation"]["rule"]
    assert document["designs"][0]["trial"] == config["recommended_trial"]
    assert [one["on_front"] for one in document["designs"][1:]] == [True, True]
    small = json.loads(invoke("best", asked, "--prefer", "area", "--json").stdout)
    usable = table[(table["state"] == "complete") & (table["full_points"] >= -1)]
    assert small["designs"][0]["area_mm2"] <= 1.01 * usable["area_mm2"].min()


def test_best_by_a_metric_that_the_front_lacks_is_one_line(asked, tmp_path):
    """As accuracy on a checkpoint, whose front has none: no order by missing numbers."""
    (tmp_path / "config.json").write_text((asked / "config.json").read_text())
    table = pd.read_parquet(asked / "candidates.parquet").assign(accuracy=float("nan"))
    table.to_parquet(tmp_path / "candidates.parquet")
    one_line(invoke("best", tmp_path, "--weights", "accuracy=1"), "accuracy is not known")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["tile_rows=512"], ["unexpected 'tile_rows=512'", "--fix"]),
        (["--fix", "tile_rows=512", "tile_cols"], ["unexpected 'tile_cols'", "name=value"]),
        (["--fix", "tile_rows=512", "tile_rows=256"], ["tile_rows is given twice"]),
        (["--fix", "analog_modules=atention"], ["nearest is attention"]),
        (["--fix", "analog_modules=mamba"], ["no such part", "attention"]),
        (["--fix", "placement_score=sensitive"], ["nearest is sensitivity"]),
        (["--budget-energy", "5mm2"], ["energy"]),
    ],
)
def test_bad_questions_to_a_search(tmp_path, options, words):
    one_line(invoke(*EXPLORE, "--output", tmp_path / "run", *options), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["best", "RUN", "--weights", "speed=1"], ["unknown metric", "speed"]),
        (["best", "RUN", "--weights", "area=-1"], ["at least 0"]),
        (["best", "RUN", "area=1"], ["--weights"]),
        (["best", "RUN", "--max-loss", "1"], ["1point"]),
        (["best", "RUN", "--prefer", "speed"], ["energy, throughput"]),
        (["best", "RUN", "--prefer", "area", "--weights", "area=1"], ["leave out"]),
        (["best", "RUN", "--weights", "area=1,area=2"], ["area is given twice"]),
        (["export", "RUN"], ["--csv"]),
        (["export", "RUN", "--csv", "--json"], ["choose one"]),
        (["export", "RUN", "--parquet"], ["--output"]),
        (["compare", "RUN", "nowhere"], ["nowhere"]),
        (["placements", "--model", "olmoe", "--share", "2"], ["share is 2"]),
        (["placements", "--model", "olmo", "--seeds", "8"], ["olmoe"]),
        (["placements", "--noise-model", "pmc"], ["pcm"]),
        (["placements", "--budget-area", "200"], ["200mm2"]),
        (["mitigate", "--max-memory", "8GiB"], ["--checkpoint"]),
        (["reproduce", "FIG3"], ["'FIG3'", "theory", "nearest is fig3"]),
        (["reproduce", "theory", "--tokens", "4096"], ["--tokens", "leave it out"]),
        (["reproduce", "fig6", "--seeds", "8"], ["--seeds", "leave it out"]),
        (["reproduce", "fig4", "--seeds", "3"], ["seeds is 3", "even number"]),
        (["reproduce", "table1", "--tokens", "99999999"], ["at most"]),
        (["sensitivity", "--seeds", "5"], ["seeds is 5", "even number"]),
        (
            ["scores", "--checkpoint", "RUN", "--share", "0.5"],
            ["--digital-experts", "leave it out"],
        ),
    ],
)
def test_bad_questions_to_runs_and_placements(asked, arguments, words):
    one_line(invoke(*[asked if word == "RUN" else word for word in arguments]), *words)
