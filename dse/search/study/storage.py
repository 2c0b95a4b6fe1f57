"""Where a study lies: a journal file in the run folder, or a database that several machines share.

    dse explore --jobs 4                                       the journal, on one machine
    dse explore --storage postgresql://user:password@host/db   or mysql://...
    dse explore --storage grpc://host:13000                    a proxy that `dse storage-proxy` runs

A storage URL may hold a password: what is shown or written is `shown(url)`, which has neither user
nor password nor options, and errors of the drivers are cut to one line without it.
"""

import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    import optuna
    from sqlalchemy.engine import URL, Engine

STUDY = "dse"  # name of the only study in a journal
EXAMPLE = "postgresql://user:password@host/database, mysql://..., or grpc://host:port"
PROXY_PORT = 13000
_DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql"}
_CONNECT_S, _RETRY_S, _PATIENCE_S = 10, 1.0, 600.0


@dataclass(frozen=True)
class Place:
    """A study: its storage URL, or the path of its journal, and its name there."""

    url: str = field(repr=False)
    study: str = STUDY

    @property
    def is_journal(self) -> bool:
        """Whether it lies in a file, which one search owns."""
        return "://" not in self.url

    def open(self) -> "optuna.storages.BaseStorage":
        """Connect.

        Raises:
            ValueError: one line, without password, on what is wrong with URL, driver or server.
        """
        if not self.is_journal:
            return shared_storage(self.url)
        from dse.search.study.journal import DamagedJournalError

        try:
            return journal_storage(Path(self.url))
        except DamagedJournalError:
            raise
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.url} is not the journal of a search ({error!r})") from error

    def errors(self) -> AbstractContextManager[None]:
        """Turns what its storage raises into a ValueError (see `one_line_errors`)."""
        return nullcontext() if self.is_journal else one_line_errors(self.url)


def shared_place(url: str, study: str) -> Place:
    """A study in a shared storage.

    Raises:
        ValueError: the URL is none (see `read_url`).
    """
    read_url(url)
    return Place(url, study)


def journal_storage(path: Path) -> "optuna.storages.BaseStorage":
    """A journal file (see `dse.search.study.journal`)."""
    from dse.search.study.journal import Journal

    return Journal(path)


def read_url(text: str) -> "URL":
    """A storage URL with its driver filled in.

    Raises:
        ValueError: it is none; the text is not repeated, for it may hold a password.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(f"this is no storage URL: write {EXAMPLE}") from None
    if "@" in f"{url.host}{url.database}":
        raise ValueError("a password with @ in a storage URL must spell it %40")
    name, _, driver = url.drivername.partition("+")
    name = {"postgres": "postgresql", "mariadb": "mysql"}.get(name, name)
    if name == "sqlite":
        raise ValueError(
            "sqlite cannot be shared by machines, and on one machine a run needs no --storage: "
            f"use --jobs N, or {EXAMPLE}"
        )
    if name == "grpc":
        if not url.host:
            raise ValueError(f"a proxy is grpc://host:port, such as grpc://localhost:{PROXY_PORT}")
        return url.set(port=url.port or PROXY_PORT)
    if name not in _DRIVERS:
        raise ValueError(f"no storage of the kind {name!r}: write {EXAMPLE}")
    return url.set(drivername=f"{name}+{driver or _DRIVERS[name]}")


def shown(text: str) -> str:
    """A storage URL for people and files: kind, host, port and database only."""
    try:
        url = read_url(text)
    except ValueError:
        return "***"
    port = f":{url.port}" if url.port else ""
    database = f"/{url.database}" if url.database else ""
    return f"{url.get_backend_name()}://{url.host or ''}{port}{database}"


def has_secret(text: str) -> bool:
    """Whether a storage URL holds a password."""
    if "://" not in text:
        return False
    url = read_url(text)
    return bool(url.password or any("pass" in name for name in url.query))


def hide(text: str) -> str:
    """A command-line argument with any storage URL in it as `shown` shows it."""
    return re.sub(r"[a-z][\w+.-]*://.*", lambda found: shown(found[0]), text, flags=re.I | re.S)


def shared_storage(text: str) -> "optuna.storages.BaseStorage":
    """A database or proxy, patient once it has answered (see `Place.open`)."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = read_url(text)
    with one_line_errors(text):
        storage = _proxy(url) if url.drivername == "grpc" else open_database(url)
    return patient(storage, shown(text))


def _proxy(url: "URL") -> "optuna.storages.BaseStorage":
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import GrpcStorageProxy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        proxy = GrpcStorageProxy(host=str(url.host), port=int(url.port or PROXY_PORT))
    try:
        proxy.wait_server_ready(timeout=_CONNECT_S)
    except ConnectionError:
        raise ConnectionError(f"no proxy answered within {_CONNECT_S} s") from None
    return proxy


def open_database(url: "URL") -> "optuna.storages.BaseStorage":
    """A database of an URL that `read_url` gave, as it is: one failed attempt is an error."""
    from optuna.storages import RDBStorage, get_storage

    connect: dict[str, Any] = {} if "connect_timeout" in url.query else _timeouts(url)
    whole = url.render_as_string(hide_password=False)
    # Optuna fills in braces; those of a password are doubled, to stay.
    escaped = whole.replace("{", "{{").replace("}", "}}")
    options = {"connect_args": connect, "pool_pre_ping": True}
    storage = RDBStorage(escaped, engine_kwargs=options)
    if url.drivername.startswith("mysql"):
        _widen(storage.engine)
    return get_storage(storage)


