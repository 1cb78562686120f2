"""Group embeddings into candidate classes. Pure: numpy only, and the same result every time.

The model is that of probabilistic linear discriminant analysis (Ioffe, "Probabilistic linear discriminant analysis",
ECCV 2006), with diagonal covariances: along each axis the mean of a class is normal about 0 with variance `between`,
and its members are normal about that mean with variance `within`. Two clusters are joined where the evidence that all
their members are of one class outweighs the evidence that they are of two, so that the number of groups comes out by
itself. Clusters join in rounds, each with its best partner if it is that one's best partner too, and only along the
edges of a graph of nearest neighbours. Memory does not grow with the square of the photos, and time does only in the
search of these neighbours.

How far the members of a new class differ from each other, and the classes from each other, depends on how well the
embedding carries over to them. So both are measured on the groups that come out first, and they are made again.

What was measured, also of other methods: docs/experiments.md#grouping.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from phototag.choices import MIN_GROUP_SIZE

Floats = NDArray[np.float64]
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
_ROWS = 1024
_EDGES = 1 << 14


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
        labels[sound] = _labels(points[sound].astype(np.float64), spread.astype(np.float64), min_size)
    return described(points, labels)


def _labels(points: Floats, spread: Floats, min_size: int) -> Integers:
    edges = neighbours(points, _NEIGHBOURS)
    labels = ordered(_joined(points, edges, Variances.expected(spread)), min_size)
    for _ in range(_MEASUREMENTS):
        if int(labels.max()) + 1 < _FEWEST_TO_MEASURE:
            break
        labels = ordered(_joined(points, edges, Variances.of(points, labels, spread)), min_size)
    return labels


def neighbours(points: Floats, count: int) -> Integers:
    """Return edges [M, 2] from each point [N, E] to its `count` nearest, each once, with the lower number first."""
    size = len(points)
    count = min(count, size - 1)
    # Half the memory traffic; which of two equally near neighbours is taken does not matter.
    narrow = points.astype(np.float32)
    squares = (narrow**2).sum(axis=1)
    found = np.empty((size, count), dtype=np.intp)
    for start in range(0, size, _ROWS):
        rows = narrow[start : start + _ROWS]
        distances = squares - 2 * (rows @ narrow.T)
        distances[np.arange(len(rows)), np.arange(start, start + len(rows))] = np.inf
        found[start : start + len(rows)] = np.argpartition(distances, count - 1, axis=1)[:, :count]
    pairs = np.stack([np.repeat(np.arange(size), count), found.ravel()], axis=1)
    return _distinct(pairs, size)[0]


def _distinct(pairs: Integers, size: int) -> tuple[Integers, Integers]:
    """Return pairs of numbers below `size` as sorted edges, each once, none to itself, and where each stood first."""
    low, high = pairs.min(axis=1), pairs.max(axis=1)
    # One number per pair: sorting these is faster than sorting rows.
    keys, first = np.unique(low * size + high, return_index=True)
    edges = np.stack([keys // size, keys % size], axis=1)
    proper = edges[:, 0] != edges[:, 1]
    return edges[proper], first[proper]


def _joined(points: Floats, edges: Integers, variances: Variances) -> Integers:
    """Return the cluster of every point [N] when no two along an edge gain by joining any more."""
    size = len(points)
    clusters = np.arange(size)
    counts, sums = np.ones(size), points.copy()
    gains = _gains(edges, counts, sums, variances)
    while True:
        kept, lost = _best_pairs(edges, gains)
        if not len(kept):
            return clusters
        sums[kept] += sums[lost]
        counts[kept] += counts[lost]
        now = np.arange(size)
        now[lost] = kept
        clusters = now[clusters]
        changed = np.zeros(size, dtype=bool)
        changed[kept] = True
        edges, first = _distinct(now[edges], size)
        gains = gains[first]
        again = changed[edges].any(axis=1)
        gains[again] = _gains(edges[again], counts, sums, variances)


def _best_pairs(edges: Integers, gains: Floats) -> tuple[Integers, Integers]:
    """Return the pairs that are each other's best partner, and gain by joining."""
    live = gains > 0
    ends = np.concatenate([edges[live], edges[live][:, ::-1]])
    # Each cluster's best partner comes first; of equal ones that with the lowest number.
    order = np.lexsort((ends[:, 1], -np.tile(gains[live], 2), ends[:, 0]))
    ends = ends[order]
    own, first = np.unique(ends[:, 0], return_index=True)
    best = np.full(int(edges.max(initial=-1)) + 1, -1, dtype=np.intp)
    best[own] = ends[first, 1]
    kept = own[(best[best[own]] == own) & (own < best[own])]
    return kept, best[kept]


def _gains(edges: Integers, counts: Floats, sums: Floats, variances: Variances) -> Floats:
    """Return what each edge's clusters gain by being one: a log-likelihood ratio, in nats."""
    alone = np.concatenate(
        [
            _evidence(counts[start : start + _EDGES], sums[start : start + _EDGES], variances)
            for start in range(0, len(counts), _EDGES)
        ]
    )
    gains = np.empty(len(edges))
    for start in range(0, len(edges), _EDGES):
        low, high = edges[start : start + _EDGES].T
        joint = _evidence(counts[low] + counts[high], sums[low] + sums[high], variances)
        gains[start : start + _EDGES] = joint - alone[low] - alone[high]
    return gains


def _evidence(counts: Floats, sums: Floats, variances: Variances) -> Floats:
    """Return clusters' log-likelihood by counts [K] and sums [K, E], less what depends on single members only.

    Along each axis the mean is integrated out: of n members with sum s, 1/2 log(w / (w + n b)) + s^2 b / (2 w (w + n
    b)).
    """
    between, within = variances.between, variances.within
    total = within + counts[:, None] * between
    result: Floats = 0.5 * (np.log(within / total) + sums**2 * (between / (within * total))).sum(axis=1)
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


def means_of(points: Floats, labels: Integers) -> Floats:
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
