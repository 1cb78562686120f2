"""Watch one folder: whether it is there, how it is watched, and whether the watch still works."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from watchdog.events import DirMovedEvent, FileClosedEvent, FileMovedEvent, FileSystemEvent

from phototag.imaging import is_picture
from phototag.library.events import Inbox
from phototag.library.left_out import is_passed_over
from phototag.library.mounts import inotify_limits, is_mount_point, mount_points, needs_polling
from phototag.library.observer import FolderObserver, are_files_exhausted, count_folders, is_watch_limit_reached

# A watch that fails again this soon after it was renewed would do so for ever.
RENEW_SECONDS = 60.0
# How long to leave a folder that cannot be watched for events: limits are raised, and storms pass.
RETRY_SECONDS = 600.0
# Looking through a large folder takes seconds: at most once in this time while folders are being made.
COUNT_SECONDS = 30.0


class Mode(StrEnum):
    """How a root is watched."""

    EVENTS = "events"
    """The operating system reports what happens."""
    POLLING = "polling"
    """There are no events: it must be looked through every so often."""
    AWAY = "away"
    """The folder is not there."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The identity of a folder: where its name leads, device, inode, and what is mounted in it.

    `file` is where the name leads if it is a link to a file; `remote` a file system here that causes no events.
    """

    folder: Path
    file: Path | None
    device: int
    inode: int
    mounts: frozenset[Path]
    remote: str | None


class WatchedRoot:
    """A folder that is a root, `files` being empty, or one whose picture files `files` are roots.

    For a root that is a symbolic link to a file, `name` is that root.
    """

    def __init__(self, name: Path, files: Sequence[Path], inbox: Inbox, *, poll: bool) -> None:
        self.name = name
        self.roots = tuple(files) or (name,)
        self.mode = Mode.AWAY
        self.overflowed = False
        self._files = tuple(files)
        self._inbox, self._tell = inbox, inbox.tell
        self._poll = poll
        self._observer: FolderObserver | None = None
        self._seen: _Seen | None = None
        self._was_mount_point = False
        self._has_new_folders = self._has_moved_out = self._may_be_back = False
        self._count_at = self._renewed_at = float("-inf")
        self._cannot_watch = False
        self._retry_at: float | None = None
        self._told: set[str] = set()
        self._root_of: dict[Path, Path] = {}

    def open(self) -> None:
        """Start watching, as well as can be done."""
        seen = self._look()
        if seen is not None:
            self._begin(seen)
        else:
            self._tell(f"{self.name}: the folder is not there; it will be watched when it is")

    def close(self) -> None:
        """Stop watching; no thread is left."""
        if self._observer is not None:
            self._observer.stop()
            self._observer = None

    def owns(self, thread_id: int | None) -> bool:
        """Return whether a thread of the operating system belongs to this folder."""
        return self._observer is not None and self._observer.owns(thread_id)

    def check(self, now: float) -> None:
        """Look after the folder and its watch; `now` in seconds."""
        before, seen = self._seen, self._look()
        if seen is None:
            self._leave()
        elif self.mode is Mode.AWAY:
            self._begin_again(seen, f"{self.name}: the folder is back, and is looked through again")
        elif before is not None and seen != before:
            self._begin_again(seen, self._difference(before, seen))
        elif self._observer is not None:
            self._check_observer(self._observer, now)
        elif self._cannot_watch:
            self._try_again(now)

    def _look(self) -> _Seen | None:
        """Return None if the folder is not there, or only the empty mount point of what was mounted there."""
        real = Path(os.path.realpath(self.name))
        file = real if self.name in self._files else None
        folder = real if file is None else real.parent
        try:
            found = folder.stat()
        except OSError:
            return None
        is_same = self._seen is not None and self._seen.folder == folder
        if not stat.S_ISDIR(found.st_mode) or (is_same and self._was_mount_point and not is_mount_point(folder)):
            return None
        below = () if self._files else (path for path in mount_points([folder]) if not _is_hidden(path, folder))
        mounts = frozenset(below)
        kinds = [needs_polling(path) for path in (folder, *sorted(mounts))]
        # Where a program or a server makes up the inodes, they may be others each time.
        inode = found.st_ino if kinds[0] is None else 0
        return _Seen(folder, file, found.st_dev, inode, mounts, next(filter(None, kinds), None))

    def _leave(self) -> None:
        if self.mode is Mode.AWAY:
            return
        self.close()
        self.mode = Mode.AWAY
        # Whatever its end looked like from here, the photos have not been deleted one by one.
        self._inbox.drop(self.roots)
        self._tell(f"{self.name}: the folder is gone; nothing is marked missing; watching goes on when it is back")

    def _begin_again(self, seen: _Seen, notice: str) -> None:
        self.close()
        self._begin(seen)
        self._tell(notice)
        self._inbox.lost(self.roots)

    def _difference(self, before: _Seen, seen: _Seen) -> str:
        for mount in sorted(before.mounts ^ seen.mounts):
            what = "something was mounted there" if mount in seen.mounts else "what was mounted there is gone"
            return f"{mount}: {what}; {self.name} is looked through again"
        return f"{self.name}: another folder is there now, and is looked through"

    def _begin(self, seen: _Seen) -> None:
        self._seen = seen
        self._root_of = {seen.file or seen.folder / file.name: file for file in self._files}
        self._was_mount_point = is_mount_point(seen.folder)
        self._cannot_watch, self._retry_at = False, None
        if self._poll or seen.remote is not None:
            self.mode = Mode.POLLING
            if not self._poll:
                self._tell_once(
                    f"polled on {seen.remote}",
                    f"{self.name}: on {seen.remote} changes made elsewhere cause no events here; "
                    "the folder is looked through from time to time instead",
                )
            return
        self._watch(seen.folder)

    def _watch(self, folder: Path) -> None:
        """Watch all of the folder for events; if that is impossible, say why, and poll."""
        self.overflowed = self._has_new_folders = self._has_moved_out = self._may_be_back = False
        try:
            self._observe(folder)
            if self._is_short(folder):
                # Folders that were made or moved meanwhile are found the second time; a limit is met again.
                self.close()
                self._observe(folder)
                if self._is_short(folder) and is_watch_limit_reached():
                    self._fall_back(self._watch_limit(folder))
        except (FileNotFoundError, NotADirectoryError):
            self._fall_back("")  # gone this moment, which is for the next check to say
        except OSError as error:
            self._fall_back(self._refusal(folder, error))

    def _observe(self, folder: Path) -> None:
        self._observer = FolderObserver(folder, self._handle, recursive=not self._files)
        self.mode = Mode.EVENTS

    def _is_short(self, folder: Path) -> bool:
        """Return whether folders below lack a watch: watchdog passes over each that it is refused."""
        for wait_seconds in (0.0, 0.1):
            # In a folder that is just being filled, folder and watch come one after the other.
            time.sleep(wait_seconds)
            folders = 1 if self._files else count_folders(folder)
            watches = self._observer.count_watches() if self._observer is not None else None
            if watches is None or watches >= folders:
                return False
        return True

    def _check_observer(self, observer: FolderObserver, now: float) -> None:
        if not observer.is_alive():
            self._renew(now, f"{self.name}: watching broke off; it was begun again, and the folder is looked through")
        elif self.overflowed:
            have = inotify_limits().get("max_queued_events", 0)
            self._renew(
                now,
                f"{self.name}: more happened at once than could be noted, so the folder is looked through again. "
                + _raise_limit("max_queued_events", have, 4 * have),
                once="max_queued_events",
            )
        elif self._may_be_back and self._seen is not None:
            # watchdog also knows a folder that was moved out by its name of before, and once it is back under another
            # tells of it under the wrong one, as soon as a folder above the old name is renamed.
            self.close()
            self._watch(self._seen.folder)
            self._inbox.lost(self.roots)
        elif self._has_new_folders and now >= self._count_at:
            self._has_new_folders = False
            # Counting costs a walk through everything, asking for one watch more costs nothing.
            if is_watch_limit_reached():
                self._count_at = now + COUNT_SECONDS
                if self._seen is not None and self._is_short(self._seen.folder):
                    self._fall_back(self._watch_limit(self._seen.folder))
                    self._inbox.lost(self.roots)

    def _renew(self, now: float, notice: str, *, once: str = "") -> None:
        """Renew the watch: watchdog repairs its own for ever where there are more folders than events may wait."""
        self.close()
        self._tell_once(once, notice) if once else self._tell(notice)
        if now < self._renewed_at + RENEW_SECONDS:
            self._fall_back(
                f"{self.name}: events were lost again and again; the folder is looked through from time to time "
                f"instead, and events are tried again in {RETRY_SECONDS / 60:.0f} minutes"
            )
        elif self._seen is not None:
            self._watch(self._seen.folder)
        self._renewed_at = now
        self._inbox.lost(self.roots)

    def _fall_back(self, notice: str) -> None:
        # Watches of a part of the folder would be missing in other programs and still prove nothing.
        self.close()
        self.mode = Mode.POLLING
        self._cannot_watch, self._retry_at = True, None
        if notice:
            self._tell_once("cannot watch", notice)

    def _try_again(self, now: float) -> None:
        if self._retry_at is None:
            self._retry_at = now + RETRY_SECONDS
        elif now >= self._retry_at and self._seen is not None:
            self._cannot_watch, self._retry_at = False, None
            self._watch(self._seen.folder)
            if self.mode is Mode.EVENTS:
                self._told.discard("cannot watch")
                self._tell(f"{self.name}: can be watched for events again, and is looked through once more")
                self._inbox.lost(self.roots)

    def _refusal(self, folder: Path, error: OSError) -> str:
        instead = "the folder is looked through from time to time instead"
        have = inotify_limits().get("max_user_instances")
        if error.errno == errno.ENOSPC:
            return self._watch_limit(folder)
        if error.errno == errno.EMFILE and have is not None and not are_files_exhausted():
            return (
                f"{self.name}: cannot be watched, as this user's {have} inotify instances are in use; {instead}. "
                + _raise_limit("max_user_instances", have, 4 * have)
                + " Or name one folder above several: each folder named takes an instance."
            )
        reason = "too many files are open (ulimit -n)" if are_files_exhausted() else error.strerror or str(error)
        return f"{self.name}: cannot be watched: {reason}; {instead}"

    def _watch_limit(self, folder: Path) -> str:
        folders = 1 if self._files else count_folders(folder)
        watches = self._observer.count_watches() if self._observer is not None else 0
        have = inotify_limits().get("max_user_watches", 0)
        return (
            f"{self.name}: only {watches or 0} of {folders} folders can be watched, as this user may watch {have} in "
            "all; the folder is looked through from time to time instead. "
            + _raise_limit("max_user_watches", have, 2 * (have + folders))
        )

    def _tell_once(self, key: str, notice: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._tell(notice)

    def _handle(self, event: FileSystemEvent) -> None:
        """Note an event. This runs in a thread of watchdog, which an exception would end: nothing here may fail."""
        if event.is_synthetic:
            return  # below a folder that was moved, which is looked through as a whole
        source, target = self._named(event.src_path), self._named(event.dest_path)
        if event.is_directory and not self._files:
            self._has_new_folders = True
            if isinstance(event, DirMovedEvent):
                self._may_be_back |= self._has_moved_out and not event.src_path
                self._has_moved_out |= not event.dest_path
            for folder in (source, target):
                if folder is not None:
                    self._inbox.folder(self.name, folder)
        elif isinstance(event, FileMovedEvent):
            if source is not None and is_picture(source):
                self._inbox.touched(self._root(source), source)
            if target is not None and is_picture(target):
                self._inbox.closed(self._root(target), target)
        elif source is not None and is_picture(source):
            note = self._inbox.closed if isinstance(event, FileClosedEvent) else self._inbox.touched
            note(self._root(source), source)

    def _root(self, path: Path) -> Path:
        return path if self._files else self.name

    def _named(self, raw: bytes | str) -> Path | None:
        """Return the path of an event as the scanner names it; None if the scanner passes over it."""
        seen = self._seen
        if not raw or seen is None:
            return None
        path = Path(os.fsdecode(raw))
        if self._files:
            return self._root_of.get(path)
        if path == seen.folder or not path.is_relative_to(seen.folder) or _is_hidden(path, seen.folder):
            return None
        return self.name / path.relative_to(seen.folder)


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(map(is_passed_over, path.relative_to(folder).parts))


def _raise_limit(name: str, have: int, wanted: int) -> str:
    setting = f"fs.inotify.{name}={1 << (max(have + 1, wanted) - 1).bit_length()}"
    return (
        f"To raise the limit: sudo sysctl {setting} "
        f"and, to make it last: echo {setting} | sudo tee -a /etc/sysctl.d/60-phototag.conf"
    )
