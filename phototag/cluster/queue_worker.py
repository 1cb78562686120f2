"""The worker's side of the queue: takes a chunk, tags it as one machine does, and saves it with the word "done"."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Self
from uuid import uuid4

from phototag.choices import Precision
from phototag.cluster.chunk import Chunk, after_death, unreachable_photos
from phototag.cluster.chunk_worker import process_chunk
from phototag.cluster.order import Order, saved_to_json
from phototag.cluster.worker_setup import WorkerSetup, model_here
from phototag.errors import PhotoTagError, SchemaError, StoreError, UsageError
from phototag.store import LeaseLostError, Store, TakenChunk
from phototag.tagging import Batch, Describer, MovedPhotos, Saved, Tagger, TagReport, written_keywords

LEASE_SECONDS = 30.0
_IDLE_SECONDS = 1.0
_WAIT_SECONDS = 120.0
_LONGEST_PAUSE_SECONDS = 60.0
_COMMAND = "phototag worker"


class QueueWorker:
    """Works through the queue of a database. Close it, or use it in a `with`.

    Args:
        store: The database, on a server.
        configure: Makes a setup for a model, with this machine's devices; the order has the rest.
        stop: Asked between batches; once it says yes, the chunk in hand is given back.
        say: Told what goes on.

    Raises:
        UsageError: the database is a file.
    """

    lease_seconds = LEASE_SECONDS

    def __init__(
        self,
        store: Store,
        configure: Callable[..., WorkerSetup],
        *,
        stop: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        if store.location.url is None:
            raise UsageError(f"{store.location}: workers need a database on a server: --db postgresql://...")
        self._store, self._configure, self._stop, self._say = store, configure, stop, say
        self._host = socket.gethostname()
        self._owner = f"{self._host}:{os.getpid()}:{uuid4().hex[:8]}"
        self._tagger: tuple[tuple[object, ...], Tagger] | None = None
        self._describer: tuple[str, Describer] | None = None
        self.total = TagReport()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that decode."""
        if self._tagger is not None:
            self._tagger[1].close()
            self._tagger = None

    def run(self, *, once: bool = False) -> None:
        """Take one chunk after another until told to stop; with `once`, until none is left.

        Raises:
            ModelError: the model is not on this machine.
            RuntimeUnavailableError: this machine has another version of phototag, or not what was asked for.
            StoreError: the database cannot be read or written at the start; later that is waited out, but not with
                `once`.
        """
        pause = _IDLE_SECONDS
        reached = False
        while not self._stop():
            try:
                left = self._store.chunks.unfinished()
                reached = True
                taken = self._take() if left else None
                if taken is not None:
                    self._work(taken)
                    pause = _IDLE_SECONDS
                elif once and not left:
                    return
                else:
                    self._rest(_IDLE_SECONDS)
            except SchemaError:
                raise
            except StoreError as error:
                if once or not reached:
                    raise
                self._say(f"{error}; tried again in {pause:.0f} s")
                self._rest(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stop() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _IDLE_SECONDS))

    def _take(self) -> TakenChunk | None:
        with self._writing():
            return self._store.chunks.take(self._owner, seconds=self.lease_seconds)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._store.answering(_COMMAND, wait_seconds=_WAIT_SECONDS):
            yield

    def _work(self, taken: TakenChunk) -> None:
        try:
            self._work_through(taken)
        except (PhotoTagError, KeyboardInterrupt):
            # The photos are not to blame, and another worker may have what this one lacks.
            with suppress(StoreError), self._writing():
                self._store.chunks.give_back(taken)
            raise

    def _work_through(self, taken: TakenChunk) -> None:
        order = Order.from_json(taken.payload)
        if taken.deaths:
            parts, condemned = after_death(Chunk(order.photos, taken.deaths - 1, order.suspect))
            if condemned is not None:
                self._save(taken, order, Batch((condemned,), 0))
                return
            if [part.photos for part in parts] != [order.photos]:
                with self._writing():
                    payloads = [order.of(part).to_json() for part in parts]
                    self._store.chunks.put(order.run, payloads, instead_of=taken)
                return
        with self._kept(taken):
            batch = self._process(order)
        if batch is None:
            with self._writing():
                self._store.chunks.give_back(taken)
        else:
            self._save(taken, order, batch)

    def _process(self, order: Order) -> Batch | None:
        """Return what comes of an order; None if this worker is to stop before it is through."""
        tagger, store = self._tagger_for(order), self._store
        known = partial(store.scores.known_contents, order.model_id) if order.reuse else None
        if self._describer is None or self._describer[0] != order.run:
            self._describer = order.run, Describer(partial(written_keywords, store))
        return process_chunk(tagger, order.photos, known=known, describe=self._describer[1], stop=self._stop)

    def _tagger_for(self, order: Order) -> Tagger:
        """Return the tagger of an order; the one of before, if it will do."""
        key = (order.model_hash, order.precision, order.max_megapixels, order.version)
        if self._tagger is None or self._tagger[0] != key:
            self.close()
            path = None if order.model_path is None else Path(order.model_path)
            setup = self._configure(
                model=model_here(order.model_name, path, order.model_hash),
                precision=Precision(order.precision),
                max_megapixels=order.max_megapixels,
                version=order.version,
            )
            self._tagger = key, setup.tagger(cores=setup.jobs)
            self._say(f"tagging with {order.model_name}")
        return self._tagger[1]

    @contextmanager
    def _kept(self, taken: TakenChunk) -> Iterator[None]:
        """Keep a chunk for as long as it takes, and no longer than this process lives."""
        over = threading.Event()

        def keep() -> None:
            while not over.wait(self.lease_seconds / 3):
                with suppress(StoreError), self._writing():  # tried again in a moment; or it is lost, which saving says
                    self._store.chunks.extend(taken, seconds=self.lease_seconds)

        thread = threading.Thread(target=keep, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _save(self, taken: TakenChunk, order: Order, batch: Batch) -> None:
        unreachable = unreachable_photos(batch)
        batch = batch.without_gone()
        report = TagReport()
        report.add(batch)
        with self._writing():
            moved = MovedPhotos(self._store, writes=True)
            moved.by_content(batch)
            result = saved_to_json(Saved(report, frozenset(moved.ids)), unreachable, self._host)
            try:
                self._store.tags.save_batch(
                    model_id=order.model_id,
                    tagged=batch.tagged,
                    failures=batch.failures,
                    also=self._store.chunks.completing(taken, result),
                )
            except LeaseLostError as error:
                self._say(f"{error}; what this one found of it is dropped")
                return
        self.total.add_saved(report)
