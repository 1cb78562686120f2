"""Let groups of novel photos grow by those that were tagged as known, and shed what does not belong. Pure: numpy only.

A threshold on novelty rejects only a part of the photos of unknown classes; the others are tagged with the known class
that they resemble most. Once some photos of such a class make a group, the others can be found by it: a photo is taken
into a group that explains it better than any known class does, by the predictive density of the group as a class whose
mean is uncertain (Ioffe, "Probabilistic linear discriminant analysis", ECCV 2006). Then all are grouped again, since
classes that too few photos were left of now show, and so on. In the end photos leave that another group, a known class
or a separate class would explain about as well, so that only clear members are named.

What was measured: docs/experiments.md#groups-that-grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from phototag.choices import MIN_GROUP_SIZE
from phototag.decision import Space
from phototag.discovery.cluster import Floats, Grouping, Integers, Variances, described, group, means_of, ordered

# How much of a difference of log-densities counts: tails are heavier than those of normal distributions, and without
# this the more known photos there are, the more would be taken in.
_TRUST = 0.5
_TAKEN_AT = 1.0
# For each rejected member. A threshold rejects half of a new class or more; a group that many more photos fit is rather
# of a known one.
_MOST_TAKEN = 3
# In nats.
_LEAST_OVER_OTHER_GROUPS = 5.0
_LEAST_OVER_KNOWN = 10.0
_LEAST_OVER_ALONE = 10.0
_ROUNDS = 3
_ROWS = 1024


class Placed(Protocol):
    """What is taken in: anything with the bytes of a path, by which it is ordered."""

    @property
    def path_bytes(self) -> bytes:
        """Return the bytes of its path."""
        ...


T = TypeVar("T", bound=Placed)

# Photos with their embeddings [B, E], a page at a time; called once for each reading.
Pages = Callable[[], Iterable[tuple[Sequence[T], NDArray[np.floating]]]]


@dataclass(frozen=True, slots=True)
class Grown(Generic[T]):
    """The `grouping` of the points that were given, followed by those of the photos `taken` in."""

    grouping: Grouping
    taken: list[T]


def grow(
    points: NDArray[np.floating], space: Space, tagged: Pages[T] | None = None, *, min_size: int = MIN_GROUP_SIZE
) -> Grown[T]:
    """Group points [N, E], let the groups take in `tagged` photos, and let them shed what is not clearly theirs.

    Memory holds the points and what is taken in, of the other photos one page.

    Raises:
        ValueError: shapes do not fit, or `min_size` is below 2.
    """
    everything, taken = points, list[T]()
    grouping = group(points, space.spread, min_size=min_size)
    for _ in range(_ROUNDS if tagged is not None else 0):
        if tagged is None or not grouping.count:
            break
        classes = _Classes.of(everything, grouping.labels, space, novel=len(points))
        photos, embeddings = _taken(classes, tagged)
        if not photos and not taken:
            break
        taken, everything = photos, np.concatenate([points, embeddings.astype(points.dtype)])
        grouping = group(everything, space.spread, min_size=min_size)
    labels = _shed(everything, grouping.labels, space, min_size) if grouping.count else grouping.labels
    # What nothing was rejected of is no candidate for a new class.
    novel = np.unique(labels[: len(points)])
    labels = ordered(np.where(np.isin(labels, novel), labels, -1), min_size)
    return Grown(described(everything, labels), taken)


@dataclass(frozen=True, slots=True)
class _Classes:
    """Groups [G] as classes, with `counts` [G] and `sums` [G, E] of their members, beside the known ones.

    `rejected` [G] is how many members were tagged as novel.
    """

    counts: Floats
    rejected: Integers
    sums: Floats
    variances: Variances
    known: Floats

    @classmethod
    def of(cls, points: NDArray[np.floating], labels: Integers, space: Space, *, novel: int) -> _Classes:
        """Fit them to points [N, E], of which the first `novel` were tagged as novel."""
        members = labels >= 0
        wide = points[members].astype(np.float64)
        counts = np.bincount(labels[members]).astype(np.float64)
        variances = Variances.of(wide, labels[members], space.spread.astype(np.float64))
        sums = means_of(wide, labels[members]) * counts[:, None]
        first = labels[:novel]
        rejected = np.bincount(first[first >= 0], minlength=len(counts))
        return cls(counts, rejected, sums, variances, space.means.astype(np.float64))

    def by_groups(self, points: Floats) -> Floats:
        """Return the log-density of points [N, E] as a further member of each group, [N, G]."""
        return _log_densities(points, *self._predictive(self.counts[:, None], self.sums))

    def by_own(self, points: Floats, own: Integers) -> Floats:
        """Return that of members [N, E] of the groups `own` [N], as if they were not among them: [N]."""
        means, variances = self._predictive(self.counts[own][:, None] - 1, self.sums[own] - points)
        result: Floats = -0.5 * ((points - means) ** 2 / variances + np.log(variances)).sum(axis=1)
        return result

    def by_known(self, points: Floats) -> Floats:
        """Return that of points [N, E] under the known class that explains them best, [N]."""
        # What was not trained on varies more, and in known classes as much as in new ones.
        result: Floats = _log_densities(points, self.known, self.variances.within[None]).max(axis=1)
        return result

    def by_none(self, points: Floats) -> Floats:
        """Return that of points [N, E] each as a separate class, [N]."""
        alone = self.variances.between + self.variances.within
        return _log_densities(points, np.zeros((1, len(alone))), alone[None])[:, 0]

    def claims(self, points: Floats) -> tuple[Floats, Integers]:
        """Return how much better a group explains points [N, E] than a known class or none does, and which, each [N].

        As the logarithm of odds, but for the number of all other photos.
        """
        each = _TRUST * self.by_groups(points) + np.log(self.counts)
        groups = each.argmax(axis=1)
        best = each[np.arange(len(points)), groups]
        return best - _TRUST * np.maximum(self.by_known(points), self.by_none(points)), groups

    def _predictive(self, counts: Floats, sums: Floats) -> tuple[Floats, Floats]:
        between, within = self.variances.between, self.variances.within
        total = within + counts * between
        means: Floats = sums * (between / total)
        spreads: Floats = within + within * between / total
        return means, spreads


def _log_densities(points: Floats, means: Floats, variances: Floats) -> Floats:
    """Return those of points [N, E] under normal distributions with means [K, E], variances [K, E] or [1, E]: [N, K].

    Less the constant that all have in common.
    """
    squares = points**2 @ (1 / variances).T - 2 * points @ (means / variances).T
    result: Floats = -0.5 * (squares + (means**2 / variances + np.log(variances)).sum(axis=1))
    return result


def _taken(classes: _Classes, tagged: Pages[T]) -> tuple[list[T], NDArray[np.floating]]:
    """Return the photos that some group explains clearly better than known classes, in the order of paths."""
    photos: list[T] = []
    parts: list[NDArray[np.floating]] = []
    found: list[tuple[Floats, Integers]] = []
    total = 0
    for page, embeddings in tagged():
        total += len(page)
        sound = np.flatnonzero(np.isfinite(embeddings).all(axis=1))
        gains, groups = classes.claims(embeddings[sound].astype(np.float64))
        # The total only grows: what fails now would fail at the end too.
        claimed = gains > _TAKEN_AT + np.log(total)
        rows = sound[claimed]
        photos += [page[row] for row in rows.tolist()]
        parts.append(embeddings[rows])
        found.append((gains[claimed], groups[claimed]))
    if not photos:
        return [], np.empty((0, classes.sums.shape[1]))
    gains, groups = (np.concatenate(part) for part in zip(*found, strict=True))
    clear = _clearest(gains - np.log(total), groups, _MOST_TAKEN * classes.rejected).tolist()
    # Ids of rows say nothing of a photo: the order of paths is the same in every database.
    clear.sort(key=lambda row: photos[row].path_bytes)
    return [photos[row] for row in clear], np.concatenate(parts)[clear]


def _clearest(gains: Floats, groups: Integers, most: Integers) -> Integers:
    """Return which of those with gains [N] go into their `groups` [N], at most `most` [G] into each."""
    order = np.lexsort((-gains, groups))
    first = np.searchsorted(groups[order], groups[order])
    within = np.arange(len(order)) - first < most[groups[order]]
    return order[within & (gains[order] > _TAKEN_AT)]


def _shed(points: NDArray[np.floating], labels: Integers, space: Space, min_size: int) -> Integers:
    """Return the labels [N] without members that something else explains about as well, and without small groups."""
    classes = _Classes.of(points, labels, space, novel=len(points))
    kept = labels.copy()
    members = np.flatnonzero(labels >= 0)
    for start in range(0, len(members), _ROWS):
        rows = members[start : start + _ROWS]
        wide, groups = points[rows].astype(np.float64), labels[rows]
        own, others = classes.by_own(wide, groups), classes.by_groups(wide)
        others[np.arange(len(rows)), groups] = -np.inf
        clear = (
            (own - others.max(axis=1) > _LEAST_OVER_OTHER_GROUPS)
            & (own - classes.by_known(wide) > _LEAST_OVER_KNOWN)
            & (own - classes.by_none(wide) > _LEAST_OVER_ALONE)
        )
        kept[rows[~clear]] = -1
    return ordered(kept, min_size)
