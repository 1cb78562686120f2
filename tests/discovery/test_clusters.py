"""Grouping of embeddings: how many groups come out, what is in them, and that nothing depends on chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from phototag.decision.novelty import Space
from phototag.discovery.assign import grow
from phototag.discovery.cluster import Grouping, group, neighbours

AXES = 32
SPREAD = np.linspace(40, 1, AXES).astype(np.float32)

Floats = NDArray[np.float32]
Labels = NDArray[np.intp]


def kinds(counts: list[int], *, strangers: int = 0, seed: int = 1, axes: int = AXES) -> tuple[Floats, Labels]:
    """Shuffled points of one kind for each count, and points that belong to none: their truth is -1."""
    random = np.random.default_rng(seed)
    deviations = np.sqrt(np.maximum(SPREAD[:axes] - 1, 0.5))
    truth = np.repeat(np.arange(len(counts) + strangers), [*counts, *[1] * strangers])
    means = random.normal(0, 1, (len(counts) + strangers, axes)) * deviations
    points = means[truth] + random.normal(0, 1.4, (len(truth), axes))
    order = random.permutation(len(truth))
    truth = np.where(truth < len(counts), truth, -1)
    return points[order].astype(np.float32), truth[order]


def purity(found: Grouping, truth: Labels) -> float:
    right = sum(np.bincount(truth[found.labels == number] + 1).max() for number in range(found.count))
    return float(right / max(np.count_nonzero(found.labels >= 0), 1))


def test_as_many_groups_come_out_as_there_are_kinds() -> None:
    points, truth = kinds([50, 40, 30, 20, 15, 12])
    found = group(points, SPREAD)
    assert found.count == 6
    assert purity(found, truth) > 0.98
    assert np.count_nonzero(found.labels >= 0) > 0.95 * len(points)


def test_groups_are_ordered_by_size() -> None:
    points, _ = kinds([12, 50, 30])
    sizes = np.bincount(group(points, SPREAD).labels + 1, minlength=4)[1:]
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True)


def test_photos_that_are_like_no_others_stay_alone() -> None:
    points, truth = kinds([40, 40], strangers=30)
    found = group(points, SPREAD)
    assert found.count == 2
    assert np.count_nonzero(found.labels[truth < 0] >= 0) <= 3


def test_a_kind_with_too_few_photos_is_no_group() -> None:
    points, truth = kinds([30, 6])
    assert group(points, SPREAD, min_size=8).count == 1
    smaller = group(points, SPREAD, min_size=5)
    assert smaller.count == 2
    assert set(truth[smaller.labels == 1].tolist()) == {1}


def test_kinds_that_differ_along_axes_of_no_use_for_known_classes_are_told_apart() -> None:
    random = np.random.default_rng(3)
    means = np.concatenate([np.full((9, 16), 5.0), random.normal(0, 4, (9, 16))], axis=1)
    truth = np.repeat(np.arange(9), 30)
    points = means[truth] + random.normal(0, 1.4, (len(truth), AXES))
    spread = np.concatenate([np.full(16, 30.0), np.ones(16)])
    found = group(points, spread)
    assert found.count == 9
    assert purity(found, truth) > 0.95


def test_the_same_points_give_the_same_groups_every_time() -> None:
    points, _ = kinds([40, 30, 20], strangers=20)
    first, second = group(points, SPREAD), group(points, SPREAD)
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.distances, second.distances)


def test_the_order_of_the_points_does_not_matter() -> None:
    points, _ = kinds([40, 30, 20], strangers=20)
    order = np.random.default_rng(5).permutation(len(points))
    plain, shuffled = group(points, SPREAD), group(points[order], SPREAD)
    assert np.array_equal(plain.labels[order], shuffled.labels)


def test_half_precision_is_enough() -> None:
    points, truth = kinds([40, 30, 20])
    found = group(points.astype(np.float16), SPREAD)
    assert found.count == 3
    assert purity(found, truth) > 0.98


def test_copies_of_one_photo_are_one_group() -> None:
    points, _ = kinds([30, 1])
    found = group(np.concatenate([points, np.repeat(points[:1] + 20, 10, axis=0)]), SPREAD)
    assert len(set(found.labels[-10:].tolist())) == 1
    assert found.labels[-1] >= 0


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_fewer_photos_than_a_group_needs_give_none(count: int) -> None:
    found = group(np.zeros((count, AXES), np.float16), SPREAD, min_size=8)
    assert found.count == 0
    assert found.labels.tolist() == [-1] * count
    assert np.isinf(found.distances).all()


def test_points_that_are_not_finite_stay_alone() -> None:
    points, _ = kinds([30, 20])
    points[3, 4], points[7, 0] = np.nan, np.inf
    found = group(points, SPREAD)
    assert found.labels[[3, 7]].tolist() == [-1, -1]
    assert found.count == 2


def test_the_most_typical_have_the_smallest_distance_and_the_spread_is_that_of_the_members() -> None:
    points, truth = kinds([60, 60])
    found = group(points, SPREAD)
    assert found.spreads == pytest.approx([1.4, 1.4], abs=0.1)
    members = points[found.labels == 0].astype(np.float64)
    far = np.sqrt(((members - members.mean(axis=0)) ** 2).mean(axis=1))
    assert found.distances[found.labels == 0] == pytest.approx(far)
    assert found.means[0] == pytest.approx(members.mean(axis=0))
    assert np.isinf(found.distances[found.labels < 0]).all()
    assert len(truth) == 120


@pytest.mark.parametrize(("shape", "min_size"), [((4,), 8), ((4, 3), 8), ((4, AXES), 1)])
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], min_size: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        group(np.zeros(shape), SPREAD, min_size=min_size)


def test_neighbours_are_the_nearest_and_each_edge_comes_once() -> None:
    line = np.array([[0.0], [1.0], [2.1], [10.0], [11.5]])
    edges = neighbours(line, 1)
    assert edges.tolist() == [[0, 1], [1, 2], [3, 4]]
    assert len(neighbours(line, 99)) == 10


def test_neighbours_found_in_parts_are_those_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(2).normal(size=(300, 8))
    whole = neighbours(points, 5)
    monkeypatch.setattr("phototag.discovery.cluster._ROWS", 64)
    assert np.array_equal(neighbours(points, 5), whole)
    distances = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = {tuple(sorted((row, int(other)))) for row in range(300) for other in np.argsort(distances[row])[:5]}
    assert {tuple(edge) for edge in whole.tolist()} == nearest


def test_neighbours_in_cells_are_nearly_those_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    points, _ = kinds([60] * 30, strangers=200)
    everything = {tuple(edge) for edge in neighbours(points.astype(np.float64), 15).tolist()}
    monkeypatch.setattr("phototag.discovery.cluster._CELL", 64)
    found = [tuple(edge) for edge in neighbours(points.astype(np.float64), 15).tolist()]
    assert len(set(found)) == len(found)
    assert len(everything.intersection(found)) > 0.9 * len(everything)


def test_many_points_in_cells_and_measured_in_part_give_the_groups_that_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points, truth = kinds([300, 200, *[40] * 20], strangers=200)
    monkeypatch.setattr("phototag.discovery.cluster._CELL", 64)
    monkeypatch.setattr("phototag.discovery.cluster._MOST_TO_MEASURE", 600)
    found = group(points, SPREAD)
    assert found.count == 22
    assert purity(found, truth) > 0.98
    assert np.count_nonzero(found.labels >= 0) > 0.95 * np.count_nonzero(truth >= 0)


@pytest.mark.parametrize("far", [0.0, 1e4])
def test_thousands_of_copies_and_points_far_from_all_others_have_neighbours(
    monkeypatch: pytest.MonkeyPatch, far: float
) -> None:
    monkeypatch.setattr("phototag.discovery.cluster._CELL", 32)
    monkeypatch.setattr("phototag.discovery.cluster._MOST_SEARCHED", 256)
    apart = np.eye(40, AXES)[:, ::-1] * far * np.arange(1, 41)[:, None]
    edges = neighbours(np.concatenate([np.zeros((1000, AXES)), apart]), 15)
    assert set(edges.ravel().tolist()) == set(range(1040))


KNOWN = Space(np.random.default_rng(8).normal(0, 1, (6, AXES)).astype(np.float32) * np.sqrt(SPREAD), SPREAD)


@dataclass(frozen=True)
class Picture:
    path_bytes: bytes
    row: int


class Library:
    """Points that were tagged as known, read in pages, and how often they were."""

    def __init__(self, points: Floats, page: int = 50) -> None:
        self.points, self.page, self.readings = points, page, 0

    def __call__(self) -> Iterator[tuple[list[Picture], Floats]]:
        self.readings += 1
        for start in range(0, len(self.points), self.page):
            part = self.points[start : start + self.page]
            yield [Picture(b"%06d" % row, row) for row in range(start, start + len(part))], part


def of_known(count: int, seed: int = 6) -> Floats:
    """Points about the means of known classes."""
    random = np.random.default_rng(seed)
    means = KNOWN.means[random.integers(0, len(KNOWN.means), count)]
    return (means + random.normal(0, 1.4, (count, AXES))).astype(np.float32)


def test_groups_take_in_what_they_explain_better_than_known_classes() -> None:
    points, truth = kinds([60, 60, 60, 60, 60, 60])
    rejected = np.arange(len(points)) % 3 == 0
    library = Library(np.concatenate([points[~rejected], of_known(400)]).astype(np.float32))
    grown = grow(points[rejected], KNOWN, library)
    taken = [picture.row for picture in grown.taken]
    assert taken == sorted(taken)
    assert len(taken) > 0.9 * np.count_nonzero(~rejected)
    assert max(taken) < np.count_nonzero(~rejected)
    assert len(grown.grouping.labels) == np.count_nonzero(rejected) + len(taken)
    everything = np.concatenate([truth[rejected], truth[~rejected][taken]])
    assert grown.grouping.count == 6
    assert purity(grown.grouping, everything) > 0.98


def test_known_photos_stay_where_they_are_however_many() -> None:
    points, _ = kinds([40, 40, 40, 40, 40, 40])
    assert not grow(points, KNOWN, Library(of_known(20_000), page=4096)).taken


def test_what_is_like_nothing_at_all_is_not_taken_in() -> None:
    points, _ = kinds([40, 40, 40, 40, 40, 40])
    strangers = np.random.default_rng(7).normal(0, 4, (300, AXES)).astype(np.float32) * np.sqrt(SPREAD)
    assert len(grow(points, KNOWN, Library(strangers)).taken) <= 3


def test_the_size_of_pages_does_not_matter() -> None:
    points, _ = kinds([60, 60, 60, 60, 60, 60])
    rest = np.concatenate([points[180:], of_known(100)])
    whole, parts = (grow(points[:180], KNOWN, Library(rest, page=page)) for page in (1000, 7))
    assert [each.row for each in whole.taken] == [each.row for each in parts.taken]
    assert np.array_equal(whole.grouping.labels, parts.grouping.labels)


def test_a_group_takes_in_no_more_than_three_for_each_that_was_rejected() -> None:
    points, truth = kinds([240, 240])
    rejected = np.concatenate([np.flatnonzero(truth == kind)[:20] for kind in range(2)])
    rest = np.delete(np.arange(len(points)), rejected)
    taken = grow(points[rejected], KNOWN, Library(points[rest])).taken
    assert 100 < len(taken) <= 120


def test_tagged_points_that_are_not_finite_are_passed_over() -> None:
    points, _ = kinds([60, 60, 60, 60, 60, 60])
    rest = points[180:].copy()
    plain = [each.row for each in grow(points[:180], KNOWN, Library(rest)).taken]
    rest[plain[0], 3], rest[plain[1], 0] = np.nan, np.inf
    found = {each.row for each in grow(points[:180], KNOWN, Library(rest)).taken}
    assert not found & set(plain[:2])
    assert len(found) > 0.9 * len(plain)


def test_without_a_group_nothing_tagged_is_read() -> None:
    library = Library(of_known(50))
    assert grow(np.zeros((2, AXES), np.float32), KNOWN, library).grouping.count == 0
    assert library.readings == 0


def test_members_that_another_group_explains_as_well_leave() -> None:
    points, _ = kinds([60, 60, 60, 60, 60, 60])
    means = group(points, SPREAD).means
    between = ((means[0] + means[1]) / 2 + np.random.default_rng(4).normal(0, 0.3, (3, AXES))).astype(np.float32)
    grown = grow(np.concatenate([points, between]), KNOWN)
    assert set(grown.grouping.labels[-3:].tolist()) == {-1}
    assert np.count_nonzero(grown.grouping.labels >= 0) > 0.95 * len(points)


def test_rejected_photos_of_a_known_class_are_no_group() -> None:
    points, _ = kinds([40, 40, 40, 40, 40])
    known = (KNOWN.means[2] + np.random.default_rng(3).normal(0, 1.4, (25, AXES))).astype(np.float32)
    grown = grow(np.concatenate([points, known]), KNOWN)
    assert grown.grouping.count == 5
    assert set(grown.grouping.labels[-25:].tolist()) == {-1}


@pytest.mark.slow
def test_many_photos_need_no_memory_for_every_pair() -> None:
    import tracemalloc

    points, truth = kinds([120] * 40, strangers=200)
    tracemalloc.start()
    found = group(points, SPREAD)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(points) ** 2 * 4  # what a table of all distances would take
    assert 36 <= found.count <= 44
    assert purity(found, truth) > 0.95
