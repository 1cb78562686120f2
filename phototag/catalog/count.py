"""Counting the photos behind every choice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from phototag.catalog.columns import RANKS, SOURCES, STATES
from phototag.catalog.facets import (
    Choice,
    ClassCount,
    Count,
    Facets,
    FolderCount,
    MonthCount,
    ScoreBand,
    SuperclassCount,
    YearCount,
)
from phototag.catalog.filters import GalleryFilter
from phototag.catalog.folders import folder_key
from phototag.catalog.snapshot import Bools, Snapshot, next_month

_BANDS = 10
# As they are written in a query string: 0.3, not 0.30000000000000004.
_EDGES = tuple(round(band / _BANDS, 1) for band in range(_BANDS + 1))


def count_facets(snapshot: Snapshot, wanted: GalleryFilter) -> Facets:
    """The counts beside the wanted photos, each with all the filters but its own."""
    parts = snapshot.parts(wanted)
    whole = snapshot.all_of(parts)

    def without(name: str) -> Bools:
        return snapshot.all_of(parts, but=name) if name in parts else whole

    columns, ranked = snapshot.columns, without("rank")
    path, folders = _folders(snapshot, wanted.folder, without("folder"))
    return Facets(
        total=int(np.count_nonzero(whole)),
        superclasses=_classes(snapshot, wanted, without("label")),
        ranks=_choices(columns.rank[ranked], RANKS),
        untagged=int(np.count_nonzero(columns.rank[ranked] < 0)),
        sources=_choices(columns.source[without("source")], SOURCES),
        states=_choices(columns.state[without("state")], STATES),
        scores=_bands(snapshot.score[without("score")]),
        years=_years(snapshot, without("date")),
        folder_path=path,
        folders=folders,
    )


def _choices(codes: NDArray[np.int8], choices: Sequence[Choice]) -> tuple[Count[Choice], ...]:
    counts = np.bincount(codes[codes >= 0], minlength=len(choices))
    return tuple(Count(choice, int(number)) for choice, number in zip(choices, counts, strict=True))


def _classes(snapshot: Snapshot, wanted: GalleryFilter, found: Bools) -> tuple[SuperclassCount, ...]:
    labels = snapshot.columns.labels
    codes = snapshot.columns.label[found]
    counts = np.bincount(codes[codes >= 0], minlength=len(labels)).tolist()
    under: dict[str, dict[str | None, int]] = {}
    for (superclass, subclass), number in zip(labels, counts, strict=True):
        chosen = (superclass, subclass) == (wanted.superclass, wanted.subclass)
        if superclass is not None and (number or chosen):
            under.setdefault(superclass, {})[subclass] = number
    if wanted.superclass is not None:
        chosen_one = under.setdefault(wanted.superclass, {})
        if wanted.subclass is not None:
            chosen_one.setdefault(wanted.subclass, 0)
    return tuple(
        SuperclassCount(
            superclass,
            sum(numbers.values()),
            tuple(ClassCount(name, numbers[name]) for name in sorted(name for name in numbers if name is not None)),
        )
        for superclass, numbers in sorted(under.items())
    )


def _bands(scores: NDArray[np.float64]) -> tuple[ScoreBand, ...]:
    # No photo without a score; 1 lies in the last band.
    bands = np.minimum(np.searchsorted(_EDGES, scores[~np.isnan(scores)], side="right") - 1, _BANDS - 1)
    counts = np.bincount(np.maximum(bands, 0), minlength=_BANDS)
    return tuple(
        ScoreBand(low, high, int(number)) for (low, high), number in zip(pairwise(_EDGES), counts, strict=True)
    )


def _years(snapshot: Snapshot, found: Bools) -> tuple[YearCount, ...]:
    months = snapshot.months
    counts = np.bincount(months.of[found], minlength=len(months.starts)).tolist()
    with_photos = [(start, number) for start, number in zip(months.starts, counts, strict=False) if number]
    years = []
    for year, of_year in groupby(reversed(with_photos), key=lambda pair: pair[0].year):
        parts = tuple(MonthCount(start.month, start, _last_day(start), number) for start, number in of_year)
        total = sum(part.count for part in parts)
        years.append(YearCount(year, date(year, 1, 1), date(year, 12, 31), total, parts))
    return tuple(years)


def _last_day(start: date) -> date:
    return next_month(start) - timedelta(days=1)


def _folders(
    snapshot: Snapshot, key: str | None, found: Bools
) -> tuple[tuple[FolderCount, ...], tuple[FolderCount, ...]]:
    """The way down to the chosen folder, and the folders inside it, or the topmost ones."""
    tree = snapshot.by_path.tree
    direct = np.bincount(snapshot.by_path.folder[found], minlength=len(tree.paths))
    before = np.concatenate([[0], np.cumsum(direct)])

    def counted(index: int, name: str) -> FolderCount:
        photos = int(before[tree.ends[index]] - before[index])
        return FolderCount(folder_key(tree.paths[index]), name, photos, tree.ends[index] > index + 1)

    chosen = None if key is None else tree.find(key)
    path = () if chosen is None else tuple(counted(*step) for step in tree.way_to(chosen))
    inside = (counted(*choice) for choice in tree.choices(tree.top if chosen is None else chosen))
    return path, tuple(folder for folder in inside if folder.count)
