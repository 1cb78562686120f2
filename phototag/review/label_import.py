"""Labels that come from elsewhere become reviews: what is new, what is known, and what a person said otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from phototag.choices import ReviewOrigin
from phototag.paths import PhotoPath, path_of, shared_folder
from phototag.records import Source
from phototag.store import Query, Review, ReviewFilter, Store
from phototag.taxonomy import Label

_SAVED_AT_ONCE = 500
_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class LabelImport:
    """What becomes of labels that are to be stored as reviews.

    Args:
        new: The reviews that are stored.
        known: How many labels say what is stored already.
        kept: How many contradict what a person said of the photo itself, whose word stays.
        unknown: How many are of photos that `phototag tag` never read.
        replaced: How many of the new ones contradict the tag that the photo has now.
    """

    new: tuple[Review, ...]
    known: int
    kept: int
    unknown: int
    replaced: int


def plan_labels(store: Store, labels: Mapping[PhotoPath, Label], *, replace: bool = False) -> LabelImport:
    """Return what storing these labels would do; with `replace` they win over what a person said of a photo.

    They always replace labels that were imported before.

    Args:
        store: The database.
        labels: A label for each photo, by its absolute path.
        replace: Whether they win over reviews.

    Raises:
        StoreError: the database cannot be read.
    """
    photos = {photo.path: photo for photo in store.photos.at(list(labels)) if photo.content_hash is not None}
    if not photos:
        return LabelImport((), 0, 0, len(labels), 0)
    shared = shared_folder([bytes(path) for path in photos])
    under = path_of(shared) if shared else None
    imported: set[tuple[int, Label]] = set()
    by_import: set[int] = set()
    # Also of what files held before: keywords that are written into a file change it, and its tag stays.
    for review in store.reviews.find_all(ReviewFilter(under=under, current=False, valid=False)):
        if review.origin is ReviewOrigin.IMPORT and review.undone_at is None:
            imported.add((review.photo_id, (review.superclass, review.subclass)))
            if review.current:
                by_import.add(review.photo_id)
    tags = {
        row.path: ((row.superclass, row.subclass), row.source)
        for row in store.query(Query(under=under))
        if row.path in photos
    }
    new: list[Review] = []
    counts: Counter[str] = Counter()
    for path, photo in photos.items():
        label = labels[path]
        tag, source = tags.get(path, (None, None))
        by_person = source is Source.HUMAN and photo.id not in by_import
        if (tag == label and source is Source.HUMAN) or (by_person and (photo.id, label) in imported and not replace):
            counts["known"] += 1
        elif by_person and not replace:
            counts["kept"] += 1
        else:
            counts["replaced"] += source is not None and tag not in (label, (None, None))
            new.append(Review(photo_id=photo.id, superclass=label[0], subclass=label[1], origin=ReviewOrigin.IMPORT))
    return LabelImport(tuple(new), counts["known"], counts["kept"], len(labels) - len(photos), counts["replaced"])


def import_labels(
    store: Store, labels: Mapping[PhotoPath, Label], *, command: str, replace: bool = False
) -> LabelImport:
    """Store labels as reviews, as `plan_labels` says, which makes them the photos' tags.

    Raises:
        LockedError: another process writes to the database for long.
        StoreError: the database cannot be read or written.
    """
    plan = plan_labels(store, labels, replace=replace)
    for start in range(0, len(plan.new), _SAVED_AT_ONCE):
        with store.answering(command, wait_seconds=_WAIT_SECONDS):
            store.reviews.save_all(plan.new[start : start + _SAVED_AT_ONCE])
    return plan
