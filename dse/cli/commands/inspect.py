"""Commands that look: `models`, and `show`, `best`, `compare`, `export`, `report` at runs."""

from pathlib import Path
from typing import Any

import typer

from dse.cli.commands import complete
from dse.cli.commands.options import JSON, OF_MAX_LOSS, OF_PREFER, RUN, STORAGE


def models(as_json: bool = JSON) -> None:
    """List the models that ship, with their parameter counts."""
    from dse.cli.console import print_json, print_table
    from workloads.architecture import load_model, model_names

    found = [load_model(name) for name in model_names()]
    if as_json:
        print_json([_model_document(model) for model in found])
        return
    rows = [
        (
            model.name,
            model.title,
            f"{model.layers}",
            f"{model.routed_experts}",
            f"{model.experts_per_token}",
            f"{model.total_parameters() / 1e9:.2f}",
            f"{model.active_parameters() / 1e9:.2f}",
            model.stand_in.removesuffix("-mini"),
        )
        for model in found
    ]
    headers = ("name", "model", "layers", "experts", "used", "total B", "active B", "miniature")
    print_table(headers, rows, left=2, whole=(0,))


def _model_document(model: Any) -> dict[str, Any]:
    return {
        "name": model.name,
        "title": model.title,
        "hugging_face": model.hugging_face,
        "layers": model.layers,
        "moe_layers": model.moe_layers,
        "routed_experts": model.routed_experts,
        "experts_per_token": model.experts_per_token,
        "total_parameters": model.total_parameters(),
        "active_parameters": model.active_parameters(),
        "stand_in": model.stand_in,
        "source": model.source,
    }


def show(run: Path = RUN, as_json: bool = JSON) -> None:
    """Show what a run found."""
    from dse.cli.commands.explore import show_result
    from dse.runs.folder import load_run

    show_result(load_run(run), as_json)


def best(
    run: Path = RUN,
    max_loss: str = typer.Option("", help=f"{OF_MAX_LOSS}  [default: that of the run]"),
    prefer: str = typer.Option("", help=f"{OF_PREFER}  [default: that of the run]"),
    weights: list[str] = typer.Option(
        [],
        help="metric=weight, instead of the rule: least weighted distance to the best values of "
        "the front; more may follow, or repeat it.",
        autocompletion=complete.metrics,
    ),
    more: list[str] = typer.Argument(None, metavar="[METRIC=WEIGHT]...", help="More of --weights."),
    count: int = typer.Option(3, min=1, help="How many designs."),
    as_json: bool = JSON,
) -> None:
    """The best designs of a run, by the rule of the recommendation or by weights."""
    from dse.cli.console import print_json, print_table, records
    from dse.cli.summary import HEADERS, cells
    from dse.runs.best import best as choose
    from dse.runs.best import by_rule, read_weights
    from dse.runs.folder import load_run
    from dse.search.rule import read_rule
    from dse.search.settings import Settings
    from dse.search.space import more_of

    said: dict[str, Any]
    opened, words = load_run(run), more_of("--weights", weights, more)
    if weights:
        if max_loss or prefer:
            raise ValueError("--weights stands for itself: leave out --max-loss and --prefer")
        read = read_weights([*weights, *words])
        table = choose(opened, read, count)
        said = {"weights": read}
        title = "Best for " + ", ".join(f"{name} x {weight:g}" for name, weight in read.items())
    else:
        asked = Settings.read(opened.config["settings"])
        rule = read_rule(max_loss or asked.max_loss, prefer or asked.prefer, asked.constraints)
        table = by_rule(opened, rule, count)
        said = {"rule": str(rule)}
        title = f"Best by the rule: {rule}."
    if as_json:
        print_json({**said, "designs": records(table)})
        return
    print_table(HEADERS, [cells(row) for _, row in table.iterrows()], title=title, left=2)


def compare(
    first: Path = typer.Argument(help="Run folder."),
    second: Path = typer.Argument(help="Another run folder."),
    as_json: bool = JSON,
) -> None:
    """Which of two runs has the better front, and where."""
    from dse.cli.console import print_json, print_table, say
    from dse.metrics import metric
    from dse.runs.best import compare as compare_runs
    from dse.runs.folder import load_run

    result = compare_runs(load_run(first), load_run(second))
    if as_json:
        print_json(result)
        return
    one, two = result["runs"]
    rows = [
        ("hypervolume", f"{one['hypervolume']:.4f}", f"{two['hypervolume']:.4f}"),
        ("designs on front", f"{one['designs_on_front']}", f"{two['designs_on_front']}"),
        ("of those on the joint front", *map(str, result["designs_on_joint_front"])),
        ("beaten by the other beyond the error", f"{one['designs_beaten_by_the_other']}",
         f"{two['designs_beaten_by_the_other']}"),
    ]  # fmt: skip
    for entry in result["best_of_each_objective"]:
        shown = (metric(entry["objective"]).text(entry[run]) for run in ("first", "second"))
        rows.append((f"best {entry['objective']}", *shown))
    print_table(("", str(first), str(second)), rows)
    for sentence in result["verdict"]:
        say(sentence)


def export(
    run: Path = RUN,
    csv: bool = typer.Option(False, "--csv", help="As CSV."),
    as_json: bool = typer.Option(False, "--json", help="As one JSON document."),
    parquet: bool = typer.Option(False, "--parquet", help="As parquet; needs --output."),
    output: Path | None = typer.Option(None, help="File to write; standard output by default."),
) -> None:
    """Write all candidates of a run as CSV, JSON or parquet."""
    from dse.files import write_atomically
    from dse.runs.best import export as convert
    from dse.runs.folder import load_run

    asked = (("csv", csv), ("json", as_json), ("parquet", parquet))
    kinds = [kind for kind, wanted in asked if wanted]
    if len(kinds) != 1:
        raise ValueError("choose one of --csv, --json and --parquet")
    if output is None and parquet:
        raise ValueError("parquet is not text: add --output FILE")
    content = convert(load_run(run), kinds[0])
    if output is None:
        typer.echo(content, nl=False)
    else:
        write_atomically(output, lambda temporary: temporary.write_bytes(content))


def report(
    ctx: typer.Context,
    run: Path = RUN,
    storage: str = STORAGE,
    study: str = typer.Option("", help="Its name in --storage; the run's own by default."),
    as_json: bool = JSON,
) -> None:
    """Draw report.html again, also of a search under way.

    With --storage it shows the study as it stands now.
    """
    from dse.cli.console import print_json
    from dse.runs.redraw import draw

    source = ctx.get_parameter_source("storage")
    insists = source is not None and source.name == "COMMANDLINE"
    path = draw(run, storage, study, insists=insists)
    if as_json:
        print_json({"report": str(path)})
    else:
        typer.echo(f"Report: {path}")
