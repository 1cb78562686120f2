"""Gather what the threads of the watcher find, and hand it out in one piece."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# More than this and looking through the whole root costs less than the list.
MAX_PATHS = 100_000
# A thousand photos copied at once are to be a few calls, not a thousand; so short a delay is not noticed.
COALESCE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Hints:
    """What may have happened below the roots; all paths are named as the scanner names them.

    Hints can be missing, repeated and out of date: each says where to look, not what is there. A path is in at most
    one of `closed` and `touched`. False if there is nothing at all.
    """

    closed: frozenset[Path] = frozenset()
    """Picture files known to be complete: closed after writing, or moved here."""
    touched: frozenset[Path] = frozenset()
    """Picture files that appeared, changed or vanished, and may still be being written."""
    folders: frozenset[Path] = frozenset()
    """Folders, there or gone, to be compared with everything below them: made, moved or deleted. None lies in another.
    What is found there may still be being written."""
    lost: frozenset[Path] = frozenset()
    """Roots of which events were lost: look through all of each."""
    notices: tuple[str, ...] = ()
    """What the user should know, in the order in which it came up; one line each."""

    def __bool__(self) -> bool:
        return bool(self.closed or self.touched or self.folders or self.lost or self.notices)


@dataclass(slots=True)
class _Found:
    closed: set[Path] = field(default_factory=set)
    touched: set[Path] = field(default_factory=set)
    folders: set[Path] = field(default_factory=set)
    lost: bool = False


class Inbox:
    """What the watcher's threads have seen. Any thread may call anything here; `wake` suits signal handlers.

    Memory is bounded: of a root with more than `max_paths` paths only that is kept, as lost events.
    """

    def __init__(self, roots: Sequence[Path], *, max_paths: int = MAX_PATHS) -> None:
        self._max_paths = max_paths
        self._lock = threading.Lock()
        self._found = {root: _Found() for root in roots}
        self._notices: list[str] = []
        # True: wake up now; False: there is something, and more may follow. A put into this kind of queue may
        # interrupt a get of the same thread, as a signal handler does; an Event or a Condition would lock up.
        self._signals: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._signalled = False

    def closed(self, root: Path, path: Path) -> None:
        """Note a picture file that is complete."""
        with self._lock:
            found = self._found[root]
            found.touched.discard(path)
            self._add(found, found.closed, path)

    def touched(self, root: Path, path: Path) -> None:
        """Note a picture file to be looked at: whatever was known of it before is so no longer."""
        with self._lock:
            found = self._found[root]
            found.closed.discard(path)
            self._add(found, found.touched, path)

    def folder(self, root: Path, path: Path) -> None:
        """Note a folder to be looked through."""
        with self._lock:
            found = self._found[root]
            self._add(found, found.folders, path)

    def lost(self, roots: Iterable[Path]) -> None:
        """Note that events of these roots were lost; what is known in detail is of no more use."""
        with self._lock:
            for root in roots:
                self._found[root] = _Found(lost=True)
            self._signal()

    def drop(self, roots: Iterable[Path]) -> None:
        """Drop what was noted of these roots."""
        with self._lock:
            for root in roots:
                self._found[root] = _Found()

    def tell(self, notice: str) -> None:
        """Note a line for the user."""
        with self._lock:
            self._notices.append(notice)
            self._signal()

    def wake(self) -> None:
        """Make the present `take`, or else the next, return at once. Safe in a signal handler."""
        self._signals.put(True)

    def take(self, timeout_seconds: float, is_excluded: Callable[[Path], bool]) -> Hints:
        """Wait until there is something, `wake` is called, or the time is over; then empty the inbox."""
        deadline = time.monotonic() + timeout_seconds
        with contextlib.suppress(queue.Empty):
            woken = self._signals.get(timeout=max(0.0, timeout_seconds))
            rest = min(COALESCE_SECONDS, deadline - time.monotonic())
            if not woken and rest > 0:
                self._signals.get(timeout=rest)
        with self._lock:
            with contextlib.suppress(queue.Empty):
                while True:
                    self._signals.get_nowait()
            self._signalled = False
            found, self._found = self._found, {root: _Found() for root in self._found}
            notices, self._notices = self._notices, []
        return _hints(found, notices, is_excluded)

    def _add(self, found: _Found, paths: set[Path], path: Path) -> None:
        if found.lost:
            return
        paths.add(path)
        if len(found.closed) + len(found.touched) + len(found.folders) > self._max_paths:
            for kind in (found.closed, found.touched, found.folders):
                kind.clear()
            found.lost = True
        self._signal()

    def _signal(self) -> None:
        if not self._signalled:
            self._signalled = True
            self._signals.put(False)


def _hints(found: dict[Path, _Found], notices: Iterable[str], is_excluded: Callable[[Path], bool]) -> Hints:
    def wanted(paths: Iterable[set[Path]]) -> frozenset[Path]:
        return frozenset(path for some in paths for path in some if not is_excluded(path))

    folders = wanted(each.folders for each in found.values())
    return Hints(
        closed=wanted(each.closed for each in found.values()),
        touched=wanted(each.touched for each in found.values()),
        folders=frozenset(folder for folder in folders if folders.isdisjoint(folder.parents)),
        lost=frozenset(root for root, each in found.items() if each.lost),
        notices=tuple(notices),
    )
