"""The photos of samples that a person reviewed, as far as estimates may use them.

Only reviews that were made for random samples count, and only while the file is the one that was reviewed; the
tags compared are those of when the sample was taken.

Several samples may be taken together when they come from the same scope, of the same model's tags, and the number
of photos hardly changed in between: each then estimates the same shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phototag.audit.sample_creation import find_sample
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
    """One photo of a sample: the tag it had when it was sampled, and what a person says, None if it was skipped."""

    path: bytes
    stratum: str
    tag: Tag
    truth: Label | None


@dataclass(frozen=True, slots=True)
class ReviewedSample:
    """One sample as estimates need it: strata with their numbers of photos, and the photos that were looked at.

    `pending` photos wait for a review, and `changed` ones cannot be reviewed any more.
    """

    name: str
    strata: tuple[tuple[str, int], ...]
    photos: tuple[ReviewedPhoto, ...]
    cells: tuple[Cell, ...]
    pending: int = 0
    changed: int = 0

    @property
    def population(self) -> int:
        """Count the photos that it was sampled from."""
        return sum(number for _, number in self.strata)

    @property
    def reviewed(self) -> tuple[ReviewedPhoto, ...]:
        """Return the photos that a person reviewed."""
        return tuple(photo for photo in self.photos if photo.truth is not None)


def read_reviewed_sample(store: Store, sample: Sample) -> ReviewedSample:
    """Read a sample with the reviews of its photos.

    Raises:
        UsageError: it was not sampled at random.
        StoreError: the database cannot be read.
    """
    if not sample.for_estimation:
        raise UsageError(
            f"sample {sample.name!r} was chosen for being doubtful, not sampled at random: it says nothing of the "
            "library; take one: phototag audit sample"
        )
    items = store.samples.items(sample.id)
    photos = [_reviewed_photo(item) for item in items if not item.changed and (item.review or item.skipped_at)]
    return ReviewedSample(
        name=sample.name,
        strata=tuple((each.name, each.population) for each in sample.strata),
        photos=tuple(photos),
        cells=tuple(_cell(row) for row in sample.parameters.get("cells") or []),
        pending=sum(item.pending for item in items),
        changed=sum(item.changed for item in items),
    )


def _reviewed_photo(item: SampleItem) -> ReviewedPhoto:
    truth = None if item.review is None else (item.review.superclass, item.review.subclass)
    return ReviewedPhoto(item.path_bytes, item.stratum, item.tag, truth)


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
