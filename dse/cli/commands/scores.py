"""`dse scores`: what selection scores say of a miniature's or a real checkpoint's experts."""

import sys
from functools import partial
from pathlib import Path

import typer

from dse.cli.commands.options import JSON, MODEL_OR_CHECKPOINT, OF_SHARE, SHARE
from dse.cli.commands.progress import steps


def scores(
    model: str = MODEL_OR_CHECKPOINT,
    share: float | None = typer.Option(
        None, *SHARE, min=0.0, max=1.0, help=f"{OF_SHARE}  [default: 0.25]"
    ),
    checkpoint: Path | None = typer.Option(
        None, help="Hugging Face folder: score its real experts instead."
    ),
    score: str | None = typer.Option(
        None, help="With --checkpoint: max_neuron_norm or router_norm.  [default: max_neuron_norm]"
    ),
    load: bool = typer.Option(
        False,
        "--load",
        help="With --checkpoint: how unequal experts' loads are, by a pass over it.",
    ),
    as_json: bool = JSON,
) -> None:
    """Which experts each selection score makes digital.

    With --checkpoint, every expert's score, and how far the largest weights of each layer lie above
    the others: what programming noise does to them depends on it.
    """
    from dse.cli.console import print_frame, print_json, records

    if checkpoint is None:
        if load:
            raise ValueError("--load is for a checkpoint: add --checkpoint FOLDER")
        if score is not None:
            raise ValueError("--score is for a checkpoint, all stand here: leave it out")
        from dse.experiments.scores import score_table

        table = score_table(model or "deepseekmoe", 0.25 if share is None else share)
        if as_json:
            print_json({"scores": records(table)})
        else:
            print_frame(table, title="scores")
        return
    if share is not None:
        raise ValueError(
            "--digital-experts is not for a checkpoint, whose experts all stand here: leave it out"
        )
    from dse.checkpoints.scores import checkpoint_scores, score_document, score_frame
    from dse.checkpoints.weight_tails import load_variation, weight_tails
    from workloads.checkpoint_folder import open_checkpoint

    opened, score = open_checkpoint(checkpoint), score or "max_neuron_norm"
    if model:
        from dse.checkpoints.model import real_architecture

        real_architecture(str(checkpoint), model)
    with steps(quiet=not sys.stderr.isatty()) as told:
        values = checkpoint_scores(opened, score, partial(told, "layers"))
        tails = weight_tails(opened, progress=partial(told, "tails of weights, layers"))
        loads = load_variation(checkpoint, told) if load else None
    if as_json:
        found = {"tails": records(tails)} | ({} if loads is None else {"loads": records(loads)})
        print_json(score_document(opened, score, values) | found)
    else:
        print_frame(score_frame(opened, values), title=score)
        print_frame(tails, title="tails of weights, tiles of 512 rows")
        if loads is not None:
            print_frame(loads, title="loads of experts")
        typer.echo(f"source: {opened.source}")
