"""How good tags are, measured against the truth at both levels and over the hierarchy.

What counts as what:

- A label is (superclass, subclass). (None, None) means none of the known classes, (s, None) none of the
  known subclasses of s: an empty truth is a statement, not a gap. So a label given where the truth is empty
  is a false positive of the class given, and one node too many in the hierarchical metrics.
- Accuracy at a level, recall and calibration are over the photos whose truth has a label at that level. A
  tag that backs off is wrong there. `*_precision_given` is over the photos that got a label at that level
  instead, and a photo whose truth is empty there counts as wrong.
- Subclasses are compared in full: "bird/rooster" is not "dog/rooster". A subclass may be written in full
  already; that, or a taxonomy, is how a tag says that its subclass lies under another superclass than the
  one it names.
- A number that cannot be known (no photo to take it over) is None, never NaN and never 0.

`Metrics` describes each number. Sources: Kiritchenko, Matwin, Nock & Famili 2006, "Learning and evaluation
in the presence of class hierarchies", and Silla & Freitas 2011, "A survey of hierarchical classification
across different application domains" (hierarchical precision, recall, F1); Bertinetto et al., CVPR 2020,
"Making better mistakes" (distance, severity); Guo et al., ICML 2017, "On calibration of modern neural
networks" (ECE).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from phototag.errors import UsageError
from phototag.taxonomy import Taxonomy

Label: TypeAlias = tuple[str | None, str | None]
"""(superclass, subclass); see the top of the module for what None means."""

NONE = "none"
"""How an empty label is written in a confusion matrix; "(none)" if a class bears this very name."""

_Codes: TypeAlias = NDArray[np.intp]
_Mask: TypeAlias = NDArray[np.bool_]
_Floats: TypeAlias = NDArray[np.float64]
_DENSE_LABELS = 200
_TOP = 5
_BINS = 15
_SCORE_SLACK = 1e-4  # float32 probabilities may sum to a little more than 1


@dataclass(frozen=True, slots=True)
class Prediction:
    """One photo with its truth and its tag.

    The scores are probabilities of the best superclass and of the best subclass, also when the tag backs
    off. `top_subclasses` are up to five candidates, best first, whatever the tag says; empty when unknown.
    `heads` is the best class of each head on its own, before the two were decoded together.

    Raises:
        UsageError: a label has a subclass but no superclass, a name is empty, or a score is no probability.
    """

    truth: Label
    predicted: Label
    superclass_score: float | None = None
    subclass_score: float | None = None
    top_subclasses: tuple[str, ...] = ()
    heads: Label | None = None

    def __post_init__(self) -> None:
        _check_label(self.truth, "truth")
        _check_label(self.predicted, "prediction")
        if self.heads is not None:
            _check_label(self.heads, "pair of heads")
        superclass, subclass = self.truth
        if subclass is not None and "/" in subclass and subclass.partition("/")[0] != superclass:
            raise UsageError(f"truth {self.truth!r}: the subclass lies under another superclass")
        for score in (self.superclass_score, self.subclass_score):
            if score is not None and not -_SCORE_SLACK <= score <= 1 + _SCORE_SLACK:
                raise UsageError(f"score {score!r} is no probability")


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class: precision = hits / predicted, recall = hits / support, F1 = 2 hits / (predicted + support).

    `support` counts the photos that are of the class, `predicted` those that were given it. Precision is
    None for a class that was never given, recall for one that never occurs. Subclasses are named in full.
    """

    name: str
    precision: float | None
    recall: float | None
    f1: float
    support: int
    predicted: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """Which class was predicted as which. `labels` are sorted; None, if an empty label occurs, comes last.

    `cells` are the counts that are not zero as (index of the truth, index of the prediction, photos), in
    that order.
    """

    labels: tuple[str | None, ...]
    cells: tuple[tuple[int, int, int], ...]

    @property
    def names(self) -> list[str]:
        """The labels with the empty one in words."""
        none = f"({NONE})" if NONE in self.labels else NONE
        return [none if label is None else label for label in self.labels]

    def matrix(self) -> NDArray[np.int64]:
        """Return the counts as [truth, prediction]."""
        dense = np.zeros((len(self.labels), len(self.labels)), dtype=np.int64)
        for truth, predicted, count in self.cells:
            dense[truth, predicted] = count
        return dense

    def to_json(self) -> dict[str, Any]:
        """Return `labels` and `matrix`, or, with more than 200 labels, `cells` instead of a huge matrix."""
        if len(self.labels) > _DENSE_LABELS:
            return {"labels": self.names, "cells": [list(cell) for cell in self.cells]}
        return {"labels": self.names, "matrix": self.matrix().tolist()}


