"""Honest scores: temperatures that mend them, and thresholds that keep a promise of precision."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from phototag.learning.calibration import (
    FEWEST_PICTURES,
    Temperatures,
    best_scores,
    calibrate,
    choose_thresholds,
    fit_temperatures,
    label_indexes,
    novelty_limits,
)
from phototag.learning.dataset import LabelledPicture
from phototag.learning.guarantee import (
    DELTA,
    ScoreTable,
    ValidationScores,
    binomial_tail,
    certified_threshold,
    fewest_pictures,
    promised_thresholds,
)
from phototag.novelty import SIGNALS, NoveltyModel, Space, Standard
from scipy.stats import binom, binomtest  # type: ignore[import-untyped]

from phototag.decision import Thresholds, decide, gather, join
from phototag.errors import ModelError
from phototag.records import Scores
from phototag.taxonomy import Taxonomy

TAXONOMY = Taxonomy.from_pairs([(f"s{number // 4}", f"c{number:02}") for number in range(12)])


def honest(count: int, *, seed: int = 0, spread: float = 2.0) -> tuple[list[LabelledPicture], Scores]:
    """Pictures whose labels are drawn from the very distribution that their scores state."""
    random = np.random.default_rng(seed)
    subclass = random.normal(0, spread, (count, 12)).astype(np.float32)
    # Such a superclass head agrees with the sums over the subclasses, so the joint distribution is theirs.
    superclass = np.log(np.exp(subclass).reshape(count, 3, 4).sum(axis=2)).astype(np.float32)
    chances = np.exp(subclass - subclass.max(axis=1, keepdims=True)).astype(np.float64)
    chances /= chances.sum(axis=1, keepdims=True)
    drawn = [int(random.choice(12, p=row)) for row in chances]
    return [picture(TAXONOMY.parent(f"c{number:02}"), f"c{number:02}") for number in drawn], Scores(
        superclass, subclass
    )


def picture(superclass: str | None, subclass: str | None) -> LabelledPicture:
    return LabelledPicture(Path("a.jpg"), superclass, subclass, "a test")


def without_subclass(pictures: list[LabelledPicture]) -> list[LabelledPicture]:
    return [picture(one.superclass, None) for one in pictures]


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


# -- temperatures


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5])
def test_temperature_undoes_what_bent_honest_scores(factor: float) -> None:
    pictures, scores = honest(4000)
    found = fit_temperatures(pictures, bent(scores, factor, factor), TAXONOMY)
    assert found.superclass == pytest.approx(1 / factor, rel=0.2)
    assert found.subclass == pytest.approx(1 / factor, rel=0.06)


def test_each_head_gets_a_temperature_of_its_own() -> None:
    pictures, scores = honest(4000)
    found = fit_temperatures(pictures, bent(scores, 3.0, 0.5), TAXONOMY)
    assert found.superclass == pytest.approx(1 / 3, rel=0.2)
    assert found.subclass == pytest.approx(2.0, rel=0.06)


def test_fit_is_the_least_loss_of_the_joint_distribution() -> None:
    pictures, scores = honest(400, seed=3)
    scores = bent(scores, 0.7, 1.9)
    found = fit_temperatures(pictures, scores, TAXONOMY)
    best = loss(pictures, found.scaled(scores))
    for superclass in (0.8, 1.0, 1.25):
        for subclass in (0.8, 1.0, 1.25):
            moved = Temperatures(found.superclass * superclass, found.subclass * subclass)
            # Up to the faint pull towards 1.
            assert loss(pictures, moved.scaled(scores)) > best - 2e-3


def test_modest_and_boastful_scores_become_honest() -> None:
    pictures, scores = honest(2000)
    for factor in (0.4, 3.0):
        result = calibrate(pictures, bent(scores, factor, factor), TAXONOMY)
        for level in (result.superclass, result.subclass):
            assert level.ece_before is not None
            assert level.ece_after is not None
            assert level.ece_before > 0.1
            assert level.ece_after < 0.05
        other, unseen = honest(2000, seed=1)
        again = calibrate(other, result.temperatures.scaled(bent(unseen, factor, factor)), TAXONOMY)
        assert again.subclass.ece_before is not None
        assert again.subclass.ece_before < 0.05


def test_bins_hold_every_labelled_picture_once() -> None:
    pictures, scores = honest(500)
    result = calibrate([*pictures[:400], *without_subclass(pictures[400:])], scores, TAXONOMY)
    assert sum(entry.count for entry in result.superclass.bins) == 500
    assert sum(entry.count for entry in result.subclass.bins) == 400
    gaps = sum(entry.count * abs(entry.confidence - entry.accuracy) for entry in result.subclass.bins) / 400
    assert gaps == pytest.approx(result.subclass.ece_after, abs=1e-4)
    assert all(entry.low < entry.confidence <= entry.high for entry in result.subclass.bins)


def test_honest_level_is_left_alone() -> None:
    pictures, _ = honest(300)
    top, child = label_indexes(pictures, TAXONOMY)
    # Never wrong and almost sure: the likelihood alone would ask for certainty.
    sure = Scores(np.eye(3, dtype=np.float32)[top] * 8, np.eye(12, dtype=np.float32)[child] * 8)
    assert fit_temperatures(pictures, sure, TAXONOMY) == Temperatures()


def test_few_pictures_leave_the_scores_alone() -> None:
    pictures, scores = honest(FEWEST_PICTURES - 1)
    assert fit_temperatures(pictures, bent(scores, 0.3, 0.3), TAXONOMY) == Temperatures(1.0, 1.0)
    result = calibrate([], Scores(scores.superclass[:0], scores.subclass[:0]), TAXONOMY)
    assert result.temperatures == Temperatures()
    assert result.superclass.ece_before is None
    assert result.superclass.bins == ()


def test_level_without_labels_keeps_its_temperature() -> None:
    pictures, scores = honest(2000)
    found = fit_temperatures(without_subclass(pictures), bent(scores, 2.0, 1.0), TAXONOMY)
    assert found.subclass == 1.0
    assert found.superclass == pytest.approx(0.5, rel=0.2)


def test_pictures_of_no_known_class_say_nothing_about_temperatures() -> None:
    pictures, scores = honest(300)
    strange = Scores(*(np.concatenate([part, part[::-1]]) for part in (scores.superclass, scores.subclass)))
    found = fit_temperatures([*pictures, *[picture(None, None)] * 300], strange, TAXONOMY)
    alone = fit_temperatures(pictures, scores, TAXONOMY)
    assert found.superclass == pytest.approx(alone.superclass)
    assert found.subclass == pytest.approx(alone.subclass)


def test_faultless_level_does_not_ask_for_certainty() -> None:
    pictures, _ = honest(300)
    top, child = label_indexes(pictures, TAXONOMY)
    right = Scores(np.eye(3, dtype=np.float32)[top] * 8, np.eye(12, dtype=np.float32)[child] * 8)
    found = fit_temperatures(pictures, right, TAXONOMY)
    assert found.superclass >= 0.2
    assert found.subclass >= 0.2
    always_wrong = Scores(right.superclass[:, [1, 2, 0]], np.roll(right.subclass, 4, axis=1))
    found = fit_temperatures(pictures, always_wrong, TAXONOMY)
    assert found.superclass <= 5.0
    assert found.subclass <= 5.0


def test_fit_is_the_same_every_time() -> None:
    pictures, scores = honest(200)
    assert fit_temperatures(pictures, scores, TAXONOMY) == fit_temperatures(pictures, scores, TAXONOMY)


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
    pictures, scores = honest(2000, spread=4.0)
    thresholds = choose_thresholds(pictures, scores, TAXONOMY)
    joint = join(gather(scores, TAXONOMY))
    top, child = label_indexes(pictures, TAXONOMY)
    best = joint.superclass.max(axis=1)[joint.chosen == top]
    assert (best < thresholds.superclass).mean() <= 0.0025
    assert (joint.child_score[joint.child == child] < thresholds.subclass).mean() <= 0.0025
    assert thresholds.superclass <= 0.5


# -- the binomial tail


@given(st.integers(0, 400), st.integers(0, 400), st.floats(0.5, 0.999))
def test_tail_is_that_of_scipy(one: int, other: int, share: float) -> None:
    right, total = min(one, other), max(one, other)
    found = binomial_tail(np.array([right]), np.array([total]), share)
    assert found[0] == pytest.approx(binom.sf(right - 1, total, share), rel=1e-7, abs=1e-14)


def test_tail_of_many_pictures_is_that_of_scipy() -> None:
    total = np.array([100_000, 100_000, 100_000, 1_000_000, 20_000])
    right = np.array([95_000, 95_200, 99_999, 950_300, 19_100])
    np.testing.assert_allclose(binomial_tail(right, total, 0.95), binom.sf(right - 1, total, 0.95), rtol=1e-6)


def test_test_is_the_bound_of_clopper_and_pearson() -> None:
    for right, total in ((45, 45), (44, 44), (200, 205), (97, 100)):
        low = binomtest(right, total).proportion_ci(1 - 2 * DELTA, "exact").low
        chance = binomial_tail(np.array([right]), np.array([total]), 0.95)[0]
        assert (chance <= DELTA) == (low >= 0.95)


def test_fewest_pictures_are_just_enough() -> None:
    for target in (0.5, 0.9, 0.95, 0.999):
        need = fewest_pictures(target)
        assert target**need <= DELTA * (1 + 1e-9)
        assert target ** (need - 1) > DELTA
    assert fewest_pictures(0.95) == 45


# -- tables of scores


def draw(
    count: int, random: np.random.Generator, *, steep: float = 3.0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores uniform in [0, 1] whose chance of being right is 1 - (1 - score) ** steep."""
    values = random.random(count)
    return values, random.random(count) < 1 - (1 - values) ** steep


