"""Two files that are one photo: a raw photo and the JPEG or HEIC picture that the camera wrote beside it."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path, PurePath

from phototag.imaging import FORMATS
from phototag.object_storage import names_in
from phototag.paths import PhotoPath, S3Path
from phototag.text import nfc

# The picture that decides for both, the cheapest to decode first.
_LEADS = ("JPEG", "HEIC")
_SUFFIXES = {form.name: form.suffixes for form in FORMATS}
_RAW_SUFFIXES = tuple(suffix.encode() for suffix in _SUFFIXES["RAW"])
_LONGEST_RAW = max(map(len, _RAW_SUFFIXES))
_RANK = {suffix: rank for rank, name in enumerate(_LEADS) for suffix in _SUFFIXES[name]}
# As Pixel phones call them: PXL_x.RAW-01.COVER.jpg and PXL_x.RAW-02.ORIGINAL.dng.
_PIXEL = re.compile(r"\.raw-\d+(\.mp)?\.(cover|original)$")
_FOLDERS_KEPT = 16


def is_raw(path: PurePath | S3Path | bytes) -> bool:
    """Return whether the name says that this is a raw photo."""
    # Asked of every photo of every scan, with the bytes of its path.
    name = path if isinstance(path, bytes) else bytes(path)
    return name[-_LONGEST_RAW:].lower().endswith(_RAW_SUFFIXES)


class Partners:
    """Finds the partners of files by their names in the same folder, as the folders were when they were first asked."""

    def __init__(self) -> None:
        self._names = lru_cache(_FOLDERS_KEPT)(_by_stem)

    def lead_of(self, raw: PhotoPath) -> PhotoPath | None:
        """Return the picture that decides for a raw photo, None if there is none."""
        if not is_raw(raw):
            return None
        names = self._names(raw.parent).get(_stem(raw), ())
        leads = [name for name in names if _rank(name) is not None]
        return raw.with_name(min(leads, key=lambda name: (_rank(name), name))) if leads else None

    def with_partners(self, files: Collection[Path]) -> set[Path]:
        """Return files, there or gone, and those beside them that are one photo with them or may have been."""
        found = set(files)
        for file in files:
            if is_raw(file) or _rank(file.name) is not None:
                names = self._names(file.parent).get(_stem(file), ())
                if any(is_raw(PurePath(name)) for name in (*names, file.name)):
                    found.update(file.with_name(name) for name in names)
        return found


def _by_stem(folder: PhotoPath) -> dict[str, list[str]]:
    names: defaultdict[str, list[str]] = defaultdict(list)
    try:
        if isinstance(folder, S3Path):
            listed: Iterable[str] = names_in(folder)
        else:
            listed = sorted(os.listdir(folder))  # noqa: PTH208  # names alone
    except OSError:
        listed = ()
    for name in listed:
        path = PurePath(name)
        if not name.startswith(".") and (is_raw(path) or _rank(name) is not None):
            names[_stem(path)].append(name)
    return dict(names)


def _rank(name: str) -> int | None:
    return _RANK.get(PurePath(name).suffix.lower())


def _stem(path: PurePath | S3Path) -> str:
    return _PIXEL.sub("", nfc(path.stem).casefold())
