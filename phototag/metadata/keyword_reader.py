"""Read the keywords of many photos, each from its file and its sidecars."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from phototag.files import open_regular, read_regular
from phototag.metadata.keywords import Written, keywords_of
from phototag.metadata.sidecars import Siblings, sidecars_of
from phototag.metadata.xmp import MAX_BYTES

# Photos come folder by folder, and after those below one the rest of it.
_FOLDERS_KEPT = 64
_NOTHING: Mapping[bytes, Written] = {}


class KeywordReader:
    """Reads photos' keywords, without those that phototag wrote itself.

    `problems` has a line for each sidecar, and each photo's XMP, that could not be read.

    Args:
        written: What phototag wrote, by the bytes of the file's path, be it a photo or a sidecar.
    """

    def __init__(self, written: Mapping[bytes, Written] = _NOTHING) -> None:
        self.problems: list[str] = []
        self._written = written
        self._siblings = lru_cache(_FOLDERS_KEPT)(Siblings.of)

    def read(self, photo: Path) -> tuple[str, ...]:
        """Return the keywords of a photo, as `keywords_of` does.

        Raises:
            OSError: the photo, or its folder, cannot be read.
        """
        files = [photo]
        sidecars: list[bytes] = []
        for sidecar in sidecars_of(photo, siblings=self._siblings(photo.parent)):
            try:
                sidecars.append(read_regular(sidecar, most_bytes=MAX_BYTES))
                files.append(sidecar)
            except OSError as error:
                self.problems.append(f"{sidecar}: {error.strerror or error}")
        written = [self._written.get(os.fsencode(file), {}) for file in files]
        with open_regular(photo) as file:
            return keywords_of(
                file,
                sidecars,
                written=written,
                tell=lambda place, reason: self.problems.append(f"{files[place]}: {reason}"),
            )