@dataclass(frozen=True, slots=True)
class Metrics:
    """How right tags are on photos of which the truth is known. A number without a photo to take it over is None.

    - `*_macro_*`: mean over the classes that occur in the truth; one that was never given has precision 0
      here. Macro F1 is the mean of the F1s, not the F1 of the means.
    - `subclass_top5_accuracy`: share of photos with the right subclass among the candidates, over the
      photos whose truth has a subclass and whose candidates are known, whether or not the tag backed off.
    - `*_ece`: expected calibration error, 15 equal bins, over the photos that have a score, a label and a
      truth there.
    - `*_coverage`: share of all photos that got a label; `*_precision_given`: how many of those labels are
      right.
    - `hierarchical_precision`, `_recall`, `_f1`: with P and T the predicted and the true nodes of a photo
      with their ancestors, root excluded, sums over all photos: `|P and T| / |P|`, `|P and T| / |T|`, their
      harmonic mean. A pair that contradicts itself has the nodes of both its halves.
    - `hierarchical_sample_*`: the mean of the photos' own values; both sets empty: 1, only one empty: 0.
    - `hierarchical_distance`: mean height of the lowest common ancestor of truth and tag. 0: exactly right.
      1: the superclass is right, the subclass wrong, missing or too much. 2: anything else, also no label
      where there should be one, and a label where there should be none. `mistake_severity`: the same over
      the photos that are not exactly right.
    - `inconsistent_share`: share of the photos with `heads` whose pair contradicts the taxonomy.
    - `novel_photos`: photos without a true subclass. `novel_superclass_rejected`: share of the photos
      without a true superclass that got no label; `novel_subclass_rejected`: share of those with only a
      true superclass that got no subclass.

    >>> metrics = phototag.evaluate("truth", model="animals")
    >>> metrics.scalars()["subclass_accuracy"] == metrics.subclass_accuracy, metrics.photos
    (True, 2)
    """

    photos: int
    novel_photos: int
    superclass_accuracy: float | None
    subclass_accuracy: float | None
    subclass_top5_accuracy: float | None
    superclass_macro_precision: float | None
    superclass_macro_recall: float | None
    superclass_macro_f1: float | None
    subclass_macro_precision: float | None
    subclass_macro_recall: float | None
    subclass_macro_f1: float | None
    hierarchical_precision: float | None
    hierarchical_recall: float | None
    hierarchical_f1: float | None
    hierarchical_sample_precision: float | None
    hierarchical_sample_recall: float | None
    hierarchical_sample_f1: float | None
    hierarchical_distance: float | None
    mistake_severity: float | None
    inconsistent_share: float | None
    superclass_ece: float | None
    subclass_ece: float | None
    superclass_coverage: float | None
    subclass_coverage: float | None
    superclass_precision_given: float | None
    subclass_precision_given: float | None
    novel_superclass_rejected: float | None
    novel_subclass_rejected: float | None
    superclasses: tuple[ClassScores, ...]
    subclasses: tuple[ClassScores, ...]
    superclass_confusion: Confusion
    subclass_confusion: Confusion

    def scalars(self) -> dict[str, float | None]:
        """Return the single numbers by name; the first two are counts."""
        return {name: getattr(self, name) for name in SCALARS}

    def to_json(self) -> dict[str, Any]:
        """Return the scalars by name, then the lists of classes and the confusion matrices."""
        return {
            **self.scalars(),
            "superclasses": [asdict(scores) for scores in self.superclasses],
            "subclasses": [asdict(scores) for scores in self.subclasses],
            "superclass_confusion": self.superclass_confusion.to_json(),
            "subclass_confusion": self.subclass_confusion.to_json(),
        }


_DETAILS = {"superclasses", "subclasses", "superclass_confusion", "subclass_confusion"}
SCALARS = tuple(field.name for field in fields(Metrics) if field.name not in _DETAILS)
"""The names of the single numbers, in the order they are reported."""


@dataclass(frozen=True, slots=True)
class _Level:
    """One level of N photos: `truth` and `predicted` [N] index `names` or are -1; `scores` [N] may be NaN."""

    names: tuple[str, ...]
    truth: _Codes
    predicted: _Codes
    scores: _Floats


