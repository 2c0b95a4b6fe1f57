"""`dse worker`: help a search on another machine; `dse storage-proxy`: a door to its database."""

import signal
import sys
from typing import Any

import typer

from dse.cli.commands.options import JSON, NO_STORAGE, STORAGE, read_effort
from dse.cli.commands.progress import watch
from dse.search.interrupts import ENDING


def worker(
    storage: str = STORAGE,
    study: str = typer.Option("", help="Name of the study, as dse explore --study gave it."),
    jobs: int = typer.Option(1, help="Processes on this machine."),
    timeout: str = typer.Option("", help="Leave after this time, such as 8h."),
    as_json: bool = JSON,
) -> None:
    """Join a study that dse explore --storage started.

    Workers come and go at any time.
    """
    from dse.cli.console import print_json
    from dse.search.study.storage import shared_place
    from dse.search.workers import work

    timeout_s = read_effort(timeout, jobs)
    if not storage or not study:
        raise ValueError(NO_STORAGE if not storage else "add --study NAME")
    place = shared_place(storage, study)
    _heed_signals()
    with watch(as_json) as callbacks:
        done = work(place, jobs=jobs, timeout_s=timeout_s, show=callbacks.progress)
    if as_json:
        print_json(done)
    else:
        typer.echo(
            f"{done['outcome']}: study {study} in {done['storage']} has {done['trials']} of "
            f"{done['wanted']} trials, {done['trials_here']} of them from this process"
        )


def _heed_signals() -> None:
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _leave)


def _leave(number: int, frame: Any) -> None:
    """Leave as at Ctrl-C: what is in hand goes back to the queue."""
    raise KeyboardInterrupt


def storage_proxy(
    storage: str = STORAGE,
    host: str = typer.Option("localhost", help="Address to listen on."),
    port: int = typer.Option(13000, min=1, max=65535, help="Port to listen on."),
    as_json: bool = JSON,
) -> None:
    """Serve a database to workers until Ctrl-C.

    Workers then need no way to the database and no password; neither has the proxy one, so keep
    it in a trusted network.
    """
    from dse.cli.console import print_json
    from dse.search.study.storage import serve, shared_place, shown

    if not storage:
        raise ValueError(NO_STORAGE)
    place = shared_place(storage, "")
    _heed_signals()

    def ready() -> None:
        url = f"grpc://{host}:{port}"
        if as_json:
            print_json({"serving": shown(storage), "url": url})
        else:
            typer.echo(f"serving {shown(storage)} as --storage {url}; Ctrl-C ends it")
        sys.stdout.flush()

    with place.errors():
        serve(place, host, port, ready)
