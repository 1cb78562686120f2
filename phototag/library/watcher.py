"""Watch folders: hints of what happens below them, and notices of when hints may be missing."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from phototag.imaging import is_picture
from phototag.library.events import Hints, Inbox
from phototag.library.observer import overflows_reported
from phototag.library.watched_root import Mode, WatchedRoot


def _nothing(path: Path) -> bool:
    return False


class Watcher:
    """Hints of what happens at or below `roots`, which are absolute folders or picture files, none inside another.

    The scanner is the truth, and events are hints: they get lost, and here that is noticed and said. After `start` the
    roots are to be scanned; then `take` is called in a loop, and `check` every second or so. A root that is not there
    is no error: it is `AWAY` until it is. `is_excluded` must be true of what lies in an excluded folder as well.
    With `poll` there are no events at all, and only the roots themselves are looked after.
    """

    def __init__(
        self, roots: Sequence[Path], *, poll: bool = False, is_excluded: Callable[[Path], bool] = _nothing
    ) -> None:
        self._roots = tuple(roots)
        self._is_excluded = is_excluded
        self._inbox = Inbox(self._roots)
        self._watched = [WatchedRoot(name, below, self._inbox, poll=poll) for name, below in _watched(self._roots)]
        self._is_running = False
        self._running = contextlib.ExitStack()

    def start(self) -> None:
        """Start watching. Folders that cannot be watched for events show in `modes` and in notices.

        Raises:
            RuntimeError: the watcher runs already.
        """
        if self._is_running:
            raise RuntimeError("the watcher runs already; call stop() first")
        self._is_running = True
        with contextlib.ExitStack() as running:
            running.callback(setattr, self, "_is_running", False)
            running.enter_context(overflows_reported(self._overflowed))
            for watched in self._watched:
                running.callback(watched.close)
                watched.open()
            self._running = running.pop_all()

    def stop(self) -> None:
        """Stop watching; no thread is left. It does no harm to stop twice."""
        self._running.close()

    def __enter__(self) -> Watcher:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def take(self, timeout_seconds: float) -> Hints:
        """Return everything noted since the last call.

        Waits until there is something, `wake` is called or the time is over. What comes in a burst comes in one piece:
        after the first hint this waits 0.1 seconds more.
        """
        return self._inbox.take(timeout_seconds, self._is_excluded)

    def wake(self) -> None:
        """Make the present `take`, or else the next, return at once. Safe in signal handlers and other threads."""
        self._inbox.wake()

    def check(self, now: float) -> None:
        """Look after the roots and the watches, and repair what can be repaired; what was found comes with `take`.

        `now` is in seconds, of a clock that never goes back. Takes long only if a watch has to be renewed.
        """
        for watched in self._watched:
            watched.check(now)

    def modes(self) -> dict[Path, Mode]:
        """Return how each root is watched at present."""
        mode_of = {root: watched.mode for watched in self._watched for root in watched.roots}
        return {root: mode_of[root] for root in self._roots}

    def _overflowed(self, thread_id: int | None) -> None:
        owners = [watched for watched in self._watched if watched.owns(thread_id)]
        for watched in owners or self._watched:
            watched.overflowed = True


def _watched(roots: Sequence[Path]) -> list[tuple[Path, list[Path]]]:
    """Return the folders to watch, and the picture files of each that are roots: none for one that is itself a root."""
    files_of: dict[Path, list[Path]] = {}
    for root in roots:
        if _is(stat.S_ISDIR, root) or not is_picture(root):
            files_of[root] = []
        else:
            # A link may lead anywhere, and elsewhere tomorrow: it shares its folder with no other file.
            is_link = _is(stat.S_ISLNK, root, follow=False)
            files_of.setdefault(root if is_link else root.parent, []).append(root)
    return list(files_of.items())


def _is(kind: Callable[[int], bool], path: Path, *, follow: bool = True) -> bool:
    # Not Path.is_dir, which raises if a network drive does not answer.
    try:
        return kind(path.stat(follow_symlinks=follow).st_mode)
    except OSError:
        return False
