"""The study of one machine: a journal file, in which what belongs together is written at once.

Each write waits for the disk and for the other processes, and a trial sets some thirty values.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock


class _Lock(BaseJournalFileLock):
    """The operating system's lock, which dies with the process.

    Whoever gets it first cuts off what another left of a line when it died or the disk was full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = FileLock(path.with_name(f".{path.name}.lock"))

    def acquire(self) -> bool:
        self.lock.acquire()
        _mend(self.path)
        return True

    def release(self) -> None:
        self.lock.release()


def _mend(path: Path) -> None:
    """Cut a file after its last whole line."""
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        if file.read(1) not in (b"", b"\n"):
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


class Journal(JournalStorage):
    """Optuna's storage in a journal file, with writes that a thread can hold back."""

    def __init__(self, path: Path) -> None:
        self._holding = threading.local()
        super().__init__(JournalFileBackend(str(path), lock_obj=_Lock(path)))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Write what this thread sets in the block at its end, in one piece."""
        logs: list[dict[str, Any]] = []
        self._holding.logs = logs
        try:
            yield
        finally:
            del self._holding.logs
            if logs:
                self._append(logs)

    def _append(self, logs: list[dict[str, Any]]) -> None:
        refused = None
        with self._thread_lock:
            self._backend.append_logs(logs)
            while True:  # each line that the study refuses stops the reading once
                try:
                    self._sync_with_backend()
                    break
                except UpdateFinishedTrialError as error:
                    refused = error
        if refused is not None:
            raise refused

    def _write_log(self, op_code: int, extra_fields: dict[str, Any]) -> None:
        if hasattr(self._holding, "logs"):
            entry = {"op_code": op_code, "worker_id": self._replay_result.worker_id}
            self._holding.logs.append(entry | extra_fields)
        else:
            super()._write_log(op_code, extra_fields)


@contextmanager
def together(storage: BaseStorage) -> Iterator[None]:
    """Write what is set in the block at once where the storage can, each at its time elsewhere.

    Nothing read in the block shows what was set in it.
    """
    if isinstance(storage, Journal):
        with storage.held():
            yield
    else:
        yield
