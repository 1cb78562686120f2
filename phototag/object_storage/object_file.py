"""Read an object like a file; what breaks off in the middle is taken up there."""

from __future__ import annotations

import io
import random
import time
from typing import TYPE_CHECKING, Any

from phototag.object_storage.client import ask, trouble
from phototag.paths import S3Path

if TYPE_CHECKING:
    from collections.abc import Callable

_RESUMED = 5
_FIRST_WAIT_SECONDS = 0.2


class ObjectFile(io.RawIOBase):
    """An object, open for reading: all of it comes from the content that it had when it was opened.

    Nothing but the start is fetched before it is read, so a size can be refused first.

    Raises:
        OSError: as for `ask`.
        ObjectStorageError: as for `ask`.
    """

    def __init__(self, path: S3Path) -> None:
        self._path, self._at = path, 0
        answer = ask("get_object", path, Key=path.key)
        self.size_bytes: int = answer["ContentLength"]
        self._entity_tag: str = answer["ETag"]
        self._body: Any = answer["Body"]

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True: what is elsewhere is asked for."""
        return True

    def tell(self) -> int:
        """Return the place in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, in bytes from the start, from here or from the end."""
        place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size_bytes}[whence]
        if place != self._at:
            self._drop()
            self._at = place
        return place

    def readinto(self, buffer: Any) -> int:
        """Read up to as many bytes as fit, and return how many; 0 at the end."""
        wanted = min(len(buffer), self.size_bytes - self._at)
        data = self._read(lambda body: body.read(wanted)) if wanted > 0 else b""
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """Read the rest."""
        parts = []
        while self._at < self.size_bytes:
            parts.append(self._read(lambda body: body.read()))
        return b"".join(parts)

    def close(self) -> None:
        """Let go of the connection."""
        if not self.closed:
            self._drop()
        super().close()

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _read(self, read: Callable[[Any], bytes]) -> bytes:
        from botocore.exceptions import BotoCoreError, IncompleteReadError

        tried = 0
        while True:
            try:
                if self._body is None:
                    self._body = self._rest()
                data = read(self._body)
                if not data:
                    raise IncompleteReadError(actual_bytes=self._at, expected_bytes=self.size_bytes)
            except BotoCoreError as error:
                self._drop()
                if tried == _RESUMED:
                    raise trouble(error, self._path) from error
                tried += 1
                # Not all threads at once.
                time.sleep(random.uniform(0.5, 1.0) * _FIRST_WAIT_SECONDS * 2**tried)
            else:
                self._at += len(data)
                return data

    def _rest(self) -> Any:
        """Ask for the object from here on, as long as it is the same."""
        parameters = {"Range": f"bytes={self._at}-", "IfMatch": self._entity_tag}
        return ask("get_object", self._path, Key=self._path.key, **parameters)["Body"]
