"""Reading a whole library quickly: rows as the database has them, without SQLAlchemy converting each value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, Select

# Few enough for little memory, many enough for little overhead.
ROWS_AT_ONCE = 16_384


def plain_rows(connection: Connection, statement: Select[Any]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """The rows of a statement, many at a time; in SQLite moments are texts in UTC, as they are stored there."""
    if connection.dialect.name == "sqlite":
        # Nothing here needs SQLAlchemy to convert it, which takes as long again as reading a million rows.
        with closing(connection.execute(statement)) as result:
            while result.cursor is not None and (part := result.cursor.fetchmany(ROWS_AT_ONCE)):
                yield part
    else:
        result = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(statement)
        for rows in result.partitions(ROWS_AT_ONCE):
            yield [tuple(row) for row in rows]
