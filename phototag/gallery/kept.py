"""The last few results of a computation."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """The values that were last asked for, by key. Two threads may compute the same value; one of them is kept.

    Unlike `functools.lru_cache` on a method, it makes no cycle that keeps a large owner in memory.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._mutex = threading.Lock()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of that key, made if it is not there."""
        with self._mutex:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._mutex:
            self._values[key] = value
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return value

    def items(self) -> list[tuple[Key, Value]]:
        """The keys and values that are kept."""
        with self._mutex:
            return list(self._values.items())
