"""Progress of what has no known end: words and the time that went by, on stderr, where that is a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_DELAY_SECONDS = 0.5
_TICK_SECONDS = 1.0


@contextmanager
def waiting(words: str) -> Iterator[None]:
    """Say what is being done, with the time that went by, until the block ends."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    from tqdm import tqdm

    over = threading.Event()
    with tqdm(bar_format="{desc} {elapsed}", desc=words, leave=False, delay=_DELAY_SECONDS) as bar:

        def tick() -> None:
            while not over.wait(_TICK_SECONDS):
                bar.refresh()

        thread = threading.Thread(target=tick, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
