"""What photos and their sidecars say of themselves, without what phototag wrote there itself."""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from phototag.files import read_regular
from phototag.metadata import MAX_BYTES, Siblings, Written, WrittenKeywords, describe, sidecars_of
from phototag.paths import PhotoPath, S3Path
from phototag.records import CaptureFacts
from phototag.store import Capture, ExportKind, Store

_FOLDERS_KEPT = 64


@dataclass(frozen=True, slots=True)
class Described:
    """What a photo says of itself. `sidecar_modified_ns` is when the newest of its sidecars was last changed."""

    facts: CaptureFacts
    keywords: tuple[str, ...] = ()
    sidecar_modified_ns: int | None = None

    def capture(self, modified_ns: int) -> Capture:
        """Return it as it is stored; `modified_ns` is when the photo's file was last changed."""
        return Capture(modified_ns, self.facts, self.keywords, self.sidecar_modified_ns)


Describe: TypeAlias = Callable[[bytes, PhotoPath], Described]
"""Tells what a file says of itself from its bytes, or the first of them, and its path; called from several threads."""


def describe_alone(data: bytes, _path: PhotoPath) -> Described:
    """Return what a file says of itself, whatever lies beside it."""
    return Described(*describe(data))


class Describer:
    """Tells what photos say of themselves together with their sidecars. Threads may share it, for one pass.

    Args:
        read_written: Reads which keywords phototag wrote itself; called when that is first of interest.
    """

    def __init__(self, read_written: Callable[[], WrittenKeywords]) -> None:
        self._read_written = read_written
        self._mutex = threading.Lock()
        self._written: WrittenKeywords | None = None
        self._folders: OrderedDict[Path, Siblings | None] = OrderedDict()

    def __call__(self, data: bytes, path: PhotoPath) -> Described:
        """Return what a photo says, whose file begins with these bytes.

        Raises:
            StoreError: the database cannot be read.
        """
        modified_ns = self.sidecar_modified_ns(path)
        beside = [] if modified_ns is None else list(self._sidecars(path))
        facts, keywords = describe(data, [held for _, held in beside])
        # Only then the ledger is of interest, which may be long.
        if keywords and ((ours := self.written()).by_path or ours.by_hash):
            written = [ours.of_photo(path, io.BytesIO(data)), *(ours.of_sidecar(*each) for each in beside)]
            facts, keywords = describe(data, [held for _, held in beside], written=written)
        return Described(facts, keywords, modified_ns)

    def _sidecars(self, path: PhotoPath) -> Iterator[tuple[Path, bytes]]:
        if isinstance(path, S3Path):
            return
        siblings = self._siblings(path.parent)
        for sidecar in () if siblings is None else sidecars_of(path, siblings=siblings):
            with suppress(OSError):
                yield sidecar, read_regular(sidecar, most_bytes=MAX_BYTES)

    def has_sidecars(self, folder: PhotoPath) -> bool:
        """Return whether a folder holds any sidecars."""
        return self._siblings(folder) is not None

    def sidecar_modified_ns(self, path: PhotoPath) -> int | None:
        """Return when the newest file was last changed that may be a photo's sidecar by its name, None without one."""
        if isinstance(path, S3Path):
            return None
        siblings = self._siblings(path.parent)
        names = [] if siblings is None else [*siblings.named(path.name), *siblings.named(path.stem)]
        found = []
        for name in names:
            with suppress(OSError):
                found.append(path.with_name(name).stat().st_mtime_ns)
        return max(found, default=None)

    def _siblings(self, folder: PhotoPath) -> Siblings | None:
        """Return the files of a folder, None where no sidecar is among them; as they were when first asked for."""
        if isinstance(folder, S3Path):
            return None  # sidecars of objects would cost a request for each folder
        with self._mutex:
            if folder in self._folders:
                self._folders.move_to_end(folder)
                return self._folders[folder]
        try:
            siblings = Siblings(os.listdir(folder)) if _holds_sidecars(folder) else None  # noqa: PTH208  # only names
        except OSError:
            siblings = None
        with self._mutex:
            self._folders[folder] = siblings
            if len(self._folders) > _FOLDERS_KEPT:
                self._folders.popitem(last=False)
        return siblings

    def look_again(self) -> None:
        """Forget what phototag wrote where: photos were moved."""
        with self._mutex:
            self._written = None

    def written(self) -> WrittenKeywords:
        """Return which keywords phototag wrote itself; the same object until `look_again`.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._mutex:
            if self._written is None:
                self._written = self._read_written()
            return self._written


def _holds_sidecars(folder: Path) -> bool:
    """Return whether there is any; of the names of a large folder one is held at a time."""
    with os.scandir(folder) as entries:
        return any(entry.name[-4:].lower() == ".xmp" for entry in entries)


def written_keywords(store: Store) -> WrittenKeywords:
    """Return which keywords phototag wrote itself, by the database's ledger.

    Raises:
        StoreError: the database cannot be read.
    """
    by_path: dict[bytes, Written] = {}
    by_hash: dict[bytes, Written] = {}
    moved: dict[bytes, Written] = {}
    in_photos = False
    for export, photo in store.keyword_exports.with_photo_paths():
        in_photos |= export.kind is ExportKind.EMBEDDED
        items: dict[str, tuple[str, ...]] = {}
        # A write that was not settled may have happened or not.
        for state in filter(None, (export.state, export.planned)):
            for label, keywords in state.items.items():
                items[label] = (*items.get(label, ()), *keywords)
        # A photo that was moved took its sidecars along; another one may have got their old names.
        if photo is None or export.lies_with(photo):
            by_path[export.path_bytes] = items
        elif (place := export.place_with(photo)) is not None:
            moved[os.fsencode(place)] = items
        for state in filter(None, (export.state, export.planned)):
            if state.hash_after is not None:
                by_hash[state.hash_after] = items
    return WrittenKeywords(moved | by_path, by_hash, in_photos)
