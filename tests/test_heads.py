"""Linear heads on frozen features: the same as scikit-learn's logistic regression, and chosen by likelihood."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from phototag.learning.heads import PENALTIES, choose_head, class_weights, fit_head

Floats = NDArray[np.float32]
Labels = NDArray[np.intp]


def blobs(
    count: int = 300, *, classes: int = 4, width: int = 12, spread: float = 2.0, seed: int = 0
) -> tuple[Floats, Labels]:
    """Overlapping clouds of features of unlike scales, as a backbone's features are, with uneven classes."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    share = np.arange(1, classes + 1) / sum(range(1, classes + 1))
    labels = random.choice(classes, size=count, p=share)
    scales = np.geomspace(0.05, 5, width)
    features = (centres[labels] + random.normal(size=(count, width)) * spread) * scales + 3 * scales
    return features.astype(np.float32), labels.astype(np.intp)


def scaled(features: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The scaling of the documentation: half-way between raw and standardised features."""
    values = features.astype(np.float64)
    deviation = values.std(axis=0)
    typical = np.sqrt(np.mean(deviation**2))
    shift, scale = values.mean(axis=0), np.sqrt(deviation * typical)
    return (values - shift) / scale, shift, scale


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("penalty", [PENALTIES[0], PENALTIES[-1]])
def test_fit_agrees_with_scikit_learn_on_the_same_objective(penalty: float, balanced: bool) -> None:
    features, labels = blobs()
    unseen, _ = blobs(500, seed=1)
    inputs, shift, scale = scaled(features)
    oracle = LogisticRegression(
        C=1 / (len(labels) * penalty),
        class_weight="balanced" if balanced else None,
        max_iter=10_000,
        tol=1e-8,
    ).fit(inputs, labels)
    head = fit_head(features, labels, classes=4, penalty=penalty, balanced=balanced)
    ours, theirs = softmax(head.logits(unseen)), oracle.predict_proba((unseen - shift) / scale)
    np.testing.assert_allclose(ours, theirs, atol=5e-3)
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean() >= 0.99


def test_head_takes_raw_features_wherever_they_lie() -> None:
    # The scaling is folded into the weights: shifted and stretched features give the same answers.
    features, labels = blobs()
    plain = softmax(fit_head(features, labels, classes=4, penalty=1e-2).logits(features))
    moved = features * np.float32(40) + np.float32(100)
    np.testing.assert_allclose(
        softmax(fit_head(moved, labels, classes=4, penalty=1e-2).logits(moved)), plain, atol=5e-3
    )


def test_balanced_head_finds_rare_classes_more_often() -> None:
    features, labels = blobs(600, spread=3.0)
    unseen, truth = blobs(2000, spread=3.0, seed=5)
    recall = {}
    for balanced in (False, True):
        found = fit_head(features, labels, classes=4, penalty=1e-2, balanced=balanced).logits(unseen).argmax(axis=1)
        recall[balanced] = (found[truth == 0] == 0).mean()
    assert recall[True] > recall[False] + 0.1


def test_class_weights_let_every_class_count_the_same() -> None:
    labels = np.array([0] * 90 + [1] * 9 + [3])
    weights = class_weights(labels, 4)
    sums = np.bincount(labels, minlength=4) * weights
    np.testing.assert_allclose(sums, [100 / 3, 100 / 3, 0, 100 / 3], rtol=1e-6)
    assert weights[2] == 0
    assert weights[labels].mean() == pytest.approx(1)


def test_dead_features_do_no_harm() -> None:
    features, labels = blobs()
    features = np.hstack([features, np.zeros((len(features), 3), dtype=np.float32)])
    head = fit_head(features, labels, classes=4, penalty=1e-2)
    assert np.isfinite(head.weight).all()
    assert np.isfinite(head.bias).all()


def test_all_features_dead_leaves_the_shares_of_the_classes() -> None:
    _, labels = blobs()
    head = fit_head(np.ones((len(labels), 5), dtype=np.float32), labels, classes=4, penalty=1e-2)
    shares = np.bincount(labels) / len(labels)
    np.testing.assert_allclose(softmax(head.logits(np.ones((1, 5), dtype=np.float32)))[0], shares, atol=0.01)


def test_class_without_pictures_is_never_the_answer() -> None:
    features, labels = blobs()
    head = fit_head(features, labels, classes=5, penalty=1e-2)
    assert head.logits(features).shape == (len(features), 5)
    assert (head.logits(features).argmax(axis=1) != 4).all()


def test_chosen_head_makes_unseen_pictures_likeliest() -> None:
    features, labels = blobs(60)
    unseen, truth = blobs(400, seed=3)

    def loss(penalty: float) -> float:
        probabilities = softmax(fit_head(features, labels, classes=4, penalty=penalty).logits(unseen))
        return float(-np.log(probabilities[np.arange(len(truth)), truth]).mean())

    losses = {penalty: loss(penalty) for penalty in PENALTIES}
    chosen = choose_head(features, labels, unseen, truth, classes=4)
    assert losses[chosen.penalty] == min(losses.values())
    assert len(set(losses.values())) == len(PENALTIES)


def test_noise_is_answered_with_the_strongest_penalty_and_clean_data_with_the_weakest() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(size=(100, 30)).astype(np.float32)
    labels = random.integers(0, 3, 100)
    assert choose_head(noise[:50], labels[:50], noise[50:], labels[50:], classes=3).penalty == max(PENALTIES)
    clean, truth = blobs(400, spread=0.3)
    assert choose_head(clean[:200], truth[:200], clean[200:], truth[200:], classes=4).penalty == min(PENALTIES)


def test_fit_is_the_same_every_time() -> None:
    features, labels = blobs()
    one, two = (fit_head(features, labels, classes=4, penalty=1e-2) for _ in range(2))
    np.testing.assert_array_equal(one.weight, two.weight)
    np.testing.assert_array_equal(one.bias, two.bias)
