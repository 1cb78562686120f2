"""The store: one database of photos and their tags, opened to read, and to write by one process at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from phototag.choices import CountBy
from phototag.database import Database, Notes, parse_location
from phototag.records import TaggedPhoto
from phototag.store import query as queries
from phototag.store.captures import Captures
from phototag.store.catalog_rows import CatalogRows
from phototag.store.chunks import Chunks
from phototag.store.keyword_exports import KeywordExports
from phototag.store.models import Models
from phototag.store.moves import Moves
from phototag.store.pairs import Pairs
from phototag.store.photos import Photos
from phototag.store.query import Query
from phototag.store.reviews import Reviews
from phototag.store.runs import Runs
from phototag.store.samples import Samples
from phototag.store.scores import Scores
from phototag.store.tag_changes import TagChanges, changed_tags
from phototag.store.tags import Tags

if TYPE_CHECKING:
    from phototag.store.shared_leases import SharedLeases


class Store:
    """A database of photos and their tags. Made by `Store.open`; close it, or use it in a `with`.

    What is in it is read and written through its parts: `photos`, `moves`, `pairs`, `tags`, `scores`, `captures`,
    `models`, `runs`, `samples`, `reviews`, `keyword_exports`, the `catalog` of all photos, the queue of `chunks` and
    the `notes` beside it.
    Everything that writes happens inside `writing`.
    One Store may be used from several threads, not from a forked process: only the parent writes.

    Raises:
        StoreError: the database cannot be read or written; so do all of its parts.

    >>> with phototag.Tagger("animals") as tagger, phototag.Store.open("photos.db") as store:
    ...     _ = tagger.tag(["inbox"], store)
    ...     paths = [photo.path for photo in store.query(phototag.Query(limit=2))]
    ...     with store.writing("my script"):
    ...         store.tags.set_human(paths[1], superclass="bird")
    ...     store.count(phototag.Query(source="human"))
    1
    """

    def __init__(self, database: Database) -> None:
        """Take over an open database; made by `Store.open`."""
        self._database = database
        self.location = database.location
        self.models = Models(database)
        self.photos = Photos(database)
        self.captures = Captures(database)
        self.moves = Moves(database)
        self.pairs = Pairs(database)
        self.scores = Scores(database, self.models)
        self.tags = Tags(database, self.models)
        self.reviews = Reviews(database)
        self.samples = Samples(database)
        self.keyword_exports = KeywordExports(database)
        self.catalog = CatalogRows(database, self.models)
        self.runs = Runs(database)
        self.chunks = Chunks(database)
        self.notes = Notes(database.location, database.engine)

    @classmethod
    def open(cls, location: str | Path | None = None, *, create: bool = True) -> Self:
        """Open the database at `location`, a path, a URL or None for the default; a new one is made.

        Raises:
            SchemaError: its schema is older than this phototag's (run: phototag db upgrade), or newer.
            StoreError: it is not there and `create` is false, or it cannot be made, opened or read.
        """
        return cls(Database.open(parse_location(location), create=create))

    def close(self) -> None:
        """Give back the lock and every connection. Closing twice is no error."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def writing(self, command: str, *, wait_seconds: float = 0.0) -> Iterator[Self]:
        """Hold the right to write, for "phototag `command`". May be entered again inside itself.

        While another process has it, it is asked for again for about `wait_seconds`: a watcher that tags gives it back
        within moments.

        Raises:
            LockedError: another process has it; the text says which.
            StoreError: the database cannot be written.
        """
        with self._database.writing(command, wait_seconds=wait_seconds):
            yield self

    def shared_leases(self, seconds: float) -> SharedLeases | None:
        """Return the leases of all computers, which end by themselves after so long; None where only one can be."""
        if self.location.url is None:
            return None
        from phototag.store.shared_leases import SharedLeases

        return SharedLeases(self._database, seconds=seconds)

    @contextmanager
    def answering(self, command: str, *, wait_seconds: float = 0.0) -> Iterator[Self]:
        """Hold the right to write what a human or a worker says: on a server it is had beside a command that writes.

        Raises:
            LockedError: another process has it; the text says which.
            StoreError: the database cannot be written.
        """
        with self._database.writing(command, wait_seconds=wait_seconds, beside=True):
            yield self

    @contextmanager
    def tagging(self, command: str) -> Iterator[Self]:
        """Be the only tagger of this database, for "phototag `command`", without yet holding the right to write.

        A watcher holds this for months; others may write in between, when it has nothing to do.

        Raises:
            LockedError: another tagger has it; the text says which.
            StoreError: the lock cannot be made there.
        """
        with self._database.tagging(command):
            yield self

    def query(self, query: Query) -> Iterator[TaggedPhoto]:
        """Return the photos that `query` asks for, streamed.

        Raises:
            StoreError: the database cannot be read, or holds rows that phototag did not write.
        """
        return self._database.stream(lambda connection: queries.find(connection, query))

    def count(self, query: Query) -> int:
        """Return how many photos `query` asks for, whatever its limit.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._database.read() as connection:
            return queries.count(connection, query)

    def count_by(self, query: Query, by: CountBy | str) -> Counter[tuple[str | None, ...]]:
        """Count the photos that `query` asks for, whatever its limit, by what they have: (value,) for most.

        By subclass it is (superclass, subclass); None is where a photo has none.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._database.read() as connection:
            return queries.count_by(connection, query, CountBy(by))

    def unknown_classes(self, query: Query) -> dict[str, list[str]]:
        """Return the classes that `query` names and nothing here does, each with the names that are most like it.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._database.read() as connection:
            return queries.unknown_classes(connection, query)

    def changed_tags(self, since: str | None = None) -> Iterator[TagChanges]:
        """Yield what became of tags since a position: pages of photos with their tags of now, and where to go on.

        Begin with None, which gives all tags, and keep the position of a page once its photos are dealt with; it is a
        text, and holds for this database. What models tag, retagging, reviews, undone reviews and tags that copies take
        over or photos lose are changes alike, by whichever process. A change is never left out, and a photo may come
        again, also with the tag it had; one that lost its tag comes without. Only the newest tag of a photo comes.
        Nothing is yielded while nothing changed.

        A position is worth nothing once the database is replaced by an older copy; that is noticed, and all tags come,
        unless the copy has newer changes by then. On a server, changes of the last minute come again each time.

        Raises:
            UsageError: `since` is no position.
            StoreError: the database cannot be read, or holds rows that phototag did not write.
        """
        return changed_tags(self._database, since)