def measure(predictions: Sequence[Prediction], *, taxonomy: Taxonomy | None = None) -> Metrics:
    """Compare tags with the truth.

    `taxonomy` is the one of the model that gave the tags: it says where a predicted subclass lies, and
    whether the heads contradict each other. The truth may name classes it does not know.

    Raises:
        UsageError: there are no photos.
    """
    if not predictions:
        raise UsageError("there are no photos to evaluate")
    parents = {} if taxonomy is None else {name: taxonomy.parent(name) for name in taxonomy.subclasses}
    truths = [_in_full(photo.truth, {}) for photo in predictions]
    tags = [_in_full(photo.predicted, parents) for photo in predictions]
    top = _level(
        [photo.truth[0] for photo in predictions],
        [photo.predicted[0] for photo in predictions],
        [photo.superclass_score for photo in predictions],
    )
    sub = _level(truths, tags, [photo.subclass_score for photo in predictions])
    # What the predicted subclass says of the superclass; one that occurs nowhere else gets a new number.
    position = {name: index for index, name in enumerate(top.names)}
    implied = _codes([None if tag is None else tag.partition("/")[0] for tag in tags], position)

    top_classes, sub_classes = _class_scores(top), _class_scores(sub)
    novel_top, novel_sub = top.truth < 0, (top.truth >= 0) & (sub.truth < 0)
    return Metrics(
        photos=len(predictions),
        novel_photos=int((sub.truth < 0).sum()),
        **_level_scalars("superclass", top, top_classes),
        **_level_scalars("subclass", sub, sub_classes),
        subclass_top5_accuracy=_top_accuracy(predictions, truths, parents),
        **_hierarchical_scalars(top, sub, implied),
        inconsistent_share=None if taxonomy is None else _inconsistent_share(predictions, parents),
        novel_superclass_rejected=_share(top.predicted < 0, novel_top),
        novel_subclass_rejected=_share(sub.predicted < 0, novel_sub),
        superclasses=top_classes,
        subclasses=sub_classes,
        superclass_confusion=_confusion(top),
        subclass_confusion=_confusion(sub),
    )


def expected_calibration_error(scores: _Floats, right: _Mask, *, bins: int = _BINS) -> float | None:
    """Return the mean gap between confidence and accuracy over equally wide bins, weighted by their photos.

    `scores` [N] are the probabilities of the labels given, in [0, 1], `right` [N] says which labels are
    right. Bin m holds ((m - 1) / bins, m / bins], the first one 0 as well (Guo et al. 2017, equation 3).
    None without photos.
    """
    if not len(scores):
        return None
    edges = np.arange(1, bins) / bins
    which = np.searchsorted(edges, scores, side="left")
    gaps = np.bincount(which, weights=right.astype(np.float64) - scores)
    return float(np.abs(gaps).sum() / len(scores))


def _check_label(label: Label, what: str) -> None:
    superclass, subclass = label
    if superclass is None and subclass is not None:
        raise UsageError(f"{what} {label!r} has a subclass but no superclass")
    if superclass == "" or subclass == "":
        raise UsageError(f"{what} {label!r} has an empty name; write None for no class")
    if superclass is not None and "/" in superclass:
        raise UsageError(f"{what} {label!r}: a superclass holds no slash")
    if subclass is not None and "/" in subclass and (subclass.count("/") > 1 or "" in subclass.split("/")):
        raise UsageError(f"{what} {label!r}: a subclass in full is written superclass/subclass")


def _in_full(label: Label, parents: Mapping[str, str]) -> str | None:
    """Return the subclass as "bird/rooster", placed by `parents`, else by the label itself."""
    superclass, subclass = label
    if subclass is None or "/" in subclass:
        return subclass
    return f"{parents.get(subclass, superclass)}/{subclass}"


def _codes(names: Sequence[str | None], position: Mapping[str, int]) -> _Codes:
    """Return positions of the names; -1 for None, the next free number for a name that has no position."""
    lookup: dict[str | None, int] = {None: -1}
    lookup.update(position)
    return np.fromiter((lookup.get(name, len(position)) for name in names), dtype=np.intp, count=len(names))


def _level(truth: Sequence[str | None], predicted: Sequence[str | None], scores: Sequence[float | None]) -> _Level:
    names = tuple(sorted({name for name in (*truth, *predicted) if name is not None}))
    position = {name: index for index, name in enumerate(names)}
    numbers = np.array([np.nan if score is None else score for score in scores], dtype=np.float64)
    return _Level(names, _codes(truth, position), _codes(predicted, position), numbers.clip(0, 1))


def _share(mask: _Mask, among: _Mask) -> float | None:
    """Return how many of the photos `among` are also in `mask`."""
    return float(mask[among].mean()) if among.any() else None


def _class_scores(level: _Level) -> tuple[ClassScores, ...]:
    size = len(level.names)
    right = (level.truth >= 0) & (level.truth == level.predicted)
    supports = np.bincount(level.truth[level.truth >= 0], minlength=size).tolist()
    given = np.bincount(level.predicted[level.predicted >= 0], minlength=size).tolist()
    hits = np.bincount(level.truth[right], minlength=size).tolist()
    return tuple(
        ClassScores(
            name=name,
            precision=hit / predicted if predicted else None,
            recall=hit / support if support else None,
            f1=2 * hit / (predicted + support),
            support=support,
            predicted=predicted,
        )
        for name, support, predicted, hit in zip(level.names, supports, given, hits, strict=True)
    )


