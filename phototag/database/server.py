"""What a database on a server is connected to by, and what its errors mean. PostgreSQL is the one that is tested."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from phototag.database.location import Location
from phototag.errors import StoreError

P = ParamSpec("P")
T = TypeVar("T")

# Many threads that decode ask what is known of contents, each for moments: some wait for a connection.
_KEPT, _MOST_MORE, _POOL_WAIT_SECONDS = 8, 24, 60
_TRIES = 6
_LONGEST_REST_SECONDS = 0.4


class ConflictError(StoreError):
    """The server undid a transaction because of others at the same time; the whole of it may be tried again."""


def make_server_engine(location: Location, url: URL) -> Engine:
    """Make the engine for a database on a server. Connects to nothing yet.

    Raises:
        StoreError: the URL's dialect or driver is not installed.
    """
    more: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url
        if url.get_driver_name() == "psycopg":
            # No statement is prepared: a plan that was made while a table was empty would be kept as it grows, and a
            # pooler that lends connections by the transaction knows none. A dead peer is noticed within two minutes.
            more = {
                "prepare_threshold": None,
                "client_encoding": "utf8",
                "application_name": "phototag",
                "keepalives_idle": 60,
                "keepalives_interval": 15,
                "keepalives_count": 4,
            }
            more = {name: value for name, value in more.items() if name not in url.query}
    try:
        engine = create_engine(
            url,
            connect_args=more,
            pool_pre_ping=True,
            pool_size=_KEPT,
            max_overflow=_MOST_MORE,
            pool_timeout=_POOL_WAIT_SECONDS,
            pool_use_lifo=True,
        )
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{location.shown}: its driver is not installed ({error.name}); for PostgreSQL run: "
            "pip install 'phototag[postgres]', and write the URL as postgresql://user:password@host/name"
        ) from error
    except (NoSuchModuleError, ArgumentError, TypeError) as error:
        raise StoreError(
            f"{location.shown}: no such kind of database is known; use a file or a postgresql:// URL"
        ) from error

    @event.listens_for(engine, "connect", insert=True)
    def check_encoding(connection: Any, _: object) -> None:
        status = getattr(getattr(connection, "info", None), "parameter_status", None)
        encoding = status("server_encoding") if status is not None else None
        if encoding not in (None, "UTF8"):
            connection.close()
            raise StoreError(
                f"{location.shown}: the database is encoded in {encoding}, in which names get lost; "
                "make another one: createdb --encoding=UTF8 --template=template0 NAME"
            )

    return engine


_HINTS = (
    # By SQLSTATE, or the start of one; see appendix A of PostgreSQL's manual.
    ("42501", "the role may not do that; let the owner of the tables GRANT it, or name another role in the URL"),
    ("25006", "this server takes no writes, as a standby does; name the primary server"),
    ("22003", "a number is larger than its column takes"),
    ("54", "a value is longer than the server takes"),
    ("28", "check the user and the password in the URL, and pg_hba.conf on the server"),
    ("3D", "make it first: createdb --encoding=UTF8 --template=template0 NAME"),
    ("3F", "make the schema first: CREATE SCHEMA NAME"),
    ("42P01", "a table that phototag makes is not there; run: phototag db check"),
    ("42703", "a column that phototag makes is not there; run: phototag db check"),
    ("53100", "the server's disk is full; make room there and run the command again"),
    ("53300", "the server has no connection left; raise max_connections there, or run fewer commands at once"),
    ("57014", "the server ended the statement; see statement_timeout there"),
    ("57P", "the server ended the connection; what was saved before is kept, so run the command again"),
)
_CONFLICTS = ("40001", "40P01", "55P03")


def server_error(cause: BaseException, reason: str, location: Location) -> StoreError | None:
    """Return the StoreError for what a server said with a code; None where it said none that is known."""
    code = getattr(cause, "sqlstate", None)
    if not isinstance(code, str):
        return None
    constraint = getattr(getattr(cause, "diag", None), "constraint_name", None)
    if code in _CONFLICTS or (code == "23505" and constraint in _MAY_COME_TWICE):
        return ConflictError(f"{location.shown}: others kept writing the same rows ({reason}); run the command again")
    if code.startswith("23"):
        return StoreError(f"{location.shown}: the database refused a row, nothing of it was saved: {reason}")
    for sign, hint in _HINTS:
        if code.startswith(sign):
            return StoreError(f"{location.shown}: {reason}; {hint}")
    return None


# What two may make at the same moment: then it is there when the second one tries again.
_MAY_COME_TWICE = frozenset({"uq_photos_path_bytes", "uq_models_hash", "pk_tags", "pk_predictions", "pk_captures"})


def copy_rows(connection: Connection, table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows of the columns `names` by PostgreSQL's COPY, which costs a fifth of INSERT."""
    dialect = connection.dialect
    processors = [table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names]
    into = f"COPY {table.name} ({', '.join(names)}) FROM STDIN"
    try:
        cursor: Any = connection.connection.cursor()
        with closing(cursor), cursor.copy(into) as copy:
            for row in rows:
                values = zip(processors, row, strict=True)
                copy.write_row([value if process is None else process(value) for process, value in values])
    except dialect.loaded_dbapi.Error as error:
        raise DBAPIError(into, None, error) from error


def tried_again(method: Callable[P, T]) -> Callable[P, T]:
    """Let a method that writes one transaction try again, a few times, when the server undid it because of others."""

    @wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        for number in range(_TRIES):
            try:
                return method(*args, **kwargs)
            except ConflictError:
                # By chance, so that two do not meet again and again.
                time.sleep(random.uniform(0, _LONGEST_REST_SECONDS * (number + 1) / _TRIES))
        return method(*args, **kwargs)

    return run
