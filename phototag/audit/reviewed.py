"""The photos of samples that a person reviewed, as far as estimates may use them.

Only reviews that were made for random samples count, and only while the file is the one that was reviewed; the
tags compared are those of when the sample was taken.

Several samples may be taken together when they come from the same scope, of the same model's tags, and the number
of photos hardly changed in between: each then estimates the same shares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phototag.audit.group_sampling import NotedGroups
from phototag.audit.photo_groups import Photos, find_groups
from phototag.audit.sample_creation import find_sample
from phototag.dataset import Links
from phototag.errors import UsageError
from phototag.evaluation import Label
from phototag.records import Tag
from phototag.store import Sample, SampleItem, Store

_SAME_SIZE = 0.05


@dataclass(frozen=True, slots=True)
class Cell:
    """All photos of a sample's scope with one tag in one stratum: how many, and the sums of both scores."""

    stratum: str
    superclass: str | None
    subclass: str | None
    photos: int
    scores: tuple[float, float]


@dataclass(frozen=True, slots=True)
class ReviewedPhoto:
    """One photo of a sample: the tag it had when it was sampled, and what a person says, None if it was skipped.

    Photos with the same `group` belong together; one with None is alone. `part` is the part of a group that it was
    sampled with, None where photos were sampled one by one.
    """

    path: bytes
    stratum: str
    tag: Tag
    truth: Label | None
    group: int | None = None
    part: int | None = None


@dataclass(frozen=True, slots=True)
class ReviewedSample:
    """One sample as estimates need it: strata with their numbers of photos, and the photos that were looked at.

    `pending` photos wait for a review, and `changed` ones cannot be reviewed any more. Where parts of groups were
    sampled, `parts` counts all there are, and `part_sizes` the photos of each sampled one.
    """

    name: str
    strata: tuple[tuple[str, int], ...]
    photos: tuple[ReviewedPhoto, ...]
    cells: tuple[Cell, ...]
    pending: int = 0
    changed: int = 0
    parts: int | None = None
    part_sizes: Mapping[int, int] = field(default_factory=dict)

    @property
    def population(self) -> int:
        """Count the photos that it was sampled from."""
        return sum(number for _, number in self.strata)

    @property
    def reviewed(self) -> tuple[ReviewedPhoto, ...]:
        """Return the photos that a person reviewed."""
        return tuple(photo for photo in self.photos if photo.truth is not None)


def read_reviewed_samples(store: Store, samples: Sequence[Sample]) -> list[ReviewedSample]:
    """Read samples with the reviews of their photos, and which of these belong together, also across samples.

    Of photos that were sampled one by one only the reviewed ones are compared, and not all of their library.

    Raises:
        UsageError: one was not sampled at random.
        StoreError: the database cannot be read.
    """
    for sample in samples:
        _refuse_chosen(sample)
    items = [store.samples.items(sample.id) for sample in samples]
    noted = [NotedGroups.read(sample) for sample in samples]
    seen = {item.photo_id: item for of_sample in items for item in of_sample if _was_seen(item)}
    groups = _groups_of(store, list(seen.values()), [of for each in noted if each for of in each.of.items()])
    return [_reviewed_sample(*each, groups) for each in zip(samples, items, noted, strict=True)]


def _refuse_chosen(sample: Sample) -> None:
    if not sample.for_estimation:
        raise UsageError(
            f"sample {sample.name!r} was chosen for being doubtful, not sampled at random: it says nothing of the "
            "library; take one: phototag audit sample"
        )


def _was_seen(item: SampleItem) -> bool:
    return not item.changed and (item.review is not None or item.skipped_at is not None)