def _widen(engine: "Engine") -> None:
    """Let values be longer than the 64 kB of MySQL's TEXT: a model's file, the losses of a look."""
    from sqlalchemy import text

    tables = "'study_user_attributes', 'trial_user_attributes'"
    narrow = text(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = DATABASE() "
        f"AND column_name = 'value_json' AND data_type = 'text' AND table_name IN ({tables})"
    )
    with engine.begin() as connection:
        for (name,) in connection.execute(narrow).all():
            connection.execute(text(f"ALTER TABLE {name} MODIFY value_json MEDIUMTEXT"))


def _timeouts(url: "URL") -> dict[str, Any]:
    """How long a driver waits for a machine that does not answer."""
    waits: dict[str, Any] = {"connect_timeout": _CONNECT_S}
    if url.drivername == "postgresql+psycopg":
        waits["tcp_user_timeout"] = 3000 * _CONNECT_S  # ms, within an open connection
    if url.drivername == "mysql+pymysql":
        waits |= {"read_timeout": 3 * _CONNECT_S, "write_timeout": 3 * _CONNECT_S}
    return waits


@contextmanager
def one_line_errors(text: str) -> Iterator[None]:
    """Turn what a storage or its driver raises into a ValueError of one line without password."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except ImportError:
        driver = read_url(text).drivername.rpartition("+")[2]
        raise ValueError(
            f"storage {shown(text)} needs {driver}: pip install 'analog-moe-dse[workers]'"
        ) from None
    except (SQLAlchemyError, StorageInternalError, ConnectionError) as error:
        raise ValueError(f"storage {shown(text)}: {_reason(error, text)}") from None
    except Exception as error:
        if not _is_grpc(error):
            raise
        raise ValueError(f"storage {shown(text)}: {_reason(error, text)}") from None


def _is_grpc(error: BaseException) -> bool:
    return any(kind.__name__ == "RpcError" for kind in type(error).__mro__)


def _reason(error: BaseException, text: str) -> str:
    """First line of what lies behind an error, without the password in any spelling."""
    while error.__cause__ is not None:
        error = error.__cause__
    details = getattr(error, "details", None)
    message = str(details()) if callable(details) else str(error)
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    url = read_url(text)
    secrets = [url.password, *(v for k, v in url.query.items() if "pass" in k)]
    for secret in map(str, filter(None, secrets)):
        for spelling in (secret, quote(secret, safe=""), quote_plus(secret)):
            reason = reason.replace(spelling, "***")
    return reason


def unreachable(error: BaseException | None) -> bool:
    """Whether an error means that the storage is away and may come back."""
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError

    while error is not None:
        # The last is what a second query in a transaction gets whose connection the first lost.
        if isinstance(error, OperationalError | InterfaceError | PendingRollbackError):
            return True
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        if _is_grpc(error) and "UNAVAILABLE" in str(getattr(error, "code", str)()):
            return True
        error = error.__cause__
    return False


def to_stderr(line: str) -> None:
    """Where the state of a storage is told."""
    print(line, file=sys.stderr, flush=True)


def patient(
    storage: "optuna.storages.BaseStorage",
    name: str,
    say: Callable[[str], None] = to_stderr,
    patience_s: float = _PATIENCE_S,
) -> "optuna.storages.BaseStorage":
    """Make every call of a storage wait while it is away; one line when it goes, one on return.

    Every call may be repeated safely although the first may have reached the storage: a claimed
    slot that nobody knows of falls silent (`dse.search.study.slots`), a slot filled twice is used
    once.
    """
    outage = _Outage(name, say, patience_s)
    for call in dir(type(storage)):
        if not call.startswith("_") and callable(getattr(storage, call)):
            setattr(storage, call, _patiently(getattr(storage, call), outage))
    return storage


class _Outage:
    """The time since a storage went away, seen by all threads that call it."""

    def __init__(self, name: str, say: Callable[[str], None], patience_s: float) -> None:
        self.name, self.say, self.patience_s = name, say, patience_s
        self.since: float | None = None
        self.lock = threading.Lock()

    def goes_on(self) -> bool:
        """Note a failed call; whether to try again."""
        with self.lock:
            if self.since is None:
                self.since = time.monotonic()
                self.say(f"storage {self.name} is away: trying again for {self.patience_s:g} s")
            return time.monotonic() - self.since < self.patience_s

    def ends(self) -> None:
        """Note that a call that had failed went through."""
        with self.lock:
            if self.since is not None:
                away = time.monotonic() - self.since
                self.since = None
                self.say(f"storage {self.name} is back after {away:.0f} s")


def _patiently(call: Callable[..., Any], outage: _Outage) -> Callable[..., Any]:
    def attempt(*given: Any, **options: Any) -> Any:
        failed = False
        while True:
            try:
                result = call(*given, **options)
            except Exception as error:
                if not (unreachable(error) and outage.goes_on()):
                    raise
                failed = True
                time.sleep(_RETRY_S)
            else:
                if failed:
                    outage.ends()
                return result

    return attempt


def serve(place: Place, host: str, port: int, ready: Callable[[], None]) -> None:
    """Be the gRPC proxy of a database until Ctrl-C; `ready` is called once it listens.

    Raises:
        ValueError: the port cannot be had.
    """
    from optuna.storages._grpc.server import make_server

    storage = place.open()
    try:
        server = make_server(storage, host, port)
    except RuntimeError:
        raise ValueError(f"cannot listen on {host}:{port}: choose another --port") from None
    server.start()
    ready()
    try:
        server.wait_for_termination()
    except KeyboardInterrupt:
        server.stop(grace=1).wait()