def _level_scalars(prefix: str, level: _Level, classes: Sequence[ClassScores]) -> dict[str, float | None]:
    true, given = level.truth >= 0, level.predicted >= 0
    right = true & (level.truth == level.predicted)
    scored = true & given & ~np.isnan(level.scores)
    occurring = [scores for scores in classes if scores.support]

    def macro(values: list[float | None]) -> float | None:
        return sum(value or 0.0 for value in values) / len(values) if values else None

    return {
        f"{prefix}_accuracy": _share(right, true),
        f"{prefix}_macro_precision": macro([scores.precision for scores in occurring]),
        f"{prefix}_macro_recall": macro([scores.recall for scores in occurring]),
        f"{prefix}_macro_f1": macro([scores.f1 for scores in occurring]),
        f"{prefix}_ece": expected_calibration_error(level.scores[scored], right[scored]),
        f"{prefix}_coverage": float(given.mean()),
        f"{prefix}_precision_given": _share(right, given),
    }


def _hierarchical_scalars(top: _Level, sub: _Level, implied: _Codes) -> dict[str, float | None]:
    """Return metrics over the hierarchy; `implied` [N] is the superclass of the predicted subclass, -1 without one."""
    has_top, has_sub = top.truth >= 0, sub.truth >= 0
    sub_right = has_sub & (sub.truth == sub.predicted)
    top_hit = has_top & ((top.truth == top.predicted) | (top.truth == implied))
    shared = top_hit.astype(np.float64) + sub_right
    true = has_top.astype(np.float64) + has_sub
    extra = (implied >= 0) & (implied != top.predicted)
    given = (top.predicted >= 0).astype(np.float64) + (sub.predicted >= 0) + extra

    same_top = top.truth == top.predicted
    same = same_top & (sub.truth == sub.predicted) & ~extra
    heights = np.where(same, 0, np.where(same_top & has_top, 1, 2))
    return {
        "hierarchical_precision": _ratio(shared.sum(), given.sum()),
        "hierarchical_recall": _ratio(shared.sum(), true.sum()),
        # The harmonic mean of the two, written so that it also holds when one of them is undefined.
        "hierarchical_f1": _ratio(2 * shared.sum(), given.sum() + true.sum()),
        "hierarchical_sample_precision": _sample_mean(shared, given, when_empty=true == 0),
        "hierarchical_sample_recall": _sample_mean(shared, true, when_empty=given == 0),
        "hierarchical_sample_f1": _sample_mean(2 * shared, given + true, when_empty=np.ones_like(same)),
        "hierarchical_distance": float(heights.mean()),
        "mistake_severity": float(heights[~same].mean()) if not same.all() else None,
    }


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _sample_mean(parts: _Floats, wholes: _Floats, *, when_empty: _Mask) -> float:
    """Return the mean over the photos of part / whole; without a whole, 1 where `when_empty` [N] says so, else 0."""
    values = np.divide(parts, wholes, out=when_empty.astype(np.float64), where=wholes > 0)
    return float(values.mean())


def _top_accuracy(
    predictions: Sequence[Prediction], truths: Sequence[str | None], parents: Mapping[str, str]
) -> float | None:
    """Return the share with the truth among the candidates; without a taxonomy a short name fits any superclass."""
    right = total = 0
    for photo, truth in zip(predictions, truths, strict=True):
        if truth is None or not photo.top_subclasses:
            continue
        short = truth.partition("/")[2]
        total += 1
        right += any(
            name == truth if "/" in name else name == short and parents.get(name, photo.truth[0]) == photo.truth[0]
            for name in photo.top_subclasses[:_TOP]
        )
    return _ratio(right, total)


def _inconsistent_share(predictions: Sequence[Prediction], parents: Mapping[str, str]) -> float | None:
    pairs = [photo.heads for photo in predictions if photo.heads is not None]
    wrong = 0
    for superclass, subclass in pairs:
        if subclass is not None:
            place, _, name = subclass.rpartition("/")
            wrong += parents.get(name) != superclass or place not in ("", superclass)
    return _ratio(wrong, len(pairs))


def _confusion(level: _Level) -> Confusion:
    size = len(level.names)
    truth = np.where(level.truth < 0, size, level.truth)
    predicted = np.where(level.predicted < 0, size, level.predicted)
    keys, counts = np.unique(truth * (size + 1) + predicted, return_counts=True)
    cells = tuple(
        (key // (size + 1), key % (size + 1), count) for key, count in zip(keys.tolist(), counts.tolist(), strict=True)
    )
    has_none = bool(((truth == size) | (predicted == size)).any())
    return Confusion((*level.names, None) if has_none else level.names, cells)
