"""Copies of a live database, through SQLite's own backup, never by copying the file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from phototag.errors import StoreError
from phototag.files import replacing
from phototag.store.connection import Access, connect_file, translated_errors, unopenable
from phototag.store.location import Location


def default_backup_path(path: Path, revision: str) -> Path:
    """Return a free name beside `path` that says which schema the backup has and when it was made."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    candidate = path.with_name(f"{path.name}.{revision}.{stamp}.bak.db")
    count = 1
    while candidate.exists():
        count += 1
        candidate = path.with_name(f"{path.name}.{revision}.{stamp}-{count}.bak.db")
    return candidate


def write_backup(location: Location, target: Path, *, overwrite: bool) -> Path:
    """Copy the SQLite database at `location` to `target`, check the copy, and give it its name only then.

    The copy is one file, without a journal beside it. Others may read and write the database meanwhile.

    Raises:
        StoreError: the target exists and `overwrite` is false, is the database itself, cannot be written, or
            the copy proves damaged.
    """
    source = location.path
    if source is None:
        raise StoreError(f"{location.shown}: not an SQLite file; back it up with its own tools, such as pg_dump")
    try:
        if target.exists() and target.samefile(source):
            raise StoreError(f"{target}: is the database itself; name another file for the backup")
        if target.exists() and not overwrite:
            raise StoreError(f"{target}: exists already; name another file, or add --overwrite")
        if not target.parent.is_dir():
            raise StoreError(f"{target}: its folder {target.parent} does not exist; make it first")
        with replacing(target, durable=True, private=True) as half:
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
