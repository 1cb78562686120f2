"""Temperatures that calibrate scores."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from phototag.dataset.labelled import LabelledPicture
from phototag.evaluation.validation import Validation, label_indexes
from phototag.records import Scores
from phototag.training.calibration import FEWEST_PICTURES, Calibration, Temperatures, fit_temperatures
from phototag.training.thresholds import default_thresholds
from tests.support.validation_scores import TAXONOMY, calibrated, picture, validation


def without_subclass(pictures: list[LabelledPicture]) -> list[LabelledPicture]:
    return [picture(one.superclass, None) for one in pictures]


def calibrate(pictures: list[LabelledPicture], scores: Scores) -> Calibration:
    before = validation(pictures, scores)
    temperatures = fit_temperatures(before)
    return Calibration.of(temperatures, before, validation(pictures, temperatures.scaled(scores)))


def bent(scores: Scores, superclass: float, subclass: float) -> Scores:
    return Temperatures(superclass, subclass).scaled(scores)


def loss(pictures: list[LabelledPicture], scores: Scores) -> float:
    """Mean negative logarithm of the joint probabilities of the true superclass and, added, of the true pair."""
    superclass, subclass = scores.superclass.astype(np.float64), scores.subclass.astype(np.float64)
    by_child = np.exp(subclass) / np.exp(subclass).sum(axis=1, keepdims=True)
    sums = by_child.reshape(-1, 3, 4).sum(axis=2)
    by_head = np.exp(superclass) / np.exp(superclass).sum(axis=1, keepdims=True)
    joint = np.sqrt(by_head * sums)
    joint /= joint.sum(axis=1, keepdims=True)
    top, child = label_indexes(pictures, TAXONOMY)
    rows = np.arange(len(pictures))
    pair = joint[rows, top] * by_child[rows, child] / sums[rows, top]
    return float(-np.log(joint[rows, top]).mean() - np.log(pair).mean())


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5])
def test_temperature_undoes_what_bent_honest_scores(factor: float) -> None:
    pictures, scores = calibrated(4000)
    found = fit_temperatures(validation(pictures, bent(scores, factor, factor)))
    assert found.superclass == pytest.approx(1 / factor, rel=0.2)
    assert found.subclass == pytest.approx(1 / factor, rel=0.06)


def test_each_head_gets_a_temperature_of_its_own() -> None:
    pictures, scores = calibrated(4000)
    found = fit_temperatures(validation(pictures, bent(scores, 3.0, 0.5)))
    assert found.superclass == pytest.approx(1 / 3, rel=0.2)
    assert found.subclass == pytest.approx(2.0, rel=0.06)


def test_fit_is_the_least_loss_of_the_joint_distribution() -> None:
    pictures, scores = calibrated(400, seed=3)
    scores = bent(scores, 0.7, 1.9)
    found = fit_temperatures(validation(pictures, scores))
    best = loss(pictures, found.scaled(scores))
    for superclass in (0.8, 1.0, 1.25):
        for subclass in (0.8, 1.0, 1.25):
            moved = Temperatures(found.superclass * superclass, found.subclass * subclass)
            # Up to the faint pull towards 1.
            assert loss(pictures, moved.scaled(scores)) > best - 2e-3


def test_modest_and_boastful_scores_become_honest() -> None:
    pictures, scores = calibrated(2000)
    for factor in (0.4, 3.0):
        result = calibrate(pictures, bent(scores, factor, factor))
        for level in (result.superclass, result.subclass):
            assert level.ece_before is not None
            assert level.ece_after is not None
            assert level.ece_before > 0.1
            assert level.ece_after < 0.05
        other, unseen = calibrated(2000, seed=1)
        again = calibrate(other, result.temperatures.scaled(bent(unseen, factor, factor)))
        assert again.subclass.ece_before is not None
        assert again.subclass.ece_before < 0.05


def test_bins_hold_every_labelled_picture_once() -> None:
    pictures, scores = calibrated(500)
    result = calibrate([*pictures[:400], *without_subclass(pictures[400:])], scores)
    assert sum(entry.count for entry in result.superclass.bins) == 500
    assert sum(entry.count for entry in result.subclass.bins) == 400
    gaps = sum(entry.count * abs(entry.confidence - entry.accuracy) for entry in result.subclass.bins) / 400
    assert gaps == pytest.approx(result.subclass.ece_after, abs=1e-4)
    assert all(entry.low < entry.confidence <= entry.high for entry in result.subclass.bins)


def test_honest_level_is_left_alone() -> None:
    pictures, _ = calibrated(300)
    top, child = label_indexes(pictures, TAXONOMY)
    # Never wrong and almost sure: the likelihood alone would ask for certainty.
    sure = Scores(np.eye(3, dtype=np.float32)[top] * 8, np.eye(12, dtype=np.float32)[child] * 8)
    assert fit_temperatures(validation(pictures, sure)) == Temperatures()


def test_few_pictures_leave_the_scores_alone() -> None:
    pictures, scores = calibrated(FEWEST_PICTURES - 1)
    assert fit_temperatures(validation(pictures, bent(scores, 0.3, 0.3))) == Temperatures(1.0, 1.0)
    result = calibrate([], Scores(scores.superclass[:0], scores.subclass[:0]))
    assert result.temperatures == Temperatures()
    assert result.superclass.ece_before is None
    assert result.superclass.bins == ()


def test_level_without_labels_keeps_its_temperature() -> None:
    pictures, scores = calibrated(2000)
    found = fit_temperatures(validation(without_subclass(pictures), bent(scores, 2.0, 1.0)))
    assert found.subclass == 1.0
    assert found.superclass == pytest.approx(0.5, rel=0.2)


def test_pictures_of_no_known_class_say_nothing_about_temperatures() -> None:
    pictures, scores = calibrated(300)
    strange = Scores(*(np.concatenate([part, part[::-1]]) for part in (scores.superclass, scores.subclass)))
    found = fit_temperatures(validation([*pictures, *[picture(None, None)] * 300], strange))
    alone = fit_temperatures(validation(pictures, scores))
    assert found.superclass == pytest.approx(alone.superclass)
    assert found.subclass == pytest.approx(alone.subclass)


def test_faultless_level_does_not_ask_for_certainty() -> None:
    pictures, _ = calibrated(300)
    top, child = label_indexes(pictures, TAXONOMY)
    right = Scores(np.eye(3, dtype=np.float32)[top] * 8, np.eye(12, dtype=np.float32)[child] * 8)
    found = fit_temperatures(validation(pictures, right))
    assert found.superclass >= 0.2
    assert found.subclass >= 0.2
    always_wrong = Scores(right.superclass[:, [1, 2, 0]], np.roll(right.subclass, 4, axis=1))
    found = fit_temperatures(validation(pictures, always_wrong))
    assert found.superclass <= 5.0
    assert found.subclass <= 5.0


def test_fit_is_the_same_every_time() -> None:
    pictures, scores = calibrated(200)
    assert fit_temperatures(validation(pictures, scores)) == fit_temperatures(validation(pictures, scores))


def test_folded_heads_give_the_scaled_logits() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(5, 7)).astype(np.float32)
    sizes = {"superclass": 3, "subclass": 12}
    tensors = {"backbone.conv": random.normal(size=4).astype(np.float32)}
    for level, size in sizes.items():
        tensors[f"{level}_head.weight"] = random.normal(size=(size, 7)).astype(np.float32)
        tensors[f"{level}_head.bias"] = random.normal(size=size).astype(np.float32)

    def logits(of: dict[str, NDArray[np.float32]]) -> Scores:
        parts = [features @ of[f"{level}_head.weight"].T + of[f"{level}_head.bias"] for level in sizes]
        return Scores(*parts)

    temperatures = Temperatures(0.5, 1.7)
    folded = temperatures.folded(tensors)
    wanted, found = temperatures.scaled(logits(tensors)), logits(folded)
    np.testing.assert_allclose(found.superclass, wanted.superclass, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.subclass, wanted.subclass, rtol=1e-4, atol=1e-5)
    assert folded["backbone.conv"] is tensors["backbone.conv"]
    assert folded["subclass_head.bias"].dtype == np.float32
    assert Temperatures().folded(tensors)["subclass_head.weight"].tobytes() == tensors["subclass_head.weight"].tobytes()


def test_plain_thresholds_lose_hardly_any_right_label() -> None:
    _, scores = calibrated(2000, spread=4.0)
    decoded = validation([picture(None, None)] * 2000, scores)
    wrong = np.arange(2000) % 40 == 0
    labels = [np.where(wrong, -1, level.best) for level in decoded.levels]
    decoded = Validation.of((labels[0], labels[1]), scores, TAXONOMY)
    for threshold, level in zip(default_thresholds(decoded), decoded.levels, strict=True):
        assert (level.scores[level.right] < threshold).mean() <= 0.0025
        assert threshold <= 0.5


def test_plain_thresholds_rise_until_most_of_what_they_store_is_right() -> None:
    pictures, scores = calibrated(2000, spread=3.0)
    decoded = validation(pictures, scores)
    for threshold, level in zip(default_thresholds(decoded), decoded.levels, strict=True):
        kept = level.scores >= threshold
        assert level.right.mean() < 0.9
        assert 0.94 <= level.right[kept].mean() < 0.97
    # A few pictures do not tell.
    few = decoded.rows(slice(20))
    assert max(default_thresholds(few)) <= 0.5
