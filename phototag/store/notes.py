"""Small JSON notes beside a database: what a watcher does, which disks were mounted. Losing one loses no tag."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from phototag.files import read_regular, replacing
from phototag.store.location import Location

_MOST_BYTES = 1 << 30  # the groups of a million photos take a fifth of it


class Notes:
    """The notes beside one database; one in memory has none."""

    def __init__(self, location: Location) -> None:
        self._location = location

    def read(self, name: str) -> Any:
        """Return the note of that name; None if there is none that can be understood."""
        path = self._location.note_path(name)
        if path is None:
            return None
        try:
            return json.loads(read_regular(path, most_bytes=_MOST_BYTES))
        except (OSError, ValueError, RecursionError):
            return None

    def write(self, name: str, value: Any) -> None:
        """Replace the note as a whole. A disk that is full or read-only keeps the old one."""
        path = self._location.note_path(name)
        if path is None:
            return
        with suppress(OSError), replacing(path, private=True) as partial:
            # Paths may hold lone surrogates, which ASCII escapes keep.
            partial.write_text(json.dumps(value), encoding="ascii")
