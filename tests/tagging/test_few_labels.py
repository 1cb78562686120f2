"""A library that loses far more labels than the validation pictures did is said to, with the way out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from phototag.model.builtin import builtin_header
from phototag.records import Reason
from phototag.tagging.few_labels import lost_labels

HEADER = replace(builtin_header(), metrics={"superclass_coverage": 0.99, "subclass_coverage": 0.9})


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        pytest.param({Reason.SUBCLASS: 90, Reason.NOVEL_SUBCLASS: 10}, (), id="as on validation"),
        pytest.param({Reason.SUBCLASS: 55, Reason.NOVEL_SUBCLASS: 30, Reason.NOVEL_SUPERCLASS: 15}, (), id="bearable"),
        pytest.param({Reason.NOVEL_SUPERCLASS: 49}, (), id="too few to tell"),
        pytest.param(
            {Reason.SUBCLASS: 40, Reason.NOVEL_SUPERCLASS: 60},
            ("60 % of 100 photos got no superclass", "1 %", "--novel-superclass-threshold 1"),
            id="unknown superclasses",
        ),
        pytest.param(
            {Reason.SUBCLASS: 5, Reason.NOVEL_SUBCLASS: 90, Reason.LOW_SUBCLASS_SCORE: 5},
            ("95 % of 100 photos got no subclass", "10 %", "--novel-subclass-threshold 1", "--reviews"),
            id="unknown subclasses",
        ),
        pytest.param({Reason.LOW_SUPERCLASS_SCORE: 100}, ("--superclass-threshold 0",), id="low scores"),
    ],
)
def test_far_more_lost_labels_than_on_validation_are_told(reasons: dict[Reason, int], said: tuple[str, ...]) -> None:
    lines = " ".join(lost_labels(reasons, HEADER, "animals"))
    assert bool(lines) == bool(said)
    assert all(text in lines for text in said), lines


def test_nothing_is_told_of_a_model_that_was_not_validated() -> None:
    assert lost_labels({Reason.NOVEL_SUPERCLASS: 1000}, builtin_header(), "builtin") == ()
