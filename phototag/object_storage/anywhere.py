"""Look at photos and open them wherever they lie, with one kind of error: those of the operating system."""

from __future__ import annotations

import errno
import io
import os
import stat

from phototag.files import NotAFileError, open_regular
from phototag.object_storage.listing import look_at
from phototag.object_storage.object_file import ObjectFile
from phototag.paths import PhotoPath, S3Path

_BUFFER_BYTES = 1 << 16


def open_photo(path: PhotoPath) -> io.BufferedReader:
    """Open a regular file or an object for reading.

    Raises:
        OSError: as for `open_regular`, and for an object as for `ask`.
        ObjectStorageError: the storage cannot be reached.
    """
    return io.BufferedReader(ObjectFile(path), _BUFFER_BYTES) if isinstance(path, S3Path) else open_regular(path)


def size_and_time(path: PhotoPath) -> tuple[int, int]:
    """Return the size in bytes of a file or object, and when it was last changed, in nanoseconds since 1970.

    Raises:
        FileNotFoundError: it is not there.
        NotAFileError: there is something else.
        OSError: it cannot be looked at.
        ObjectStorageError: the storage cannot be reached.
    """
    if isinstance(path, S3Path):
        found = look_at(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return found.size_bytes, found.modified_ns
    status = os.stat(path)  # noqa: PTH116  # for each photo: as in the scanner
    if not stat.S_ISREG(status.st_mode):
        raise NotAFileError(errno.EINVAL, "no file")
    return status.st_size, status.st_mtime_ns
