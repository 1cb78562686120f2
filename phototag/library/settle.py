"""Hold back files that may still be being written until they stop changing."""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

# What must not change: size in bytes, time of change in nanoseconds, inode.
_State = tuple[int, int, int]


@dataclass(slots=True)
class _Waiting:
    look_at: float
    closed: bool = False
    state: _State | None = None


class Settling:
    """Holds each noted path back until it is ready to be looked at.

    A path is ready at once if it is known to be complete, gone, or not a plain file; otherwise once two looks
    `settle_seconds` apart find the same size, time of change and inode. Time is whatever clock the caller passes in,
    in seconds, as long as it never goes back; the times of files are compared with each other only, because clocks
    jump and those of network drives are wrong. A file that grows for an hour costs one look each `settle_seconds`.

    Raises:
        ValueError: `settle_seconds` is negative.
    """

    def __init__(self, settle_seconds: float, *, look: Callable[[Path], os.stat_result] = os.lstat) -> None:
        if not settle_seconds >= 0:
            raise ValueError(f"settle_seconds is {settle_seconds}; it must be 0 or more")
        self._settle_seconds = settle_seconds
        self._look = look
        self._waiting: dict[Path, _Waiting] = {}
        # What is in the heap and not in `_waiting` with that same time has been noted again, and is passed over.
        self._queue: list[tuple[float, int, Path]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, path: Path, now: float, *, closed: bool = False) -> None:
        """Note that something happened to this file; `closed`: its writer has finished.

        A file already waiting waits on, without another look before its time, unless it is `closed` now, or was put
        off by `retry`.
        """
        waiting = self._waiting.get(path)
        put_off = waiting is not None and waiting.state is None and waiting.look_at > now
        if waiting is None or waiting.closed != closed or put_off:
            self._put(path, _Waiting(now, closed))

    def retry(self, path: Path, at: float) -> None:
        """Look at this file again at the time `at`, unless something happens to it earlier, or it waits already."""
        if path not in self._waiting:
            self._put(path, _Waiting(at))

    def forget(self, folder: Path) -> None:
        """Wait no longer for this file, or for any below this folder: of a drive that is gone nothing can be said."""
        self._waiting = {path: waiting for path, waiting in self._waiting.items() if not path.is_relative_to(folder)}

    def due(self, now: float) -> list[Path]:
        """Return the paths that are ready, in the order in which their time came. They wait no longer.

        A path that is ready may still be gone, or unreadable.
        """
        ready = []
        for path, waiting in self._reached(now):
            state = None if waiting.closed else self._state(path)
            if state is None or state == waiting.state:
                del self._waiting[path]
                ready.append(path)
            else:
                self._put(path, _Waiting(now + self._settle_seconds, state=state))
        return ready

    def next_deadline(self) -> float | None:
        """Return when `due` is worth calling next, None while nothing waits."""
        while self._queue and self._is_stale(self._queue[0]):
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def _put(self, path: Path, waiting: _Waiting) -> None:
        self._waiting[path] = waiting
        heapq.heappush(self._queue, (waiting.look_at, next(self._numbers), path))

    def _is_stale(self, entry: tuple[float, int, Path]) -> bool:
        at, _, path = entry
        waiting = self._waiting.get(path)
        return waiting is None or waiting.look_at != at

    def _reached(self, now: float) -> list[tuple[Path, _Waiting]]:
        reached: dict[Path, _Waiting] = {}
        while self._queue and self._queue[0][0] <= now:
            entry = heapq.heappop(self._queue)
            if not self._is_stale(entry):
                reached[entry[2]] = self._waiting[entry[2]]
        return list(reached.items())

    def _state(self, path: Path) -> _State | None:
        """Return None if there is nothing to wait for: what is wrong with the file, its reader will say."""
        try:
            found = self._look(path)
        except OSError:
            return None
        return (found.st_size, found.st_mtime_ns, found.st_ino) if stat.S_ISREG(found.st_mode) else None
