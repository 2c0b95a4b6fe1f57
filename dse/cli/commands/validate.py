"""Commands about trust in the cost: `validate` the models, `tornado` of a design."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dse.cli.commands.options import JSON, RUN

if TYPE_CHECKING:
    import pandas


def validate(
    chips: Path | None = typer.Option(None, help="Your own table of chips (CSV)."),
    gpus: Path | None = typer.Option(None, help="Your own table of GPU runs (CSV)."),
    seed: bool = typer.Option(False, "--seed", help="The paper's Table 2 beside the prediction."),
    template: bool = typer.Option(
        False, "--template", help="Print an empty table of chips with examples (CSV), and end."
    ),
    accuracy: bool = typer.Option(
        False, "--accuracy", help="Published losses of full-size models beside the estimate."
    ),
    anchors: Path | None = typer.Option(None, help="With --accuracy: your own losses (CSV)."),
    as_json: bool = JSON,
) -> None:
    """Hold the models against published chips and GPUs.

    And against systems; each chip is left out of the fit once. With --accuracy: losses. For chips
    of your own: `dse validate --template > mine.csv`, fill in, `dse validate --chips mine.csv`.
    """
    from dse.cli.console import print_json, records
    from dse.cli.validation_sheet import print_tables

    if template:
        if chips is not None or gpus is not None or seed or accuracy:
            raise ValueError("--template stands alone: it prints an empty table of chips")
        _print_template(as_json)
        return
    if anchors is not None and not accuracy:
        raise ValueError("--anchors is for losses of models: add --accuracy")
    if accuracy:
        _accuracy(anchors, as_json)
        return
    tables = _tables(chips, gpus, seed)
    if as_json:
        print_json({name: records(table) for name, table in tables.items()})
        return
    if chips is not None:
        _say_what_is_not_read(chips)
    print_tables(tables)


def _say_what_is_not_read(chips: Path) -> None:
    """Name headers of a table of chips that mean nothing here: one may be misspelled."""
    from dse.cli.console import say
    from hwmodels.chip_table import unread_headers

    unread = unread_headers(chips)
    if unread:
        say(f"Not read, for no column has such a name (--template has all): {', '.join(unread)}.")


def _print_template(as_json: bool) -> None:
    """The columns of a table of chips: as a table to fill in, or described in JSON."""
    from dse.cli.console import print_json
    from hwmodels import chip_columns

    if as_json:
        print_json({"columns": chip_columns.fields_of(), "examples": list(chip_columns.EXAMPLES)})
    else:
        typer.echo(chip_columns.template(), nl=False)


def _accuracy(anchors: Path | None, as_json: bool) -> None:
    """Anchors with their predictions, the gains behind them, and what they say."""
    from dse.cli.console import print_json, records
    from dse.cli.validation_sheet import print_accuracy
    from dse.experiments.validate_accuracy import accuracy_table, findings, gain_rows

    table = accuracy_table(anchors)
    if as_json:
        print_json({"anchors": records(table), "gains": gain_rows(), "findings": findings(table)})
    else:
        print_accuracy(table, gain_rows(), findings(table))


def _tables(chips: Path | None, gpus: Path | None, seed: bool) -> "dict[str, pandas.DataFrame]":
    """The tables asked for; all against measurements when none is named."""
    from hwmodels import validation
    from hwmodels.validation_digital import validate_digital
    from hwmodels.validation_gpu import UNSEEN, summarise_gpus, validate_gpus
    from hwmodels.validation_system import validate_systems
    from workloads.decoders import step_reads

    everything = chips is None and gpus is None and not seed
    tables: dict[str, pandas.DataFrame] = {}
    if everything or chips is not None:
        tables["chips"] = validation.validate_chips(chips)
        tables["summary"] = validation.summarise_chips(tables["chips"])
        tables["classes"] = validation.summarise_classes(tables["chips"])
    if everything or gpus is not None:
        tables["gpus"] = validate_gpus(step_reads, gpus)
    if everything:
        unseen = validate_gpus(step_reads, UNSEEN)
        tables["gpu_summary"] = summarise_gpus(tables["gpus"], unseen)
        tables["digital"] = validate_digital(step_reads)
        tables["systems"] = validate_systems()
    if seed:
        from dse.experiments.reproduce.table2 import seed_table

        tables["seed"] = seed_table()
    return tables


def tornado(
    run: Path = RUN,
    trial: str | None = typer.Option(
        None, help="A design of the run, by name or trial; by default the recommended."
    ),
    against: str | None = typer.Option(None, help="Another design, to compare with."),
    as_json: bool = JSON,
) -> None:
    """Which constants move a design's costs most.

    Its energy, throughput and area, with their ranges.
    """
    from dse.cli.console import print_json
    from dse.cli.tornado_sheet import print_tornado, tornado_document
    from dse.runs.folder import load_run

    document: dict[str, Any] = tornado_document(load_run(run), trial, against)
    if as_json:
        print_json(document)
    else:
        print_tornado(document)
