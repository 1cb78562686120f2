"""Tags: the one current tag of each photo, of a model or of a human, and saving what came of a batch in bulk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, select, update

from phototag.database import TAG_NAMES, Database, insert_rows, path_hash, photos, tags, tried_again
from phototag.errors import StoreError, UsageError
from phototag.paths import PhotoPath
from phototag.records import Failure, PhotoState, Rank, Source, Tag
from phototag.store.captures import Capture, drop_captures, replace_captures
from phototag.store.models import Models
from phototag.store.pairs import tag_partners
from phototag.store.photos import chunked, clean_text, lock_photos, path_key, photo_values, touch
from phototag.store.query import ROWS_AT_ONCE, Query, conditions, joined, plain_rows
from phototag.store.scores import StoredTag, replace_scores
from phototag.taxonomy import check_name


@dataclass(frozen=True, slots=True)
class TaggedContent:
    """A photo whose content is known, and the tag that a model gave it."""

    photo_id: int
    path_bytes: bytes
    content_hash: bytes
    model_id: int
    tag: Tag
    tagged_at: datetime


_TAG_COLUMNS = (
    tags.c.model_id,
    tags.c.superclass,
    tags.c.subclass,
    tags.c.rank,
    tags.c.superclass_score,
    tags.c.subclass_score,
    tags.c.novelty,
    tags.c.tagged_at,
)

TagRow: TypeAlias = tuple[Any, ...]
"""The `_TAG_COLUMNS`; `tagged_at` is a text or a moment, as the database has it."""


class Tags:
    """The current tags of photos. All methods raise StoreError when the database cannot be read, or written."""

    def __init__(self, database: Database, models: Models) -> None:
        self._database, self._models = database, models

    @tried_again
    def save_batch(
        self,
        *,
        model_id: int,
        tagged: Sequence[StoredTag],
        failures: Sequence[Failure] = (),
        also: Callable[[Connection], None] | None = None,
    ) -> None:
        """Save what came of a batch in one transaction: all that is known of `tagged`, errors of `failures`.

        A path that comes twice counts once: the last time, and as tagged rather than failed. A human's tag is never
        replaced. Content that is new under a name, but that a human tagged under another, gets that tag, so moving
        files loses none. A failure counts one more attempt, from one again if the content changed; its model tag goes
        only then. `also` writes more in the same transaction, or undoes all of it by what it raises.
        """
        done = {path_key(item.photo.path): item for item in tagged}
        failed = {path_key(item.photo.path): item for item in failures}
        failed = {path: item for path, item in failed.items() if path not in done}
        with self._database.write() as connection:
            owner, now = self._models.score_owner(connection, model_id), self._database.next_moment()
            for chunk in chunked([*done, *failed]):
                lock_photos(connection, path_hash(photos.c.path_bytes).in_(chunk))
            before = _rows_of(connection, [*done, *failed])
            values = {path: _tagged_values(item) for path, item in done.items()}
            values |= {path: _failed_values(item, before.get(path)) for path, item in failed.items()}
            _write_photos(connection, values, before, now)

            ids = {path: int(row.id) for path, row in _rows_of(connection, list(values)).items()}
            replace_scores(connection, owner, {ids[path]: item for path, item in done.items()}, now)

            replace_captures(connection, {ids[path]: _capture(item) for path, item in done.items()})

            other = [p for p, item in failed.items() if p in before and _content_changed(item, before[p])]
            drop_captures(connection, [ids[path] for path in other])
            _drop_model_tags(connection, [ids[path] for path in (*other, *done)])
            fresh = {path: item for path, item in done.items() if _is_fresh(item, before.get(path))}
            adopted = _human_tags_of(connection, [item.content_hash for item in fresh.values()])
            human = _human_tagged(connection, [ids[path] for path in done])
            rows = []
            for path, item in done.items():
                if ids[path] in human:
                    continue
                values_of_tag = adopted.get(item.content_hash) if path in fresh else None
                rows.append({"photo_id": ids[path], **(values_of_tag or _tag_values(item.tag, model_id, now))})
            insert_rows(connection, tags, rows)
            tag_partners(connection, ids.values())
            if also is not None:
                also(connection)

    @tried_again
    def save(self, *, model_id: int, decided: Sequence[tuple[int, Tag]]) -> None:
        """Set tags that were decided again from stored scores, by photo id, in one transaction.

        A human's tag is never replaced.
        """
        tag_of = dict(decided)
        with self._database.write() as connection:
            now = self._database.next_moment()
            for chunk in chunked(list(tag_of)):
                lock_photos(connection, photos.c.id.in_(chunk))
            _drop_model_tags(connection, list(tag_of))
            human = _human_tagged(connection, list(tag_of))
            rows = [
                {"photo_id": photo_id, **_tag_values(tag, model_id, now)}
                for photo_id, tag in tag_of.items()
                if photo_id not in human
            ]
            insert_rows(connection, tags, rows)
            tag_partners(connection, tag_of)

    @tried_again
    def set_human(self, path: PhotoPath, *, superclass: str | None, subclass: str | None = None) -> None:
        """Set what a human says of a photo, durably. Neither label: it is nothing that the model knows.

        A named level gets the score 1, a level not named 0. Only a model's tag has a novelty.

        Raises:
            StoreError: the photo is not in the database.
            UsageError: a subclass without its superclass, or a label that cannot be a name.
        """
        superclass, subclass = checked_labels(superclass, subclass)
        with self._database.write(durable=True) as connection:
            statement = select(photos.c.id).where(path_hash(photos.c.path_bytes) == path_key(path))
            photo_id = connection.execute(statement).scalar_one_or_none()
            if photo_id is None:
                shown = clean_text(str(path))
                raise StoreError(f"{shown}: not in the database {self._database.location}; run: phototag tag {shown}")
            set_tags(connection, {int(photo_id): human_tag(superclass, subclass, self._database.next_moment())})

    def of_contents(self, query: Query) -> Iterator[TaggedContent]:
        """Return the wanted photos with a model's tag whose content is known, by id: what can be sampled.

        Sort key and limit are not heeded.
        """
        columns = select(photos.c.id, photos.c.path_bytes, photos.c.content_hash, *_TAG_COLUMNS)
        ranks = {rank.value: rank for rank in Rank}

        def found(connection: Connection) -> Iterator[TaggedContent]:
            statement = joined(columns).where(*_of_models(connection, query)).order_by(photos.c.id)
            with closing(connection.execute(statement.execution_options(yield_per=ROWS_AT_ONCE))) as rows:
                for number, path, content, model_id, superclass, subclass, rank, *scores, at in rows:
                    first, second, novelty = (float(score or 0.0) for score in scores)
                    tag = Tag(superclass, subclass, ranks[rank], first, second, novelty)
                    yield TaggedContent(int(number), bytes(path), bytes(content), int(model_id), tag, at)

        return self._database.stream(found)

    def rows(self, query: Query) -> Iterator[Sequence[TagRow]]:
        """Yield the tags that `of_contents` gives, in that order, many at a time and quicker; to be read to the end."""
        with self._database.read() as connection:
            statement = joined(select(*_TAG_COLUMNS)).where(*_of_models(connection, query))
            yield from plain_rows(connection, statement.order_by(photos.c.id))


def _of_models(connection: Connection, query: Query) -> Iterator[ColumnElement[bool]]:
    yield from conditions(connection, query)
    yield tags.c.model_id.is_not(None)
    yield photos.c.content_hash.is_not(None)


# ---- what a human says


def checked_labels(superclass: str | None, subclass: str | None) -> tuple[str | None, str | None]:
    """Return labels that a human gives, as all names are written (NFC).

    Raises:
        UsageError: a subclass without its superclass, or a name that cannot be one.
    """
    if subclass is not None and superclass is None:
        raise UsageError(f"subclass {subclass!r} needs its superclass")
    return (
        None if superclass is None else check_name(superclass, "superclass"),
        None if subclass is None else check_name(subclass, "subclass"),
    )


def rank_of(superclass: str | None, subclass: str | None) -> Rank:
    """Return how deep such labels go."""
    return Rank.NONE if superclass is None else Rank.SUPERCLASS if subclass is None else Rank.SUBCLASS


def human_tag(superclass: str | None, subclass: str | None, now: datetime) -> dict[str, Any]:
    """Return the tag that a human's label becomes: a level that is named has the score 1, one that is not 0.

    The column of the novelty has to hold something; nothing reads it of such a tag.
    """
    scores = float(superclass is not None), float(subclass is not None)
    tag = Tag(superclass, subclass, rank_of(superclass, subclass), *scores, novelty=0.0)
    return {**tag_columns(tag), "source": Source.HUMAN.value, "model_id": None, "tagged_at": now}


def set_tags(connection: Connection, values: Mapping[int, Mapping[str, Any] | None]) -> None:
    """Give photos these tags instead of those they have, by photo id; None leaves a photo without."""
    for chunk in chunked(list(values)):
        lock_photos(connection, photos.c.id.in_(chunk))
        connection.execute(delete(tags).where(tags.c.photo_id.in_(chunk)))
    touch(connection, [photo_id for photo_id, tag in values.items() if tag is None])
    insert_rows(
        connection, tags, [{"photo_id": photo_id, **tag} for photo_id, tag in values.items() if tag is not None]
    )
    tag_partners(connection, values)


# ---- what came of a batch


def _rows_of(connection: Connection, paths: Sequence[bytes]) -> dict[bytes, Row[Any]]:
    columns: list[Any] = [
        photos.c.id,
        photos.c.path_bytes,
        photos.c.size_bytes,
        photos.c.content_hash,
        photos.c.width,
        photos.c.height,
        photos.c.attempts,
        photos.c.lead_id,
    ]
    found: dict[bytes, Row[Any]] = {}
    for chunk in chunked(paths):
        rows = connection.execute(select(*columns).where(path_hash(photos.c.path_bytes).in_(chunk)))
        found.update((bytes(row.path_bytes), row) for row in rows)
    return found


def _capture(item: StoredTag) -> Capture:
    return item.capture or Capture(item.photo.modified_ns)


def _tagged_values(item: StoredTag) -> dict[str, Any]:
    return {
        **photo_values(item.photo),
        "content_hash": item.content_hash,
        "width": item.width,
        "height": item.height,
        "state": PhotoState.OK.value,
        "missing_since": None,
        "lead_id": None,
        "error_kind": None,
        "error": None,
        "attempts": 0,
    }


def _failed_values(item: Failure, before: Row[Any] | None) -> dict[str, Any]:
    same = before if before is not None and not _content_changed(item, before) else None
    return {
        **photo_values(item.photo),
        "content_hash": item.content_hash or (same.content_hash if same is not None else None),
        "width": same.width if same is not None else None,
        "height": same.height if same is not None else None,
        "state": item.kind.state.value,
        "missing_since": None,
        "lead_id": before.lead_id if before is not None else None,
        "error_kind": item.kind.value,
        "error": clean_text(item.reason),
        # Another content gets its full number of attempts.
        "attempts": (same.attempts if same is not None else 0) + 1,
    }


def _is_fresh(item: StoredTag, before: Row[Any] | None) -> bool:
    """Return whether this content was not known under this name yet."""
    return before is None or before.content_hash is None or bytes(before.content_hash) != item.content_hash


def _content_changed(item: Failure, before: Row[Any]) -> bool:
    """Return whether the file now holds something else. Without a hash of it only another size proves that."""
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
    insert_rows(connection, photos, new)
    if changed:
        connection.execute(update(photos).where(photos.c.id == bindparam("row_id")), changed)


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
    """Return what a human last said of these very contents under other names: a moved photo keeps a human's tag."""
    columns = [tags.c[name] for name in TAG_NAMES]
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


def tag_columns(tag: Tag) -> dict[str, Any]:
    """Return the columns of a tag that samples have as well."""
    return {
        "superclass": tag.superclass,
        "subclass": tag.subclass,
        "rank": tag.rank.value,
        "superclass_score": float(tag.superclass_score),
        "subclass_score": float(tag.subclass_score),
        "novelty": float(tag.novelty),
    }


def _tag_values(tag: Tag, model_id: int, now: datetime) -> dict[str, Any]:
    return {**tag_columns(tag), "source": Source.MODEL.value, "model_id": model_id, "tagged_at": now}
