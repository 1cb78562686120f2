"""Photos of a library that belong together: copies, bursts, series of one thing; found from what the database holds.

Two photos of a folder belong together if the model sees the same in them beyond their class: their embeddings, less the
centre of the class that either looks like most, point the same way (cosine distance at most `LOOK_DISTANCE`). Less the
centre, as an embedding is made to be alike for all of a class. Neighbours by file number may differ a little more, and
may look like two classes: then the middle between both centres is taken. Copies belong together wherever they lie, and
so do photos that are linked through others. docs/experiments.md#groups-of-library-photos has how well that finds
series. Photos that one camera took within seconds of each other belong together as well, wherever they lie.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from phototag.bursts import bursts_of
from phototag.dataset import Links
from phototag.decision import unpack
from phototag.errors import ModelError, StoreError
from phototag.model import Model, list_models, open_model
from phototag.records import NO_FACTS
from phototag.store import ModelInfo, Store

LOOK_DISTANCE = 0.30

_NUMBERED_DISTANCE = 0.40
_NUMBERS_APART = 3
# With more photos than this, reading all scores is quicker than looking up each.
_MANY = 5_000
_CELLS_AT_ONCE = 1 << 23
_ROWS_AT_ONCE = 1 << 13
_FEW_NEAR = 8
# Of photos that all class centres are moved by towards the mean of all, where the model's file is not there.
_SHRINKAGE = 2.0
_NUMBER = re.compile(rb"(\d{1,18})\D*$")

Groups: TypeAlias = NDArray[np.intp]
_Points: TypeAlias = NDArray[np.float32]
_Pairs: TypeAlias = Iterable[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Photos:
    """N photos to look for groups among: `ids` and `models` [N], the models' ids, and contents and paths."""

    ids: NDArray[np.int64]
    models: NDArray[np.int64]
    contents: Sequence[bytes]
    paths: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class _Looks:
    """Embeddings [M, E] of the photos in `rows` [M], and the class [M] that each looks like most."""

    rows: NDArray[np.intp]
    points: NDArray[np.float16]
    classes: NDArray[np.intp]


def find_groups(store: Store, photos: Photos) -> tuple[Groups, int]:
    """Return the group [N] of each photo, numbered from 0, and how many photos could be compared by their looks.

    Raises:
        StoreError: the database cannot be read.
    """
    links, compared = Links(len(photos.ids)), 0
    links.join(_first_of_each(photos.contents))
    links.join(_bursts(store, photos)[0])
    folders = _numbered([os.path.dirname(path) for path in photos.paths])  # noqa: PTH120  # these are bytes
    wanted = set(np.unique(photos.models).tolist())
    for model in store.models.find_all():
        if model.id not in wanted:
            continue
        looks = _read_looks(store, model, photos)
        if looks is not None:
            compared += len(looks.rows)
            centres = _centres(store, model, looks)
            links.join(_alike(looks, centres, folders))
            links.join(_alike_neighbours(looks, centres, photos.paths))
    return links.groups(), compared


def find_events(store: Store, photos: Photos) -> tuple[Groups, int]:
    """Return the event [N] of each photo, numbered from 0, and of how many the files say camera and time.

    An event is a burst, and copies of its photos; a photo without camera or time is its own.

    Raises:
        StoreError: the database cannot be read.
    """
    links = Links(len(photos.ids))
    links.join(_first_of_each(photos.contents))
    bursts, dated = _bursts(store, photos)
    links.join(bursts)
    return links.groups(), dated


def _bursts(store: Store, photos: Photos) -> tuple[_Pairs, int]:
    """Return pairs that link the photos of each burst, and of how many photos camera and time are known."""
    known = store.captures.moments()
    facts = [known.get(photo, NO_FACTS) for photo in photos.ids.tolist()]
    firsts = bursts_of(facts).tolist()
    pairs = [(first, row) for row, first in enumerate(firsts) if first != row]
    return pairs, sum(each is not NO_FACTS for each in facts)


