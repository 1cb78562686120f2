"""A database that is open: transactions to read and to write, and the right to write."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, Table, func, insert, select, tuple_
from sqlalchemy.exc import OperationalError

from phototag.errors import LockedError, StoreError
from phototag.files import keeps_locks
from phototag.store.backup_file import can_be_immutable, has_no_journal
from phototag.store.connection import (
    WRITES,
    Access,
    driver_connection,
    make_engine,
    translated_errors,
    unopenable,
    untrusted_rows,
    use_wal,
)
from phototag.store.location import Location
from phototag.store.lock import holding
from phototag.store.schema import create as create_tables
from phototag.store.schema import migrate, missing, require_current, revision
from phototag.store.tables import reviews, runs, tags
from phototag.store.tables import revision as revision_row

T = TypeVar("T")

PAGE_ROWS = 4096
_COUNT_UP = revision_row.update().values(number=revision_row.c.number + 1)
_WAIT_SECONDS = 0.05
_TICK = timedelta(microseconds=1)
_CLOCK_AHEAD = timedelta(days=1)


class Database:
    """An open database, which the parts of a `Store` read and write. It may be used from several threads."""

    def __init__(self, location: Location, engine: Engine) -> None:
        """Take over an engine; made by `Database.open`."""
        self.location = location
        self.engine = engine
        self._mutex = threading.RLock()
        self._depth = 0
        self._held = ExitStack()
        self._writer: Connection | None = None
        self._pid = os.getpid()
        self._closed = False
        self._last_moment = datetime.min.replace(tzinfo=UTC)

    @classmethod
    def open(cls, location: Location, *, create: bool) -> Self:
        """Open the database at `location`; a new one is made if `create` is true.

        Raises:
            SchemaError: its schema is older or newer.
            StoreError: it is not there and `create` is false, or it cannot be made, opened or read.
        """
        if location.in_memory and not create:
            raise StoreError(f"{location}: a database in memory is always new; name a file")
        if location.path is not None and not database_exists(location):
            if not create:
                raise missing(location)
            create_tables(location)
        engine, have = (make_engine(location), None) if location.in_memory else _open_existing(location)
        try:
            if have is not None:
                require_current(have, location)
            elif location.in_memory:
                migrate(engine, location)
            elif create:
                create_tables(location)
            else:
                raise missing(location)
        except BaseException:
            engine.dispose()
            raise
        return cls(location, engine)

    def close(self) -> None:
        """Give back the lock and every connection. Closing twice is no error."""
        with self._mutex:
            self._closed = True
            self._depth = 0
            self._writer = None
            self._held.close()
            self.engine.dispose()

    def refuse_if_closed(self) -> None:
        """Raise StoreError once the database was closed."""
        if self._closed:
            raise StoreError(f"{self.location}: this store is closed; open it again")

    # ---- the right to write

    @contextmanager
    def writing(self, command: str, *, wait_seconds: float) -> Iterator[None]:
        """Hold the right to write, as `Store.writing` says."""
        give_up = time.monotonic() + wait_seconds
        while not self._has_entered(command, give_up):
            time.sleep(_WAIT_SECONDS)
        try:
            yield
        finally:
            with self._mutex:
                self._depth = max(self._depth - 1, 0)
                if self._depth == 0:
                    self._writer = None
                    self._held.close()

    def _has_entered(self, command: str, give_up: float) -> bool:
        """Take the right to write, or say that it has to be waited for."""
        with self._mutex:
            self.refuse_if_closed()
            if self._depth == 0:
                try:
                    self._start_writing(command)
                except LockedError:
                    if time.monotonic() >= give_up:
                        raise
                    return False
            self._depth += 1
            return True

    def _start_writing(self, command: str) -> None:
        with ExitStack() as stack:
            stack.enter_context(holding(self.location, command))
            with untrusted_rows(self.location):
                # One connection for as long as the lock is held: closing the last one moves the whole journal
                # into the database, which is too slow to do after every batch.
                connection = stack.enter_context(self.engine.connect())
                # Another phototag may have upgraded the database since this one opened it.
                have = revision(connection, self.location)
                connection.rollback()
                if have is None:
                    raise missing(self.location)
                require_current(have, self.location)
                if self.location.path is not None:
                    use_wal(driver_connection(connection))
                columns = (tags.c.tagged_at, reviews.c.undone_at, runs.c.started_at, runs.c.finished_at)
                moments = [connection.execute(select(func.max(column))).scalar() for column in columns]
                self._last_moment = max([self._last_moment, *filter(None, moments)])
                connection.rollback()
                self._writer = connection.execution_options(**{WRITES: True})
            self._held = stack.pop_all()

    def next_moment(self) -> datetime:
        """Return this moment for what is written now, or a later one: one transaction's comes after another's.

        So it stays when the clock is set back, unless it was ahead by more than a day. After a restart the moments of
        tags, undone reviews and runs are heeded, not those of photos, for which all of them would have to be read.
        """
        now = utc_now()
        if timedelta() <= self._last_moment - now < _CLOCK_AHEAD:
            now = self._last_moment + _TICK
        self._last_moment = now
        return now

    # ---- transactions

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[Connection]:
        """Open a transaction that writes. `durable`: it survives a power cut once it is done.

        Raises:
            StoreError: the lock is not held, or the database cannot be written.
        """
        with self._mutex:
            if os.getpid() != self._pid:
                raise StoreError(f"{self.location}: opened in another process; open it again in this one")
            writer = self._writer
            if writer is None:
                raise StoreError(f"{self.location}: the lock for writing is not held; use `with store.writing(...)`")
            raw = driver_connection(writer) if durable and writer.dialect.name == "sqlite" else None
            with untrusted_rows(self.location):
                if raw is not None:
                    raw.execute("PRAGMA synchronous=FULL")
                try:
                    with writer.begin():
                        yield writer
                        # By this an index of the gallery knows whether it is still true.
                        writer.execute(_COUNT_UP)
                finally:
                    if raw is not None:
                        raw.execute("PRAGMA synchronous=NORMAL")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that reads, on its own connection: readers and writer do not wait for each other.

        Raises:
            StoreError: the database cannot be read, or holds rows that phototag did not write.
        """
        self.refuse_if_closed()
        with ExitStack() as stack:
            if self.location.in_memory:
                stack.enter_context(self._mutex)  # there is but one connection
            stack.enter_context(untrusted_rows(self.location))
            yield stack.enter_context(self.engine.connect())

    def stream(self, rows: Callable[[Connection], Iterator[T]]) -> Iterator[T]:
        """Return what `rows` reads, in one transaction; from memory all at once, as others wait for its connection."""
        if self.location.in_memory:
            with self.read() as connection:
                return iter(list(rows(connection)))
        return self._stream(rows)

    def _stream(self, rows: Callable[[Connection], Iterator[T]]) -> Iterator[T]:
        with self.read() as connection:
            yield from rows(connection)

    def pages(
        self,
        statement: Select[Any],
        key: Sequence[ColumnElement[Any]],
        records: Callable[[Connection, Sequence[Row[Any]]], list[T]],
        *,
        first: ColumnElement[bool] | None = None,
    ) -> Iterator[list[T]]:
        """Yield the rows of a statement as records, a page at a time, in the order of `key`, which is unique.

        Each page is read in its own transaction, so that a slow consumer keeps no journal from being emptied: rows that
        are written behind the reader do not show up, rows ahead of it do. `first` is where the first page begins.
        """
        begin = first
        while True:
            page_of = statement if begin is None else statement.where(begin)
            with self.read() as connection:
                rows = connection.execute(page_of.order_by(*key).limit(PAGE_ROWS)).all()
                page = records(connection, rows)
            if page:
                yield page
            if len(rows) < PAGE_ROWS:
                return
            after = [rows[-1]._mapping[column] for column in key]
            begin = key[0] > after[0] if len(key) == 1 else tuple_(*key) > after


