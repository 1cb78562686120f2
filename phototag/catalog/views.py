"""What the gallery hands out: photos of a page, everything known of one photo, and photos that look like it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from phototag.catalog.facets.facet import Chip, Group
from phototag.decision import Candidate
from phototag.records import PhotoState, Rank, Reason, Source
from phototag.store import Capture, KnownPhoto, SavedReview


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryItem:
    """One photo of a page.

    `name` is the file's name, printable. `score` is that of the tag's own rank (of the best superclass where the rank
    is none), None for a human's tag, and so is `reason`. All of the tag is None for a photo without one. `version` are
    the first eight hex digits of the content's hash, "" for a photo that was never read; `width` and `height` are in
    pixels. `stack` is how many photos of its burst it stands for, itself among them.
    """

    id: int
    name: str
    superclass: str | None
    subclass: str | None
    rank: Rank | None
    score: float | None
    novelty: float | None
    source: Source | None
    reason: Reason | None
    state: PhotoState
    version: str
    width: int | None
    height: int | None
    stack: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryPage:
    """Some photos of a result, in its order.

    `start` is the place of the first one, from 0, and `total` the number of tiles in the whole result, which show
    `photos` photos: more where bursts are stacked. `after` asks
    for the photos behind these, None where there are none. `version` changes whenever anything in the gallery may have.
    """

    items: tuple[GalleryItem, ...]
    start: int
    total: int
    photos: int
    after: str | None
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How far a library was read that is not yet shown as it is: `photos` of about `total`.

    With `stale` all is shown as it was when it was looked at last, else what was read so far. `problem` says why it
    cannot be read, where that is so.
    """

    photos: int
    total: int
    stale: bool
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facets:
    """What stands beside the photos of a filter: `groups` of choices by the facets' names, and the filters in use.

    `total` is the number of photos that the filter selects.
    """

    total: int
    groups: Mapping[str, Group]
    chips: tuple[Chip, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """Where a photo stands in a result: the photos before and behind it, and its place from 0.

    `tile` is the place of the photo that it is stacked under, else its own. All four are None for a photo that is not
    in the result.
    """

    previous: int | None
    next: int | None
    place: int | None
    tile: int | None
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model said of a photo; `candidates` are its best six subclasses, best first: a tag, and five others.

    `models` are the names of all models that share these scores, oldest first. `current` is false for scores of what
    the file held before. `damaged`: the stored scores cannot be read, and there are no candidates.
    """

    model_id: int
    models: tuple[str, ...]
    predicted_at: datetime
    candidates: tuple[Candidate, ...]
    current: bool
    damaged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleMembership:
    """A sample that a photo is in, and the photo's place in the order of review, from 1."""

    sample_id: int
    name: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoDetail:
    """Everything known of one photo.

    `item` is what a page shows of it, `path_text` its path, printable and for showing only. The scores are both of
    the tag's, None without a tag. `model` is the name of the model that gave the tag. `predictions` and `reviews` are
    newest first, and reviews that were undone are among them. `capture` is what the file says of itself, None where
    it was not read for that yet.
    """

    item: GalleryItem
    known: KnownPhoto
    path_text: str
    folder: str
    superclass_score: float | None
    subclass_score: float | None
    model: str | None
    tagged_at: datetime | None
    first_seen_at: datetime
    last_seen_at: datetime
    error: str | None
    predictions: tuple[Prediction, ...]
    reviews: tuple[SavedReview, ...]
    samples: tuple[SampleMembership, ...]
    capture: Capture | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarPhoto:
    """A photo whose embedding is near another's; `distance` is 0 for the same, in deviations within a class."""

    item: GalleryItem
    distance: float


class SimilarPhotos(tuple[SimilarPhoto, ...]):
    """Photos that look like one, nearest first; `among` so many that were compared so far, None for all."""

    among: int | None

    def __new__(cls, photos: Iterable[SimilarPhoto], among: int | None) -> Self:
        """Make a tuple of them."""
        made = super().__new__(cls, photos)
        made.among = among
        return made
