"""What photos' files say of themselves: when, where and with what they were taken, and their keywords."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, exists, select

from phototag.database import Database, captures, insert_rows, keywords, photos, tried_again
from phototag.records import NO_FACTS, CaptureFacts
from phototag.store.photos import chunked, clean_text, signed_64, touch
from phototag.text import clock_text


@dataclass(frozen=True, slots=True)
class Capture:
    """What a photo's file says of itself, and when that file was last changed, in nanoseconds since 1970.

    `sidecar_modified_ns` is when its newest sidecar was, None where it has none. Levels of a keyword are joined by "|",
    outermost first.
    """

    modified_ns: int
    facts: CaptureFacts = NO_FACTS
    keywords: tuple[str, ...] = ()
    sidecar_modified_ns: int | None = None


class Captures:
    """The captures of photos. All methods raise StoreError when the database cannot be read, or written."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_photo(self, photo_id: int) -> Capture | None:
        """Return what a photo says of itself, None where it was not read yet."""
        with self._database.read() as connection:
            row = connection.execute(select(captures).where(captures.c.photo_id == photo_id)).one_or_none()
            words = select(keywords.c.keyword).where(keywords.c.photo_id == photo_id).order_by(keywords.c.keyword)
            if row is None:
                return None
            found = tuple(connection.execute(words).scalars())
            return Capture(row.modified_ns, _facts(row), found, row.sidecar_modified_ns)

    def moments(self) -> dict[int, CaptureFacts]:
        """Return when photos were taken and by which camera, by photo id: of those whose files say both."""
        columns = (captures.c.photo_id, captures.c.taken_at, captures.c.camera, captures.c.camera_serial)
        both = captures.c.taken_at.is_not(None), captures.c.camera.is_not(None)
        with self._database.read() as connection:
            return {
                int(number): CaptureFacts(datetime.fromisoformat(taken), camera=camera, camera_serial=serial)
                for number, taken, camera, serial in connection.execute(select(*columns).where(*both))
            }

    def lacking(self) -> set[int]:
        """Return the ids of all photos whose files were not read for it: of older versions, and never readable ones."""
        unread = ~exists().where(captures.c.photo_id == photos.c.id)
        with self._database.read() as connection:
            return set(connection.execute(select(photos.c.id).where(unread)).scalars())

    def sidecar_times(self) -> dict[int, int]:
        """Return when the sidecars of photos were last changed as they were read, by photo id."""
        read = captures.c.sidecar_modified_ns.is_not(None)
        with self._database.read() as connection:
            statement = select(captures.c.photo_id, captures.c.sidecar_modified_ns).where(read)
            return {int(row.photo_id): int(row.sidecar_modified_ns) for row in connection.execute(statement)}

    @tried_again
    def save(self, found: Mapping[int, Capture]) -> None:
        """Save what photos say of themselves, by photo id; not of one whose file has changed since."""
        with self._database.write() as connection:
            current: dict[int, Capture] = {}
            for chunk in chunked(list(found)):
                rows = connection.execute(select(photos.c.id, photos.c.modified_ns).where(photos.c.id.in_(chunk)))
                current |= {
                    int(row.id): found[row.id]
                    for row in rows
                    if row.modified_ns == signed_64(found[row.id].modified_ns)
                }
            replace_captures(connection, current)
            touch(connection, list(current))


def replace_captures(connection: Connection, found: Mapping[int, Capture]) -> None:
    """Save what photos say of themselves, by photo id, instead of what was saved of them before."""
    drop_captures(connection, list(found))
    insert_rows(connection, captures, [_values(number, capture) for number, capture in found.items()])
    insert_rows(
        connection, keywords, [row for number, capture in found.items() for row in _keyword_rows(number, capture)]
    )


def drop_captures(connection: Connection, ids: Sequence[int]) -> None:
    """Forget what these photos said of themselves."""
    for chunk in chunked(ids):
        for table in (captures, keywords):
            connection.execute(delete(table).where(table.c.photo_id.in_(chunk)))


def _values(photo_id: int, capture: Capture) -> dict[str, Any]:
    facts = capture.facts
    return {
        "photo_id": photo_id,
        "modified_ns": signed_64(capture.modified_ns),
        "sidecar_modified_ns": capture.sidecar_modified_ns,
        "taken_at": None if facts.taken_at is None else clock_text(facts.taken_at),
        "utc_offset_minutes": facts.utc_offset_minutes,
        "camera": facts.camera,
        "camera_serial": facts.camera_serial,
        "lens": facts.lens,
        "latitude": facts.latitude,
        "longitude": facts.longitude,
        "rating": facts.rating,
    }


def _keyword_rows(photo_id: int, capture: Capture) -> Iterator[dict[str, Any]]:
    # In one line each, whatever the file holds.
    for keyword in dict.fromkeys(" ".join(clean_text(keyword).splitlines()) for keyword in capture.keywords):
        yield {"photo_id": photo_id, "keyword": keyword}


def _facts(row: Any) -> CaptureFacts:
    return CaptureFacts(
        taken_at=None if row.taken_at is None else datetime.fromisoformat(row.taken_at),
        utc_offset_minutes=row.utc_offset_minutes,
        camera=row.camera,
        camera_serial=row.camera_serial,
        lens=row.lens,
        latitude=row.latitude,
        longitude=row.longitude,
        rating=row.rating,
    )
