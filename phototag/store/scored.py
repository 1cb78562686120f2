"""Photos that a model tagged, with what some model said of their contents, a page at a time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, or_, select

from phototag.records import Rank, Source
from phototag.store.batch import predictions_for
from phototag.store.photos import PAGE_ROWS, path_ranges
from phototag.store.tables import photos, predictions, tags


@dataclass(frozen=True, slots=True)
class ScoredTag:
    """A tag that a model gave to a photo, and packed scores of its content, None where none are stored.

    `model_id` is the model that gave the tag; the scores may be another's.
    """

    photo_id: int
    path_bytes: bytes
    superclass: str | None
    subclass: str | None
    rank: Rank
    model_id: int
    scores: bytes | None

    @property
    def path(self) -> Path:
        """The photo's absolute path."""
        return Path(os.fsdecode(self.path_bytes))


def scored_page(connection: Connection, *, keeper: int | None, after: int, under: Path | None) -> list[ScoredTag]:
    """The first tags of photos with ids above `after`, at most a page, in the order of ids.

    Args:
        connection: To read from.
        keeper: The model under which the scores are stored; None gives tags without scores.
        after: The id that the page before ended with.
        under: Only photos at or under this path.
    """
    columns = (
        photos.c.id,
        photos.c.path_bytes,
        photos.c.content_hash,
        tags.c.superclass,
        tags.c.subclass,
        tags.c.rank,
        tags.c.model_id,
        predictions.c.scores,
    )
    # A photo that changed keeps the scores of what it was, if another model tagged it since.
    own = (
        (predictions.c.photo_id == photos.c.id)
        & (predictions.c.model_id == keeper)
        & (predictions.c.content_hash == photos.c.content_hash)
    )
    statement = (
        select(*columns)
        .select_from(tags)
        .join(photos, photos.c.id == tags.c.photo_id)
        .outerjoin(predictions, own)
        .where(tags.c.source == Source.MODEL.value, tags.c.photo_id > after)
        .order_by(tags.c.photo_id)
        .limit(PAGE_ROWS)
    )
    if under is not None:
        key = photos.c.path_bytes
        statement = statement.where(or_(*((key >= start) & (key < end) for start, end in path_ranges(under))))
    rows = connection.execute(statement).all()
    # A copy may have been tagged from the scores that are stored under another name.
    wanted = [bytes(row.content_hash) for row in rows if row.scores is None and row.content_hash is not None]
    elsewhere = predictions_for(connection, keeper, wanted) if keeper is not None and wanted else {}
    return [
        ScoredTag(
            photo_id=int(row.id),
            path_bytes=bytes(row.path_bytes),
            superclass=row.superclass,
            subclass=row.subclass,
            rank=Rank(row.rank),
            model_id=int(row.model_id),
            scores=bytes(row.scores) if row.scores is not None else elsewhere.get(bytes(row.content_hash or b"")),
        )
        for row in rows
    ]
