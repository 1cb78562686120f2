"""What is confused with what, from the photos that a person reviewed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from phototag.audit.accuracy import Accuracy, class_name
from phototag.records import LEVELS
from phototag.store import Sample, SampleItem, Store

NONE = ""
"""The class of a photo without a label at a level."""


@dataclass(frozen=True, slots=True)
class Confused:
    """Reviewed photos that are of the class `truth` and tagged as `tag`, of `of` that are of that class.

    `share` is how much of the library they stand for.
    """

    truth: str
    tag: str
    count: int
    of: int
    share: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"truth": self.truth, "tag": self.tag, "count": self.count, "of": self.of, "share": round(self.share, 6)}


@dataclass(frozen=True, slots=True)
class Confusion:
    """Every pair of truth and tag at a level that was seen, right ones too; subclasses are named in full."""

    level: str
    cells: tuple[Confused, ...]

    @property
    def wrong(self) -> tuple[Confused, ...]:
        """Return the pairs that differ, the most frequent first."""
        found = [cell for cell in self.cells if cell.truth != cell.tag]
        return tuple(sorted(found, key=lambda cell: (-cell.count, -cell.share, cell.truth, cell.tag)))

    def names(self, most: int) -> list[str]:
        """Return the classes by name, none at the end; where there are more than `most`, those confused most."""
        wrong: Counter[str] = Counter()
        total: Counter[str] = Counter()
        for cell in self.cells:
            for name in {cell.truth, cell.tag}:
                total[name] += cell.count
                wrong[name] += cell.count if cell.truth != cell.tag else 0
        ranked = sorted(total, key=lambda name: (-wrong[name], -total[name], name))[:most]
        return sorted(ranked, key=lambda name: (name == NONE, name))

    def matrix(self, names: Sequence[str]) -> list[list[int]]:
        """Return counts [truth, tag] of these classes."""
        counts = {(cell.truth, cell.tag): cell.count for cell in self.cells}
        return [[counts.get((truth, tag), 0) for tag in names] for truth in names]

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain values for JSON."""
        return [cell.to_json() for cell in self.cells]


def confusion(accuracy: Accuracy, level: str) -> Confusion:
    """Return the confusion at a level, weighted by the design."""
    counts: Counter[tuple[str, str]] = Counter()
    of: Counter[str] = Counter()
    shares: defaultdict[tuple[str, str], float] = defaultdict(float)
    for truth, tag, share in accuracy.pairs(level):
        counts[truth, tag] += 1
        of[truth] += 1
        shares[truth, tag] += share
    return Confusion(
        level,
        tuple(Confused(truth, tag, counts[truth, tag], of[truth], shares[truth, tag]) for truth, tag in sorted(counts)),
    )


def photos_of_cell(store: Store, samples: Sequence[Sample], *, level: str, truth: str, tag: str) -> list[SampleItem]:
    """Return the reviewed photos of samples that are of the class `truth` and tagged as `tag`, in the order of review.

    Raises:
        StoreError: the database cannot be read.
    """
    place = LEVELS.index(level)
    found: dict[int, SampleItem] = {}
    for sample in samples:
        for item in store.samples.items(sample.id):
            if item.review is None or item.changed:
                continue
            pair = (
                class_name(item.review.superclass, item.review.subclass, place),
                class_name(item.tag.superclass, item.tag.subclass, place),
            )
            if pair == (truth, tag):
                found.setdefault(item.photo_id, item)
    return list(found.values())
