"""Ask the disk or the object storage whether a photo that was known is no longer where it was."""

from __future__ import annotations

import os
from pathlib import Path

from phototag.object_storage import look_at
from phototag.paths import PhotoPath, S3Path
from phototag.text import nfc


def is_gone(path: PhotoPath) -> bool:
    """Return whether there is certainly nothing at that path; what cannot be looked at may be there.

    Raises:
        ObjectStorageError: the storage cannot be reached.
    """
    try:
        if isinstance(path, S3Path):
            return look_at(path) is None
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False


def has_left(path: PhotoPath, inode: int, *, found_at: PhotoPath) -> bool:
    """Return whether the file `inode`, which was found somewhere else, is no longer at that path.

    There may be nothing, or another file. Of a hard link the file is still there. Where letter case makes no
    difference a file is there under every spelling of its name: then the folder's own spelling decides.

    Raises:
        ObjectStorageError: the storage cannot be reached.
    """
    try:
        if isinstance(path, S3Path):
            there = look_at(path)
            return there is None or there.inode != inode
        if os.lstat(path).st_ino % 2**64 != inode:
            return True
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    if path == found_at or nfc(str(path)).casefold() != nfc(str(found_at)).casefold():
        return False
    number = next(n for n, (old, new) in enumerate(zip(path.parts, found_at.parts, strict=True)) if old != new)
    try:
        return path.parts[number] not in os.listdir(Path(*path.parts[:number]))  # noqa: PTH208  # names alone
    except OSError:
        return False
