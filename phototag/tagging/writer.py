"""The one writer: saves batches in a thread of its own, in order, a transaction each, while the next are computed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from phototag.tagging.pipeline import Batch

_WAITING = 2


class Saver:
    """Saves batches in the background. `close` it, whatever happens: what was handed over is saved then.

    Args:
        save: Saves a batch; what it raises comes out of the next call here.
    """

    def __init__(self, save: Callable[[Batch], None]) -> None:
        self._save = save
        self._batches: queue.Queue[Batch | None] = queue.Queue(_WAITING)
        self._saved: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._failed = False
        # A process that is told to leave at once does not wait for a locked database: the transaction is undone.
        self._thread = threading.Thread(target=self._work, name="saver", daemon=True)
        self._thread.start()

    def put(self, batch: Batch) -> list[Batch]:
        """Hand over a batch; returns those saved since the last call. Waits while two are waiting already."""
        self._raise()
        self._batches.put(batch)
        return self._taken()

    def close(self) -> list[Batch]:
        """Wait until all is saved; returns the last batches saved. Closing twice is no error."""
        if self._thread.is_alive():
            self._batches.put(None)
            self._thread.join()
        self._raise()
        return self._taken()

    def _taken(self) -> list[Batch]:
        taken = []
        while not self._saved.empty():
            taken.append(self._saved.get())
        return taken

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            # After an error nothing more is saved, also when it was raised already: what follows is only taken away.
            if not self._failed:
                try:
                    self._save(batch)
                except BaseException as error:  # noqa: BLE001  # raised again in the thread that hands over
                    self._failed, self._error = True, error
                else:
                    self._saved.put(batch)
