"""A library that moves: all that one database holds, copied into an empty other one; each a file or on a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Table, exists, func, insert, select

from phototag.database.connection import untrusted_rows
from phototag.database.database import Database
from phototag.database.location import parse_location
from phototag.database.notes import Notes
from phototag.database.server import copy_rows
from phototag.database.tables import chunks, leases, metadata, notes, revision
from phototag.errors import StoreError

# What computers tell each other for minutes, and what a database counts for itself, stays where it is; notes are files
# beside a file.
_TABLES = [table for table in metadata.sorted_tables if table not in (leases, chunks, revision, notes)]
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What was copied from where to where; `rows` by table."""

    source: str
    target: str
    rows: Mapping[str, int]


def copy_database(
    source: str | Path | None, target: str | Path, *, progress: Callable[[int, int], object]
) -> CopyReport:
    """Copy all rows of a database, as they are at one moment, into an empty one, which is made where there is none.

    Ids stay what they are. All of it happens in one transaction of the target, or nothing does. In the source nothing
    is changed, and others may write to it meanwhile. `progress` is told how many rows were copied since the last time,
    and how many there are in all.

    Raises:
        LockedError: another process writes to the target.
        SchemaError: the schema of one of them is older or newer.
        StoreError: there is no source, the target holds something, or one of them cannot be read or written.
    """
    to = parse_location(target)
    if to.in_memory:
        raise StoreError(f"{to.shown}: a database in memory is gone with its process; name a file or a server's URL")
    with (
        closing(Database.open(parse_location(source), create=False)) as old,
        closing(Database.open(to, create=True)) as new,
    ):
        with old.read() as reader, new.writing("db copy", wait_seconds=0), new.write(durable=True) as writer:
            for table in _TABLES:
                if writer.execute(select(exists().select_from(table))).scalar_one():
                    raise StoreError(f"{to.shown}: is not empty, it holds {table.name}; name another one")
            count = select(func.count())
            rows = {table.name: int(reader.execute(count.select_from(table)).scalar_one()) for table in _TABLES}
            total = sum(rows.values())
            _prepare(writer)
            for table in _TABLES:
                _fill(writer, table, _pages(old, reader, table, lambda number: progress(number, total)))
            _finish(writer)
        _copy_notes(Notes(old.location, old.engine), Notes(new.location, new.engine))
        return CopyReport(old.location.shown, to.shown, rows)


def _columns(table: Table) -> list[Column[Any]]:
    """Return the columns that are copied: not those that each database fills by what it counts."""
    return [column for column in table.columns if column.server_default is None]


def _pages(
    database: Database, reader: Connection, table: Table, progress: Callable[[int], object]
) -> Iterator[Sequence[Sequence[Any]]]:
    with untrusted_rows(database.location):
        statement = select(*_columns(table)).execution_options(yield_per=_ROWS_AT_ONCE)
        for page in reader.execute(statement).partitions():
            yield page
            progress(len(page))


def _prepare(writer: Connection) -> None:
    if writer.dialect.name == "sqlite":
        # A photo may point to one that comes after it. PostgreSQL looks once all of a table is there.
        writer.exec_driver_sql("PRAGMA defer_foreign_keys=ON")


def _fill(writer: Connection, table: Table, pages: Iterator[Sequence[Sequence[Any]]]) -> None:
    names = [column.name for column in _columns(table)]
    if writer.dialect.name == "postgresql":
        copy_rows(writer, table, names, chain.from_iterable(pages))
        return
    for page in pages:
        writer.execute(insert(table), [dict(zip(names, row, strict=True)) for row in page])


def _finish(writer: Connection) -> None:
    """Let new rows on a server get ids after those that were copied, and its plans know how many there are."""
    if writer.dialect.name != "postgresql":
        return
    for table in _TABLES:
        if table.primary_key.columns.keys() == ["id"]:
            last = func.max(table.c.id)
            sequence = func.pg_get_serial_sequence(table.name, "id")
            writer.execute(select(func.setval(sequence, last)).having(last.is_not(None)))
        writer.exec_driver_sql(f"ANALYZE {table.name}")


def _copy_notes(old: Notes, new: Notes) -> None:
    for name in old.names():
        new.write(name, old.read(name))
