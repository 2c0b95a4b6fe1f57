"""Commands about accuracy: what it depends on, and whether the paper's claims hold here."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dse import units
from dse.cli.commands import complete
from dse.cli.commands.options import (
    AGE,
    ANALOG_MODULE,
    JSON,
    MAGNITUDE,
    MAX_MEMORY,
    MODEL,
    MODEL_OR_CHECKPOINT,
    NOISE_MODEL,
    OF_ADC,
    OF_DAC,
    OF_SHARE,
    SHARE,
    read_memory,
)
from dse.cli.commands.progress import steps, watch

if TYPE_CHECKING:
    import pandas

    from dse.experiments.reproduce.claims import Reproduction
    from dse.simulation.simulator import Noise

# Single parts that people see; there are hundreds.
_SHOWN = 12
# Rows of a table that nobody reads in a terminal.
_MANY = 100


def sensitivity(
    model: str = MODEL,
    noise_model: str = NOISE_MODEL,
    age: str = AGE,
    magnitude: float = MAGNITUDE,
    tokens: int = typer.Option(8192, min=2048, help="Tokens of the estimate."),
    check_layer: int | None = typer.Option(
        None, help="MoE layer whose estimate is checked by simulation.  [default: the middle one]"
    ),
    seeds: int = typer.Option(8, min=2, help="Noise seeds of the check, an even number."),
    as_json: bool = JSON,
) -> None:
    """How much loss each part of the model adds in analog.

    Alone and in groups.
    """
    from dse.experiments.scores import sensitivity_tables

    noise = _noise(noise_model, magnitude, age)
    with steps(quiet=as_json) as told:
        tables, facts = sensitivity_tables(model, noise, tokens, check_layer, seeds, told)
    if not as_json:
        tables = {**tables, "parts": tables["parts"].head(_SHOWN)}
        facts["parts"] = f"the {_SHOWN} that add most; --json has all"
    _print_tables(tables, as_json, **facts)


def calibrate(
    model: str = MODEL,
    dac_bits: int = typer.Option(8, min=2, max=16, help=OF_DAC),
    adc_bits: int = typer.Option(8, min=2, max=16, help=OF_ADC),
    noise_model: str = NOISE_MODEL,
    age: str = AGE,
    magnitude: float = MAGNITUDE,
    tokens: int = typer.Option(4096, min=1536, help="Tokens of the sweep."),
    as_json: bool = JSON,
) -> None:
    """Choose the ranges of converters for a model.

    These are kappa and lambda, tried on the model's calibration text.
    """
    from dataclasses import replace

    from dse.simulation.calibration import calibrate as sweep
    from workloads.architecture import load_architecture
    from workloads.checkpoint import load_miniature

    architecture = load_architecture(model)
    miniature = load_miniature(architecture.stand_in)
    noise = replace(_noise(noise_model, magnitude, age), dac_bits=dac_bits, adc_bits=adc_bits)
    with steps(quiet=as_json) as told:
        result = sweep(
            miniature, architecture, noise, tokens=tokens, progress=partial(told, "pairs of ranges")
        )
    _print_tables({"calibration": result.table}, as_json, source=result.source)


def mitigate(
    model: str = MODEL_OR_CHECKPOINT,
    mitigation: list[str] = typer.Option(
        [],
        help="router-recalibration or expert-replacement; repeatable.  [default: both]",
        autocompletion=complete.mitigations,
    ),
    share: float = typer.Option(0.25, *SHARE, min=0.0, max=1.0, help=OF_SHARE),
    score: str = typer.Option(
        "max_neuron_norm", help="Which experts are digital.", autocompletion=complete.scores
    ),
    analog_module: list[str] = ANALOG_MODULE,
    noise_model: str = NOISE_MODEL,
    age: str = AGE,
    magnitude: float = MAGNITUDE,
    tokens: int | None = typer.Option(
        None,
        min=1024,
        help="Tokens that loss is measured on.  [default: 8192, of a checkpoint 2048]",
    ),
    seeds: int = typer.Option(4, min=2, help="Noise seeds, an even number."),
    checkpoint: Path | None = typer.Option(None, help="Hugging Face folder: on its weights."),
    max_memory: str = MAX_MEMORY,
    as_json: bool = JSON,
) -> None:
    """What two mitigations change in a placement's loss.

    They are router recalibration and expert replacement.
    """
    from dse.experiments.mitigation import checkpoint_mitigation_table, mitigation_table
    from dse.simulation.mitigation_names import MITIGATIONS

    noise, names = _noise(noise_model, magnitude, age), mitigation or MITIGATIONS
    if checkpoint is None:
        if max_memory:
            raise ValueError("--max-memory is for a checkpoint: add --checkpoint FOLDER")
        table, source = mitigation_table(
            model or "deepseekmoe", noise, names, share, score, analog_module, tokens or 8192, seeds
        )
    else:
        memory = read_memory(max_memory)
        with watch(as_json) as callbacks:
            table, source = checkpoint_mitigation_table(
                checkpoint, noise, names, share, score, analog_module, tokens or 2048, seeds,
                memory, model, callbacks.layers,
            )  # fmt: skip
    if as_json:
        _print_tables({"mitigation": table}, as_json, source=source)
    else:
        _print_mitigation(table, source)


def _print_mitigation(table: "pandas.DataFrame", source: str) -> None:
    """One row a mitigation; a checkpoint has no tasks and no load to tell of."""
    from dse.cli.console import print_table, say

    headers = {"loss_change_nats": "change of it", "accuracy_change": "accuracy"}
    changes = [name for name in headers if name in table]
    cells = [
        (
            row["mitigation"],
            f"{row['delta_loss_nats']:.4f} ± {row['delta_loss_stderr']:.4f}",
            *(
                f"{row[name]:+.4f} ± {row[f'{name}_stderr']:.4f}" if number else "–"
                for name in changes
            ),
            *([f"{row['largest_load']:.2f}"] if "largest_load" in table else []),
        )
        for number, row in table.iterrows()
    ]
    load = ["largest load"] if "largest_load" in table else []
    print_table(["mitigation", "added loss", *(headers[name] for name in changes), *load], cells)
    of_load = "; load of an even share" if load else ""
    units_said = "nats, shares" if "accuracy_change" in table else "nats"
    say(f"source: {source}; {units_said}, ± one standard error{of_load}")


def reproduce(
    name: str = typer.Argument(
        help="budget, fig3, fig4, fig5, fig6, table1, table2 or theory.",
        autocompletion=complete.figures,
    ),
    tokens: int | None = typer.Option(
        None, min=1536, help="Tokens a model; theory has none.  [default: 8192]"
    ),
    seeds: int | None = typer.Option(
        None,
        min=2,
        help="Noise seeds, an even number; of theory: trainings a setting; fig6 has none."
        "  [default: 8]",
    ),
    output: Path | None = typer.Option(None, help="Write the figure here, as HTML."),
    as_json: bool = JSON,
) -> None:
    """Repeat a figure of the paper on the miniatures.

    Says whether its claim holds there.

    Each finished simulation is kept in the user's cache folder: the command can be stopped with
    Ctrl-C and goes on from there when it is given again.
    """
    from dse.files import check_file, write_atomically

    if output is not None:
        check_file(output)  # before minutes of work
    if name == "theory" and tokens is not None:
        raise ValueError("--tokens has no effect on theory, which draws its own: leave it out")
    if name == "fig6" and seeds is not None:
        raise ValueError("--seeds has no effect on fig6, which has no noise: leave it out")
    result = _draw(name, seeds or 8, tokens or 8192, quiet=as_json)
    if output is not None:
        page = result.figure.to_html(include_plotlyjs=True)
        write_atomically(output, lambda file: file.write_text(page, encoding="utf-8"))
    facts: dict[str, str] = {}
    table = result.table if as_json else result.cells()
    if not as_json and len(table) > _MANY:
        facts["rows"] = f"the first {_SHOWN} of {len(table)}; --json has all"
        table = table.head(_SHOWN)
    _print_tables(
        {result.name: table},
        as_json,
        source=result.source,
        claim=result.claim,
        published=result.published,
        holds=_holds(result.holds, as_json),
        finding=result.sentence,
        **facts,
    )


def _holds(holds: bool | None, as_json: bool) -> bool | str | None:
    """For a person in words; null in a document where the errors leave it open."""
    return holds if as_json else {True: "yes", False: "no", None: "not decided"}[holds]


def _draw(name: str, seeds: int, tokens: int, quiet: bool) -> "Reproduction":
    """The figure, with progress; Ctrl-C, even one that Python dropped, ends it in one line."""
    from dse.experiments.reproduce.reproduce import reproduce as draw
    from dse.kept import kept_of_this_code
    from dse.search import interrupts

    kept = kept_of_this_code()
    try:
        with interrupts.remembered() as interrupt, steps(quiet) as told:

            def say(text: str, done: int, total: int) -> None:
                if interrupt.is_set():
                    raise KeyboardInterrupt
                told(text, done, total)

            result = draw(name, seeds=seeds, tokens=tokens, progress=say, kept=kept)
    except KeyboardInterrupt:
        kept_said = "; finished simulations are kept, the same command goes on from there"
        raise typer.Abort(f"interrupted{kept_said if kept.on_disk else ''}") from None
    if kept.trouble:
        typer.echo(f"{kept.trouble}: a later run starts afresh", err=True)
    return result


def _noise(noise_model: str, magnitude: float, age: str) -> "Noise":
    from dse.simulation.simulator import Noise

    return Noise(noise_model=noise_model, magnitude=magnitude, time_s=units.age(age) or None)


def _print_tables(tables: "dict[str, pandas.DataFrame]", as_json: bool, **facts: Any) -> None:
    """Tables one after another with facts below, or all of it as one JSON document."""
    from dse.cli.console import print_frame, print_json, records, say

    if as_json:
        print_json({**{name: records(table) for name, table in tables.items()}, **facts})
        return
    for name, table in tables.items():
        print_frame(table, title=name)
    for name, fact in facts.items():
        say(f"{name}: {fact}")
