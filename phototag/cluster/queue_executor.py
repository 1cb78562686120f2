"""The driver's side of the queue: orders go into the table, and what workers saved comes out of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from uuid import uuid4

from phototag._version import __version__
from phototag.cluster.chunk import PHOTOS_IN_CHUNK, check_places, chunks_of
from phototag.cluster.order import Order, saved_from_json
from phototag.cluster.worker_setup import WorkerSetup
from phototag.errors import RuntimeUnavailableError, UsageError
from phototag.records import Photo
from phototag.runtime import Target
from phototag.store import Store
from phototag.tagging import Saved

# Enough for any number of workers, and few enough that the driver is no further ahead than minutes.
_MOST_WAITING, _AT_ONCE = 1000, 50
_POLL_SECONDS = 0.5
_SILENCE_SECONDS = 30.0


class QueueExecutor:
    """Lets `phototag worker` tag and save, wherever it runs: workers need only the database and the photos.

    A run that is started again begins with an empty queue: what workers saved meanwhile is compared, not asked for.

    Args:
        setup: Which model, and the precision of all workers; devices are for each of them to choose.
        store: The database, on a server, opened for writing.
        say: Told when nobody takes what waits.

    Raises:
        UsageError: the database is a file, or the workers would not all compute in the same precision.
    """

    photos_in_chunk = PHOTOS_IN_CHUNK

    def __init__(self, setup: WorkerSetup, store: Store, say: Callable[[str], None]) -> None:
        if store.location.url is None:
            raise UsageError(
                f"{store.location}: workers take their work from a database on a server; "
                "give its URL with --db postgresql://..., or use --cluster ray"
            )
        self._setup, self._store, self._say = setup.fixed(), store, say
        self.target: Target = setup.target

    def save_all(self, photos: Iterator[Photo], *, model_id: int, reuse: bool) -> Generator[Saved]:
        """See `SavingExecutor`.

        Raises:
            RuntimeUnavailableError: a worker has not got the photos where this computer has them.
            StoreError: the queue cannot be read or written.
        """
        model = self._setup.model
        order = Order(
            run=uuid4().hex,
            version=__version__,
            model_name=model.name,
            model_path=None if model.path is None else str(model.path),
            model_hash=model.hash,
            model_id=model_id,
            precision=self._setup.precision,
            max_megapixels=self._setup.max_megapixels,
            reuse=reuse,
        )
        self._store.chunks.clear()
        return self._follow(order, (order.of(chunk) for chunk in chunks_of(photos, self.photos_in_chunk)))

    def _follow(self, order: Order, orders: Iterator[Order]) -> Generator[Saved]:
        left, is_over, heard = 0, False, time.monotonic()
        try:
            while True:
                while not is_over and left < _MOST_WAITING:
                    some = [each.to_json() for each in islice(orders, min(_AT_ONCE, _MOST_WAITING - left))]
                    self._store.chunks.put(order.run, some)
                    left += len(some)
                    is_over = not some
                results, left = self._store.chunks.collect(order.run)
                for result in results:
                    heard = time.monotonic()
                    saved, unreachable, host = saved_from_json(result)
                    check_places(unreachable, host)
                    yield saved
                if is_over and not left:
                    return
                if not results:
                    if time.monotonic() - heard > _SILENCE_SECONDS and not self._store.chunks.in_hand():
                        self._say(f"photos wait; start workers with: phototag worker --db {self._store.location}")
                        heard = float("inf")
                    time.sleep(_POLL_SECONDS)
        except (GeneratorExit, KeyboardInterrupt, RuntimeUnavailableError):
            self._store.chunks.clear()  # nobody waits for it any more
            raise