def _groups_of(
    store: Store, items: Sequence[SampleItem], noted: Sequence[tuple[int, tuple[int, int]]]
) -> dict[int, int]:
    """Return the group of each photo by its id: as they look, and as they were noted with their parts."""
    ids = [item.photo_id for item in items]
    photos = Photos(
        np.array(ids, dtype=np.int64),
        np.array([-1 if item.model_id is None else item.model_id for item in items], dtype=np.int64),
        [item.content_hash for item in items],
        [item.path_bytes for item in items],
    )
    labels, _ = find_groups(store, photos)
    place = {photo: row for row, photo in enumerate(ids)}
    links = Links(len(ids))
    first: dict[tuple[str, int], int] = {}
    for kind, pairs in (("looks", zip(ids, labels.tolist(), strict=True)), ("noted", ((p, g) for p, (g, _) in noted))):
        for photo, group in pairs:
            if photo in place:
                links.join([(first.setdefault((kind, group), place[photo]), place[photo])])
    return dict(zip(ids, links.groups().tolist(), strict=True))


def _reviewed_sample(
    sample: Sample, items: Sequence[SampleItem], noted: NotedGroups | None, groups: Mapping[int, int]
) -> ReviewedSample:
    part_of = {} if noted is None else {photo: part for photo, (_, part) in noted.of.items()}
    try:
        parts = [None if noted is None else part_of[item.photo_id] for item in items]
    except KeyError as error:
        raise UsageError(f"sample {sample.name!r} does not name the group of photo {error}; take a new one") from error
    photos = [
        _reviewed_photo(item, groups[item.photo_id], part)
        for item, part in zip(items, parts, strict=True)
        if _was_seen(item)
    ]
    return ReviewedSample(
        name=sample.name,
        strata=tuple((each.name, each.population) for each in sample.strata),
        photos=tuple(photos),
        cells=tuple(_cell(row) for row in sample.parameters.get("cells") or []),
        pending=sum(item.pending for item in items),
        changed=sum(item.changed for item in items),
        parts=None if noted is None else noted.parts,
        part_sizes=Counter(part for part in parts if part is not None),
    )


def _reviewed_photo(item: SampleItem, group: int, part: int | None) -> ReviewedPhoto:
    truth = None if item.review is None else (item.review.superclass, item.review.subclass)
    return ReviewedPhoto(item.path_bytes, item.stratum, item.tag, truth, group, part)


def _cell(row: Any) -> Cell:
    try:
        stratum, superclass, subclass, photos, first, second = row
        return Cell(str(stratum), superclass, subclass, int(photos), (float(first), float(second)))
    except (TypeError, ValueError) as error:
        raise UsageError(
            "a sample does not say what it was sampled from; take a new one: phototag audit sample"
        ) from error


def usable_samples(store: Store, name: str | None = None) -> tuple[list[Sample], list[str]]:
    """Return the samples that estimates are made from, newest first, and a line for each that is left out.

    The one of that name; without a name the newest reviewed one, and those that may be taken together with it.

    Raises:
        UsageError: there is none with a review.
        StoreError: the database cannot be read.
    """
    if name is not None:
        return [find_sample(store, name)], []
    known = store.samples.find_all()
    fit = [sample for sample in reversed(known) if sample.for_estimation and sample.reviewed]
    if not fit:
        waiting = [sample.name for sample in known if sample.for_estimation]
        way = f"review one: phototag audit review {waiting[-1]}" if waiting else "take one: phototag audit sample"
        raise UsageError(f"no sample has been reviewed in {store.location}; {way}")
    chosen, notes = [fit[0]], []
    for sample in fit[1:]:
        reason = _why_apart(fit[0], sample)
        if reason is None:
            chosen.append(sample)
        else:
            notes.append(f"Sample {sample.name} is left out: {reason}.")
    return chosen, notes


def _why_apart(newest: Sample, other: Sample) -> str | None:
    if newest.parameters.get("scope") != other.parameters.get("scope"):
        return f"it was sampled from other photos than {newest.name}"
    if newest.model_id is None or newest.model_id != other.model_id:
        return f"its tags are not those of the one model of {newest.name}"
    if abs(newest.population - other.population) > _SAME_SIZE * newest.population:
        return f"it was sampled from {other.population:,} photos, {newest.name} from {newest.population:,}"
    return None
