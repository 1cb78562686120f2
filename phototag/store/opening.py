"""Opening a database that is there, on a medium that may be read-only."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from phototag.errors import StoreError
from phototag.store.backup_file import can_be_immutable
from phototag.store.engine import Access, make_engine, translated, unopenable
from phototag.store.location import Location
from phototag.store.schema import missing, require_current, revision


def open_existing(location: Location) -> tuple[Engine, str | None]:
    """Connect to a database. Returns its engine and its schema, None when it is there but has no tables.

    Raises:
        StoreError: it is not there, cannot be read, or is not phototag's.
    """
    if location.path is not None and not is_there(location):
        raise missing(location)
    with translated(location):
        try:
            return _connected(location, Access.WRITE)
        except OperationalError as error:
            if location.path is None or not isinstance(error.orig, sqlite3.OperationalError):
                raise
            # Reading in WAL mode needs a -shm file beside the database, which cannot be made on such a
            # medium.
            if not can_be_immutable(location.path):
                raise
        return _connected(location, Access.IMMUTABLE)


def is_there(location: Location) -> bool:
    """Whether the file of an SQLite database exists and holds something.

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
            f"{location.shown}: cannot be looked at: {error.strerror}; check the permissions of its folder"
        ) from error


@contextmanager
def opened(location: Location) -> Iterator[tuple[Engine, str]]:
    """An existing phototag database of any schema, closed in the end.

    Raises:
        StoreError: there is no database.
    """
    engine, have = open_existing(location)
    try:
        if have is None:
            raise missing(location)
        yield engine, have
    finally:
        engine.dispose()


@contextmanager
def opened_current(location: Location) -> Iterator[Engine]:
    """An existing database of the current schema, closed in the end.

    Raises:
        SchemaError: its schema is another one.
        StoreError: there is no database.
    """
    with opened(location) as (engine, have):
        require_current(have, location)
        yield engine


def _connected(location: Location, access: Access) -> tuple[Engine, str | None]:
    engine = make_engine(location, access=access)
    try:
        with engine.connect() as connection:
            return engine, revision(connection, location)
    except BaseException:
        engine.dispose()
        raise
