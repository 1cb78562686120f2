"""A watcher in this process, and what a database then holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phototag.library.scanner import resolve_roots
from phototag.records import PhotoState, TaggedPhoto
from phototag.store import Query, Store
from phototag.tagging.pipeline import Batch
from phototag.tagging.tag_report import TagReport
from phototag.tagging.tagger import Tagger
from phototag.tagging.watch import WatchService

# Far more than anything here takes, for machines that are busy.
PATIENCE_SECONDS = 120.0
SETTLE_SECONDS = 0.2
Essence = tuple[Any, ...]


def until(condition: Callable[[], object], what: str = "it did not happen in time", *, pause: float = 0.02) -> None:
    """Wait for a condition."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(pause)


def essence(photo: TaggedPhoto) -> Essence:
    """What a photo's row says, without times; scores to five decimals."""
    scores = (photo.superclass_score, photo.subclass_score, photo.novelty)
    rounded = tuple(None if score is None else round(score, 5) for score in scores)
    return (photo.superclass, photo.subclass, photo.rank, photo.source, photo.state, *rounded)


def rows(db: Path | str) -> dict[Path, Essence]:
    """The rows of a database by path."""
    with Store.open(db, create=False) as store:
        return {photo.path: essence(photo) for photo in store.query(Query())}


def fresh_rows(model: Path, *roots: Path, exclude: tuple[str, ...] = ()) -> dict[Path, Essence]:
    """The rows that one run of the tagger makes in an empty database."""
    with Store.open("sqlite://") as store, Tagger(model, batch_size=4, precision="f32") as tagger:
        tagger.tag(roots, store, exclude=exclude)
        return {photo.path: essence(photo) for photo in store.query(Query())}


def there(found: dict[Path, Essence]) -> dict[Path, Essence]:
    return {path: row for path, row in found.items() if row[4] is not PhotoState.MISSING}


def missing(db: Path) -> set[str]:
    return {path.name for path, row in rows(db).items() if row[4] is PhotoState.MISSING}


class Watched:
    """A service that watches in a thread of its own, and what it said."""

    def __init__(self, model: Path, db: Path, *roots: Path, **options: Any) -> None:
        self.model, self.db, self.roots = model, db, roots
        self.exclude: tuple[str, ...] = tuple(options.get("exclude", ()))
        self.said: list[str] = []
        self.batches: list[Batch] = []
        self.report: TagReport | None = None
        self.error: BaseException | None = None
        self._options = {"settle_seconds": SETTLE_SECONDS, **options}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="service")
        self._thread.start()
        assert self._ready.wait(PATIENCE_SECONDS)

    def _run(self) -> None:
        try:
            with Tagger(self.model, batch_size=4, precision="f32") as tagger, Store.open(self.db) as store:
                self.service = WatchService(
                    tagger,
                    store,
                    resolve_roots(self.roots),
                    say=self.said.append,
                    sinks=[self.batches.append],
                    **self._options,
                )
                self._ready.set()
                self.report = self.service.run()
        except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
            self.error = error
            self._ready.set()

    def stop(self) -> None:
        """Stop, and raise what the service raised."""
        self.service.stop()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error

    @property
    def inferred(self) -> int:
        """Photos that went through the network so far."""
        return sum(batch.inferred for batch in self.batches)

    def told(self, *words: str) -> list[str]:
        """What was said with all these words in it."""
        return [line for line in self.said if all(word in line for word in words)]

    def until(self, condition: Callable[[], object]) -> None:
        def met() -> object:
            if self.error is not None:
                raise self.error
            return condition()

        until(met, f"not in time; said: {self.said}")

    def converges(self) -> dict[Path, Essence]:
        """Wait until the rows are those of a fresh run, for all that is there; all else has to be missing."""
        expected = fresh_rows(self.model, *(root for root in self.roots if root.exists()), exclude=self.exclude)
        try:
            self.until(lambda: there(rows(self.db)) == expected)
        except AssertionError:
            assert there(rows(self.db)) == expected, self.said
            raise
        return rows(self.db)


Start = Callable[..., Watched]


def wait_for_suspicion(watched: Watched, root: Path) -> None:
    watched.until(lambda: watched.told(str(root), "nothing was marked missing"))


def assert_sound(db: Path) -> None:
    from phototag.store import check_database

    assert check_database(db).problems == ()
