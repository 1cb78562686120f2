"""Keep small files on disk under keys, up to a limit: the least recently used goes first."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from phototag.files import read_regular, replacing
from phototag.settings import make_own_folder

log = logging.getLogger(__name__)

# When there is too much, this share of the limit is left, so that not every new file has to look for an old one.
_LEFT = 0.9
# Using a file moves its time of change, which is what outlasts the process; but not with every use.
_TOUCH_SECONDS = 3600.0
_PARTIAL = ".partial"
# A partial file of this age was left by a process that was killed.
_STALE_SECONDS = 600.0


class DiskCache:
    """Contents under keys that are fit to be file names, in a folder; several processes may share it.

    Nothing here fails for the state of the disk: what cannot be kept is not, and what cannot be read is not there.
    """

    def __init__(self, folder: Path, *, suffix: str, limit_bytes: int) -> None:
        """Look through the folder in a thread, as it may hold 100,000 files. With a limit of 0 nothing is kept."""
        self._folder = folder
        self._suffix = suffix
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()  # longest unused first
        self._touched: dict[str, float] = {}
        self._total = 0
        self._closed = False
        self._has_complained = False
        threading.Thread(target=self._look_through, name="thumbnail cache", daemon=True).start()

    def close(self) -> None:
        """Stop looking through the folder."""
        self._closed = True

    def read(self, key: str) -> bytes | None:
        """Return the content under that key, None if there is none."""
        if self._limit <= 0:
            return None
        path = self._path(key)
        try:
            content = read_regular(path, most_bytes=self._limit)
        except OSError:
            self._forget(key)
            return None
        self._note_use(key, path, len(content))
        return content

    def write(self, key: str, content: bytes) -> None:
        """Keep the content under that key."""
        if len(content) > self._limit:
            return
        path = self._path(key)
        try:
            # Other users are not to see photos that their owner may not share.
            make_own_folder(path.parent)
            with replacing(path, private=True) as partial:
                partial.write_bytes(content)
        except OSError as error:
            if not self._has_complained:
                self._has_complained = True
                log.warning("%s: small copies of photos cannot be kept: %s", self._folder, error.strerror or error)
            return
        self._note_use(key, path, len(content), is_new=True)
        self._shrink()

    def remove(self, key: str) -> None:
        """Drop what is under that key."""
        with suppress(OSError):
            self._path(key).unlink()
        self._forget(key)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}{self._suffix}"

    def _note_use(self, key: str, path: Path, size_bytes: int, *, is_new: bool = False) -> None:
        now = time.time()
        with self._lock:
            self._total += size_bytes - self._sizes.get(key, 0)
            self._sizes[key] = size_bytes
            self._sizes.move_to_end(key)
            touch = not is_new and now - self._touched.get(key, 0.0) > _TOUCH_SECONDS
            if touch or is_new:
                self._touched[key] = now
        if touch:
            with suppress(OSError):
                os.utime(path)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._total -= self._sizes.pop(key, 0)
            self._touched.pop(key, None)

    def _shrink(self) -> None:
        with self._lock:
            if self._total <= self._limit:
                return
            old = []
            while self._total > _LEFT * self._limit and self._sizes:
                key, size_bytes = self._sizes.popitem(last=False)
                self._touched.pop(key, None)
                self._total -= size_bytes
                old.append(key)
        for key in old:
            with suppress(OSError):
                self._path(key).unlink()

    def _look_through(self) -> None:
        """Learn what is kept from before, and drop what is too much."""
        found = sorted(self._files())
        with self._lock:
            # Everything that was used meanwhile is newer.
            newer, self._sizes = self._sizes, OrderedDict((key, size_bytes) for _, key, size_bytes in found)
            for key, size_bytes in newer.items():
                self._sizes[key] = size_bytes
                self._sizes.move_to_end(key)
            self._total = sum(self._sizes.values())
            self._touched = {key: changed for changed, key, _ in found} | self._touched
        self._shrink()

    def _files(self) -> Iterator[tuple[float, str, int]]:
        """Return the time of the last use, the key and the size of each file that is kept."""
        for folder in _entries(self._folder):
            for entry in _entries(Path(folder.path)):
                if self._closed:
                    return
                try:
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(_PARTIAL):
                        if time.time() - status.st_mtime > _STALE_SECONDS:
                            Path(entry.path).unlink()
                    elif entry.name.endswith(self._suffix):
                        yield status.st_mtime, entry.name.removesuffix(self._suffix), status.st_size
                except OSError:
                    continue  # another process was faster


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
