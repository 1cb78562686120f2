"""What the gallery reads: all photos with their tags at once, one photo in full, embeddings, and signs of change."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select
from sqlalchemy.exc import SQLAlchemyError

from phototag.database import (
    Database,
    FileKey,
    captures,
    driver_connection,
    keywords,
    models,
    photos,
    predictions,
    tags,
    translate,
    translated_errors,
)
from phototag.database import revision as counter
from phototag.store.models import Models
from phototag.store.photos import chunked
from phototag.store.query import NOVELTY, PLAIN_ROWS_AT_ONCE, joined, plain_rows
from phototag.store.reasons import least_scores, reason_column
from phototag.store.scores import scores_of

_HASH_START_BYTES = 4

GALLERY_COLUMNS = (
    *("id", "path_bytes", "modified_ns", "hash_start", "width", "height", "state", "follows"),
    *("superclass", "subclass", "rank", "superclass_score", "subclass_score", "novelty"),
    *("source", "model_id", "tagged_at", "reason"),
    *("taken_at", "camera", "camera_serial", "keywords", "written"),
)
GalleryRow = tuple[Any, ...]
"""The values of `GALLERY_COLUMNS`; `hash_start` is 4 bytes, `tagged_at` a text or a moment, as the database has it.

`taken_at` is a text without a zone, `keywords` are all of a photo, with line breaks between them, or None. `written`
is the sum of the columns of that name, of photo and tag.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoFacts:
    """The columns of a photo and of its tag that `KnownPhoto` and `Tag` do not have."""

    error: str | None
    first_seen_at: datetime
    last_seen_at: datetime
    model: str | None
    tagged_at: datetime | None


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which transactions a database held at a moment: all that changed photos have a number above `number`, since.

    `database` tells it from others, and `reasons` are what reasons follow from by model, see `least_scores`. All of it
    fits into JSON.
    """

    database: list[int]
    number: int
    reasons: dict[str, list[list[Any]]]

    def is_before(self, other: Stamp) -> bool:
        """Return whether what is different at `other` lies in changed and removed photos alone."""
        return (
            self.database == other.database
            and self.number <= other.number
            # More that is noted of a model is of tags that it gave since, but the first, which is of all its tags.
            and all(
                other.reasons.get(model, [])[: max(len(noted), 1)] == noted for model, noted in self.reasons.items()
            )
        )


class CatalogMoment:
    """The photos as they were at one moment. Made by `CatalogRows.at_one_moment`, for as long as that is open."""

    def __init__(self, connection: Connection, database: Database) -> None:
        self._connection = connection
        # First, as it is the first statement that decides which moment this is.
        self.stamp = _stamp(connection, database)

    def count(self) -> int:
        """Return how many photos there are, the missing ones included."""
        return int(self._connection.execute(select(func.count()).select_from(photos)).scalar_one())

    def ids(self) -> list[int]:
        """Return the ids of all photos."""
        return list(self._connection.execute(select(photos.c.id).order_by(photos.c.id)).scalars())

    def photos(self, ids: Sequence[int] | None = None) -> Iterator[Sequence[GalleryRow]]:
        """Yield photos with their tags by id, some at a time: all, or those with these ids."""
        statement = _rows(self._connection)
        if ids is None:
            yield from plain_rows(self._connection, statement)
        else:
            for chunk in chunked(sorted(set(ids))):
                yield from plain_rows(self._connection, statement.where(photos.c.id.in_(chunk)))

    def changed(self, before: Stamp) -> list[int]:
        """Return the ids of the photos that were written since, and perhaps of others."""
        found: set[int] = set()
        for table, key in ((photos, photos.c.id), (tags, tags.c.photo_id)):
            since = table.c.written > before.number
            if self._connection.dialect.name == "postgresql":
                # What came with its numbers from another server may have higher ones than there are.
                since &= table.c.written < func.txid_snapshot_xmax(func.txid_current_snapshot())
            found.update(self._connection.execute(select(key).where(since)).scalars())
        return sorted(found)

    def written(self) -> int:
        """Return the sum of all that is `written` of photos and tags."""
        sums = (self._connection.execute(select(func.sum(table.c.written))).scalar() for table in (photos, tags))
        return sum(int(found or 0) for found in sums)


def _stamp(connection: Connection, database: Database) -> Stamp | None:
    """Return the stamp of this transaction's moment, None where changes have no numbers."""
    key = list(database.location.file_key() or ())
    match connection.dialect.name:
        case "sqlite":
            number = connection.execute(select(counter.c.number)).scalar()
        case "postgresql":
            # One that was under way then may be committed later, with a lower number than others have.
            number = connection.execute(select(func.txid_snapshot_xmin(func.txid_current_snapshot()) - 1)).scalar_one()
            key = [int(connection.exec_driver_sql("SELECT 'revision'::regclass::oid::bigint").scalar_one())]
        case _:
            number = None
    return None if number is None else Stamp(key, int(number), least_scores(connection))


ScoredContentRow = tuple[int, bytes, bytes]
"""photo_id, hash of the content that was scored, packed scores."""


