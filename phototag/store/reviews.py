"""Reviews: what a human says of a photo's content, beside the tag that was reviewed.

A review becomes the photo's tag at once, and undoing it brings back the tag that it replaced. It is of a content: once
the file holds something else it is no longer valid, while the tag stays until a human says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, insert, or_, select, update

from phototag.choices import ReviewOrigin
from phototag.database import TAG_NAMES, Database, photos, reviews, sample_items, tags, tried_again, untrusted_rows
from phototag.errors import UsageError
from phototag.paths import PhotoPath
from phototag.records import LEVELS, PhotoState, Rank, Source
from phototag.store.photos import HasPath, chunked, is_under, lock_photos
from phototag.store.tags import checked_labels, human_tag, rank_of, set_tags

_LONGEST_TOKEN = 200
_VALID = photos.c.content_hash == reviews.c.content_hash


class Verdict(StrEnum):
    """How a tag compares with what a human says."""

    RIGHT = "right"  # both say the same
    SUPERCLASS_WRONG = "superclass_wrong"
    SUBCLASS_WRONG = "subclass_wrong"  # under the right superclass
    NONE = "none"  # it named something, and the photo shows nothing that has a label
    LABEL = "label"  # it said less than the human, and nothing wrong; or there was none


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTag:
    """The tag that a human reviewed; `model_id` is None where a human had given it."""

    superclass: str | None
    subclass: str | None
    rank: Rank
    superclass_score: float
    subclass_score: float
    model_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a human says of a photo; neither label says that it shows nothing that has one.

    `content_hash` is that of the content the human saw, and `shown` the tag; None takes what the database has now.
    `sample_id` is the sample it was made for. A client that gives every review its own `token` may send it again.

    Raises:
        UsageError: a subclass without its superclass, or a label or token that cannot be one.
    """

    photo_id: int
    superclass: str | None
    subclass: str | None = None
    content_hash: bytes | None = None
    shown: ShownTag | None = None
    origin: ReviewOrigin = ReviewOrigin.REVIEW
    sample_id: int | None = None
    token: str | None = None

    def __post_init__(self) -> None:
        for level, name in zip(LEVELS, checked_labels(self.superclass, self.subclass), strict=True):
            object.__setattr__(self, level, name)
        if self.token is not None and (not self.token.isprintable() or not 0 < len(self.token) <= _LONGEST_TOKEN):
            raise UsageError(f"a token is 1 to {_LONGEST_TOKEN} printable characters, not {self.token[:20]!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedReview(HasPath):
    """A review as it is stored.

    `current`: it was not undone, and no newer one of the photo took its place. `valid`: the photo still has the content
    that was reviewed. `state` is the photo's.
    """

    id: int
    photo_id: int
    path_bytes: bytes
    state: PhotoState
    content_hash: bytes
    superclass: str | None
    subclass: str | None
    rank: Rank
    verdict: Verdict
    origin: ReviewOrigin
    sample_id: int | None
    shown: ShownTag | None
    token: str | None
    reviewed_at: datetime
    undone_at: datetime | None
    current: bool
    valid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewFilter:
    """Which reviews are wanted; what is None asks for nothing.

    `under`: of photos at or under this path. `sample_id`: made for this sample. `token`: the one its client gave it.
    `current` and `valid`: only such.
    """

    under: PhotoPath | None = None
    sample_id: int | None = None
    photo_id: int | None = None
    origins: Sequence[ReviewOrigin] | None = None
    token: str | None = None
    current: bool = True
    valid: bool = True


class Reviews:
    """The reviews of photos. All methods raise StoreError when the database cannot be read, or written.

    All that writes survives a power cut once it is done.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, review: Review) -> int:
        """Save what a human says of a photo, and make it the photo's tag at once; the review's id.

        It replaces an older review of the photo. One whose token is known is not saved again.

        Raises:
            UsageError: the photo or its content is not known, its content is another now, it is not in the sample, or
                the token belongs to another review.
        """
        return self.save_all([review])[0]

    @tried_again
    def save_all(self, given: Sequence[Review]) -> list[int]:
        """Save reviews of different photos in one transaction, as `save` does; their ids, in order.

        Raises:
            UsageError: as for one, or a photo comes twice; nothing is saved then.
        """
        with self._database.write(durable=True) as connection, untrusted_rows(self._database.location):
            now = self._database.next_moment()
            known = _known_tokens(connection, given)
            fresh = [review for review in given if review.token is None or review.token not in known]
            if len({review.photo_id for review in fresh}) < len(fresh):
                raise UsageError(
                    "reviews that are saved together must be of different photos; save them one after another"
                )
            for chunk in chunked(fresh):
                lock_photos(connection, photos.c.id.in_([review.photo_id for review in chunk]))
            before = _photos_and_tags(connection, [review.photo_id for review in fresh])
            rows = [_row_of(review, before.get(review.photo_id), now) for review in fresh]
            _note_in_samples(connection, fresh)
            ids: list[int] = []
            if rows:
                statement = insert(reviews).returning(reviews.c.id, sort_by_parameter_order=True)
                ids = [int(number) for number in connection.execute(statement, rows).scalars()]
                set_tags(connection, {each.photo_id: human_tag(each.superclass, each.subclass, now) for each in fresh})
            new = iter(ids)
            return [known[review.token] if review.token in known else next(new) for review in given]

    @tried_again
    def undo(self, review_id: int) -> None:
        """Take a review back; the photo has the tag again that it had before, a model's or a human's.

        If its file changed since, a model's tag does not come back: the next `phototag tag` gives it one. A copy that
        took the human's tag over when it was found follows.

        Raises:
            UsageError: there is no such review, it was undone already, a newer one replaced it, or the photo was
                tagged by a human in another way since.
        """
        with self._database.write(durable=True) as connection, untrusted_rows(self._database.location):
            of_review = select(reviews.c.photo_id).where(reviews.c.id == review_id)
            lock_photos(connection, photos.c.id.in_(of_review))
            row = _undoable(connection, review_id)
            connection.execute(
                update(reviews).where(reviews.c.id == review_id).values(undone_at=self._database.next_moment())
            )
            previous = _tag_from_json(row.previous_tag)
            by_model = previous is not None and previous["source"] == Source.MODEL.value
            set_tags(
                connection,
                {
                    int(holder.id): None if by_model and holder.content_hash != row.content_hash else previous
                    for holder in connection.execute(_holders(row)).all()
                },
            )

    def find(self, review_id: int) -> SavedReview | None:
        """Return the review with that id, undone or not, None if there is none."""
        with self._database.read() as connection:
            return find_reviews(connection, [review_id]).get(review_id)

    def find_all(self, wanted: ReviewFilter | None = None) -> Iterator[SavedReview]:
        """Yield the wanted reviews, oldest first, in pages; without a filter those that are current and valid."""
        wanted = wanted or ReviewFilter()
        conditions = [*is_under(wanted.under)]
        if wanted.current:
            conditions.append(_current())
        if wanted.valid:
            conditions.append(_VALID)
        for column in (reviews.c.sample_id, reviews.c.photo_id, reviews.c.token):
            value = getattr(wanted, column.name)
            if value is not None:
                conditions.append(column == value)
        if wanted.origins is not None:
            conditions.append(reviews.c.origin.in_([origin.value for origin in wanted.origins]))
        statement = _select().where(*conditions)
        pages = self._database.pages(statement, (reviews.c.id,), lambda _, rows: [_from_row(row) for row in rows])
        return chain.from_iterable(pages)

    def given_labels(self, origins: Sequence[ReviewOrigin]) -> set[tuple[str, str | None]]:
        """Return the classes (superclass, subclass) that reviews of these origins name, but for those undone."""
        statement = (
            select(reviews.c.superclass, reviews.c.subclass)
            .where(
                reviews.c.superclass.is_not(None),
                reviews.c.undone_at.is_(None),
                reviews.c.origin.in_([origin.value for origin in origins]),
            )
            .distinct()
        )
        with self._database.read() as connection:
            return {(row.superclass, row.subclass) for row in connection.execute(statement)}


# ---- saving


def _known_tokens(connection: Connection, given: Sequence[Review]) -> dict[str | None, int]:
    by_token = {review.token: review for review in given if review.token is not None}
    known: dict[str | None, int] = {}
    for chunk in chunked(list(by_token)):
        for row in connection.execute(select(reviews).where(reviews.c.token.in_(chunk))):
            review = by_token[row.token]
            if (row.photo_id, row.superclass, row.subclass) != (review.photo_id, review.superclass, review.subclass):
                raise UsageError(f"token {row.token!r} belongs to review {row.id}, which says something else")
            known[row.token] = int(row.id)
    return known


def _photos_and_tags(connection: Connection, ids: Sequence[int]) -> dict[int, Row[Any]]:
    found: dict[int, Row[Any]] = {}
    columns = (photos.c.id, photos.c.path_text, photos.c.content_hash, *(tags.c[name] for name in TAG_NAMES))
    for chunk in chunked(ids):
        statement = (
            select(*columns).outerjoin_from(photos, tags, tags.c.photo_id == photos.c.id).where(photos.c.id.in_(chunk))
        )
        found.update((int(row.id), row) for row in connection.execute(statement))
    return found


def _row_of(review: Review, photo: Row[Any] | None, now: datetime) -> dict[str, Any]:
    if photo is None:
        raise UsageError(f"photo {review.photo_id}: not in the database; run: phototag tag FOLDER")
    if photo.content_hash is None:
        raise UsageError(f"{photo.path_text}: was never read, so it cannot be reviewed; run: phototag tag FOLDER")
    content_hash = bytes(photo.content_hash)
    if review.content_hash not in (None, content_hash):
        raise UsageError(f"{photo.path_text}: changed since it was shown; look at it again")
    shown = review.shown or _shown(photo)
    return {
        "photo_id": review.photo_id,
        "content_hash": content_hash,
        "superclass": review.superclass,
        "subclass": review.subclass,
        "rank": rank_of(review.superclass, review.subclass).value,
        "verdict": verdict_of(shown, review.superclass, review.subclass).value,
        "origin": review.origin.value,
        "sample_id": review.sample_id,
        "shown_superclass": shown.superclass if shown else None,
        "shown_subclass": shown.subclass if shown else None,
        "shown_rank": shown.rank.value if shown else None,
        "shown_superclass_score": shown.superclass_score if shown else None,
        "shown_subclass_score": shown.subclass_score if shown else None,
        "shown_model_id": shown.model_id if shown else None,
        "previous_tag": _tag_to_json(photo),
        "token": review.token,
        "reviewed_at": now,
    }


def _shown(row: Row[Any], prefix: str = "") -> ShownTag | None:
    """Return the tag in the columns whose names begin so."""
    tag = {name.removeprefix(prefix): value for name, value in row._mapping.items() if name.startswith(prefix)}
    if tag["rank"] is None:
        return None
    return ShownTag(
        superclass=tag["superclass"],
        subclass=tag["subclass"],
        rank=Rank(tag["rank"]),
        superclass_score=float(tag["superclass_score"]),
        subclass_score=float(tag["subclass_score"]),
        model_id=tag["model_id"],
    )


def _tag_to_json(photo: Row[Any]) -> dict[str, Any] | None:
    if photo.rank is None:
        return None
    return {**{name: getattr(photo, name) for name in TAG_NAMES}, "tagged_at": photo.tagged_at.isoformat()}


def _note_in_samples(connection: Connection, given: Iterable[Review]) -> None:
    """Check that reviewed photos belong to the samples they were reviewed for; one that was skipped no longer is."""
    for review in given:
        if review.sample_id is None:
            continue
        of_photo = (sample_items.c.sample_id == review.sample_id) & (sample_items.c.photo_id == review.photo_id)
        if connection.execute(update(sample_items).where(of_photo).values(skipped_at=None)).rowcount == 0:
            raise UsageError(f"photo {review.photo_id} is not in sample {review.sample_id}")


# ---- undoing


def _undoable(connection: Connection, review_id: int) -> Row[Any]:
    """Return a review with the tag that its photo has, once it is certain that it can be undone."""
    statement = (
        select(reviews, photos.c.path_text, tags.c.source, tags.c.tagged_at)
        .join_from(reviews, photos, photos.c.id == reviews.c.photo_id)
        .outerjoin(tags, tags.c.photo_id == reviews.c.photo_id)
        .where(reviews.c.id == review_id)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise UsageError(f"review {review_id}: there is none")
    of = f"review {review_id} of {row.path_text}"
    if row.undone_at is not None:
        raise UsageError(f"{of}: was undone already, at {row.undone_at:%Y-%m-%d %H:%M:%S} UTC")
    newer = connection.execute(select(reviews.c.id).where(_is_newer(row.photo_id, review_id)).limit(1)).scalar()
    if newer is not None:
        raise UsageError(f"{of}: review {newer} took its place; undo that one first")
    if row.source != Source.HUMAN.value or row.tagged_at != row.reviewed_at:
        raise UsageError(f"{of}: the photo was tagged in another way since, so there is nothing to bring back")
    return row


def _is_newer(photo_id: int, review_id: int) -> ColumnElement[bool]:
    return (reviews.c.photo_id == photo_id) & (reviews.c.id > review_id) & reviews.c.undone_at.is_(None)


def _holders(row: Row[Any]) -> Any:
    """Select the photos whose tag is that of a review: its own, and copies and partners without a review."""
    own = exists().where(reviews.c.photo_id == photos.c.id, reviews.c.undone_at.is_(None))
    return (
        select(photos.c.id, photos.c.content_hash)
        .join_from(photos, tags, tags.c.photo_id == photos.c.id)
        .where(
            tags.c.source == Source.HUMAN.value,
            tags.c.tagged_at == row.reviewed_at,
            or_(
                photos.c.id == row.photo_id,
                or_(photos.c.content_hash == row.content_hash, photos.c.lead_id == row.photo_id) & ~own,
            ),
        )
    )


def _tag_from_json(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    return {name: value[name] for name in TAG_NAMES} | {"tagged_at": datetime.fromisoformat(value["tagged_at"])}


# ---- reading


def find_reviews(connection: Connection, ids: Sequence[int]) -> dict[int, SavedReview]:
    """Return the reviews with these ids, by id."""
    found: dict[int, SavedReview] = {}
    for chunk in chunked(ids):
        rows = connection.execute(_select().where(reviews.c.id.in_(chunk)))
        found.update((int(row.id), _from_row(row)) for row in rows)
    return found


def _current() -> ColumnElement[bool]:
    other = reviews.alias()
    newer = exists().where(
        other.c.photo_id == reviews.c.photo_id, other.c.id > reviews.c.id, other.c.undone_at.is_(None)
    )
    return reviews.c.undone_at.is_(None) & ~newer


def _select() -> Any:
    return select(
        reviews, photos.c.path_bytes, photos.c.state, _current().label("current"), _VALID.label("valid")
    ).join_from(reviews, photos, photos.c.id == reviews.c.photo_id)


def _from_row(row: Row[Any]) -> SavedReview:
    return SavedReview(
        id=int(row.id),
        photo_id=int(row.photo_id),
        path_bytes=bytes(row.path_bytes),
        state=PhotoState(row.state),
        content_hash=bytes(row.content_hash),
        superclass=row.superclass,
        subclass=row.subclass,
        rank=Rank(row.rank),
        verdict=Verdict(row.verdict),
        origin=ReviewOrigin(row.origin),
        sample_id=row.sample_id,
        shown=_shown(row, "shown_"),
        token=row.token,
        reviewed_at=row.reviewed_at,
        undone_at=row.undone_at,
        current=bool(row.current),
        valid=bool(row.valid),
    )


def verdict_of(shown: ShownTag | None, superclass: str | None, subclass: str | None) -> Verdict:
    """Return how a tag compares with what a human says."""
    if shown is None:
        return Verdict.LABEL
    if (shown.superclass, shown.subclass) == (superclass, subclass):
        return Verdict.RIGHT
    if superclass is None:
        return Verdict.NONE
    if shown.superclass is not None and shown.superclass != superclass:
        return Verdict.SUPERCLASS_WRONG
    return Verdict.LABEL if shown.subclass is None else Verdict.SUBCLASS_WRONG
