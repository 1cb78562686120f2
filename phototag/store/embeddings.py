"""Photos that models tagged at given ranks, with what one model said of their contents, a page at a time."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, or_, select

from phototag.records import PhotoState, Rank, Source
from phototag.store.batch import predictions_for
from phototag.store.photos import PAGE_ROWS, path_ranges
from phototag.store.tables import photos, predictions, tags


@dataclass(frozen=True, slots=True)
class RankedPhoto:
    """A readable photo that a model tagged.

    `superclass` and `subclass` are those of the tag, None at a lower rank, and `model_id` the model that gave it;
    `scores` is what another model may have said of the content, packed, None where nothing is stored.
    """

    photo_id: int
    path_bytes: bytes
    content_hash: bytes
    superclass: str | None
    subclass: str | None
    model_id: int
    scores: bytes | None

    @property
    def path(self) -> Path:
        """The photo's absolute path."""
        return Path(os.fsdecode(self.path_bytes))


def ranked_page(
    connection: Connection, *, keeper: int | None, after: int, under: Path | None, ranks: Collection[Rank]
) -> list[RankedPhoto]:
    """The first such photos with ids above `after`, at most a page, in the order of ids.

    Args:
        connection: To read from.
        keeper: The model under which the scores are stored; None gives photos without scores.
        after: The id that the page before ended with.
        under: Only photos at or under this path.
        ranks: Those of the tags.
    """
    own = (
        (predictions.c.photo_id == photos.c.id)
        & (predictions.c.model_id == keeper)
        & (predictions.c.content_hash == photos.c.content_hash)
    )
    statement = (
        select(
            photos.c.id,
            photos.c.path_bytes,
            photos.c.content_hash,
            tags.c.superclass,
            tags.c.subclass,
            tags.c.model_id,
            predictions.c.scores,
        )
        .select_from(tags)
        .join(photos, photos.c.id == tags.c.photo_id)
        .outerjoin(predictions, own)
        .where(
            tags.c.source == Source.MODEL.value,
            tags.c.rank.in_([rank.value for rank in ranks]),
            tags.c.photo_id > after,
            photos.c.state == PhotoState.OK.value,
            photos.c.content_hash.is_not(None),
        )
        .order_by(tags.c.photo_id)
        .limit(PAGE_ROWS)
    )
    if under is not None:
        key = photos.c.path_bytes
        statement = statement.where(or_(*((key >= start) & (key < end) for start, end in path_ranges(under))))
    rows = connection.execute(statement).all()
    # A copy may have been tagged from the scores that are stored under another name.
    wanted = [bytes(row.content_hash) for row in rows if row.scores is None]
    elsewhere = predictions_for(connection, keeper, wanted) if keeper is not None and wanted else {}
    return [
        RankedPhoto(
            photo_id=int(row.id),
            path_bytes=bytes(row.path_bytes),
            content_hash=bytes(row.content_hash),
            superclass=row.superclass,
            subclass=row.subclass,
            model_id=int(row.model_id),
            scores=bytes(row.scores) if row.scores is not None else elsewhere.get(bytes(row.content_hash)),
        )
        for row in rows
    ]
