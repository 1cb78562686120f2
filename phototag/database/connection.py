"""Connections, and the one place where the errors of SQLAlchemy and SQLite become phototag's own."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.pool import NullPool, StaticPool

from phototag.database.great_circle import KM_FUNCTION, great_circle_km
from phototag.database.location import Location
from phototag.database.server import make_server_engine, server_error
from phototag.errors import LockedError, StoreError
from phototag.files import keeps_locks

BUSY_TIMEOUT_SECONDS = 30.0
_LEAST_FREE_BYTES = 1 << 20
# What one statement may take of SQLite's machine: a part, and more for every page of the file. What phototag asks for
# takes a hundredth of it; a view without end would take for ever.
_LEAST_STEPS, _STEPS_A_PAGE = 100_000_000, 20_000
_STEPS_AT_ONCE = 100_000
_PAGE_BYTES = 4096
_LARGEST_VALUE = 64 << 20
_interruption = threading.local()
# Set on a connection that writes: its transactions take SQLite's write lock when they begin. A transaction
# that reads first and writes later fails at once with SQLITE_BUSY_SNAPSHOT, whatever the timeout.
WRITES = "phototag_writes"


class Access(StrEnum):
    """How an SQLite file is opened; the values are parameters of its URI."""

    CREATE = "mode=rwc"
    WRITE = "mode=rw"
    # On a medium that cannot be written to: SQLite makes no -shm file and takes no locks.
    IMMUTABLE = "mode=ro&immutable=1"


def make_engine(location: Location, *, access: Access = Access.WRITE) -> Engine:
    """Make the engine for a database. Connects to nothing yet.

    Raises:
        StoreError: the URL's dialect or driver is not installed.
    """
    if location.url is not None:
        return make_server_engine(location, location.url)
    if location.path is None:
        engine = create_engine("sqlite://", creator=lambda: _set_up(_connect(":memory:")), poolclass=StaticPool)
    else:
        path = location.path

        def connect() -> sqlite3.Connection:
            return connect_file(path, access=access)

        # No pool: a connection that is given back is closed, so nothing outlives the store.
        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)

        @event.listens_for(engine, "before_cursor_execute")
        def renew(connection: Connection, cursor: sqlite3.Cursor, *_: object) -> None:
            if isinstance(cursor.connection, _Bounded):
                cursor.connection.steps = 0

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The sqlite3 module begins transactions by its own rules, too late for DDL; with isolation_level None
        # it leaves that to this line.
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def opened_engine(location: Location, access: Access = Access.WRITE) -> Iterator[Engine]:
    """Make the engine for a database, and close what it opened in the end."""
    engine = make_engine(location, access=access)
    try:
        yield engine
    finally:
        engine.dispose()


def connect_file(path: Path, *, access: Access) -> sqlite3.Connection:
    """Open an SQLite file with phototag's settings.

    Raises:
        sqlite3.Error: it cannot be opened or is no SQLite database.
    """
    connection = _set_up(_connect(f"{path.as_uri()}?{access}"))
    connection.bound(path)
    return connection


class _Bounded(sqlite3.Connection):
    """A connection to a file that may come from anyone: its statements take no longer than its size explains."""

    steps = 0
    _most = _LEAST_STEPS

    def bound(self, path: Path) -> None:
        """Count the steps of each statement."""

        def count() -> bool:
            self.steps += _STEPS_AT_ONCE
            if self.steps > self._most:
                with suppress(OSError):
                    self._most = _LEAST_STEPS + _STEPS_A_PAGE * (path.stat().st_size // _PAGE_BYTES)
            _interruption.too_long = self.steps > self._most
            return bool(_interruption.too_long)

        self.set_progress_handler(count, _STEPS_AT_ONCE)


def _connect(uri: str) -> _Bounded:
    # The store guards its connections with its own lock, so they may be used from any thread.
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        factory=_Bounded,
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)
    return connection


def _set_up(connection: _Bounded) -> _Bounded:
    try:
        connection.execute("PRAGMA foreign_keys=ON")
        # With WAL, NORMAL keeps the database whole at a power cut and may lose the last batches, which are
        # made again by tagging again. The store raises this to FULL for what a human said.
        connection.execute("PRAGMA synchronous=NORMAL")
        # A database may be untrusted: its views and triggers must not call functions with side
        # effects.
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.create_function(KM_FUNCTION, 4, great_circle_km, deterministic=True)
    except BaseException:
        connection.close()
        raise
    return connection


def use_wal(connection: sqlite3.Connection) -> None:
    """Let readers and the writer work side by side. Call it while holding the write lock only.

    The mode stays with the file. Some network file systems cannot do it; SQLite then keeps the mode it has.
    """
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode not in ("wal", "memory"):
        connection.execute("PRAGMA journal_mode=WAL")


def driver_connection(connection: Connection) -> sqlite3.Connection:
    """Return the sqlite3 connection under an SQLAlchemy one, for what must happen outside a transaction.

    Raises:
        StoreError: it is not an SQLite connection.
    """
    raw = connection.connection.driver_connection
    if not isinstance(raw, sqlite3.Connection):
        raise StoreError("this works on SQLite databases only")
    return raw


@contextmanager
def translated_errors(location: Location) -> Iterator[None]:
    """Turn the errors of SQLAlchemy and of drivers into StoreErrors that say what to do."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise translate(error, location) from error


