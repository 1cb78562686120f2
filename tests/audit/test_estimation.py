"""Estimates from samples: do intervals cover what they promise, and do shares mean what `metrics` says they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from phototag.audit import sampling
from phototag.audit.accuracy import Accuracy
from phototag.audit.estimation import Ratios, SamplingDesign, Sums, joined_strata, ratio
from phototag.audit.reviewed import Cell, ReviewedPhoto, ReviewedSample
from phototag.audit.sample_size import need_of
from phototag.choices import Allocation
from phototag.errors import UsageError
from phototag.evaluation.intervals import finite_size, half_width, needed_size, wilson_interval
from phototag.evaluation.metrics import Prediction as Truth
from phototag.evaluation.metrics import measure
from phototag.records import Rank, Tag

Floats = NDArray[np.float64]
PHOTOS, CLASSES = 10_000, 10


def sums_of_counts(members: NDArray[np.integer], right: NDArray[np.integer]) -> Sums:
    """Return the sums over photos that count, [..., H], of which some are right, [..., H]."""
    whole, part = members.astype(np.float64), right.astype(np.float64)
    zero = np.zeros_like(whole)
    return Sums(whole, whole, part, whole, part, part, whole, zero, zero, zero, zero)


@dataclass(frozen=True)
class Library:
    """Photos with a class, a score and whether the tag is right."""

    classes: NDArray[np.int64]
    scores: Floats
    right: Floats


def library(accuracy: float, *, seed: int, overconfident: float = 0.0) -> Library:
    """A library of that accuracy; some classes are harder than others, and scores tell right from wrong a bit."""
    random = np.random.default_rng(seed)
    shares = np.arange(1, CLASSES + 1) / np.arange(1, CLASSES + 1).sum()
    classes = random.choice(CLASSES, PHOTOS, p=shares)
    logits = random.normal(0, 1.8, PHOTOS) + random.normal(0, 0.6, CLASSES)[classes]
    low, high = -10.0, 15.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if special.expit(logits + middle).mean() < accuracy else (low, middle)
    chances = special.expit(logits + low)
    right = (random.random(PHOTOS) < chances).astype(np.float64)
    return Library(classes, special.expit((logits + low) * (1 + overconfident)), right)


def strata_of(photos: Library, by: str | None) -> NDArray[np.intp]:
    if by == "class":
        return photos.classes.astype(np.intp)
    if by == "score":
        names = np.array([sampling.band_name(score) for score in photos.scores])
        merged = sampling.merge_small(names.tolist(), 200)
        return np.unique(np.array(merged), return_inverse=True)[1].astype(np.intp)
    return np.zeros(PHOTOS, dtype=np.intp)


def audits(
    photos: Library,
    *,
    by: str | None = None,
    allocation: Allocation = Allocation.PROPORTIONAL,
    of_class: int | None = None,
    predictions: bool = False,
    size: int = 200,
    times: int = 1000,
    seed: int = 1,
) -> tuple[Ratios, float]:
    """Many audits of one library at once, and the true share."""
    random = np.random.default_rng(seed)
    strata = strata_of(photos, by)
    population = np.bincount(strata).astype(np.int64)
    errors = np.bincount(strata, weights=1 - photos.scores) / population
    numbers = sampling.allocate(sampling.allocation_weights(population, errors, allocation), population, size)
    members = np.ones(PHOTOS) if of_class is None else (photos.classes == of_class).astype(np.float64)
    keys = random.random((times, PHOTOS), dtype=np.float32)
    drawn = []
    for stratum, number in enumerate(numbers.tolist()):
        rows = np.flatnonzero(strata == stratum)
        drawn.append(rows[np.argpartition(keys[:, rows], number - 1, axis=1)[:, :number]])

    def total(values: Floats) -> Floats:
        return np.stack([values[rows].sum(axis=1) for rows in drawn], axis=1)

    whole, part, scores = members, members * photos.right, members * photos.scores
    values = (whole, whole, part, whole, part, part, whole, scores, scores * part, scores**2, scores)
    sums = Sums(*(total(each) for each in values))
    if not predictions:
        sums = sums_of_counts(sums.members, sums.part)
    design = SamplingDesign.of(population, np.broadcast_to(numbers, (times, len(numbers))))
    known = scores.sum() / members.sum() if predictions else None
    return ratio(design, sums, known=known), float(part.sum() / members.sum())


def coverage(found: Ratios, truth: float) -> float:
    return float(((found.low <= truth) & (truth <= found.high)).mean())


def width(found: Ratios) -> float:
    return float((found.high - found.low).mean())


class TestCoverage:
    """Intervals hold the truth about 95 times in 100, in a thousand audits of a library of known truth."""

    @pytest.mark.parametrize("accuracy", [0.8, 0.93, 0.99])
    @pytest.mark.parametrize(
        ("by", "allocation"),
        [
            (None, Allocation.PROPORTIONAL),
            ("class", Allocation.PROPORTIONAL),
            ("score", Allocation.PROPORTIONAL),
            ("score", Allocation.NEYMAN),
            ("class", Allocation.EQUAL),
        ],
    )
    def test_of_the_whole(self, accuracy: float, by: str | None, allocation: Allocation) -> None:
        found, truth = audits(library(accuracy, seed=3), by=by, allocation=allocation)
        assert 0.93 <= coverage(found, truth) <= 0.975
        assert abs(float(found.value.mean()) - truth) < 0.003

    @pytest.mark.parametrize("accuracy", [0.8, 0.93])
    @pytest.mark.parametrize("by", [None, "class", "score"])
    def test_of_a_class(self, accuracy: float, by: str | None) -> None:
        found, truth = audits(library(accuracy, seed=4), by=by, of_class=CLASSES - 1)
        assert 0.93 <= coverage(found, truth) <= 0.98
        assert 25 < found.reviewed.mean() < 50

    @pytest.mark.parametrize("accuracy", [0.8, 0.93, 0.99])
    @pytest.mark.parametrize("overconfident", [0.0, 0.8])
    def test_with_predictions_good_or_bad(self, accuracy: float, overconfident: float) -> None:
        found, truth = audits(library(accuracy, seed=5, overconfident=overconfident), predictions=True)
        assert 0.93 <= coverage(found, truth) <= 0.975
        assert abs(float(found.value.mean()) - truth) < 0.003

    def test_where_a_sample_is_much_of_the_library(self) -> None:
        found, truth = audits(library(0.9, seed=6), size=5000, times=300)
        assert 0.93 <= coverage(found, truth) <= 0.98
        assert width(found) < 2 * 1.96 * np.sqrt(0.9 * 0.1 / 5000) * 0.75, "half of the library leaves less unknown"

    @pytest.mark.slow
    def test_over_many_libraries(self) -> None:
        misses: dict[str, list[float]] = {}
        for accuracy in (0.8, 0.95, 0.99):
            for seed in range(2):
                photos = library(accuracy, seed=seed)
                for by, allocation in (
                    (None, Allocation.PROPORTIONAL),
                    ("score", Allocation.PROPORTIONAL),
                    ("score", Allocation.NEYMAN),
                ):
                    for predictions in (False, True):
                        found, truth = audits(
                            photos, by=by, allocation=allocation, predictions=predictions, times=300, seed=seed
                        )
                        key = f"{accuracy} {by} {allocation} {predictions}"
                        misses.setdefault(key, []).append(coverage(found, truth))
        for key, shares in misses.items():
            assert 0.93 <= np.mean(shares) <= 0.98, key


class TestWidth:
    def test_strata_by_score_and_predictions_make_intervals_narrower(self) -> None:
        photos = library(0.93, seed=3)
        simple = width(audits(photos)[0])
        assert width(audits(photos, by="score")[0]) < simple
        assert width(audits(photos, by="score", allocation=Allocation.NEYMAN)[0]) < 0.9 * simple
        assert width(audits(photos, predictions=True)[0]) < 0.95 * simple

    def test_predictions_that_tell_nothing_cost_next_to_nothing(self) -> None:
        photos = library(0.9, seed=3)
        noise = np.random.default_rng(0).random(PHOTOS)
        blind = Library(photos.classes, noise, photos.right)
        assert width(audits(blind, predictions=True)[0]) < 1.03 * width(audits(blind)[0])


class TestIntervals:
    @pytest.mark.parametrize(("hits", "total"), [(0, 10), (3, 10), (10, 10), (190, 200), (1, 1)])
    def test_a_simple_sample_of_an_endless_library_gets_wilsons_interval(self, hits: int, total: int) -> None:
        expected = stats.binomtest(hits, total).proportion_ci(method="wilson")
        design = SamplingDesign.of(np.array([10**12]), np.array([total]))
        found = ratio(design, sums_of_counts(np.array([total]), np.array([hits]))).one()
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-6)

    def test_a_census_leaves_nothing_unknown(self) -> None:
        design = SamplingDesign.of(np.array([30, 70]), np.array([30, 70]))
        found = ratio(design, sums_of_counts(np.array([30, 70]), np.array([20, 70]))).one()
        assert (found.value, found.low, found.high) == pytest.approx((0.9, 0.9, 0.9))

    def test_no_photo_is_no_estimate(self) -> None:
        design = SamplingDesign.of(np.array([100]), np.array([10]))
        found = ratio(design, sums_of_counts(np.array([0]), np.array([0]))).one()
        assert (found.value, found.low, found.reviewed) == (None, None, 0)

    def test_a_stratified_share_is_that_of_the_textbook(self) -> None:
        # 9,000 photos with 2 of 90 wrong, 1,000 with 5 of 10 wrong.
        design = SamplingDesign.of(np.array([9000, 1000]), np.array([90, 10]))
        found = ratio(design, sums_of_counts(np.array([90, 10]), np.array([88, 5]))).one()
        assert found.value == pytest.approx(0.9 * 88 / 90 + 0.1 * 0.5)

    def test_wilson_at_sizes_that_are_no_whole_numbers(self) -> None:
        low, high = wilson_interval(np.array([0.5, 0.5, 0.5]), np.array([0.0, 7.5, np.inf]))
        assert (low[0], high[0]) == (0.0, 1.0)
        assert low[1] < 0.5 < high[1]
        assert (low[2], high[2]) == (0.5, 0.5)

    def test_samples_taken_together_count_by_their_sizes(self) -> None:
        one = SamplingDesign.of(np.array([10**9]), np.array([100]))
        other = SamplingDesign.of(np.array([10**9]), np.array([300]))
        together = SamplingDesign.combined([one, other])
        found = ratio(together, sums_of_counts(np.array([100, 300]), np.array([80, 270]))).one()
        whole = ratio(
            SamplingDesign.of(np.array([10**9]), np.array([400])), sums_of_counts(np.array([400]), np.array([350]))
        ).one()
        assert found.value == pytest.approx(whole.value)
        assert (found.low, found.high) == pytest.approx((whole.low, whole.high), abs=0.004)

    def test_strata_with_too_few_reviews_join_a_neighbour(self) -> None:
        groups = joined_strata(np.array([10, 20, 30, 40]), np.array([0, 5, 1, 9]))
        assert groups.tolist() == [0, 0, 1, 1]
        assert joined_strata(np.array([10, 20]), np.array([1, 0])).tolist() == [0, 0]
        assert joined_strata(np.array([10]), np.array([1])).tolist() == [0]


class TestPlanning:
    @pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
    @pytest.mark.parametrize("population", [150, 5000, None])
    def test_the_needed_size_is_the_least_that_is_enough(self, share: float, population: int | None) -> None:
        size = float("inf") if population is None else float(population)
        needed = needed_size(share, 0.03, population=size)

        def reached(number: int) -> float:
            return half_width(share, finite_size(number, size))

        assert reached(needed) <= 0.03 + 1e-9
        assert needed == 1 or reached(needed - 1) > 0.03

    def test_more_is_never_more_than_there_are(self) -> None:
        design = SamplingDesign.of(np.array([1000]), np.array([100]))
        few = ratio(design, sums_of_counts(np.array([10]), np.array([7]))).one()
        need = need_of("gecko", "subclass", few, 0.01, population=60)
        assert (need.reviewed, need.more) == (10, 50)

    def test_what_is_sharp_enough_needs_nothing(self) -> None:
        design = SamplingDesign.of(np.array([10**6]), np.array([2000]))
        sharp = ratio(design, sums_of_counts(np.array([2000]), np.array([1900]))).one()
        need = need_of("all", "subclass", sharp, 0.03, population=10**6)
        assert need.reached
        assert need.half_width is not None
        assert need.half_width < 0.03

    def test_going_on_as_planned_gets_there(self) -> None:
        right = library(0.93, seed=3).right
        random = np.random.default_rng(1)
        order = random.permutation(PHOTOS)
        size = 100
        for _ in range(5):
            part = right[order[:size]]
            design = SamplingDesign.of(np.array([PHOTOS]), np.array([size]))
            found = ratio(design, sums_of_counts(np.array([size]), np.array([part.sum()]))).one()
            need = need_of("all", "subclass", found, 0.03, population=PHOTOS)
            size += need.more
        assert need.reached
        assert size < 600


# ---- the meaning of the shares

LABELS = [
    (("bird", "rooster"), ("bird", "rooster")),
    (("dog", "boxer"), ("dog", "beagle")),
    (("dog", "beagle"), ("reptile", "gecko")),
    (("bird", None), ("bird", "hawk")),
    (("bird", "hawk"), ("bird", None)),
    (("bird", None), ("bird", None)),
    ((None, None), (None, None)),
    (("reptile", "gecko"), (None, None)),
    (("dog", "boxer"), ("dog", "boxer")),
]
Pair = tuple[str | None, str | None]


def tag_of(label: Pair, score: float = 0.9) -> Tag:
    superclass, subclass = label
    rank = Rank.NONE if superclass is None else Rank.SUPERCLASS if subclass is None else Rank.SUBCLASS
    return Tag(superclass, subclass, rank, score, score, 1 - score)


def drawn_of(pairs: Sequence[tuple[Pair, Pair | None]], population: int, *, folder: str = "lib") -> ReviewedSample:
    judged = [
        ReviewedPhoto(f"/{folder}/{index % 2}/{index}.jpg".encode(), "all", tag_of(tag), truth)
        for index, (tag, truth) in enumerate(pairs)
    ]
    scale = population // len(pairs)
    cells = [Cell("all", *tag, scale, (0.9 * scale, 0.9 * scale)) for tag, _ in pairs]
    return ReviewedSample("one", (("all", population),), tuple(judged), tuple(cells))


class TestMeaning:
    def test_a_census_says_what_metrics_say(self) -> None:
        found = Accuracy([drawn_of(LABELS, len(LABELS))]).metrics()
        expected = measure([Truth(truth=truth, predicted=tag) for tag, truth in LABELS]).scalars()
        for name, estimate in found.items():
            if name in expected:
                assert estimate.value == pytest.approx(expected[name]), name
                assert (estimate.low, estimate.high) == pytest.approx((estimate.value, estimate.value)), name
        assert found["novel_share"].value == pytest.approx(4 / 9)
        assert found["novel_handled"].value == pytest.approx(2 / 4)

    def test_classes_are_judged_one_by_one(self) -> None:
        rows = {row.name: row for row in Accuracy([drawn_of(LABELS, 900)]).classes("subclass")}
        boxer = rows["dog/boxer"]
        assert (boxer.population, boxer.subclass.reviewed, boxer.subclass.value) == (200, 2, 0.5)
        assert rows["dog/beagle"].subclass.value == 0.0
        assert rows["dog/beagle"].recall is not None
        assert rows["dog/beagle"].recall.value == 0.0
        tops = {row.name: row for row in Accuracy([drawn_of(LABELS, 900)]).classes("superclass")}
        assert tops["dog"].superclass.value == pytest.approx(2 / 3)
        assert tops["dog"].population == 300

    def test_skipped_photos_bound_the_interval(self) -> None:
        pairs: list[tuple[Pair, Pair | None]] = [*LABELS * 5, (("bird", "hawk"), None), (("bird", "hawk"), None)]
        accuracy = Accuracy([drawn_of(pairs, 4700)])
        bounds = accuracy.bounds("subclass")
        plain = accuracy.metrics()["subclass_precision_given"]
        assert accuracy.reviewed == 45
        assert bounds is not None
        assert plain.low is not None
        assert plain.high is not None
        assert bounds[0] < plain.low < plain.high < bounds[1]
        assert Accuracy([drawn_of(LABELS, 900)]).bounds("subclass") is None

    def test_only_photos_below_a_folder(self) -> None:
        from pathlib import Path

        accuracy = Accuracy([drawn_of(LABELS, 900)], under=Path("/lib/1"))
        assert accuracy.reviewed == 4
        assert accuracy.population() is None
        assert [row.name for row in accuracy.folders()] == ["."]
        assert [row.name for row in Accuracy([drawn_of(LABELS, 900)]).folders()] == ["0", "1"]

    def test_nothing_reviewed_is_an_error_with_words(self) -> None:
        with pytest.raises(UsageError, match="no photo of sample one has been reviewed yet"):
            Accuracy([drawn_of([(("bird", "hawk"), None)], 10)])

    def test_predictions_equal_to_the_truth_leave_hardly_anything_unknown(self) -> None:
        random = np.random.default_rng(1)
        judged = []
        for index in range(200):
            right = bool(random.random() < 0.8)
            truth = ("bird", "hawk") if right else ("bird", "rooster")
            judged.append(
                ReviewedPhoto(f"/{index}".encode(), "all", tag_of(("bird", "hawk"), 0.99 if right else 0.01), truth)
            )
        cells = (Cell("all", "bird", "hawk", 10_000, (9900.0, 10_000 * (0.8 * 0.99 + 0.2 * 0.01))),)
        drawn = ReviewedSample("one", (("all", 10_000),), tuple(judged), cells)
        plain = Accuracy([drawn]).metrics()["subclass_precision_given"]
        sharp = Accuracy([drawn], predictions=True).metrics()["subclass_precision_given"]
        assert sharp.half_width is not None
        assert plain.half_width is not None
        assert sharp.half_width < plain.half_width / 2
        assert sharp.low is not None
        assert sharp.high is not None
        assert sharp.low <= 0.8 <= sharp.high
