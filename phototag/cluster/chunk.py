"""Chunks of photos, what a worker takes at once, and what becomes of one whose worker died."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from phototag.errors import RuntimeUnavailableError
from phototag.object_storage import open_photo
from phototag.records import Failure, FailureKind, Photo
from phototag.tagging import Batch

# One takes seconds: what is lost with a worker is little, and so is the share of handing it over.
PHOTOS_IN_CHUNK = 256
DEATHS_TO_CONDEMN = 2
_UNREACHABLE = (FailureKind.GONE, FailureKind.PERMISSION)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Photos that one worker takes at once.

    `deaths` counts the workers that died of it, or beside it by accident; `suspect` says that it is part of a chunk
    that was cut as workers died of it.
    """

    photos: tuple[Photo, ...]
    deaths: int = 0
    suspect: bool = False


def chunks_of(photos: Iterable[Photo], size: int) -> Iterator[Chunk]:
    """Yield photos in chunks, in their order."""
    left = iter(photos)
    while found := tuple(islice(left, size)):
        yield Chunk(found)


def after_death(chunk: Chunk) -> tuple[list[Chunk], Failure | None]:
    """Return what is to be tried instead of a chunk whose worker died, or the photo in it that is given up.

    Any worker may die by accident. So a chunk is cut in halves only when its second worker dies, the parts of such a
    one whenever one dies, as cutting costs little; and a photo is condemned only once two died while they had it alone.
    """
    deaths = chunk.deaths + 1
    if len(chunk.photos) == 1:
        if deaths < DEATHS_TO_CONDEMN:
            return [replace(chunk, deaths=deaths)], None
        reason = f"the process that read it died, {DEATHS_TO_CONDEMN} times; it is read again once it changes"
        return [], Failure(chunk.photos[0], FailureKind.DECODER, reason)
    if deaths < DEATHS_TO_CONDEMN and not chunk.suspect:
        return [replace(chunk, deaths=deaths)], None
    middle = len(chunk.photos) // 2
    halves = chunk.photos[:middle], chunk.photos[middle:]
    return [Chunk(half, suspect=True) for half in halves], None


def unreachable_photos(batch: Batch) -> tuple[Photo, ...]:
    """Return the photos of a chunk if a worker could get at none of them, which may be the worker's fault."""
    failures = [failure.photo for failure in batch.failures if failure.kind in _UNREACHABLE]
    return tuple(failures) if len(failures) == len(batch.items) else ()


def check_places(unreachable: Iterable[Photo], host: str) -> None:
    """Raise if this computer can read a photo that a worker could not get at: it would go on like that.

    Raises:
        RuntimeUnavailableError: the worker has not got the photos where this computer has them, or may not read them.
        ObjectStorageError: the storage cannot be reached.
    """
    for photo in unreachable:
        with suppress(OSError), open_photo(photo.path):
            raise RuntimeUnavailableError(
                f"{photo.path}: can be read here, but not by a worker on {host}; all machines have to have the photos "
                "at the same place, and may read them, from s3:// with credentials of their own. What was tagged is "
                "stored; run it again to go on"
            )
