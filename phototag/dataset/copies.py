"""Find pictures with the same content, which may not stand on both sides of a split or in two classes."""

from __future__ import annotations

import hashlib
import logging
import stat
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from phototag.dataset.labelled import LabelledData, LabelledPicture
from phototag.errors import DataError
from phototag.object_storage import open_photo, size_and_time
from phototag.paths import PhotoPath, S3Path
from phototag.progress import waiting

log = logging.getLogger(__name__)

_END_BYTES = 4096
# No picture is smaller. What is none counts as unreadable, each file of it.
_LEAST_BYTES = 64
_LISTED = 3


def copies_among(paths: Sequence[PhotoPath]) -> list[list[int]]:
    """Return the positions of files with the same content, a list for each content that several have.

    Only files of the same size and the same end are read in full. One that cannot be read has no copies here.
    """
    at: dict[tuple[int, ...], list[int]] = defaultdict(list)
    sizes: dict[tuple[int, ...], int] = {}
    for position, path in enumerate(paths):
        try:
            if isinstance(path, S3Path):
                object_file = (-1, position)
                sizes[object_file] = size_and_time(path)[0]
                at[object_file].append(position)
                continue
            found = path.stat()
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(found.st_mode) and found.st_size >= _LEAST_BYTES:
            # Links, and the same file named twice, need no reading. Some network drives have no inodes.
            file = (found.st_dev, found.st_ino) if found.st_ino else (found.st_dev, 0, position)
            at[file].append(position)
            sizes[file] = found.st_size

    def end(file: tuple[int, ...]) -> Hashable:
        return _digest(paths[at[file][0]], sizes[file] - _END_BYTES)

    def whole(file: tuple[int, ...]) -> Hashable:
        return _digest(paths[at[file][0]], 0)

    groups = [list(at)]
    with waiting("looking for copies"):
        for key in (sizes.__getitem__, end, whole):
            groups = [part for group in groups for part in (_parted(group, key) if len(group) > 1 else [group])]
    positions = (sorted(position for file in group for position in at[file]) for group in groups)
    return [group for group in positions if len(group) > 1]


def _parted(
    files: Sequence[tuple[int, ...]], key: Callable[[tuple[int, ...]], Hashable]
) -> list[list[tuple[int, ...]]]:
    parts: dict[Hashable, list[tuple[int, ...]]] = defaultdict(list)
    for file in files:
        parts[key(file)].append(file)
    return list(parts.values())


def _digest(path: PhotoPath, start: int) -> Hashable:
    """Return SHA-256 of a file from an offset on; what is like nothing else if it cannot be read."""
    try:
        with open_photo(path) as file:
            file.seek(max(0, start))
            return hashlib.file_digest(file, "sha256").digest()
    except (OSError, ValueError):
        return object()


def without_contradictions(data: LabelledData, *, once: bool = False) -> LabelledData:
    """Return the data without pictures that have several labels as copies of each other; that is said.

    With `once` of several copies with one label one is left.

    Raises:
        DataError: nothing is left.
    """
    pictures = data.pictures
    gone: set[int] = set()
    repeated = 0
    contradictions: list[str] = []
    for group in copies_among([picture.path for picture in pictures]):
        labels = {(pictures[place].superclass, pictures[place].subclass): place for place in reversed(group)}
        if len(labels) > 1:
            gone.update(group)
            contradictions.append(" and ".join(_described(pictures[place]) for place in sorted(labels.values())))
        elif once:
            gone.update(group[1:])
            repeated += len(group) - 1
    if not gone:
        return data
    if contradictions:
        more = len(contradictions) - _LISTED
        listed = "; ".join(contradictions[:_LISTED]) + (f"; and {more} more" if more > 0 else "")
        log.warning(
            "%s: %d pictures contradict each other and are left out, the same picture in several classes: %s",
            data.source,
            len(gone) - repeated,
            listed,
        )
    if repeated:
        log.warning("%s: %d pictures are copies of others of their class and count once", data.source, repeated)
    kept = tuple(picture for place, picture in enumerate(pictures) if place not in gone)
    if not kept:
        raise DataError(f"{data.source}: each picture lies in another class as well; leave it in the right one")
    return replace(data, pictures=kept)


def not_learned_from(
    validation: Sequence[LabelledPicture], training: Sequence[LabelledPicture]
) -> tuple[LabelledPicture, ...]:
    """Return the validation pictures that are not among the training pictures as well, also as a copy; that is said.

    Raises:
        DataError: none is left.
    """
    border = len(training)
    groups = copies_among([picture.path for picture in (*training, *validation)])
    both = {place - border for group in groups if group[0] < border for place in group if place >= border}
    if both:
        if len(both) == len(validation):
            raise DataError(
                "every validation picture is also in the training data, so they cannot tell how good the model is; "
                "name others, or leave out --val to keep a share of the data apart"
            )
        log.warning(
            "%d of %d validation pictures are also in the training data, and are left out of the validation",
            len(both),
            len(validation),
        )
    return tuple(picture for place, picture in enumerate(validation) if place not in both)


def _label(picture: LabelledPicture) -> str:
    return "/".join(filter(None, (picture.superclass, picture.subclass))) or "no class"


def _described(picture: LabelledPicture) -> str:
    return f"{picture.path} ({_label(picture)})"
