"""Benchmarks: right answers by an independent solver, unseen in training, the same every time."""

import random
import re
from collections import Counter

import pytest
import torch

from workloads import tasks
from workloads.checkpoint import Miniature, load_miniature
from workloads.miniature import corpus, generated
from workloads.tasks import Benchmark, benchmarks, score


@pytest.fixture(scope="module")
def miniature() -> Miniature:
    return load_miniature("olmoe-mini")


@pytest.fixture(scope="module")
def default(miniature: Miniature) -> tuple[Benchmark, ...]:
    return benchmarks(miniature)


def solve(line: str) -> str:
    """The answer to a task, found from its text alone."""
    kind, *rest = line.partition("=")[0].split()
    text = "".join(rest)
    if kind == "add":
        return str(int(sum(map(int, text))) % 10)
    if kind == "recall":
        pairs, key = text.split(":")
        return pairs[pairs.index(key) + 1]
    if kind == "close":
        closing = {"(": ")", "[": "]", "{": "}"}
        while re.search(r"\(\)|\[\]|\{\}", text):
            text = re.sub(r"\(\)|\[\]|\{\}", "", text)
        return " ".join(closing[bracket] for bracket in reversed(text))
    if kind == "sort":
        return " ".join(sorted(text))
    if kind == "reverse":
        return " ".join(reversed(text))
    letters, asked = text.split(":")
    return str(Counter(letters)[asked])


def lines(benchmark: Benchmark, miniature: Miniature) -> list[str]:
    """The complete instances of a task benchmark."""
    rows = (miniature.tokenizer.decode(row.tolist()) for row in benchmark.tokens)
    return [line.strip() for row in rows for line in row.split("\n")[:-1]]


def test_default_benchmarks_are_half_text_half_tasks(default: tuple[Benchmark, ...]) -> None:
    size = Counter[str]()
    for benchmark in default:
        assert benchmark.tokens.shape[1] == 129
        assert benchmark.tokens.dtype == torch.int64
        assert benchmark.answer_mask.shape == benchmark.instance.shape
        size[benchmark.kind] += benchmark.answer_mask.numel()
    assert size == {"text": 4096, "task": 4096}
    assert sum(b.kind == "text" for b in default) >= 3
    assert sum(b.kind == "task" for b in default) >= 4


def test_answers_are_right(default: tuple[Benchmark, ...], miniature: Miniature) -> None:
    for benchmark in default:
        if benchmark.kind == "task":
            for line in lines(benchmark, miniature):
                assert line.partition("=")[2].strip() == solve(line), line


def test_scored_tokens_are_the_answers(
    default: tuple[Benchmark, ...], miniature: Miniature
) -> None:
    for benchmark in default:
        if benchmark.kind == "text":
            assert bool(benchmark.answer_mask.all())
            assert int(benchmark.instance.max()) == -1
            continue
        expected = [line.partition("=")[2].strip() for line in lines(benchmark, miniature)]
        targets = benchmark.tokens[:, 1:]
        numbers = benchmark.instance[benchmark.answer_mask].unique().tolist()
        assert numbers == list(range(benchmark.instances))
        found = [
            miniature.tokenizer.decode(targets[benchmark.instance == number].tolist()).strip()
            for number in numbers
        ]
        assert found == expected
        assert bool((benchmark.answer_mask == (benchmark.instance >= 0)).all())


def test_every_instance_is_scored_by_all_its_tokens(default: tuple[Benchmark, ...]) -> None:
    for benchmark in default:
        logits = torch.nn.functional.one_hot(benchmark.tokens[:, 1:], 2048).float()
        perfect = score(logits, benchmark)
        assert perfect.top1 == 1.0
        if benchmark.kind == "text":
            assert perfect.accuracy is None
            continue
        assert perfect.accuracy == 1.0
        spoilt = logits.clone()
        row, column = (benchmark.instance == 0).nonzero()[-1].tolist()
        spoilt[row, column] = 0
        spoilt[row, column, 0] = 1
        accuracy = score(spoilt, benchmark).accuracy
        assert accuracy == pytest.approx(1 - 1 / benchmark.instances)


def test_test_instances_are_unseen_in_training(
    miniature: Miniature,
) -> None:
    many = benchmarks(miniature, tokens=32_768)
    rng = random.Random(1)
    for benchmark in many:
        if benchmark.kind == "task":
            tested = {line.split(" =")[0] for line in lines(benchmark, miniature)}
            trained = {
                " ".join(generated.instance(benchmark.name, "train", rng)[0]).removesuffix(" =")
                for _ in range(2000)
            }
            assert not tested & trained


def test_held_out_text_is_unseen_in_training() -> None:
    for domain in ("scripture", "headers"):
        trained = {name for name, _ in corpus.units(domain, "train")}
        held_out = {n for split in tasks.SPLITS for n in corpus.held_out(domain, split)}
        assert held_out
        assert not trained & held_out
    code = corpus.unit_names("python")
    trained = {name for name in code if generated.split_of(name) == "train"}
    for domain in ("python", "documentation"):
        for split in tasks.SPLITS:
            assert not trained & set(corpus.held_out(domain, split))


def test_splits_differ_and_repeat(default: tuple[Benchmark, ...], miniature: Miniature) -> None:
    tasks._text.cache_clear()
    for first, second in zip(default, benchmarks(miniature), strict=True):
        assert torch.equal(first.tokens, second.tokens)
        assert torch.equal(first.instance, second.instance)
    for first, second in zip(default, benchmarks(miniature, split="calibration"), strict=True):
        assert not torch.equal(first.tokens, second.tokens)


def test_both_miniatures_share_their_benchmarks(default: tuple[Benchmark, ...]) -> None:
    for first, second in zip(default, benchmarks(load_miniature("deepseekmoe-mini")), strict=True):
        assert torch.equal(first.tokens, second.tokens)


def test_bad_requests(miniature: Miniature, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="split 'train' is not one of test, calibration"):
        benchmarks(miniature, split="train")
    with pytest.raises(
        ValueError, match="100 tokens are too few for all benchmarks: at least 1536"
    ):
        benchmarks(miniature, tokens=100)
    with pytest.raises(ValueError, match=r"the held-out text is too short: at most \d+ tokens"):
        benchmarks(miniature, tokens=10_000_000)
    monkeypatch.setitem(corpus.VERSIONS, "torch", "1.0.0")
    tasks._text.cache_clear()
    with pytest.raises(ValueError, match=r"needs torch==1\.0\.0, found 2\.13\.0"):
        benchmarks(miniature)


def test_changed_text_is_refused(miniature: Miniature, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "read_unit", lambda domain, name: "something else" * 1000)
    tasks._text.cache_clear()
    with pytest.raises(ValueError, match="is not what the pinned package has"):
        benchmarks(miniature)
