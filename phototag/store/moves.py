"""Moves: photos whose file lies elsewhere now keep their row, and with it their tag, reviews and places in samples."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, case, delete, exists, select, update

from phototag.database import (
    Database,
    keyword_exports,
    path_hash,
    photos,
    predictions,
    reviews,
    sample_items,
    tags,
    tried_again,
)
from phototag.records import Photo, PhotoState, Source
from phototag.store.photos import (
    KnownPhoto,
    chunked,
    clean_text,
    known_photos,
    photo_values,
    set_back,
    set_missing,
    signed_64,
)

# Of a content with more copies than this, some may be taken for new: looking after all of them would take hours.
_MOST_COPIES = 4096


class Moves:
    """Where photos may have come from. All methods raise StoreError when the database cannot be read, or written."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def with_inodes(self, inodes: Collection[int]) -> list[KnownPhoto]:
        """Return the photos with these inodes, on whatever file system, by id."""
        return self._found(photos.c.inode, [signed_64(inode) for inode in inodes])

    def with_contents(self, hashes: Collection[bytes]) -> list[KnownPhoto]:
        """Return the photos with these contents by id; of very many the missing ones and the oldest."""
        return self._found(photos.c.content_hash, list(hashes))

    def _found(self, column: ColumnElement[Any], values: Sequence[Any]) -> list[KnownPhoto]:
        found: list[KnownPhoto] = []
        gone_first = case((photos.c.state == PhotoState.MISSING.value, 0), else_=1)
        with self._database.read() as connection:
            for chunk in chunked(sorted(set(values))):
                found += known_photos(
                    connection, column.in_(chunk), order_by=(gone_first, photos.c.id), limit=_MOST_COPIES
                )
        return sorted(found, key=lambda row: row.id)

    @tried_again
    def apply(self, moves: Mapping[int, Photo]) -> list[int]:
        """Give photos, by id, the paths and stat values of where their files lie now, in one transaction.

        Any number may take each other's paths, in rings and chains. A photo whose path another one took, and that does
        not move itself, was overwritten: it is missing, under the path that its chain of moves left. Returns the ids
        of these.
        """
        if not moves:
            return []
        with self._database.write() as connection:
            now = self._database.next_moment()
            displaced = _displaced(connection, {number: photo_values(photo) for number, photo in moves.items()})
            everything = {number: photo_values(photo) for number, photo in moves.items()} | displaced
            # Paths are unique after each statement, so nobody has one while they are handed on.
            _update(connection, [{"row_id": number, "path_bytes": b"\0%d" % number} for number in everything])
            _update(connection, [{"row_id": number, **values} for number, values in displaced.items()])
            _update(connection, [{"row_id": number, **everything[number], "last_seen_at": now} for number in moves])
            set_back(connection, list(moves))
            set_missing(connection, list(displaced), now)
        return list(displaced)

    def take_over(self, gone: Sequence[int], since: datetime) -> list[int]:
        """Let photos that are gone, by id, take the place of copies that were first seen since; ids of those that did.

        A file that goes to another disk is first copied and then deleted: seen in between, it is twice there. The copy
        has a row without a past then, which goes: nobody reviewed or sampled it.
        """
        copies = photos.alias()
        used = [exists().where(table.c.photo_id == copies.c.id) for table in (reviews, sample_items)]
        pairs: dict[int, int] = {}
        taken: set[int] = set()
        for chunk in chunked(gone):
            with self._database.write() as connection:
                statement = (
                    select(photos.c.id, copies.c.id)
                    .join(copies, copies.c.content_hash == photos.c.content_hash)
                    .where(photos.c.id.in_(chunk), copies.c.first_seen_at >= since)
                    .where(copies.c.first_seen_at > photos.c.first_seen_at)
                    .where(copies.c.state == PhotoState.OK.value, *(~each for each in used))
                    .order_by(photos.c.id, copies.c.id)
                )
                found: dict[int, int] = {}
                for old, copy in connection.execute(statement):
                    if old not in found and copy not in taken:
                        found[old] = copy
                        taken.add(copy)
                for old, copy in found.items():
                    _merge(connection, old, copy)
                set_back(connection, list(found))
            pairs |= found
        return list(pairs)


def _displaced(connection: Connection, moves: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return the ids of photos that lie where others go and do not move, and the paths that are left for them."""
    mover = {values["path_bytes"]: number for number, values in moves.items()}
    old: dict[int, tuple[bytes, str]] = {}
    lying: dict[bytes, int] = {}
    paths = select(photos.c.id, photos.c.path_bytes, photos.c.path_text)
    for numbers in chunked(list(moves)):
        old |= {
            row.id: (bytes(row.path_bytes), row.path_text)
            for row in connection.execute(paths.where(photos.c.id.in_(numbers)))
        }
    for chunk in chunked(list(mover)):
        lying |= {
            bytes(row.path_bytes): row.id
            for row in connection.execute(paths.where(path_hash(photos.c.path_bytes).in_(chunk)))
        }
    found = {}
    for path, number in lying.items():
        if number not in moves:
            free = old[mover[path]]
            while free[0] in mover:
                free = old[mover[free[0]]]
            found[number] = {"path_bytes": free[0], "path_text": clean_text(free[1])}
    return found


def _update(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    for chunk in chunked(rows):
        connection.execute(update(photos).where(photos.c.id == bindparam("row_id")), list(chunk))


def _merge(connection: Connection, old: int, copy: int) -> None:
    """Let a photo take over a copy's file, tag and scores, and delete the copy's row. A human's tag of it stays."""
    by_human = select(tags.c.photo_id).where(tags.c.photo_id == old, tags.c.source == Source.HUMAN.value)
    if connection.execute(by_human).first() is None:
        connection.execute(delete(tags).where(tags.c.photo_id == old))
        connection.execute(update(tags).where(tags.c.photo_id == copy).values(photo_id=old))
    has = select(predictions.c.model_id).where(predictions.c.photo_id == old).scalar_subquery()
    scored = (predictions.c.photo_id == copy) & predictions.c.model_id.not_in(has)
    connection.execute(update(predictions).where(scored).values(photo_id=old))
    connection.execute(update(keyword_exports).where(keyword_exports.c.photo_id == copy).values(photo_id=old))
    names = ("path_bytes", "path_text", "size_bytes", "modified_ns", "changed_ns", "inode", "last_seen_at")
    row = connection.execute(select(*(photos.c[name] for name in names)).where(photos.c.id == copy)).one()
    connection.execute(update(photos).where(photos.c.lead_id == copy).values(lead_id=None))
    connection.execute(delete(photos).where(photos.c.id == copy))
    connection.execute(update(photos).where(photos.c.id == old).values(**row._mapping))
