"""What a pass looks at: whole roots, or some files and folders below them."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from phototag.imaging import is_picture
from phototag.library import Exclusion, ScanProblems, count, is_passed_over, look, scan, scan_below
from phototag.paths import PhotoPath
from phototag.records import FileStat
from phototag.store import KnownPhoto, Store

_NOTHING = Exclusion()
_MANY_FILES = 1000


class Scope(Protocol):
    """Some places, on disk and in the database; both in the order of path bytes, so that they can be merged."""

    roots: Sequence[PhotoPath]

    def photos(self, problems: ScanProblems) -> Iterator[FileStat]:
        """Yield the pictures that are there."""
        ...

    def known(self, store: Store) -> Iterator[KnownPhoto]:
        """Yield what the database knows of these places."""
        ...

    def count(self) -> int | None:
        """Return about how many pictures are there, for a progress bar; None if that would take long to find out."""
        ...

    def is_large(self) -> bool:
        """Return whether there may be so many pictures that it pays to prepare for them."""
        ...


class Roots:
    """Everything at or under some roots, as `resolve_roots` gives them."""

    def __init__(self, roots: Sequence[PhotoPath], exclude: Exclusion = _NOTHING) -> None:
        self.roots = roots
        self._exclude = exclude

    def photos(self, problems: ScanProblems) -> Iterator[FileStat]:
        """Return as `Scope` says."""
        return scan(self.roots, problems, exclude=self._exclude)

    def known(self, store: Store) -> Iterator[KnownPhoto]:
        """Return as `Scope` says."""
        return _not_excluded(store.photos.under(self.roots), self.roots, self._exclude)

    def count(self) -> int | None:
        """Return as `Scope` says."""
        return count(self.roots, exclude=self._exclude)

    def is_large(self) -> bool:
        """Return as `Scope` says."""
        return True


class Places:
    """Some files, and folders with all below them, whether they are there or gone. All lie at or below `roots`."""

    def __init__(
        self,
        roots: Sequence[Path],
        *,
        files: Iterable[Path] = (),
        folders: Iterable[Path] = (),
        exclude: Exclusion = _NOTHING,
    ) -> None:
        self.roots: Sequence[PhotoPath] = roots
        self._own_roots = roots
        self._exclude = exclude
        inside = {folder for folder in folders if self._root(folder) is not None}
        self._folders = sorted(
            (folder for folder in inside if not any(parent in inside for parent in folder.parents)), key=_folder_key
        )
        outer = set(self._folders)
        self._files = sorted(
            (
                file
                for file in set(files) - outer
                if self._root(file) is not None and not any(parent in outer for parent in file.parents)
            ),
            key=os.fsencode,
        )

    def photos(self, problems: ScanProblems) -> Iterator[FileStat]:
        """Return as `Scope` says."""
        folders = [folder for folder in self._folders if os.path.isdir(folder)]  # noqa: PTH112  # never raises
        # What was a folder may be a file by now. What is gone is looked at as well: why may be of interest.
        files = sorted({*self._files, *self._folders} - set(folders), key=os.fsencode)
        return heapq.merge(
            self._loose_photos(files, problems), self._photos_in_folders(folders, problems), key=_path_bytes
        )

    def known(self, store: Store) -> Iterator[KnownPhoto]:
        """Return as `Scope` says."""
        below = store.photos.under(self._folders)
        merged = heapq.merge(store.photos.at(self._files), below, key=_path_bytes)
        return _not_excluded(merged, self.roots, self._exclude)

    def count(self) -> int:
        """Return as `Scope` says."""
        return len(self._files) + (count(self._folders, exclude=self._exclude) or 0)

    def is_large(self) -> bool:
        """Return as `Scope` says. Folders that were moved or made can hold anything; they are rare."""
        return bool(self._folders) or len(self._files) > _MANY_FILES

    def _root(self, path: Path) -> Path | None:
        return next((root for root in self._own_roots if path.is_relative_to(root)), None)

    def _loose_photos(self, files: Iterable[Path], problems: ScanProblems) -> Iterator[FileStat]:
        for file in files:
            root = self._root(file)
            if root is None or not self._is_searched(file, root):
                continue
            # A root that is itself a link to a file was named on purpose.
            found = look(bytes(file), problems, follow=file == root)
            if found is not None and (file == root or is_picture(file)):
                yield found

    def _photos_in_folders(self, folders: Iterable[Path], problems: ScanProblems) -> Iterator[FileStat]:
        for folder in folders:
            root = self._root(folder)
            if root is not None and self._is_searched(folder, root) and (folder == root or not _is_link(folder)):
                yield from scan_below(folder, root, problems, exclude=self._exclude)

    def _is_searched(self, path: Path, root: Path) -> bool:
        """Return whether a scan of the root would find that path: nothing on the way is hidden, a link or excluded."""
        if any(map(is_passed_over, path.relative_to(root).parts)) or self._exclude.covers(path, root):
            return False
        return not any(_is_link(folder) for folder in path.parents if folder != root and folder.is_relative_to(root))


def _is_link(path: Path) -> bool:
    return os.path.islink(path)  # noqa: PTH114  # does not raise below a folder that cannot be read


def _path_bytes(one: FileStat | KnownPhoto) -> bytes:
    return one.path_bytes


def _folder_key(folder: Path) -> bytes:
    return os.fsencode(folder) + b"/"


def _not_excluded(known: Iterator[KnownPhoto], roots: Sequence[PhotoPath], exclude: Exclusion) -> Iterator[KnownPhoto]:
    """Leave out the photos that an exclusion covers: they were not looked for, so they are not missing."""
    if not exclude:
        return known
    return (row for row in known if not any(exclude.covers(row.path, root) for root in roots))
