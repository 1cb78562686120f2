"""The frozen records that stages pass to each other. Importing this module imports no numpy and no torch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Self

from phototag.paths import PhotoPath, path_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


LEVELS = ("superclass", "subclass")
"""The names of the two levels, from the top down."""


class Rank(StrEnum):
    """How deep a tag goes.

    >>> phototag.Rank.SUPERCLASS == "superclass"
    True
    >>> [rank.value for rank in phototag.Rank]
    ['subclass', 'superclass', 'none']
    """

    SUBCLASS = "subclass"
    SUPERCLASS = "superclass"
    NONE = "none"


class Reason(StrEnum):
    """Why a model's tag goes no deeper: the first check of the decision that failed, from the superclass down.

    At each level the score is checked before novelty. `SUBCLASS`: no check failed, the tag names a subclass.
    `LOW_SUBCLASS_SCORE` and `NOVEL_SUBCLASS`: it names a superclass only, as the score of the best subclass is below
    the model's threshold, or the photo looks like no known subclass. `LOW_SUPERCLASS_SCORE` and `NOVEL_SUPERCLASS`: it
    names nothing, for the same reasons one level up.

    >>> phototag.Reason.LOW_SUBCLASS_SCORE.rank
    <Rank.SUPERCLASS: 'superclass'>
    >>> with phototag.Store.open("photos.db") as store:
    ...     store.count(phototag.Query(reason=phototag.Reason.NOVEL_SUPERCLASS))
    0
    """

    SUBCLASS = "subclass"
    LOW_SUBCLASS_SCORE = "low_subclass_score"
    NOVEL_SUBCLASS = "novel_subclass"
    LOW_SUPERCLASS_SCORE = "low_superclass_score"
    NOVEL_SUPERCLASS = "novel_superclass"

    @property
    def rank(self) -> Rank:
        """Return how deep a tag with this reason goes."""
        if self is Reason.SUBCLASS:
            return Rank.SUBCLASS
        names_superclass = self in (Reason.LOW_SUBCLASS_SCORE, Reason.NOVEL_SUBCLASS)
        return Rank.SUPERCLASS if names_superclass else Rank.NONE


class Source(StrEnum):
    """Who gave a tag. A human's tag always wins over a model's.

    >>> [source.value for source in phototag.Source]
    ['model', 'human']
    """

    MODEL = "model"
    HUMAN = "human"


class NovelTier(StrEnum):
    """At which level a photo is like nothing that the model knows.

    >>> phototag.Query(novel=phototag.NovelTier.SUBCLASS).novel.value
    'subclass'
    """

    ANY = "any"
    SUPERCLASS = "superclass"  # not even the superclass is known
    SUBCLASS = "subclass"  # the superclass is, the subclass is not


class PhotoState(StrEnum):
    """What is known of a photo file: it could be read, it could not, nothing here reads its format, or it is gone.

    >>> with phototag.Store.open("photos.db") as store:
    ...     store.count(phototag.Query(state=phototag.PhotoState.MISSING))
    0
    """

    OK = "ok"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"  # of a format whose reader is not installed
    MISSING = "missing"


class FailureKind(StrEnum):
    """Why a photo could not be read.

    >>> phototag.FailureKind("truncated")
    <FailureKind.TRUNCATED: 'truncated'>
    """

    GONE = "gone"
    PERMISSION = "permission"
    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED = "unsupported"  # a picture of a kind that phototag does not read
    NEEDS_HEIC = "needs_heic"  # the extra that reads it is not installed; so below
    NEEDS_RAW = "needs_raw"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    CORRUPT = "corrupt"
    BUSY = "busy"  # this computer could not run a decoder at the time
    DECODER = "decoder"  # it crashed, or took too much memory or time

    @property
    def state(self) -> PhotoState:
        """Return the state of a photo that failed so."""
        needs = self in (FailureKind.NEEDS_HEIC, FailureKind.NEEDS_RAW)
        return PhotoState.UNSUPPORTED if needs else PhotoState.UNREADABLE


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture file as the scanner saw it.

    `path` is absolute. `size_bytes` is its length, `modified_ns` and `changed_ns` are when its content and its inode
    were last changed, in nanoseconds since 1970, and `inode` is the file's number on its file system, modulo 2**64. Of
    an object `inode` is a number made of its entity tag, and `changed_ns` is 0.

    >>> file = Path("inbox/photo0.jpg").absolute()
    >>> stat = file.stat()
    >>> photo = phototag.Photo(file, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    >>> photo.path.name
    'photo0.jpg'
    """

    path: PhotoPath
    size_bytes: int
    modified_ns: int
    changed_ns: int
    inode: int


