"""Decoded scores of labelled pictures, in parts and joined."""

from __future__ import annotations

import numpy as np
import pytest

from phototag.evaluation.validation import Validation, label_indexes
from phototag.records import Scores
from tests.support.validation_scores import TAXONOMY, calibrated


@pytest.mark.parametrize("widths", [(3, 3), (3, 2), (3, None)])
def test_joined_parts_are_the_pictures_of_all_and_keep_their_groups_apart(widths: tuple[int, int | None]) -> None:
    parts = []
    for seed, width in enumerate(widths):
        pictures, scores = calibrated(4, seed=seed)
        embedding = None if width is None else np.ones((4, width), np.float32)
        scores = Scores(scores.superclass, scores.subclass, embedding)
        groups = np.array([0, 0, 2, 5])
        parts.append(Validation.of(label_indexes(pictures, TAXONOMY), scores, TAXONOMY, groups=groups))
    whole = Validation.joined(parts)
    assert whole.groups.tolist() == [0, 0, 2, 5, 6, 6, 8, 11]
    for part, chosen in zip(parts, (slice(4), slice(4, 8)), strict=True):
        again = whole.rows(chosen)
        assert len(again) == 4
        assert (again.subclass.scores == part.subclass.scores).all()
        assert (again.superclass.truth == part.superclass.truth).all()
        assert (again.evidence.top == part.evidence.top).all()
    assert (whole.scores.embedding is None) == (widths[0] != widths[1])
    assert len(whole.evidence.embedding) == 8


def test_each_picture_is_its_own_group_where_nothing_is_known() -> None:
    pictures, scores = calibrated(5)
    decoded = Validation.of(label_indexes(pictures, TAXONOMY), scores, TAXONOMY)
    assert decoded.groups.tolist() == [0, 1, 2, 3, 4]
    assert decoded.rows(np.array([False, True, False, True, True])).groups.tolist() == [1, 3, 4]
