"""Ctrl-C, SIGTERM and SIGHUP that end a search in order, and cannot get lost.

An exception that is raised while a destructor runs is printed and dropped, an interrupt, too; and
a search runs destructors of large tensors all the time.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)
_ALL = (signal.SIGINT, *ENDING)


class Ending:
    """Which of `ENDING` has come, none yet being None."""

    def __init__(self) -> None:
        self.number: int | None = None

    @property
    def exit_code(self) -> int | None:
        """As a shell gives it: 128 and the number of the signal."""
        return None if self.number is None else 128 + self.number


@contextmanager
def ended_by_signals() -> Iterator[Ending]:
    """Let SIGTERM and SIGHUP do what Ctrl-C does; one that was ignored (nohup) stays ignored."""
    ending = Ending()

    def end(number: int, frame: FrameType | None) -> None:
        ending.number = number
        if number == signal.SIGHUP:
            _let_go_of_terminal()
        raise KeyboardInterrupt

    with _handled(ENDING, lambda number, before: None if before == signal.SIG_IGN else end):
        yield ending


def _let_go_of_terminal() -> None:
    """Send what is still printed to a terminal that has gone nowhere: writing there would fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            number = stream.fileno()
        except (OSError, ValueError):
            continue
        if os.isatty(number):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


@contextmanager
def remembered() -> Iterator[threading.Event]:
    """An event that is set once an interrupt has come, whatever became of its exception.

    What handled the signals before still does; those that were left to the system or ignored are
    left alone.
    """
    came = threading.Event()

    def heed(number: int, before: object) -> "Handler | None":
        if not callable(before):
            return None

        def then(number: int, frame: FrameType | None) -> None:
            came.set()
            before(number, frame)

        return then

    with _handled(_ALL, heed):
        yield came


@contextmanager
def put_off() -> Iterator[None]:
    """Let the first interrupt wait until the block has ended, and a second one end it at once.

    The first raises nothing: the block is the end of the work, and comes to its own end.
    """
    came = threading.Event()

    def heed(number: int, before: object) -> "Handler | None":
        if not callable(before):
            return None

        def then(number: int, frame: FrameType | None) -> None:
            try:
                before(number, frame)
            except KeyboardInterrupt:
                if came.is_set():
                    raise
                came.set()

        return then

    with _handled(_ALL, heed):
        yield


Handler = Callable[[int, FrameType | None], None]


@contextmanager
def _handled(
    signals: tuple[signal.Signals, ...],
    handler: "Callable[[int, object], Handler | None]",
) -> Iterator[None]:
    """Handle signals while the block runs, as `handler` says of each and what handled it before.

    Only the main thread gets signals, so in another nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in signals}
    ours = {number: handler(number, before[number]) for number in signals}
    changed = {number: new for number, new in ours.items() if new is not None}
    for number, new in changed.items():
        signal.signal(number, new)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, before[number])
