"""Find which labelled pictures belong together: as named, by folder, or by how they look and when they were taken.

By look: two pictures of a subclass belong together if a middle stage of the default backbone, pooled and standardised
over the data set, sees nearly the same (cosine distance at most `LOOK_DISTANCE`), and so do those linked through others
(single linkage). A middle stage knows a scene again, its surfaces, light and colours; the last one knows classes, and
would link whatever is of one. docs/experiments.md#series has what that comes to on pictures with and without series.

By moment: pictures of one camera, each at most `MOMENT_SECONDS` after the one before. File numbers that follow each
other are weak evidence: they let pictures belong together that look a little less alike, and only in data where
neighbours by number are clearly more alike than others, so that shuffled numbers mean nothing.
"""

from __future__ import annotations

import logging
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from phototag.bursts import bursts_of
from phototag.choices import GroupsBy
from phototag.dataset.features import Features, features_of
from phototag.dataset.grouping import Labels, Links, held_out, members, near_pairs
from phototag.dataset.labelled import LabelledPicture
from phototag.errors import DataError, ModelError
from phototag.metadata import read_facts, read_header
from phototag.model import (
    DEFAULT_BACKBONE,
    create_backbone,
    default_preprocessing,
    feature_blocks,
    load_into,
    load_weights,
    pooled_stages,
    resolve_backbone,
)
from phototag.paths import PhotoPath
from phototag.records import NO_FACTS, CaptureFacts
from phototag.runtime import Target

log = logging.getLogger(__name__)

LOOK_DISTANCE = 0.21
MOMENT_SECONDS = 30.0

# Of the stages whose features are pooled, the middle one of the default backbone.
_STAGE = 1
_NUMBERED_DISTANCE = 0.35
# Of the usual distance within a subclass: neighbours by number have to be so much nearer for numbers to count.
_TELLING = 0.7
_FEWEST_NEIGHBOURS = 10
_NUMBER = re.compile(r"(\d+)\D*$")

Look = Callable[[Sequence[LabelledPicture]], NDArray[np.float32]]
"""Looks [N, D] of pictures; rows of zeros for those that cannot be read."""


def grouped(pictures: Sequence[LabelledPicture], how: GroupsBy, look: Look) -> tuple[LabelledPicture, ...]:
    """Return the pictures with the names of their groups; all of a group are of one subclass.

    Raises:
        DataError: groups are to be taken from a column, and no picture has one.
    """
    groups = find_groups(pictures, how, look).tolist()
    return tuple(replace(picture, group=str(group)) for picture, group in zip(pictures, groups, strict=True))


def find_groups(pictures: Sequence[LabelledPicture], how: GroupsBy, look: Look) -> Labels:
    """Return the group [N] of each picture; see `grouped`."""
    named = any(picture.group is not None for picture in pictures)
    if how is GroupsBy.COLUMN and not named:
        raise DataError("no picture has a group: --groups column takes them from the column 'group' of a CSV")
    classes = _numbered([(picture.superclass, picture.subclass) for picture in pictures])
    if how is GroupsBy.NONE:
        return np.arange(len(pictures), dtype=np.intp)
    if how is GroupsBy.FOLDER:
        return _within(classes, _numbered([str(picture.path.parent) for picture in pictures]))
    if named:
        return _within(classes, group_numbers(pictures))
    links, classed = Links(len(pictures)), members(classes)
    looks = standardised(look(pictures))
    numbers = [_number(picture.path) for picture in pictures]
    bursts = _bursts(pictures, classes)
    telling = _numbers_tell(looks, numbers, classed)
    for rows in classed:
        links.join((int(rows[one]), int(rows[other])) for one, other in near_pairs(looks[rows], LOOK_DISTANCE))
        links.join((int(bursts[row]), row) for row in rows.tolist())
        if telling:
            links.join(p for p in _neighbours(rows, numbers) if _distance(looks, *p) <= _NUMBERED_DISTANCE)
    return links.groups()


def group_numbers(pictures: Sequence[LabelledPicture]) -> Labels:
    """Return the group [N] of each picture as a number; one that belongs to none is its own."""
    return _numbered([place if picture.group is None else picture.group for place, picture in enumerate(pictures)])


def groups_line(pictures: Sequence[LabelledPicture]) -> str:
    """Return in words what groups there are: "2,640 pictures in 412 groups; the largest 38"."""
    sizes = np.bincount(group_numbers(pictures), minlength=1)
    if sizes.max() <= 1:
        return f"{len(pictures):,} pictures, none of a series"
    return f"{len(pictures):,} pictures in {len(sizes):,} groups; the largest {sizes.max():,}"


def unchecked_classes(pictures: Iterable[LabelledPicture]) -> list[str]:
    """Return the classes with a single group: `split` leaves it to training, so nothing checks what is learned."""
    groups: dict[str, set[str | None]] = defaultdict(set)
    for place, picture in enumerate(pictures):
        groups[f"{picture.superclass}/{picture.subclass}"].add(picture.group or f"picture {place}")
    return sorted(name for name, found in groups.items() if len(found) == 1)


