"""Photos that are known and were not found: which of them may be marked missing.

A disk that is not mounted looks like a folder whose photos were all deleted. So nothing is marked below a root without
any picture, below a mount point where nothing is mounted, or below a folder that cannot be read.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

from phototag.library import ScanProblems, has_pictures, is_mount_point, mount_point_of, mount_points
from phototag.paths import PhotoPath, S3Path
from phototag.store import KnownPhoto, Store

_NOTE = "mounts"
_AROUND = "mounts-around"


class MissingPhotos:
    """Collects the photos of one pass that were not found, eight bytes each."""

    def __init__(self, roots: Sequence[PhotoPath], problems: ScanProblems, store: Store) -> None:
        self._roots = roots
        self._problems = problems
        self._unmounted: set[PhotoPath] = set(_not_mounted(known_mount_points(store)))
        self._gone: dict[PhotoPath, array[int]] = {root: array("q") for root in roots}
        self._held: dict[PhotoPath, int] = {}

    def __bool__(self) -> bool:
        return bool(self._held) or any(self._gone.values())

    def add(self, known: KnownPhoto) -> None:
        """Note a photo that was not found; what is wrong with the folders above it has been noted before."""
        path = known.path
        above: tuple[PhotoPath, ...] = (path, *path.parents)
        for folder in above:
            if folder in self._problems.seen or folder in self._unmounted:
                self._held[folder] = self._held.get(folder, 0) + 1
                return
        root = next((folder for folder in above if folder in self._gone), None)
        if root is not None:
            self._gone[root].append(known.id)

    def settle(self) -> tuple[list[int], list[PhotoPath], list[str]]:
        """Return the ids to mark missing, the roots where nothing is to be marked, and a line on all held back."""
        ids: list[int] = []
        suspended: list[PhotoPath] = []
        lines = []
        for root, gone in self._gone.items():
            if gone and not has_pictures(root):
                suspended.append(root)
                doubt = "Is it the right server?" if isinstance(root, S3Path) else "Is the disk mounted?"
                lines.append(f"{root}: all its known photos are gone; nothing was marked missing. {doubt}")
            else:
                ids += gone
        for folder, number in self._held.items():
            why = "nothing is mounted there any more" if folder in self._unmounted else "cannot be read"
            lines.append(f"{folder}: {why}; known photos that were not seen there ({number:,}) are not marked missing")
        return ids, suspended, lines


def known_mount_points(store: Store) -> list[Path]:
    """Return the mount points that earlier passes found below their roots."""
    return _noted(store, _NOTE)


def unmounted_points(store: Store) -> list[Path]:
    """Return the mount points below or around roots of earlier passes where nothing is mounted any more."""
    # Pictures that lie there now say nothing of those on the disk.
    return [point for point in {*_noted(store, _NOTE), *_noted(store, _AROUND)} if not is_mount_point(point)]


def is_below(path: PhotoPath, points: Sequence[Path]) -> bool:
    """Return whether a path, as it is written or without symbolic links, lies at or below one of some points."""
    if isinstance(path, S3Path):
        return False
    real = Path(os.path.realpath(path)) if points else path
    return any(path.is_relative_to(point) or real.is_relative_to(point) for point in points)


def note_mount_points(store: Store, places: Sequence[PhotoPath]) -> None:
    """Remember where other disks are mounted below the roots, and where those that hold the roots are.

    A mount point of before is forgotten when it has become a folder like any other: not mounted, and with pictures.
    """
    roots = [place for place in places if isinstance(place, Path)]
    before = set(known_mount_points(store))
    elsewhere = {point for point in before if not any(point.is_relative_to(root) for root in roots)}
    points = elsewhere | {*_not_mounted(before)} | mount_points(roots)
    if points != before:
        store.notes.write(_NOTE, sorted(map(str, points)))
    before = set(_noted(store, _AROUND))
    around = {point for point in before if is_mount_point(point) or not has_pictures(point)}
    around |= set(filter(None, map(mount_point_of, roots)))
    if around != before:
        store.notes.write(_AROUND, sorted(map(str, around)))


def _noted(store: Store, name: str) -> list[Path]:
    noted = store.notes.read(name)
    return [Path(path) for path in noted if isinstance(path, str)] if isinstance(noted, list) else []


def _not_mounted(points: Iterable[Path]) -> list[Path]:
    return [point for point in points if not is_mount_point(point) and not has_pictures(point)]
