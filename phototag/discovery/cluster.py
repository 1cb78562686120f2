"""Group embeddings into candidate classes. Pure: numpy only, and the same result every time.

The model is that of probabilistic linear discriminant analysis (Ioffe, "Probabilistic linear discriminant analysis",
ECCV 2006), with diagonal covariances: along each axis the mean of a class is normal about 0 with variance `between`,
and its members are normal about that mean with variance `within`. Two clusters are joined where the evidence that all
their members are of one class outweighs the evidence that they are of two, so that the number of groups comes out by
itself. Clusters join in rounds, each with its best partner if it is that one's best partner too, and only along the
edges of a graph of nearest neighbours. Time and memory are in proportion to the photos: of many thousands, neighbours
are looked for in the nearest cells only (Sivic & Zisserman, "Video Google", ICCV 2003: an inverted file).

How far the members of a new class differ from each other, and the classes from each other, depends on how well the
embedding carries over to them. So both are measured on the groups that come out first, of some thousands of the points,
and they are made again.

What was measured, also of other methods: docs/experiments.md#grouping.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from phototag.choices import MIN_GROUP_SIZE

Floats = NDArray[np.float64]
Narrow = NDArray[np.float32]
Integers = NDArray[np.intp]

_NEIGHBOURS = 15
# Means of new classes lie less far from each other than those that the axes were chosen for.
_BETWEEN_SHARE = 0.5
# Axes beyond the discriminant ones tell nothing of known classes, and something of new ones.
_LEAST_BETWEEN = 0.15
# Times the variance of the training's classes; for these three: docs/experiments.md#grouping.
_FIRST_WITHIN = 3.0
_MEASUREMENTS = 2
# The outer members of a class are missing from the groups that its variance is measured on.
_UNDERSTATED = 1.5
_FEWEST_TO_MEASURE = 5
_MOST_TO_MEASURE = 1 << 14
_ROWS = 1024
_EDGES = 1 << 14
_SHARE_TAKEN_AT_ONCE = 8
# Points in a cell, and cells that are looked through for the neighbours of those in one: all, of 4,096 points.
_CELL = 512
_CELLS_SEARCHED = 8
_MOST_SEARCHED = 4 * _CELL * _CELLS_SEARCHED
_LLOYD_ROUNDS = 3
_POINTS_TO_PLACE = 32


@dataclass(frozen=True, slots=True)
class Grouping:
    """What became of N points: G groups, the largest first.

    `labels` [N] is the group of each point, -1 for none. `distances` [N] is the distance from the mean of its group, in
    standard deviations of a known class along one axis, infinite for none. `means` [G, E] are those of the groups, and
    `spreads` [G] the standard deviation of their members about them, 1 being that of a known class in training.
    """

    labels: Integers
    distances: Floats
    means: Floats
    spreads: Floats

    @property
    def count(self) -> int:
        """Count the groups."""
        return len(self.means)


@dataclass(frozen=True, slots=True)
class Variances:
    """Along each axis [E], that of the means of new classes about 0, `between`, and that of members, `within`."""

    between: Floats
    within: Floats

    @classmethod
    def expected(cls, spread: Floats) -> Self:
        """Return those of classes of which nothing is known, given the variance [E] of all training pictures."""
        between = np.maximum((spread - 1) * _BETWEEN_SHARE, _LEAST_BETWEEN)
        return cls(between, np.full(len(spread), _FIRST_WITHIN))

    @classmethod
    def of(cls, points: Floats, labels: Integers, spread: Floats) -> Self:
        """Fit those of groups of points [N, E]; those expected where there are too few groups to measure."""
        expected = cls.expected(spread)
        groups = int(labels.max(initial=-1)) + 1
        if groups < _FEWEST_TO_MEASURE:
            return expected
        varied = _variance_within(points, labels)
        share = groups / np.count_nonzero(labels >= 0)
        measured = means_of(points, labels).var(axis=0, ddof=1) - share * varied
        # Classes of an unknown superclass differ along axes that told nothing of known ones.
        return cls(np.maximum(expected.between, measured), _UNDERSTATED * varied)


def group(points: NDArray[np.floating], spread: NDArray[np.floating], *, min_size: int = MIN_GROUP_SIZE) -> Grouping:
    """Group points [N, E]; groups of fewer than `min_size` are none.

    Args:
        points: Embeddings in which known classes have variance 1 about their means, and all pictures the mean 0.
            Points that are not finite stay alone.
        spread: [E], the variance of all pictures of the training along each axis.
        min_size: The fewest members of a group.

    Raises:
        ValueError: shapes do not fit, or `min_size` is below 2.
    """
    if points.ndim != 2 or spread.shape != points.shape[1:] or min_size < 2:
        raise ValueError(f"points {points.shape}, spread {spread.shape}, min_size {min_size}: they do not fit")
    labels = np.full(len(points), -1, dtype=np.intp)
    sound = np.flatnonzero(np.isfinite(points).all(axis=1))
    if len(sound) >= min_size:
        labels[sound] = _labels(points[sound].astype(np.float32), spread.astype(np.float64), min_size)
    return described(points, labels)


def _labels(points: Narrow, spread: Floats, min_size: int) -> Integers:
    edges = neighbours(points, _NEIGHBOURS)
    some = points[:: -(-len(points) // _MOST_TO_MEASURE)].astype(np.float64)
    some_edges = edges if len(some) == len(points) else neighbours(some, _NEIGHBOURS)
    variances = Variances.expected(spread)
    for _ in range(_MEASUREMENTS):
        labels = ordered(_joined(some, some_edges, variances), min_size)
        if int(labels.max()) + 1 < _FEWEST_TO_MEASURE:
            break
        variances = Variances.of(some, labels, spread)
    return ordered(_joined(points, edges, variances), min_size)


def neighbours(points: NDArray[np.floating], count: int) -> Integers:
    """Return edges [M, 2] from each point [N, E] to its `count` nearest, each once, with the lower number first.

    Of more points than a few cells hold, a neighbour that lies beyond the nearest cells is missed, and another taken.
    """
    size = len(points)
    count = min(count + 1, size)  # with the point itself
    # Half the memory traffic; which of two equally near neighbours is taken does not matter.
    narrow = points.astype(np.float32, copy=False)
    squares = (narrow**2).sum(axis=1)
    found = np.empty((size, count), dtype=np.intp)
    for members, near in _cells(narrow):
        others, lengths = -2 * narrow[near].T, squares[near]
        for start in range(0, len(members), _ROWS):
            rows = members[start : start + _ROWS]
            distances = narrow[rows] @ others
            distances += lengths
            found[rows] = near[np.argpartition(distances, count - 1, axis=1)[:, :count]]
    pairs = np.stack([np.repeat(np.arange(size), count), found.ravel()], axis=1)
    return _distinct(pairs, size)


def _cells(points: Narrow) -> Iterator[tuple[Integers, Integers]]:
    """Yield the points [N, E] by cells, with those of the cells about each, itself among them."""
    cells = -(-len(points) // _CELL)
    everything = np.arange(len(points))
    if cells <= _CELLS_SEARCHED:
        yield everything, everything
        return
    # Where there are more points there are more centres, so that cells hold about as many.
    some = points[:: _CELL // _POINTS_TO_PLACE]
    centres = some[:: -(-len(some) // cells)]
    for _ in range(_LLOYD_ROUNDS):
        nearest = _nearest(some, centres)
        centres = means_of(some, nearest)[np.unique(nearest)].astype(np.float32)
    nearest = _nearest(points, centres)
    sizes = np.bincount(nearest, minlength=len(centres))
    members = np.split(np.argsort(nearest, kind="stable"), np.cumsum(sizes)[:-1])
    for own, centre in enumerate(centres):
        order = ((centres - centre) ** 2).sum(axis=1).argsort(kind="stable")
        # Those of a few points, far from all others, are not enough.
        enough = int(np.searchsorted(np.cumsum(sizes[order]), _CELL)) + 1
        near = np.concatenate([members[cell] for cell in order[: max(enough, _CELLS_SEARCHED)]])
        # Thousands of copies of one photo are one cell: some of them will do.
        yield members[own], near[:: -(-len(near) // _MOST_SEARCHED)]


def _nearest(points: Narrow, centres: Narrow) -> Integers:
    """Return which of the centres [K, E] is nearest to each of points [N, E], [N]."""
    squares = (centres**2).sum(axis=1)
    found = np.empty(len(points), dtype=np.intp)
    for start in range(0, len(points), _ROWS):
        rows = slice(start, start + _ROWS)
        found[rows] = (squares - 2 * (points[rows] @ centres.T)).argmin(axis=1)
    return found


def _distinct(pairs: Integers, size: int) -> Integers:
    """Return pairs of numbers below `size` as sorted edges, each once, and none to itself."""
    # One number per pair: sorting these is faster than sorting rows.
    keys = np.unique(pairs.min(axis=1) * size + pairs.max(axis=1))
    edges: Integers = np.stack([keys // size, keys % size], axis=1)
    proper: Integers = edges[edges[:, 0] != edges[:, 1]]
    return proper


def _joined(points: NDArray[np.floating], edges: Integers, variances: Variances) -> Integers:
    """Return the cluster of every point [N] when no two along an edge gain by joining any more."""
    size = len(points)
    labels = np.arange(size)
    clusters = _Clusters(np.ones(size), points.astype(np.float64), np.empty(size), variances)
    clusters.weigh(labels)
    gains = clusters.gains(edges)
    while True:
        kept, lost = _partners(edges, gains, clusters.counts)
        if not len(kept):
            return labels
        clusters.join(kept, lost)
        now = np.arange(size)
        now[lost] = kept
        labels, edges = now[labels], now[edges]
        changed = np.zeros(size, dtype=bool)
        changed[kept] = True
        # Only edges of clusters that changed can have become the same as others, or gain something else.
        touched = changed[edges].any(axis=1)
        again = _distinct(edges[touched], size)
        edges = np.concatenate([edges[~touched], again])
        gains = np.concatenate([gains[~touched], clusters.gains(again)])


def _partners(edges: Integers, gains: Floats, counts: Floats) -> tuple[Integers, Integers]:
    """Return clusters that gain by joining: the larger of each two, and the other.

    Each cluster joins its best partner if it is that one's best partner too. A large one also takes in others whose
    best partner it is, the best first, as long as they are few against its own members: they change little of it, and
    with one a round there would be as many rounds as the largest class has photos.
    """
    live = gains > 0
    ends = np.concatenate([edges[live], edges[live][:, ::-1]])
    gained = np.tile(gains[live], 2)
    # Each cluster's best partner comes first; of equal ones that with the lowest number.
    order = np.lexsort((ends[:, 1], -gained, ends[:, 0]))
    own, first = np.unique(ends[order, 0], return_index=True)
    chosen = order[first]
    best = np.full(len(counts), -1, dtype=np.intp)
    best[own] = ends[chosen, 1]
    mutual = best[best[own]] == own
    pairs = own[mutual & (own < best[own])]
    pairs = np.stack([pairs, best[pairs]], axis=1)
    smaller_first = counts[pairs[:, 0]] < counts[pairs[:, 1]]
    pairs[smaller_first] = pairs[smaller_first][:, ::-1]
    small, into, value = own[~mutual], best[own[~mutual]], gained[chosen[~mutual]]
    order = np.lexsort((small, -value, into))
    small, into = small[order], into[order]
    upto = np.cumsum(counts[small])
    starts = np.searchsorted(into, into)
    within = upto - upto[starts] + counts[small[starts]]
    is_few = within <= counts[into] // _SHARE_TAKEN_AT_ONCE
    gone = np.zeros(len(counts), dtype=bool)
    gone[pairs[:, 1]] = gone[small[is_few]] = True
    is_few &= ~gone[into]
    return np.concatenate([pairs[:, 0], into[is_few]]), np.concatenate([pairs[:, 1], small[is_few]])


@dataclass(frozen=True, slots=True)
class _Clusters:
    """The clusters while they join, by number: `counts` [N] and `sums` [N, E] of members, and what each is worth."""

    counts: Floats
    sums: Floats
    alone: Floats
    variances: Variances

    def weigh(self, which: Integers) -> None:
        """Note the evidence of some clusters."""
        for start in range(0, len(which), _EDGES):
            some = which[start : start + _EDGES]
            self.alone[some] = _evidence(self.counts[some], self.sums[some], self.variances)

    def join(self, kept: Integers, lost: Integers) -> None:
        """Let clusters take in others, each of which is lost."""
        np.add.at(self.sums, kept, self.sums[lost])
        np.add.at(self.counts, kept, self.counts[lost])
        self.weigh(np.unique(kept))

    def gains(self, edges: Integers) -> Floats:
        """Return what each edge's clusters gain by being one: a log-likelihood ratio, in nats."""
        gains = np.empty(len(edges))
        for start in range(0, len(edges), _EDGES):
            low, high = edges[start : start + _EDGES].T
            joint = _evidence(self.counts[low] + self.counts[high], self.sums[low] + self.sums[high], self.variances)
            gains[start : start + _EDGES] = joint - self.alone[low] - self.alone[high]
        return gains


