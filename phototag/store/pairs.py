"""Pairs: two files that are one photo. The lead decides, and the other has its tag."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from phototag.database import (
    TAG_NAMES,
    Database,
    captures,
    insert_row,
    insert_rows,
    path_hash,
    photos,
    tags,
    tried_again,
)
from phototag.records import Photo, PhotoState, Source
from phototag.store.photos import KnownPhoto, chunked, known_photos, lock_photos, photo_values


class Pairs:
    """Which photos decide for which. All methods raise StoreError when the database cannot be read, or written."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @tried_again
    def join(self, pairs: Sequence[tuple[Photo, int]]) -> None:
        """Let files that are not read follow photos, by id: they get rows, and the tags and captures of these."""
        with self._database.write() as connection:
            now = self._database.next_moment()
            joined = []
            for photo, lead_id in pairs:
                values = photo_values(photo)
                kept = ("id", "size_bytes", "modified_ns", "content_hash")
                columns = select(*(photos.c[name] for name in kept))
                at = path_hash(photos.c.path_bytes) == values["path_bytes"]
                row = connection.execute(columns.where(at)).one_or_none()
                same = row is not None and all(getattr(row, name) == values[name] for name in kept[1:3])
                values |= {
                    "content_hash": row.content_hash if row is not None and same else None,
                    "state": PhotoState.OK.value,
                    "missing_since": None,
                    "error_kind": None,
                    "error": None,
                    "attempts": 0,
                    "last_seen_at": now,
                    "lead_id": lead_id,
                }
                if row is None:
                    joined.append((insert_row(connection, photos, values | {"first_seen_at": now}), lead_id))
                else:
                    connection.execute(update(photos).where(photos.c.id == row.id).values(**values))
                    joined.append((int(row.id), lead_id))
            _join(connection, joined)
            for partner_id, lead_id in joined:
                _copy_capture(connection, partner_id, lead_id)

    @tried_again
    def lead(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Let known photos that cannot be read follow others, by ids: partner and lead."""
        with self._database.write() as connection:
            for partner_id, lead_id in pairs:
                connection.execute(update(photos).where(photos.c.id == partner_id).values(lead_id=lead_id))
            _join(connection, pairs)

    @tried_again
    def release(self, ids: Sequence[int]) -> None:
        """Let photos decide for themselves again. They keep their tags until they did."""
        with self._database.write() as connection:
            for chunk in chunked(ids):
                connection.execute(update(photos).where(photos.c.id.in_(chunk)).values(lead_id=None))

    def partners_of(self, leads: Sequence[int]) -> dict[int, list[KnownPhoto]]:
        """Return the photos that follow these, by the ids of their leads."""
        found: dict[int, list[KnownPhoto]] = {}
        with self._database.read() as connection:
            for chunk in chunked(leads):
                for row in known_photos(connection, photos.c.lead_id.in_(chunk), order_by=(photos.c.id,)):
                    found.setdefault(row.lead_id or 0, []).append(row)
        return found


def tag_partners(connection: Connection, leads: Collection[int]) -> None:
    """Give the partners of photos, by id, the tags of these. A human's tag stays where the lead's is a model's."""
    for chunk in chunked(sorted(leads)):
        lock_photos(connection, photos.c.lead_id.in_(chunk))
        columns = (tags.c[name] for name in TAG_NAMES)
        of_lead = select(photos.c.id.label("photo_id"), *columns).join(tags, tags.c.photo_id == photos.c.lead_id)
        new = [dict(row._mapping) for row in connection.execute(of_lead.where(photos.c.lead_id.in_(chunk)))]
        if not new:
            continue
        ids = [row["photo_id"] for row in new]
        by_human = tags.c.source == Source.HUMAN.value
        said = set(connection.execute(select(tags.c.photo_id).where(tags.c.photo_id.in_(ids), by_human)).scalars())
        new = [row for row in new if row["source"] == Source.HUMAN.value or row["photo_id"] not in said]
        for part in chunked([row["photo_id"] for row in new]):
            connection.execute(delete(tags).where(tags.c.photo_id.in_(part)))
        insert_rows(connection, tags, new)


def _join(connection: Connection, pairs: Sequence[tuple[int, int]]) -> None:
    """Tag partners as their leads are; what a human said of a partner alone is said of both."""
    lock_photos(connection, photos.c.id.in_([number for pair in pairs for number in pair]))
    of_photos = select(tags.c.photo_id, *(tags.c[name] for name in TAG_NAMES))
    for partner_id, lead_id in pairs:
        found = {
            int(row["photo_id"]): row
            for row in connection.execute(of_photos.where(tags.c.photo_id.in_([partner_id, lead_id]))).mappings()
        }
        said, have = found.get(partner_id), found.get(lead_id)
        if said is not None and said["source"] == Source.HUMAN.value and (have is None or have["source"] != "human"):
            connection.execute(delete(tags).where(tags.c.photo_id == lead_id))
            connection.execute(insert(tags), {**said, "photo_id": lead_id})
    tag_partners(connection, {lead_id for _, lead_id in pairs})


def _copy_capture(connection: Connection, partner_id: int, lead_id: int) -> None:
    found = connection.execute(select(captures).where(captures.c.photo_id == lead_id)).mappings().one_or_none()
    if found is None:
        return
    modified_ns = connection.execute(select(photos.c.modified_ns).where(photos.c.id == partner_id)).scalar_one()
    values: dict[str, Any] = {**found, "photo_id": partner_id, "modified_ns": modified_ns}
    connection.execute(delete(captures).where(captures.c.photo_id == partner_id))
    connection.execute(insert(captures), values)
