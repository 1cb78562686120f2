"""Groups stay whole, whatever is split."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from phototag.dataset.grouping import Links, dealt_folds, held_out, near_pairs

labelled = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=60).map(
    lambda pairs: (
        np.array([label for label, _ in pairs], dtype=np.intp),
        np.array([4 * label + group for label, group in pairs], dtype=np.intp),
    )
)


@given(labelled, st.integers(2, 5), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_folds_keep_groups_whole_and_leave_every_class_something_to_learn_from(
    data: tuple[np.ndarray, np.ndarray], folds: int, seed: int
) -> None:
    classes, groups = data
    dealt = dealt_folds(classes, groups, folds=folds, seed=seed)
    for fold in range(folds):
        apart = dealt == fold
        assert not set(groups[apart]) & set(groups[~apart])
        assert set(classes[~apart]) == set(classes)
    for label in set(classes):
        assert (dealt[classes == label] < 0).all() == (len(set(groups[classes == label])) == 1)


@given(labelled, st.floats(0.05, 0.9), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_what_is_held_out_are_whole_groups_of_every_class_that_has_two(
    data: tuple[np.ndarray, np.ndarray], fraction: float, seed: int
) -> None:
    classes, groups = data
    out = held_out(classes, groups, fraction=fraction, seed=seed)
    assert not set(groups[out]) & set(groups[~out])
    assert set(classes[~out]) == set(classes)
    assert set(classes[out]) == {label for label in set(classes) if len(set(groups[classes == label])) > 1}


def test_single_pictures_are_split_by_the_fraction() -> None:
    classes = np.repeat(np.arange(5), 20)
    out = held_out(classes, np.arange(100), fraction=0.2, seed=0)
    assert np.bincount(classes[out]).tolist() == [4] * 5


def test_pictures_linked_through_others_are_one_group() -> None:
    links = Links(6)
    links.join([(0, 3), (3, 5), (1, 2)])
    assert links.groups().tolist() == [0, 1, 1, 0, 2, 0]


def test_near_pairs_are_those_within_the_distance() -> None:
    looks = np.array([[1, 0], [2, 0.1], [0, 1], [-1, 0]], dtype=np.float32)
    assert list(near_pairs(looks, 0.01)) == [(0, 1)]
