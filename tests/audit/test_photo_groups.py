"""Photos that belong together: which are found, how they are sampled together, and what intervals make of them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from phototag.audit.audit_report import make_report
from phototag.audit.estimation import SamplingDesign, Sums, Units, design_effect, ratio
from phototag.audit.group_sampling import MOST, Parts, parts_of
from phototag.audit.photo_groups import LOOK_DISTANCE, Photos, find_groups, near_groups
from phototag.audit.sample_creation import create_sample, extend_sample, find_sample
from phototag.audit.truth import compare_with_truth
from phototag.choices import StrataBy
from phototag.dataset import LabelledData, LabelledPicture
from phototag.decision import Evidence, pack
from phototag.errors import UsageError
from phototag.records import Photo, Rank, Tag
from phototag.store import Review, Store, StoredTag
from phototag.taxonomy import Taxonomy
from tests.support.commands import RunCommand

TAXONOMY = Taxonomy.from_pairs([("bird", "hawk"), ("bird", "rooster"), ("dog", "beagle")])
WIDTH = 32
SERIES = 9
"""Photos of each series of the library: two in each of six folders, beside as many single photos."""

Floats = NDArray[np.float32]


def scores_of(points: Floats, top: NDArray[np.intp]) -> list[bytes]:
    """Packed scores of photos that look like the class `top` [N] most and have these embeddings [N, WIDTH]."""
    count = len(points)
    zeros = np.zeros((count, 2), dtype=np.float32)
    order = np.stack([(top + step) % 3 for step in range(3)], axis=1).astype(np.uint16)
    return pack(
        Evidence(
            superclass=zeros,
            pooled=zeros,
            best=np.array([[0, 2]] * count, dtype=np.uint16),
            best_logit=zeros,
            top=order,
            top_logit=np.tile(np.array([3, 2, 1], dtype=np.float32), (count, 1)),
            novelty=zeros,
            embedding=points.astype(np.float16),
        )
    )


class Library:
    """Photos in the default database: `series` [N] is the true group of each, in the order of `paths`."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        centres = 4 * random.standard_normal((3, WIDTH))
        paths, series, points, tops = [], [], [], []
        for number in range(12 + 12 * SERIES):
            # The first twelve numbers are series, the others single photos.
            look = random.standard_normal(WIDTH)
            top = int(random.integers(3))
            for frame in range(SERIES if number < 12 else 1):
                paths.append(Path(f"/lib/{number % 6}/{number:03}-{frame}.jpg"))
                series.append(number)
                points.append(centres[top] + look + 0.25 * random.standard_normal(WIDTH))
                tops.append(top)
        self.paths, self.series = paths, np.array(series)
        names = [TAXONOMY.subclasses[top] for top in tops]
        tags = [Tag(TAXONOMY.parent(name), name, Rank.SUBCLASS, 0.9, 0.9, 0.1) for name in names]
        self.names = dict(zip(paths, names, strict=True))
        blobs = scores_of(np.array(points, dtype=np.float32), np.array(tops))
        rows = [
            StoredTag(Photo(path, 1, 1, 1, 1), hashlib.sha256(str(path).encode()).digest(), 4, 3, blob, tag)
            for path, blob, tag in zip(paths, blobs, tags, strict=True)
        ]
        with Store.open() as store, store.writing("test"):
            model = store.models.register(hash="a" * 64, name="m", backbone="b", taxonomy=TAXONOMY, metrics={})
            store.tags.save_batch(model_id=model, tagged=rows)

    def review(self, name: str) -> None:
        """Say of each photo of a sample what it is: the tags of every third series are wrong."""
        truth = {path: (int(number), self.names[path]) for path, number in zip(self.paths, self.series, strict=True)}
        with Store.open() as store, store.writing("test"):
            sample = find_sample(store, name)
            for item in store.samples.items(sample.id, pending_only=True):
                number, right = truth[item.path]
                label = ("dog", "beagle") if right != "beagle" else ("bird", "hawk")
                label = (TAXONOMY.parent(right), right) if number % 3 else label
                store.reviews.save(
                    Review(photo_id=item.photo_id, superclass=label[0], subclass=label[1], sample_id=sample.id)
                )


@pytest.fixture
def library() -> Library:
    return Library()


def photos(count: int, *, folder: str = "lib", contents: list[bytes] | None = None) -> Photos:
    return Photos(
        np.arange(1, count + 1),
        np.ones(count, dtype=np.int64),
        contents or [bytes([number]) for number in range(count)],
        [f"/{folder}/{number}/a.jpg".encode() for number in range(count)],
    )


def together(labels: NDArray[np.intp]) -> list[list[int]]:
    return [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]


