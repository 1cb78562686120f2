"""Reviews as they are given and as they come back, and how a tag compares with what a human says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from phototag.choices import ReviewOrigin
from phototag.errors import UsageError
from phototag.records import PhotoState, Rank
from phototag.store.photos import HasPath
from phototag.taxonomy import check_name

_LONGEST_TOKEN = 200


class Verdict(StrEnum):
    """How a tag compares with what a human says."""

    RIGHT = "right"  # both say the same
    SUPERCLASS_WRONG = "superclass_wrong"
    SUBCLASS_WRONG = "subclass_wrong"  # under the right superclass
    NONE = "none"  # it named something, and the photo shows nothing that has a label
    LABEL = "label"  # it said less than the human, and nothing wrong; or there was none


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTag:
    """The tag that a human judged; `model_id` is None where a human had given it."""

    superclass: str | None
    subclass: str | None
    rank: Rank
    superclass_score: float
    subclass_score: float
    model_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a human says of a photo; neither label says that it shows nothing that has one.

    `content_hash` is that of the content the human saw, and `shown` the tag; None takes what the database has now.
    `sample_id` is the sample it was made for. A client that gives every review a `token` of its own may send it again.

    Raises:
        UsageError: a subclass without its superclass, or a label or token that cannot be one.
    """

    photo_id: int
    superclass: str | None
    subclass: str | None = None
    content_hash: bytes | None = None
    shown: ShownTag | None = None
    origin: ReviewOrigin = ReviewOrigin.REVIEW
    sample_id: int | None = None
    token: str | None = None

    def __post_init__(self) -> None:
        check_labels(self.superclass, self.subclass)
        if self.token is not None and (not self.token.isprintable() or not 0 < len(self.token) <= _LONGEST_TOKEN):
            raise UsageError(f"a token is 1 to {_LONGEST_TOKEN} printable characters, not {self.token[:20]!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedReview(HasPath):
    """A review as it is stored.

    `current`: it was not undone, and no newer one of the photo took its place. `valid`: the photo still has the content
    that was reviewed. `state` is the photo's.
    """

    id: int
    photo_id: int
    path_bytes: bytes
    state: PhotoState
    content_hash: bytes
    superclass: str | None
    subclass: str | None
    rank: Rank
    verdict: Verdict
    origin: ReviewOrigin
    sample_id: int | None
    shown: ShownTag | None
    token: str | None
    reviewed_at: datetime
    undone_at: datetime | None
    current: bool
    valid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewFilter:
    """Which reviews are wanted; what is None asks for nothing.

    `under`: of photos at or under this path. `sample_id`: made for this sample. `token`: the one its client gave it.
    `current` and `valid`: only such.
    """

    under: Path | None = None
    sample_id: int | None = None
    photo_id: int | None = None
    origins: Sequence[ReviewOrigin] | None = None
    token: str | None = None
    current: bool = True
    valid: bool = True


def check_labels(superclass: str | None, subclass: str | None) -> None:
    """Refuse labels that a human cannot give.

    Raises:
        UsageError: a subclass without its superclass, or a name that cannot be one.
    """
    if subclass is not None and superclass is None:
        raise UsageError(f"subclass {subclass!r} needs its superclass")
    for name, what in ((superclass, "superclass"), (subclass, "subclass")):
        if name is not None:
            check_name(name, what)


def rank_of(superclass: str | None, subclass: str | None) -> Rank:
    """How deep such labels go."""
    return Rank.NONE if superclass is None else Rank.SUPERCLASS if subclass is None else Rank.SUBCLASS


def verdict_of(shown: ShownTag | None, superclass: str | None, subclass: str | None) -> Verdict:
    """How a tag compares with what a human says."""
    if shown is None:
        return Verdict.LABEL
    if (shown.superclass, shown.subclass) == (superclass, subclass):
        return Verdict.RIGHT
    if superclass is None:
        return Verdict.NONE
    if shown.superclass is not None and shown.superclass != superclass:
        return Verdict.SUPERCLASS_WRONG
    return Verdict.LABEL if shown.subclass is None else Verdict.SUBCLASS_WRONG
