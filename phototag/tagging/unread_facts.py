"""Photos that were tagged before phototag read what files say of themselves: read from their headers, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from phototag.metadata import describe, read_header
from phototag.store import Capture, KnownPhoto, Store

_CHUNK = 500


class UnreadFacts:
    """Collects photos of one pass that are not read otherwise, and fills in what is not known of them."""

    def __init__(self, store: Store, workers: int) -> None:
        self._store, self._workers = store, workers
        self._unread: set[int] | None = None
        self._waiting: list[KnownPhoto] = []

    def add(self, known: KnownPhoto) -> None:
        """Note a photo whose file is as it was when it was tagged. Reads, and writes, now and then."""
        if self._unread is None:  # only now: a pass over a few new files asks for none
            self._unread = self._store.captures.lacking()
        if known.id in self._unread:
            self._waiting.append(known)
            if len(self._waiting) >= _CHUNK:
                self.fill()

    def fill(self) -> None:
        """Read those that were noted, and save what they say. One that cannot be read now is for the next pass."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        with ThreadPoolExecutor(self._workers) as pool:
            read = pool.map(_read, waiting)
            found = {known.id: capture for known, capture in zip(waiting, read, strict=True) if capture is not None}
        self._store.captures.save(found)


def _read(known: KnownPhoto) -> Capture | None:
    try:
        facts, keywords = describe(read_header(known.path))
    except OSError:
        return None
    return Capture(known.modified_ns, facts, keywords)