class FileStat(NamedTuple):
    """What a scan sees of a picture file: the bytes of its path, and the numbers that a `Photo` has.

    Of nearly all files of a library this is enough to see that nothing has to be done with them. A tuple, as making a
    `Path` and a `Photo` for each takes longer than looking at it: docs/experiments.md#scanning.
    """

    path_bytes: bytes
    size_bytes: int
    modified_ns: int
    changed_ns: int
    inode: int

    @classmethod
    def of(cls, photo: Photo) -> Self:
        """Return it of a photo."""
        return cls(bytes(photo.path), photo.size_bytes, photo.modified_ns, photo.changed_ns, photo.inode)

    @property
    def path(self) -> PhotoPath:
        """The file's absolute path."""
        return path_of(self.path_bytes)

    def photo(self) -> Photo:
        """Return the photo that has to be dealt with."""
        return Photo(self.path, self.size_bytes, self.modified_ns, self.changed_ns, self.inode)


@dataclass(frozen=True, slots=True)
class CaptureFacts:
    """What a photo's file says of its capture; None is what it does not say.

    `taken_at` is the reading of the camera's clock, without a zone, and `utc_offset_minutes` that clock's distance from
    UTC where the file names it. `latitude` and `longitude` are degrees, north and east positive. `rating` is -1
    (rejected) to 5 stars.
    """

    taken_at: datetime | None = None
    utc_offset_minutes: int | None = None
    camera: str | None = None
    camera_serial: str | None = None
    lens: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    rating: int | None = None

    @property
    def moment(self) -> datetime | None:
        """When the photo was taken, with its zone where the file names one."""
        return in_zone(self.taken_at, self.utc_offset_minutes)


NO_FACTS = CaptureFacts()
"""Of a file that says nothing."""


def in_zone(reading: datetime | None, offset_minutes: int | None) -> datetime | None:
    """Return a clock's reading with the zone of the clock, where that is known."""
    if reading is None or offset_minutes is None:
        return reading
    return reading.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo that could not be read, and why.

    `reason` is a sentence for people. `content_hash` is the SHA-256 of the file's bytes, None if they could not be
    read.

    >>> with phototag.Tagger("animals") as tagger:
    ...     [(path, failure)] = tagger.predict("inbox/cut_short.jpg")
    >>> failure.kind
    <FailureKind.TRUNCATED: 'truncated'>
    """

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
    superclass, and of the best subclass under it. `novelty` is the probability, from 0 to 1, that the photo shows no
    subclass that the model knows. `reason` says why the tag goes no deeper; it is None for what a decision did not
    return, as a tag in a sample: see `TaggedPhoto.reason` for tags in a database.

    >>> with phototag.Tagger("animals") as tagger:
    ...     [(path, tag)] = tagger.predict("inbox/photo0.jpg")
    >>> tag.reason.rank is tag.rank
    True
    >>> 0 <= tag.subclass_score <= tag.superclass_score <= 1
    True
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
    """One row of a query: a photo with its current tag. The fields are the columns of every machine format.

    `path` is absolute, or the address of an object. Without a tag all of the tag is None; scores, `novelty` and
    `reason` are as in `Tag`. `model` is the name of the model that gave the tag, and `tagged_at` when, with a time
    zone. `error` says why a photo is unreadable. `novelty` and `reason` are None for a tag that a person gave,
    `reason` also where the database does not know the thresholds that the model was used with: phototag notes them
    since it tells reasons. `taken_at` is when the photo was taken by the camera's clock, with a time zone only
    where the file names it; `latitude` and `longitude` are degrees, north and east positive.

    >>> with phototag.Tagger("animals") as tagger, phototag.Store.open("photos.db") as store:
    ...     report = tagger.tag(["inbox"], store)
    ...     rows = list(store.query(phototag.Query(source="model", sort="path")))
    >>> [row.path.name for row in rows]
    ['photo0.jpg', 'photo1.jpg', 'photo2.jpg']
    """

    path: PhotoPath
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
    taken_at: datetime | None = None
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None
