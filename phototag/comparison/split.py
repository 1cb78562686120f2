"""What a comparison of backbones is told to do, and which pictures serve for what."""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from phototag.dataset import LabelledData, LabelledPicture, split, training_taxonomy
from phototag.errors import DataError, UsageError
from phototag.object_storage import size_and_time
from phototag.paths import PhotoPath, absolute
from phototag.training import TrainingConfig

log = logging.getLogger(__name__)

FEWEST_FOR_NOVEL = 6
"""With fewer subclasses none is left out of the training to serve as novel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonConfig:
    """What is compared, and how.

    Attributes:
        backbones: Aliases or timm names; two or more.
        training: How each is trained; its backbone, seed and weights are replaced.
        weights: Files with pretrained weights by backbone, for those that have one.
        seeds: Trainings of each backbone, with seeds 0, 1, 2 ...
        test_fraction: Share of each class kept for the test.
        novel_fraction: Share of the subclasses left out of the training, to serve as novel.
    """

    backbones: tuple[str, ...]
    training: TrainingConfig = field(default_factory=TrainingConfig)
    weights: Mapping[str, Path] = field(default_factory=dict)
    seeds: int = 3
    test_fraction: float = 0.2
    novel_fraction: float = 0.1

    def __post_init__(self) -> None:
        unknown = sorted(set(self.weights) - set(self.backbones))
        checks = (
            (len(self.backbones) >= 2, "a comparison takes two backbones or more; repeat --backbone"),
            (self.seeds >= 1, "the number of seeds must be 1 or more"),
            (0 < self.test_fraction < 1, "the test fraction must lie between 0 and 1"),
            (0 <= self.novel_fraction < 1, "the share of novel subclasses must lie between 0 and 1"),
            (not unknown, f"weights are given for {', '.join(unknown)}, which is not among the backbones"),
        )
        for fine, problem in checks:
            if not fine:
                raise UsageError(problem)


@dataclass(frozen=True, slots=True)
class Parts:
    """Pictures to learn from, to test on, and of subclasses that no model learns: `novel_subclasses`, in full."""

    training: Sequence[LabelledPicture]
    test: Sequence[LabelledPicture]
    novel: Sequence[LabelledPicture]
    novel_subclasses: tuple[str, ...]


def divide(data: LabelledData, config: ComparisonConfig) -> Parts:
    """Divide labelled pictures in whole groups, the same way whenever data and fractions are the same.

    A class in one or two groups is learned and not tested; where all are, single pictures are divided, with a warning.

    Raises:
        DataError: a picture lacks a label, or a class has fewer than three pictures.
    """
    training_taxonomy(data)
    counts = Counter((picture.superclass or "", picture.subclass or "") for picture in data.pictures)
    novel = _novel_subclasses(sorted(counts), config.novel_fraction)
    rare = [f"{top}/{sub}" for (top, sub), count in counts.items() if count < 3 and (top, sub) not in novel]
    if rare:
        listed = ", ".join(rare[:10]) + (" and others" if len(rare) > 10 else "")
        raise DataError(
            f"{data.source}: fewer than three pictures of {listed}; "
            "a comparison needs one each to learn from, to choose by and to test on"
        )
    known = [picture for picture in data.pictures if (picture.superclass, picture.subclass) not in novel]
    training, test = _split(known, config.test_fraction)
    if not test:
        log.warning(
            "the pictures of each class are one or two series: how good models are on photos of other series cannot be "
            "told by them, and the figures are too good"
        )
        training, test = _split([replace(picture, group=None) for picture in known], config.test_fraction)
    left_out = [picture for picture in data.pictures if (picture.superclass, picture.subclass) in novel]
    unlabelled = [replace(picture, subclass=None) for picture in left_out]
    return Parts(training, test, unlabelled, tuple(sorted(f"{top}/{sub}" for top, sub in novel)))


def _split(pictures: Sequence[LabelledPicture], fraction: float) -> tuple[list[LabelledPicture], list[LabelledPicture]]:
    """Return training and test pictures by class; two groups of each stay for training, one of them for validation."""
    training, test = split(pictures, fraction=fraction, seed=0)
    left: dict[tuple[str | None, str | None], set[str | PhotoPath]] = defaultdict(set)
    for picture in training:
        left[picture.superclass, picture.subclass].add(_group_of(picture))
    back = set()
    for picture in test:
        groups = left[picture.superclass, picture.subclass]
        if len(groups) < 2:
            groups.add(_group_of(picture))
            back.add(_group_of(picture))
    return (
        [*training, *(picture for picture in test if _group_of(picture) in back)],
        [picture for picture in test if _group_of(picture) not in back],
    )


def _group_of(picture: LabelledPicture) -> str | PhotoPath:
    return picture.path if picture.group is None else picture.group


def _novel_subclasses(labels: Sequence[tuple[str, str]], fraction: float) -> set[tuple[str, str]]:
    """Return subclasses to leave out: every superclass and two subclasses in all stay."""
    if len(labels) < FEWEST_FOR_NOVEL or not fraction:
        return set()
    wanted = min(max(1, round(len(labels) * fraction)), len(labels) - 2)
    left = Counter(top for top, _ in labels)
    chosen: set[tuple[str, str]] = set()
    shuffled = list(labels)
    random.Random("novel").shuffle(shuffled)
    for top, sub in shuffled:
        if len(chosen) < wanted and left[top] > 1:
            left[top] -= 1
            chosen.add((top, sub))
    return chosen


def identity(parts: Parts) -> str:
    """Return SHA-256 of which pictures are in which part, by path, label, size and time of change."""
    digest = hashlib.sha256()
    for part in (parts.training, parts.test, parts.novel):
        for picture in part:
            try:
                state = [*size_and_time(picture.path)]
            except OSError:
                state = []
            digest.update(
                json.dumps([str(absolute(picture.path)), picture.superclass, picture.subclass, state]).encode()
            )
        digest.update(b"\n")
    return digest.hexdigest()
