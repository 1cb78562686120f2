"""Scores: what models said of contents, stored under the model that owns them, and the tags decided from them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, case, delete, select, union_all

from phototag.database import Database, insert_rows, models, path_hash, photos, predictions, tags, tried_again
from phototag.paths import PhotoPath
from phototag.records import Photo, PhotoState, Rank, Source, Tag
from phototag.store.captures import Capture
from phototag.store.models import Models, score_owners
from phototag.store.photos import HasPath, chunked, is_under, path_key
from phototag.store.query import ROWS_AT_ONCE, Query, conditions

_LOOKED_UP_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class StoredTag:
    """One photo that was tagged.

    `content_hash` is the SHA-256 of the file; `scores` is what `phototag.decision` packed; `width` and
    `height` are those of the upright photo, in pixels. `capture` is what the file says of itself, None where that was
    not asked for.
    """

    photo: Photo
    content_hash: bytes
    width: int
    height: int
    scores: bytes
    tag: Tag
    capture: Capture | None = None


@dataclass(frozen=True, slots=True)
class ScoredContent:
    """Packed scores of a content, and the upright size in pixels of the picture it is."""

    scores: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPrediction:
    """What a model said of a photo: its packed scores, and the content they are of."""

    model_id: int
    content_hash: bytes
    scores: bytes
    predicted_at: datetime


@dataclass(frozen=True, slots=True)
class ScoredTag(HasPath):
    """A tag that a model gave to a photo, and packed scores of its content, None where none are stored.

    `superclass` and `subclass` are None at a lower rank. `model_id` is the model that gave the tag; the scores may be
    another's.
    """

    photo_id: int
    path_bytes: bytes
    content_hash: bytes
    superclass: str | None
    subclass: str | None
    rank: Rank
    model_id: int
    scores: bytes | None


class Scores:
    """The stored scores. All methods raise StoreError when the database cannot be read, or written."""

    def __init__(self, database: Database, models: Models) -> None:
        self._database, self._models = database, models

    def of_contents(self, model_id: int, content_hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the packed scores that the model gave to these contents, under whatever name, by content hash."""
        with self._database.read() as connection:
            return scores_of(connection, self._models.score_owner(connection, model_id), content_hashes)

    def known_contents(self, model_id: int, content_hashes: Collection[bytes]) -> dict[bytes, ScoredContent]:
        """Return what the model said of these contents before, under whatever name, by content hash; in one query."""
        columns = (predictions.c.content_hash, predictions.c.scores, photos.c.width, photos.c.height)
        with self._database.read() as connection:
            of_one = (
                select(*columns)
                .join_from(predictions, photos, photos.c.id == predictions.c.photo_id)
                .where(predictions.c.model_id == self._models.score_owner(connection, model_id))
                # A photo that changed keeps this model's prediction of what it was, and has the size of what it is now,
                # or none if it cannot be read.
                .where(photos.c.content_hash == predictions.c.content_hash)
                .where(photos.c.width.is_not(None), photos.c.height.is_not(None))
                .limit(1)
            )
            found: dict[bytes, ScoredContent] = {}
            for chunk in chunked(list(content_hashes), _LOOKED_UP_AT_ONCE):
                # One of each, as there may be any number of copies.
                each = (of_one.where(predictions.c.content_hash == content).subquery() for content in chunk)
                for content, scores, width, height in connection.execute(union_all(*map(select, each))):
                    found[bytes(content)] = ScoredContent(bytes(scores), int(width), int(height))
            return found

    def of_photo(self, photo_id: int) -> list[StoredPrediction]:
        """Return what models said of a photo, also before it changed, or of its content elsewhere; newest first."""
        columns = (
            predictions.c.model_id,
            predictions.c.content_hash,
            predictions.c.scores,
            predictions.c.predicted_at,
        )
        content_of = select(photos.c.content_hash).where(photos.c.id == photo_id)
        with self._database.read() as connection:
            content = connection.execute(content_of).scalar_one_or_none()
            found = connection.execute(select(*columns).where(predictions.c.photo_id == photo_id)).all()
            known = {int(row.model_id) for row in found if row.content_hash == content}
            for model_id in connection.execute(select(models.c.id)).scalars().all() if content is not None else ():
                if model_id in known:
                    continue
                same = (predictions.c.model_id == model_id) & (predictions.c.content_hash == content)
                found = [*found, *connection.execute(select(*columns).where(same).limit(1))]
            newest = sorted(found, key=lambda row: (row.predicted_at, row.model_id), reverse=True)
            return [_prediction(row) for row in newest]

    def hashes(self, model_id: int) -> Iterator[bytes]:
        """Yield the hashes of all contents that the model scored."""
        with self._database.read() as connection:
            owner = self._models.score_owner(connection, model_id)
            statement = select(predictions.c.content_hash).where(predictions.c.model_id == owner)
            with closing(connection.execute(statement.execution_options(yield_per=4096))) as rows:
                for row in rows:
                    yield bytes(row.content_hash)

    def behind_tags(self, under: PhotoPath | None) -> list[tuple[bytes, int, bytes]]:
        """Return path bytes, model id and packed scores behind each tag that a model gave at or under a path."""
        with self._database.read() as connection:
            elsewhere = {model: owner for model, owner in score_owners(connection).items() if model != owner}
            model = case(elsewhere, value=tags.c.model_id, else_=tags.c.model_id) if elsewhere else tags.c.model_id
            statement = (
                select(photos.c.path_bytes, tags.c.model_id, predictions.c.scores)
                .join(tags, tags.c.photo_id == photos.c.id)
                .join(predictions, (predictions.c.photo_id == photos.c.id) & (predictions.c.model_id == model))
                .where(*conditions(connection, Query(under=under)))
                .execution_options(yield_per=ROWS_AT_ONCE)
            )
            return [(path, model_id, scores) for path, model_id, scores in connection.execute(statement)]

    def tagged(
        self,
        model_id: int | None,
        *,
        under: PhotoPath | None = None,
        ranks: Collection[Rank] | None = None,
        readable: bool = False,
    ) -> Iterator[list[ScoredTag]]:
        """Yield all tags that models gave, a page at a time, each with what one model said of that content, if stored.

        Photos for which another file of the same photo decides are left out.

        Args:
            model_id: The model whose scores are wanted, not the one that gave the tag; None gives tags without scores.
            under: Only photos at or under this path.
            ranks: Only tags at these ranks.
            readable: Only photos that could be read last time, and are not missing.
        """
        with self._database.read() as connection:
            owner = None if model_id is None else self._models.score_owner(connection, model_id)
        # A photo that changed keeps the scores of what it was, if another model tagged it since.
        own = (
            (predictions.c.photo_id == photos.c.id)
            & (predictions.c.model_id == owner)
            & (predictions.c.content_hash == photos.c.content_hash)
        )
        statement = (
            select(
                tags.c.photo_id,
                photos.c.path_bytes,
                photos.c.content_hash,
                tags.c.superclass,
                tags.c.subclass,
                tags.c.rank,
                tags.c.model_id,
                predictions.c.scores,
            )
            .select_from(tags)
            .join(photos, photos.c.id == tags.c.photo_id)
            .outerjoin(predictions, own)
            # As a sum: with the index of leads, which nearly all photos lack, each page would sort all that are left.
            .where(tags.c.source == Source.MODEL.value, (photos.c.lead_id + 0).is_(None), *is_under(under))
        )
        if ranks is not None:
            statement = statement.where(tags.c.rank.in_([rank.value for rank in ranks]))
        if readable:
            statement = statement.where(photos.c.state == PhotoState.OK.value, photos.c.content_hash.is_not(None))

        def records(connection: Connection, rows: Sequence[Row[Any]]) -> list[ScoredTag]:
            # A copy may have been tagged from the scores that are stored under another name.
            wanted = [bytes(row.content_hash) for row in rows if row.scores is None and row.content_hash is not None]
            elsewhere = scores_of(connection, owner, wanted) if owner is not None and wanted else {}
            return [_scored_tag(row, elsewhere) for row in rows]

        yield from self._database.pages(statement, (tags.c.photo_id,), records)

    @tried_again
    def save(self, *, model_id: int, scored: Sequence[StoredTag]) -> int:
        """Save what a model says of photos without giving them tags; how many of them still have that content."""
        by_path = {path_key(item.photo.path): item for item in scored}
        known: dict[int, StoredTag] = {}
        with self._database.write() as connection:
            owner = self._models.score_owner(connection, model_id)
            for chunk in chunked(list(by_path)):
                statement = select(photos.c.id, photos.c.path_bytes, photos.c.content_hash).where(
                    path_hash(photos.c.path_bytes).in_(chunk)
                )
                for row in connection.execute(statement):
                    item = by_path[bytes(row.path_bytes)]
                    if row.content_hash is not None and bytes(row.content_hash) == item.content_hash:
                        known[int(row.id)] = item
            replace_scores(connection, owner, known, self._database.next_moment())
        return len(known)


