"""Photos that are not read otherwise, and what they say of themselves is not known, or their sidecars changed.

They were tagged before phototag read that, or another program wrote a sidecar. Their headers are enough.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from phototag.metadata import read_header
from phototag.paths import path_of
from phototag.store import Capture, KnownPhoto, Store
from phototag.tagging.descriptions import Describer

_CHUNK = 500
_SEPARATOR = os.sep.encode()


class UnreadFacts:
    """Collects photos of one pass whose files are as they were when they were tagged, and fills in what they say."""

    def __init__(self, store: Store, describer: Describer, workers: int) -> None:
        self._store, self._describer, self._workers = store, describer, workers
        self._unread: set[int] | None = None
        self._sidecar_times: dict[int, int] = {}
        self._waiting: list[KnownPhoto] = []
        self._folder, self._beside = b"", False

    def add(self, photos: Sequence[KnownPhoto]) -> None:
        """Note photos. Reads, and writes, now and then."""
        if self._unread is None:  # only now: a pass over a few new files asks for none
            self._unread, self._sidecar_times = self._store.captures.lacking(), self._store.captures.sidecar_times()
        for known in photos:
            folder = known.path_bytes.rpartition(_SEPARATOR)[0] or _SEPARATOR
            if folder != self._folder:
                self._folder, self._beside = folder, self._describer.has_sidecars(path_of(folder))
            sidecar = self._describer.sidecar_modified_ns(known.path) if self._beside else None
            if known.id in self._unread or sidecar != self._sidecar_times.get(known.id):
                self._waiting.append(known)
                if len(self._waiting) >= _CHUNK:
                    self.fill()

    def fill(self) -> None:
        """Read those that were noted, and save what they say. One that cannot be read now is for the next pass."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        with ThreadPoolExecutor(self._workers) as pool:
            read = pool.map(self._read, waiting)
            found = {known.id: capture for known, capture in zip(waiting, read, strict=True) if capture is not None}
        self._store.captures.save(found)

    def _read(self, known: KnownPhoto) -> Capture | None:
        try:
            return self._describer(read_header(known.path), known.path).capture(known.modified_ns)
        except OSError:
            return None