class TestFinding:
    def test_what_is_linked_through_others_is_one_group(self) -> None:
        angles = np.array([0.0, 0.7, 1.4, 3.0, 3.1])
        units = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        assert together(near_groups(units, LOOK_DISTANCE)) == [[0, 1, 2], [3, 4]]

    def test_thousands_of_pictures_of_one_scene_take_no_time(self) -> None:
        random = np.random.default_rng(0)
        units = np.concatenate([np.ones((1500, 8)), -np.ones((1500, 8))]).astype(np.float32)
        units += 0.01 * random.standard_normal(units.shape).astype(np.float32)
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        assert [len(group) for group in together(near_groups(units, LOOK_DISTANCE))] == [1500, 1500]

    def test_series_are_found_by_their_looks_beyond_the_class(self, library: Library) -> None:
        with Store.open() as store:
            sample = create_sample(store, size=10**6, by=StrataBy.GROUP)
            items = store.samples.items(sample.id)
        groups = sample.parameters["groups"]["of"]
        by_path = {item.path: groups[str(item.photo_id)][0] for item in items}
        found = [by_path[path] for path in library.paths]
        for number in range(12):
            assert len({found[row] for row in np.flatnonzero(library.series == number)}) == 1
        assert len(set(found)) == 12 + 12 * SERIES
        assert sample.parameters["groups"]["compared"] == len(library.paths)

    def test_copies_belong_together_wherever_they_lie_and_without_scores(self) -> None:
        with Store.open() as store:
            labels, compared = find_groups(store, photos(4, contents=[b"a", b"b", b"a", b"c"]))
        assert together(labels) == [[0, 2], [1], [3]]
        assert compared == 0


class TestSampling:
    def test_large_groups_come_in_parts_spread_over_them(self) -> None:
        groups = np.array([1] * 9 + [0] + [2] * 4)
        paths = [f"{number:02}".encode() for number in range(14)]
        parts = parts_of(groups, paths)
        assert together(parts[:9]) == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
        assert len(set(parts[10:])) == 1
        assert len(set(parts)) == 5

    def test_parts_are_sampled_whole_and_described(self, library: Library) -> None:
        with Store.open() as store:
            sample = create_sample(store, size=40, by=StrataBy.GROUP, seed=3)
            items = store.samples.items(sample.id)
            noted = sample.parameters["groups"]
            parts = [noted["of"][str(item.photo_id)][1] for item in items]
            sizes = Counter(parts)
            assert max(sizes.values()) <= MOST
            assert [parts[place] for place in sorted(parts.index(part) for part in sizes)] == list(dict.fromkeys(parts))
            assert 36 <= sample.size <= 48
            assert {item.inclusion_probability for item in items} == {len(sizes) / noted["parts"]}
            again = create_sample(store, size=40, by=StrataBy.GROUP, seed=3)
            assert [item.path for item in store.samples.items(again.id)] == [item.path for item in items]

    def test_a_sample_that_was_continued_is_the_one_taken_at_once(self, library: Library) -> None:
        with Store.open() as store:
            large = create_sample(store, size=120, name="large", by=StrataBy.GROUP, seed=3)
            noted = large.parameters["groups"]
            order = [noted["of"][str(item.photo_id)][1] for item in store.samples.items(large.id)]
            create_sample(store, size=30, name="small", by=StrataBy.GROUP, seed=3)
        library.review("small")
        with Store.open() as store:
            grown = extend_sample(store, "small", more=30)
            items = store.samples.items(grown.id)
        of = grown.parameters["groups"]["of"]
        parts = {part for _, part in of.values()}
        assert parts == set(list(dict.fromkeys(order))[: len(parts)])
        assert {str(item.photo_id) for item in items} == set(of)
        assert {item.inclusion_probability for item in items} == {len(parts) / noted["parts"]}

    def test_all_are_sampled_once(self) -> None:
        parts = Parts(np.arange(1, 11), np.arange(1, 11), np.array([1, 1, 3, 3, 5, 5, 7, 7, 9, 9]), 0)
        first = parts.sampled(2, 5)
        rest = parts.sampled(9, 5, known=[int(parts.ids[row]) for row in first])
        assert sorted(first + rest) == list(range(10))

    def test_a_sample_that_does_not_say_its_groups_is_refused(self, library: Library) -> None:
        with Store.open() as store:
            sample = create_sample(store, size=30, by=StrataBy.GROUP)
            with store.writing("test"):
                store.samples.extend(
                    sample.id, items=[], strata=sample.strata, parameters={**sample.parameters, "groups": {"of": 3}}
                )
            with pytest.raises(UsageError, match="does not say in which groups it was sampled"):
                extend_sample(store, sample.name, more=5)


