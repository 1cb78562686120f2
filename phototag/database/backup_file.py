"""Copies of a live database: of a file through SQLite's own backup, never by copying it; of a server's by pg_dump."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from phototag.database.connection import Access, connect_file, opened_engine, translated_errors, unopenable
from phototag.database.location import Location
from phototag.errors import StoreError
from phototag.files import replacing


def default_backup_path(path: Path, revision: str, *, ending: str = "bak.db") -> Path:
    """Return a free name beside `path` that says which schema the backup has and when it was made."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    candidate = path.with_name(f"{path.name}.{revision}.{stamp}.{ending}")
    count = 1
    while candidate.exists():
        count += 1
        candidate = path.with_name(f"{path.name}.{revision}.{stamp}-{count}.{ending}")
    return candidate


def write_backup(location: Location, target: Path, *, overwrite: bool) -> Path:
    """Copy the database at `location` to `target`, check the copy of a file, and give it its name only then.

    The copy is one file: without a journal beside it, or what pg_restore reads. Others may read and write meanwhile.

    Raises:
        StoreError: the target exists and `overwrite` is false, is the database itself, cannot be written, or
            the copy proves damaged; pg_dump is not there, or fails.
    """
    source = location.path
    try:
        if source is not None and target.exists() and target.samefile(source):
            raise StoreError(f"{target}: is the database itself; name another file for the backup")
        if target.exists() and not overwrite:
            raise StoreError(f"{target}: exists already; name another file, or add --overwrite")
        if not target.parent.is_dir():
            raise StoreError(f"{target}: its folder {target.parent} does not exist; make it first")
        with replacing(target, durable=True, private=True) as half:
            if source is None:
                _dump(location, half)
                return target
            try:
                with translated_errors(location), closing(_open_source(location, source)) as live:
                    _copy(live, Location(shown=str(target), path=half), half)
            finally:
                for name in ("journal", "wal", "shm"):
                    with suppress(OSError):
                        Path(f"{half}-{name}").unlink()
    except OSError as error:
        raise StoreError(
            f"{target}: the backup cannot be written: {error.strerror or error}; name another file"
        ) from error
    return target


def _dump(location: Location, target: Path) -> None:
    """Write what pg_restore reads: the tables in the schema that the URL names."""
    program = shutil.which("pg_dump")
    if program is None or location.url is None:
        raise StoreError(
            f"{location.shown}: pg_dump is not there to back it up; install PostgreSQL's client programs "
            "(apt-get install postgresql-client), or back it up on the server"
        )
    password = location.url.password
    url = location.url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    with opened_engine(location) as engine, translated_errors(location), engine.connect() as connection:
        schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    done = subprocess.run(  # noqa: S603  # no shell is between
        [program, "--format=custom", "--no-owner", "--no-privileges", f"--schema={schema}", f"--file={target}", url],
        env={**os.environ, **({} if password is None else {"PGPASSWORD": str(password)})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"it ended with {done.returncode}"
        raise StoreError(f"{location.shown}: pg_dump failed: {said}; its version has to be the server's, or newer")


def _open_source(location: Location, source: Path) -> sqlite3.Connection:
    if not source.is_file():
        raise StoreError(unopenable(location))
    try:
        connection = connect_file(source, access=Access.WRITE)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
    except sqlite3.OperationalError:
        # On a medium that cannot be written there is nothing to keep apart from.
        if can_be_immutable(source):
            return connect_file(source, access=Access.IMMUTABLE)
        raise
    return connection


def can_be_immutable(path: Path) -> bool:
    """Return whether `path` can be read without locks: nothing can change it, and no changes wait beside it."""
    return os.access(path, os.R_OK) and not os.access(path.parent, os.W_OK) and has_no_journal(path)


def has_no_journal(path: Path) -> bool:
    """Return whether no changes wait beside a database."""
    journal = Path(f"{path}-wal")
    return not (journal.exists() and journal.stat().st_size > 0)


def _copy(live: sqlite3.Connection, target: Location, half: Path) -> None:
    with translated_errors(target), closing(connect_file(half, access=Access.CREATE)) as copy:
        # All pages in one step: a copy in several steps starts over whenever another process writes.
        live.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        problems = [str(row[0]) for row in copy.execute("PRAGMA integrity_check(10)")]
    if problems != ["ok"]:
        raise StoreError(
            f"{target.shown}: the copy is damaged ({problems[0]}), so the database is too; run: phototag db check"
        )