def true_precision(threshold: float, steep: float = 3.0) -> float:
    return float(1 - (1 - threshold) ** steep / (steep + 1))


def best_coverage(target: float, steep: float = 3.0) -> float:
    return min(1.0, float(((steep + 1) * (1 - target)) ** (1 / steep)))


@given(
    st.lists(
        st.tuples(st.one_of(st.floats(0, 1), st.sampled_from([0.3, 0.29999, 0.57, 1.0])), st.booleans()), max_size=60
    )
)
def test_table_keeps_what_its_thresholds_keep(pairs: list[tuple[float, bool]]) -> None:
    values, right = np.array([value for value, _ in pairs]), np.array([fine for _, fine in pairs], dtype=bool)
    table = ScoreTable.of(values, right)
    kept, fine = table.kept()
    for score, number, good in zip(table.scores, kept, fine, strict=True):
        chosen = values >= score / 10_000
        assert (number, good) == (chosen.sum(), (chosen & right).sum())
    assert table.total == len(pairs)
    assert ScoreTable.from_json(table.to_json()) == table


def test_large_table_is_thinned_and_stays_exact() -> None:
    values, right = draw(50_000, np.random.default_rng(0))
    table = ScoreTable.of(values, right)
    assert len(table.scores) == 2000
    assert table.total == 50_000
    for row in (0, 1, 777, 1999):
        chosen = values >= table.scores[row] / 10_000
        kept, fine = table.kept()
        assert (kept[row], fine[row]) == (chosen.sum(), (chosen & right).sum())
    precision, coverage = table.at(table.scores[777] / 10_000)
    assert precision == pytest.approx(right[values >= table.scores[777] / 10_000].mean())
    assert coverage == pytest.approx((values >= table.scores[777] / 10_000).mean())


