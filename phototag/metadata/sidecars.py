"""Which sidecar belongs to which photo, by the names that Adobe's programs, darktable and digiKam give them.

`IMG.CR2.xmp` names its photo. `IMG.xmp` belongs to the RAW photo of that stem, or to the only file of that stem, unless
it says itself to which one. Upper and lower case are the same.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePath

from phototag.files import read_regular
from phototag.imaging import is_picture
from phototag.metadata.xmp import MAX_BYTES, XmpError, read_packet

SUFFIX = ".xmp"
# Adobe's programs write sidecars only for RAW formats of makers, and embed in all others, DNG among them.
_MAKERS_RAW = {
    ".3fr", ".ari", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc", ".mef",
    ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
}  # fmt: skip
# What shares a stem with a photo without being a picture that phototag reads: a video of a Live Photo above all.
_OTHERS = {".dng", ".heic", ".heif", ".hif", ".psd", ".jxl", ".mov", ".mp4", ".m4v", ".avi", ".mts"}


class Siblings:
    """The files of one folder, to ask for sidecars of many of them.

    Args:
        names: Their names, as the operating system spells them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._sidecars: dict[str, list[str]] = defaultdict(list)
        self._of_stem: dict[str, set[str]] = defaultdict(set)
        for name in sorted(names):
            path = PurePath(name)
            suffix = path.suffix.lower()
            if suffix == SUFFIX:
                self._sidecars[path.stem.casefold()].append(name)
            elif suffix in _MAKERS_RAW or suffix in _OTHERS or is_picture(path):
                self._of_stem[path.stem.casefold()].add(name.casefold())

    @classmethod
    def of(cls, folder: Path) -> Siblings:
        """List a folder.

        Raises:
            OSError: it cannot be listed.
        """
        return cls(os.listdir(folder))  # noqa: PTH208  # of many thousand files, only the names

    def named(self, name: str) -> list[str]:
        """Return the sidecars `name`.xmp, in whatever case."""
        return self._sidecars.get(name.casefold(), [])

    def has_picture(self, name: str) -> bool:
        """Return whether a picture or video has exactly this name, in whatever case."""
        return name.casefold() in self._of_stem.get(PurePath(name).stem.casefold(), set())

    def sharing_stem(self, photo: PurePath) -> set[str]:
        """Return the pictures and videos that a sidecar named after the stem could belong to, in lower case."""
        return self._of_stem.get(photo.stem.casefold(), set()) | {photo.name.casefold()}


def sidecars_of(photo: Path, *, siblings: Siblings) -> tuple[Path, ...]:
    """Return the sidecars that are there and belong to a photo, those that name its file in full first.

    Where a sidecar is named after the stem alone it is read: it may say that it belongs to another file.
    """
    full = [photo.with_name(name) for name in siblings.named(photo.name)]
    if siblings.has_picture(photo.stem):  # IMG.CR2.xmp beside IMG.CR2 and IMG.CR2.jpg
        return tuple(full)
    by_stem = (photo.with_name(name) for name in siblings.named(photo.stem))
    return (*full, *(sidecar for sidecar in by_stem if _belongs(sidecar, photo, siblings)))


def _belongs(sidecar: Path, photo: Path, siblings: Siblings) -> bool:
    sharing = siblings.sharing_stem(photo)
    with suppress(OSError, XmpError):
        said = read_packet(read_regular(sidecar, most_bytes=MAX_BYTES)).sidecar_for
        if said is not None:
            return said.lower().lstrip(".") == photo.suffix.lower().lstrip(".")
    raw = {name for name in sharing if PurePath(name).suffix in _MAKERS_RAW}
    return raw == {photo.name.casefold()} or sharing == {photo.name.casefold()}


def new_sidecar(photo: Path, *, siblings: Siblings) -> Path:
    """Return the name for the first sidecar of a photo: Adobe's for a maker's RAW, else the one that names the file."""
    suffixes = [PurePath(name).suffix for name in siblings.sharing_stem(photo)]
    alone = sum(suffix in _MAKERS_RAW for suffix in suffixes) == 1
    if photo.suffix.lower() in _MAKERS_RAW and alone and not siblings.named(photo.stem):
        return photo.with_suffix(SUFFIX)
    return photo.with_name(photo.name + SUFFIX)
