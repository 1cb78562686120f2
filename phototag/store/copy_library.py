"""A library that moves: all that one database holds, copied into an empty other one; each a file or on a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, exists, func, insert, select

from phototag.errors import StoreError
from phototag.store.connection import untrusted_rows
from phototag.store.database import Database
from phototag.store.location import parse_location
from phototag.store.notes import Notes
from phototag.store.server import copy_rows
from phototag.store.tables import chunks, leases, metadata, notes, revision

# What computers tell each other for minutes, and what a database counts for itself, stays where it is; notes are files
# beside a file.
_TABLES = [table for table in metadata.sorted_tables if table not in (leases, chunks, revision, notes)]
_ROWS_AT_ONCE = 1000
_CACHE_KIB = 64 << 10


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What was copied from where to where: rows by table."""

    source: str
    target: str
    rows: Mapping[str, int]


def copy_database(
    source: str | Path | None, target: str | Path, *, progress: Callable[[int, int], object] = lambda done, total: None
) -> CopyReport:
    """Copy all rows of a database, as they are at one moment, into an empty one, which is made where there is none.

    Ids stay what they are. It happens as a whole or not at all, in one transaction of the target; of the source nothing
    is changed, and others may write to it meanwhile. `progress` is told how many rows are copied, and how many there
    are.

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
                    raise StoreError(f"{to.shown}: holds {table.name} already; name an empty database")
            counts = {
                table.name: int(reader.execute(select(func.count()).select_from(table)).scalar_one())
                for table in _TABLES
            }
            copied = _Counter(sum(counts.values()), progress)
            _fill(writer, {table: copied.passing(_rows(old, reader, table)) for table in _TABLES})
        _copy_notes(Notes(old.location, old.engine), Notes(new.location, new.engine))
        return CopyReport(old.location.shown, to.shown, counts)
