"""Question benchmarks through lm-evaluation-harness, on tiny data in the published fields."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dse.checkpoints.likelihoods import EvaluationSettings, Scorer
from dse.cli.app import app
from dse.simulation.simulator import Noise
from workloads import moe
from workloads.checkpoint import Miniature, load_miniature
from workloads.checkpoint_export import write_checkpoint
from workloads.checkpoint_folder import open_checkpoint

pytest.importorskip("lm_eval")

CHOICES = ["The sun is a star", "A cat writes code", "Iron is a metal", "Water is dry"]
DATA = {
    "piqa/validation": [
        {"goal": f"How to test item {n}?", "sol1": "Run it.", "sol2": "Eat it.", "label": n % 2}
        for n in range(5)
    ],
    "arc_easy/test": [
        {
            "question": "Which is true?",
            "choices": {"text": CHOICES, "label": list("ABCD")},
            "answerKey": key,
        }
        for key in "ACB"
    ],
    "arc_challenge/test": [
        {"question": "And?", "choices": {"text": CHOICES, "label": list("1234")}, "answerKey": "2"}
    ],
    "boolq/validation": [
        {"passage": "In the beginning.", "question": f"is {n} even", "label": n % 2}
        for n in range(3)
    ],
    "hellaswag/validation": [
        {
            "ctx_a": "A man reads.",
            "ctx_b": "he",
            "activity_label": "Reading",
            "endings": ["turns the page.", "flies.", "sinks. [title]", "is a page."],
            "label": "0",
        }
    ],
    "winogrande/validation": [
        {
            "sentence": "The cup did not fit because _ was too big.",
            "option1": "the cup",
            "option2": "the box",
            "answer": "1",
        }
    ],
    "mathqa/test": [
        {
            "Problem": "2 + 2 ?",
            "options": "a ) 1 , b ) 2 , c ) 3 , d ) 4 , e ) 5",
            "correct": "d",
        }
    ],
    "mmlu/anatomy/test": [
        {"question": f"Where is bone {n}?", "choices": ["arm", "leg", "sky", "sea"], "answer": 1}
        for n in range(2)
    ],
    "mmlu/astronomy/test": [
        {"question": "What is a star?", "choices": ["sun", "ice", "cat", "C"], "answer": 0}
    ],
}


@pytest.fixture(scope="module")
def miniature() -> Miniature:
    return load_miniature("olmoe-mini")


@pytest.fixture
def folders(
    miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_checkpoint(miniature, tmp_path / "olmoe")
    for name, rows in DATA.items():
        file = tmp_path / "data" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "olmoe", tmp_path / "data"


def run(folders: tuple[Path, Path], *options: str) -> dict:
    checkpoint, data = folders
    arguments = ["benchmark", "--checkpoint", str(checkpoint), "--data", str(data), "--json"]
    results = ["--results", str(data / "results.jsonl")]
    result = CliRunner().invoke(app, [*arguments, *results, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def likelihood(miniature: Miniature, context: str, rest: str) -> float:
    """One request in one plain forward pass."""
    first = miniature.tokenizer.encode(context).ids
    tokens = torch.tensor([miniature.tokenizer.encode(context + rest).ids])
    with torch.no_grad():
        logits = moe.forward(miniature.config, miniature.weights, tokens[:, :-1])[0]
    chosen = logits.log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0]
    return float(chosen[len(first) - 1 :].sum())


def test_all_eight_run_offline_and_clean_accuracy_is_that_of_single_passes(
    folders: tuple[Path, Path], miniature: Miniature
) -> None:
    document = run(folders, "--digital-experts", "0", "--magnitude", "8")
    rows = {(row["task"], row["metric"]): row for row in document["tasks"]}
    names = [row["task"] for row in document["tasks"] if row["metric"] == "acc"]
    assert names == [
        *("piqa", "arc_easy", "arc_challenge", "boolq", "hellaswag", "winogrande", "mathqa"),
        *("mmlu", "average"),
    ]
    assert rows["mmlu", "acc"]["questions"] == 3
    right = []
    for row in DATA["piqa/validation"]:
        context = f"Question: {row['goal']}\nAnswer:"
        values = [likelihood(miniature, context, f" {row[key]}") for key in ("sol1", "sol2")]
        right.append(np.argmax(values) == row["label"])
    assert rows["piqa", "acc"]["clean"] == pytest.approx(np.mean(right))
    assert rows["piqa", "acc"]["clean_stderr"] == pytest.approx(np.std(right, ddof=1) / 5**0.5)
    means = [rows[name, "acc"]["clean"] for name in names[:-1]]
    assert rows["average", "acc"]["clean"] == pytest.approx(np.mean(means))
    for row in document["tasks"]:
        assert row["accuracy"] == pytest.approx(row["clean"] + row["difference"])
    assert "checkpoint " in document["source"]


def test_likelihoods_are_those_of_single_passes_and_are_kept(
    folders: tuple[Path, Path], miniature: Miniature, tmp_path: Path
) -> None:
    checkpoint = open_checkpoint(folders[0])
    encode = miniature.tokenizer.encode
    texts = [("In the beginning", " God created"), ("def f(x):", " return x"), ("a", " b c d e f")]
    requests = [
        (encode(context).ids, encode(context + rest).ids[len(encode(context).ids) :])
        for context, rest in texts
    ]
    # No noise and ideal converters: an all-analog model computes what the clean one does.
    ideal = EvaluationSettings(Noise("pcm", 0.0, None, 512, None, None), 0.0)
    done: list[tuple[str, int, int]] = []
    file = tmp_path / "kept.jsonl"
    scorer = Scorer(checkpoint, ideal, file=file, layers=lambda *step: done.append(step))
    found = scorer.scores(requests)
    expected = [likelihood(miniature, context, rest) for context, rest in texts]
    np.testing.assert_allclose(found[0, :, 0], expected, rtol=1e-4)
    np.testing.assert_allclose(found[1:, :, 0], [expected, expected], rtol=1e-3)
    assert found.shape == (3, 3, 2)
    # The clean pass and that of the requests, four layers each.
    assert done == [("0 of 3 requests", layer, 4) for layer in (1, 2, 3, 4)] * 2
    from dse.checkpoints.lm_eval_tasks import evaluate

    # A second run reads the file, also one whose last line a kill cut short.
    file.write_text(file.read_text()[:-9])
    again = Scorer(checkpoint, ideal, file=file, layers=lambda *step: done.append(step))
    np.testing.assert_allclose(again.scores(requests), found, rtol=1e-6)
    assert done[8:] == [("2 of 3 requests", layer, 4) for layer in (1, 2, 3, 4)] * 2
    third = Scorer(checkpoint, ideal, file=file, layers=lambda *step: done.append(step))
    np.testing.assert_allclose(third.scores(requests), found, rtol=1e-6)
    assert len(done) == 16
    with (
        third.alone(),
        pytest.raises(ValueError, match=r"another evaluation is writing into .*kept\.jsonl"),
    ):
        evaluate(again, {})
    other = EvaluationSettings(Noise(), 0.5)
    with pytest.raises(ValueError, match=r"kept\.jsonl holds results of another checkpoint"):
        Scorer(checkpoint, other, file=file)


def test_greedy_is_what_decoding_says(folders: tuple[Path, Path], miniature: Miniature) -> None:
    context = miniature.tokenizer.encode("In the beginning").ids
    with torch.no_grad():
        logits = moe.forward(miniature.config, miniature.weights, torch.tensor([context]))
    likely = int(logits[0, -1].argmax())
    scorer = Scorer(open_checkpoint(folders[0]), EvaluationSettings(digital_share=1.0))
    found = scorer.scores([(context, [likely]), (context, [likely - 1])])
    assert found[..., 1].tolist() == [[1, 0]] * 3


def test_digital_experts_leave_every_answer_as_it_is(folders: tuple[Path, Path]) -> None:
    document = run(folders, "--digital-experts", "1", "--tasks", "piqa,boolq", "--seeds", "4")
    for row in document["tasks"]:
        assert (row["difference"], row["difference_stderr"]) == (0, 0)


def test_a_task_of_one_s_own(folders: tuple[Path, Path]) -> None:
    (folders[1] / "mine.yaml").write_text(
        "task: mine\noutput_type: multiple_choice\ntest_split: test\n"
        'doc_to_text: "{{text}}"\ndoc_to_target: label\ndoc_to_choice: ["no", "yes"]\n'
        "metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n"
    )
    (folders[1] / "mine").mkdir()
    rows = [{"text": f"Is it {n}?", "label": n % 2} for n in range(4)]
    (folders[1] / "mine" / "test.json").write_text(json.dumps(rows))
    document = run(folders, "--tasks", "mine", "--limit", "3", "--seeds", "1")
    assert [(row["task"], row["questions"]) for row in document["tasks"]] == [("mine", 3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tasks", "piqqa"), "no task 'piqqa': there are piqa, arc_easy"),
        (("--tasks", "gone"), "no task 'gone'"),
        (("--seeds", "3"), "seeds is 3; 1 or an even number"),
        (("--score", "norm"), "score 'norm' is unknown: choose max_neuron_norm or router_norm"),
    ],
)
def test_bad_input_is_one_line(
    options: tuple[str, ...], message: str, folders: tuple[Path, Path]
) -> None:
    checkpoint, data = folders
    arguments = ["benchmark", "--checkpoint", str(checkpoint), "--data", str(data), *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_nothing_is_written_when_a_weight_is_bad(
    folders: tuple[Path, Path], miniature: Miniature, tmp_path: Path
) -> None:
    bad = {**miniature.weights, "lm_head": miniature.weights["lm_head"].clone().fill_(torch.nan)}
    write_checkpoint(replace(miniature, weights=bad), tmp_path / "bad")
    file = tmp_path / "results.jsonl"
    arguments = ["--checkpoint", str(tmp_path / "bad"), "--data", str(folders[1])]
    options = ["--tasks", "piqa", "--results", str(file), "--json"]
    result = CliRunner().invoke(app, ["benchmark", *arguments, *options])
    assert result.exit_code == 2
    assert "safetensors: tensor lm_head.weight contains NaN" in result.stderr.splitlines()[-1]
    assert result.stdout == ""
    assert not file.exists()


def test_data_that_is_missing_or_of_another_task_is_named(folders: tuple[Path, Path]) -> None:
    from dse.checkpoints.lm_eval_tasks import load_tasks

    (folders[1] / "piqa" / "validation.jsonl").write_text('{"nothing": 1}\n')
    with pytest.raises(ValueError, match=r"data/piqa: cannot be read as task piqa"):
        load_tasks(folders[1], ["piqa"])
    (folders[1] / "boolq" / "validation.jsonl").unlink()
    with pytest.raises(ValueError, match=r"no data: expected .*data/boolq/validation\*\.parquet"):
        load_tasks(folders[1], ["boolq"])