def insert_row(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    """Insert a row, and return the id it got."""
    key = connection.execute(insert(table).values(values)).inserted_primary_key
    if key is None:
        raise StoreError(f"the database gave no id to a new row of {table.name}")
    return int(key[0])


def utc_now() -> datetime:
    """Return this moment, as the computer's clock has it."""
    return datetime.now(UTC)


# ---- opening a database that is there, on a medium that may be read-only


def database_exists(location: Location) -> bool:
    """Return whether the file of an SQLite database exists and holds something.

    Raises:
        StoreError: there is something else, or its folder cannot be looked into.
    """
    path = location.path
    if path is None:
        return False
    try:
        if path.is_dir():
            raise StoreError(unopenable(location))
        return path.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StoreError(
            f"{location}: cannot be looked at: {error.strerror}; check the permissions of its folder"
        ) from error


@contextmanager
def opened_database(location: Location, *, lenient: bool = False) -> Iterator[tuple[Engine, str]]:
    """Open an existing phototag database of any schema, and close it in the end; its engine and its schema.

    Raises:
        StoreError: there is no database, or unless `lenient` one with parts that phototag never makes.
    """
    engine, have = _open_existing(location, lenient=lenient)
    try:
        if have is None:
            raise missing(location)
        yield engine, have
    finally:
        engine.dispose()


@contextmanager
def reading(location: Location) -> Iterator[Connection]:
    """Open an existing database of the current schema to read, and close it in the end.

    Raises:
        SchemaError: its schema is another one.
        StoreError: there is no database, it cannot be read, or it holds rows that phototag did not write.
    """
    with opened_database(location) as (engine, have):
        require_current(have, location)
        with untrusted_rows(location), engine.connect() as connection:
            yield connection


def _open_existing(location: Location, *, lenient: bool = False) -> tuple[Engine, str | None]:
    """Connect to a database. Returns its engine and its schema, None when it is there but has no tables."""
    path = location.path
    if path is not None and not database_exists(location):
        raise missing(location)
    if path is not None and not keeps_locks(path):
        # SQLite would take that for another program's lock, and wait.
        if not has_no_journal(path):
            raise StoreError(
                f"{location}: cannot be read safely, as its file system keeps no locks and changes wait beside it; "
                "copy it, with all files that begin with its name, to a local disk"
            )
        with translated_errors(location):
            return _connected(location, Access.IMMUTABLE, lenient=lenient)
    with translated_errors(location):
        try:
            return _connected(location, Access.WRITE, lenient=lenient)
        except OperationalError as error:
            if path is None or not isinstance(error.orig, sqlite3.OperationalError):
                raise
            # Reading in WAL mode needs a -shm file beside the database, which cannot be made on such a
            # medium.
            if not can_be_immutable(path):
                raise
        return _connected(location, Access.IMMUTABLE, lenient=lenient)


def _connected(location: Location, access: Access, *, lenient: bool) -> tuple[Engine, str | None]:
    engine = make_engine(location, access=access)
    try:
        with engine.connect() as connection:
            return engine, revision(connection, location, lenient=lenient)
    except BaseException:
        engine.dispose()
        raise
