"""Read the keywords of many photos, each from its file and its sidecars."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from phototag.files import open_regular, read_regular
from phototag.metadata.keywords import Written, keywords_of
from phototag.metadata.sidecars import Siblings, sidecars_of
from phototag.metadata.xmp import MAX_BYTES
from phototag.paths import PhotoPath

# Photos come folder by folder, and after those below one the rest of it.
_FOLDERS_KEPT = 64


@dataclass(frozen=True, slots=True)
class WrittenKeywords:
    """What phototag wrote itself into photos and sidecars.

    Args:
        by_path: By the bytes of the file's path.
        by_hash: By the SHA-256 of the file as it was then: it may have been moved since.
        in_photos: Whether photos are among these files, and not sidecars alone.
    """

    by_path: Mapping[bytes, Written] = field(default_factory=dict)
    by_hash: Mapping[bytes, Written] = field(default_factory=dict)
    in_photos: bool = False

    def of_sidecar(self, path: Path, data: bytes) -> Written:
        """Return what phototag wrote into a sidecar."""
        known = self.by_path.get(bytes(path))
        if known is None and self.by_hash:
            known = self.by_hash.get(hashlib.sha256(data).digest())
        return known or {}

    def of_photo(self, path: PhotoPath, file: BinaryIO) -> Written:
        """Return what phototag wrote into a photo's own file."""
        known = self.by_path.get(bytes(path))
        if known is None and self.in_photos:
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]  # it takes any that has readinto
            known = self.by_hash.get(digest.digest())
        return known or {}


class KeywordReader:
    """Reads photos' keywords, without those that phototag wrote itself.

    `problems` has a line for each sidecar, and each photo's XMP, that could not be read.

    Args:
        written: What phototag wrote.
    """

    def __init__(self, written: WrittenKeywords) -> None:
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
        written: list[Written] = []
        for sidecar in sidecars_of(photo, siblings=self._siblings(photo.parent)):
            try:
                data = read_regular(sidecar, most_bytes=MAX_BYTES)
            except OSError as error:
                self.problems.append(f"{sidecar}: {error.strerror or error}")
                continue
            files.append(sidecar)
            sidecars.append(data)
            written.append(self._written.of_sidecar(sidecar, data))
        with open_regular(photo) as file:
            return keywords_of(
                file,
                sidecars,
                written=[self._written.of_photo(photo, file), *written],
                tell=lambda place, reason: self.problems.append(f"{files[place]}: {reason}"),
            )
