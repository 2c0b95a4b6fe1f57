"""The study of one machine: a journal file, in which what belongs together is written at once.

Each write waits for the disk and for the other processes, and a trial sets some thirty values.
Every line carries the checksum of all before it and of itself, so that a line which was cut out,
changed or put in shows.
"""

import json
import os
import sys
import threading
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

_SILENT_S = 30.0  # for a process that holds the lock, as one that is stopped does
_SUM = ',"sum":'
_TAIL = len(_SUM) + 10 + 2  # digits of a checksum, bracket and end of line


class DamagedJournalError(ValueError):
    """A line of a journal that is not what was written there."""


class _Lock(BaseJournalFileLock):
    """The operating system's lock, which dies with the process.

    Whoever gets it first cuts off what another left of a line when it died or the disk was full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = FileLock(path.with_name(f".{path.name}.lock"))

    def acquire(self) -> bool:
        try:
            self.lock.acquire(timeout=_SILENT_S)
        except Timeout:
            print(f"dse: waiting for another process to let go of {self.path}", file=sys.stderr)
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


class _Lines(JournalFileBackend):
    """The journal's lines, each checked when it is read first."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=_Lock(path))
        self._read, self._sum = 0, 0  # lines checked so far, and the checksum of the last

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._lock.acquire()
        try:
            with Path(self._file_path).open("rb+") as file:
                written = sealed(logs, last_sum(file))
                file.seek(0, os.SEEK_END)
                file.write(written)
                file.flush()
                os.fsync(file.fileno())
        finally:
            self._lock.release()

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Whole lines from a number on, as Optuna wants them."""
        path = Path(self._file_path)
        with path.open("rb") as file:
            start = self._log_number_offset.get(log_number_from)
            number = 0 if start is None else log_number_from
            if file.seek(0, os.SEEK_END) < (start or 0):
                raise DamagedJournalError(f"{path} is not the journal of a search: it was cut")
            file.seek(start or 0)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # in the midst of being written, or of a process that died
                number += 1
                self._check(path, number, line)
                offset = self._log_number_offset
                offset.setdefault(number, offset[number - 1] + len(line))
                if number > log_number_from:
                    yield json.loads(line)

    def _check(self, path: Path, number: int, line: bytes) -> None:
        if number <= self._read:
            return
        body, mark, end = line.rpartition(_SUM.encode())
        total = zlib.crc32(body, self._sum)
        if not mark or end != f"{total}}}\n".encode():
            raise DamagedJournalError(
                f"{path} is not the journal of a search: line {number} was changed, or lines "
                "before it are gone"
            )
        self._read, self._sum = number, total


def sealed(logs: list[dict[str, Any]], total: int) -> bytes:
    """Entries as lines with their checksums.

    Args:
        total: the checksum before them.
    """
    written = b""
    for log in logs:
        body = json.dumps(log, separators=(",", ":"))[:-1].encode()
        total = zlib.crc32(body, total)
        written += body + f"{_SUM}{total}}}\n".encode()
    return written


def last_sum(file: BinaryIO) -> int:
    """The checksum at the end of a journal; 0 of an empty one."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(end - _TAIL, 0))
    _, mark, digits = file.read().rpartition(_SUM.encode())
    if end and not mark:
        raise DamagedJournalError(f"{file.name} is not the journal of a search: its last line")
    return int(digits[:-2] or 0) if mark else 0


class Journal(JournalStorage):
    """Optuna's storage in a journal file, with writes that a thread can hold back."""

    def __init__(self, path: Path) -> None:
        self._holding = threading.local()
        super().__init__(_Lines(path))

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
