"""Pictures that belong together: how groups are made of pairs, and how groups are dealt to folds and to both sides.

Photos come in series: several of one box, one nest, one evening. A model that learned from some of a series knows the
others before it sees them, so what is to tell how good it is has to be split by series ("grouped cross-validation";
Roberts et al., "Cross-validation strategies for data with temporal, spatial, hierarchical, or phylogenetic structure",
Ecography 2017). Everything here is pure: numpy only. `phototag.dataset.series` finds the groups.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.intp]

_ROWS = 1024


class Links:
    """Joins things, 0 to count - 1, into groups: whatever is linked, also through others, is one group."""

    def __init__(self, count: int) -> None:
        self._parents = np.arange(count, dtype=np.intp)

    def _root(self, thing: int) -> int:
        parents = self._parents
        while parents[thing] != thing:
            parents[thing] = parents[parents[thing]]
            thing = int(parents[thing])
        return thing

    def join(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Link the two of each pair."""
        for one, other in pairs:
            first, second = self._root(one), self._root(other)
            self._parents[max(first, second)] = min(first, second)

    def groups(self) -> Labels:
        """Return the group [N] of each thing, numbered from 0 in the order of their first members."""
        roots = np.array([self._root(thing) for thing in range(len(self._parents))], dtype=np.intp)
        result: Labels = np.unique(roots, return_inverse=True)[1].astype(np.intp)
        return result


def near_pairs(looks: NDArray[np.float32], distance: float) -> Iterable[tuple[int, int]]:
    """Yield the pairs of rows of `looks` [N, D] whose cosine distance is at most `distance`."""
    units = looks / np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-12)
    for start in range(0, len(units), _ROWS):
        alike = units[start : start + _ROWS] @ units[start:].T >= 1 - distance
        for row, column in np.argwhere(np.triu(alike, k=1)).tolist():
            yield start + row, start + column


def members(labels: Labels) -> list[Labels]:
    """Return the rows of each label that occurs, labels rising; rows with a label below 0 are of none."""
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(order) else []


def dealt_folds(classes: Labels, groups: Labels, *, folds: int, seed: int) -> Labels:
    """Return the fold [N] of each picture: groups stay whole, and the pictures of each class are spread evenly.

    The pictures of a class in one group only get -1: held out, they would leave none to learn from. Of all others any
    fold leaves some. Groups are of one class each.
    """
    random = np.random.default_rng(seed)
    result = np.full(len(classes), -1, dtype=np.intp)
    for rows in members(classes):
        parts = [rows[part] for part in members(groups[rows])]
        if len(parts) < 2:
            continue
        # The largest first, each to the fold that has least of the class; ties by chance, or the first fold would get
        # most of the small classes.
        random.shuffle(parts)
        parts.sort(key=len, reverse=True)
        held = random.permutation(folds) / folds
        for part in parts:
            fold = int(held.argmin())
            held[fold] += len(part)
            result[part] = fold
    return result


def held_out(classes: Labels, groups: Labels, *, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Return which pictures [N] to hold out: of each class whole groups, with about `fraction` of its pictures.

    A class in one group is not held out. Of every other some group is, and some is left; a large one only where there
    is no smaller.
    """
    result = np.zeros(len(classes), dtype=np.bool_)
    for rows in members(classes):
        random = np.random.default_rng([seed, int(classes[rows[0]])])
        parts = [rows[part] for part in members(groups[rows])]
        if len(parts) < 2:
            continue
        random.shuffle(parts)
        wanted, taken = fraction * len(rows), 0
        chosen = []
        for part in parts:
            # Rather too few than twice too many.
            if taken + len(part) / 2 <= wanted:
                chosen.append(part)
                taken += len(part)
        chosen = chosen[: len(parts) - 1] or [min(parts, key=len)]
        result[np.concatenate(chosen)] = True
    return result
