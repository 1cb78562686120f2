"""Labels that a human gave, as training reads them: what is in the database's reviews becomes a CSV."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from phototag.choices import ReviewOrigin
from phototag.dataset import COLUMNS
from phototag.store import KnownPhoto, ReviewFilter, SavedReview, Store

SAMPLED = "drawn for estimation"
UNLABELLED = "of none of the classes, or without a subclass"
GONE = "gone"
CHANGED = "changed since they were reviewed"
STALE = "not the newest word on the same picture"


@dataclass(frozen=True, slots=True)
class Label:
    """A picture and its two labels."""

    path: Path
    superclass: str
    subclass: str


@dataclass(frozen=True, slots=True)
class Labels:
    """Labelled pictures in the order of their paths; `left_out` counts reviews that gave none, by reason.

    `torn` are subclasses that lie under several superclasses, which training refuses.
    """

    labels: tuple[Label, ...]
    left_out: Counter[str]
    torn: tuple[str, ...]

    def csv(self) -> bytes:
        """As a CSV filepath,superclass,subclass; names that are not UTF-8 keep their bytes."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((os.fspath(label.path), label.superclass, label.subclass) for label in self.labels)
        return text.getvalue().encode("utf-8", "surrogateescape")


def collect(
    store: Store,
    *,
    under: Path | None = None,
    origins: Sequence[ReviewOrigin] | None = None,
    include_samples: bool = False,
) -> Labels:
    """The labels of all reviews that are current and of what the files hold now.

    Pictures that were drawn for estimation are left out unless `include_samples`: a model cannot be judged by what it
    was trained on. That holds for copies of them as well. A picture that was moved is given with its new path.

    Raises:
        StoreError: the database cannot be read.
    """
    kept_back = set() if include_samples else store.samples.contents_for_estimation()
    left_out: Counter[str] = Counter()
    newest: dict[bytes, SavedReview] = {}
    for review in store.reviews.find_all(ReviewFilter(under=under, origins=origins)):
        if review.content_hash in kept_back:
            left_out[SAMPLED] += 1
        elif review.superclass is None or review.subclass is None:
            left_out[UNLABELLED] += 1
        else:
            # The same picture under several names is one example, with what was said of it last.
            if review.content_hash in newest:
                left_out[STALE] += 1
            newest[review.content_hash] = review
    labels = []
    known = {photo.path_bytes: photo for photo in store.photos.at([review.path for review in newest.values()])}
    for review in newest.values():
        path = _present(store, review, known.get(review.path_bytes))
        if isinstance(path, Path):
            labels.append(Label(path, review.superclass or "", review.subclass or ""))
        else:
            left_out[path] += 1
    labels.sort(key=lambda label: os.fsencode(label.path))
    return Labels(tuple(labels), left_out, _torn(labels))


def _present(store: Store, review: SavedReview, known: KnownPhoto | None) -> Path | str:
    """Where the reviewed picture lies, or why it cannot be used."""
    if known is not None and _is_untouched(known):
        return known.path
    copies = store.photos.at(store.photos.paths_of(review.content_hash))
    for copy in copies:
        if _is_untouched(copy):
            return copy.path
    there = any(os.path.exists(path) for path in (review.path, *(copy.path for copy in copies)))  # noqa: PTH110
    return CHANGED if there else GONE


def _is_untouched(known: KnownPhoto) -> bool:
    """Whether a file is there as it was last read: one that changed shows in its size and time."""
    try:
        stat = known.path.stat()
    except (OSError, ValueError):  # gone, or below a folder that may not be entered
        return False
    return (known.size_bytes, known.modified_ns) == (stat.st_size, stat.st_mtime_ns)


def _torn(labels: Sequence[Label]) -> tuple[str, ...]:
    parents: dict[str, set[str]] = defaultdict(set)
    for label in labels:
        parents[label.subclass].add(label.superclass)
    return tuple(sorted(name for name, above in parents.items() if len(above) > 1))