class CatalogRows:
    """The photos as the catalog reads them. All methods raise StoreError when the database cannot be read."""

    def __init__(self, database: Database, models: Models) -> None:
        self._database, self._models = database, models

    @contextmanager
    def at_one_moment(self) -> Iterator[CatalogMoment]:
        """Read all photos, or those that have changed, in one transaction."""
        with self._database.read() as connection:
            yield CatalogMoment(connection, self._database)

    def photos(self, ids: Sequence[int] | None = None) -> Iterator[Sequence[GalleryRow]]:
        """Yield photos with their tags by id, some at a time, of one moment: all, or those with these ids."""
        with self.at_one_moment() as now:
            yield from now.photos(ids)

    def facts(self, photo_id: int) -> PhotoFacts | None:
        """Return what `Photos.find` does not tell of a photo, None if there is none of that id."""
        columns = (
            photos.c.error,
            photos.c.first_seen_at,
            photos.c.last_seen_at,
            models.c.name.label("model"),
            tags.c.tagged_at,
        )
        with self._database.read() as connection:
            row = connection.execute(joined(select(*columns)).where(photos.c.id == photo_id)).one_or_none()
            return None if row is None else PhotoFacts(**row._mapping)

    def scores(self, model_id: int, ids: Sequence[int] | None = None) -> Iterator[list[ScoredContentRow]]:
        """Yield what a model scored, some at a time: all, also what photos held before, or what these hold now."""
        columns = select(predictions.c.photo_id, predictions.c.content_hash, predictions.c.scores)
        with self._database.read() as connection:
            owner = self._models.score_owner(connection, model_id)
            if ids is None:
                # As a sum it keeps SQLite from the index, by which it would jump to and fro in the table.
                every = columns.where(predictions.c.model_id + 0 == owner)
                result = connection.execution_options(yield_per=PLAIN_ROWS_AT_ONCE).execute(every)
                for part in result.partitions(PLAIN_ROWS_AT_ONCE):
                    yield [(row[0], row[1], row[2]) for row in part]
                return
            now = columns.join_from(predictions, photos, photos.c.id == predictions.c.photo_id).where(
                predictions.c.model_id == owner, predictions.c.content_hash == photos.c.content_hash
            )
            for chunk in chunked(sorted(set(ids))):
                found = [(row[0], row[1], row[2]) for row in connection.execute(now.where(photos.c.id.in_(chunk)))]
                known = {row[0] for row in found}
                left = select(photos.c.id, photos.c.content_hash).where(
                    photos.c.id.in_([number for number in chunk if number not in known]),
                    photos.c.content_hash.is_not(None),
                )
                # A copy may have been tagged from the scores that are stored under another name.
                copies = [(int(row.id), bytes(row.content_hash)) for row in connection.execute(left)]
                elsewhere = scores_of(connection, owner, [content for _, content in copies]) if copies else {}
                found += [(number, content, elsewhere[content]) for number, content in copies if content in elsewhere]
                yield found

    def change_sign(self) -> ChangeSign:
        """Return a sign of writes by other connections, also of this store, on a connection that is kept; close it."""
        self._database.refuse_if_closed()
        return ChangeSign(self._database)


def _rows(connection: Connection) -> Select[Any]:
    return (
        select(
            photos.c.id,
            photos.c.path_bytes,
            photos.c.modified_ns,
            func.substr(photos.c.content_hash, 1, _HASH_START_BYTES),
            photos.c.width,
            photos.c.height,
            photos.c.state,
            photos.c.lead_id.is_not(None),
            tags.c.superclass,
            tags.c.subclass,
            tags.c.rank,
            tags.c.superclass_score,
            tags.c.subclass_score,
            NOVELTY,
            tags.c.source,
            tags.c.model_id,
            tags.c.tagged_at,
            reason_column(connection),
            captures.c.taken_at,
            captures.c.camera,
            captures.c.camera_serial,
            select(func.aggregate_strings(keywords.c.keyword, "\n"))
            .where(keywords.c.photo_id == photos.c.id)
            .scalar_subquery(),
            photos.c.written + func.coalesce(tags.c.written, 0),
        )
        .outerjoin_from(photos, tags, tags.c.photo_id == photos.c.id)
        .outerjoin(captures, captures.c.photo_id == photos.c.id)
        .order_by(photos.c.id)
    )


class ChangeSign:
    """A cheap value that differs once something else wrote to a database; see `CatalogRows.change_sign`."""

    def __init__(self, database: Database) -> None:
        self._database, self._engine, self._location = database, database.engine, database.location
        self._file: FileKey | None = None
        self._connection: Connection | None = None
        if not self._location.in_memory:  # else no other process can write to it
            self._connect()

    @property
    def own_changes(self) -> int:
        """How many transactions this store wrote to a server."""
        return self._database.own_changes

    def is_own(self, before: object, after: object, changes: int) -> bool:
        """Return whether all between two values are `changes` of this store's: on a server others write at any time."""
        return not isinstance(before, int) or not isinstance(after, int) or after - before == changes

    def read(self) -> object:
        """Return the value of now; may be asked for from any thread, by one at a time.

        Raises:
            StoreError: the database cannot be read.
        """
        if self._connection is None:
            return None
        file = self._location.file_key()
        if file not in (None, self._file):
            # Another database lies there now; the old one, which this connection still has, never changes again.
            self._connect()
        try:
            if self._connection.dialect.name == "sqlite":
                # Outside of a transaction: within one, nothing ever changes.
                raw = driver_connection(self._connection)
                return self._file, raw.execute("PRAGMA data_version").fetchone()
            return self._connection.execute(select(counter.c.number)).scalar_one()
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise translate(error, self._location) from error

    def close(self) -> None:
        """Give the connection back. Closing twice is no error."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> None:
        # Before the file is opened: one that comes in between is noticed with the next reading.
        file = self._location.file_key()
        with translated_errors(self._location):
            connection = self._engine.connect()
        self.close()
        if self._location.url is not None:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        self._connection, self._file = connection, file
