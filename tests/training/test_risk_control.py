"""Thresholds that certify a precision: the binomial tail, and what is promised of known and novel pictures."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, binomtest  # type: ignore[import-untyped]

from phototag.dataset.labelled import LabelledPicture
from phototag.decision import Thresholds, decide, gather
from phototag.decision.novelty import SIGNALS, NoveltyModel, Space, Standardizer
from phototag.evaluation.risk_control import (
    DELTA,
    binomial_tail,
    certified_threshold,
    certified_thresholds,
    chances_below,
    fewest_pictures,
)
from phototag.evaluation.score_table import ScoreTable, ValidationScores
from phototag.records import Scores
from phototag.training.config import ThresholdConfig
from phototag.training.thresholds import choose_thresholds, novelty_limits
from tests.support.validation_scores import TAXONOMY, calibrated, draw_scores, picture, validation


def tail(right: ArrayLike, total: ArrayLike, share: float) -> NDArray[np.float64]:
    right, total = np.asarray(right, dtype=np.float64), np.asarray(total, dtype=np.float64)
    return binomial_tail(right, total - right + 1, share)


@given(st.integers(0, 400), st.integers(0, 400), st.floats(0.5, 0.999))
def test_tail_is_that_of_scipy(one: int, other: int, share: float) -> None:
    right, total = min(one, other), max(one, other)
    found = tail([right], [total], share)
    assert found[0] == pytest.approx(binom.sf(right - 1, total, share), rel=1e-7, abs=1e-14)


def test_tail_of_many_pictures_is_that_of_scipy() -> None:
    total = np.array([100_000, 100_000, 100_000, 1_000_000, 20_000])
    right = np.array([95_000, 95_200, 99_999, 950_300, 19_100])
    np.testing.assert_allclose(tail(right, total, 0.95), binom.sf(right - 1, total, 0.95), rtol=1e-6)


def test_test_is_the_bound_of_clopper_and_pearson() -> None:
    for right, total in ((45, 45), (44, 44), (200, 205), (97, 100)):
        low = binomtest(right, total).proportion_ci(1 - 2 * DELTA, "exact").low
        chance = tail([right], [total], 0.95)[0]
        assert (chance <= DELTA) == (low >= 0.95)


def test_fewest_pictures_are_just_enough() -> None:
    for target in (0.5, 0.9, 0.95, 0.999):
        need = fewest_pictures(target)
        assert target**need <= DELTA * (1 + 1e-9)
        assert target ** (need - 1) > DELTA
    assert fewest_pictures(0.95) == 45


# -- tables of scores


def true_precision(threshold: float, steep: float = 3.0) -> float:
    return float(1 - (1 - threshold) ** steep / (steep + 1))


def best_coverage(target: float, steep: float = 3.0) -> float:
    return min(1.0, float(((steep + 1) * (1 - target)) ** (1 / steep)))


# -- the promise


def simulated(target: float, count: int, draws: int) -> tuple[NDArray[np.float64], int]:
    """Thresholds found in repeated draws of validation pictures, and how often there was none."""
    random = np.random.default_rng(int(1000 * target) + count)
    found = [certified_threshold(ScoreTable.of(*draw_scores(count, random)), target) for _ in range(draws)]
    return np.array([value for value in found if value is not None]), sum(value is None for value in found)


@pytest.mark.parametrize(("target", "count"), [(0.8, 200), (0.95, 200), (0.95, 1000), (0.99, 1000)])
def test_promise_is_broken_no_more_often_than_said(target: float, count: int) -> None:
    found, _ = simulated(target, count, 1000)
    broken = sum(true_precision(threshold) < target for threshold in found)
    # Three standard errors above the level.
    assert broken <= 1000 * DELTA + 3 * math.sqrt(1000 * DELTA * (1 - DELTA))


@pytest.mark.parametrize(("target", "count", "lost"), [(0.8, 1000, 0.12), (0.9, 1000, 0.12), (0.95, 2000, 0.12)])
def test_promise_costs_little_coverage(target: float, count: int, lost: float) -> None:
    found, none = simulated(target, count, 200)
    assert none <= 4
    assert (1 - found).mean() > best_coverage(target) - lost


def test_many_pictures_cost_hardly_any_coverage() -> None:
    found, none = simulated(0.95, 50_000, 10)
    assert none == 0
    assert (1 - found).mean() == pytest.approx(best_coverage(0.95), abs=0.02)


def drawn_series(
    groups: int, random: np.random.Generator, *, alike: float = 0.8
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.intp]]:
    """Scores as of `draw_scores` in series of four on average, with how far they are right or wrong together."""
    sizes = np.minimum(random.geometric(0.25, groups), 20)
    group = np.repeat(np.arange(groups), sizes)
    values, luck = (
        np.where(random.random(len(group)) < alike, random.random(groups)[group], random.random(len(group)))
        for _ in range(2)
    )
    return values, luck < 1 - (1 - values) ** 3.0, group


def test_promise_holds_for_series_where_counting_pictures_breaks_it() -> None:
    random, draws = np.random.default_rng(0), 100
    broken = {"by groups": 0, "by pictures": 0}
    coverage = 0.0
    for _ in range(draws):
        values, right, groups = drawn_series(300, random)
        for how, numbers in (("by groups", groups), ("by pictures", None)):
            found = certified_threshold(ScoreTable.of(values, right, numbers), 0.9)
            broken[how] += found is not None and true_precision(found) < 0.9
            coverage += (0.0 if found is None else 1 - found) / draws if numbers is groups else 0.0
    assert broken["by groups"] <= draws * DELTA
    assert broken["by pictures"] > 2 * draws * DELTA
    assert coverage > best_coverage(0.9) - 0.15


def test_groups_of_one_picture_are_tested_as_single_pictures() -> None:
    values, right = draw_scores(500, np.random.default_rng(0))
    plain = ScoreTable.of(values, right)
    summed = replace(plain, **dict(zip(("groups", "kept_kept"), (plain.pictures,) * 2, strict=True)))
    summed = replace(summed, kept_right=plain.right, right_right=plain.right)
    np.testing.assert_allclose(chances_below(summed, 0.9), chances_below(plain, 0.9), rtol=1e-9)
    kept, fine = plain.kept()
    np.testing.assert_allclose(chances_below(plain, 0.9), binom.sf(fine - 1, kept, 0.9), rtol=1e-7)
    assert certified_threshold(summed, 0.9) == certified_threshold(plain, 0.9)


def test_too_few_series_promise_nothing_however_many_pictures_they_have() -> None:
    groups = np.repeat(np.arange(40), 10)
    table = ScoreTable.of(np.linspace(1, 0.5, 400), np.ones(400, dtype=bool), groups)
    thresholds, warnings = certified_thresholds(ValidationScores(table, table), 0.95)
    assert thresholds == (1.0, 1.0)
    assert (
        "400 validation pictures in 40 groups, which tell no more than 40 independent ones, are too few" in warnings[0]
    )
    assert certified_thresholds(ValidationScores(table, table), 0.9) == ((0.5, 0.5), [])


def test_few_wrong_labels_among_the_best_scored_do_not_end_the_search() -> None:
    random = np.random.default_rng(0)
    found = []
    for _ in range(200):
        values, right = draw_scores(1000, random, steep=8.0)
        found.append(certified_threshold(ScoreTable.of(values, right & (random.random(1000) > 0.01)), 0.95))
    assert sum(value is None for value in found) <= 6


def test_too_few_pictures_promise_nothing_and_say_how_many_it_takes() -> None:
    table = ScoreTable.of(np.linspace(1, 0.5, 44), np.ones(44, dtype=bool))
    thresholds, warnings = certified_thresholds(ValidationScores(table, table), 0.95)
    assert thresholds == (1.0, 1.0)
    assert len(warnings) == 2
    assert "44 validation pictures are too few, it takes 45" in warnings[0]
    enough = ScoreTable.of(np.linspace(1, 0.5, 45), np.ones(45, dtype=bool))
    thresholds, warnings = certified_thresholds(ValidationScores(enough, enough), 0.95)
    assert (thresholds, warnings) == ((0.5, 0.5), [])


def test_scores_too_often_wrong_promise_nothing() -> None:
    random = np.random.default_rng(0)
    good = ScoreTable.of(random.random(900), np.ones(900, dtype=bool))
    bad = ScoreTable.of(random.random(900), random.random(900) < 0.7)
    (superclass, subclass), warnings = certified_thresholds(ValidationScores(good, bad), 0.95)
    assert superclass < 0.1
    assert subclass == 1.0
    (warning,) = warnings
    assert "no subclass can be certified to have a precision of 0.95" in warning
    assert "better model" in warning


def test_subclass_never_passes_where_its_superclass_does_not() -> None:
    random = np.random.default_rng(0)
    weak = ScoreTable.of(*draw_scores(1000, random))
    strong = ScoreTable.of(random.random(1000), np.ones(1000, dtype=bool))
    (superclass, subclass), _ = certified_thresholds(ValidationScores(weak, strong), 0.95)
    assert subclass == superclass > 0.3


def test_promise_counts_pictures_of_no_known_class_as_wrong() -> None:
    pictures, scores = calibrated(1000, spread=6.0)
    half = [*pictures[:500], *[picture(None, None)] * 500]
    known = ValidationScores.of(validation(pictures, scores))
    mixed = ValidationScores.of(validation(half, scores))
    first = ValidationScores.of(validation(pictures, scores).rows(slice(500)))
    assert sum(mixed.subclass.right) == sum(first.subclass.right)
    assert mixed.subclass.total == known.subclass.total == 1000
    assert certified_thresholds(mixed, 0.8)[0][1] == 1.0
    assert certified_thresholds(known, 0.8)[0][1] < 1.0


# -- the promise beside limits on novelty


# Its weights are of scores made up here: the embedding is the strangeness itself, as the background of one axis.
STRANGENESS = NoveltyModel(
    Space(np.zeros((12, 1), np.float32), np.ones(1, np.float32)),
    Standardizer(np.zeros(len(SIGNALS)), np.ones(len(SIGNALS))),
    np.array([1.0, 2.0])[:, None] * (np.array(SIGNALS) == "background"),
    np.array([-5.0, -3.0]),
)


def doubtful(count: int, *, seed: int) -> tuple[list[LabelledPicture], Scores]:
    """Pictures that are wrong the more often the stranger they are; one in eight is of no known subclass."""
    random = np.random.default_rng(seed)
    pictures, scores = calibrated(count, seed=seed, spread=5.0)
    unknown = random.random(count) < 0.125
    strangeness = random.gamma(1.5 + 3.0 * unknown, 1.0)
    labelled = [picture(one.superclass, None) if new else one for one, new in zip(pictures, unknown, strict=True)]
    return labelled, Scores(scores.superclass, scores.subclass, strangeness[:, None].astype(np.float32))


def promised(
    pictures: list[LabelledPicture], scores: Scores, *, target: float, keep_known: float
) -> tuple[Thresholds, ValidationScores]:
    wanted = ThresholdConfig(target, keep_known)
    choice = choose_thresholds(validation(pictures, scores, novelty=STRANGENESS), wanted)
    return choice.thresholds, choice.scores


def stored(pictures: list[LabelledPicture], scores: Scores, thresholds: Thresholds) -> tuple[float | None, float]:
    """Precision and coverage of the subclasses that would be stored."""
    tags = decide(gather(scores, TAXONOMY, STRANGENESS), TAXONOMY, thresholds)
    right = [tag.subclass == one.subclass for tag, one in zip(tags, pictures, strict=True) if tag.subclass is not None]
    return (sum(right) / len(right) if right else None), len(right) / len(tags)


@pytest.mark.parametrize(("keep_known", "target"), [(0.9, 0.85), (0.99, 0.75)])
def test_promise_holds_for_what_is_stored_behind_limits_on_novelty(keep_known: float, target: float) -> None:
    pictures, scores = doubtful(20_000, seed=1)
    embedding, strange = scores.embedding, STRANGENESS.probabilities(scores)
    assert embedding is not None
    decoded = validation(pictures, scores)
    tops, values, right = decoded.superclass.scores, decoded.subclass.scores, decoded.subclass.right
    random, broken, found, draws = np.random.default_rng(2), 0, 0, 150
    for _ in range(draws):
        rows = random.integers(0, len(pictures), 400)
        part = Scores(scores.superclass[rows], scores.subclass[rows], embedding[rows])
        limits, _ = promised([pictures[row] for row in rows], part, target=target, keep_known=keep_known)
        kept = (tops >= limits.superclass) & (strange[:, 0] <= limits.novel_superclass)
        kept &= (values >= limits.subclass) & (strange[:, 1] <= limits.novel_subclass)
        if limits.subclass < 1:
            found += 1
            broken += right[kept].mean() < target
    assert found >= 0.8 * draws
    assert broken <= draws * DELTA + 3 * math.sqrt(draws * DELTA * (1 - DELTA))


def test_tables_behind_limits_tell_the_precision_and_coverage_of_what_is_stored() -> None:
    pictures, scores = doubtful(2000, seed=3)
    thresholds, tables = promised(pictures, scores, target=0.85, keep_known=0.9)
    assert 0 < thresholds.subclass < 1
    assert tables.subclass.total == 2000
    assert tables.subclass.at(thresholds.subclass) == pytest.approx(stored(pictures, scores, thresholds), abs=1e-9)


def test_limits_keep_the_share_of_right_subclasses_that_was_asked_for() -> None:
    pictures, scores = doubtful(4000, seed=4)
    right = [
        (tag.subclass == one.subclass, one.superclass == tag.superclass)
        for tag, one in zip(decide(gather(scores, TAXONOMY), TAXONOMY, Thresholds(0, 0)), pictures, strict=True)
    ]
    before: tuple[float, float] = (0.0, 0.0)
    for keep in (0.5, 0.8, 0.95, 0.99, 1.0):
        limits = novelty_limits(validation(pictures, scores, novelty=STRANGENESS), keep_known=keep)
        tags = decide(gather(scores, TAXONOMY, STRANGENESS), TAXONOMY, Thresholds(0, 0, *limits))
        kept = [tag.subclass is not None for tag, (fine, _) in zip(tags, right, strict=True) if fine]
        assert np.mean(kept) >= keep - 0.1 * (1 - keep) - 1e-3  # the other tier may take a tenth of what is lost
        superclasses = [tag.superclass is not None for tag, (_, fine) in zip(tags, right, strict=True) if fine]
        assert np.mean(superclasses) >= 1 - 0.1 * (1 - keep) - 1e-3
        assert limits[0] >= before[0]
        assert limits[1] >= before[1]
        before = limits


def test_without_a_right_label_nothing_is_limited() -> None:
    pictures, scores = doubtful(20, seed=5)
    nobody = [picture(None, None)] * 20
    assert novelty_limits(validation(nobody, scores, novelty=STRANGENESS), keep_known=0.9) == (1.0, 1.0)
    assert len(pictures) == 20
