"""The watcher: hints of what happens below some folders, and word of when hints may be missing."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from phototag.imaging import is_picture
from phototag.library.events import Hints, Inbox
from phototag.library.observer import overflows_reported
from phototag.library.watched_root import Mode, Place

__all__ = ["Hints", "Mode", "Watcher"]


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
        self._places = [Place(name, below, self._inbox, poll=poll) for name, below in _places(self._roots)]
        self._is_running = False
        self._running = contextlib.ExitStack()

    def start(self) -> None:
        """Start watching. Folders that cannot be watched for events are told of by `modes` and by notices.

        Raises:
            RuntimeError: the watcher runs already.
        """
        if self._is_running:
            raise RuntimeError("the watcher runs already; call stop() first")
        self._is_running = True
        with contextlib.ExitStack() as running:
            running.callback(setattr, self, "_is_running", False)
            running.enter_context(overflows_reported(self._overflowed))
            for place in self._places:
                running.callback(place.close)
                place.open()
            self._running = running.pop_all()

    def stop(self) -> None:
        """Stop watching; no thread is left. It does no harm to stop twice."""
        self._running.close()

    def __enter__(self) -> Watcher:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def take(self, timeout_seconds: float) -> Hints:
        """Everything noted since the last call.

        Waits until there is something, `wake` is called or the time is over. What comes in a burst comes in one piece:
        after the first hint this waits 0.1 seconds more.
        """
        return self._inbox.take(timeout_seconds, self._is_excluded)

    def wake(self) -> None:
        """Make the present `take`, or else the next, return at once. Safe in signal handlers and other threads."""
        self._inbox.wake()

    def check(self, now: float) -> None:
        """Look after the roots and the watches, and mend what can be mended; what was found comes with `take`.

        `now` is in seconds, of a clock that never goes back. Takes long only if a watch has to be set anew.
        """
        for place in self._places:
            place.check(now)

    def modes(self) -> dict[Path, Mode]:
        """How each root is watched at present."""
        mode_of = {root: place.mode for place in self._places for root in place.roots}
        return {root: mode_of[root] for root in self._roots}

    def _overflowed(self, thread_id: int | None) -> None:
        owners = [place for place in self._places if place.owns(thread_id)]
        for place in owners or self._places:
            place.overflowed = True


def _places(roots: Sequence[Path]) -> list[tuple[Path, list[Path]]]:
    """The folders to watch, and the picture files of each that are roots: none for a folder that is itself a root."""
    places: dict[Path, list[Path]] = {}
    for root in roots:
        if _is(stat.S_ISDIR, root) or not is_picture(root):
            places[root] = []
        else:
            # A link may lead anywhere, and elsewhere tomorrow: it shares its folder with no other file.
            is_link = _is(stat.S_ISLNK, root, follow=False)
            places.setdefault(root if is_link else root.parent, []).append(root)
    return list(places.items())


def _is(kind: Callable[[int], bool], path: Path, *, follow: bool = True) -> bool:
    # Not Path.is_dir, which raises if a network drive does not answer.
    try:
        return kind(path.stat(follow_symlinks=follow).st_mode)
    except OSError:
        return False
