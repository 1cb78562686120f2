"""Tables of scores: what thresholds keep, and how precise it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phototag.errors import ModelError
from phototag.evaluation.score_table import ScoreTable, ValidationScores
from tests.support.validation_scores import draw_scores


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
    values, right = draw_scores(50_000, np.random.default_rng(0))
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


OF_PAIR = {"groups": [1], "kept_kept": [4], "kept_right": [2], "right_right": [1]}


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
        {"scores": [5], "pictures": [2], "right": [1], "groups": [1]},
        {"scores": [5], "pictures": [2], "right": [1], **OF_PAIR, "groups": [3]},
        {"scores": [5], "pictures": [2], "right": [1], **OF_PAIR, "kept_kept": [5]},
        {"scores": [5], "pictures": [2], "right": [1], **OF_PAIR, "right_right": [3]},
        {"scores": [5], "pictures": [2], "right": [1], **OF_PAIR, "kept_right": ["2"]},
        {"scores": [5], "pictures": [2], "right": [1], **OF_PAIR, "kept_kept": [1 << 62]},
        {"scores": list(range(20_000, 0, -1)), "pictures": [1] * 20_000, "right": [1] * 20_000},
    ],
)
def test_damaged_table_is_refused(value: object) -> None:
    with pytest.raises(ModelError, match="validation scores"):
        ScoreTable.from_json(value)
    with pytest.raises(ModelError, match="validation scores"):
        ValidationScores.from_json({"superclass": value, "subclass": value} if value else value)


@given(st.lists(st.tuples(st.sampled_from([0.9, 0.5, 0.2, 0.0]), st.booleans(), st.integers(0, 4)), max_size=40))
def test_table_sums_over_the_groups_of_what_its_thresholds_keep(pictures: list[tuple[float, bool, int]]) -> None:
    values, right, groups = (np.array([picture[column] for picture in pictures]) for column in range(3))
    table = ScoreTable.of(values.astype(float), right.astype(bool), groups.astype(np.intp))
    for row, score in enumerate(table.scores):
        chosen = values >= score / 10_000
        kept = np.bincount(groups[chosen], minlength=5)
        fine = np.bincount(groups[chosen & right], minlength=5)
        wanted = ((kept > 0).sum(), (kept * kept).sum(), (kept * fine).sum(), (fine * fine).sum())
        assert tuple(int(column[row]) for column in table.sums()) == wanted
    assert ScoreTable.from_json(table.to_json()) == table


def test_pictures_that_are_groups_of_their_own_need_no_sums() -> None:
    values, right = draw_scores(300, np.random.default_rng(0))
    table = ScoreTable.of(values, right, np.arange(300))
    assert table == ScoreTable.of(values, right)
    assert "groups" not in table.to_json()
