"""A database that is open: made and closed, and the right to write to it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine

from phototag.errors import LockedError, StoreError
from phototag.store import models as registration
from phototag.store import notes
from phototag.store.engine import WRITES, driver_connection, make_engine, translated, untrusted_rows, use_wal
from phototag.store.location import FileKey, Location, file_key, parse
from phototag.store.lock import Role, holding
from phototag.store.opening import is_there, open_existing
from phototag.store.schema import create as create_tables
from phototag.store.schema import migrate, missing, require_current, revision

_WAIT_SECONDS = 0.05


class OpenDatabase:
    """A database that is open, and how it is read and written; what is in it is for the classes below."""

    def __init__(self, location: Location, engine: Engine) -> None:
        """Not to be called: use `Store.open`."""
        self._location = location
        self._engine = engine
        self._mutex = threading.RLock()
        self._depth = 0
        self._held = ExitStack()
        self._writer: Connection | None = None
        self._pid = os.getpid()
        self._closed = False
        self._keepers: dict[int, int] = {}
        self._keepers_of: FileKey | None = None

    # ---- opening and closing

    @classmethod
    def open(cls, location: str | Path | None = None, *, create: bool = True) -> Self:
        """Open the database at `location`, a path, a URL or None for the default; a new one is made.

        Raises:
            SchemaError: its schema is older than this phototag's (run: phototag db upgrade), or newer.
            StoreError: it is not there and `create` is false, or it cannot be made, opened or read.
        """
        place = parse(location)
        if place.in_memory:
            return cls._open_in_memory(place, create)
        if place.url is None and not is_there(place):
            if not create:
                raise missing(place)
            create_tables(place)
        engine, have = open_existing(place)
        try:
            if have is None:
                if not create:
                    raise missing(place)
                create_tables(place)
            else:
                require_current(have, place)
        except BaseException:
            engine.dispose()
            raise
        return cls(place, engine)

    @classmethod
    def _open_in_memory(cls, place: Location, create: bool) -> Self:
        if not create:
            raise StoreError(f"{place.shown}: a database in memory is always new; name a file")
        engine = make_engine(place)
        try:
            migrate(engine, place)
        except BaseException:
            engine.dispose()
            raise
        return cls(place, engine)

    def close(self) -> None:
        """Give back the lock and every connection. Closing twice is no error."""
        with self._mutex:
            self._closed = True
            self._depth = 0
            self._writer = None
            self._held.close()
            self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def location(self) -> str:
        """Where the database lies, for messages; without a password."""
        return self._location.shown

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database."""
        return self._location.path

    @property
    def file_key(self) -> FileKey | None:
        """What tells the file of an SQLite database from one that takes its place, as from a backup, while it is open.

        What is kept of a database in memory is kept by this.
        """
        return file_key(self._location)

    # ---- the right to write

    @contextmanager
    def writing(self, command: str, *, wait_seconds: float = 0.0) -> Iterator[Self]:
        """Hold the right to write, for "phototag `command`". May be entered again inside itself.

        While another process has it, it is asked for again for about `wait_seconds`: a watcher that tags gives it back
        within moments.

        Raises:
            LockedError: another process has it; the text says which.
            StoreError: the database cannot be written.
        """
        give_up = time.monotonic() + wait_seconds
        while not self._has_entered(command, give_up):
            time.sleep(_WAIT_SECONDS)
        try:
            yield self
        finally:
            with self._mutex:
                self._depth = max(self._depth - 1, 0)
                if self._depth == 0:
                    self._writer = None
                    self._held.close()

    def _has_entered(self, command: str, give_up: float) -> bool:
        """Take the right to write, or say that it has to be waited for."""
        with self._mutex:
            self._refuse_if_closed()
            if self._depth == 0:
                try:
                    self._start_writing(command)
                except LockedError:
                    if time.monotonic() >= give_up:
                        raise
                    return False
            self._depth += 1
            return True

    @contextmanager
    def tagging(self, command: str) -> Iterator[Self]:
        """Be the only tagger of this database, for "phototag `command`", without yet holding the right to write.

        A watcher holds this for months; others may write in between, when it has nothing to do.

        Raises:
            LockedError: another tagger has it; the text says which.
            StoreError: the lock cannot be made there.
        """
        with holding(self._location, command, Role.TAG):
            yield self

    def read_note(self, name: str) -> Any:
        """What `write_note` wrote under that name, None if nothing can be read."""
        return notes.read(self._location, name)

    def write_note(self, name: str, value: Any) -> None:
        """Keep a small JSON value in a file beside the database, for what is no part of the library itself."""
        notes.write(self._location, name, value)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreError(f"{self.location}: this store is closed; open it again")

    def _start_writing(self, command: str) -> None:
        with ExitStack() as stack:
            stack.enter_context(holding(self._location, command))
            with translated(self._location):
                # One connection for as long as the lock is held: closing the last one moves the whole journal
                # into the database, which is too slow to do after every batch.
                connection = stack.enter_context(self._engine.connect())
                # Another phototag may have upgraded the database since this one opened it.
                have = revision(connection, self._location)
                connection.rollback()
                if have is None:
                    raise missing(self._location)
                require_current(have, self._location)
                if self._location.path is not None:
                    use_wal(driver_connection(connection))
                self._writer = connection.execution_options(**{WRITES: True})
            self._held = stack.pop_all()

    @contextmanager
    def _write(self, *, durable: bool = False) -> Iterator[Connection]:
        """A transaction that writes. `durable`: it survives a power cut once it is done."""
        with self._mutex:
            if os.getpid() != self._pid:
                raise StoreError(f"{self.location}: opened in another process; open it anew in this one")
            writer = self._writer
            if writer is None:
                raise StoreError(f"{self.location}: the lock for writing is not held; use `with store.writing(...)`")
            raw = driver_connection(writer) if durable and writer.dialect.name == "sqlite" else None
            with translated(self._location):
                if raw is not None:
                    raw.execute("PRAGMA synchronous=FULL")
                try:
                    with writer.begin():
                        yield writer
                finally:
                    if raw is not None:
                        raw.execute("PRAGMA synchronous=NORMAL")

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        """A transaction that reads, on its own connection: readers and writer do not wait for each other."""
        self._refuse_if_closed()
        with ExitStack() as stack:
            if self._location.in_memory:
                stack.enter_context(self._mutex)  # there is but one connection
            stack.enter_context(untrusted_rows(self._location))
            yield stack.enter_context(self._engine.connect())

    def _keeper(self, connection: Connection, model_id: int) -> int:
        """The model under which that model's scores are stored; asked for with every batch, so looked up once."""
        file = self.file_key
        if model_id not in self._keepers or file != self._keepers_of:
            with untrusted_rows(self._location):
                self._keepers, self._keepers_of = registration.score_keepers(connection), file
        return self._keepers.get(model_id, model_id)


def utc_now() -> datetime:
    """This moment."""
    return datetime.now(UTC)
