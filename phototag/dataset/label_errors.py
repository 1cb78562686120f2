"""Find labels that are likely wrong, and pictures that look like no class: by features, without any training.

Confident learning (Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70,
2021): each picture is scored by a classifier that had not learned from it; where another class is as probable as it is
for that class's own pictures, the label is likely wrong. The classifier is linear discriminant analysis on principal
components of the features: nothing is iterated, and it finds as much as logistic heads that take thirty times as long
(docs/experiments.md#label-errors).

Folds are of single pictures here, not of series: that others of its series bear the label of another class is the
best evidence that a label is wrong. So a series of which all labels are wrong is not found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phototag.dataset.grouping import Labels, dealt_folds

Floats = NDArray[np.float32]

_FOLDS = 5
_COMPONENTS = 256
_MOST_FOR_COMPONENTS = 10_000
# How much of the covariance within classes gives way to that of a ball, as small classes cannot tell it.
_SHRINKAGE = 0.2
_TEMPERATURES = np.geomspace(0.5, 500, 48)
_MOST_FOR_TEMPERATURE = 5_000
# Where a class is never probable, as the features do not tell classes apart, its mean is no evidence.
_LEAST_CONFIDENCE = 0.5
# Modified z-score beyond which a value is an outlier: Iglewicz & Hoaglin, "How to Detect and Handle Outliers", 1993.
_OUTLIER = 3.5
_MAD_TO_DEVIATION = 1.4826
# So many labels, and so large a share, have to be likely wrong to be spoken of without being asked.
_MANY = 10
_MANY_SHARE = 0.03


@dataclass(frozen=True)
class LabelErrors:
    """What features say of labels.

    Attributes:
        suggested: The most probable other class [N] of each picture.
        margins: Probability of the label, less that of the suggested class [N]; 1 where nothing could be told.
        wrong: The pictures whose labels are likely wrong, the worst first: as many as confident learning estimates.
        far: Pictures that are far from every class, the farthest first; none of `wrong`.
        distances: How far each picture is from the nearest class [N], in robust standard deviations from the median
            distance to the own class.
    """

    suggested: Labels
    margins: NDArray[np.float64]
    wrong: Labels
    far: Labels
    distances: NDArray[np.float64]

    @property
    def many(self) -> bool:
        """Whether so many labels are likely wrong that it is worth to look at them first."""
        return len(self.wrong) >= max(_MANY, _MANY_SHARE * len(self.margins))


def find_label_errors(features: Floats, labels: Labels, *, seed: int = 0) -> LabelErrors:
    """Return what features [N, D] say of labels [N].

    The picture of a class with no other is not told of. The number of wrong labels is the off-diagonal sum of the
    calibrated joint distribution of given and true labels (JAIR 2021, equation 3), the ranking is by normalised margin
    (section 3.2 there), and a threshold is the mean probability of a class over its own pictures (equation 2).
    """
    names, given = np.unique(labels, return_inverse=True)
    given = given.astype(np.intp)
    classes, count = len(names), len(given)
    suggested, margins, distances = labels.copy(), np.ones(count), np.zeros(count)
    folds = dealt_folds(given, np.arange(count), folds=_FOLDS, seed=seed)
    told = np.flatnonzero(folds >= 0)
    if classes < 2 or not len(told):
        return LabelErrors(suggested, margins, told[:0], told[:0], distances)
    rows, own = np.arange(len(told)), given[told]
    squares = _squared_distances(_components(features), given, folds, classes)[told]
    distances[told] = _deviations(squares, squares[rows, own])
    probabilities = _calibrated(squares / np.float32(-2), own, seed)
    errors = _estimated_errors(probabilities, own, classes)
    of_labels = probabilities[rows, own]
    probabilities[rows, own] = -1
    suggested[told] = names[probabilities.argmax(axis=1)]
    margins[told] = of_labels - probabilities.max(axis=1)
    wrong = np.argsort(margins, kind="stable")[:errors]
    wrong = wrong[margins[wrong] < 0]
    far = np.argsort(-distances, kind="stable")[: int((distances > _OUTLIER).sum())]
    return LabelErrors(suggested, margins, wrong, far[~np.isin(far, wrong)], distances)


def _deviations(squares: Floats, own: Floats) -> NDArray[np.float64]:
    """Return how far pictures are from the nearest class [N], by squared distances [N, K] and those to their own [N].

    The unit is a robust standard deviation of the logarithm, from the median of distances to the own class.
    """
    usual, nearest = (np.log(np.maximum(each, 1e-9).astype(np.float64)) for each in (own, squares.min(axis=1)))
    median = np.median(usual)
    spread = _MAD_TO_DEVIATION * float(np.median(np.abs(usual - median)))
    result: NDArray[np.float64] = (nearest - median) / max(spread, 1e-9)
    return result


def _components(features: Floats) -> NDArray[np.float64]:
    """Return the largest principal components [N, P] of features [N, D], by some of the rows of many."""
    mean = features.mean(axis=0, dtype=np.float64)
    centred = features[:: 1 + len(features) // _MOST_FOR_COMPONENTS] - mean
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, : min(_COMPONENTS, *features.shape)]
    result: NDArray[np.float64] = (features @ axes.astype(np.float32)).astype(np.float64) - mean @ axes
    return result


def _squared_distances(inputs: NDArray[np.float64], labels: Labels, folds: Labels, classes: int) -> Floats:
    """Return the squared Mahalanobis distance [N, K] of each picture from each class, by the other folds' pictures."""
    result = np.zeros((len(labels), classes), dtype=np.float32)
    for fold in range(_FOLDS):
        held = folds == fold
        learned, truth = inputs[~held], labels[~held]
        means = np.zeros((classes, inputs.shape[1]))
        np.add.at(means, truth, learned)
        means /= np.bincount(truth, minlength=classes)[:, None]
        rest = learned - means[truth]
        covariance = rest.T @ rest / max(len(rest) - classes, 1)
        ball = np.trace(covariance) / len(covariance)
        covariance = (1 - _SHRINKAGE) * covariance + (_SHRINKAGE * ball + 1e-9) * np.eye(len(covariance))
        whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T
        seen, centres = inputs[held] @ whitening, means @ whitening
        result[held] = np.square(seen).sum(axis=1)[:, None] - 2 * seen @ centres.T + np.square(centres).sum(axis=1)
    return result


