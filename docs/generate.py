"""Everything in README.md and docs/ that is computed: run this after a change, and commit.

    python docs/generate.py [--run RUN] [--half RUN]

writes the sections of README.md between <!-- NAME:start --> and <!-- NAME:end --> (example,
miniatures, trust), docs/cookbook.md and docs/report.png. Without --run and --half (finished runs of
the cookbook's two searches) it searches itself, which takes minutes. tests/docs fails when what is
written here no longer agrees with what the commands print.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README, COOKBOOK, PICTURE = ROOT / "README.md", ROOT / "docs/cookbook.md", ROOT / "docs/report.png"
MINIATURES = ROOT / "workloads/miniature"
RECOVERED = ROOT / "benchmarks/miniature.json"
RUN, HALF = "runs/deepseekmoe-200mm2", "runs/deepseekmoe-100mm2"
MAIN = "dse explore --model deepseekmoe --budget-area 200mm2"


@dataclass(frozen=True)
class Question:
    """A question, the commands that answer it (the last one's output is shown), and a remark."""

    text: str
    commands: tuple[str, ...]
    remark: str = ""

    @property
    def quick(self) -> bool:
        """Whether the answer needs no finished run."""
        return not any("runs/" in command or command == MAIN for command in self.commands)


QUESTIONS = (
    Question("What should I build for DeepSeekMoE-16B in 200 mm²?", (MAIN,),
             "Two minutes on two cores. The last line names the report, which says why."),
    Question("What do I lose with half the area?",
             ("dse explore --model deepseekmoe --budget-area 100mm2",
              f"dse compare {RUN} {HALF}"),
             "The hypervolume counts what a front reaches in all objectives, each scaled to what "
             "the two runs span."),
    Question("Which design, if energy counts twice as much as accuracy?",
             (f"dse best {RUN} --weights energy_per_token=2,delta_loss=1",),
             "The search is not repeated: any weighting of a finished run takes half a second."),
    Question("Which published constants decide the recommended design's energy and area?",
             (f"dse tornado {RUN}",),
             "Where a bar is long, better data on that constant is worth more than more search."),
    Question("What does a 512 × 512 PCM tile cost, and which part of it?",
             ("dse tile --rows 512 --cols 512 --adc-bits 8 --technology pcm-14nm",),
             "The technology is measured silicon; `notebooks/tile_configs.ipynb` sweeps it."),
    Question("What do a 6-bit converter and eight columns sharing it save?",
             ("dse tile --rows 512 --cols 512 --adc-bits 6 --columns-per-adc 8",),
             "Area, but not energy or time: the inputs are driven again for every column of a "
             "converter. What the lost bits do to the accuracy, only a simulation says."),
    Question("Which experts would each score make digital, and how much work do they do?",
             ("dse scores --model olmoe --share 0.25",),
             "Shares of the work are over all tokens of the miniature's held-out text and tasks."),
    Question("Which parts of the model suffer most in analog?",
             ("dse sensitivity --model olmoe",),
             "Per parameter the LM head, the router and attention lose most: the reason why the "
             "paper keeps dense modules digital. `dse explore` puts them on tiles where it pays."),
    Question("What is the least area for Mixtral-8x7B?",
             ("dse explore --model mixtral --budget-area 20mm2",),
             "A budget that nothing meets is told before any simulation, with the one that works; "
             "exit code 2."),
    Question("Does the cost model agree with the paper's own machine numbers?",
             ("dse validate --seed",),
             "`dse validate` does the same for chips, GPU runs and systems."),
)  # fmt: skip


def run_command(command: str, folder: Path, *, one_thread: bool = False) -> str:
    """What a `dse` command prints in a folder: its output, or its one line of error.

    one_thread: as the tests run it; sums over threads differ in their last digits.
    """
    arguments = [sys.executable, "-m", "dse", *command.split()[1:]]
    environment = os.environ | ({"OMP_NUM_THREADS": "1"} if one_thread else {})
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 2):
        raise ValueError(f"{command} ended with {done.returncode}: {done.stderr.strip()}")
    text = done.stdout if done.returncode == 0 else done.stderr.splitlines()[-1]
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


def block(commands: Sequence[str], output: str) -> str:
    """Commands and what the last one prints, as in a terminal."""
    typed = "\n".join(f"$ {command}" for command in commands)
    return f"```\n{typed}\n{output}\n```"


def cookbook(outputs: dict[str, str]) -> str:
    """docs/cookbook.md from the output of each question's last command."""
    parts = [
        "# Cookbook",
        f"{len(QUESTIONS)} questions, the commands that answer them and what they print, written "
        "by `python docs/generate.py` and checked by the tests. Every command takes `--json`.",
    ]
    for number, question in enumerate(QUESTIONS, 1):
        shown = block(question.commands, outputs[question.commands[-1]])
        parts += [f"## {number}. {question.text}", shown, question.remark]
    return "\n\n".join(parts) + "\n"


