"""Sampling photos in groups: who reviews a series sees it once, and a few photos of it.

A cluster sample of one stage (Cochran, "Sampling techniques", 1977, chapter 9A). Groups of more than `MOST` photos are
taken in parts of at most so many, spread over the group, and every part is as likely as any other. So no photo counts
more than others, whatever the size of its group, and a long series that is much of the library comes up in several
parts, as it should. There are no strata beside: they would cut groups apart.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phototag.audit.photo_groups import Photos, find_events, find_groups
from phototag.audit.sampling import Counts, Frame, permanent_random_numbers
from phototag.choices import StrataBy
from phototag.errors import UsageError
from phototag.store import Sample, Store

MOST = 4
"""The most photos of a part."""

KEY = "groups"
"""Where the parameters of a sample have what it was sampled in."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The groups of N photos and the parts that these are sampled in, [N] each: the least id among their photos.

    `compared` photos could be compared, by their looks or by when they were taken.
    """

    ids: Counts
    groups: Counts
    parts: Counts
    compared: int

    @property
    def count(self) -> int:
        """Count the parts."""
        return len(np.unique(self.parts))

    def sampled(self, number: int, seed: int, *, known: Collection[int] = ()) -> list[int]:
        """Return the rows of the `number` parts with the least permanent random numbers, part by part.

        Parts with a photo of a `known` id were sampled before.
        """
        before = np.isin(self.ids, np.array(list(known), dtype=np.int64))
        left = np.unique(self.parts[~np.isin(self.parts, self.parts[before])])
        order = left[np.argsort(permanent_random_numbers(left, seed), kind="stable")][:number]
        place = {int(part): position for position, part in enumerate(order)}
        rows = np.flatnonzero(np.isin(self.parts, order)).tolist()
        return sorted(rows, key=lambda row: (place[int(self.parts[row])], int(self.ids[row])))

    def noted(self, rows: Sequence[int]) -> dict[str, Any]:
        """Return plain values for JSON: how many groups and parts there are, and which ones the sampled `rows` are."""
        sizes = np.unique(self.groups, return_counts=True)[1]
        return {
            "groups": len(sizes),
            "parts": self.count,
            "in_series": int(sizes[sizes > 1].sum()),
            "largest": int(sizes.max(initial=0)),
            "compared": self.compared,
            "of": self.of(rows),
        }

    def of(self, rows: Sequence[int]) -> dict[str, list[int]]:
        """Return group and part of each of the `rows`, by the photo's id as text."""
        return {str(int(self.ids[row])): [int(self.groups[row]), int(self.parts[row])] for row in rows}


def group_parts(store: Store, frame: Frame, by: StrataBy) -> Parts:
    """Find the groups of photos, or their events, and take them apart.

    Raises:
        StoreError: the database cannot be read.
    """
    photos = Photos(frame.ids, frame.models, frame.contents, frame.paths)
    groups, compared = find_events(store, photos) if by is StrataBy.EVENT else find_groups(store, photos)
    return Parts(frame.ids, _least(groups, frame.ids), _least(parts_of(groups, frame.paths), frame.ids), compared)


def parts_of(groups: NDArray[np.intp], paths: Sequence[bytes]) -> NDArray[np.intp]:
    """Return the part [N] that each photo lies in, numbered from 0: every so manyth of its group, in order of paths."""
    by_path = np.array(sorted(range(len(paths)), key=paths.__getitem__), dtype=np.intp)
    order = by_path[np.argsort(groups[by_path], kind="stable")]
    sizes = np.bincount(groups, minlength=1)
    parts = -(-sizes // MOST)
    within = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    result = np.empty(len(order), dtype=np.intp)
    result[order] = (np.cumsum(parts) - parts)[groups[order]] + within % parts[groups[order]]
    return result


def parts_for(photos: int, *, parts: int, population: int) -> int:
    """Return how many of all `parts` have about so many photos."""
    return min(parts, math.ceil(photos * parts / population))


@dataclass(frozen=True, slots=True)
class NotedGroups:
    """What a sample says of the groups it was sampled in: `parts` in all, and `of` each photo its group and part."""

    parts: int
    of: Mapping[int, tuple[int, int]]

    @classmethod
    def read(cls, sample: Sample) -> NotedGroups | None:
        """Read it; None where photos were sampled one by one, UsageError if it is damaged."""
        noted = sample.parameters.get(KEY)
        if noted is None:
            return None
        try:
            of = {int(photo): (int(group), int(part)) for photo, (group, part) in noted["of"].items()}
            return cls(int(noted["parts"]), of)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"sample {sample.name!r} does not say in which groups it was sampled; take a new one: phototag audit "
                "sample --by group"
            ) from error


def _least(labels: NDArray[np.intp], ids: Counts) -> Counts:
    """Return the least id among those with the same label, [N]."""
    least = np.full(int(labels.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, labels, ids)
    return least[labels]
