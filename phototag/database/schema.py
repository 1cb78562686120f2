"""Which schema a database has, making it, and bringing an older one up to date.

Importing this imports no alembic: a query only compares two short texts. The migrations themselves live in
`phototag.migrations`.
"""

from __future__ import annotations

import importlib
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, Engine, text

from phototag.database.backup_file import default_backup_path, write_backup
from phototag.database.connection import (
    WRITES,
    Access,
    driver_connection,
    opened_engine,
    translated_errors,
    unopenable,
    use_wal,
)
from phototag.database.location import Location, parse_location
from phototag.database.lock import holding
from phototag.database.tables import metadata
from phototag.errors import LockedError, MissingDatabaseError, SchemaError, StoreError

if TYPE_CHECKING:
    from alembic.config import Config

# Every released schema, oldest first. A test compares them with the migrations.
REVISIONS = ("0001", "0002", "0003", "0004", "0005")
HEAD = REVISIONS[-1]

_VERSION_TABLE = "alembic_version"
IS_HEAD = text("EXISTS (SELECT 1 FROM alembic_version WHERE version_num = :head)").bindparams(head=HEAD)
_CREATION_WAIT_SECONDS = 60.0
_MOST_PARTS = 1000
# alembic keeps the context of a migration in module globals.
_alembic_in_use = threading.Lock()


@dataclass(frozen=True, slots=True)
class UpgradeReport:
    """What an upgrade did. `backup` is None when there was nothing to do, or no SQLite file."""

    before: str
    after: str
    backup: Path | None


def revision(connection: Connection, location: Location, *, lenient: bool = False) -> str | None:
    """Return the database's schema; None when it has no tables yet.

    Raises:
        StoreError: the tables are those of another program, unless `lenient` there are parts that act by themselves, or
            the schema's mark is lost.
    """
    if connection.dialect.name == "sqlite":
        tables = {part.name for part in parts(connection) if part.kind == "table"}
    else:
        names = "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()"
        tables = set(connection.exec_driver_sql(names).scalars())
    if not tables:
        return None
    if _VERSION_TABLE not in tables or not ({"photos", "tags"} <= tables or tables == {_VERSION_TABLE}):
        way_out = (
            "file with --db" if location.url is None else "one, or a schema of it by ?options=-csearch_path%3DNAME"
        )
        raise StoreError(f"{location.shown}: is a database of another program; name another {way_out}")
    acting = [] if lenient or connection.dialect.name != "sqlite" else foreign_parts(connection)[0]
    if acting:
        raise StoreError(f"{location.shown}: has {acting[0]}, which phototag never makes; run: phototag db check")
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version LIMIT 2").scalars().all()
    if not found and tables == {_VERSION_TABLE}:
        return None
    if len(found) != 1 or not re.fullmatch(r"\w{1,32}", str(found[0]), re.ASCII):
        raise SchemaError(
            f"{location.shown}: does not say which schema it has; go back to a backup (phototag db backup makes them)"
        )
    return str(found[0])


class _Part(NamedTuple):
    """A part of an SQLite database; the kind of a virtual table is its own."""

    kind: str
    name: str
    table: str
    sql: str

    @property
    def acts(self) -> bool:
        """Whether reading or writing phototag's tables sets it going: it may come from anyone, and need not end."""
        if self.table.lower() not in _OWN:
            return self.kind == "trigger"
        plain = _COMMENT.sub(" ", self.sql)
        words = {word.lower() for word in _CALL.findall(plain)}
        return self.kind not in ("table", "index") or not words <= _QUIET or _SEARCH.search(plain) is not None

    def __str__(self) -> str:
        return f"a {self.kind} {self.name!r}"


_OWN = frozenset({*metadata.tables, _VERSION_TABLE})
_INDEXES = frozenset(str(index.name) for table in metadata.tables.values() for index in table.indexes)
_COMMENT = re.compile(r"/\*.*?(?:\*/|$)|--[^\n]*", re.DOTALL)
# What stands before a bracket where nothing is called; computed columns have "AS" there.
_CALL = re.compile(r"(\w+)[\"'\]`]?\s*\(")
_QUIET = _OWN | {"check", "in", "key", "unique", "varchar"}
_SEARCH = re.compile(r"\b(?:like|glob|regexp|match|select)\b", re.IGNORECASE)


