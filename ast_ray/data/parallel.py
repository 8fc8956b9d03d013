"""A parallel map that keeps the order of its jobs: threads here, Ray tasks in `ray_backend.decoding`."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

J = TypeVar("J")
R = TypeVar("R")

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Show nothing."""


class Mapper(Protocol):
    """Applies a function to picklable jobs and yields the results in their order."""

    def __call__(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[R]:
        """Results in the order of the jobs."""


def threads(function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[R]:
    """Map in threads, with at most a few results waiting: image decoders release the interpreter lock."""
    workers = os.cpu_count() or 1
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(function, job))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