# What reading raises where a row holds something else: lists nested too deep, a number too large, a text for a date.
FOREIGN = (ValueError, TypeError, LookupError, OverflowError, RecursionError)


@contextmanager
def untrusted_rows(location: Location) -> Iterator[None]:
    """Do as `translated_errors` does, around reading rows: an untrusted database may hold anything in a column."""
    try:
        with translated_errors(location):
            yield
    except FOREIGN as error:
        raise StoreError(
            f"{location.shown}: holds a row that phototag did not write ({error}); run: phototag db check"
        ) from error


def translate(error: SQLAlchemyError | sqlite3.Error, location: Location) -> StoreError:
    """Return the StoreError for an error of SQLAlchemy or of a driver."""
    where = location.shown
    cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    if isinstance(cause, StoreError):
        return cause
    reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    if reason == "interrupted" and not getattr(_interruption, "too_long", False):
        raise KeyboardInterrupt from error  # Ctrl-C came while SQLite counted its steps, and was lost there
    password = location.url.password if location.url is not None else None
    if password:
        reason = reason.replace(str(password), "***")
    if "disk i/o error" in reason.lower() and _is_full(location):
        reason = "the disk is full"  # SQLite says so of some files only
    for sign, text in _SIGNS:
        if sign in reason.lower():
            if sign == "unable to open":
                return StoreError(unopenable(location))
            if sign == "readonly" and location.path is not None and not keeps_locks(location.path):
                return StoreError(f"{where}: its file system keeps no locks; to write, keep it on a local disk")
            kind = LockedError if sign == "locked" else StoreError
            return kind(f"{where}: {text}")
    known = server_error(cause, reason, location)
    if known is not None:
        return known
    if isinstance(error, IntegrityError) or isinstance(cause, sqlite3.IntegrityError):
        return StoreError(f"{where}: the database refused a row, nothing of it was saved: {reason}")
    if isinstance(error, DBAPIError) and location.url is not None:
        return StoreError(f"{where}: {reason}; check that the server runs and that the URL is right")
    return StoreError(f"{where}: {reason}")


def _is_full(location: Location) -> bool:
    try:
        return location.path is not None and shutil.disk_usage(location.path.parent).free < _LEAST_FREE_BYTES
    except OSError:
        return False


_SIGNS = (
    (
        "not a database",
        "is not a database (SQLite cannot read it); name another file with --db, or move this one away",
    ),
    (
        "malformed",
        "the database is damaged; go back to a backup (phototag db backup makes them), "
        "or keep this file aside and tag again",
    ),
    (
        "disk is full",
        "the disk is full, nothing of this batch was saved; make room and run the command again",
    ),
    (
        "disk i/o error",
        "the disk failed while reading or writing; check the disk, then run: phototag db check",
    ),
    (
        "locked",
        f"another program has kept it locked for {BUSY_TIMEOUT_SECONDS:.0f} seconds; "
        "close that program and run the command again",
    ),
    (
        "readonly",
        "is read-only; check the permissions of the file and of its folder, or name another with --db",
    ),
    ("read-only", "is read-only; check the permissions, or name another database with --db"),
    (
        "interrupted",
        "takes far longer to read than its size explains, so phototag did not make it as it is; run: phototag db check",
    ),
    ("too big", "holds a value far larger than any that phototag writes; run: phototag db check"),
    ("unable to open", ""),
    ("no such table", "lacks a table that phototag makes; run: phototag db check"),
    ("no such column", "lacks a column that phototag makes; run: phototag db check"),
)


def unopenable(location: Location) -> str:
    """Say why an SQLite file cannot be opened, found by looking at the file and its folder."""
    where = location.shown
    path = location.path
    if path is None:
        return f"{where}: cannot be opened"
    folder = path.parent
    try:
        if path.is_dir():
            return f"{where}: is a folder, not a database; name a file in it, such as {where}/phototag.db"
        if not folder.exists():
            return f"{where}: its folder {folder} does not exist; make it (mkdir -p), or name another with --db"
        if not folder.is_dir():
            return f"{where}: cannot be there, since {folder} is not a folder; name another file with --db"
        exists = path.exists()
    except OSError as error:
        return f"{where}: cannot be looked at: {error.strerror}; check the permissions of its folder"
    if exists and not os.access(path, os.R_OK):
        return f"{where}: no permission to read it; check its owner and mode, or name another with --db"
    if not exists and not os.access(folder, os.W_OK):
        return f"{where}: cannot be made, no permission to write in {folder}; name another file with --db"
    if not exists:
        return f"{where}: does not exist (any more)"
    return f"{where}: cannot be opened; check the permissions of the file and of its folder"