def scores_of(connection: Connection, owner: int, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the packed scores that a model owns of these contents, by content hash."""
    found: dict[bytes, bytes] = {}
    for chunk in chunked(list(dict.fromkeys(hashes))):
        statement = select(predictions.c.content_hash, predictions.c.scores).where(
            predictions.c.model_id == owner, predictions.c.content_hash.in_(chunk)
        )
        found.update((bytes(row.content_hash), bytes(row.scores)) for row in connection.execute(statement))
    return found


def replace_scores(connection: Connection, owner: int, items: Mapping[int, StoredTag], now: datetime) -> None:
    """Save scores of photos, by photo id, instead of those that the model owned of them before."""
    for chunk in chunked(list(items)):
        connection.execute(
            delete(predictions).where(predictions.c.model_id == owner, predictions.c.photo_id.in_(chunk))
        )
    rows = [
        {
            "photo_id": photo_id,
            "model_id": owner,
            "content_hash": item.content_hash,
            "scores": item.scores,
            "predicted_at": now,
        }
        for photo_id, item in items.items()
    ]
    insert_rows(connection, predictions, rows)


def _prediction(row: Any) -> StoredPrediction:
    return StoredPrediction(
        model_id=int(row.model_id),
        content_hash=bytes(row.content_hash),
        scores=bytes(row.scores),
        predicted_at=row.predicted_at,
    )


def _scored_tag(row: Row[Any], elsewhere: Mapping[bytes, bytes]) -> ScoredTag:
    content_hash = bytes(row.content_hash or b"")
    return ScoredTag(
        photo_id=int(row.photo_id),
        path_bytes=bytes(row.path_bytes),
        content_hash=content_hash,
        superclass=row.superclass,
        subclass=row.subclass,
        rank=Rank(row.rank),
        model_id=int(row.model_id),
        scores=bytes(row.scores) if row.scores is not None else elsewhere.get(content_hash),
    )