class TestIntervals:
    def test_intervals_of_groups_cover_where_those_of_photos_do_not(self) -> None:
        random = np.random.default_rng(2)
        groups = np.repeat(np.arange(1400), np.r_[np.ones(1000, int), np.full(400, 5)])
        right = (random.random(1400) < 0.9)[groups].astype(np.float64)
        parts = parts_of(groups, [number.to_bytes(2) for number in range(len(groups))])
        count, truth, held = int(parts.max()) + 1, right.mean(), np.zeros(2)
        for _ in range(400):
            rows = np.flatnonzero(np.isin(parts, random.choice(count, 120, replace=False)))
            of = np.unique(parts[rows], return_inverse=True)[1]
            whole, one = np.ones(len(rows)), Units.photos(np.zeros(len(rows), dtype=np.intp))
            grouped = ratio(
                SamplingDesign.of(np.array([count]), np.array([120]), in_groups=True),
                Sums.of(Units(np.zeros(120, dtype=np.intp), of, whole), 1, right[rows], whole),
            )
            alone = ratio(
                SamplingDesign.of(np.array([len(groups)]), np.array([len(rows)])), Sums.of(one, 1, right[rows], whole)
            )
            held += [bool(each.low <= truth <= each.high) for each in (grouped, alone)]
        assert held[0] / 400 >= 0.93
        assert held[1] < held[0] - 12

    def test_the_design_effect_of_groups_that_are_all_alike_is_their_size(self) -> None:
        right = np.repeat([1.0, 0.0, 1.0, 1.0] * 25, 3)
        units = Units(np.zeros(100, dtype=np.intp), np.repeat(np.arange(100), 3), np.ones(300))
        assert design_effect(units, right, np.ones(300)) == pytest.approx(3, rel=0.02)
        assert design_effect(units, np.ones(300), np.ones(300)) is None

    def test_a_part_that_was_reviewed_in_part_stands_for_its_photos(self, library: Library) -> None:
        with Store.open() as store:
            sample = create_sample(store, size=60, by=StrataBy.GROUP, seed=1)
        library.review(sample.name)
        with Store.open() as store:
            whole = make_report(store).metrics["subclass_precision_given"]
            series = Counter(part for _, part in sample.parameters["groups"]["of"].values())
            part = next(part for part, size in series.items() if size > 1)
            photo = next(photo for photo, (_, of) in sample.parameters["groups"]["of"].items() if of == part)
            with store.writing("test"):
                made = next(one for one in store.reviews.find_all() if one.photo_id == int(photo))
                store.reviews.undo(made.id)
            less = make_report(store).metrics["subclass_precision_given"]
        assert less.reviewed == whole.reviewed - 1
        # All photos of a series are right or wrong here.
        assert less.value == pytest.approx(whole.value)


class TestReporting:
    def test_a_sample_of_groups_says_so(self, library: Library, run_phototag: RunCommand) -> None:
        result = run_phototag("audit", "sample", "g", "--by", "group", "--size", "60", "--seed", "1")
        assert result.exit_code == 0, result.stderr
        assert "photos, by group, at most 4 photos of one at a time, seed 1" in result.stdout
        assert "216 photos in 120 groups; the largest 9." in result.stderr
        library.review("g")
        found = json.loads(run_phototag("audit", "report", "--plan", "--format", "json").stdout)
        groups, estimate = found["groups"], found["subclass_precision_given"]
        assert groups["parts"] >= groups["count"] > 10
        assert groups["design_effect"]["subclass"] > 1.3
        assert estimate["effective_size"] < estimate["reviewed"]
        assert any("intervals count parts of groups, not photos" in note for note in found["notes"])
        assert found["score_tests"]["subclass"]["left_out"] == estimate["reviewed"] - groups["count"]
        refused = run_phototag("audit", "sample", "--by", "group", "--allocation", "equal")
        assert "needs --by with strata" in refused.stderr

    def test_photos_sampled_one_by_one_that_lie_in_series_are_told(
        self, library: Library, run_phototag: RunCommand
    ) -> None:
        assert run_phototag("audit", "sample", "s", "--size", "100", "--seed", "1").exit_code == 0
        library.review("s")
        found = json.loads(run_phototag("audit", "report", "--format", "json").stdout)
        groups, level = found["groups"], "subclass"
        assert groups["parts"] == 0
        assert 20 < groups["in_series"] < 80
        alone, new = found["subclass_precision_given"], groups["new_photos"][level]
        assert new["high"] - new["low"] > 1.2 * (alone["high"] - alone["low"])
        assert any("as each photo was sampled by itself" in note for note in found["notes"])
        assert any("photos still to come" in note for note in found["notes"])

    def test_known_labels_are_counted_by_groups_too(self, library: Library) -> None:
        pictures = [
            LabelledPicture(path, TAXONOMY.parent(name), name, "truth.csv") for path, name in library.names.items()
        ]
        with Store.open() as store:
            groups = compare_with_truth(store, LabelledData(Path("truth.csv"), tuple(pictures))).groups
        assert (groups.count, groups.in_series, groups.largest) == (120, 108, SERIES)
        assert (groups.accuracy["subclass"].value, groups.accuracy["subclass"].reviewed) == (1, 216)