def test_coverage_at_a_precision_is_the_largest_possible() -> None:
    values = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    table = ScoreTable.of(values, np.array([True, False, True, True, False]))
    assert table.coverage_at(0.75) == 0.8
    assert table.coverage_at(1.0) == 0.2
    assert table.coverage_at(0.6) == 1.0
    assert ScoreTable.of(values, np.zeros(5, dtype=bool)).coverage_at(0.5) == 0.0
    assert ScoreTable((), (), ()).at(0.5) == (None, None)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"scores": [5], "pictures": [1], "right": []},
        {"scores": [5], "pictures": [1], "right": [2]},
        {"scores": [5, 7], "pictures": [1, 1], "right": [1, 1]},
        {"scores": [20_000], "pictures": [1], "right": [1]},
        {"scores": [5], "pictures": [-1], "right": [-1]},
        {"scores": [5.5], "pictures": [1], "right": [1]},
        {"scores": [5], "pictures": [1 << 60], "right": [1]},
        {"scores": list(range(20_000, 0, -1)), "pictures": [1] * 20_000, "right": [1] * 20_000},
    ],
)
def test_damaged_table_is_refused(value: object) -> None:
    with pytest.raises(ModelError, match="validation scores"):
        ScoreTable.from_json(value)
    with pytest.raises(ModelError, match="validation scores"):
        ValidationScores.from_json({"superclass": value, "subclass": value} if value else value)


# -- the promise


def simulated(target: float, count: int, draws: int) -> tuple[NDArray[np.float64], int]:
    """Thresholds found in repeated draws of validation pictures, and how often there was none."""
    random = np.random.default_rng(int(1000 * target) + count)
    found = [certified_threshold(ScoreTable.of(*draw(count, random)), target) for _ in range(draws)]
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


def test_few_wrong_labels_among_the_best_scored_do_not_end_the_search() -> None:
    random = np.random.default_rng(0)
    found = []
    for _ in range(200):
        values, right = draw(1000, random, steep=8.0)
        found.append(certified_threshold(ScoreTable.of(values, right & (random.random(1000) > 0.01)), 0.95))
    assert sum(value is None for value in found) <= 6


def test_too_few_pictures_promise_nothing_and_say_how_many_it_takes() -> None:
    table = ScoreTable.of(np.linspace(1, 0.5, 44), np.ones(44, dtype=bool))
    thresholds, warnings = promised_thresholds(ValidationScores(table, table), 0.95)
    assert (thresholds.superclass, thresholds.subclass) == (1.0, 1.0)
    assert len(warnings) == 2
    assert "44 validation pictures are too few, it takes 45" in warnings[0]
    enough = ScoreTable.of(np.linspace(1, 0.5, 45), np.ones(45, dtype=bool))
    thresholds, warnings = promised_thresholds(ValidationScores(enough, enough), 0.95)
    assert (thresholds.superclass, thresholds.subclass, warnings) == (0.5, 0.5, [])