def parts(connection: Connection) -> list[_Part]:
    """Return what an SQLite database is made of, but for what SQLite makes by itself."""
    rows = connection.exec_driver_sql(
        "SELECT CASE WHEN type = 'table' AND rootpage = 0 THEN 'virtual table' ELSE type END, name, tbl_name,"
        " substr(sql, 1, 100000)"
        " FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    )
    return [_Part(*map(str, row)) for row in rows.fetchmany(_MOST_PARTS)]


def foreign_parts(connection: Connection) -> tuple[list[str], list[str]]:
    """Return the parts of an SQLite database that phototag did not make: those that act by themselves, the others."""
    acting, others = [], []
    for part in parts(connection):
        if part.acts:
            acting.append(f"{part} that computes" if part.kind in ("table", "index") else str(part))
        elif part.name.lower() not in _OWN | _INDEXES:
            others.append(str(part))
    return acting, others


def require_current(have: str, location: Location) -> None:
    """Raise unless schema `have` is the one this phototag works with.

    Raises:
        SchemaError: it is older, or from a newer phototag.
    """
    if have == HEAD:
        return
    if have in REVISIONS:
        raise SchemaError(f"{location.shown}: schema {have}, this phototag needs {HEAD}; run: phototag db upgrade")
    raise _newer(have, HEAD, location)


def _newer(have: str, known: str, location: Location) -> SchemaError:
    return SchemaError(
        f"{location.shown}: schema {have!r} was made by a newer phototag, this one knows up to {known}; "
        "upgrade phototag (pip install --upgrade phototag)"
    )


def create(location: Location) -> None:
    """Make the tables of a new database; when another process is making them, wait for it.

    Raises:
        LockedError: another process has held the lock for a minute without making the tables.
        StoreError: the database cannot be made there.
    """
    if _has_no_place(location):
        raise StoreError(unopenable(location))
    give_up = time.monotonic() + _CREATION_WAIT_SECONDS
    while True:
        try:
            with holding(location, "database setup"), opened_engine(location, Access.CREATE) as engine:
                _make_file(location)
                if _current(engine, location) is None:
                    migrate(engine, location)
                return
        except LockedError:
            # The process that holds the lock is making the tables, or made them and writes already.
            with opened_engine(location, Access.CREATE) as engine:
                if _current(engine, location) is not None:
                    return
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


def _make_file(location: Location) -> None:
    """Make the file of a new database for the user alone; SQLite's other files beside it get its mode."""
    if location.path is not None:
        with suppress(OSError):  # there already; or SQLite will say why it cannot be
            os.close(os.open(location.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def upgrade_database(location: str | Path | Location | None, *, scripts: Path | None = None) -> UpgradeReport:
    """Bring a database to the newest schema, after a backup if it is an SQLite file. Failing changes nothing.

    `scripts` is the folder of migrations; the default are phototag's own.

    Raises:
        LockedError: another process is writing to it.
        SchemaError: it was made by a newer phototag, or a migration fails.
        StoreError: there is no database, or it cannot be written.
    """
    place = parse_location(location)
    if place.in_memory:
        raise StoreError("sqlite://: a database in memory is always new; name a file to upgrade")
    if place.path is not None and not place.path.is_file():
        raise missing(place)
    with holding(place, "db upgrade"), opened_engine(place, Access.WRITE) as engine:
        before = _current(engine, place)
        if before is None:
            raise missing(place)
        known = known_revisions(scripts)
        if before not in known:
            raise _newer(before, known[-1], place)
        if before == known[-1]:
            return UpgradeReport(before=before, after=before, backup=None)
        backup = None
        if place.path is not None:
            backup = write_backup(place, default_backup_path(place.path, before), overwrite=False)
        try:
            migrate(engine, place, scripts=scripts)
        except StoreError as error:
            raise SchemaError(
                f"upgrade from {before} to {known[-1]} failed and changed nothing: {error}"
                + (f"; a backup is at {backup}" if backup else "")
            ) from error
        after = _current(engine, place)
        return UpgradeReport(before=before, after=after or before, backup=backup)


def migrate(engine: Engine, location: Location, *, scripts: Path | None = None) -> None:
    """Run the migrations up to the newest, in one transaction. The caller holds the write lock.

    Raises:
        StoreError: a migration fails, or leaves rows that point nowhere; nothing is changed then.
    """
    from alembic import command
    from alembic.util import CommandError

    with translated_errors(location), engine.connect() as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        if is_sqlite:
            raw = driver_connection(connection)
            use_wal(raw)
            # SQLite changes a table by making a new one and dropping the old one, which would delete every row
            # that points to it. Inside a transaction this line would do nothing.
            raw.execute("PRAGMA foreign_keys=OFF")
        writer = connection.execution_options(**{WRITES: True})
        try:
            with _alembic_in_use, writer.begin(), _config(scripts) as config:
                config.attributes["connection"] = writer
                command.upgrade(config, "head")
                if is_sqlite:
                    _check_references(writer, location)
        except CommandError as error:
            raise SchemaError(f"{location.shown}: {error}") from error
        finally:
            if is_sqlite:
                raw.execute("PRAGMA foreign_keys=ON")


def known_revisions(scripts: Path | None = None) -> tuple[str, ...]:
    """Return the revisions of the migrations in `scripts`, oldest first. Imports alembic."""
    from alembic.script import ScriptDirectory

    with _config(scripts) as config:
        found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    return tuple(reversed(found))


def missing(location: Location) -> StoreError:
    """Return the error for a database that is not there yet."""
    if _has_no_place(location):
        return StoreError(unopenable(location))
    return MissingDatabaseError(f"no database yet at {location.shown}; run: phototag tag FOLDER")


def _current(engine: Engine, location: Location) -> str | None:
    with translated_errors(location), engine.connect() as connection:
        return revision(connection, location)


def _has_no_place(location: Location) -> bool:
    path = location.path
    # The lock makes the default folder.
    return path is not None and not location.is_default and (path.is_dir() or not path.parent.is_dir())


def _check_references(connection: Connection, location: Location) -> None:
    orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if orphans:
        names = sorted({str(orphan[0]) for orphan in orphans})
        where = f"{len(orphans)} rows of {', '.join(names)}"
        raise StoreError(f"{location.shown}: {where} would point to rows that are not there")


@contextmanager
def _config(scripts: Path | None) -> Iterator[Config]:
    from alembic.config import Config

    with _scripts_folder() if scripts is None else nullcontext(scripts) as folder:
        config = Config()
        # The value goes through a config parser, where % is special.
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        yield config


@contextmanager
def _scripts_folder() -> Iterator[Path]:
    try:
        package: Any = importlib.import_module("phototag.migrations")
    except ModuleNotFoundError:
        # A checkout that was never installed: the folder lies beside the package.
        yield Path(__file__).parents[2] / "migrations"
        return
    with resources.as_file(resources.files(package)) as folder:
        yield folder