def split(
    pictures: Sequence[LabelledPicture], *, fraction: float, seed: int
) -> tuple[list[LabelledPicture], list[LabelledPicture]]:
    """Split into training and validation pictures, class by class and in whole groups.

    Every class gives about `fraction` of its pictures to validation, at least one group, and keeps at least one: that
    of a class with a single group is kept. The split depends on the seed and the file names in each class, not on
    their order or on other classes.
    """
    by_class: dict[tuple[str | None, str | None], list[LabelledPicture]] = defaultdict(list)
    for picture in pictures:
        by_class[picture.superclass, picture.subclass].append(picture)
    training: list[LabelledPicture] = []
    validation: list[LabelledPicture] = []
    for label, of_class in sorted(by_class.items(), key=lambda item: tuple(map(str, item[0]))):
        of_class = sorted(of_class, key=lambda picture: bytes(picture.path))
        one_class = np.zeros(len(of_class), dtype=np.intp)
        number = random.Random(f"{seed}:{label}").getrandbits(32)
        out = held_out(one_class, group_numbers(of_class), fraction=fraction, seed=number)
        for picture, apart in zip(of_class, out.tolist(), strict=True):
            (validation if apart else training).append(picture)
    return training, validation


def default_look(target: Target, workers: int | None) -> Look:
    """Return what looks at pictures through the default backbone; without its weights all look different."""

    def look(pictures: Sequence[LabelledPicture]) -> NDArray[np.float32]:
        try:
            found, middle = default_features(pictures, target, workers)
        except ModelError as error:
            log.warning("series are not looked for, and figures may be too good: %s", error)
            return np.zeros((len(pictures), 1), dtype=np.float32)
        looks = np.zeros((len(pictures), middle.stop - middle.start), dtype=np.float32)
        looks[list(found.positions)] = found.values[:, middle]
        return looks

    return look


def default_features(
    pictures: Sequence[LabelledPicture], target: Target, workers: int | None
) -> tuple[Features, slice]:
    """Return features of the default backbone, all stages, and which of their columns are how pictures look.

    Raises:
        DataError: more than 5 % of the pictures are unreadable.
        ModelError: its weights cannot be had.
    """
    name = resolve_backbone(DEFAULT_BACKBONE)
    backbone = create_backbone(name)
    load_into(backbone, load_weights(name))
    stages = pooled_stages(backbone)
    start, end = np.cumsum([0, *feature_blocks(backbone, stages)])[1 + _STAGE : 3 + _STAGE].tolist()
    preprocessing = default_preprocessing(backbone)
    found = features_of(pictures, backbone.eval(), stages, preprocessing, target=target, workers=workers, told=False)
    return found, slice(start, end)


def _numbered(names: Sequence[object]) -> Labels:
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.intp)


def _within(classes: Labels, groups: Labels) -> Labels:
    """Return groups cut where classes differ."""
    return _numbered(list(zip(classes.tolist(), groups.tolist(), strict=True)))


def standardised(looks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return looks [N, D] of mean 0 and deviation 1; rows of zeros, which could not be read, stay so."""
    seen = looks.any(axis=1)
    result = np.zeros_like(looks)
    if seen.any():
        deviation = looks[seen].std(axis=0)
        result[seen] = (looks[seen] - looks[seen].mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    return result


def _distance(looks: NDArray[np.float32], one: int, other: int) -> float:
    lengths = float(np.linalg.norm(looks[one]) * np.linalg.norm(looks[other]))
    return 1 - float(looks[one] @ looks[other]) / lengths if lengths else 1.0


def _number(path: PhotoPath) -> tuple[str, int] | None:
    """Return the folder with what stands before the last number of a file's name, and the number."""
    found = _NUMBER.search(path.stem)
    return (f"{path.parent}/{path.stem[: found.start()]}", int(found[1])) if found else None


def _neighbours(rows: Labels, numbers: Sequence[tuple[str, int] | None]) -> Iterator[tuple[int, int]]:
    numbered = sorted((number, row) for row in rows.tolist() if (number := numbers[row]) is not None)
    for ((stem, one), first), ((other_stem, other), second) in pairwise(numbered):
        if stem == other_stem and other - one == 1:
            yield first, second


def _numbers_tell(
    looks: NDArray[np.float32], numbers: Sequence[tuple[str, int] | None], classed: Sequence[Labels]
) -> bool:
    """Return whether pictures that follow each other by number are clearly more alike than others of their class."""
    next_to, usual = [], []
    for rows in classed:
        pairs = list(_neighbours(rows, numbers))
        next_to += [_distance(looks, *pair) for pair in pairs]
        # Half of the class away: as good as any other picture of it.
        usual += [
            _distance(looks, first, int(rows[(place + len(rows) // 2) % len(rows)]))
            for place, (first, _) in enumerate(pairs)
        ]
    return len(next_to) >= _FEWEST_NEIGHBOURS and float(np.mean(next_to)) <= _TELLING * float(np.mean(usual))


def _bursts(pictures: Sequence[LabelledPicture], classes: Labels) -> Labels:
    """Return the burst [N] of each picture, among those of its class."""
    facts = [_facts(picture.path) for picture in pictures]
    labels = np.arange(len(pictures), dtype=np.intp)
    for rows in members(classes):
        labels[rows] = rows[bursts_of((facts[row] for row in rows.tolist()), seconds=MOMENT_SECONDS)]
    return labels


def _facts(path: PhotoPath) -> CaptureFacts:
    try:
        return read_facts(read_header(path))
    except OSError:
        return NO_FACTS
