"""A snapshot that follows what is written to a database, by this process and by others."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from phototag._version import __version__
from phototag.catalog import index_file
from phototag.catalog.columns import ABSENT, as_arrays, from_arrays, read, replaced
from phototag.catalog.snapshot import Snapshot
from phototag.errors import StoreError
from phototag.store import GalleryRow, Store

POLL_SECONDS = 2.0
# Reading a large library again takes seconds: while another process writes without end, that is no more than this
# share of the time, and less often where no page is open.
_REST_PER_WORK = 5.0
_IDLE_SECONDS = 60.0
_CLOSING_SECONDS = 1.0
# Fewer photos are read from the database as quickly.
_FEWEST_INDEXED = 20_000

_UNKNOWN = object()  # like no sign

_log = logging.getLogger(__name__)


class Following:
    """The newest snapshot of a library, kept up to date by a thread until it is closed.

    With a folder for indexes a large one is saved there, and mapped into memory the next time, if nothing was written
    since.
    """

    def __init__(self, store: Store, *, poll_seconds: float = POLL_SECONDS, indexes: Path | None = None) -> None:
        """Read the library.

        Raises:
            StoreError: it cannot be read.
        """
        self._store = store
        self._indexes = None if store.location.in_memory else indexes
        self._index = self._index_file("photos")
        self._saved: int | None = None
        self._poll_seconds = poll_seconds
        # Held while the snapshot is exchanged, not while a library is read.
        self._mutex = threading.RLock()
        self._turn = threading.RLock()
        self._closing = threading.Event()
        self._sign = store.catalog.change_sign()
        self._refreshed: set[int] = set()
        self._used_at = time.monotonic()
        self._idle_since: Snapshot | None = None
        try:
            self._seen: object = self._sign.read()
            self._snapshot = self._from_index() or self._load(None)
        except BaseException:
            self._sign.close()
            raise
        self._thread = threading.Thread(target=self._follow, name="gallery", daemon=True)
        if not store.location.in_memory:
            self._thread.start()

    def close(self) -> None:
        """Stop following the database. Closing twice is no error."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSING_SECONDS)
        with self._mutex, suppress(StoreError):
            self._save()
        with self._mutex:
            self._sign.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def snapshot(self) -> Snapshot:
        """The newest one."""
        self._used_at = time.monotonic()
        return self._snapshot

    def sign(self) -> object:
        """Return a value that differs after every write to the database.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._mutex:
            return self._sign.read()

    def refresh(self, ids: Sequence[int]) -> None:
        """Take over what was just written of these photos, before the call returns.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._mutex:
            self._refreshed.update(ids)
            self._snapshot = self._refresh(self._snapshot, ids)

    @contextmanager
    def writing(self, command: str, *, wait_seconds: float = 0.0) -> Iterator[Store]:
        """Hold the right to write, for callers that tell `refresh` of all they write: the library is not read again.

        Raises:
            LockedError: another process has the right to write.
            StoreError: the database cannot be written.
        """
        # Two at once would take each other's writes for those of others, and read the library again: no harm, but work.
        alone = self._turn.acquire(timeout=wait_seconds)
        try:
            with self._store.answering(command, wait_seconds=wait_seconds):
                # No other process can write now, but on a server: what has changed at the end was written in here.
                with self._mutex:
                    seen, own = self._seen, self._sign.own_changes
                    up_to_date = self._sign.read() == seen
                try:
                    yield self._store
                finally:
                    with self._mutex, suppress(StoreError):
                        now = self._sign.read()
                        if (
                            up_to_date
                            and self._seen == seen
                            and self._sign.is_own(seen, now, self._sign.own_changes - own)
                        ):
                            self._seen = now
        finally:
            if alone:
                self._turn.release()

    # ---- reading

    def _refresh(self, snapshot: Snapshot, ids: Sequence[int]) -> Snapshot:
        fresh = read(self._store.catalog.photos(ids), snapshot.columns)
        gone = sorted(set(ids) - set(fresh.id.tolist()))
        removed = bool((snapshot.columns.places(gone) != ABSENT).any())
        columns = None if removed else replaced(snapshot.columns, fresh)
        return self._load(snapshot) if columns is None else Snapshot(columns, before=snapshot)

    def _load(self, before: Snapshot | None) -> Snapshot:
        columns = read(self._parts())
        same = before and columns.same_files(before.columns)
        return Snapshot(columns, before=before if same else None)

    def _parts(self) -> Iterator[Sequence[GalleryRow]]:
        for part in self._store.catalog.photos():
            if self._closing.is_set():
                raise StoreError("the gallery was closed while it read the library")
            yield part

    # ---- the index

    def _index_file(self, what: str) -> Path | None:
        name = hashlib.sha256(str(self._store.location).encode()).hexdigest()[:16]
        return None if self._indexes is None else self._indexes / f"{name}.{what}{index_file.SUFFIX}"

    def _from_index(self) -> Snapshot | None:
        """Return the snapshot that was saved, None where the database was written to since."""
        found = None if self._index is None else index_file.load(self._index)
        if found is None:
            return None
        facts, arrays = found
        try:
            if facts["stamp"] != self._stamp() or facts["stamp"] is None:
                return None
            place, bursts = arrays["place"], arrays["bursts"]
            snapshot = Snapshot(from_arrays(facts, arrays), place=place, bursts=bursts)
        except (KeyError, TypeError, ValueError):
            return None  # the file is none of this phototag's
        self._saved = snapshot.number
        return snapshot

    def _save(self) -> None:
        """Save the snapshot, unless it was, or does not have all that is written by now."""
        snapshot = self._snapshot
        if self._index is None or snapshot.number == self._saved or len(snapshot) < _FEWEST_INDEXED:
            return
        stamp = self._stamp()
        if stamp is not None and self._sign.read() == self._seen:
            facts, arrays = as_arrays(snapshot.columns)
            arrays |= {"place": snapshot.by_path.place, "bursts": snapshot.bursts}
            index_file.save(self._index, {**facts, "stamp": stamp}, arrays)
            self._saved = snapshot.number

    def _stamp(self) -> list[Any] | None:
        written = self._store.catalog.stamp()
        # Another version may read other columns, or code them otherwise.
        return None if written is None else [__version__, *written]

    # ---- following

    def _follow(self) -> None:
        ended, rest_seconds, problem = time.monotonic(), 0.0, ""
        while not self._closing.wait(self._poll_seconds):
            started = time.monotonic()
            idle = started - self._used_at > _IDLE_SECONDS
            if started - ended < (max(rest_seconds, _IDLE_SECONDS) if idle else rest_seconds):
                continue
            try:
                self._catch_up()
                problem = ""
            except StoreError as error:
                # What is in memory still serves, and the database may come back.
                if not self._closing.is_set() and str(error) != problem:
                    problem = str(error)
                    _log.warning("cannot read the library again: %s", error)
            ended = time.monotonic()
            rest_seconds = _REST_PER_WORK * (ended - started)

    def _catch_up(self) -> None:
        with self._mutex:
            seen = self._sign.read()
            if seen == self._seen:
                if self._snapshot is self._idle_since:
                    self._save()
                self._idle_since = self._snapshot
                return
            before, self._refreshed, self._seen = self._snapshot, set(), seen
        try:
            snapshot = self._load(before)
            snapshot.prepare(before)
            with self._mutex:
                if self._refreshed:
                    # Written since, so perhaps not in what was read.
                    snapshot = self._refresh(snapshot, sorted(self._refreshed))
                self._snapshot = snapshot
        except StoreError:
            with self._mutex:
                self._seen = _UNKNOWN
            raise
