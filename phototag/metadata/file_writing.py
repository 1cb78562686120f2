"""Replace files that other programs also write: as a whole, with all that belongs to them, and never over a change.

A file is the old or the new one at every moment. Many are written at once: what is slow, waiting until all of them are
on the disk, then happens once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from phototag.files import drop_partial, open_regular, partial_path
from phototag.metadata.xmp.elements import XmpError

_MOST_BYTES = 1 << 30
_WAITING = 16  # files at once; measured in docs/experiments.md#keywords-out


class ChangedMeanwhileError(Exception):
    """Raised where another program wrote a file between reading and writing it."""


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file as it was read: `path` is where it lies, links followed."""

    path: Path
    data: bytes
    status: os.stat_result


def read_seen(path: Path) -> SeenFile | None:
    """Return what a file holds; None if there is none.

    Raises:
        XmpError: it is a link to nothing.
        OSError: it cannot be read.
    """
    real = Path(os.path.realpath(path))
    try:
        with open_regular(real) as file:
            status = os.fstat(file.fileno())
            if status.st_size > _MOST_BYTES:
                raise XmpError(f"holds more than {_MOST_BYTES >> 30} GB")
            return SeenFile(real, file.read(), status)
    except FileNotFoundError:
        if path.is_symlink():
            raise XmpError("is a link to a file that is not there") from None
        return None


def check_replaceable(seen: SeenFile) -> None:
    """Raise XmpError where replacing a file would break what it means to others."""
    # A mode says what its owner means, also to those who may write all the same.
    if not seen.status.st_mode & 0o222 or not os.access(seen.path, os.W_OK):
        raise XmpError("is read-only")
    if seen.status.st_nlink > 1:
        raise XmpError("has several names (hard links), of which one alone would change")


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What a file shall hold; None removes it. `seen` is what was there, None if nothing was."""

    path: Path
    seen: SeenFile | None
    data: bytes | None


def rewrite_all(rewrites: Sequence[Rewrite]) -> list[Exception | None]:
    """Write files, and return for each None or why it is as it was before.

    That is an XmpError or an OSError, or a ChangedMeanwhileError where it is worth to read the file again.
    """
    results: list[Exception | None] = [None] * len(rewrites)
    partials: list[Path | None] = [None] * len(rewrites)
    folders: set[Path] = set()
    try:
        numbers: dict[int, int] = {}
        for index, rewrite in enumerate(rewrites):
            try:
                if rewrite.seen is not None:
                    check_replaceable(rewrite.seen)
                if rewrite.data is not None:
                    partials[index], numbers[index] = _write_partial(rewrite)
            except (XmpError, OSError) as error:
                results[index] = error
        for index, problem in zip(numbers, _synced(list(numbers.values())), strict=True):
            results[index] = problem
        for index, rewrite in enumerate(rewrites):
            if results[index] is None:
                try:
                    _put(rewrite, partials[index])
                    folders.add(_place(rewrite).parent)
                except (XmpError, OSError, ChangedMeanwhileError) as error:
                    results[index] = error
    finally:
        for partial in filter(None, partials):
            drop_partial(partial)
    for folder in folders:
        _sync_folder(folder)
    return results


def _place(rewrite: Rewrite) -> Path:
    return rewrite.path if rewrite.seen is None else rewrite.seen.path


def _write_partial(rewrite: Rewrite) -> tuple[Path, int]:
    """Write a hidden file beside the one that it will become; its open number is to be closed."""
    if not _place(rewrite).parent.stat().st_mode & 0o222:  # which does not keep an administrator from writing
        raise XmpError("lies in a read-only folder")
    partial = partial_path(_place(rewrite))
    number = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if rewrite.seen is None else 0o600)
    try:
        view = memoryview(rewrite.data or b"")
        while view:
            view = view[os.write(number, view) :]
        if rewrite.seen is not None:
            _take_over(number, rewrite.seen)
    except BaseException:
        os.close(number)
        drop_partial(partial)
        raise
    return partial, number


def _take_over(number: int, seen: SeenFile) -> None:
    """Give a new file what belongs to the old one: owner, mode and extended attributes."""
    if hasattr(os, "fchown"):
        with suppress(OSError):
            os.fchown(number, seen.status.st_uid, seen.status.st_gid)
        made = os.fstat(number)
        if (made.st_uid, made.st_gid) != (seen.status.st_uid, seen.status.st_gid):
            raise XmpError("belongs to another user or group, and would be yours afterwards")
        os.fchmod(number, stat.S_IMODE(seen.status.st_mode))
    if hasattr(os, "listxattr"):
        with suppress(OSError):  # a file system without them
            for name in os.listxattr(seen.path):
                with suppress(OSError):  # those of the system itself
                    os.setxattr(number, name, os.getxattr(seen.path, name))


def _synced(numbers: Sequence[int]) -> list[OSError | None]:
    """Wait until open files are on the disk, and close them. A file system writes many at once as fast as one."""

    def sync(number: int) -> OSError | None:
        try:
            os.fsync(number)
        except OSError as error:
            return error
        finally:
            os.close(number)
        return None

    if len(numbers) < 2:
        return [sync(number) for number in numbers]
    with ThreadPoolExecutor(min(_WAITING, len(numbers)), thread_name_prefix="sync") as pool:
        return list(pool.map(sync, numbers))


def _put(rewrite: Rewrite, partial: Path | None) -> None:
    place = _place(rewrite)
    if rewrite.seen is not None:
        now, then = place.stat(), rewrite.seen.status
        if (now.st_mtime_ns, now.st_size, now.st_ino) != (then.st_mtime_ns, then.st_size, then.st_ino):
            raise ChangedMeanwhileError
        if partial is None:
            place.unlink()
        else:
            partial.replace(place)
    elif partial is not None:
        _put_new(partial, place)


def _put_new(partial: Path, place: Path) -> None:
    """Give a new file its name, unless another has it by now: renaming would replace that one."""
    try:
        os.link(partial, place)
    except FileExistsError:
        raise ChangedMeanwhileError from None
    except (OSError, NotImplementedError):  # network drives and FAT have no links
        try:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            raise ChangedMeanwhileError from None
        partial.replace(place)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
