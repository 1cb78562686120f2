"""The one writer: saves batches in a thread, in order, a transaction each, while the next are computed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from phototag.tagging.pipeline import Batch

_WAITING = 2

Sink: TypeAlias = Callable[[Batch], None]
"""Is given every batch once it is saved, in order, in the thread that tags; what it raises ends the run."""


class BatchWriter:
    """Saves batches in the background, and passes those that are saved on. Use it in a `with`.

    What was handed over is saved and passed on in the end, whatever happens: also after Ctrl-C or a full disk.

    Args:
        save: Saves a batch; what it raises comes out of the next call here.
        sinks: What follows saved batches.
    """

    def __init__(self, save: Callable[[Batch], None], sinks: Sequence[Sink] = ()) -> None:
        self._save, self._sinks = save, sinks
        self._batches: queue.Queue[Batch | None] = queue.Queue(_WAITING)
        self._saved: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._failed = False
        # A process that is told to leave at once does not wait for a locked database: the transaction is undone.
        self._thread = threading.Thread(target=self._work, name="saver", daemon=True)
        self._thread.start()

    def __enter__(self) -> BatchWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put(self, batch: Batch) -> None:
        """Hand over a batch. Waits while two are waiting already."""
        self._raise()
        self._batches.put(batch)
        self._pass_on()

    def close(self) -> None:
        """Wait until all is saved and passed on. Closing twice is no error."""
        if self._thread.is_alive():
            self._batches.put(None)
            self._thread.join()
        self._raise()
        self._pass_on()

    def _pass_on(self) -> None:
        while not self._saved.empty():
            pass_on(self._saved.get(), self._sinks)

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


def pass_on(batch: Batch, sinks: Iterable[Sink]) -> None:
    """Give a batch to each sink, in order."""
    for sink in sinks:
        sink(batch)
