"""Samples as they are given and as they come back: photos to be reviewed, as they were when they were sampled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from phototag.errors import UsageError
from phototag.records import PhotoState, Tag
from phototag.store.photos import HasPath
from phototag.store.reviews import SavedReview

_LONGEST_NAME = 100


class Design(StrEnum):
    """How photos were sampled."""

    SIMPLE = "simple"  # each as likely as any other
    STRATIFIED = "stratified"  # so many from each part
    FOCUS = "focus"  # chosen for being doubtful, not by chance


@dataclass(frozen=True, slots=True)
class Stratum:
    """A part of the population: photos in it, and photos sampled from it. A simple sample has one."""

    name: str
    population: int
    drawn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledPhoto:
    """A photo as it was when it was sampled: its content, its tag, and the model that gave it (None for a human).

    `inclusion_probability` is None where it was chosen and not sampled by chance.
    """

    photo_id: int
    stratum: str
    inclusion_probability: float | None
    content_hash: bytes
    tag: Tag
    model_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSample:
    """A sample to be saved; `items` are in the order of review.

    `parameters` say what it was sampled from, as plain values for JSON. `model_id` is the model it is about, if any.

    Raises:
        UsageError: the name is none, strata and items do not agree, or one for estimation was not sampled by chance.
    """

    name: str
    design: Design
    seed: int
    for_estimation: bool
    items: Sequence[SampledPhoto]
    strata: Sequence[Stratum]
    strata_by: str | None = None
    model_id: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.name
        if not name or name != name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise UsageError(f"a sample's name is 1 to {_LONGEST_NAME} printable characters, not {name[:20]!r}")
        check_items(self.items, self.strata, Counter(), by_chance=self.for_estimation)

    @property
    def population(self) -> int:
        """Photos that it was sampled from."""
        return sum(stratum.population for stratum in self.strata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A sample as it is stored.

    Of its `size` photos `reviewed` have a review, `skipped` were skipped, and `changed` have another content now, so
    that their tags can no longer be reviewed.
    """

    id: int
    name: str
    created_at: datetime
    design: Design
    strata_by: str | None
    strata: tuple[Stratum, ...]
    size: int
    population: int
    seed: int
    for_estimation: bool
    model_id: int | None
    parameters: Mapping[str, Any]
    reviewed: int
    skipped: int
    changed: int

    @property
    def pending(self) -> int:
        """Photos that wait for a review."""
        return self.size - self.reviewed - self.skipped - self.changed


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleProgress:
    """How far the review of a sample is: of its `size` photos, as in `Sample`; `right` of the `reviewed` tags are."""

    size: int
    reviewed: int
    right: int
    skipped: int
    changed: int

    @property
    def pending(self) -> int:
        """Photos that wait for a review."""
        return self.size - self.reviewed - self.skipped - self.changed


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleItem(HasPath):
    """One photo of a sample, with the tag that is reviewed: that of when it was sampled.

    `position` counts from 1. `state` and `path_bytes` are those of now, and `changed` says that the photo has another
    content now. `review` is what is known to be right, once the photo was reviewed for this sample; a review that was
    made for another purpose afterwards corrects it.
    """

    sample_id: int
    position: int
    photo_id: int
    path_bytes: bytes
    state: PhotoState
    stratum: str
    inclusion_probability: float | None
    content_hash: bytes
    tag: Tag
    model_id: int | None
    skipped_at: datetime | None
    changed: bool
    review: SavedReview | None

    @property
    def pending(self) -> bool:
        """Whether it waits for a review."""
        return self.review is None and self.skipped_at is None and not self.changed


def check_items(
    items: Sequence[SampledPhoto], strata: Sequence[Stratum], before: Mapping[str, int], *, by_chance: bool
) -> None:
    """Refuse strata that are not those of the items; `before` counts items that are there already."""
    if len({item.photo_id for item in items}) < len(items):
        raise UsageError("a sample holds no photo twice")
    if len({stratum.name for stratum in strata}) < len(strata):
        raise UsageError("a sample has no stratum twice")
    drawn = Counter(item.stratum for item in items) + Counter(before)
    for stratum in strata:
        if stratum.drawn != drawn.pop(stratum.name, 0):
            raise UsageError(f"stratum {stratum.name!r}: {stratum.drawn} drawn, but there are not as many items")
        if stratum.drawn > stratum.population:
            raise UsageError(f"stratum {stratum.name!r}: {stratum.drawn} drawn of only {stratum.population}")
    if drawn:
        raise UsageError(f"items of strata that are not given: {', '.join(map(repr, sorted(drawn)))}")
    chances = [item.inclusion_probability for item in items]
    if by_chance and None in chances:
        raise UsageError("a sample for estimation needs the inclusion probability of every photo")
    for chance in chances:
        if chance is not None and not 0 < chance <= 1:
            raise UsageError(f"no photo can have an inclusion probability of {chance}")
