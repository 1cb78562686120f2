"""Render each thumbnail once, and keep it on disk under the content hash of its picture file."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from pathlib import Path

from phototag.errors import DecodeError
from phototag.imaging.reading import read_bytes
from phototag.imaging.thumbnails.disk_cache import DiskCache
from phototag.imaging.thumbnails.thumbnailer import Thumbnailer
from phototag.paths import PhotoPath
from phototag.records import FailureKind

DEFAULT_LIMIT_BYTES = 1 << 30
_MOST_PROCESSES = 4
_READERS = 4
_MOST_FAILURES = 10_000
# To be counted up when pictures come out otherwise than before: kept copies are then made again.
_RENDERING = 2
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


class ThumbnailSize(Enum):
    """The size of a thumbnail: the box in pixels, width and height, that it fits in."""

    THUMBNAIL = (320, 480)
    PICTURE = (2048, 2048)

    @property
    def longest(self) -> int:
        """Return the longer side of the box in pixels, which names this size in keys."""
        return max(self.value)


class Thumbnails:
    """Thumbnails of photos. May be used from several threads; close it in the end.

    Separate threads find thumbnails and make them: neither a gallery full of new photos nor a disk that does
    not answer keeps anything else waiting.
    """

    def __init__(
        self, folder: Path, *, limit_bytes: int = DEFAULT_LIMIT_BYTES, thumbnailer: Thumbnailer | None = None
    ) -> None:
        """Keep thumbnails in `folder`, up to `limit_bytes`."""
        self.cache = DiskCache(folder, suffix=".jpg", limit_bytes=limit_bytes)
        self._thumbnailer = thumbnailer if thumbnailer is not None else Thumbnailer()
        workers = max(1, min(_MOST_PROCESSES, os.cpu_count() or 1))
        self.readers = ThreadPoolExecutor(_READERS, "thumbnail reader")
        self._makers = ThreadPoolExecutor(workers, "thumbnail maker")
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[bytes]] = {}
        self._failures: OrderedDict[str, DecodeError] = OrderedDict()

    def close(self) -> None:
        """Stop making thumbnails, and end the worker processes."""
        self.cache.close()
        self.readers.shutdown(wait=False, cancel_futures=True)
        self._makers.shutdown(wait=False, cancel_futures=True)
        self._thumbnailer.close()

    def find(self, content_hash: bytes, size: ThumbnailSize) -> bytes | None:
        """Return the JPEG file of that size if it is kept, else None."""
        key = _key(content_hash, size)
        content = self.cache.read(key)
        if content is not None and not (content.startswith(_JPEG_START) and content.endswith(_JPEG_END)):
            self.cache.remove(key)  # a power cut may leave a file without its content
            return None
        return content

    def make(self, path: PhotoPath, content_hash: bytes, size: ThumbnailSize) -> Future[bytes]:
        """Return the JPEG file of that size of the picture at `path`, to be made or being made.

        The future fails with a DecodeError if the picture cannot be decoded, or has another content by now.
        """
        key = _key(content_hash, size)
        with self._lock:
            if key in self._under_way:
                return self._under_way[key]
            future = self._makers.submit(self._make, path, content_hash, size)
            self._under_way[key] = future
        future.add_done_callback(lambda _: self._done(key))
        return future

    def _done(self, key: str) -> None:
        with self._lock:
            self._under_way.pop(key, None)

    def _make(self, path: PhotoPath, content_hash: bytes, size: ThumbnailSize) -> bytes:
        key, kept = _key(content_hash, size), self.find(content_hash, size)
        if kept is not None:
            return kept
        data = _read_unchanged(path, content_hash)
        failed = self._failures.get(key)
        if failed is not None:
            raise failed
        try:
            content = self._thumbnailer(data, size.value, path)
        except DecodeError as error:
            self._note_failure(key, error)
            raise
        self.cache.write(key, content)
        return content

    def _note_failure(self, key: str, error: DecodeError) -> None:
        """Remember what cannot be decoded: the same bytes cannot be later either, and may take a minute to fail."""
        if error.kind != FailureKind.BUSY:
            with self._lock:
                self._failures[key] = error
                while len(self._failures) > _MOST_FAILURES:
                    self._failures.popitem(last=False)


def _key(content_hash: bytes, size: ThumbnailSize) -> str:
    return f"{content_hash.hex()}-{size.longest}-{_RENDERING}"


def _read_unchanged(path: PhotoPath, content_hash: bytes) -> bytes:
    """Return the bytes of a picture file that still has that content.

    Raises:
        DecodeError: the file is gone, cannot be read, or has other bytes by now.
    """
    data = read_bytes(path)
    if hashlib.sha256(data).digest() != content_hash:
        raise DecodeError(path, FailureKind.CORRUPT, "the file has changed since it was tagged")
    return data
