"""Where a database lies: an SQLite file, the memory, or the URL of a PostgreSQL server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from phototag import settings
from phototag.errors import StoreError

FileKey = tuple[int, int]
"""What tells a file from another one that takes its place: device and inode."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a database lies. `path` for an SQLite file, `url` for a server, neither for the memory.

    `shown`, which is also its text, names it in messages and never holds a password. `is_default` says that phototag
    chose the place, and so may make its folder.
    """

    shown: str
    path: Path | None = None
    url: URL | None = None
    is_default: bool = False

    def __str__(self) -> str:
        return self.shown

    @property
    def in_memory(self) -> bool:
        """Whether the database lives and dies with its one connection."""
        return self.path is None and self.url is None

    @property
    def lock_path(self) -> Path | None:
        """The file whose lock is the right to write; None where there is none: in memory, and on a server."""
        if self.path is not None:
            # Through a link or by its own name, it is one database.
            real = self.path.resolve()
            return real.with_name(f"{real.name}.lock")
        return None

    def note_path(self, name: str) -> Path | None:
        """Return the file of a small note of that name beside the lock; None where there is no such file."""
        lock = self.lock_path
        return None if lock is None else lock.with_name(f"{lock.name.removesuffix('.lock')}.{name}.json")

    def file_key(self) -> FileKey | None:
        """Return what tells the file that lies there now from one that takes its place, as from a backup.

        None where there is none, or the database is no file. What is kept of a database in memory is kept by this.
        """
        try:
            status = None if self.path is None else self.path.stat()
        except OSError:
            return None
        return None if status is None else (status.st_dev, status.st_ino)


def parse_location(location: str | Path | Location | None) -> Location:
    """Read a location: nothing is the default, a text with '://' is a URL, anything else is a path.

    Raises:
        StoreError: the URL cannot be understood, or needs an SQLite feature that phototag does not offer.
    """
    if isinstance(location, Location):
        return location
    if location is None:
        path = settings.default_database()
        return Location(shown=str(path), path=path, is_default=True)
    if isinstance(location, str) and "://" in location:
        return _parse_url(location)
    if not str(location):
        raise StoreError("the database has an empty name; give a file, or leave --db away for the default")
    path = settings.full_path(location)
    return Location(shown=_printable(path), path=path)


def _parse_url(text: str) -> Location:
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):
        # Neither the text nor the parser's own words: both may quote the password.
        scheme = text.partition("://")[0]
        raise StoreError(
            f"{scheme}://…: not a database URL; write it like postgresql://user:password@host/name"
        ) from None
    if backend == "postgresql":
        shown = URL.create(url.drivername, url.username, None, url.host, url.port, url.database)
        return Location(shown=shown.render_as_string(), url=url)
    if backend != "sqlite":
        raise StoreError(f"{backend}://…: no such kind of database is known; use a file or a postgresql:// URL")
    if url.get_driver_name() != "pysqlite" or url.query or (url.database or "").startswith("file:"):
        raise StoreError(f"{backend}://…: phototag opens SQLite files itself; give the plain path of the file")
    if url.database in (None, "", ":memory:"):
        return Location(shown="sqlite://")
    path = settings.full_path(url.database or "")
    return Location(shown=_printable(path), path=path)


def _printable(path: Path) -> str:
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
