"""Small JSON notes beside a database: what a watcher does, which disks were mounted. Losing one loses no tag.

They are files beside a file; on a server they are in a table, for all computers that use it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from phototag.database.location import Location
from phototag.database.tables import notes
from phototag.files import read_regular, replacing

_MOST_BYTES = 1 << 30  # the groups of a million photos take a fifth of it


class Notes:
    """The notes beside one database; one in memory has none."""

    def __init__(self, location: Location, engine: Engine) -> None:
        self._location, self._engine = location, engine

    def read(self, name: str) -> Any:
        """Return the note of that name; None if there is none that can be understood."""
        if self._location.url is not None:
            with suppress(SQLAlchemyError), self._engine.connect() as connection:
                return read_note(connection, name)
            return None
        path = self._location.note_path(name)
        if path is None:
            return None
        try:
            return json.loads(read_regular(path, most_bytes=_MOST_BYTES))
        except (OSError, ValueError, RecursionError):
            return None

    def write(self, name: str, value: Any) -> None:
        """Replace the note as a whole. A disk that is full or read-only keeps the old one, and so does a server."""
        if self._location.url is not None:
            with suppress(SQLAlchemyError), self._engine.begin() as connection:
                write_note(connection, name, value)
            return
        path = self._location.note_path(name)
        if path is None:
            return
        with suppress(OSError), replacing(path, private=True) as partial:
            # Paths may hold lone surrogates, which ASCII escapes keep.
            partial.write_text(json.dumps(value), encoding="ascii")

    def names(self) -> list[str]:
        """Return the names of all notes, but for those that say who holds a lock."""
        if self._location.url is not None:
            with suppress(SQLAlchemyError), self._engine.connect() as connection:
                names = connection.execute(select(notes.c.name)).scalars().all()
                return [name for name in names if not name.startswith("lock.")]
            return []
        example = self._location.note_path("")
        if example is None:
            return []
        before = example.name.removesuffix(".json")
        files = (file.name for file in example.parent.glob("*.json") if file.name.startswith(before))
        found = (name.removeprefix(before).removesuffix(".json") for name in files)
        # Others have dots: those of locks, and of files whose names begin alike.
        return [name for name in found if name and name != "lock" and "." not in name]


def read_note(connection: Connection, name: str) -> Any:
    """Return the note of that name in the table; None if there is none that can be understood."""
    text = connection.execute(select(notes.c.value).where(notes.c.name == name)).scalar_one_or_none()
    with suppress(ValueError, RecursionError):
        return None if text is None else json.loads(text)
    return None


def write_note(connection: Connection, name: str, value: Any) -> None:
    """Put a note into the table of PostgreSQL, instead of the one of that name."""
    # Here, and not at the top: a file needs none of it, and the import would cost every query its time.
    from sqlalchemy.dialects.postgresql import insert

    row = {"name": name, "value": json.dumps(value), "changed_at": func.now()}
    statement = insert(notes).values(row)
    new = {key: statement.excluded[key] for key in ("value", "changed_at")}
    connection.execute(statement.on_conflict_do_update(index_elements=[notes.c.name], set_=new))
