"""Run watchdog's threads for one folder, and notice when they lose events."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver

_log = logging.getLogger(__name__)
_ON_LINUX = sys.platform == "linux"
_OPEN_FILES = Path("/proc/self/fd")

# Opening and reading a file are not among them: reading the photos ourselves must cause no events.
_WANTED: list[type[FileSystemEvent]] = [
    *(DirCreatedEvent, DirMovedEvent, DirDeletedEvent),
    *(FileCreatedEvent, FileMovedEvent, FileDeletedEvent, FileClosedEvent),
]
# Each write is an event, and fills the queue of events with nothing new: only where no system tells of closing.
_WANTED_ELSEWHERE = [*_WANTED, FileModifiedEvent]


class FolderObserver:
    """Calls `handle` with what happens in a folder, from a separate thread, until `stop`.

    Each has an observer to itself, and with it a queue of events in the kernel: a storm of events, or the death of a
    thread, in one folder leaves the others alone.

    Raises:
        OSError: the folder cannot be watched; ENOSPC or EMFILE if a limit of inotify is reached.
    """

    def __init__(self, folder: Path, handle: Callable[[FileSystemEvent], None], *, recursive: bool) -> None:
        threads, files = _watchdog_threads(), _inotify_files()
        self._observer = _create_observer()
        try:
            self._observer.start()
            wanted = _WANTED if _ON_LINUX else _WANTED_ELSEWHERE
            self._observer.schedule(_Handler(handle), os.fspath(folder), recursive=recursive, event_filter=wanted)
        except OSError:
            self.stop()
            raise
        # watchdog shows neither its reading thread nor its file, and says that it lives when only a part of it does.
        self._threads = _watchdog_threads() - threads
        self._files = _inotify_files() - files

    def stop(self) -> None:
        """Stop watching, and wait until no thread is left."""
        self._observer.stop()
        self._observer.join()

    def is_alive(self) -> bool:
        """Return whether every thread that watching needs still runs."""
        return all(thread.is_alive() for thread in self._threads)

    def owns(self, thread_id: int | None) -> bool:
        """Return whether a thread is one of this observer's."""
        return any(thread.ident == thread_id for thread in self._threads)

    def count_watches(self) -> int | None:
        """Count the folders that the kernel really watches for this observer; None where there is no inotify."""
        counts = []
        for number in self._files:
            with contextlib.suppress(OSError):
                text = Path(f"/proc/self/fdinfo/{number}").read_bytes()
                counts.append(sum(line.startswith(b"inotify ") for line in text.splitlines()))
        return sum(counts) if counts else None


class _Handler(FileSystemEventHandler):
    def __init__(self, handle: Callable[[FileSystemEvent], None]) -> None:
        self._handle = handle

    def dispatch(self, event: FileSystemEvent) -> None:
        self._handle(event)


def _create_observer() -> BaseObserver:
    if _ON_LINUX:
        from watchdog.observers.inotify import InotifyObserver

        # "Full": what is moved in is told from what is created, and is known to be complete.
        return InotifyObserver(generate_full_events=True)
    from watchdog.observers import Observer

    return Observer()


def _watchdog_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if _is_watchdogs(thread)}


def _is_watchdogs(thread: threading.Thread | None) -> bool:
    return type(thread).__module__.partition(".")[0] == "watchdog"


def _inotify_files() -> set[int]:
    found = set()
    with contextlib.suppress(OSError):
        for link in _OPEN_FILES.iterdir():
            with contextlib.suppress(OSError):
                if os.fspath(link.readlink()) == "anon_inode:inotify":
                    found.add(int(link.name))
    return found


def count_folders(folder: Path) -> int:
    """Count the folders from here down, this one and hidden ones included: as many as watchdog watches.

    Symbolic links are not followed. Folders that may not be read do not count: they cannot be watched either.
    """
    waiting = [os.fspath(folder)]
    found = 0
    while waiting:
        try:
            with os.scandir(waiting.pop()) as listing:
                waiting += [entry.path for entry in listing if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        found += 1
    return found


def are_files_exhausted() -> bool:
    """Return whether this process may not open one file more at this moment."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno == errno.EMFILE
    return False


def is_watch_limit_reached() -> bool:
    """Return whether the kernel refuses to watch one folder more at this moment."""
    if not _ON_LINUX:
        return False
    from watchdog.observers.inotify_c import InotifyConstants, inotify_add_watch, inotify_init

    file = inotify_init()
    if file == -1:
        return False  # no instance left: nothing is known about watches
    try:
        refused = inotify_add_watch(file, b"/", InotifyConstants.IN_DELETE_SELF) == -1
        return refused and ctypes.get_errno() == errno.ENOSPC
    finally:
        os.close(file)


@contextlib.contextmanager
def overflows_reported(report: Callable[[int | None], None]) -> Iterator[None]:
    """Call `report` with the number of each thread that loses events while this is open.

    watchdog says so in its log only. Neither that log nor the traceback of a watchdog thread that dies reaches the
    terminal meanwhile: the watcher notices both by other means, and says them in words that the user can act on.
    """
    logger = logging.getLogger("watchdog")
    tap = _LogTap(report)
    propagate, previous_hook = logger.propagate, threading.excepthook

    def hook(details: threading.ExceptHookArgs) -> None:
        if _is_watchdogs(details.thread):
            _log.debug("a thread of watchdog died of %s: %s", details.exc_type.__name__, details.exc_value)
        else:
            previous_hook(details)

    logger.addHandler(tap)
    logger.propagate = False
    threading.excepthook = hook
    # A folder that is moved out and comes back is still registered under its old name, which is of no consequence.
    warnings.filterwarnings("ignore", message="Callback with id", category=RuntimeWarning)
    try:
        yield
    finally:
        threading.excepthook = previous_hook
        logger.propagate = propagate
        logger.removeHandler(tap)


class _LogTap(logging.Handler):
    def __init__(self, report: Callable[[int | None], None]) -> None:
        super().__init__(logging.WARNING)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self._report(record.thread)
