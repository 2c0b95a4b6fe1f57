"""A real PostgreSQL server for tests: the one that the package pgserver ships.

The server refuses to run as root, so there a copy of it runs as nobody.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

USER, PASSWORD = "dse", "p%40ss-s3cr%2Ft"  # as a URL spells it: p@ss-s3cr/t
PLAIN = "p@ss-s3cr/t"


class Postgres:
    """A server with an empty database behind a password; it can be stopped and started."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="dse-postgres-"))
        spec = importlib.util.find_spec("pgserver")
        package = Path(spec.origin).parent
        programs, self.who = package / "pginstall", {}
        if os.geteuid() == 0:
            shutil.copytree(package / "pginstall", self.home / "pgserver" / "pginstall")
            if (libraries := package.with_name("pgserver.libs")).exists():
                shutil.copytree(libraries, self.home / libraries.name)
            programs = self.home / "pgserver" / "pginstall"
            self.who = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        self.programs = programs / "bin"
        secret = self.home / "password"
        secret.write_text(PLAIN)
        if self.who:
            shutil.chown(self.home, "nobody")
            shutil.chown(secret, "nobody")
        create = [self.programs / "initdb", "--pgdata", self.home / "data", "--username", USER]
        create += ["--auth", "scram-sha-256", "--pwfile", secret, "--no-sync", "--encoding", "UTF8"]
        subprocess.run(
            [*create, "--locale", "C"], check=True, capture_output=True, cwd=self.home, **self.who
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.server = None

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        command = [self.programs / "postgres", "-D", self.home / "data", "-p", str(self.port)]
        command += ["-h", "127.0.0.1", "-k", self.home, "-c", "fsync=off"]
        with (self.home / "log").open("ab") as log:
            self.server = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.home, **self.who
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, (self.home / "log").read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        """End the server at once, as a crash of its machine would."""
        self.server.kill()
        self.server.wait()
        time.sleep(0.2)  # its children notice
        (self.home / "data" / "postmaster.pid").unlink(missing_ok=True)

    def remove(self) -> None:
        if self.server is not None:
            self.stop()
        shutil.rmtree(self.home, ignore_errors=True)
