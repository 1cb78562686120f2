"""Whether a difference is real: exact tests, intervals and what they are worth over many repetitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from phototag.evaluation.curves import auroc, reliability, risk_coverage, roc
from phototag.evaluation.intervals import wilson
from phototag.evaluation.significance import bootstrap_difference, bootstrap_mean, discordant, holm, mcnemar

stats = pytest.importorskip("scipy.stats")
Right = np.ndarray[tuple[int, int], np.dtype[np.bool_]]


@pytest.mark.parametrize(
    ("first", "second"), [(0, 0), (1, 0), (3, 3), (9, 1), (0, 12), (40, 61), (700, 800), (5000, 5300)]
)
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("hits", "total"), [(0, 7), (7, 7), (3, 10), (950, 1000), (1, 100_000)])
def test_wilson_interval_equals_the_library_s(hits: int, total: int) -> None:
    expected = stats.binomtest(hits, total).proportion_ci(method="wilson")
    assert wilson(hits, total) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_without_pictures_the_interval_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_holm_counted_by_hand() -> None:
    # Sorted: .01 * 4, .02 * 3, .03 * 2, .04 * 1, each at least as large as the one before.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_picture_counts_once_however_many_trainings_saw_it() -> None:
    first = np.array([[True, True, False, True], [True, False, False, True]])
    second = np.array([[False, True, False, True], [False, False, True, True]])
    assert discordant(first, second) == (1, 1)  # pictures 0 and 2; picture 1 is even
    assert discordant(first[:1], second[:1]) == (1, 0)


def test_two_equal_models_do_not_differ() -> None:
    right = np.random.default_rng(0).random((3, 200)) < 0.8
    same = bootstrap_difference(right, right, resamples=500)
    assert same.value == 0.0
    assert same.low <= 0.0 <= same.high
    assert same.p > 0.5


def test_a_large_difference_is_found_and_its_size_told() -> None:
    random = np.random.default_rng(0)
    first, second = random.random((3, 500)) < 0.9, random.random((3, 500)) < 0.7
    found = bootstrap_difference(first, second, resamples=2000)
    assert found.low > 0.1
    assert found.low < found.value < found.high
    assert found.p < 0.01
    other_way = bootstrap_difference(second, first, resamples=2000)
    assert other_way.value == pytest.approx(-found.value)
    assert other_way.high < 0


def test_seeds_that_differ_widen_the_interval() -> None:
    pictures = np.random.default_rng(0).random(1000)
    steady = np.stack([pictures < 0.8] * 3)
    wavering = np.stack([pictures < share for share in (0.7, 0.8, 0.9)])
    low, high = bootstrap_mean(steady, resamples=1000)
    wide_low, wide_high = bootstrap_mean(wavering, resamples=1000)
    assert wide_high - wide_low > 2 * (high - low)
    assert 0.0 <= wide_low < steady.mean() < wide_high <= 1.0


def test_resampling_is_the_same_every_time() -> None:
    random = np.random.default_rng(0)
    first, second = random.random((2, 2, 100)) < 0.8
    assert bootstrap_difference(first, second) == bootstrap_difference(first, second)


def _trainings(random: np.random.Generator, pictures: np.ndarray, runs: int) -> Right:
    """Runs of one backbone: some pictures are harder than others, for all, for the backbone, and for the run."""
    backbone = pictures + random.normal(0, 0.7, len(pictures))
    return np.stack(
        [backbone + random.normal(0, 0.15) + random.logistic(0, 0.5, len(pictures)) > -1 for _ in range(runs)]
    )


def test_where_there_is_no_difference_hardly_any_is_found() -> None:
    """Of 120 pairs of equally good backbones, with three seeds, one in twenty may be called different."""
    random = np.random.default_rng(0)
    found = 0
    for _ in range(120):
        pictures = random.normal(0, 1.5, 200)
        difference = bootstrap_difference(
            _trainings(random, pictures, 3), _trainings(random, pictures, 3), resamples=500
        )
        found += not difference.low <= 0 <= difference.high
    assert found <= 12


# -- curves over scores


def test_auroc_counts_pairs_and_halves_ties() -> None:
    known, novel = np.array([0.1, 0.4, 0.4]), np.array([0.4, 0.9])
    pairs = [1.0 if b > a else 0.5 if a == b else 0.0 for a, b in itertools.product(known, novel)]
    assert auroc(known, novel) == pytest.approx(np.mean(pairs))
    assert auroc(known, np.array([])) is None


def test_roc_of_a_perfect_novelty_goes_through_the_corner() -> None:
    above, found = roc(np.linspace(0, 0.4, 50), np.linspace(0.6, 1, 50))
    assert above[0] == found[0] == 0.0
    assert above[-1] == found[-1] == 1.0
    assert min(found[1:]) == 1.0


def test_risk_coverage_counted_by_hand() -> None:
    curve = risk_coverage(np.array([0.9, 0.5, 0.8, 0.6]), np.array([True, False, True, True]))
    assert curve.coverage == (0.25, 0.5, 0.75, 1.0)
    assert curve.risk == pytest.approx((0.0, 0.0, 0.0, 0.25))
    assert curve.area == pytest.approx(0.25 / 4)


def test_equal_scores_make_no_order() -> None:
    """However such labels happen to lie, the risk is that of a random one of them."""
    right = np.array([True, False, True, False])
    for order in itertools.permutations(range(4)):
        assert risk_coverage(np.full(4, 0.5), right[list(order)]).risk == pytest.approx((0.5,) * 4)


def test_reliability_bins_hold_every_label_once() -> None:
    random = np.random.default_rng(0)
    scores = random.random(500)
    curve = reliability("a", scores, random.random(500) < scores)
    assert sum(curve.counts) == 500
    assert max(curve.counts) - min(curve.counts) <= 1
    assert all(low <= share <= high for low, share, high in zip(curve.low, curve.accuracy, curve.high, strict=True))
    assert np.abs(np.array(curve.confidence) - np.array(curve.accuracy)).max() < 0.35
