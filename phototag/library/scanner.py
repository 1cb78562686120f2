"""Scan folders for picture files with their stat. The scanner is the truth about what is there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from phototag.errors import ObjectStorageError, UsageError
from phototag.files import as_it_is_there
from phototag.imaging import FORMAT_NAMES, is_picture
from phototag.library.exclude import Exclusion
from phototag.library.left_out import LeftOut, is_system_folder
from phototag.library.objects import check_objects, picture_at, scan_objects
from phototag.paths import PhotoPath, S3Path, absolute
from phototag.records import FileStat

_NOTHING = Exclusion()
_DOT, _SLASH, _SEPARATOR = b".", b"/", os.sep.encode()


@dataclass
class ScanProblems:
    """What could not be looked at, a line for the user each and their paths, and what was left out."""

    lines: list[str] = field(default_factory=list)
    seen: set[PhotoPath] = field(default_factory=set)
    left_out: LeftOut = field(default_factory=LeftOut)

    def add(self, path: bytes, error: OSError) -> None:
        """Note a folder or file and why."""
        text = os.fsdecode(path)
        self.lines.append(f"{text}: {error.strerror or error}")
        self.seen.add(Path(text))

    def add_objects(self, root: S3Path, error: OSError | ObjectStorageError) -> None:
        """Note an address whose objects could not all be listed, and why."""
        why = error.strerror if isinstance(error, OSError) else str(error).removeprefix(f"s3://{root.bucket}: ")
        self.lines.append(f"{root}: could not all be listed: {why}")
        self.seen.add(root)


def resolve_roots(paths: Sequence[str | PhotoPath]) -> list[PhotoPath]:
    """Return absolute roots in the order in which their files sort, none inside another.

    Raises:
        UsageError: a path does not exist, cannot be looked at, or is a file that is no picture by its name.
        ObjectStorageError: an address of objects cannot be looked at.
    """
    try:
        given = [absolute(path) for path in paths]
    except ValueError as error:
        raise UsageError(str(error)) from None
    roots = dict.fromkeys(path if isinstance(path, S3Path) else as_it_is_there(path) for path in given)
    for root in roots:
        if isinstance(root, S3Path):
            check_objects(root)
        else:
            _check_root(root)
    return sorted((root for root in roots if roots.keys().isdisjoint(root.parents)), key=_sort_key)


def _check_root(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be looked at: {error.strerror}") from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise UsageError(f"{path}: neither a folder nor a file, but a pipe, socket or device")
    if stat.S_ISREG(mode) and not is_picture(path):
        raise UsageError(f"{path}: not a picture that phototag reads ({FORMAT_NAMES})")


def _sort_key(path: PhotoPath) -> bytes:
    return bytes(path) + (b"/" if isinstance(path, Path) and path.is_dir() else b"")


def scan(roots: Sequence[PhotoPath], problems: ScanProblems, *, exclude: Exclusion = _NOTHING) -> Iterator[FileStat]:
    """Return every picture at or under `roots`, in the order of path bytes, with flat memory.

    Symbolic links are not followed (a root itself may be one); hidden files, folders of the system and what `exclude`
    names are left out. What cannot be looked at, and what a person may miss, is noted in `problems`. `roots` come from
    `resolve_roots`.
    """
    for is_address, some in groupby(roots, lambda root: isinstance(root, S3Path)):
        if is_address:
            yield from _scan_objects([root for root in some if isinstance(root, S3Path)], problems, exclude)
        else:
            yield from _scan_files([root for root in some if isinstance(root, Path)], problems, exclude)


def _scan_objects(roots: Sequence[S3Path], problems: ScanProblems, exclude: Exclusion) -> Iterator[FileStat]:
    # An object sorts before its neighbours, but what lies below it after some of them.
    spans = sorted((bytes(root) + end, root) for root in roots for end in (b"", b"/"))
    for start, root in spans:
        try:
            if start == bytes(root):
                found = picture_at(root)
                if found is not None:
                    yield FileStat.of(found)
            else:
                yield from map(FileStat.of, scan_objects(root, problems.left_out, exclude))
        except (OSError, ObjectStorageError) as error:
            problems.add_objects(root, error)


def _scan_files(roots: Sequence[Path], problems: ScanProblems, exclude: Exclusion) -> Iterator[FileStat]:
    for root in roots:
        if os.path.isdir(root):  # noqa: PTH112  # does not raise below a folder that was locked meanwhile
            yield from scan_below(root, root, problems, exclude=exclude)
        else:
            # Through a link that was named itself, it is the file behind it that may change.
            found = look(bytes(root), problems, follow=True)
            if found is not None:
                yield found


def scan_below(
    folder: Path, root: Path, problems: ScanProblems, *, exclude: Exclusion = _NOTHING
) -> Iterator[FileStat]:
    """Scan one folder as `scan` does, at or below a root; patterns are taken from the root."""
    for path in _under(bytes(folder), os.fspath(root), exclude, problems):
        found = look(path, problems)
        if found is not None:
            yield found


def look(path: bytes, problems: ScanProblems, *, follow: bool = False) -> FileStat | None:
    """Return the picture at a path, None if there is no file (any more). What cannot be looked at is noted."""
    try:
        found = os.stat(path, follow_symlinks=follow)  # noqa: PTH116  # with bytes
    except (FileNotFoundError, NotADirectoryError):
        return None  # gone since the folder was listed
    except OSError as error:
        problems.add(path, error)
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return FileStat(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def count(roots: Sequence[PhotoPath], *, exclude: Exclusion = _NOTHING) -> int | None:
    """Count the pictures that `scan` will find, without looking at each; None if some are objects.

    To count those is to list them, a thousand a request.
    """
    files = [root for root in roots if isinstance(root, Path)]
    return sum(1 for _ in _files(files, exclude)) if len(files) == len(roots) else None


def has_pictures(root: PhotoPath) -> bool:
    """Return whether there is any picture at or under a root; stops at the first."""
    if isinstance(root, S3Path):
        return next(_scan_objects([root], ScanProblems(), _NOTHING), None) is not None
    return next(_files([root], _NOTHING), None) is not None


def _files(roots: Sequence[Path], exclude: Exclusion) -> Iterator[bytes]:
    for root in roots:
        if os.path.isdir(root):  # noqa: PTH112  # as in `scan`
            yield from _under(bytes(root), os.fspath(root), exclude, ScanProblems())
        elif os.path.isfile(root):  # noqa: PTH113
            yield bytes(root)


def _under(folder: bytes, root: str, exclude: Exclusion, problems: ScanProblems) -> Iterator[bytes]:
    """Return the paths of the pictures below a folder, in the order of path bytes."""
    # An explicit stack: folders may be nested deeper than Python's calls. Of a folder only the names are held, as there
    # may be millions, and each only until its turn.
    waiting = [(folder, _names(folder, root, exclude, problems))]
    while waiting:
        path, names = waiting[-1]
        above = path if path.endswith(_SEPARATOR) else path + _SEPARATOR
        while names:
            name = names.pop()
            if name.endswith(_SLASH):
                inner = above + name[:-1]
                waiting.append((inner, _names(inner, root, exclude, problems)))
                break
            yield above + name
        else:
            waiting.pop()


def _names(path: bytes, root: str, exclude: Exclusion, problems: ScanProblems) -> list[bytes]:
    """Return the names of the pictures and folders in a folder, the last first; a folder's has a slash behind it."""
    names: list[bytes] = []
    left_out = problems.left_out
    try:
        with os.scandir(path) as listing:
            for entry in listing:
                name = entry.name
                if name.startswith(_DOT) or (exclude and exclude.leaves_out(os.fsdecode(entry.path), root)):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    text = os.fsdecode(name)
                    if is_system_folder(text):
                        left_out.folders[text] += 1
                    else:
                        # With the slash a folder sorts among files as the paths below it do.
                        names.append(name + _SLASH)
                elif not is_picture(name):
                    left_out.note_file(os.fsdecode(name))
                    left_out.links += entry.is_symlink() and os.path.isdir(entry.path)  # noqa: PTH112  # never raises
                elif entry.is_file(follow_symlinks=False):
                    names.append(name)
                else:
                    left_out.links += entry.is_symlink()
    except (FileNotFoundError, NotADirectoryError):
        pass  # gone since it was seen
    except OSError as error:
        problems.add(path, error)
    names.sort(reverse=True)
    return names
