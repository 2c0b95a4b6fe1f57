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
    as_json: bool = JSON,
) -> None:
    """Hold the models against published chips and GPUs.

    And against systems; each chip is left out of the fit once.
    """
    from dse.cli.console import print_json, records
    from dse.cli.validation_sheet import print_tables

    tables = _tables(chips, gpus, seed)
    if as_json:
        print_json({name: records(table) for name, table in tables.items()})
    else:
        print_tables(tables)


def _tables(chips: Path | None, gpus: Path | None, seed: bool) -> "dict[str, pandas.DataFrame]":
    """The tables asked for; all against measurements when none is named."""
    from hwmodels import validation
    from hwmodels.validation_gpu import validate_gpus
    from hwmodels.validation_system import validate_systems

    everything = chips is None and gpus is None and not seed
    tables: dict[str, pandas.DataFrame] = {}
    if everything or chips is not None:
        tables["chips"] = validation.validate_chips(chips)
        tables["summary"] = validation.summarise_chips(tables["chips"])
        survey = validation.validate_survey() if chips is None else None
        tables["classes"] = validation.summarise_classes(
            tables["chips"] if survey is None else survey
        )
        if survey is not None:
            tables["survey"] = survey
    if everything or gpus is not None:
        tables["gpus"] = validate_gpus(gpus)
    if everything:
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
