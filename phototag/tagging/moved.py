"""Photos that were moved: which row belongs to a file that is found under a new name.

Before a file is read: it has the inode, size and modification time of a row whose path no longer holds that file. Once
it was read: it has the content of such a row. A copy is not a move: what the row describes is still there then.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from phototag.errors import DecodeError, ObjectStorageError
from phototag.imaging import read_bytes
from phototag.library import has_left, is_gone
from phototag.object_storage import look_at
from phototag.paths import PhotoPath, S3Path
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
        self._unreachable: set[str] = set()
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
                rows[_identity(row)].append(row)
            files: dict[Any, list[int]] = defaultdict(list)
            for number, photo in places.items():
                files[_identity(photo)].append(number)
            found: dict[int, KnownPhoto] = {}
            for key in files.keys() & rows.keys():
                by_path = {places[number].path: number for number in files[key]}
                left = [row for row in rows[key] if any(self._left(row, places[number]) for number in files[key])]
                for path, row in _matched(list(by_path), left):
                    # Some file systems number files again whenever they are mounted: a number alone proves nothing.
                    numbered = not isinstance(path, S3Path)
                    if not numbered or row.path.name == path.name or row.modified_ns % 1_000_000_000:
                        found[by_path[path]] = row
            self._move({row.id: places[number] for number, row in found.items()})
        return {number: _moved(row, places[number]) for number, row in found.items()}

    def by_content(self, batch: Batch) -> None:
        """Move the rows whose contents were read under new names, before the batch is saved."""
        hashes = {bytes(item.photo.path): item.content_hash for item in batch.items if item.content_hash}
        with self._lock:
            rows: dict[bytes, list[KnownPhoto]] = defaultdict(list)
            for row in self._store.moves.with_contents(set(hashes.values())):
                if row.content_hash is not None and hashes.get(row.path_bytes) != row.content_hash:
                    rows[row.content_hash].append(row)
            if not rows:
                return
            photos = [item.photo for item in batch.items if item.content_hash in rows]
            had = {row.path: row.content_hash for row in self._store.photos.at([photo.path for photo in photos])}
            files: dict[bytes, dict[PhotoPath, Photo]] = defaultdict(dict)
            for photo in photos:
                content = hashes[bytes(photo.path)]
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

    def _has_other_content(
        self, row: KnownPhoto, hashes: Mapping[bytes, bytes], new: Mapping[PhotoPath, Photo]
    ) -> bool:
        """Return whether what a row describes is not where it was."""
        path = row.path
        if self._is_told(path, lambda: is_gone(path)):
            return not self._is_away(path)
        if row.path_bytes in hashes:
            return True  # and with another content, or it would not be asked for
        same = next((photo for photo in new.values() if photo.inode == row.inode), None)
        if same is not None:
            return self._left(row, same)
        return self._is_told(path, lambda: not _is_as_known(row) and _digest(path) != row.content_hash)

    def _left(self, row: KnownPhoto, photo: Photo) -> bool:
        path = row.path
        return path == photo.path or self._is_told(path, lambda: has_left(path, row.inode, found_at=photo.path))

    def _is_told(self, path: PhotoPath, ask: Callable[[], bool]) -> bool:
        """Return what the disk or the storage says; false, as if all were as it was, where nothing can be asked."""
        if isinstance(path, S3Path) and path.bucket in self._unreachable:
            return False
        try:
            return ask()
        except (OSError, DecodeError):
            return False
        except ObjectStorageError:
            if isinstance(path, S3Path):
                self._unreachable.add(path.bucket)  # each try takes long
            return False

    def _is_away(self, path: PhotoPath) -> bool:
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
    # A file that was copied back, or on a disk whose files are numbered again, is still the one of that name.
    same = (known.size_bytes, known.modified_ns) == (photo.size_bytes, photo.modified_ns)
    return not same and known.inode != photo.inode


def _identity(one: Photo | KnownPhoto) -> tuple[int, int, int | None]:
    """Return what a file keeps when it is moved. A moved object is a new one of the same entity tag."""
    return one.inode, one.size_bytes, None if isinstance(one.path, S3Path) else one.modified_ns


def _is_as_known(row: KnownPhoto) -> bool:
    """Return whether the photo lies where it was known, by its stat alone.

    Raises:
        OSError: it cannot be looked at.
        ObjectStorageError: the storage cannot be reached.
    """
    path = row.path
    if isinstance(path, S3Path):
        found = look_at(path)
        return found is not None and (found.size_bytes, found.inode) == (row.size_bytes, row.inode)
    status = os.lstat(path)
    now = (status.st_size, status.st_mtime_ns, status.st_ino % 2**64)
    return now == (row.size_bytes, row.modified_ns, row.inode)


def _digest(path: PhotoPath) -> bytes:
    return hashlib.sha256(read_bytes(path)).digest()


def _matched(files: Sequence[PhotoPath], rows: Iterable[KnownPhoto]) -> Iterator[tuple[PhotoPath, KnownPhoto]]:
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


def _last_names(path: PhotoPath, number: int) -> tuple[str, ...]:
    return path.parts[-number:] if number else ()


def _moved(row: KnownPhoto, photo: Photo) -> KnownPhoto:
    state = row.state
    if state is PhotoState.MISSING:
        state = PhotoState.OK if row.error_kind is None else row.error_kind.state
    return row._replace(
        path_bytes=bytes(photo.path),
        modified_ns=photo.modified_ns,
        changed_ns=photo.changed_ns,
        state=state,
    )
