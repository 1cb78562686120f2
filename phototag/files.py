"""Read regular files only, write files atomically, and bound caches."""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from phototag.errors import PhotoTagError, UsageError

# Opening waits for nothing, as the other end of a pipe, and no terminal becomes that of this process.
_READING = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY"))
_PAGE_BYTES = 1 << 16  # what the kernel makes up has the size 0
_OTHERS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


class NotAFileError(OSError):
    """Raised for a pipe, socket or device where a file is expected."""


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file to read its bytes, at once or not at all.

    Whatever has a path may be something else by the time it is opened: all that is read comes through here.

    Raises:
        NotAFileError: it is a pipe, socket or device.
        OSError: it is a folder, or cannot be opened; BlockingIOError if another program holds it back for a moment.
    """
    try:
        # Looked at before as well: opening a device may already do something.
        _check_regular(os.stat(path))  # noqa: PTH116  # for each photo: as in the scanner
        number = os.open(path, _READING)
    except ValueError as error:
        raise FileNotFoundError(errno.ENOENT, "no file can have this name") from error
    try:
        _check_regular(os.fstat(number))
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise NotAFileError(errno.EINVAL, f"{_OTHERS.get(stat.S_IFMT(status.st_mode), 'something else')}, not a file")


def read_regular(path: Path, *, most_bytes: int) -> bytes:
    """Return the bytes of a regular file of at most that size.

    Raises:
        OSError: as for `open_regular`, or it is larger.
    """
    with open_regular(path) as file:
        most_bytes = min(most_bytes, max(os.fstat(file.fileno()).st_size, _PAGE_BYTES))
        data: bytes | None = file.read(most_bytes + 1)
    if data is None:  # what the kernel makes up may look like a file, and have nothing to say yet
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"holds more than {most_bytes:,} bytes")
    return data


@contextmanager
def replacing(file: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give the path of a partial file beside `file`, which takes its place atomically once it is written.

    With `durable` it also outlasts a power cut from then on.

    Raises:
        OSError: the folder is not there, or cannot be written to.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        yield partial
        if durable:
            with partial.open("rb+") as written:
                os.fsync(written.fileno())
        partial.replace(file)
    finally:
        with suppress(OSError):  # renamed, or never made
            partial.unlink()


def atomic_write(
    file: Path, content: bytes, *, error: type[PhotoTagError] = UsageError, way_out: str = "; name another file"
) -> None:
    """Write a file atomically and durably, and make the folders that lead to it.

    Raises:
        PhotoTagError: it cannot be written; of the type `error`, with the `way_out` at the end of its text.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file, durable=True) as partial:
            partial.write_bytes(content)
    except OSError as problem:
        raise error(f"{file}: cannot be written: {problem.strerror or problem}{way_out}") from problem


def keep_newest(folder: Path, pattern: str, *, count: int) -> None:
    """Delete all but the `count` files of that pattern that were changed last, with everything of the same stem.

    Raises:
        OSError: the folder cannot be read or changed.
    """
    newest_first = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[count:]:
        for part in folder.glob(f"{path.stem}.*"):
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text to `path` atomically, and make the folders that lead to it.

    Raises:
        UsageError: it cannot be written.
    """
    atomic_write(path, text.encode())