def test_scores_too_often_wrong_promise_nothing() -> None:
    random = np.random.default_rng(0)
    good = ScoreTable.of(random.random(900), np.ones(900, dtype=bool))
    bad = ScoreTable.of(random.random(900), random.random(900) < 0.7)
    thresholds, warnings = promised_thresholds(ValidationScores(good, bad), 0.95)
    assert thresholds.superclass < 0.1
    assert thresholds.subclass == 1.0
    (warning,) = warnings
    assert "no subclass can be promised a precision of 0.95" in warning
    assert "better model" in warning


def test_subclass_never_passes_where_its_superclass_does_not() -> None:
    random = np.random.default_rng(0)
    weak = ScoreTable.of(*draw(1000, random))
    strong = ScoreTable.of(random.random(1000), np.ones(1000, dtype=bool))
    thresholds, _ = promised_thresholds(ValidationScores(weak, strong), 0.95)
    assert thresholds.subclass == thresholds.superclass > 0.3


def test_promise_counts_pictures_of_no_known_class_as_wrong() -> None:
    pictures, scores = honest(1000, spread=6.0)
    half = [*pictures[:500], *[picture(None, None)] * 500]
    known = ValidationScores.of(pictures, scores, TAXONOMY)
    mixed = ValidationScores.of(half, scores, TAXONOMY)
    assert sum(mixed.subclass.right) == sum(
        ValidationScores.of(
            pictures[:500], Scores(scores.superclass[:500], scores.subclass[:500]), TAXONOMY
        ).subclass.right
    )
    assert mixed.subclass.total == known.subclass.total == 1000
    assert promised_thresholds(mixed, 0.8)[0].subclass == 1.0
    assert promised_thresholds(known, 0.8)[0].subclass < 1.0


# -- the promise beside limits on novelty

# Its weights are of scores made up here: the embedding is the strangeness itself, as the background of one axis.
STRANGENESS = NoveltyModel(
    Space(np.zeros((12, 1), np.float32), np.ones(1, np.float32)),
    Standard(np.zeros(len(SIGNALS)), np.ones(len(SIGNALS))),
    np.array([1.0, 2.0])[:, None] * (np.array(SIGNALS) == "background"),
    np.array([-5.0, -3.0]),
)


def doubtful(count: int, *, seed: int) -> tuple[list[LabelledPicture], Scores]:
    """Pictures that are wrong the more often the stranger they are; one in eight is of no known subclass."""
    random = np.random.default_rng(seed)
    pictures, scores = honest(count, seed=seed, spread=5.0)
    unknown = random.random(count) < 0.125
    strangeness = random.gamma(1.5 + 3.0 * unknown, 1.0)
    labelled = [picture(one.superclass, None) if new else one for one, new in zip(pictures, unknown, strict=True)]
    return labelled, Scores(scores.superclass, scores.subclass, strangeness[:, None].astype(np.float32))


def promised(
    pictures: list[LabelledPicture], scores: Scores, *, target: float, keep_known: float
) -> tuple[Thresholds, ValidationScores]:
    limits = novelty_limits(pictures, scores, TAXONOMY, STRANGENESS, keep_known=keep_known)
    familiar = STRANGENESS.probabilities(scores) <= np.array(limits, np.float32)
    tables = ValidationScores.of(pictures, scores, TAXONOMY, familiar=[familiar[:, 0], familiar[:, 0] & familiar[:, 1]])
    plain, _ = promised_thresholds(tables, target)
    return Thresholds(plain.superclass, plain.subclass, *limits), tables


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
    truth = label_indexes(pictures, TAXONOMY)[1]
    (_, tops), (chosen, values) = best_scores(scores, TAXONOMY)
    random, broken, found, draws = np.random.default_rng(2), 0, 0, 150
    for _ in range(draws):
        rows = random.integers(0, len(pictures), 400)
        part = Scores(scores.superclass[rows], scores.subclass[rows], embedding[rows])
        limits, _ = promised([pictures[row] for row in rows], part, target=target, keep_known=keep_known)
        kept = (tops >= limits.superclass) & (strange[:, 0] <= limits.novel_superclass)
        kept &= (values >= limits.subclass) & (strange[:, 1] <= limits.novel_subclass)
        if limits.subclass < 1:
            found += 1
            broken += (chosen == truth)[kept].mean() < target
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
        limits = novelty_limits(pictures, scores, TAXONOMY, STRANGENESS, keep_known=keep)
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
    assert novelty_limits(nobody, scores, TAXONOMY, STRANGENESS, keep_known=0.9) == (1.0, 1.0)
    assert len(pictures) == 20
