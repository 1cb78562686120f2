"""Saving and finding samples: photos sampled to be reviewed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, ScalarSelect, case, delete, exists, func, insert, select, update

from phototag.database import (
    LARGEST_INTEGER,
    Database,
    insert_row,
    photos,
    reviews,
    sample_items,
    sample_strata,
    samples,
    tags,
    tried_again,
)
from phototag.errors import UsageError
from phototag.records import LEVELS, PhotoState, Rank, Tag
from phototag.store.query import plain_rows
from phototag.store.reviews import SavedReview, find_reviews
from phototag.store.sample_records import (
    Design,
    NewSample,
    Sample,
    SampledPhoto,
    SampleItem,
    SampleProgress,
    Stratum,
    check_items,
)
from phototag.store.tags import tag_columns
from phototag.taxonomy import LabelCodes


class Samples:
    """The samples of a database. All methods raise StoreError when it cannot be read, or written.

    All that writes survives a power cut once it is done.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # ---- writing

    @tried_again
    def save(self, sample: NewSample) -> int:
        """Save a sample with its strata and photos; its id.

        Raises:
            UsageError: there is one of that name.
        """
        values = {
            "name": sample.name,
            "created_at": self._database.next_moment(),
            "design": sample.design.value,
            "strata_by": sample.strata_by,
            "size": len(sample.items),
            "population": sample.population,
            "seed": sample.seed,
            "for_estimation": sample.for_estimation,
            "model_id": sample.model_id,
            "parameters": dict(sample.parameters),
        }
        with self._database.write(durable=True) as connection:
            if connection.execute(select(samples.c.id).where(samples.c.name == sample.name)).first() is not None:
                raise UsageError(f"there is a sample {sample.name!r} already; choose another name")
            sample_id = insert_row(connection, samples, values)
            _insert_strata(connection, sample_id, sample.strata)
            _insert_items(connection, sample_id, sample.items, after=0)
            return sample_id

    @tried_again
    def extend(
        self,
        sample_id: int,
        *,
        items: Sequence[SampledPhoto],
        strata: Sequence[Stratum],
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Add photos behind those of a sample; `strata` count all of them, `parameters` replace the sample's.

        Where photos were sampled by chance, all of a stratum then have the inclusion probability of those added.

        Raises:
            UsageError: there is no such sample, a photo is in it already, or strata and items do not agree.
        """
        with self._database.write(durable=True) as connection:
            row = connection.execute(select(samples).where(samples.c.id == sample_id)).one_or_none()
            if row is None:
                raise UsageError(f"sample {sample_id}: there is none")
            in_sample = select(sample_items.c.photo_id, sample_items.c.stratum).where(_of(sample_items, sample_id))
            known = connection.execute(in_sample).all()
            if {item.photo_id for item in items} & {int(item.photo_id) for item in known}:
                raise UsageError(f"sample {row.name!r}: a photo that is in it already cannot be added")
            check_items(items, strata, Counter(item.stratum for item in known), by_chance=bool(row.for_estimation))
            _extend_strata(connection, sample_id, row.name, strata)
            _insert_items(connection, sample_id, items, after=_last_position(connection, sample_id))
            for stratum, chance in {item.stratum: item.inclusion_probability for item in items}.items():
                by_chance = (sample_items.c.stratum == stratum) & sample_items.c.inclusion_probability.is_not(None)
                connection.execute(
                    update(sample_items)
                    .where(_of(sample_items, sample_id), by_chance)
                    .values(inclusion_probability=chance)
                )
            population = sum(stratum.population for stratum in strata)
            values: dict[str, Any] = {"size": len(known) + len(items), "population": population}
            if parameters is not None:
                values["parameters"] = dict(parameters)
            connection.execute(update(samples).where(samples.c.id == sample_id).values(values))

    @tried_again
    def remove(self, sample_id: int) -> int:
        """Remove a sample; how many reviews made for it stay, as corrections that belong to no sample.

        Raises:
            UsageError: there is no such sample.
        """
        made_for_it = (reviews.c.sample_id == sample_id) & reviews.c.undone_at.is_(None)
        with self._database.write(durable=True) as connection:
            kept = int(connection.execute(select(func.count()).select_from(reviews).where(made_for_it)).scalar_one())
            # The database itself takes strata and photos away with it, and its number off the reviews.
            if connection.execute(delete(samples).where(samples.c.id == sample_id)).rowcount == 0:
                raise UsageError(f"sample {sample_id}: there is none")
            return kept

    @tried_again
    def skip(self, sample_id: int, position: int, *, skipped: bool = True) -> None:
        """Note that a photo of a sample was skipped; with `skipped` false, that it no longer is.

        Raises:
            UsageError: the sample has no photo at that position.
        """
        at = _of(sample_items, sample_id) & (sample_items.c.position == position)
        values = {"skipped_at": self._database.next_moment() if skipped else None}
        with self._database.write(durable=True) as connection:
            if connection.execute(update(sample_items).where(at).values(values)).rowcount == 0:
                raise UsageError(f"sample {sample_id}: has no photo at position {position}")

    # ---- reading

    def find_all(self) -> list[Sample]:
        """Return all samples, oldest first, with how far their review is."""
        strata: dict[int, list[Stratum]] = {}
        in_order = select(sample_strata).order_by(sample_strata.c.sample_id, sample_strata.c.stratum)
        with self._database.read() as connection:
            for row in connection.execute(in_order):
                part = Stratum(row.stratum, int(row.population), int(row.drawn))
                strata.setdefault(int(row.sample_id), []).append(part)
            progress = _progress(connection)
            return [
                _sample(row, strata.get(int(row.id), ()), progress.get(int(row.id)))
                for row in connection.execute(select(samples).order_by(samples.c.id))
            ]

    def find(self, name: str) -> Sample | None:
        """Return the sample of that name, None if there is none."""
        return next((sample for sample in self.find_all() if sample.name == name), None)

    def items(
        self,
        sample_id: int,
        *,
        pending_only: bool = False,
        positions: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> list[SampleItem]:
        """Return the photos of a sample in the order of review, or the first of them.

        `pending_only`: those that wait for a review; `positions`: those at these places.
        """
        reviewed = _reviewed()
        statement = (
            select(
                sample_items,
                photos.c.path_bytes,
                photos.c.state,
                _CHANGED.label("changed"),
                reviewed.label("reviewed"),
                _newest_review().label("review_id"),
            )
            .join_from(sample_items, photos, photos.c.id == sample_items.c.photo_id)
            .where(_of(sample_items, sample_id))
            .order_by(sample_items.c.position)
            .limit(limit)
        )
        if pending_only:
            statement = statement.where(~_CHANGED, ~reviewed, sample_items.c.skipped_at.is_(None))
        if positions is not None:
            # A server refuses larger numbers than the column takes.
            there = [position for position in positions if position <= LARGEST_INTEGER]
            statement = statement.where(sample_items.c.position.in_(there))
        with self._database.read() as connection:
            rows = connection.execute(statement).all()
            ids = [int(row.review_id) for row in rows if row.reviewed and not row.changed]
            found = find_reviews(connection, ids)
            return [_item(row, found.get(row.review_id) if row.reviewed else None) for row in rows]

    def standing(self, sample_id: int) -> tuple[list[int], SampleProgress]:
        """Return the positions that wait for a review, in order, and how far the sample is: as `items` would tell."""
        newest = _newest_review()
        newest_reviews = reviews.alias()
        counts_as = case(
            (_CHANGED, "changed"), (_reviewed(), "reviewed"), (sample_items.c.skipped_at.is_not(None), "skipped")
        )
        labels = [table.c[level] for table in (sample_items, newest_reviews) for level in LEVELS]
        statement = (
            select(sample_items.c.position, counts_as, *labels)
            .join_from(sample_items, photos, photos.c.id == sample_items.c.photo_id)
            .outerjoin(newest_reviews, newest_reviews.c.id == newest)
            .where(_of(sample_items, sample_id))
            .order_by(sample_items.c.position)
        )
        with self._database.read() as connection:
            rows = [row for part in plain_rows(connection, statement) for row in part]
        counts, codes = Counter(kind for _, kind, *_ in rows), LabelCodes()
        progress = SampleProgress(
            size=len(rows),
            reviewed=counts["reviewed"],
            right=sum(codes[row[2:4]] == codes[row[4:]] for row in rows if row[1] == "reviewed"),
            skipped=counts["skipped"],
            changed=counts["changed"],
        )
        return [int(position) for position, kind, *_ in rows if kind is None], progress

    def of_photo(self, photo_id: int) -> list[tuple[int, str, int]]:
        """Return the samples that a photo is in, oldest first: id, name, and its position in the order of review."""
        statement = (
            select(samples.c.id, samples.c.name, sample_items.c.position)
            .join_from(sample_items, samples, samples.c.id == sample_items.c.sample_id)
            .where(sample_items.c.photo_id == photo_id)
            .order_by(samples.c.id)
        )
        with self._database.read() as connection:
            return [(int(row.id), row.name, int(row.position)) for row in connection.execute(statement)]

    def audit_version(self) -> tuple[Any, ...]:
        """Return plain values that differ once a sample, a review, a tag or a known photo does."""
        counts = (
            # A new sample may get the number of one that was removed.
            select(func.count(), func.max(samples.c.id), func.max(samples.c.created_at)).select_from(samples),
            select(func.count(), func.max(sample_items.c.skipped_at)).where(sample_items.c.skipped_at.is_not(None)),
            select(func.count()).select_from(sample_items),
            select(func.max(reviews.c.id), func.count(reviews.c.undone_at), func.max(reviews.c.undone_at)),
            select(func.count(), func.max(tags.c.tagged_at)).select_from(tags),
            select(photos.c.state, func.count()).group_by(photos.c.state).order_by(photos.c.state),
        )
        with self._database.read() as connection:
            return tuple(tuple(map(tuple, connection.execute(each).all())) for each in counts)

    def contents_for_estimation(self) -> set[bytes]:
        """Return the hashes of all contents in samples for estimation: no model may be trained on them."""
        statement = (
            select(sample_items.c.content_hash)
            .join_from(sample_items, samples, samples.c.id == sample_items.c.sample_id)
            .where(samples.c.for_estimation)
        )
        with self._database.read() as connection:
            return {bytes(content) for content in connection.execute(statement).scalars()}


def _extend_strata(connection: Connection, sample_id: int, sample: str, strata: Sequence[Stratum]) -> None:
    """Replace the numbers of a sample's strata, and add new ones."""
    names = {stratum.name for stratum in strata}
    old = set(connection.execute(select(sample_strata.c.stratum).where(_of(sample_strata, sample_id))).scalars())
    if not old <= names:
        raise UsageError(f"sample {sample!r}: has strata that are not given: {', '.join(sorted(old - names))}")
    for stratum in strata:
        if stratum.name in old:
            of_stratum = _of(sample_strata, sample_id) & (sample_strata.c.stratum == stratum.name)
            connection.execute(
                update(sample_strata).where(of_stratum).values(population=stratum.population, drawn=stratum.drawn)
            )
    _insert_strata(connection, sample_id, [stratum for stratum in strata if stratum.name not in old])


def _sample(row: Row[Any], strata: Sequence[Stratum], progress: Mapping[str, int] | None) -> Sample:
    return Sample(
        id=int(row.id),
        name=row.name,
        created_at=row.created_at,
        design=Design(row.design),
        strata_by=row.strata_by,
        strata=tuple(strata),
        size=int(row.size),
        population=int(row.population),
        seed=int(row.seed),
        for_estimation=bool(row.for_estimation),
        model_id=row.model_id,
        parameters=dict(row.parameters),
        **(progress or {"reviewed": 0, "skipped": 0, "changed": 0}),
    )


def _last_position(connection: Connection, sample_id: int) -> int:
    statement = select(func.max(sample_items.c.position)).where(_of(sample_items, sample_id))
    return int(connection.execute(statement).scalar() or 0)


def _of(table: Any, sample_id: int) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = table.c.sample_id == sample_id
    return condition


def _insert_strata(connection: Connection, sample_id: int, strata: Sequence[Stratum]) -> None:
    rows = [
        {"sample_id": sample_id, "stratum": stratum.name, "population": stratum.population, "drawn": stratum.drawn}
        for stratum in strata
    ]
    if rows:
        connection.execute(insert(sample_strata), rows)


def _insert_items(connection: Connection, sample_id: int, items: Sequence[SampledPhoto], *, after: int) -> None:
    rows = [
        {
            "sample_id": sample_id,
            "position": position,
            "photo_id": item.photo_id,
            "stratum": item.stratum,
            "inclusion_probability": item.inclusion_probability,
            "content_hash": item.content_hash,
            **tag_columns(item.tag),
            "model_id": item.model_id,
        }
        for position, item in enumerate(items, start=after + 1)
    ]
    if rows:
        connection.execute(insert(sample_items), rows)


# Other content than was sampled, or none that could be read.
_CHANGED = photos.c.content_hash.is_distinct_from(sample_items.c.content_hash)


def _reviewed() -> ColumnElement[bool]:
    """Return whether the photo was reviewed for this sample. A later review for another purpose does not undo that."""
    return exists().where(
        reviews.c.photo_id == sample_items.c.photo_id,
        reviews.c.sample_id == sample_items.c.sample_id,
        reviews.c.content_hash == sample_items.c.content_hash,
        reviews.c.undone_at.is_(None),
    )


def _progress(connection: Connection) -> dict[int, dict[str, int]]:
    reviewed, skipped = _reviewed(), sample_items.c.skipped_at.is_not(None)
    counts = {
        "changed": func.count().filter(_CHANGED),
        "reviewed": func.count().filter(~_CHANGED, reviewed),
        "skipped": func.count().filter(~_CHANGED, ~reviewed, skipped),
    }
    statement = (
        select(sample_items.c.sample_id, *(count.label(name) for name, count in counts.items()))
        .join_from(sample_items, photos, photos.c.id == sample_items.c.photo_id)
        .group_by(sample_items.c.sample_id)
    )
    return {
        int(row.sample_id): {name: int(getattr(row, name)) for name in counts} for row in connection.execute(statement)
    }


def _newest_review() -> ScalarSelect[Any]:
    """Select the review of what an item shows that counts."""
    return (
        select(func.max(reviews.c.id))
        .where(
            reviews.c.photo_id == sample_items.c.photo_id,
            reviews.c.content_hash == sample_items.c.content_hash,
            reviews.c.undone_at.is_(None),
        )
        .scalar_subquery()
    )


def _item(row: Row[Any], review: SavedReview | None) -> SampleItem:
    return SampleItem(
        sample_id=int(row.sample_id),
        position=int(row.position),
        photo_id=int(row.photo_id),
        path_bytes=bytes(row.path_bytes),
        state=PhotoState(row.state),
        stratum=row.stratum,
        inclusion_probability=row.inclusion_probability,
        content_hash=bytes(row.content_hash),
        tag=Tag(
            superclass=row.superclass,
            subclass=row.subclass,
            rank=Rank(row.rank),
            superclass_score=float(row.superclass_score),
            subclass_score=float(row.subclass_score),
            novelty=float(row.novelty),
        ),
        model_id=row.model_id,
        skipped_at=row.skipped_at,
        changed=bool(row.changed),
        review=review,
    )
