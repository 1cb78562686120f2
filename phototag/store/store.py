"""The store: one database of photos and their tags, opened to read, and to write by one process at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from phototag._version import __version__
from phototag.errors import StoreError
from phototag.records import Failure, Rank, Tag, TaggedPhoto
from phototag.store import batch, health
from phototag.store import catalog_rows as gallery_rows
from phototag.store import models as registration
from phototag.store import photos as photo_rows
from phototag.store import query as queries
from phototag.store.audited import AuditedDatabase
from phototag.store.base import utc_now
from phototag.store.batch import StoredTag
from phototag.store.catalog_rows import ChangeSign, GalleryRow, PhotoFacts, ScoredContentRow, StoredPrediction
from phototag.store.embeddings import RankedPhoto, ranked_page
from phototag.store.engine import untrusted_rows
from phototag.store.photos import KnownPhoto, clean_text
from phototag.store.query import Query
from phototag.store.review_records import check_labels
from phototag.store.reviews import human_tag, set_tags
from phototag.store.scored import ScoredTag, scored_page
from phototag.store.tables import photos, runs
from phototag.taxonomy import Taxonomy


class Store(AuditedDatabase):
    """A database of photos and their tags. Made by `Store.open`; close it, or use it in a `with`.

    Everything that writes happens inside `writing`. One Store may be used from several threads, not from a
    forked process: only the parent writes.
    """

    # ---- reading

    def known_photos(self, roots: Sequence[Path]) -> Iterator[KnownPhoto]:
        """Every photo known at or under any of `roots`, once, in the order of path bytes.

        Pages are read in transactions of their own, so that a slow consumer keeps no journal from being
        emptied: rows that are written behind the reader do not show up, rows ahead of it do.

        Raises:
            StoreError: the database cannot be read.
        """
        for start, end in photo_rows.merged_ranges(roots):
            while True:
                with self._read() as connection:
                    page = photo_rows.known_page(connection, start, end)
                yield from page
                if len(page) < photo_rows.PAGE_ROWS:
                    break
                start = page[-1].path_bytes + b"\0"

    def known_at(self, paths: Sequence[Path]) -> list[KnownPhoto]:
        """The known photos among exactly these paths, in the order of path bytes.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return photo_rows.known_at(connection, paths)

    def find(self, photo: Path | int) -> KnownPhoto | None:
        """The photo with that absolute path or id, None if there is none.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return photo_rows.find(connection, photo)

    def predictions_for(self, model_id: int, content_hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        """The packed scores that the model gave to these contents, under whatever name, by content hash.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return batch.predictions_for(connection, self._keeper(connection, model_id), content_hashes)

    def scored_content(self, model_id: int, content_hash: bytes) -> batch.ScoredContent | None:
        """What the model said of that content before, under whatever name.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return batch.scored_content(connection, self._keeper(connection, model_id), content_hash)

    def scored_hashes(self, model_id: int) -> Iterator[bytes]:
        """The hashes of all contents that the model scored, streamed.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            yield from batch.scored_hashes(connection, self._keeper(connection, model_id))

    def query(self, query: Query) -> Iterator[TaggedPhoto]:
        """The photos that `query` asks for, streamed.

        Raises:
            StoreError: the database cannot be read, or holds rows that phototag did not write.
        """
        if self._location.in_memory:
            with self._read() as connection:
                return iter(list(queries.find(connection, query)))
        return self._stream(query)

    def _stream(self, query: Query) -> Iterator[TaggedPhoto]:
        with self._read() as connection:
            yield from queries.find(connection, query)

    def scores_behind_tags(self, under: Path) -> list[tuple[bytes, int, bytes]]:
        """Path bytes, model id and packed scores behind each tag that a model gave at or under a path.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return list(queries.find_scores(connection, under, registration.score_keepers(connection)))

    def scored_tags(self, model_id: int | None, *, under: Path | None = None) -> Iterator[list[ScoredTag]]:
        """Pages of all tags that a model gave, each with what the model `model_id` said of that content, if stored.

        In the order of photo ids, each page read in a transaction of its own. With None there are no scores.

        Raises:
            StoreError: the database cannot be read.
        """
        after = -1
        while True:
            with self._read() as connection:
                keeper = None if model_id is None else self._keeper(connection, model_id)
                page = scored_page(connection, keeper=keeper, after=after, under=under)
            if page:
                yield page
            if len(page) < photo_rows.PAGE_ROWS:
                return
            after = page[-1].photo_id

    def ranked_photos(
        self, model_id: int | None, *, ranks: Collection[Rank], under: Path | None = None
    ) -> Iterator[list[RankedPhoto]]:
        """Pages of readable photos that a model tagged at these ranks, as `scored_tags` gives its own.

        Raises:
            StoreError: the database cannot be read.
        """
        after = -1
        while True:
            with self._read() as connection:
                keeper = None if model_id is None else self._keeper(connection, model_id)
                page = ranked_page(connection, keeper=keeper, after=after, under=under, ranks=ranks)
            if page:
                yield page
            if len(page) < photo_rows.PAGE_ROWS:
                return
            after = page[-1].photo_id

    def find_model(self, *, hash: str, weights_hash: str | None = None) -> int | None:  # noqa: A002
        """The id of the model with that file, else of one with the same weights, None if neither is registered.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return registration.find(connection, file_hash=hash, weights_hash=weights_hash)

    def count(self, query: Query) -> int:
        """How many photos `query` asks for, whatever its limit.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return queries.count(connection, query)

    def models(self) -> tuple[health.ModelInfo, ...]:
        """The models registered here, oldest first.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return health.known_models(connection)

    # ---- reading, for the gallery

    def gallery_rows(self, ids: Sequence[int] | None = None) -> Iterator[Sequence[GalleryRow]]:
        """Photos with their tags in the order of ids, some at a time, of one moment: all, or those with these ids.

        Raises:
            StoreError: the database cannot be read, or holds rows that phototag did not write.
        """
        with self._read() as connection:
            yield from gallery_rows.rows(connection, ids)

    def photo_facts(self, photo_id: int) -> PhotoFacts | None:
        """What `find` does not tell of a photo, None if there is none of that id.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return gallery_rows.facts(connection, photo_id)

    def predictions_of(self, photo_id: int) -> list[StoredPrediction]:
        """What models said of a photo, now and before it changed, or of its content under another name; newest first.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return gallery_rows.predictions_of(connection, photo_id)

    def samples_of(self, photo_id: int) -> list[tuple[int, str, int]]:
        """The samples that a photo is in, oldest first: id, name, and the photo's position in the order of review.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return gallery_rows.samples_of(connection, photo_id)

    def scored_photos(self, model_id: int, ids: Sequence[int] | None = None) -> Iterator[list[ScoredContentRow]]:
        """What a model scored, some at a time: all of it, also what photos held before, or what these photos hold now.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            yield from gallery_rows.scored_photos(connection, self._keeper(connection, model_id), ids)

    def score_keepers(self) -> dict[int, int]:
        """For each model the id of the one under which its scores are stored: the oldest with the same weights.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return registration.score_keepers(connection)

    @property
    def in_memory(self) -> bool:
        """Whether the database lives in this process, so that nobody else writes to it."""
        return self._location.in_memory

    def change_sign(self) -> ChangeSign:
        """A sign of writes by other connections, also of this store, on a connection that is kept; close it.

        Raises:
            StoreError: the database cannot be opened.
        """
        self._refuse_if_closed()
        return ChangeSign(self._engine, self._location)

    # ---- writing; all of it raises StoreError when the lock is not held or the database cannot be written

    def register_model(
        self,
        *,
        hash: str,  # noqa: A002
        name: str,
        backbone: str,
        taxonomy: Taxonomy,
        metrics: Mapping[str, Any],
        weights_hash: str | None = None,
    ) -> int:
        """The id of the model whose file has this SHA-256 (hex); made if new, given the new name if known.

        Models of the same `weights_hash` share their stored scores: in what scores depend on their files are alike.
        """
        with self._write() as connection, untrusted_rows(self._location):
            self._keepers = {}
            return registration.register(
                connection,
                file_hash=hash,
                weights_hash=weights_hash,
                name=name,
                backbone=backbone,
                taxonomy=taxonomy,
                metrics=metrics,
                now=utc_now(),
            )

    def begin_run(self, kind: str, *, model_id: int | None, device: str | None, runtime: str | None) -> int:
        """Note that a run starts; returns its id for `finish_run`."""
        values = {
            "kind": kind,
            "started_at": utc_now(),
            "model_id": model_id,
            "device": device,
            "runtime": runtime,
            "version": __version__,
        }
        with self._write() as connection:
            return registration.inserted_id(connection, runs, values)

    def finish_run(self, run_id: int, counts: Mapping[str, int], error: str | None = None) -> None:
        """Note that a run is over, what it counted, and what stopped it early."""
        values = {
            "finished_at": utc_now(),
            "counts": dict(counts),
            "error": None if error is None else clean_text(error),
        }
        with self._write() as connection:
            connection.execute(update(runs).where(runs.c.id == run_id).values(values))

    def save_batch(self, *, model_id: int, tagged: Sequence[StoredTag], failures: Sequence[Failure] = ()) -> None:
        """Save what came of a batch in one transaction: all of it or nothing.

        A human's tag is never replaced. Content that is new under a name, but that a human tagged under another, gets
        that tag, so moving files loses none. A failure counts one more attempt, from one again if the content changed;
        its model tag goes only then.
        """
        with self._write() as connection:
            scores_id = self._keeper(connection, model_id)
            batch.save(
                connection, model_id=model_id, scores_id=scores_id, tagged=tagged, failures=failures, now=utc_now()
            )

    def save_tags(self, *, model_id: int, tags: Sequence[tuple[int, Tag]]) -> None:
        """Set tags that were decided anew from stored scores, by photo id, in one transaction.

        A human's tag is never replaced.
        """
        with self._write() as connection:
            batch.save_tags(connection, model_id=model_id, tagged=dict(tags), now=utc_now())

    def mark_seen(self, ids: Sequence[int], at: datetime | None = None) -> None:
        """Note that these files are there, now or at `at`; missing ones get their old state back."""
        with self._write() as connection:
            batch.mark_seen(connection, ids, at or utc_now())

    def mark_missing(self, ids: Sequence[int]) -> None:
        """Note that these files are gone. Their tags stay."""
        with self._write() as connection:
            batch.mark_missing(connection, ids)

    def set_human_tag(self, path: Path, *, superclass: str | None, subclass: str | None = None) -> None:
        """Set what a human says of a photo, durably. Neither label: it is nothing that the model knows.

        A named level gets the score 1, a level not named 0; the novelty is 0 with a subclass and 1 without.

        Raises:
            StoreError: the photo is not in the database.
            UsageError: a subclass without its superclass, or a label that cannot be a name.
        """
        check_labels(superclass, subclass)
        with self._write(durable=True) as connection:
            statement = select(photos.c.id).where(photos.c.path_bytes == photo_rows.path_key(path))
            photo_id = connection.execute(statement).scalar_one_or_none()
            if photo_id is None:
                shown = clean_text(str(path))
                raise StoreError(f"{shown}: not in the database {self.location}; run: phototag tag {shown}")
            set_tags(connection, {int(photo_id): human_tag(superclass, subclass, utc_now())})
