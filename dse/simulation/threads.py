"""Independent jobs on as many threads as torch has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def in_threads(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """What the jobs return, in their order; each runs on one thread, several at a time.

    Torch leaves Python's lock while it computes, so whole passes side by side keep every core
    busy where the threads of a single small operation would mostly wait for one another. Jobs
    started inside a job run one after the other. An exception cancels the jobs not yet begun.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(jobs) == 1:
        return [job() for job in jobs]
    pool = ThreadPoolExecutor(min(threads, len(jobs)), initializer=torch.set_num_threads,
                              initargs=(1,))  # fmt: skip
    try:
        return [future.result() for future in [pool.submit(job) for job in jobs]]
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # the jobs' setting is what later threads would begin with
