"""Commands that look: `models`, and at finished runs `show` and `report`."""

from pathlib import Path

import typer

RUN = typer.Argument(help="Run folder.")
JSON = typer.Option(False, "--json", help="Print one JSON document.")


def models(as_json: bool = JSON) -> None:
    """List the models that ship, with their parameter counts."""
    from dse.console import print_json, print_table
    from workloads.architecture import load_model, model_names

    found = [load_model(name) for name in model_names()]
    if as_json:
        print_json(
            [
                {
                    "name": model.name,
                    "title": model.title,
                    "layers": model.layers,
                    "moe_layers": model.moe_layers,
                    "routed_experts": model.routed_experts,
                    "experts_per_token": model.experts_per_token,
                    "total_parameters": model.total_parameters(),
                    "active_parameters": model.active_parameters(),
                    "stand_in": model.stand_in,
                    "source": model.source,
                }
                for model in found
            ]
        )
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
            model.stand_in,
        )
        for model in found
    ]
    headers = ("name", "model", "layers", "experts", "used", "total B", "active B", "stands for it")
    print_table(headers, rows, left=2)


def show(run: Path = RUN, as_json: bool = JSON) -> None:
    """Show what a run found."""
    from dse.commands.explore import show_result
    from dse.run import load_run

    show_result(load_run(run), as_json)


def report(run: Path = RUN, as_json: bool = JSON) -> None:
    """Draw report.html again from a run's tables."""
    from dse.console import print_json
    from dse.explorer import write_report

    path = write_report(run)
    if as_json:
        print_json({"report": str(path)})
    else:
        typer.echo(f"Report: {path}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (models, show, report):
        app.command()(command)
