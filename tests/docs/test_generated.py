"""What README.md and docs/ show is what the commands print; `python docs/generate.py` rewrites it.

Quick commands run again and their numbers are compared. Commands on a finished run answer for one
small search, made once here, so that only the form of what is shown can be compared.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from dse.cli.app import app

ROOT = Path(__file__).parents[2]
NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)*")


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs/generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


generate = _load()
COOKBOOK = generate.COOKBOOK.read_text(encoding="utf-8")
README = generate.README.read_text(encoding="utf-8")
QUICK = [question for question in generate.QUESTIONS if question.quick]
ON_RUNS = [question for question in generate.QUESTIONS if not question.quick]


def shown(command: str) -> str:
    """The output that the cookbook shows below a command."""
    return COOKBOOK.partition(f"$ {command}\n")[2].partition("\n```")[0]


def answer(command: str, folder: Path) -> str:
    """What a command prints in a folder, as `generate.run_command` without a process for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(app, command.split()[1:])
    assert done.exit_code in (0, 2), done.output
    text = done.stdout if done.exit_code == 0 else done.stderr.splitlines()[-1]
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


def without_borders(text: str) -> str:
    """Words and numbers alone: the width of a column depends on what stands in it."""
    return re.sub(r"[\s|+-]+(?=\s|[|+-]|$)|\|", " ", text)


def assert_same(before: str, now: str) -> None:
    """The same words in the same order, and numbers within a few percent."""
    words = [re.sub(r"\s+", " ", NUMBER.sub("#", without_borders(text))) for text in (before, now)]
    assert words[0] == words[1], "run python docs/generate.py"
    found = [NUMBER.findall(without_borders(text)) for text in (before, now)]
    for old, new in zip(*found, strict=True):
        then, today = (float(text.replace(",", "")) for text in (old, new))
        assert today == pytest.approx(then, rel=0.05, abs=1.01 if abs(then) >= 10 else 0.02)


@pytest.mark.parametrize("question", QUICK, ids=lambda question: question.commands[-1])
def test_a_quick_answer_is_what_the_command_prints(question, tmp_path: Path) -> None:
    command = question.commands[-1]
    assert_same(shown(command), answer(command, tmp_path))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, small_run: Path) -> Path:
    """A folder with one small search in both of the cookbook's places."""
    folder = tmp_path_factory.mktemp("cookbook")
    shutil.copytree(small_run, folder / generate.RUN)
    (folder / generate.HALF).symlink_to(folder / generate.RUN)
    return folder


def form(text: str) -> tuple[list[str], list[str]]:
    """Headings of the tables, and the lines of prose without numbers and names."""
    lines = text.splitlines()
    rules = [index for index, line in enumerate(lines) if line.startswith("+-")]
    heads = [lines[index + 1] for index in rules[::3] if index + 1 < len(lines)]
    return [re.sub(r"\s+", "", head) for head in heads], [
        line.split(":")[0] for line in lines if line.startswith(("Report:", "Accuracy is of"))
    ]


@pytest.mark.parametrize("question", ON_RUNS, ids=lambda question: question.commands[-1])
def test_an_answer_on_a_run_has_the_form_shown(question, runs: Path) -> None:
    command = question.commands[-1]
    on_run = f"dse show {generate.RUN}" if command == generate.MAIN else command
    (head, prose), (head_now, prose_now) = map(form, (shown(command), answer(on_run, runs)))
    assert head and head == head_now
    assert len(prose) == len(prose_now)


def test_the_cookbook_has_ten_questions_with_answers() -> None:
    titles = re.findall(r"^## \d+\. (.+)$", COOKBOOK, re.MULTILINE)
    assert titles == [question.text for question in generate.QUESTIONS] and len(titles) == 10
    outputs = {q.commands[-1]: shown(q.commands[-1]) for q in generate.QUESTIONS}
    assert all(len(output) > 80 for output in outputs.values())
    assert generate.cookbook(outputs) == COOKBOOK
    assert max(map(len, COOKBOOK.partition("```")[2].splitlines())) <= 300


def test_the_readme_shows_the_same_run_as_the_cookbook() -> None:
    example = generate.section_of(README, "example")
    assert f"$ {generate.MAIN}\n{shown(generate.MAIN)}\n```" in example


def test_the_section_on_trust_is_up_to_date() -> None:
    from dse.cli.trust_report import trust_section

    assert_same(generate.section_of(README, "trust"), trust_section())


def test_the_section_on_miniatures_is_up_to_date() -> None:
    assert generate.section_of(README, "miniatures") == generate.miniature_section()
    recorded = generate.RECOVERED.read_text(encoding="utf-8")
    for name, digest in generate.weight_digests().items():
        assert digest in recorded, f"benchmarks/miniature.json is not of the shipped {name}"


def test_a_section_goes_between_its_markers() -> None:
    text = "a\n<!-- x:start -->\nold\n<!-- x:end -->\nb"
    changed = generate.with_section(text, "x", "new")
    assert changed == text.replace("old", "new") and generate.section_of(changed, "x") == "new"
    with pytest.raises(ValueError, match="no section"):
        generate.with_section("nothing here", "x", "new")
