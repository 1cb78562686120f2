"""The store: one database of photos and their tags, opened to read, and to write by one process at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, insert, select, update

from phototag._version import __version__
from phototag.errors import StoreError, UsageError
from phototag.records import Failure, Photo, Rank, Source, Tag, TaggedPhoto
from phototag.store import batch, health, notes, registration
from phototag.store import photos as photo_rows
from phototag.store import query as queries
from phototag.store.batch import StoredTag
from phototag.store.engine import (
    WRITES,
    driver_connection,
    make_engine,
    translated,
    untrusted_rows,
    use_wal,
)
from phototag.store.location import Location, parse
from phototag.store.lock import Role, holding
from phototag.store.opening import is_there, open_existing
from phototag.store.photos import KnownPhoto, clean_text
from phototag.store.query import Query
from phototag.store.schema import create as create_tables
from phototag.store.schema import migrate, missing, require_current, revision
from phototag.store.scored import ScoredTag, scored_page
from phototag.store.tables import photos, runs, tags
from phototag.taxonomy import Taxonomy, check_name


class Store:
    """A database of photos and their tags. Made by `Store.open`; close it, or use it in a `with`.

    Everything that writes happens inside `writing`. One Store may be used from several threads, not from a
    forked process: only the parent writes.
    """

    def __init__(self, location: Location, engine: Engine) -> None:
        """Not to be called: use `Store.open`."""
        self._location = location
        self._engine = engine
        self._mutex = threading.RLock()
        self._depth = 0
        self._held = ExitStack()
        self._writer: Connection | None = None
        self._pid = os.getpid()
        self._closed = False
        self._keepers: dict[int, int] = {}

    # ---- opening and closing

    @classmethod
    def open(cls, location: str | Path | None = None, *, create: bool = True) -> Store:
        """Open the database at `location`, a path, a URL or None for the default; a new one is made.

        Raises:
            SchemaError: its schema is older than this phototag's (run: phototag db upgrade), or newer.
            StoreError: it is not there and `create` is false, or it cannot be made, opened or read.
        """
        place = parse(location)
        if place.in_memory:
            return cls._open_in_memory(place, create)
        if place.url is None and not is_there(place):
            if not create:
                raise missing(place)
            create_tables(place)
        engine, have = open_existing(place)
        try:
            if have is None:
                if not create:
                    raise missing(place)
                create_tables(place)
            else:
                require_current(have, place)
        except BaseException:
            engine.dispose()
            raise
        return cls(place, engine)

    @classmethod
    def _open_in_memory(cls, place: Location, create: bool) -> Store:
        if not create:
            raise StoreError(f"{place.shown}: a database in memory is always new; name a file")
        engine = make_engine(place)
        try:
            migrate(engine, place)
        except BaseException:
            engine.dispose()
            raise
        return cls(place, engine)

    def close(self) -> None:
        """Give back the lock and every connection. Closing twice is no error."""
        with self._mutex:
            self._closed = True
            self._depth = 0
            self._writer = None
            self._held.close()
            self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def location(self) -> str:
        """Where the database lies, for messages; without a password."""
        return self._location.shown

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database."""
        return self._location.path

    # ---- the right to write

    @contextmanager
    def writing(self, command: str) -> Iterator[Self]:
        """Hold the right to write, for "phototag `command`". May be entered again inside itself.

        Raises:
            LockedError: another process has it; the text says which.
            StoreError: the database cannot be written.
        """
        with self._mutex:
            self._refuse_if_closed()
            if self._depth == 0:
                self._start_writing(command)
            self._depth += 1
        try:
            yield self
        finally:
            with self._mutex:
                self._depth = max(self._depth - 1, 0)
                if self._depth == 0:
                    self._writer = None
                    self._held.close()

    @contextmanager
    def tagging(self, command: str) -> Iterator[Self]:
        """Be the only tagger of this database, for "phototag `command`", without yet holding the right to write.

        A watcher holds this for months; others may write in between, when it has nothing to do.

        Raises:
            LockedError: another tagger has it; the text says which.
            StoreError: the lock cannot be made there.
        """
        with holding(self._location, command, Role.TAG):
            yield self

    def read_note(self, name: str) -> Any:
        """What `write_note` wrote under that name, None if nothing can be read."""
        return notes.read(self._location, name)

    def write_note(self, name: str, value: Any) -> None:
        """Keep a small JSON value in a file beside the database, for what is no part of the library itself."""
        notes.write(self._location, name, value)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreError(f"{self.location}: this store is closed; open it again")

    def _start_writing(self, command: str) -> None:
        with ExitStack() as stack:
            stack.enter_context(holding(self._location, command))
            with translated(self._location):
                # One connection for as long as the lock is held: closing the last one moves the whole journal
                # into the database, which is too slow to do after every batch.
                connection = stack.enter_context(self._engine.connect())
                # Another phototag may have upgraded the database since this one opened it.
                have = revision(connection, self._location)
                connection.rollback()
                if have is None:
                    raise missing(self._location)
                require_current(have, self._location)
                if self._location.path is not None:
                    use_wal(driver_connection(connection))
                self._writer = connection.execution_options(**{WRITES: True})
            self._held = stack.pop_all()

    @contextmanager
    def _write(self, *, durable: bool = False) -> Iterator[Connection]:
        """A transaction that writes. `durable`: it survives a power cut once it is done."""
        with self._mutex:
            if os.getpid() != self._pid:
                raise StoreError(f"{self.location}: opened in another process; open it anew in this one")
            writer = self._writer
            if writer is None:
                raise StoreError(f"{self.location}: the lock for writing is not held; use `with store.writing(...)`")
            raw = driver_connection(writer) if durable and writer.dialect.name == "sqlite" else None
            with translated(self._location):
                if raw is not None:
                    raw.execute("PRAGMA synchronous=FULL")
                try:
                    with writer.begin():
                        yield writer
                finally:
                    if raw is not None:
                        raw.execute("PRAGMA synchronous=NORMAL")

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        """A transaction that reads, on its own connection: readers and writer do not wait for each other."""
        self._refuse_if_closed()
        with ExitStack() as stack:
            if self._location.in_memory:
                stack.enter_context(self._mutex)  # there is but one connection
            stack.enter_context(untrusted_rows(self._location))
            yield stack.enter_context(self._engine.connect())

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

    def find_model(self, *, hash: str, weights_hash: str | None = None) -> int | None:  # noqa: A002
        """The id of the model with that file, else of one with the same weights, None if neither is registered.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._read() as connection:
            return registration.find(connection, file_hash=hash, weights_hash=weights_hash)

    def _keeper(self, connection: Connection, model_id: int) -> int:
        """The model under which that model's scores are stored; asked for with every batch, so looked up once."""
        if model_id not in self._keepers:
            with untrusted_rows(self._location):
                self._keepers = registration.score_keepers(connection)
        return self._keepers.get(model_id, model_id)

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
                now=_now(),
            )

    def begin_run(self, kind: str, *, model_id: int | None, device: str | None, runtime: str | None) -> int:
        """Note that a run starts; returns its id for `finish_run`."""
        values = {
            "kind": kind,
            "started_at": _now(),
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
            "finished_at": _now(),
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
            batch.save(connection, model_id=model_id, scores_id=scores_id, tagged=tagged, failures=failures, now=_now())

    def save_tags(self, *, model_id: int, tags: Sequence[tuple[int, Tag]]) -> None:
        """Set tags that were decided anew from stored scores, by photo id, in one transaction.

        A human's tag is never replaced.
        """
        with self._write() as connection:
            batch.save_tags(connection, model_id=model_id, tagged=dict(tags), now=_now())

    def update_stats(self, rows: Sequence[tuple[int, Photo]]) -> None:
        """Save the new stat values of photos (by id) whose content proved to be as before."""
        with self._write() as connection:
            batch.update_stats(connection, rows, _now())

    def mark_seen(self, ids: Sequence[int], at: datetime | None = None) -> None:
        """Note that these files are there, now or at `at`; missing ones get their old state back."""
        with self._write() as connection:
            batch.mark_seen(connection, ids, at or _now())

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
        values = _human_values(superclass, subclass)
        key = photo_rows.path_key(path)
        with self._write(durable=True) as connection:
            row = connection.execute(
                select(photos.c.id, tags.c.photo_id)
                .outerjoin_from(photos, tags, tags.c.photo_id == photos.c.id)
                .where(photos.c.path_bytes == key)
            ).one_or_none()
            if row is None:
                shown = clean_text(str(path))
                raise StoreError(f"{shown}: not in the database {self.location}; run: phototag tag {shown}")
            if row.photo_id is None:
                connection.execute(insert(tags).values(photo_id=row.id, **values))
            else:
                connection.execute(update(tags).where(tags.c.photo_id == row.id).values(values))


def _human_values(superclass: str | None, subclass: str | None) -> dict[str, Any]:
    if subclass is not None and superclass is None:
        raise UsageError(f"subclass {subclass!r} needs its superclass")
    for name, what in ((superclass, "superclass"), (subclass, "subclass")):
        if name is not None:
            check_name(name, what)
    rank = Rank.NONE if superclass is None else Rank.SUPERCLASS if subclass is None else Rank.SUBCLASS
    return {
        "superclass": superclass,
        "subclass": subclass,
        "rank": rank.value,
        "superclass_score": float(superclass is not None),
        "subclass_score": float(subclass is not None),
        "novelty": float(subclass is None),
        "source": Source.HUMAN.value,
        "model_id": None,
        "tagged_at": _now(),
    }


def _now() -> datetime:
    return datetime.now(UTC)
