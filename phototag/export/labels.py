"""Labels that a human gave, as training reads them: the reviews in the database become a CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from phototag.choices import ReviewOrigin
from phototag.export.form import Export, ExportOption, Written
from phototag.export.rows import as_row
from phototag.library import is_gone
from phototag.object_storage import size_and_time
from phototag.paths import PhotoPath, path_of, shared_folder
from phototag.taxonomy import spelled_apart

if TYPE_CHECKING:
    from phototag.store import KnownPhoto, SavedReview, Store

SAMPLED = "sampled for estimation"
CAPTURE_COLUMNS = ("taken_at", "camera", "latitude", "longitude")
"""What `Label.capture` holds."""

UNLABELLED = "with no label, or superclass only"
GONE = "gone"
CHANGED = "changed since they were reviewed"
STALE = "not the newest word on the same picture"


@dataclass(frozen=True, slots=True)
class Label:
    """A picture and its two labels; `capture` is what its file says of when, where and with what it was taken."""

    path: PhotoPath
    superclass: str
    subclass: str
    capture: tuple[Any, ...] = (None,) * len(CAPTURE_COLUMNS)


@dataclass(frozen=True, slots=True)
class Labels:
    """Labelled pictures in the order of their paths; `left_out` counts reviews that gave none, by reason.

    `torn` are subclasses that lie under several superclasses, and `apart` names that differ only in spelling from
    another: training refuses both.
    """

    labels: tuple[Label, ...]
    left_out: Counter[str]
    torn: tuple[str, ...]
    apart: tuple[str, ...]

    def csv(self) -> bytes:
        """Return a CSV filepath,superclass,subclass with the capture; names that are not UTF-8 keep their bytes."""
        from phototag.dataset import COLUMNS

        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow((*COLUMNS, *CAPTURE_COLUMNS))
        writer.writerows((str(label.path), label.superclass, label.subclass, *label.capture) for label in self.labels)
        return text.getvalue().encode("utf-8", "surrogateescape")


def collect(
    store: Store,
    *,
    under: PhotoPath | None = None,
    origins: Sequence[ReviewOrigin] | None = None,
    include_samples: bool = False,
) -> Labels:
    """Return the labels of all reviews that are current and of what the files hold now.

    Pictures that were sampled for estimation are left out unless `include_samples`: a model cannot be evaluated on what
    it was trained on. That holds for copies of them as well. A picture that was moved is given with its new path.

    Raises:
        StoreError: the database cannot be read.
    """
    from phototag.store import ReviewFilter

    withheld = set() if include_samples else store.samples.contents_for_estimation()
    left_out: Counter[str] = Counter()
    newest: dict[bytes, SavedReview] = {}
    for review in store.reviews.find_all(ReviewFilter(under=under, origins=origins)):
        if review.content_hash in withheld:
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
        if not isinstance(path, str):
            labels.append(Label(path, review.superclass or "", review.subclass or ""))
        else:
            left_out[path] += 1
    labels = _with_captures(store, labels)
    labels.sort(key=lambda label: bytes(label.path))
    return Labels(tuple(labels), left_out, _torn(labels), _apart(labels))


def _with_captures(store: Store, labels: Sequence[Label]) -> list[Label]:
    if not labels:
        return []
    from phototag.store import Query

    shared = shared_folder([bytes(label.path) for label in labels])
    wanted = {label.path for label in labels}
    rows = {
        photo.path: as_row(photo)
        for photo in store.query(Query(under=path_of(shared) if shared else None))
        if photo.path in wanted
    }
    return [
        replace(label, capture=tuple(rows[label.path][column] for column in CAPTURE_COLUMNS))
        if label.path in rows
        else label
        for label in labels
    ]


def _present(store: Store, review: SavedReview, known: KnownPhoto | None) -> PhotoPath | str:
    """Return where the reviewed picture lies, or why it cannot be used."""
    if known is not None and _is_untouched(known):
        return known.path
    copies = store.photos.at(store.photos.paths_of(review.content_hash))
    for copy in copies:
        if _is_untouched(copy):
            return copy.path
    there = not all(is_gone(path) for path in (review.path, *(copy.path for copy in copies)))
    return CHANGED if there else GONE


def _is_untouched(known: KnownPhoto) -> bool:
    """Return whether a file is there as it was last read: one that changed shows in its size and time."""
    try:
        return size_and_time(known.path) == (known.size_bytes, known.modified_ns)
    except (OSError, ValueError):  # gone, or below a folder that may not be entered
        return False


def _torn(labels: Sequence[Label]) -> tuple[str, ...]:
    parents: dict[str, set[str]] = defaultdict(set)
    for label in labels:
        parents[label.subclass].add(label.superclass)
    return tuple(sorted(name for name, above in parents.items() if len(above) > 1))


def _apart(labels: Sequence[Label]) -> tuple[str, ...]:
    levels = ({label.superclass for label in labels}, {label.subclass for label in labels})
    return tuple(f"{name} and {other}" for names in levels for name, other in spelled_apart(sorted(names)).items())


def _write(store: Store, options: Mapping[str, Any], target: BinaryIO) -> Written:
    found = collect(
        store,
        under=options["under"],
        origins=options["origins"] or None,
        include_samples=options["include_samples"],
    )
    target.write(found.csv())
    sampled = found.left_out.pop(SAMPLED, 0)
    notes = []
    if sampled:
        notes.append(
            f"{sampled:,} that were sampled to estimate accuracy are left out: photos used for training cannot "
            "evaluate that training (--include-samples takes them)."
        )
    notes += [f"Left out: {count:,} {reason}." for reason, count in found.left_out.most_common()]
    if found.torn:
        names = ", ".join(found.torn[:10])
        notes.append(f"Under several superclasses, which training refuses: {names}; review these again.")
    if found.apart:
        names = ", ".join(found.apart[:10])
        notes.append(f"Different only in spelling, which training refuses: {names}; review these again.")
    if not found.labels:
        notes.append("Nothing to train on: review photos first.")
    return Written(len(found.labels), tuple(notes))


LABELS = Export(
    "labels",
    _write,
    things="labelled photos",
    suffix=".csv",
    help="""Write reviewed photos as a CSV filepath,superclass,subclass, which `phototag train` takes as it is.

    What files say of when, where and with what they were taken stands in further columns.

    A review counts while it is the newest of its photo and the file has not changed since. Photos that were sampled to
    estimate accuracy are left out.
    """,
    options=(
        ExportOption(
            "include-samples",
            "include_samples",
            bool,
            "Also pictures that were sampled to estimate accuracy. They cannot evaluate a model that learns from them.",
        ),
        ExportOption("under", "under", Path, "Photos at or below this path."),
        ExportOption("origin", "origins", ReviewOrigin, "Only labels that came this way. Repeatable."),
    ),
)
