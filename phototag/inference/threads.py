"""Work on a stream in threads, with a bound on what lies in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def decode_threads(requested: int | None) -> int:
    """As many as asked for, else one a core, at most 16."""
    return requested or min(os.cpu_count() or 1, 16)


def bounded_map(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], *, limit: int
) -> Iterator[Result]:
    """`map` in the pool's threads, in order, with at most `limit` items begun and not yet taken.

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