def _calibrated(logits: Floats, labels: Labels, seed: int) -> Floats:
    """Return probabilities [N, K] at the temperature of the greatest likelihood."""
    rows = np.random.default_rng(seed).permutation(len(labels))[:_MOST_FOR_TEMPERATURE]

    def loss(temperature: float) -> float:
        of_labels = _softmax(logits[rows] / np.float32(temperature))[np.arange(len(rows)), labels[rows]]
        return float(-np.log(np.maximum(of_labels, 1e-12)).mean())

    return _softmax(logits / np.float32(min(_TEMPERATURES, key=loss)))


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


def _estimated_errors(probabilities: Floats, labels: Labels, classes: int) -> int:
    """Return how many of the labels [N] are likely wrong by probabilities [N, K] of pictures that were held out."""
    sizes = np.bincount(labels, minlength=classes)
    own = np.bincount(labels, weights=probabilities[np.arange(len(labels)), labels], minlength=classes)
    confident = probabilities >= np.maximum(own / np.maximum(sizes, 1), _LEAST_CONFIDENCE)
    counted = confident.any(axis=1)
    found = np.where(confident, probabilities, -1).argmax(axis=1)
    every = np.bincount(labels[counted], minlength=classes)
    wrong = np.bincount(labels[counted & (found != labels)], minlength=classes)
    # Pictures of which nothing is sure are taken to be like the others of their class.
    return round(float((sizes * wrong / np.maximum(every, 1)).sum()))
