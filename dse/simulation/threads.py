"""Independent jobs on as many threads as torch has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def in_threads(jobs: Sequence[Callable[[], T]], most: int | None = None) -> list[T]:
    """What the jobs return, in their order; each runs on one thread, several (`most`) at a time.

    Torch leaves Python's lock while it computes, so whole passes side by side keep every core
    busy where the threads of a single small operation would mostly wait for one another. Jobs
    started inside a job run one after the other. An exception cancels the jobs not yet begun.
    """
    threads = torch.get_num_threads()
    at_once = min(threads, len(jobs), most or threads)
    if threads == 1 or len(jobs) < 2:
        return [job() for job in jobs]
    pool = ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(1,))
    try:
        return [future.result() for future in [pool.submit(job) for job in jobs]]
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # the jobs' setting is what later threads would begin with


def shares(things: Sequence[T]) -> list[Sequence[T]]:
    """Things dealt to as many jobs as torch has threads; none is empty."""
    threads = torch.get_num_threads()
    return [things[first::threads] for first in range(min(threads, len(things)))]
