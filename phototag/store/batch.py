"""Saving what came of one batch of photos, in bulk. The caller holds the transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from phototag.records import Failure, Photo, PhotoState, Source, Tag
from phototag.store.photos import chunked, clean_text, path_key, path_values, stat_values
from phototag.store.tables import photos, predictions, tags


@dataclass(frozen=True, slots=True)
class StoredTag:
    """One photo that was tagged.

    `content_hash` is the SHA-256 of the file; `scores` is what `phototag.decision.rule` packed; `width` and
    `height` are those of the upright photo, in pixels.
    """

    photo: Photo
    content_hash: bytes
    width: int
    height: int
    scores: bytes
    tag: Tag


@dataclass(frozen=True, slots=True)
class ScoredContent:
    """Packed scores of a content, and the upright size in pixels of the picture it is."""

    scores: bytes
    width: int
    height: int


def save(
    connection: Connection,
    *,
    model_id: int,
    scores_id: int,
    tagged: Sequence[StoredTag],
    failures: Sequence[Failure],
    now: datetime,
) -> None:
    """Save a batch: photos, predictions and tags of `tagged`, states and errors of `failures`.

    A path that comes twice counts once: the last time, and as tagged rather than failed. `scores_id` is the model under
    which this model's scores are stored.
    """
    done = {path_key(item.photo.path): item for item in tagged}
    failed = {path_key(item.photo.path): item for item in failures}
    failed = {path: item for path, item in failed.items() if path not in done}
    before = _rows_of(connection, [*done, *failed])

    values = {path: _tagged_values(item) for path, item in done.items()}
    values |= {path: _failed_values(item, before.get(path)) for path, item in failed.items()}
    _write_photos(connection, values, before, now)

    after = _rows_of(connection, list(values))
    ids = {path: int(row.id) for path, row in after.items()}
    replace_predictions(connection, scores_id, {ids[path]: item for path, item in done.items()}, now)

    outdated = [ids[path] for path, item in failed.items() if path in before and _content_changed(item, before[path])]
    _drop_model_tags(connection, [*outdated, *(ids[path] for path in done)])
    fresh = {path: item for path, item in done.items() if _is_fresh(item, before.get(path))}
    adopted = _human_tags_of(connection, [item.content_hash for item in fresh.values()])
    human = _human_tagged(connection, [ids[path] for path in done])
    rows = []
    for path, item in done.items():
        if ids[path] in human:
            continue
        values_of_tag = adopted.get(item.content_hash) if path in fresh else None
        rows.append({"photo_id": ids[path], **(values_of_tag or _tag_values(item.tag, model_id, now))})
    if rows:
        connection.execute(insert(tags), rows)


def save_tags(connection: Connection, *, model_id: int, tagged: Mapping[int, Tag], now: datetime) -> None:
    """Set the model's tags of known photos, by id, where no human set one."""
    ids = list(tagged)
    _drop_model_tags(connection, ids)
    human = _human_tagged(connection, ids)
    rows = [
        {"photo_id": photo_id, **_tag_values(tag, model_id, now)}
        for photo_id, tag in tagged.items()
        if photo_id not in human
    ]
    if rows:
        connection.execute(insert(tags), rows)


def mark_seen(connection: Connection, ids: Sequence[int], at: datetime) -> None:
    """Note that the files are there; one that was missing is again what it was before."""
    back = (
        (photos.c.error_kind.is_(None), PhotoState.OK),
        (photos.c.error_kind.is_not(None), PhotoState.UNREADABLE),
    )
    for chunk in chunked(ids):
        connection.execute(update(photos).where(photos.c.id.in_(chunk)).values(last_seen_at=at))
        for condition, state in back:
            connection.execute(
                update(photos)
                .where(photos.c.id.in_(chunk), photos.c.state == PhotoState.MISSING.value, condition)
                .values(state=state.value)
            )


def mark_missing(connection: Connection, ids: Sequence[int]) -> None:
    """Note that the files are gone. Tags and errors stay, for when they come back."""
    for chunk in chunked(ids):
        connection.execute(update(photos).where(photos.c.id.in_(chunk)).values(state=PhotoState.MISSING.value))


