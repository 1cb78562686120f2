"""Photos that were moved: which row belongs to a file that is found under a new name.

Before a file is read: it has the inode, size and modification time of a row whose path no longer holds that file. Once
it was read: it has the content of such a row. A copy is not a move: what the row describes is still there then.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from phototag.errors import DecodeError
from phototag.imaging import read_bytes
from phototag.library import has_left, is_gone
from phototag.records import Photo, PhotoState, Source
from phototag.store import KnownPhoto, Store
from phototag.tagging.missing import is_below, unmounted_points
from phototag.tagging.pipeline import Batch
from phototag.tagging.plan import Need, Step

# Of two rows that would do, the one with more names of its path in common is the file's; more than these say nothing.
_MOST_NAMES = 3


class MovedPhotos:
    """Finds the rows of files that were moved in one run, and moves them there unless `writes` is false.

    The thread that scans and the one that saves may call it at once.
    """

    def __init__(self, store: Store, *, writes: bool) -> None:
        self._store, self._writes = store, writes
        self._lock = threading.Lock()
        self._unmounted: list[Path] | None = None
        self.ids: set[int] = set()
        self._overwritten: set[int] = set()

    @property
    def overwritten(self) -> int:
        """How many photos lost their place to one that was moved, and lie nowhere else."""
        return len(self._overwritten - self.ids)

    def by_identity(self, steps: Sequence[Step]) -> dict[int, KnownPhoto]:
        """Return the rows of moved files as they are now, by their places among `steps`."""
        places = {number: step.photo for number, step in enumerate(steps) if step.photo and _may_have_come(step)}
        if not places:
            return {}
        with self._lock:
            rows: dict[Any, list[KnownPhoto]] = defaultdict(list)
            for row in self._store.moves.with_inodes({photo.inode for photo in places.values()}):
                rows[row.inode, row.size_bytes, row.modified_ns].append(row)
            files: dict[Any, list[int]] = defaultdict(list)
            for number, photo in places.items():
                files[photo.inode, photo.size_bytes, photo.modified_ns].append(number)
            found: dict[int, KnownPhoto] = {}
            for key in files.keys() & rows.keys():
                by_path = {places[number].path: number for number in files[key]}
                left = [row for row in rows[key] if any(_left(row, places[number]) for number in files[key])]
                for path, row in _matched(list(by_path), left):
                    # Some file systems number files anew whenever they are mounted: a number alone proves nothing.
                    if row.path.name == path.name or row.modified_ns % 1_000_000_000:
                        found[by_path[path]] = row
            self._move({row.id: places[number] for number, row in found.items()})
        return {number: _moved(row, places[number]) for number, row in found.items()}

    def by_content(self, batch: Batch) -> None:
        """Move the rows whose contents were read under new names, before the batch is saved."""
        hashes = {os.fsencode(item.photo.path): item.content_hash for item in batch.items if item.content_hash}
        with self._lock:
            rows: dict[bytes, list[KnownPhoto]] = defaultdict(list)
            for row in self._store.moves.with_contents(set(hashes.values())):
                if row.content_hash is not None and hashes.get(row.path_bytes) != row.content_hash:
                    rows[row.content_hash].append(row)
            if not rows:
                return
            photos = [item.photo for item in batch.items if item.content_hash in rows]
            had = {row.path: row.content_hash for row in self._store.photos.at([photo.path for photo in photos])}
            files: dict[bytes, dict[Path, Photo]] = defaultdict(dict)
            for photo in photos:
                content = hashes[os.fsencode(photo.path)]
                if had.get(photo.path) != content:
                    files[content][photo.path] = photo
            moves: dict[int, Photo] = {}
            for content, new in files.items():
                left = [row for row in rows[content] if self._has_other_content(row, hashes, new)]
                moves |= {row.id: new[path] for path, row in _matched(list(new), left)}
            self._move(moves)

    def follow(self, row: KnownPhoto, photo: Photo) -> None:
        """Move a row that was never read to where the photo that decides for it went."""
        with self._lock:
            self._move({row.id: photo})

    def _move(self, moves: Mapping[int, Photo]) -> None:
        if self._writes:
            self._overwritten.update(self._store.moves.apply(moves))
        self.ids.update(moves)

    def _has_other_content(self, row: KnownPhoto, hashes: Mapping[bytes, bytes], new: Mapping[Path, Photo]) -> bool:
        """Return whether what a row describes is not where it was."""
        path = row.path
        if is_gone(path):
            return not self._is_away(path)
        if row.path_bytes in hashes:
            return True  # and with another content, or it would not be asked for
        same = next((photo for photo in new.values() if photo.inode == row.inode), None)
        if same is not None:
            return has_left(path, row.inode, found_at=same.path)
        try:
            status = os.lstat(path)
            if (status.st_size, status.st_mtime_ns, status.st_ino % 2**64) == (
                row.size_bytes,
                row.modified_ns,
                row.inode,
            ):
                return False
            return hashlib.sha256(read_bytes(path)).digest() != row.content_hash
        except (OSError, DecodeError):
            return False

    def _is_away(self, path: Path) -> bool:
        """Return whether a path lies on a disk that is not mounted: a file found elsewhere may be a copy of it."""
        if self._unmounted is None:
            self._unmounted = unmounted_points(self._store)
        return is_below(path, self._unmounted)


def _may_have_come(step: Step) -> bool:
    """Return whether a file that is found may be one that was somewhere else."""
    photo, known = step.photo, step.known
    if photo is None or known is None:
        return photo is not None
    if step.need is Need.NOTHING:
        return False  # it is as it was
    # A file that was copied back, or on a disk whose files are numbered anew, is still the one of that name.
    same = (known.size_bytes, known.modified_ns) == (photo.size_bytes, photo.modified_ns)
    return not same and known.inode != photo.inode


def _left(row: KnownPhoto, photo: Photo) -> bool:
    return row.path == photo.path or has_left(row.path, row.inode, found_at=photo.path)


def _matched(files: Sequence[Path], rows: Iterable[KnownPhoto]) -> Iterator[tuple[Path, KnownPhoto]]:
    """Yield which row belongs to which file where several look alike: the more names they share, the rather.

    Else photos with a human's tag come first, so that what people said is not left behind, and then the oldest.
    """
    paths, left = sorted(files), sorted(rows, key=lambda row: (row.tag_source != Source.HUMAN, row.id))
    for names in range(_MOST_NAMES, -1, -1):
        waiting: dict[tuple[str, ...], deque[KnownPhoto]] = defaultdict(deque)
        for row in left:
            waiting[_last_names(row.path, names)].append(row)
        others = []
        for path in paths:
            if alike := waiting[_last_names(path, names)]:
                yield path, alike.popleft()
            else:
                others.append(path)
        still = {row.id for rows_alike in waiting.values() for row in rows_alike}
        paths, left = others, [row for row in left if row.id in still]


def _last_names(path: Path, number: int) -> tuple[str, ...]:
    return path.parts[-number:] if number else ()


def _moved(row: KnownPhoto, photo: Photo) -> KnownPhoto:
    state = row.state
    if state is PhotoState.MISSING:
        state = PhotoState.OK if row.error_kind is None else row.error_kind.state
    return replace(row, path_bytes=os.fsencode(photo.path), changed_ns=photo.changed_ns, state=state)
