"""A database that is open: transactions to read and to write, and the right to write."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    Table,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import OperationalError

from phototag.database.backup_file import can_be_immutable, has_no_journal
from phototag.database.connection import (
    WRITES,
    Access,
    driver_connection,
    make_engine,
    translated_errors,
    unopenable,
    untrusted_rows,
    use_wal,
)
from phototag.database.location import Location
from phototag.database.lock import Role, holding
from phototag.database.path_index import path_after, path_order
from phototag.database.schema import IS_HEAD, migrate, missing, require_current, revision
from phototag.database.schema import create as create_tables
from phototag.database.server import copy_rows
from phototag.database.tables import photos, reviews, runs, tags
from phototag.database.tables import revision as counter
from phototag.errors import LockedError, StoreError
from phototag.files import keeps_locks

if TYPE_CHECKING:
    from phototag.database.server_lock import ServerRight

T = TypeVar("T")

PAGE_ROWS = 4096
_COUNT_UP = update(counter).where(counter.c.id == 1).values(number=counter.c.number + 1)
_WAIT_SECONDS = 0.05
_MOST_WAIT_AT_ONCE = 5.0  # other threads cannot write meanwhile
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
        self._rights: dict[Role, ServerRight | None] = {}
        self._clock_ahead = timedelta()
        self.own_changes = 0

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
            self._stop_writing()
            self.engine.dispose()

    def refuse_if_closed(self) -> None:
        """Raise StoreError once the database was closed."""
        if self._closed:
            raise StoreError(f"{self.location}: this store is closed; open it again")

    # ---- the right to write

    @contextmanager
    def writing(self, command: str, *, wait_seconds: float, beside: bool = False) -> Iterator[None]:
        """Hold the right to write, as `Store.writing` says, or with `beside` as `Store.answering` does."""
        role = Role.ANSWER if beside and self.location.url is not None else Role.WRITE
        give_up = time.monotonic() + wait_seconds
        while not self._has_entered(command, role, give_up):
            time.sleep(_WAIT_SECONDS)
        try:
            yield
        finally:
            with self._mutex:
                self._depth = max(self._depth - 1, 0)
                if self._depth == 0:
                    self._stop_writing()

    @contextmanager
    def tagging(self, command: str) -> Iterator[None]:
        """Be the only tagger, as `Store.tagging` says."""
        with holding(self.location, command, Role.TAG, engine=self.engine) as right:
            self._rights[Role.TAG] = right
            try:
                yield
            finally:
                self._rights.pop(Role.TAG, None)

    def _has_entered(self, command: str, role: Role, give_up: float) -> bool:
        """Take the right to write, or say that it has to be waited for."""
        with self._mutex:
            self.refuse_if_closed()
            try:
                if role not in self._rights and Role.WRITE not in self._rights:
                    wait_seconds = min(give_up - time.monotonic(), _MOST_WAIT_AT_ONCE)
                    right = holding(self.location, command, role, engine=self.engine, wait_seconds=wait_seconds)
                    self._rights[role] = self._held.enter_context(right)
                if self._writer is None:
                    self._start_writing()
            except BaseException as error:
                if self._depth == 0:
                    self._stop_writing()
                if isinstance(error, LockedError) and time.monotonic() < give_up:
                    return False
                raise
            self._depth += 1
            return True

    def _stop_writing(self) -> None:
        self._writer = None
        for role in (Role.WRITE, Role.ANSWER):
            self._rights.pop(role, None)
        self._held.close()

    def _start_writing(self) -> None:
        tagger = self._rights.get(Role.TAG)
        if tagger is not None:
            tagger.renew()
        with ExitStack() as stack:
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
                if self.location.url is not None:
                    # All computers go by the server's clock.
                    self._clock_ahead = utc_now() - connection.execute(select(func.clock_timestamp())).scalar_one()
                else:
                    columns = (tags.c.tagged_at, reviews.c.undone_at, runs.c.started_at, runs.c.finished_at)
                    moments = [connection.execute(select(func.max(column))).scalar() for column in columns]
                    self._last_moment = max([self._last_moment, *filter(None, moments)])
                connection.rollback()
                self._writer = connection.execution_options(**{WRITES: True})
            self._held.push(stack.pop_all())

    def next_moment(self) -> datetime:
        """Return this moment for what is written now, or a later one: one transaction's comes after another's.

        So it stays when the clock is set back, unless it was ahead by more than a day. After a restart the moments of
        tags, undone reviews and runs are heeded, not those of photos, for which all of them would have to be read.
        """
        now = utc_now() - self._clock_ahead
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
                        if self.location.url is not None:
                            self._count_change(writer)
                        else:
                            # By this an index of the gallery knows whether it is still true.
                            writer.execute(_COUNT_UP)
                finally:
                    # Ctrl-C in the middle of a statement ends the connection.
                    if raw is not None and not writer.invalidated:
                        raw.execute("PRAGMA synchronous=NORMAL")

    def _count_change(self, writer: Connection) -> None:
        """Raise the number of changes, and refuse to commit once another has got the right to write since.

        The last statement of a transaction: all that write are committed in the order of their numbers.

        Raises:
            LockedError: another has it.
            SchemaError: the database was upgraded meanwhile.
        """
        epochs = {Role.WRITE: counter.c.writer, Role.TAG: counter.c.tagger}
        held = [epochs[role] == right.epoch for role, right in self._rights.items() if right and role in epochs]
        change = update(counter).where(*held, IS_HEAD).values(number=counter.c.number + 1)
        if writer.execute(change).rowcount != 1:
            require_current(revision(writer, self.location) or "", self.location)
            raise LockedError(
                f"{self.location}: the server ended the session that held the right to write, and another command "
                "has it since; what was saved before is kept, so run this one again"
            )
        self.own_changes += 1

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
            connection = stack.enter_context(self.engine.connect())
            if self.location.url is not None:
                # As in SQLite, all that one transaction reads is of one moment.
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield connection

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
        by_path = key[0].name == photos.c.path_bytes.name if isinstance(key[0], Column) else False
        order = path_order(key[0]) if by_path else key
        begin = first
        while True:
            page_of = statement if begin is None else statement.where(begin)
            with self.read() as connection:
                rows = connection.execute(page_of.order_by(*order).limit(PAGE_ROWS)).all()
                page = records(connection, rows)
            if page:
                yield page
            if len(rows) < PAGE_ROWS:
                return
            after = [rows[-1]._mapping[column] for column in key]
            begin = (
                tuple_(*key) > after if len(key) > 1 else path_after(key[0], after[0]) if by_path else key[0] > after[0]
            )


def insert_row(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    """Insert a row, and return the id it got."""
    key = connection.execute(insert(table).values(values)).inserted_primary_key
    if key is None:
        raise StoreError(f"the database gave no id to a new row of {table.name}")
    return int(key[0])


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert any number of rows, which all have the same columns, in the quickest way there is."""
    if rows and connection.dialect.name == "postgresql":
        names = list(rows[0])
        copy_rows(connection, table, names, ([row[name] for name in names] for row in rows))
    elif rows:
        connection.execute(insert(table), rows)


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
