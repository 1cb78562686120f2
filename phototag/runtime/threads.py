"""Work on a stream in threads, with a bound on what lies in memory and on the cores it takes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_DECODE_THREADS = 16


def available_cores() -> int:
    """Return the cores this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def use_cores(jobs: int) -> None:
    """Keep this process, and every thread it starts from now on, to so many cores.

    Counting threads alone does not do it: decoding and the network have their own threads and alternate. Where the
    system cannot tie a process to cores (macOS, Windows), the numbers of threads are all that bounds it.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:jobs])


def decode_threads(requested: int | None) -> int:
    """Return as many threads as asked for, else one for each core that may be used, at most 16."""
    return requested or min(available_cores(), _MOST_DECODE_THREADS)


def bounded_map(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], *, limit: int
) -> Generator[Result]:
    """Return `map` in the pool's threads, in order, with at most `limit` items begun and not yet taken.

    Left early, it drops what has not begun and waits for the rest.
    """
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= limit:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
