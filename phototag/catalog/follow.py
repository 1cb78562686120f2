"""A snapshot that follows what is written to a database, by this process and by others."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Self

import numpy as np

from phototag._version import __version__
from phototag.catalog import index_file
from phototag.catalog.columns import as_arrays, from_arrays, merged, without
from phototag.catalog.growing import Growing, read
from phototag.catalog.snapshot import Snapshot
from phototag.catalog.views import Reading
from phototag.errors import StoreError
from phototag.store import CatalogMoment, GalleryRow, Stamp, Store

POLL_SECONDS = 2.0
# So long the first page waits for a library to be read; then it shows what there is.
_OPENING_SECONDS = 0.5
# A part of a library is shown again when it has grown by so much: that is seldom, and finding its folders costs.
_GROWTH = 1.25
# Reading a large library again takes seconds: while another process writes without end, that is no more than this
# share of the time, and less often where no page is open.
_REST_PER_WORK = 5.0
_IDLE_SECONDS = 60.0
_CLOSING_SECONDS = 1.0
# Fewer photos are read from the database as quickly.
_FEWEST_INDEXED = 20_000

# Where more photos than these and one in so many have changed, reading all is as quick.
_FEWEST_CHANGED, _FEW_CHANGED = 1000, 4

_UNKNOWN = object()  # like no sign

_log = logging.getLogger(__name__)


class Following:
    """The newest snapshot of a library, kept up to date by a thread until it is closed.

    A library that takes longer than a moment to read is shown as far as it is read. With a folder for indexes a large
    one is saved there once it is read, and mapped into memory the next time: at once, and then caught up with what was
    written since.
    """

    def __init__(self, store: Store, *, poll_seconds: float = POLL_SECONDS, indexes: Path | None = None) -> None:
        """Read the library, or begin to.

        Raises:
            StoreError: it cannot be read.
        """
        self._store = store
        self._indexes = None if store.location.in_memory else indexes
        self._index = self._index_file("photos")
        self._saved: int | None = None
        # Of the snapshot; it may show more, which is then read once more.
        self._stamp: Stamp | None = None
        self._poll_seconds = poll_seconds
        # Held while the snapshot is exchanged, not while a library is read.
        self._mutex = threading.RLock()
        self._turn = threading.RLock()
        self._closing = threading.Event()
        self._sign = store.catalog.change_sign()
        self._refreshed: set[int] = set()
        self._used_at = time.monotonic()
        self._idle_since: Snapshot | None = None
        self._failure: StoreError | None = None
        self._opened, self._impatient, self._read = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="gallery", daemon=True)
        try:
            self._seen: object = self._sign.read()
            found = self._from_index()
            self._snapshot = Snapshot(read(())) if found is None else found[0]
            if found is None or not found[1]:
                with store.catalog.at_one_moment() as now:
                    total = now.count()
                self._reading: Reading | None = Reading(photos=0, total=total, stale=found is not None)
                self._seen = _UNKNOWN
            else:
                self._reading = None
            self._open()
        except BaseException:
            self._closing.set()
            self._sign.close()
            raise

    def _open(self) -> None:
        """Start to follow, and wait a moment for a library that is still to be read."""
        if self._store.location.in_memory:
            self._catch_up()
            return
        self._thread.start()
        if self._reading is not None and not self._opened.wait(_OPENING_SECONDS):
            self._impatient.set()
            if not self._reading.stale:
                self._opened.wait()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop following the database. Closing twice is no error."""
        self._closing.set()
        self._read.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSING_SECONDS)
        with suppress(StoreError):
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

    @property
    def reading(self) -> Reading | None:
        """How far the library was read, None once all of it is shown. To be asked for before what is shown with it."""
        reading, failure = self._reading, self._failure
        return replace(reading, problem=str(failure)) if reading and failure else reading

    def wait_until_read(self) -> None:
        """Return once all of the library is shown, or the gallery was closed."""
        if self._reading is not None:
            self._read.wait()

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
        gone = without(np.array(ids, dtype=np.int64), fresh.id)
        columns, moved = merged(snapshot.columns, fresh, gone)
        return Snapshot(columns, before=snapshot, moved=moved)

    def _load(self, before: Snapshot) -> tuple[Snapshot, Stamp | None]:
        """Return the library as it is now, by what has changed since the snapshot, or by reading all of it."""
        with self._store.catalog.at_one_moment() as now:
            followed = None
            if self._stamp is not None and now.stamp is not None and self._stamp.is_before(now.stamp):
                followed = self._follow_changes(before, self._stamp, now)
            return followed or self._read_all(before, now), now.stamp

    def _follow_changes(self, before: Snapshot, since: Stamp, now: CatalogMoment) -> Snapshot | None:
        """Return the snapshot with what has changed; None where that is so much that all may as well be read."""
        changed = now.changed(since)
        if len(changed) > max(len(before) // _FEW_CHANGED, _FEWEST_CHANGED):
            return None
        ids = np.array(changed, dtype=np.int64)
        gone = np.empty(0, dtype=np.int64)
        if now.count() != len(before) + len(without(ids, before.columns.id)):
            gone = without(before.columns.id, np.array(now.ids(), dtype=np.int64))
        elif not changed:
            return before
        columns, moved = merged(before.columns, read(now.photos(changed), before.columns), gone)
        # An index may be of a past that a backup which was put back does not have; its numbers tell.
        if self._reading is not None and int(columns.written.sum()) != now.written():
            return None
        return Snapshot(columns, before=before, moved=moved)

    def _read_all(self, before: Snapshot, now: CatalogMoment) -> Snapshot:
        """Read the library, and show it as far as it was read where there is nothing else to show."""
        reading, shown = self._reading, len(self._snapshot)
        growing = Growing(rows=max(len(before), reading.total if reading else 0))
        for part in self._parts(now):
            growing.add(part)
            if reading is not None and reading.stale:
                self._reading = replace(reading, photos=len(growing))
            elif reading is not None and self._impatient.is_set() and len(growing) > _GROWTH * shown:
                shown = len(growing)
                self._show(Snapshot(growing.columns()), None, replace(reading, photos=shown))
        return Snapshot(growing.columns(), before=before)

    def _show(self, snapshot: Snapshot, stamp: Stamp | None, reading: Reading | None) -> None:
        with self._mutex:
            if self._refreshed:
                # Written since, so perhaps not in what was read.
                snapshot = self._refresh(snapshot, sorted(self._refreshed))
            self._snapshot, self._stamp = snapshot, stamp
        # In this order, as it is asked for before the snapshot is.
        self._reading = reading
        self._opened.set()

    def _parts(self, now: CatalogMoment) -> Iterator[Sequence[GalleryRow]]:
        for part in now.photos():
            if self._closing.is_set():
                raise StoreError("the gallery was closed while it read the library")
            yield part

    # ---- the index

    def _index_file(self, what: str) -> Path | None:
        name = hashlib.sha256(str(self._store.location).encode()).hexdigest()[:16]
        return None if self._indexes is None else self._indexes / f"{name}.{what}{index_file.SUFFIX}"

    def _from_index(self) -> tuple[Snapshot, bool] | None:
        """Return the snapshot that was saved, and whether nothing was written to the database since."""
        found = None if self._index is None else index_file.load(self._index)
        with self._store.catalog.at_one_moment() as moment:
            now = moment.stamp
        if found is None or now is None:
            return None
        facts, arrays = found
        try:
            stamp = Stamp(**facts["stamp"])
            # Another version may read other columns, or code them otherwise.
            if facts["version"] != __version__ or not stamp.is_before(now):
                return None
            place, bursts = arrays["place"], arrays["bursts"]
            snapshot = Snapshot(from_arrays(facts, arrays), place=place, bursts=bursts)
        except (KeyError, TypeError, ValueError):
            return None  # the file is none of this phototag's
        self._stamp = stamp
        if stamp == now:
            self._saved = snapshot.number
        return snapshot, stamp == now

    def _save(self) -> None:
        """Save the snapshot, unless it was."""
        with self._mutex:
            snapshot, stamp = self._snapshot, self._stamp
        if self._index is None or snapshot.number == self._saved or len(snapshot) < _FEWEST_INDEXED or stamp is None:
            return
        facts, arrays = as_arrays(snapshot.columns)
        arrays |= {"place": snapshot.by_path.place, "bursts": snapshot.bursts}
        index_file.save(self._index, {**facts, "version": __version__, "stamp": asdict(stamp)}, arrays)
        self._saved = snapshot.number

    # ---- following

    def _follow(self) -> None:
        ended, rest_seconds, problem = time.monotonic(), 0.0, ""
        pause = self._poll_seconds if self._reading is None else 0.0
        while not self._closing.wait(pause):
            pause = self._poll_seconds
            started = time.monotonic()
            idle = started - self._used_at > _IDLE_SECONDS
            if started - ended < (max(rest_seconds, _IDLE_SECONDS) if idle else rest_seconds):
                continue
            try:
                self._catch_up()
                problem = ""
            except StoreError as error:
                # What is in memory still serves, and the database may come back.
                if not self._closing.is_set() and str(error) != problem and self._opened.is_set():
                    problem = str(error)
                    _log.warning("cannot read the library again: %s", error)
                self._failure = error
                self._opened.set()
            ended = time.monotonic()
            rest_seconds = _REST_PER_WORK * (ended - started)

    def _catch_up(self) -> None:
        with self._mutex:
            seen = self._sign.read()
            unchanged, idle = seen == self._seen, self._snapshot is self._idle_since
            if not unchanged:
                self._refreshed, self._seen = set(), seen
            before = self._idle_since = self._snapshot
        if unchanged:
            if idle:
                self._save()
            return
        opening = self._reading is not None
        try:
            snapshot, stamp = self._load(before)
            # What readers asked for of the one that they see now.
            snapshot.prepare(self._snapshot)
            self._show(snapshot, stamp, None)
        except StoreError:
            with self._mutex:
                self._seen = _UNKNOWN
            raise
        self._failure = None
        if opening:
            self._read.set()
            self._save()