def near_groups(units: _Points, distance: float) -> Groups:
    """Return a number [N] for each row of unit length [N, E]: equal where rows are linked at that cosine distance.

    In memory for some rows by all others at a time, and however many pairs are near: thousands of pictures of one
    scene, as of a fixed camera, have more than could be listed.
    """
    count = len(units)
    labels: Groups = np.arange(count, dtype=np.intp)
    step = max(16, _CELLS_AT_ONCE // max(count, 1))
    for start in range(0, count, step):
        near = units[start : start + step] @ units[start:].T >= 1 - distance
        if np.count_nonzero(near) > _FEW_NEAR * len(near):
            near &= labels[start : start + step, None] != labels[None, start:]
        one, other = (places + start for places in np.nonzero(near))
        while len(one):
            first, second = labels[one], labels[other]
            apart = first != second
            one, other = one[apart], other[apart]
            into: Groups = np.arange(count, dtype=np.intp)
            np.minimum.at(into, np.maximum(first, second), np.minimum(first, second))
            while (into[into] != into).any():
                into = into[into]
            labels = into[labels]
    return labels


def _read_looks(store: Store, model: ModelInfo, photos: Photos) -> _Looks | None:
    """Return the looks of the photos that a model tagged; None where it keeps none."""
    place = {int(photos.ids[row]): row for row in np.flatnonzero(photos.models == model.id).tolist()}
    rows: list[int] = []
    points: list[NDArray[np.float16]] = []
    classes: list[NDArray[np.intp]] = []
    for page in store.catalog.scores(model.id, list(place) if len(place) <= _MANY else None):
        by_length: dict[int, list[tuple[int, bytes]]] = {}
        for photo, content, scores in page:
            row = place.get(photo)
            if row is not None and content == photos.contents[row]:
                by_length.setdefault(len(scores), []).append((row, scores))
        for some in by_length.values():
            try:
                found = unpack([scores for _, scores in some], model.taxonomy)
            except StoreError:
                continue  # damaged scores look like nothing
            if not found.embedding.shape[1] or (points and points[0].shape[1] != found.embedding.shape[1]):
                continue
            rows += [row for row, _ in some]
            points.append(found.embedding)
            classes.append(found.top[:, 0].astype(np.intp))
    if not rows:
        return None
    return _Looks(np.array(rows, dtype=np.intp), np.concatenate(points), np.concatenate(classes))


def _centres(store: Store, model: ModelInfo, looks: _Looks) -> _Points:
    """Return where classes have their centres [C, E]: as the model's file says, or else as these photos lie."""
    owners = store.models.score_owners()
    for known in _models():
        try:
            # Of many models only those of the same classes are read.
            if known.header.taxonomy != model.taxonomy or known.novelty is None:
                continue
            found = store.models.find(hash=known.hash, weights_hash=known.weights_hash)
        except ModelError:
            continue
        if found is not None and owners.get(found) == owners.get(model.id):
            means = known.novelty.space.means
            if means.shape[1] == looks.points.shape[1]:
                return means
    count, width = len(model.taxonomy.subclasses), looks.points.shape[1]
    sums = np.zeros((count, width), dtype=np.float32)
    for start in range(0, len(looks.rows), _ROWS_AT_ONCE):
        some = slice(start, start + _ROWS_AT_ONCE)
        np.add.at(sums, looks.classes[some], looks.points[some].astype(np.float32))
    mean = sums.sum(axis=0) / len(looks.rows)
    photos = np.bincount(looks.classes, minlength=count)[:, None]
    result: _Points = ((sums + _SHRINKAGE * mean) / (photos + _SHRINKAGE)).astype(np.float32)
    return result


def _models() -> Iterator[Model]:
    yield from list_models()[0]
    try:
        yield open_model()
    except ModelError:
        return


def _alike(looks: _Looks, centres: _Points, folders: Groups) -> Iterator[tuple[int, int]]:
    """Yield pairs that link the photos of one folder, of one class by their looks, that are alike."""
    blocks = folders[looks.rows] * len(centres) + looks.classes
    order = np.argsort(blocks, kind="stable")
    for block in np.split(order, np.flatnonzero(np.diff(blocks[order])) + 1):
        if len(block) > 1:
            units = _units(looks.points[block].astype(np.float32) - centres[looks.classes[block]])
            labels = near_groups(units, LOOK_DISTANCE)
            linked = np.flatnonzero(labels != np.arange(len(block)))
            rows = looks.rows[block]
            yield from zip(rows[labels[linked]].tolist(), rows[linked].tolist(), strict=True)


def _alike_neighbours(looks: _Looks, centres: _Points, paths: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of photos with file numbers close to each other that are alike."""
    numbered = []
    for place, row in enumerate(looks.rows.tolist()):
        stem = os.path.splitext(paths[row])[0]  # noqa: PTH122  # these are bytes
        number = _NUMBER.search(stem)
        if number is not None:
            numbered.append((stem[: number.start()], int(number[1]), place))
    numbered.sort()
    pairs = [
        (first[2], second[2])
        for first, second in pairwise(numbered)
        if first[0] == second[0] and second[1] - first[1] <= _NUMBERS_APART
    ]
    for start in range(0, len(pairs), _ROWS_AT_ONCE):
        one, other = np.array(pairs[start : start + _ROWS_AT_ONCE], dtype=np.intp).T
        middle = (centres[looks.classes[one]] + centres[looks.classes[other]]) / 2
        units = [_units(looks.points[places].astype(np.float32) - middle) for places in (one, other)]
        alike = np.einsum("ij,ij->i", *units) >= 1 - _NUMBERED_DISTANCE
        yield from zip(looks.rows[one[alike]].tolist(), looks.rows[other[alike]].tolist(), strict=True)


def _units(points: _Points) -> _Points:
    result: _Points = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    return result


def _numbered(names: Sequence[bytes]) -> Groups:
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.intp)


def _first_of_each(names: Sequence[bytes]) -> _Pairs:
    """Yield pairs that link what has the same name."""
    first: dict[bytes, int] = {}
    for row, name in enumerate(names):
        place = first.setdefault(name, row)
        if place != row:
            yield place, row
