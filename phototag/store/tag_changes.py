"""Which tags changed since a position that the caller keeps, by tagging, by retagging or by a person.

Nothing is written for this. A tag says when it was given, an undone review when it was undone, and a photo when it was
last written; and these moments never go back within a database, see `Database.next_moment`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, func, or_, select, union

from phototag.database import Database, photos, reviews, tags
from phototag.errors import UsageError
from phototag.records import Source, TaggedPhoto
from phototag.store.photos import chunked
from phototag.store.query import joined, tagged_columns, tagged_photo

_Position: TypeAlias = tuple[datetime, int]
"""All changes before the moment are known, and those of that moment for photo ids up to the number."""

_LAST_ID = 2**63 - 1
# Several computers may write to a server at once: a transaction may be seen after one with a later moment.
_SERVER_OVERLAP = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class TagChanges:
    """Photos whose tag may have changed, as they are now, and the position to go on from once they are dealt with."""

    photos: Sequence[TaggedPhoto]
    position: str


def changed_tags(database: Database, since: str | None) -> Iterator[TagChanges]:
    """Yield the changes since a position, in pages; see `Store.changed_tags`."""
    begin = None if since is None else _parse(since)
    with database.read() as connection:
        newest = _newest(connection)
        if newest is None:
            return
        if begin is not None and newest < begin[0]:
            begin = None  # an older copy of the database took its place
        elif begin is not None and connection.dialect.name != "sqlite":
            begin = begin[0] - _SERVER_OVERLAP, _LAST_ID
        ids = [] if begin is None else _changed_otherwise(connection, begin[0])
        columns = tagged_columns(connection)
    # What changes from here on has a later moment. The last page waits, to say that all before has been dealt with.
    waiting = None
    for page in chain(_photos(database, ids, str(since)), _tagged(database, columns, begin, newest)):
        if waiting is not None:
            yield waiting
        waiting = page
    if waiting is not None:
        yield TagChanges(waiting.photos, f"{newest} {_LAST_ID}")


def _parse(text: str) -> _Position:
    at, _, photo_id = text.rpartition(" ")
    try:
        return datetime.fromisoformat(at).astimezone(UTC), int(photo_id)
    except ValueError as error:
        raise UsageError(f"{text!r} is no position in the changes of tags; None begins with all tags") from error


def _newest(connection: Connection) -> datetime | None:
    columns = (tags.c.tagged_at, photos.c.last_seen_at, reviews.c.undone_at)
    moments = (connection.execute(select(func.max(column))).scalar() for column in columns)
    return max((moment for moment in moments if moment is not None), default=None)


def _changed_otherwise(connection: Connection, after: datetime) -> list[int]:
    """Return the ids of photos whose tag may have changed without being given after that moment, or that were moved.

    A copy takes over a human's tag with its moment; a model's tag goes with the content it was of; and when a review is
    undone, the tag before it comes back, also to copies.
    """
    rewritten = (
        select(photos.c.id)
        .outerjoin_from(photos, tags, tags.c.photo_id == photos.c.id)
        .where(photos.c.last_seen_at > after)
        .where(
            or_(
                tags.c.photo_id.is_(None),
                tags.c.source == Source.HUMAN.value,
                tags.c.tagged_at < photos.c.last_seen_at,
            )
        )
    )
    undone = reviews.c.undone_at > after
    copies = select(photos.c.id).where(photos.c.content_hash.in_(select(reviews.c.content_hash).where(undone)))
    return sorted(connection.execute(union(rewritten, select(reviews.c.photo_id).where(undone), copies)).scalars())


def _photos(database: Database, ids: Sequence[int], position: str) -> Iterator[TagChanges]:
    for chunk in chunked(ids):
        with database.read() as connection:
            rows = connection.execute(joined(select(*tagged_columns(connection))).where(photos.c.id.in_(chunk)))
            page = [tagged_photo(row) for row in rows]
        yield TagChanges(page, position)


def _tagged(
    database: Database, columns: Sequence[ColumnElement[Any]], begin: _Position | None, newest: datetime
) -> Iterator[TagChanges]:
    """Yield the photos whose tag was given after a position, in the order of these moments."""
    at, photo_id = tags.c.tagged_at, tags.c.photo_id
    statement = joined(select(photo_id, *columns)).where(at <= newest)
    first = None
    if begin is not None:
        first = (at >= begin[0]) & or_(at > begin[0], photo_id > begin[1])
    pages = database.pages(
        statement, (at, photo_id), lambda _, rows: [(row.photo_id, tagged_photo(row)) for row in rows], first=first
    )
    for page in pages:
        last_id, last = page[-1]
        yield TagChanges([photo for _, photo in page], f"{last.tagged_at} {last_id}")
