"""The frozen records that stages pass to each other. Importing this module imports no numpy and no torch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


LEVELS = ("superclass", "subclass")
"""The names of the two levels, from the top down."""


class Rank(StrEnum):
    """How deep a tag goes."""

    SUBCLASS = "subclass"
    SUPERCLASS = "superclass"
    NONE = "none"


class Reason(StrEnum):
    """Why a model's tag goes as deep as it does, and no deeper: the first check of the decision that failed."""

    SUBCLASS = "subclass"  # none: it names a subclass
    LOW_SUBCLASS_SCORE = "low_subclass_score"
    NOVEL_SUBCLASS = "novel_subclass"  # it looks like no known subclass
    LOW_SUPERCLASS_SCORE = "low_superclass_score"
    NOVEL_SUPERCLASS = "novel_superclass"  # it looks like no known superclass

    @property
    def rank(self) -> Rank:
        """How deep a tag with this reason goes."""
        if self is Reason.SUBCLASS:
            return Rank.SUBCLASS
        stopped_above_subclass = self in (Reason.LOW_SUBCLASS_SCORE, Reason.NOVEL_SUBCLASS)
        return Rank.SUPERCLASS if stopped_above_subclass else Rank.NONE


class Source(StrEnum):
    """Who gave a tag. A human's tag always wins over a model's."""

    MODEL = "model"
    HUMAN = "human"


class NovelTier(StrEnum):
    """At which level a photo is like nothing the model knows."""

    ANY = "any"
    SUPERCLASS = "superclass"  # not even the superclass is known
    SUBCLASS = "subclass"  # the superclass is, the subclass is not


class PhotoState(StrEnum):
    """What is known of a photo file."""

    OK = "ok"
    UNREADABLE = "unreadable"
    MISSING = "missing"


class FailureKind(StrEnum):
    """Why a photo could not be read."""

    GONE = "gone"
    PERMISSION = "permission"
    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    CORRUPT = "corrupt"
    BUSY = "busy"  # this computer could not run a decoder at the time
    DECODER = "decoder"  # it crashed, or took too much memory or time


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture file as the scanner saw it. `path` is absolute."""

    path: Path
    size_bytes: int
    modified_ns: int
    changed_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """A photo decoded for a model: upright RGB `pixels`, uint8 [H, W, 3] at the model's input size.

    `width` and `height` are those of the upright photo in full, in pixels. `content_hash` is the SHA-256 of the
    file's bytes.
    """

    photo: Photo
    content_hash: bytes
    width: int
    height: int
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo that could not be read, and why."""

    photo: Photo
    kind: FailureKind
    reason: str
    content_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """What a network says of a batch of B photos: raw logits of both heads, float32.

    `superclass` is [B, S] and `subclass` is [B, C], in the taxonomy's order. `embedding` [B, E] is a short description
    of what the photos show, for novelty; None where the model has none.
    """

    superclass: NDArray[np.float32]
    subclass: NDArray[np.float32]
    embedding: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Tag:
    """The decision for one photo.

    `superclass` is None when the rank is NONE; `subclass` is None unless the rank is SUBCLASS. Both scores are
    probabilities of one joint distribution over (superclass, subclass), whatever the rank: the score of the best
    superclass, and of the best subclass under it. `novelty` lies in [0, 1], higher is stranger. `reason` says why it
    goes no deeper; it is None but for what a decision returns: see `TaggedPhoto.reason` for stored tags.
    """

    superclass: str | None
    subclass: str | None
    rank: Rank
    superclass_score: float
    subclass_score: float
    novelty: float
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class TaggedPhoto:
    """One row of a query: a photo with its current tag. The fields are the columns of every machine format."""

    path: Path
    superclass: str | None
    subclass: str | None
    rank: Rank | None
    superclass_score: float | None
    subclass_score: float | None
    novelty: float | None
    source: Source | None
    model: str | None
    tagged_at: datetime | None
    state: PhotoState
    error: str | None
    reason: Reason | None = None
