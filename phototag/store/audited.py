"""What the audit keeps in a database: samples that were drawn, and reviews of them and of other photos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from phototag.choices import ReviewOrigin
from phototag.store import contents as content_rows
from phototag.store import query as queries
from phototag.store import reviews as review_rows
from phototag.store import samples as sample_rows
from phototag.store.base import OpenDatabase, utc_now
from phototag.store.batch import StoredTag
from phototag.store.contents import Content
from phototag.store.engine import untrusted_rows
from phototag.store.photos import PAGE_ROWS
from phototag.store.query import Query, TaggedContent, TagRow
from phototag.store.review_records import Review, ReviewFilter, SavedReview
from phototag.store.sample_records import DrawnPhoto, NewSample, Sample, SampleItem, SampleProgress, Stratum


class AuditedDatabase(OpenDatabase):
    """Reviews and samples. All that writes needs `writing`, and survives a power cut once it is done."""

    # ---- reviews

    def save_review(self, review: Review) -> int:
        """Save what a human says of a photo, and make it the photo's tag at once; the review's id.

        It takes the place of an older review of the photo. One whose token is known is not saved again.

        Raises:
            UsageError: the photo or its content is not known, its content is another now, it is not in the sample, or
                the token belongs to another review.
            StoreError: the lock is not held, or the database cannot be written.
        """
        return self.save_reviews([review])[0]

    def save_reviews(self, reviews: Sequence[Review]) -> list[int]:
        """Save reviews of different photos in one transaction, as `save_review` does; their ids, in order.

        Raises:
            UsageError: as for one, or a photo comes twice; nothing is saved then.
            StoreError: the lock is not held, or the database cannot be written.
        """
        with self._write(durable=True) as connection, untrusted_rows(self._location):
            return review_rows.save(connection, reviews, now=utc_now())

    def undo_review(self, review_id: int) -> None:
        """Take a review back; the photo has the tag again that it had before, a model's or a human's.

        If its file changed since, a model's tag does not come back: the next `phototag tag` gives it one.

        Raises:
            UsageError: there is no such review, it was undone already, a newer one took its place, or the photo was
                tagged by a human in another way since.
            StoreError: the lock is not held, or the database cannot be written.
        """
        with self._write(durable=True) as connection, untrusted_rows(self._location):
            review_rows.undo(connection, review_id, now=utc_now())

    def reviews(self, wanted: ReviewFilter | None = None) -> Iterator[SavedReview]:
        """The wanted reviews, oldest first; without a filter those that are current and valid.

        Each page is read in a transaction of its own.

        Raises:
            StoreError: the database cannot be read.
        """
        wanted = wanted or ReviewFilter()
        after = -1
        while True:
            with self._read() as connection:
                page = review_rows.find_page(connection, wanted, after=after)
            yield from page
            if len(page) < PAGE_ROWS:
                return
            after = page[-1].id

    def find_review(self, review_id: int) -> SavedReview | None:
        """The review with that id, undone or not, None if there is none.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return review_rows.find(connection, [review_id]).get(review_id)

    def given_labels(self, origins: Sequence[ReviewOrigin]) -> set[tuple[str, str | None]]:
        """The classes (superclass, subclass) that reviews of these origins name, but for those that were undone.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return review_rows.given_labels(connection, origins)

    # ---- samples

    def save_sample(self, sample: NewSample) -> int:
        """Save a sample with its strata and photos; its id.

        Raises:
            UsageError: there is one of that name.
            StoreError: the lock is not held, or the database cannot be written.
        """
        with self._write(durable=True) as connection:
            return sample_rows.save(connection, sample, now=utc_now())

    def extend_sample(self, sample_id: int, *, items: Sequence[DrawnPhoto], strata: Sequence[Stratum]) -> None:
        """Add photos behind those of a sample; `strata` count all of them.

        Where photos were drawn by chance, all of a stratum then have the inclusion probability drawn / population.

        Raises:
            UsageError: there is no such sample, a photo is in it already, or strata and items do not agree.
            StoreError: the lock is not held, or the database cannot be written.
        """
        with self._write(durable=True) as connection:
            sample_rows.extend(connection, sample_id, items, strata)

    def remove_sample(self, sample_id: int) -> int:
        """Remove a sample; how many reviews made for it stay, as corrections that belong to no sample.

        Raises:
            UsageError: there is no such sample.
            StoreError: the lock is not held, or the database cannot be written.
        """
        with self._write(durable=True) as connection:
            return sample_rows.remove(connection, sample_id)

    def samples(self) -> list[Sample]:
        """All samples, oldest first, with how far their review is.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return sample_rows.find_all(connection)

    def find_sample(self, name: str) -> Sample | None:
        """The sample of that name, None if there is none.

        Raises:
            StoreError: the database cannot be read.
        """
        return next((sample for sample in self.samples() if sample.name == name), None)

    def sample_items(
        self,
        sample_id: int,
        *,
        pending_only: bool = False,
        positions: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> list[SampleItem]:
        """The photos of a sample in the order of review, or the first of them.

        `pending_only`: those that wait for a review; `positions`: those at these places.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return sample_rows.find_items(
                connection, sample_id, pending_only=pending_only, positions=positions, limit=limit
            )

    def sample_standing(self, sample_id: int) -> tuple[list[int], SampleProgress]:
        """The positions of a sample that wait for a review, in order, and how far the review is.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return sample_rows.standing(connection, sample_id)

    def audit_version(self) -> tuple[Any, ...]:
        """Plain values that differ once a sample, a review, a tag or a known photo does: for caches of reports.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return sample_rows.version(connection)

    def skip(self, sample_id: int, position: int, *, skipped: bool = True) -> None:
        """Note that a photo of a sample was skipped; with `skipped` false, that it no longer is.

        Raises:
            UsageError: the sample has no photo at that position.
            StoreError: the lock is not held, or the database cannot be written.
        """
        with self._write(durable=True) as connection:
            sample_rows.skip(connection, sample_id, position, skipped=skipped, now=utc_now())

    def contents_for_estimation(self) -> set[bytes]:
        """The hashes of all contents that were drawn into samples for estimation: no model may be trained on them.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return sample_rows.contents_for_estimation(connection)

    # ---- contents

    def tagged_contents(self, query: Query) -> Iterator[TaggedContent]:
        """The wanted photos with a model's tag whose content is known, by id, streamed: what samples are drawn from.

        Raises:
            StoreError: the database cannot be read, or holds rows that phototag did not write.
        """
        with self._read() as connection:
            if self._location.in_memory:
                # There is but one connection, which others wait for.
                yield from list(queries.find_tagged(connection, query))
            else:
                yield from queries.find_tagged(connection, query)

    def tag_rows(self, query: Query) -> Iterator[Sequence[TagRow]]:
        """The tags of the photos that `tagged_contents` gives, many at a time and quicker; to be read to the end.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            yield from queries.find_tag_rows(connection, query)

    def contents(self, *, under: Path | None = None) -> Iterator[list[Content]]:
        """Pages of all photos whose content is known, in the order of ids, each read in a transaction of its own.

        Raises:
            StoreError: the database cannot be read.
        """
        after = -1
        while True:
            with self._read() as connection:
                page = content_rows.find_page(connection, after=after, under=under)
            if page:
                yield page
            if len(page) < PAGE_ROWS:
                return
            after = page[-1].photo_id

    def paths_of(self, content_hash: bytes) -> list[Path]:
        """Where a content lies now as far as is known: paths of photos that are not missing, in order.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return content_rows.paths_of(connection, content_hash)

    def save_scores(self, *, model_id: int, scored: Sequence[StoredTag]) -> int:
        """Save what a model says of photos without giving them tags; how many of them still have that content.

        Raises:
            StoreError: the lock is not held, or the database cannot be written.
        """
        with self._write() as connection:
            scores_id = self._keeper(connection, model_id)
            return content_rows.save_scores(connection, scores_id=scores_id, scored=scored, now=utc_now())
