"""Contents: which photos hold them, and scores of them that come without a tag. The caller holds the transaction."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, or_, select

from phototag.records import PhotoState, Source
from phototag.store.batch import StoredTag, replace_predictions
from phototag.store.photos import PAGE_ROWS, chunked, path_key, path_ranges
from phototag.store.tables import photos, tags


@dataclass(frozen=True, slots=True)
class Content:
    """A photo whose content is known. `tag_source` is None where it has no tag."""

    photo_id: int
    path_bytes: bytes
    content_hash: bytes
    state: PhotoState
    tag_source: Source | None

    @property
    def path(self) -> Path:
        """The photo's absolute path."""
        return Path(os.fsdecode(self.path_bytes))


def find_page(connection: Connection, *, after: int, under: Path | None) -> list[Content]:
    """The first such photos with ids above `after`, at most a page, in the order of ids."""
    key = photos.c.path_bytes
    statement = (
        select(photos.c.id, key, photos.c.content_hash, photos.c.state, tags.c.source)
        .outerjoin_from(photos, tags, tags.c.photo_id == photos.c.id)
        .where(photos.c.id > after, photos.c.content_hash.is_not(None))
        .order_by(photos.c.id)
        .limit(PAGE_ROWS)
    )
    if under is not None:
        statement = statement.where(or_(*((key >= start) & (key < end) for start, end in path_ranges(under))))
    return [
        Content(
            photo_id=int(row.id),
            path_bytes=bytes(row.path_bytes),
            content_hash=bytes(row.content_hash),
            state=PhotoState(row.state),
            tag_source=None if row.source is None else Source(row.source),
        )
        for row in connection.execute(statement)
    ]


def paths_of(connection: Connection, content_hash: bytes) -> list[Path]:
    """Paths of the photos that are there and hold a content, in the order of path bytes."""
    statement = (
        select(photos.c.path_bytes)
        .where(photos.c.content_hash == content_hash, photos.c.state == PhotoState.OK.value)
        .order_by(photos.c.path_bytes)
    )
    return [Path(os.fsdecode(path)) for path in connection.execute(statement).scalars()]


def save_scores(connection: Connection, *, scores_id: int, scored: Sequence[StoredTag], now: datetime) -> int:
    """Save scores under a model's id for those photos that still have the content that was scored; how many."""
    by_path = {path_key(item.photo.path): item for item in scored}
    known: dict[int, StoredTag] = {}
    for chunk in chunked(list(by_path)):
        statement = select(photos.c.id, photos.c.path_bytes, photos.c.content_hash).where(
            photos.c.path_bytes.in_(chunk)
        )
        for row in connection.execute(statement):
            item = by_path[bytes(row.path_bytes)]
            if row.content_hash is not None and bytes(row.content_hash) == item.content_hash:
                known[int(row.id)] = item
    replace_predictions(connection, scores_id, known, now)
    return len(known)
