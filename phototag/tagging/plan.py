"""What is to be done with each photo: the scan and the database, compared in one pass over both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from phototag.imaging import lacks_reader
from phototag.library import is_raw
from phototag.records import FailureKind, FileStat, Photo, PhotoState, Source
from phototag.store import KnownPhoto

MAX_ATTEMPTS = 3


class Need(StrEnum):
    """What a photo needs."""

    NOTHING = "nothing"  # tagged by this model, and untouched since
    TAG = "tag"  # new, changed, forced, or tagged by another model
    GIVEN_UP = "given up"  # unreadable, untouched, and tried often enough
    LEFT_OUT = "left out"  # of a format whose reader is not installed, and untouched
    MISSING = "missing"  # known, and not there


class Step(NamedTuple):
    """One photo of the plan. `known` is None for a new one.

    `photo` is None for a missing one, and for one that is as it was when it was tagged, whatever lies beside it.
    """

    need: Need
    photo: Photo | None
    known: KnownPhoto | None

    @property
    def is_settled(self) -> bool:
        """Whether the photo is as it was, and no other file can have changed what it needs."""
        return self.photo is None and self.need is Need.NOTHING

    @property
    def same_content(self) -> bool:
        """Whether the content is known without reading the file.

        Not so for one that could not be read: only reading it shows that now it can.
        """
        return (
            self.photo is not None
            and self.known is not None
            and self.known.error_kind is None
            and self.known.content_hash is not None
            and self.known.matches(self.photo)
        )


def compare(
    files: Iterable[FileStat], known: Iterable[KnownPhoto], *, model_id: int | None, force: bool = False
) -> Iterator[Step]:
    """Merge the scan with what the database knows; both come in the order of path bytes.

    A photo that a human tagged still needs this model's scores, once: later audits compare them. Whether they are
    stored is for the caller to look up; here it counts as tagged by another model.
    """
    scanned, stored = iter(files), iter(known)
    file, row = next(scanned, None), next(stored, None)
    while file is not None or row is not None:
        if file is not None and row is not None and file.path_bytes == row.path_bytes:
            yield _step(file, row, need_of(file, row, model_id=model_id, force=force))
            file, row = next(scanned, None), next(stored, None)
        elif file is not None and (row is None or file.path_bytes < row.path_bytes):
            yield Step(Need.TAG, file.photo(), None)
            file = next(scanned, None)
        elif row is not None:
            if row.state is not PhotoState.MISSING:
                yield Step(Need.MISSING, None, row)
            row = next(stored, None)


def _step(file: FileStat, row: KnownPhoto, need: Need) -> Step:
    # A raw photo may have got a picture beside it that decides for both.
    is_settled = need is Need.NOTHING and row.state is PhotoState.OK and not is_raw(row.path_bytes)
    return Step(need, None if is_settled else file.photo(), row)


def need_of(photo: Photo | FileStat, known: KnownPhoto, *, model_id: int | None, force: bool) -> Need:
    """Return what a photo needs that was known before."""
    if force or not known.matches(photo):
        return Need.TAG
    if known.state == PhotoState.UNSUPPORTED:
        return Need.LEFT_OUT if lacks_reader(known.error_kind) else Need.TAG
    if known.state == PhotoState.UNREADABLE:
        # Permissions and load change without touching what stat shows of the content. What brought a decoder down is
        # kept away from it until the file changes.
        tried = known.attempts >= MAX_ATTEMPTS or known.error_kind == FailureKind.DECODER
        hopeless = tried and known.error_kind not in (FailureKind.PERMISSION, FailureKind.BUSY)
        return Need.GIVEN_UP if hopeless else Need.TAG
    if known.lead_id is not None or known.content_hash is None:
        return Need.TAG  # another file of the same photo decided for it, and does so no longer
    tagged = model_id is not None and known.tag_model_id == model_id and known.tag_source == Source.MODEL
    return Need.NOTHING if tagged else Need.TAG
