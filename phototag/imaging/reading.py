"""Read the bytes of a picture, from a file or from object storage, once its size and its first bytes are plausible."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from phototag.errors import DecodeError
from phototag.files import NotAFileError, open_regular
from phototag.imaging.formats import RAW, SIGNATURE_BYTES, TIFF, format_of, unread_format, why_not_read
from phototag.imaging.giants import GIANT_BYTES, check_giant
from phototag.object_storage import ObjectFile
from phototag.paths import PhotoPath, S3Path
from phototag.records import FailureKind

MAX_FILE_BYTES = 1 << 30


def read_bytes(path: PhotoPath) -> bytes:
    """Read the bytes of a picture.

    Raises:
        DecodeError: it is gone, unreadable, empty, implausibly large, still being written, begins like no picture, or
            what reads it is not installed.
        ObjectStorageError: the object storage cannot be reached.
    """
    try:
        data = _read_object(path) if isinstance(path, S3Path) else _read_file(path)
    except FileNotFoundError as error:
        raise DecodeError(path, FailureKind.GONE, "the file is gone") from error
    except (NotAFileError, IsADirectoryError) as error:
        raise DecodeError(path, FailureKind.GONE, f"the file is gone; there is {error.strerror}") from error
    except BlockingIOError as error:
        why = str(error.strerror) if isinstance(path, S3Path) else "another program keeps the file to itself; try again"
        raise DecodeError(path, FailureKind.BUSY, why) from error
    except PermissionError as error:
        why = str(error.strerror) if isinstance(path, S3Path) else "no permission to read the file"
        raise DecodeError(path, FailureKind.PERMISSION, why) from error
    except OSError as error:
        raise DecodeError(path, FailureKind.CORRUPT, f"cannot be read: {error.strerror or error}") from error
    if not data:
        raise DecodeError(path, FailureKind.EMPTY, "the file is empty")
    return data


def _read_file(path: Path) -> bytes:
    with open_regular(path) as file:
        before = os.fstat(file.fileno())
        _check_start(file, before.st_size, path)
        file.seek(0)
        # No more than that: someone may append to it for ever.
        data = file.read(before.st_size + 1)
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns, len(data or b"")) != (after.st_size, after.st_mtime_ns, before.st_size):
        raise DecodeError(path, FailureKind.TRUNCATED, "the file changed while it was read")
    return data


def _read_object(path: S3Path) -> bytes:
    with ObjectFile(path) as file:
        head = _check_start(file, file.size_bytes, path)
        # What was fetched is not asked for again.
        file.seek(len(head))
        return head + file.readall()


def _check_start(file: BinaryIO | ObjectFile, size_bytes: int, path: PhotoPath) -> bytes:
    """Check the size of a file and how it begins, and return its first bytes.

    Raises:
        DecodeError: it is too large or no picture, or what reads it is not installed.
        OSError: it cannot be read.
    """
    if size_bytes > MAX_FILE_BYTES:
        reason = f"{size_bytes / 2**20:.0f} MiB are more than the limit of {MAX_FILE_BYTES >> 20} MiB"
        raise DecodeError(path, FailureKind.TOO_LARGE, reason)
    # A gigabyte that is no picture is not to take its room in memory first.
    head = file.read(SIGNATURE_BYTES) or b""
    _check_reader(head, path)
    if head and format_of(head) is None:
        raise DecodeError(path, FailureKind.NOT_AN_IMAGE, why_not_read(head))
    if size_bytes > GIANT_BYTES:
        check_giant(file, size_bytes, path)
    return head


def _check_reader(head: bytes, path: PhotoPath) -> None:
    """Check that what reads a file of that name is installed, unless its first bytes are those of another format.

    Raises:
        DecodeError: it is not.
    """
    named = unread_format(path.suffix)
    if named is not None and format_of(head) in ((None, named, TIFF) if named is RAW else (None, named)):
        raise DecodeError(path, named.lacking, named.advice)
