"""`dse benchmark`: the paper's question benchmarks on a placed checkpoint, clean and noisy."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dse import units
from dse.cli.commands.options import (
    AGE,
    ANALOG_MODULE,
    JSON,
    MAGNITUDE,
    MAX_MEMORY,
    NOISE_MODEL,
    OF_ADC,
    OF_DAC,
    OF_SHARE,
    SHARE,
    read_memory,
)
from dse.cli.commands.progress import watch

if TYPE_CHECKING:
    from dse.checkpoints.likelihoods import EvaluationSettings

TASKS = "piqa,arc_easy,arc_challenge,boolq,hellaswag,winogrande,mathqa,mmlu"


def benchmark(
    checkpoint: Path = typer.Option(..., help="Hugging Face folder."),
    data: Path = typer.Option(..., help="Folder with the tasks' data, see docs/checkpoints.md."),
    tasks: str = typer.Option(TASKS, help="Comma-separated; or a TASK.yaml of your own in --data."),
    digital_experts: float = typer.Option(0.25, *SHARE, min=0.0, max=1.0, help=OF_SHARE),
    score: str = typer.Option(
        "max_neuron_norm", help="max_neuron_norm or router_norm: which experts are digital."
    ),
    scope: str = typer.Option("global", help="Experts ranked global or per_layer."),
    analog_module: list[str] = ANALOG_MODULE,
    noise_model: str = NOISE_MODEL,
    age: str = AGE,
    magnitude: float = MAGNITUDE,
    tile_rows: int = typer.Option(512, help="Rows of a tile."),
    dac_bits: int = typer.Option(8, help=OF_DAC),
    adc_bits: int = typer.Option(8, help=OF_ADC),
    seeds: int = typer.Option(2, help="Noise seeds: 1, or an even number."),
    limit: int | None = typer.Option(None, min=1, help="First questions of each task only."),
    max_memory: str = MAX_MEMORY,
    results: Path | None = typer.Option(
        None, help="File that keeps every answer, to go on from.  [default: in the cache folder]"
    ),
    as_json: bool = JSON,
) -> None:
    """Accuracy on the paper's benchmarks, clean and noisy.

    PIQA, ARC (easy and challenge), BoolQ, HellaSwag, WinoGrande, MathQA and MMLU.
    """
    from dse.checkpoints.likelihoods import EvaluationSettings, Scorer
    from dse.simulation.converter_ranges import with_ranges
    from dse.simulation.simulator import Noise
    from workloads.checkpoint_folder import open_checkpoint

    time_s = units.age(age) or None
    noise = Noise(noise_model, magnitude, time_s, tile_rows, dac_bits, adc_bits)
    opened = open_checkpoint(checkpoint)
    noise = with_ranges(noise, opened.architecture.stand_in)
    settings = EvaluationSettings(noise, digital_experts, score, scope, tuple(analog_module), seeds)
    memory = read_memory(max_memory)
    from dse.checkpoints.lm_eval_tasks import evaluate, load_tasks

    loaded = load_tasks(data, [name.strip() for name in tasks.split(",") if name.strip()])
    with watch(as_json) as callbacks:
        scorer = Scorer(
            opened, settings, file=results, max_memory_bytes=memory, layers=callbacks.layers
        )
        rows = evaluate(scorer, loaded, limit)
    _show(rows, settings, opened.source, as_json)


def _show(rows: list[Any], settings: "EvaluationSettings", source: str, as_json: bool) -> None:
    from dataclasses import asdict

    from dse.cli.console import print_json, print_table, say
    from dse.simulation.converter_ranges import said

    if as_json:
        print_json(
            {
                "source": source,
                "settings": asdict(settings),
                "tasks": [asdict(row) for row in rows],
            }
        )
        return
    cells = [
        (
            row.task,
            row.metric,
            str(row.questions),
            f"{100 * row.clean:.2f} ± {100 * row.clean_stderr:.2f}",
            f"{100 * row.accuracy:.2f} ± {100 * row.accuracy_stderr:.2f}",
            f"{100 * row.difference:+.2f} ± {100 * row.difference_stderr:.2f}",
        )
        for row in rows
    ]
    headers = ("task", "metric", "questions", "clean %", "noisy %", "difference")
    print_table(headers, cells, title="accuracy", left=2)
    ranges = said(settings.noise)
    say(f"source: {source}; {ranges}; ± is one standard error, the difference is paired")
