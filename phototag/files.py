"""Read regular files only, write files as a whole over what is there, or not at all; and bound caches."""

from __future__ import annotations

import errno
import io
import itertools
import os
import re
import shutil
import stat
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from phototag.errors import PhotoTagError, UsageError

# What a file system that keeps no locks says when asked for one.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}

# Half-written files say which process of which computer writes them, so that those of killed ones can be told.
_PARTIAL = re.compile(r"\..*\.([0-9a-f]{8})-(\d+)-\d+\.partial(?:[.-].*)?")
_LONGEST_START = 40  # characters; names take up to 255 bytes
_MOST_LINKS = 40
_numbers = itertools.count()
_in_hand: set[str] = set()

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


def partial_path(file: Path) -> Path:
    """Return a hidden name beside `file` for what will become it; `sweep` removes it once this process is gone."""
    partial = file.with_name(f".{file.name[:_LONGEST_START]}.{_host()}-{os.getpid()}-{next(_numbers)}.partial")
    _in_hand.add(partial.name)
    return partial


def drop_partial(partial: Path) -> None:
    """Remove a partial file that was not renamed, and forget its name."""
    with suppress(OSError):
        partial.unlink()
    _in_hand.discard(partial.name)


def _host() -> str:
    import socket  # here, since reading needs none of it

    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def sweep(folder: Path) -> None:
    """Remove what killed processes of this computer left half written in a folder."""
    with suppress(OSError):  # the next one does it
        for entry in list(os.scandir(folder)):
            found = _PARTIAL.fullmatch(entry.name)
            if found is None or found[1] != _host():
                continue
            if int(found[2]) == os.getpid():  # or of an earlier process: in containers they have the same numbers
                used = any(entry.name.startswith(name) for name in _in_hand)
            else:
                used = _is_running(int(found[2]))
            if not used:
                with suppress(OSError):
                    Path(entry).unlink()


def _is_running(process: int) -> bool:
    if os.name == "nt":
        return True  # asking would end it there
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def replacing(file: Path, *, durable: bool = False, private: bool = False) -> Iterator[Path]:
    """Give the path of a partial file, which takes the place of `file` atomically once it is written.

    A link stays one: what it leads to is replaced, and keeps its mode. What has no content of its own to replace is
    written into: a pipe, a device, a file with several names or in a folder that cannot be written to. `private`: a new
    file is for the user alone. With `durable` it also outlasts a power cut from then on.

    Raises:
        OSError: the folder is not there, or nothing can be written there.
    """
    target, there = _destination(file)
    partial, mode = _begin(target, there, private=private)
    try:
        yield partial
        if durable:
            with partial.open("rb+") as written:
                os.fsync(written.fileno())
        _put(partial, target, there, mode)
        if durable:
            sweep(target.parent)
    finally:
        drop_partial(partial)


def _destination(file: Path) -> tuple[Path, os.stat_result | None]:
    """Return where to write, links followed, and what lies there; a thing to be written into keeps its own path."""
    try:
        there = file.stat()
    except FileNotFoundError:
        return Path(os.path.realpath(file)), None
    if stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not there.st_mode & 0o222 and not os.access(file, os.W_OK):  # replacing it would need no permission
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return (file if _is_written_into(file, there) else Path(os.path.realpath(file))), there


def _is_written_into(file: Path, there: os.stat_result) -> bool:
    if not stat.S_ISREG(there.st_mode) or there.st_nlink > 1:
        return True
    # A name of something that is open already, such as /dev/stdout.
    for _ in range(_MOST_LINKS):
        folder = os.path.realpath(file.parent)
        if folder == "/dev" or folder.startswith("/proc/"):
            return True
        if not file.is_symlink():
            break
        file = file.parent / file.readlink()
    return False


def _begin(target: Path, there: os.stat_result | None, *, private: bool) -> tuple[Path, int | None]:
    """Make the partial file, and return it with its mode; None if it is to be poured into the target."""
    if there is None or not _is_written_into(target, there):
        partial = partial_path(target)
        try:
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if private else 0o666))
            return partial, stat.S_IMODE((there or partial.stat()).st_mode)
        except OSError:
            _in_hand.discard(partial.name)
            if there is None:
                raise
    import tempfile  # here, since it is rarely needed

    number, name = tempfile.mkstemp(prefix="phototag-")
    os.close(number)
    return Path(name), None


def _put(partial: Path, target: Path, there: os.stat_result | None, mode: int | None) -> None:
    if mode is not None:
        if there is not None:
            with suppress(OSError, AttributeError):  # only root may give files away; Windows has no such owners
                os.chown(partial, there.st_uid, there.st_gid)
        partial.chmod(mode)  # what wrote it may have made it again
        try:
            partial.replace(target)
            return
        except OSError:
            if there is None:  # else something may be mounted on it
                raise
    with partial.open("rb") as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)


def check_writable(file: Path) -> None:
    """Find out before long work, not after it, whether a file can be written; the folders that lead to it are made.

    Raises:
        UsageError: it cannot.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        target, there = _destination(file)
        partial, _ = _begin(target, there, private=True)
        partial.unlink()
        _in_hand.discard(partial.name)
    except OSError as problem:
        raise UsageError(f"{file}: cannot be written: {problem.strerror or problem}; name another file") from problem


def atomic_write(
    file: Path, content: bytes, *, error: type[PhotoTagError] = UsageError, way_out: str = "; name another file"
) -> None:
    """Write a file atomically and durably, as `replacing` does, and make the folders that lead to it.

    Raises:
        PhotoTagError: it cannot be written; of the type `error`, with the `way_out` at the end of its text.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file, durable=True) as partial:
            partial.write_bytes(content)
    except OSError as problem:
        raise error(f"{file}: cannot be written: {problem.strerror or problem}{way_out}") from problem


def keeps_locks(path: Path) -> bool:
    """Return whether the file system of a file keeps locks of parts of files, as SQLite needs them to read safely.

    Not asked of the file itself: closing it once more would give up all locks that this process has on it.
    """
    if os.name == "nt":
        return True
    import fcntl
    import tempfile

    real = path.resolve()
    try:
        try:
            with tempfile.TemporaryFile(dir=real.parent) as made:
                number = os.dup(made.fileno())
        except OSError:  # a folder that cannot be written to
            number = os.open(real.with_name(f"{real.name}.lock"), os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.lockf(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
        finally:
            os.close(number)
    except OSError as error:
        return error.errno not in NO_LOCKS
    return True


def keep_newest(folder: Path, pattern: str, *, count: int) -> None:
    """Delete all but the `count` files of that pattern that were changed last, with everything of the same stem.

    Raises:
        OSError: the folder cannot be read or changed.
    """
    newest_first = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[count:]:
        for part in folder.glob(f"{path.stem}.*"):
            part.unlink(missing_ok=True)


def as_it_is_there(path: Path) -> Path:
    """Return the path in the Unicode form in which it is there: a keyboard writes é in another than a Mac's disk."""
    if os.fspath(path).isascii() or os.path.lexists(path):
        return path
    place = Path()
    for part in path.parts:
        forms = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
        place = next((place / form for form in forms if os.path.lexists(place / form)), place / part)
    return place


def write_text(path: Path, text: str) -> None:
    """Write text to `path` atomically, and make the folders that lead to it.

    Raises:
        UsageError: it cannot be written.
    """
    atomic_write(path, text.encode())
