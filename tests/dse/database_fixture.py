"""Real database servers for tests: PostgreSQL, which the package pgserver ships, and MariaDB.

MariaDB is tested where its server is: installed, or unpacked (`dpkg -x`) into the folder that
DSE_TEST_MARIADB names. A server refuses to run as root, so there it runs as nobody.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import sqlalchemy

from dse.search.study.storage import read_url

USER, PASSWORD = "dse", "p%40ss-s3cr%2Ft"  # as a URL spells it: p@ss-s3cr/t
PLAIN = "p@ss-s3cr/t"


class Server(ABC):
    """A server with an empty database behind a password; it can be stopped and started."""

    scheme, database = "", ""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix=f"dse-{self.scheme}-"))
        self.server: subprocess.Popen[bytes] | None = None
        self.how: dict[str, Any] = {"cwd": self.home}
        if os.geteuid() == 0:
            shutil.chown(self.home, "nobody")
            self.how |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        try:
            self.command = self.create()
            self.start()
        except BaseException:
            self.remove()
            raise

    @abstractmethod
    def create(self) -> list[Any]:
        """Make the database; returns the command that serves it."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{self.database}"

    def start(self) -> None:
        with (self.home / "log").open("ab") as log:
            self.server = subprocess.Popen(self.command, stdout=log, stderr=log, **self.how)
        # A server that was killed takes connections before it has recovered, and refuses them.
        engine = sqlalchemy.create_engine(read_url(self.url), poolclass=sqlalchemy.NullPool)
        deadline = time.monotonic() + 30
        while True:
            try:
                engine.connect().close()
                return
            except sqlalchemy.exc.OperationalError:
                assert time.monotonic() < deadline, (self.home / "log").read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        """End the server at once, as a crash of its machine would."""
        assert self.server is not None
        self.server.kill()
        self.server.wait()
        time.sleep(0.2)  # its children notice
        (self.home / "data" / "postmaster.pid").unlink(missing_ok=True)

    def remove(self) -> None:
        if self.server is not None:
            self.stop()
        shutil.rmtree(self.home, ignore_errors=True)


class Postgres(Server):
    """The PostgreSQL of the package pgserver; nobody may not read it, so a copy runs for root."""

    scheme, database = "postgresql", "postgres"

    def create(self) -> list[Any]:
        spec = importlib.util.find_spec("pgserver")
        if spec is None or spec.origin is None:
            raise LookupError("the package pgserver is not installed")
        package = Path(spec.origin).parent
        programs = package / "pginstall"
        if "user" in self.how:
            copied = self.home / "pgserver" / "pginstall"
            shutil.copytree(programs, copied)
            if (libraries := package.with_name("pgserver.libs")).exists():
                shutil.copytree(libraries, self.home / libraries.name)
            programs = copied
        secret = self.home / "password"
        secret.write_text(PLAIN)
        if "user" in self.how:
            shutil.chown(secret, "nobody")
        create = [programs / "bin" / "initdb", "--pgdata", self.home / "data", "--username", USER]
        create += ["--auth", "scram-sha-256", "--pwfile", secret, "--no-sync", "--encoding", "UTF8"]
        subprocess.run([*create, "--locale", "C"], check=True, capture_output=True, **self.how)
        command = [programs / "bin" / "postgres", "-D", self.home / "data", "-p", str(self.port)]
        return [*command, "-h", "127.0.0.1", "-k", self.home, "-c", "fsync=off"]


class MariaDB(Server):
    """MariaDB, installed or unpacked; speaks the protocol of MySQL."""

    scheme, database = "mysql", "dse"

    def create(self) -> list[Any]:
        root = Path(os.environ.get("DSE_TEST_MARIADB", "/"))
        program, share = root / "usr/sbin/mariadbd", root / "usr/share/mysql"
        if not program.exists():
            raise LookupError("no mariadbd: install mariadb-server-core, or set DSE_TEST_MARIADB")
        if root != Path("/"):
            libraries = [str(path) for path in root.glob("usr/lib/*-linux-gnu")]
            self.how["env"] = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}
        data = self.home / "data"
        data.mkdir()
        if "user" in self.how:
            shutil.chown(data, "nobody")
        command = [program, "--no-defaults", f"--basedir={root / 'usr'}", f"--datadir={data}"]
        command += [f"--tmpdir={self.home}", f"--lc-messages-dir={share / 'english'}"]
        files = ("mysql_system_tables", "mysql_performance_tables", "mysql_system_tables_data")
        setup = [
            "create database mysql;\nuse mysql;",
            *((share / f"{name}.sql").read_text() for name in files),
            f"flush privileges;\ncreate database {self.database};",
            f"create user {USER}@'127.0.0.1' identified by '{PLAIN}';",
            f"grant all on {self.database}.* to {USER}@'127.0.0.1';\n",
        ]
        subprocess.run(
            [*command, "--bootstrap"], input="\n".join(setup).encode(), check=True,
            capture_output=True, **self.how,
        )  # fmt: skip
        command += [f"--port={self.port}", "--bind-address=127.0.0.1", f"--socket={data / 's'}"]
        return [*command, "--skip-name-resolve"]