def predictions_for(connection: Connection, model_id: int, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
    """The packed scores that a model gave to contents, by content hash."""
    found: dict[bytes, bytes] = {}
    for chunk in chunked(list(dict.fromkeys(hashes))):
        statement = select(predictions.c.content_hash, predictions.c.scores).where(
            predictions.c.model_id == model_id, predictions.c.content_hash.in_(chunk)
        )
        found.update((bytes(row.content_hash), bytes(row.scores)) for row in connection.execute(statement))
    return found


def scored_content(connection: Connection, model_id: int, content_hash: bytes) -> ScoredContent | None:
    """What a model said of a content before, under whatever name."""
    statement = (
        select(predictions.c.scores, photos.c.width, photos.c.height)
        .join_from(predictions, photos, photos.c.id == predictions.c.photo_id)
        .where(predictions.c.model_id == model_id, predictions.c.content_hash == content_hash)
        # A photo that changed keeps this model's prediction of what it was, and has the size of what it is now, or
        # none if it cannot be read.
        .where(photos.c.content_hash == predictions.c.content_hash)
        .where(photos.c.width.is_not(None), photos.c.height.is_not(None))
        .limit(1)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else ScoredContent(bytes(row.scores), int(row.width), int(row.height))


def scored_hashes(connection: Connection, model_id: int) -> Iterator[bytes]:
    """The hashes of all contents that a model scored, streamed."""
    statement = select(predictions.c.content_hash).where(predictions.c.model_id == model_id)
    for row in connection.execution_options(yield_per=4096).execute(statement):
        yield bytes(row.content_hash)


def _rows_of(connection: Connection, paths: Sequence[bytes]) -> dict[bytes, Row[Any]]:
    columns: list[Any] = [
        photos.c.id,
        photos.c.path_bytes,
        photos.c.size_bytes,
        photos.c.content_hash,
        photos.c.width,
        photos.c.height,
        photos.c.attempts,
    ]
    found: dict[bytes, Row[Any]] = {}
    for chunk in chunked(paths):
        rows = connection.execute(select(*columns).where(photos.c.path_bytes.in_(chunk)))
        found.update((bytes(row.path_bytes), row) for row in rows)
    return found


def _tagged_values(item: StoredTag) -> dict[str, Any]:
    return {
        **path_values(item.photo),
        **stat_values(item.photo),
        "content_hash": item.content_hash,
        "width": item.width,
        "height": item.height,
        "state": PhotoState.OK.value,
        "error_kind": None,
        "error": None,
        "attempts": 0,
    }


def _failed_values(item: Failure, before: Row[Any] | None) -> dict[str, Any]:
    same = before if before is not None and not _content_changed(item, before) else None
    return {
        **path_values(item.photo),
        **stat_values(item.photo),
        "content_hash": item.content_hash or (same.content_hash if same is not None else None),
        "width": same.width if same is not None else None,
        "height": same.height if same is not None else None,
        "state": PhotoState.UNREADABLE.value,
        "error_kind": item.kind.value,
        "error": clean_text(item.reason),
        # Another content gets its full number of attempts.
        "attempts": (same.attempts if same is not None else 0) + 1,
    }


def _is_fresh(item: StoredTag, before: Row[Any] | None) -> bool:
    """Whether this content was not known under this name yet."""
    return before is None or before.content_hash is None or bytes(before.content_hash) != item.content_hash


def _content_changed(item: Failure, before: Row[Any]) -> bool:
    """Whether the file now holds something else. Without a hash of it only another size proves that."""
    if item.content_hash is not None and before.content_hash is not None:
        return item.content_hash != bytes(before.content_hash)
    return item.photo.size_bytes != int(before.size_bytes)


def _write_photos(
    connection: Connection,
    values: Mapping[bytes, dict[str, Any]],
    before: Mapping[bytes, Row[Any]],
    now: datetime,
) -> None:
    new = [{**row, "first_seen_at": now, "last_seen_at": now} for path, row in values.items() if path not in before]
    changed = [
        {**row, "row_id": before[path].id, "last_seen_at": now} for path, row in values.items() if path in before
    ]
    if new:
        connection.execute(insert(photos), new)
    if changed:
        connection.execute(update(photos).where(photos.c.id == bindparam("row_id")), changed)


def replace_predictions(connection: Connection, model_id: int, items: Mapping[int, StoredTag], now: datetime) -> None:
    """Save a model's scores of photos, by photo id, in place of what it said of them before."""
    for chunk in chunked(list(items)):
        connection.execute(
            delete(predictions).where(predictions.c.model_id == model_id, predictions.c.photo_id.in_(chunk))
        )
    if items:
        rows = [
            {
                "photo_id": photo_id,
                "model_id": model_id,
                "content_hash": item.content_hash,
                "scores": item.scores,
                "predicted_at": now,
            }
            for photo_id, item in items.items()
        ]
        connection.execute(insert(predictions), rows)


def _drop_model_tags(connection: Connection, ids: Sequence[int]) -> None:
    for chunk in chunked(ids):
        connection.execute(delete(tags).where(tags.c.photo_id.in_(chunk), tags.c.source == Source.MODEL.value))


def _human_tagged(connection: Connection, ids: Sequence[int]) -> set[int]:
    found: set[int] = set()
    for chunk in chunked(ids):
        statement = select(tags.c.photo_id).where(tags.c.photo_id.in_(chunk), tags.c.source == Source.HUMAN.value)
        found.update(connection.execute(statement).scalars())
    return found


def _human_tags_of(connection: Connection, hashes: Sequence[bytes]) -> dict[bytes, dict[str, Any]]:
    """What a human last said of these very contents under other names: a moved photo keeps a human's tag."""
    columns = [column for column in tags.c if column.name != "photo_id"]
    found: dict[bytes, dict[str, Any]] = {}
    for chunk in chunked(list(dict.fromkeys(hashes))):
        statement = (
            select(photos.c.content_hash, *columns)
            .join_from(photos, tags, tags.c.photo_id == photos.c.id)
            .where(photos.c.content_hash.in_(chunk), tags.c.source == Source.HUMAN.value)
            .order_by(tags.c.tagged_at)
        )
        for row in connection.execute(statement).mappings():
            found[bytes(row["content_hash"])] = {column.name: row[column.name] for column in columns}
    return found


def _tag_values(tag: Tag, model_id: int, now: datetime) -> dict[str, Any]:
    return {
        "superclass": tag.superclass,
        "subclass": tag.subclass,
        "rank": tag.rank.value,
        "superclass_score": float(tag.superclass_score),
        "subclass_score": float(tag.subclass_score),
        "novelty": float(tag.novelty),
        "source": Source.MODEL.value,
        "model_id": model_id,
        "tagged_at": now,
    }
