"""The embedding of a model: a linear map of features in which the known classes are round and of unit variance.

Linear discriminant analysis with a shrunken covariance; where there are few classes it is filled up, so that unknown
classes have room to show: with the directions in which pretraining classes differ most (`phototag.model.pretrained`),
or, where nothing is known of these, pictures beyond their classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from phototag.decision import PretrainingClasses, Space

if TYPE_CHECKING:
    from phototag.model import PretrainingPosteriors
from phototag.model import Embedding

MOST_AXES = 128
_FEWEST_AXES = 128
# Of the covariances towards a round one (Friedman, "Regularized discriminant analysis", JASA 1989):
# docs/experiments.md#shrinkage-of-covariances
_SHRINKAGE = 0.2
_OUT_OF_REACH = 1e4


def fit_embedding(
    features: NDArray[np.float32],
    labels: NDArray[np.intp],
    *,
    classes: int,
    filled: bool = True,
    posteriors: PretrainingPosteriors | None = None,
) -> Embedding:
    """Return the embedding of features [N, D] with labels [N], all below `classes`; `filled` up to 128 axes.

    A class without pictures is placed far from everything. With the `posteriors` of these pictures pretraining classes
    get their places too.
    """
    counts = np.bincount(labels, minlength=classes)
    scale = np.maximum(features.std(axis=0, dtype=np.float64), 1e-6)
    mean = features.mean(axis=0, dtype=np.float64)
    points = ((features - mean) / scale).astype(np.float32)
    means = np.zeros((classes, points.shape[1]))
    np.add.at(means, labels, points)
    means /= np.maximum(counts, 1)[:, None]
    within = _shrunken_covariance(points - means[labels].astype(np.float32))
    axes = _discriminant_axes(within, means * np.sqrt(counts / len(labels))[:, None])
    elsewhere = None if posteriors is None else posteriors.means(points)
    if filled:
        more = _further_axes(within, axes) if elsewhere is None else _pretraining_axes(within, axes, elsewhere)
        axes = np.concatenate([axes, more], axis=1)
    weight = axes.T / scale
    placed = means @ axes
    spread = 1 + counts @ placed**2 / len(labels)
    # In the middle of all others it would be the nearest class of anything novel.
    placed[counts == 0] = _OUT_OF_REACH
    pretraining = None
    if posteriors is not None and elsewhere is not None:
        pretraining = _pretraining_classes(elsewhere @ axes, posteriors, labels, counts)
    space = Space(placed.astype(np.float32), spread.astype(np.float32), pretraining)
    return Embedding(weight.astype(np.float32), (-weight @ mean).astype(np.float32), space)


def extend_embedding(
    embedding: Embedding,
    features: NDArray[np.float32],
    labels: NDArray[np.intp],
    *,
    classes: int,
    moved: NDArray[np.intp],
    learned: NDArray[np.intp],
    posteriors: PretrainingPosteriors | None = None,
) -> Embedding:
    """Return an embedding on the same axes with more classes, from features [N, D] with labels [N] of all classes.

    No picture moves, and a class without new pictures stays where it is, so no known class gets farther from its
    pictures.

    Args:
        embedding: What is extended.
        features: Of pictures of the old and the new classes.
        labels: All below `classes`.
        classes: How many there are now.
        moved: The new number [C] of each class of the embedding.
        learned: The classes whose means are taken from these pictures; the new ones among them.
        posteriors: What the classifier of the pretraining says of these pictures.
    """
    points, space = embedding.logits(features), embedding.space
    means = np.empty((classes, points.shape[1]), dtype=np.float32)
    means[moved] = space.means
    for label in learned:
        means[label] = points[labels == label].mean(axis=0)
    pretraining = None
    if posteriors is not None:
        middle = points.mean(axis=0)
        elsewhere = posteriors.means(points - middle) + middle
        pretraining = _pretraining_classes(elsewhere, posteriors, labels, np.bincount(labels, minlength=classes))
    return replace(embedding, space=Space(means, space.spread, pretraining))


def _pretraining_classes(
    means: NDArray[np.floating[Any]],
    posteriors: PretrainingPosteriors,
    labels: NDArray[np.intp],
    counts: NDArray[np.intp],
) -> PretrainingClasses:
    penalties = posteriors.distance_penalties(labels, counts)
    return PretrainingClasses(means.astype(np.float32), penalties.astype(np.float32))


def _shrunken_covariance(points: NDArray[np.float32]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = (points.T @ points).astype(np.float64) * ((1 - _SHRINKAGE) / len(points))
    # With one picture a class nothing varies within the classes.
    typical = np.trace(result) / len(result) or 1.0
    result[np.diag_indices_from(result)] += _SHRINKAGE / (1 - _SHRINKAGE) * max(typical, 1e-6)
    return result


def _discriminant_axes(within: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return axes [D, E] of unit variance within the classes, along which their means [C, D], weighted, differ most."""
    # Where the covariance within classes is the identity, they are the main components of the means.
    factor = np.linalg.cholesky(within)
    components, sizes, _ = np.linalg.svd(np.linalg.solve(factor, means.T), full_matrices=False)
    kept = (sizes > 1e-6 * max(sizes[0], 1e-12))[:MOST_AXES]
    result: NDArray[np.float64] = np.linalg.solve(factor.T, components[:, : len(kept)][:, kept])
    return result


def _further_axes(within: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return axes [D, E] of unit variance, uncorrelated with the others, that vary most within classes."""
    more = min(_FEWEST_AXES, len(within)) - axes.shape[1]
    if more <= 0:
        return np.zeros((len(within), 0))
    basis, _ = np.linalg.qr(within @ axes)
    rest = np.eye(len(within)) - basis @ basis.T
    variances, vectors = np.linalg.eigh(rest @ within @ rest)
    result: NDArray[np.float64] = rest @ vectors[:, ::-1][:, :more] / np.sqrt(variances[::-1][:more])
    return result


def _pretraining_axes(
    within: NDArray[np.float64], axes: NDArray[np.float64], means: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return axes [D, E] of unit variance, uncorrelated with the others, along which the means [K, D] differ most."""
    more = min(_FEWEST_AXES, len(within)) - axes.shape[1]
    if more <= 0:
        return np.zeros((len(within), 0))
    factor = np.linalg.cholesky(within)
    points = np.linalg.solve(factor, (means - means.mean(axis=0)).T).T
    basis = factor.T @ axes
    points -= points @ basis @ basis.T
    tall = points if points.shape[0] > points.shape[1] else points.T
    # Of two matrices with the same eigenvalues the smaller one: there may be a thousand classes and sixty features.
    values, vectors = np.linalg.eigh(tall.T @ tall)
    kept = (values[::-1] > 1e-9 * max(values[-1], 1e-12))[:more]
    components = vectors[:, ::-1][:, : len(kept)][:, kept]
    if tall is not points:
        components = points.T @ (components / np.sqrt(values[::-1][: len(kept)][kept]))
    result: NDArray[np.float64] = np.linalg.solve(factor.T, components)
    return result
