"""The scanner: every picture file under some folders, with its stat. It is the truth about what is there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phototag.errors import UsageError
from phototag.imaging.formats import is_picture
from phototag.records import Photo


@dataclass
class ScanProblems:
    """Folders and files that could not be looked at, one line each."""

    lines: list[str] = field(default_factory=list)

    def add(self, path: str, error: OSError) -> None:
        """Note a folder or file and why."""
        self.lines.append(f"{path}: {error.strerror or error}")


def resolve_roots(paths: Sequence[str | Path]) -> list[Path]:
    """Absolute roots in the order in which their files sort, none inside another.

    Raises:
        UsageError: a path does not exist, cannot be looked at, or is a file that is no picture by its name.
    """
    roots = []
    for path in dict.fromkeys(Path(os.path.abspath(path)) for path in paths):  # noqa: PTH100  # keeps symlinks
        _check_root(path)
        roots.append(path)
    roots.sort(key=_sort_key)
    outer: list[Path] = []
    for root in sorted(roots, key=lambda path: len(path.parts)):
        if not any(root.is_relative_to(other) for other in outer):
            outer.append(root)
    return sorted(outer, key=_sort_key)


def _check_root(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be looked at: {error.strerror}") from error
    if not stat.S_ISDIR(mode) and not (stat.S_ISREG(mode) and is_picture(path)):
        raise UsageError(f"{path}: not a picture that phototag reads (JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF)")


def _sort_key(path: Path) -> bytes:
    return os.fsencode(path) + (b"/" if path.is_dir() else b"")


def scan(roots: Sequence[Path], problems: ScanProblems) -> Iterator[Photo]:
    """Every picture at or under `roots`, in the order of path bytes, with flat memory.

    Symbolic links are not followed (a root itself may be one), hidden files and folders are left out. What cannot be
    looked at is noted in `problems`. `roots` come from `resolve_roots`.
    """
    # Through a link that was named itself, it is the file behind it that may change.
    named = {os.fspath(root) for root in roots}
    for path in _files(roots, problems):
        try:
            found = os.stat(path, follow_symlinks=path in named)  # noqa: PTH116  # a Path each costs half the scan
        except FileNotFoundError:
            continue  # gone since the folder was listed
        except OSError as error:
            problems.add(path, error)
            continue
        yield Photo(Path(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def count(roots: Sequence[Path]) -> int:
    """How many pictures `scan` will find, without looking at each."""
    return sum(1 for _ in _files(roots, ScanProblems()))


def _files(roots: Sequence[Path], problems: ScanProblems) -> Iterator[str]:
    for root in roots:
        if root.is_dir():
            yield from _under(os.fspath(root), problems.add)
        else:
            yield os.fspath(root)


def _under(folder: str, report: Callable[[str, OSError], None]) -> Iterator[str]:
    entries: list[tuple[bytes, str, bool]] = []
    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    # With the slash a folder sorts among files as the paths below it do.
                    entries.append((os.fsencode(entry.name) + b"/", entry.path, True))
                elif entry.is_file(follow_symlinks=False) and is_picture(Path(entry.name)):
                    entries.append((os.fsencode(entry.name), entry.path, False))
    except OSError as error:
        report(folder, error)
    for _, path, is_folder in sorted(entries):
        if is_folder:
            yield from _under(path, report)
        else:
            yield path
