"""Keep what was made of reviewed samples, until something changes that it depends on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

from phototag.store import Store

_MOST = 12
Made = TypeVar("Made")


class ReportCache:
    """What was asked for last, by subject. Thread-safe; one thing is made at a time."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._sign: object = None
        self._version: tuple[Any, ...] = ()
        self._made: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, store: Store, sign: object, about: Hashable, make: Callable[[], Made]) -> Made:
        """Return what `make` returns, or returned when nothing was different.

        `sign` is a value that differs after every write to the database, read before this is called; None where there
        is none. Most of what is written, as by a watcher that saw its files again, changes no report: `audit_version`
        then tells so, which takes longer.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._lock:
            if sign is None or sign != self._sign:
                version = store.samples.audit_version()
                if version != self._version:
                    self._made.clear()
                self._version, self._sign = version, sign
            if about not in self._made:
                self._made[about] = make()
            self._made.move_to_end(about)
            while len(self._made) > _MOST:
                self._made.popitem(last=False)
            return cast(Made, self._made[about])