def example_section(output: str, config: dict[str, Any]) -> str:
    """The README's example: what the main command prints, and what it took."""
    seconds, counts = sum(config["wall_seconds"].values()), config["counts"]
    took = (
        f"{seconds:.0f} s on two cores for this run: {counts['designs_costed']:,} designs costed, "
        f"{counts['simulations']} accuracies simulated. The report of the run, the table of every "
        "candidate and all it takes to repeat it lie in the folder of the last line. Ten "
        "questions with their answers stand in [docs/cookbook.md](docs/cookbook.md)."
    )
    return f"{block((MAIN,), output)}\n\n{took}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A markdown table; the first row is its head."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def miniature_section() -> str:
    """The README's section on the miniatures, from their records and the recorded benchmark."""
    measured = json.loads(RECOVERED.read_text(encoding="utf-8"))
    names = list(measured["results"])
    records = [json.loads((MINIATURES / f"{n}.json").read_text(encoding="utf-8")) for n in names]
    quality = [record["quality"] for record in records]
    benefit = [measured["results"][name] for name in names]
    options = measured["options"]

    def percent(key: str) -> list[str]:
        return [f"{100 * one[key]:.1f} %" for one in quality]

    def spread(key: str) -> list[str]:
        return [", ".join(f"{value:.2f}" for value in one[key]) for one in quality]

    def recovered(score: str) -> list[str]:
        return [f"{100 * one[score]['recovered']:.0f} %" for one in benefit]

    rows = [
        ["", *names],
        ["parameters, tokens seen in training", *(
            f"{r['parameters'] / 1e6:.2f} M, {r['tokens_seen'] / 1e6:.1f} M" for r in records)],
        ["next-token loss on held-out text (nats)", *(
            f"{q['text_loss_nats']:.2f}" for q in quality)],
        ["next-token accuracy on it", *percent("text_top1")],
        ["mean accuracy of six generated tasks", *percent("task_accuracy")],
        ["variation of expert load, by layer", *spread("load_variation")],
        ["variation of maximum neuron norm, by layer", *spread("max_neuron_norm_variation")],
        ["loss added by noisy experts (nats)", *(
            f"{b['added_loss_nats']:.4f} ± {b['added_loss_stderr']:.4f}" for b in benefit)],
        ["of it recovered by maximum neuron norm", *recovered("max_neuron_norm")],
        ["... by routing weight", *recovered("routing_weight")],
        ["... by activation frequency", *recovered("activation_frequency")],
        ["... by experts at random", *recovered("random")],
    ]  # fmt: skip
    words = (
        f"The last five rows: PCM programming noise of magnitude {options['magnitude']:g} on all "
        f"routed experts, then {100 * options['share']:.0f} % of every layer's experts digital "
        f"({options['tokens']:,} tokens, {options['repetitions']} pairs of noise draws; "
        "`python benchmarks/miniature.py`). Variation is the coefficient of variation over the "
        "experts of a layer. Recipe, text, shortcomings and what was tried: "
        "[workloads/miniature](workloads/miniature/README.md)."
    )
    return f"{table(rows)}\n\n{words}"


def with_section(text: str, name: str, section: str) -> str:
    """A document with the section between the markers of this name.

    Raises:
        ValueError: when a marker is missing or they stand in the wrong order.
    """
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"no section between {start} and {end} to replace")
    return f"{before}{start}\n{section}\n{end}{after}"


def section_of(text: str, name: str) -> str:
    """What stands between the markers of a name."""
    return text.partition(f"<!-- {name}:start -->")[2].partition(f"<!-- {name}:end -->")[0].strip()


def measure_miniatures() -> None:
    """Run benchmarks/miniature.py again where its record is not of the shipped weights."""
    record = RECOVERED.read_text(encoding="utf-8") if RECOVERED.exists() else ""
    if all(digest in record for digest in weight_digests().values()):
        return
    script = [sys.executable, str(ROOT / "benchmarks/miniature.py"), "--json"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True)
    RECOVERED.write_text(json.dumps(json.loads(done.stdout), indent=1) + "\n", encoding="utf-8")


def weight_digests() -> dict[str, str]:
    """First digits of the weights' SHA-256 by miniature, as the sources of results name them."""
    paths = MINIATURES.glob("*-mini.json")
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(paths)]
    return {record["name"]: record["weights_sha256"][:8] for record in records}


def answers(folder: Path, runs: dict[str, Path | None]) -> dict[str, str]:
    """Output of every question's last command, in a folder that gets the two runs."""
    for place, source in runs.items():
        if source is not None:
            shutil.copytree(source, folder / place)
    outputs = {}
    for question in QUESTIONS:
        for command in question.commands:
            model_area = re.fullmatch(r"dse explore --model (\w+) --budget-area (\w+)", command)
            place = f"runs/{model_area[1]}-{model_area[2]}" if model_area else ""
            finished = (folder / place).is_dir() if place else False
            run = f"dse show {place}" if finished else command
            outputs[command] = run_command(run, folder, one_thread=question.quick)
    return outputs


def main() -> None:
    """Write everything."""
    parser = argparse.ArgumentParser(description="Rewrite README.md and docs/ from the commands.")
    parser.add_argument("--run", type=Path, help=f"a finished run of: {MAIN}")
    parser.add_argument("--half", type=Path, help="the same with half the area")
    arguments = parser.parse_args()
    from dse.cli.trust_report import trust_section
    from reports.screenshot import screenshot

    measure_miniatures()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outputs = answers(folder, {RUN: arguments.run, HALF: arguments.half})
        config = json.loads((folder / RUN / "config.json").read_text(encoding="utf-8"))
        screenshot(folder / RUN, PICTURE)
    text = README.read_text(encoding="utf-8")
    for key, section in (
        ("example", example_section(outputs[MAIN], config)),
        ("miniatures", miniature_section()),
        ("trust", trust_section()),
    ):
        text = with_section(text, key, section)
    README.write_text(text, encoding="utf-8")
    COOKBOOK.write_text(cookbook(outputs), encoding="utf-8")


if __name__ == "__main__":
    main()
