"""`dse study`: what a shared storage holds, and a study of it removed."""

from typing import Any

import typer

from dse.cli.commands import complete
from dse.cli.commands.options import JSON, NO_STORAGE, STORAGE

_ACTION = typer.Argument(help="list or remove.", autocompletion=complete.study_actions)


def study(
    action: str = _ACTION,
    name: str = typer.Option("", "--study", help="The one to remove."),
    storage: str = STORAGE,
    force: bool = typer.Option(False, "--force", help="Remove it also while trials are in hand."),
    as_json: bool = JSON,
) -> None:
    """List the studies of a shared storage, or remove one.

    A search whose set-up was killed may leave a name that only this frees.
    """
    from dse.cli.console import print_json, print_table
    from dse.search.shared_studies import list_studies, remove_study
    from dse.search.study.storage import shared_place, shown

    if action not in complete.STUDY_ACTIONS:
        raise ValueError(f"dse study {action}: choose list or remove")
    if not storage:
        raise ValueError(NO_STORAGE)
    if (action == "remove") != bool(name):
        raise ValueError("add --study NAME" if action == "remove" else "list takes no --study")
    place = shared_place(storage, name)
    found: list[dict[str, Any]]
    with place.errors():
        found = [remove_study(place, force)] if action == "remove" else list_studies(place)
    if as_json:
        print_json({"storage": shown(storage), action: found})
    elif action == "remove":
        typer.echo(f"removed study {name} with {found[0]['finished']} finished trials")
    else:
        headers = ("study", "model", "started", "finished", "in hand", "wanted")
        keys = ("study", "model", "started", "finished", "in_hand", "wanted")
        rows = [tuple("–" if one[key] is None else f"{one[key]}" for key in keys) for one in found]
        print_table(headers, rows, left=3, whole=(0,))
