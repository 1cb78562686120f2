"""Long-tailed versions of labelled data, and what a model makes of the part that was kept even."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phototag.dataset import COLUMNS, GROUP_COLUMN, LabelledPicture
from phototag.paths import absolute

RARE_SHARE = 1 / 3
_RESAMPLES = 2000

Codes = NDArray[np.intp]


@dataclass(frozen=True)
class LongTail:
    """Training pictures whose classes fall off exponentially, and equally many held-out ones of each class.

    `classes` are the subclasses, most frequent first, and `sizes` how many training pictures each has.
    """

    training: tuple[LabelledPicture, ...]
    held_out: tuple[LabelledPicture, ...]
    classes: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def rare(self) -> frozenset[str]:
        """The third of the classes with the fewest pictures."""
        return frozenset(self.classes[-max(1, round(RARE_SHARE * len(self.classes))) :])


def long_tail(pictures: Sequence[LabelledPicture], *, ratio: float, held_out: int, seed: int) -> LongTail:
    """Draw a long-tailed version: class k of K has `ratio` ** (-k / (K - 1)) times the pictures of class 0.

    The profile is that of Cui et al. (CVPR 2019, section 5.1). Which classes are rare is drawn by `seed`; the largest
    has as many pictures as the largest class of the data has left, and a class with fewer than its place asks for gives
    all it has. Every class keeps one. Nothing is learned from a group of which a picture is held out, unless there is
    no other.
    """
    by_class: dict[str, list[LabelledPicture]] = defaultdict(list)
    for picture in pictures:
        if picture.superclass is not None and picture.subclass is not None:
            by_class[picture.subclass].append(picture)
    few = sorted(name for name, members in by_class.items() if len(members) <= held_out)
    if few or len(by_class) < 2:
        raise SystemExit(f"a long tail needs two classes with more than {held_out} pictures each; too few in: {few}")
    random = np.random.default_rng(seed)
    order = random.permutation(sorted(by_class)).tolist()
    most = max(map(len, by_class.values())) - held_out
    training: list[LabelledPicture] = []
    apart: list[LabelledPicture] = []
    sizes: dict[str, int] = {}
    for place, name in enumerate(order):
        members = sorted(by_class[name], key=lambda picture: picture.path)
        members = [members[index] for index in random.permutation(len(members))]
        wanted = max(1, round(most * ratio ** (-place / (len(order) - 1))))
        held = {picture.group for picture in members[:held_out]} - {None}
        rest = [picture for picture in members[held_out:] if picture.group not in held] or members[held_out:]
        kept = rest[:wanted]
        sizes[name] = len(kept)
        apart += members[:held_out]
        training += kept
    classes = sorted(order, key=lambda name: -sizes[name])
    return LongTail(tuple(training), tuple(apart), tuple(classes), tuple(sizes[name] for name in classes))


def write_csv(pictures: Sequence[LabelledPicture], path: Path) -> Path:
    """Labelled data that phototag reads; the pictures stay where they lie."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, GROUP_COLUMN])
        writer.writerows((absolute(each.path), each.superclass, each.subclass, each.group) for each in pictures)
    return path


@dataclass(frozen=True)
class Answers:
    """Truth and predicted subclass [N] of the held-out pictures as numbers, and which of the classes are rare [C]."""

    truth: Codes
    predicted: Codes
    rare: NDArray[np.bool_]

    @property
    def macro_f1(self) -> float:
        """Mean over the classes; a class that was never right has 0."""
        return _macro_f1(self.truth, self.predicted, len(self.rare))

    @property
    def rare_recall(self) -> float:
        """Mean recall of the rare classes."""
        of_rare = self.rare[self.truth]
        return float((self.truth == self.predicted)[of_rare].mean())

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float((self.truth == self.predicted).mean())


def _macro_f1(truth: Codes, predicted: Codes, classes: int) -> float:
    right = np.bincount(truth[truth == predicted], minlength=classes)
    both = np.bincount(truth, minlength=classes) + np.bincount(predicted, minlength=classes)
    return float(np.mean(2 * right / np.maximum(both, 1)))


@dataclass(frozen=True)
class Gain:
    """By how much macro-F1 is higher, the mean over the seeds, with its 95 % interval."""

    mean: float
    low: float
    high: float


def gain(subject: Sequence[Answers], other: Sequence[Answers]) -> Gain:
    """The gain of one strategy over another on the same pictures, seed by seed, by a paired bootstrap.

    Each resample draws seeds and, in each, the pictures of every class anew, the same for both strategies: the interval
    holds both what other rare classes and what other held-out pictures would change.
    """
    random = np.random.default_rng(0)
    resampled = np.stack([_resampled(one, two, random) for one, two in zip(subject, other, strict=True)])
    drawn = random.integers(len(resampled), size=resampled.shape)
    means = np.take_along_axis(resampled, drawn, axis=0).mean(axis=0)
    low, high = np.quantile(means, [0.025, 0.975]).tolist()
    each = [one.macro_f1 - two.macro_f1 for one, two in zip(subject, other, strict=True)]
    return Gain(float(np.mean(each)), low, high)


def _resampled(one: Answers, two: Answers, random: np.random.Generator) -> NDArray[np.float64]:
    members = [np.flatnonzero(one.truth == label) for label in range(len(one.rare))]
    found = np.empty(_RESAMPLES)
    for index in range(_RESAMPLES):
        rows = np.concatenate([random.choice(group, len(group)) for group in members])
        truth, classes = one.truth[rows], len(one.rare)
        found[index] = _macro_f1(truth, one.predicted[rows], classes) - _macro_f1(truth, two.predicted[rows], classes)
    return found
