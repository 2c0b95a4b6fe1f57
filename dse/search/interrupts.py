"""Ctrl-C that cannot get lost.

An exception that is raised while a destructor runs is printed and dropped, an interrupt, too; and
a search runs destructors of large tensors all the time.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def remembered() -> Iterator[threading.Event]:
    """An event that is set once an interrupt has come, whatever became of its exception.

    What handled SIGINT and SIGTERM before still does; signals that were left to the system or
    ignored are left alone, and so is every thread but the main one, which alone gets signals.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def heed(number: int, frame: FrameType | None) -> None:
        came.set()
        handler = handlers[signal.Signals(number)]
        assert callable(handler)
        handler(number, frame)

    ours = [number for number, handler in handlers.items() if callable(handler)]
    for number in ours:
        signal.signal(number, heed)
    try:
        yield came
    finally:
        for number in ours:
            signal.signal(number, handlers[number])
