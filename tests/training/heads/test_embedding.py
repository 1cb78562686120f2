"""The embedding: the known classes are round and of unit variance in it, and distances are Mahalanobis distances."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from phototag.model.linear import Embedding
from phototag.training.heads.embedding import MOST_AXES, extend_embedding, fit_embedding

Floats = NDArray[np.float32]
Labels = NDArray[np.intp]


def clusters(
    classes: int, each: int, width: int, *, seed: int = 0, apart: float = 4.0, stretched: bool = True
) -> tuple[Floats, Labels]:
    """Features [classes * each, width] about class means, correlated and on scales of their own, with their labels."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    mixing = np.eye(width) + 0.3 * random.normal(size=(width, width)) if stretched else np.eye(width)
    scales = np.geomspace(0.01, 100, width) if stretched else np.ones(width)
    means = random.normal(size=(classes, width)) * apart
    points = (means[labels] + random.normal(size=(len(labels), width))) @ mixing * scales + 5
    return points.astype(np.float32), labels.astype(np.intp)


def shrunken(features: Floats, labels: Labels) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Standardised features, class means and shrunken covariance within the classes, in the plainest way."""
    points = (features.astype(np.float64) - features.mean(0, dtype=np.float64)) / features.std(0, dtype=np.float64)
    means = np.stack([points[labels == label].mean(0) for label in range(labels.max() + 1)])
    within = points - means[labels]
    covariance = within.T @ within / len(points)
    size = len(covariance)
    return points, means, 0.8 * covariance + 0.2 * np.trace(covariance) / size * np.eye(size)


def finite(embedding: Embedding) -> bool:
    arrays = (embedding.weight, embedding.bias, embedding.space.means, embedding.space.spread)
    return all(bool(np.isfinite(array).all()) for array in arrays)


@pytest.mark.parametrize("filled", [True, False])
def test_axes_are_uncorrelated_and_of_unit_variance_within_the_classes(filled: bool) -> None:
    features, labels = clusters(6, 60, 12)
    embedding = fit_embedding(features, labels, classes=6, filled=filled)
    _, _, covariance = shrunken(features, labels)
    # In standardised features the map is weight * scale.
    axes = embedding.weight.astype(np.float64) * features.std(0, dtype=np.float64)
    np.testing.assert_allclose(axes @ covariance @ axes.T, np.eye(len(axes)), atol=1e-3)
    assert len(axes) == (12 if filled else 5)


def test_variance_of_pictures_within_their_classes_is_about_one() -> None:
    features, labels = clusters(5, 400, 8, stretched=False)
    embedding = fit_embedding(features, labels, classes=5)
    placed = embedding(features) - embedding.space.means[labels]
    np.testing.assert_allclose(placed.var(axis=0), 1, atol=0.1)


def test_distances_are_mahalanobis_distances_of_the_shrunken_covariance() -> None:
    features, labels = clusters(4, 50, 10)
    embedding = fit_embedding(features, labels, classes=4)
    points, means, covariance = shrunken(features, labels)
    inverse = np.linalg.inv(covariance)
    apart = points[:, None] - means[None]
    wanted = np.einsum("ncd,de,nce->nc", apart, inverse, apart)
    np.testing.assert_allclose(embedding.space.squared_distances(embedding(features)), wanted, rtol=2e-2, atol=0.05)


def test_differences_of_distances_need_the_discriminant_axes_only() -> None:
    features, labels = clusters(4, 50, 10)
    full = fit_embedding(features, labels, classes=4)
    bare = fit_embedding(features, labels, classes=4, filled=False)
    assert bare.weight.shape == (3, 10)
    distances = [each.space.squared_distances(each(features)) for each in (full, bare)]
    margins = [of - of[:, :1] for of in distances]
    np.testing.assert_allclose(margins[0], margins[1], rtol=1e-2, atol=0.05)


def test_means_are_those_of_the_embedded_pictures_about_the_middle_of_all() -> None:
    features, labels = clusters(5, 30, 9)
    embedding = fit_embedding(features, labels, classes=5)
    placed = embedding(features)
    np.testing.assert_allclose(placed.mean(axis=0), 0, atol=1e-2)
    for label in range(5):
        np.testing.assert_allclose(placed[labels == label].mean(axis=0), embedding.space.means[label], atol=2e-2)


def test_spread_is_the_variance_of_all_pictures() -> None:
    features, labels = clusters(5, 300, 6, stretched=False)
    embedding = fit_embedding(features, labels, classes=5)
    np.testing.assert_allclose(embedding.space.spread, embedding(features).var(axis=0), rtol=0.15)
    assert (embedding.space.spread >= 1).all()


def test_few_classes_are_filled_up_to_128_axes_and_many_stop_there() -> None:
    features, labels = clusters(2, 120, 200, stretched=False)
    assert fit_embedding(features, labels, classes=2).weight.shape == (128, 200)
    features, labels = clusters(150, 3, 200, stretched=False)
    assert fit_embedding(features, labels, classes=150).weight.shape == (MOST_AXES, 200)


def test_unknown_class_shows_beyond_the_axes_that_tell_the_known_ones_apart() -> None:
    features, labels = clusters(2, 200, 16, stretched=False)
    direction = np.zeros(16, dtype=np.float32)
    direction[np.argmin(np.abs(np.subtract(*(features[labels == label].mean(0) for label in range(2)))))] = 15
    embedding = fit_embedding(features, labels, classes=2)
    near, far = (embedding.space.squared_distances(embedding(each)).min(1) for each in (features, features + direction))
    assert np.median(far) > 3 * np.median(near)


def test_same_pictures_give_the_same_embedding() -> None:
    features, labels = clusters(4, 20, 30)
    one, other = (fit_embedding(features, labels, classes=4) for _ in range(2))
    assert one.weight.tobytes() == other.weight.tobytes()
    assert one.space.means.tobytes() == other.space.means.tobytes()


def test_class_without_pictures_is_near_nothing() -> None:
    features, labels = clusters(4, 40, 8)
    embedding = fit_embedding(features, np.where(labels >= 2, labels + 1, labels), classes=5)
    assert finite(embedding)
    strangers = np.random.default_rng(1).normal(0, 50, (200, 8)).astype(np.float32) * features.std(0) + features.mean(0)
    for pictures in (features, strangers):
        assert 2 not in embedding.space.squared_distances(embedding(pictures)).argmin(axis=1)
    plain = fit_embedding(features, labels, classes=4)
    distances = embedding.space.squared_distances(embedding(features))
    wanted = plain.space.squared_distances(plain(features))
    np.testing.assert_allclose(np.delete(distances, 2, axis=1), wanted, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(embedding.space.spread, plain.space.spread, rtol=1e-4)


@pytest.mark.parametrize(
    "features",
    [
        pytest.param(np.zeros((6, 5), np.float32), id="all alike"),
        pytest.param(np.repeat(np.eye(3, 5, dtype=np.float32), 2, axis=0), id="no variance within classes"),
        pytest.param(np.tile(np.arange(6, dtype=np.float32)[:, None], (1, 5)), id="one direction"),
        pytest.param(np.eye(6, 400, dtype=np.float32) * 1e4, id="far more features than pictures"),
        pytest.param(np.arange(6, dtype=np.float32)[:, None], id="one feature"),
        pytest.param(np.full((6, 5), 1e-20, np.float32) * np.arange(6, dtype=np.float32)[:, None], id="tiny"),
    ],
)
def test_degenerate_pictures_give_a_finite_embedding(features: Floats) -> None:
    for labels, classes in ((np.array([0, 0, 1, 1, 2, 2]), 3), (np.zeros(6, np.intp), 1), (np.arange(6), 6)):
        embedding = fit_embedding(features, labels.astype(np.intp), classes=classes)
        assert finite(embedding)
        assert embedding(features).shape == (6, len(embedding.space.spread))
        assert np.isfinite(embedding.space.squared_distances(embedding(features))).all()


def test_classes_that_are_added_move_no_picture_and_take_no_class_away_from_its_own() -> None:
    features, labels = clusters(6, 40, 12)
    old = labels < 4
    parent = fit_embedding(features[old], labels[old], classes=4)
    moved, renamed = np.array([1, 2, 4, 5]), np.array([1, 2, 4, 5, 0, 3])
    placed = renamed[labels]
    extended = extend_embedding(parent, features, placed, classes=6, moved=moved, learned=np.array([0, 3]))
    points = extended(features)
    np.testing.assert_array_equal(points, parent(features))
    np.testing.assert_array_equal(extended.space.means[moved], parent.space.means)
    np.testing.assert_array_equal(extended.space.spread, parent.space.spread)
    before, after = parent.space.squared_distances(points), extended.space.squared_distances(points)
    assert (after.min(axis=1) <= before.min(axis=1) + 1e-6).all()
    assert (after[~old].argmin(axis=1) == placed[~old]).mean() > 0.9


def test_class_with_new_pictures_lies_in_the_middle_of_all_its_pictures() -> None:
    features, labels = clusters(3, 30, 6)
    parent = fit_embedding(features[::2], labels[::2], classes=3)
    extended = extend_embedding(parent, features, labels, classes=3, moved=np.arange(3), learned=np.array([1]))
    middle = extended(features)[labels == 1].mean(axis=0)
    np.testing.assert_allclose(extended.space.means[1], middle, rtol=1e-5)
    np.testing.assert_array_equal(extended.space.means[[0, 2]], parent.space.means[[0, 2]])