def _evidence(counts: Floats, sums: Floats, variances: Variances) -> Floats:
    """Return clusters' log-likelihood by counts [K] and sums [K, E], less what depends on single members only.

    Along each axis the mean is integrated out: of n members with sum s, 1/2 log(w / (w + n b)) + s^2 b / (2 w (w + n
    b)).
    """
    between, within = variances.between, variances.within
    # Most clusters are of a few members: what depends on their number alone is found once for each.
    numbers, places = np.unique(counts, return_inverse=True)
    total = within + numbers[:, None] * between
    logarithms = np.log(within / total).sum(axis=1)
    weights = between / (within * total)
    result: Floats = 0.5 * (logarithms[places] + np.einsum("ke,ke,ke->k", sums, sums, weights[places]))
    return result


def ordered(clusters: Integers, min_size: int) -> Integers:
    """Number the clusters that are large enough, by size and then by their first member; -1 for the others.

    Whatever is of a negative cluster is of none.
    """
    values, first, inverse, counts = np.unique(clusters, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -counts))
    order = order[(counts[order] >= min_size) & (values[order] >= 0)]
    numbers = np.full(len(counts), -1, dtype=np.intp)
    numbers[order] = np.arange(len(order))
    return numbers[inverse]


def means_of(points: NDArray[np.floating], labels: Integers) -> Floats:
    """Return the mean of each group, [G, E]."""
    members = labels >= 0
    count = int(labels.max(initial=-1)) + 1
    sums = np.zeros((count, points.shape[1]))
    np.add.at(sums, labels[members], points[members])
    result: Floats = sums / np.maximum(np.bincount(labels[members], minlength=count), 1)[:, None]
    return result


def _variance_within(points: Floats, labels: Integers) -> Floats:
    """Return the variance [E] of members about the means of their groups."""
    members = labels >= 0
    means = means_of(points, labels)
    squares = ((points[members] - means[labels[members]]) ** 2).sum(axis=0)
    result: Floats = np.maximum(squares / max(int(members.sum()) - len(means), 1), 1e-3)
    return result


def described(points: NDArray[np.floating], labels: Integers) -> Grouping:
    """Return the grouping of points [N, E] by `labels` [N] that `ordered` gave."""
    members = labels >= 0
    wide = points[members].astype(np.float64)
    means = means_of(wide, labels[members])
    axes = max(points.shape[1], 1)
    squares = ((wide - means[labels[members]]) ** 2).sum(axis=1) / axes
    distances = np.full(len(points), np.inf)
    distances[members] = np.sqrt(squares)
    counts = np.bincount(labels[members], minlength=len(means))
    spreads = np.sqrt(np.bincount(labels[members], squares, minlength=len(means)) / np.maximum(counts - 1, 1))
    return Grouping(labels, distances, means, spreads)
