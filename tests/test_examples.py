"""The examples that a model file keeps of its classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phototag.errors import ModelError
from phototag.model.exemplars import Examples

Part = tuple[NDArray[np.float32], NDArray[np.intp]]


def part(counts: list[int], *, start: float = 0.0, width: int = 3) -> Part:
    """So many pictures of each class; every row of the features is a number of its own."""
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.intp)
    rows = start + np.arange(len(labels), dtype=np.float32)
    return np.repeat(rows[:, None], width, axis=1), labels


def of(training: list[int], validation: list[int], *, seed: int = 0) -> Examples:
    return Examples.of(part(training), part(validation, start=1000), classes=len(training), seed=seed)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 150), st.integers(0, 60)), min_size=1, max_size=6))
def test_every_class_keeps_some_of_each_part_that_has_it(counts: list[tuple[int, int]]) -> None:
    training, validation = [one for one, _ in counts], [other for _, other in counts]
    examples = of(training, validation)
    for label, (seen, unseen) in enumerate(counts):
        kept = [int(((examples.labels == label) & (examples.unseen == which)).sum()) for which in (False, True)]
        assert (kept[0] > 0, kept[1] > 0) == (seen > 0, unseen > 0)
        assert sum(kept) <= 65
        if seen + unseen <= 64:
            assert kept == [seen, unseen]
        elif seen and unseen:
            assert kept[1] / sum(kept) == pytest.approx(unseen / (seen + unseen), abs=0.03)


def test_features_stay_with_their_label_and_part() -> None:
    training, validation = part([100, 5, 80]), part([30, 2, 0], start=1000)
    examples = Examples.of(training, validation, classes=3, seed=1)
    assert len(np.unique(examples.features[:, 0])) == len(examples.labels)
    for features, label, unseen in zip(examples.features, examples.labels, examples.unseen, strict=True):
        assert (features[0] >= 1000) == unseen
        rows, labels = validation if unseen else training
        assert labels[np.flatnonzero(rows[:, 0] == features[0])[0]] == label


def test_hundreds_of_classes_keep_fewer_each() -> None:
    examples = of([50] * 1000, [10] * 1000)
    assert len(examples.labels) <= 17 * 1000
    assert set(np.bincount(examples.labels).tolist()) == {16}


def test_choice_depends_on_the_seed_alone() -> None:
    one, same, other = of([200], [50]), of([200], [50]), of([200], [50], seed=1)
    assert one.features.tobytes() == same.features.tobytes()
    assert one.features.tobytes() != other.features.tobytes()


def test_examples_survive_a_file_in_half_precision() -> None:
    random = np.random.default_rng(0)
    features = random.normal(0, 10, (40, 7)).astype(np.float32)
    features[0, 0] = 1e9  # more than half precision holds
    before = Examples(features, np.arange(40) % 4, np.arange(40) % 3 == 0)
    tensors = before.tensors()
    assert {name: str(array.dtype) for name, array in tensors.items()} == {
        "examples.features": "float16",
        "examples.labels": "int32",
        "examples.unseen": "uint8",
    }
    after = Examples.from_tensors(tensors, classes=4, width=7)
    assert after.features.max() == 65504
    np.testing.assert_allclose(after.features[1:], features[1:], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(after.labels, before.labels)
    learned, judged = after.parts()
    np.testing.assert_array_equal(judged, before.unseen)
    np.testing.assert_array_equal(learned, ~before.unseen)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"features": np.zeros((6, 4), np.float16)}, id="another width"),
        pytest.param({"features": np.full((6, 3), np.nan, np.float16)}, id="not finite"),
        pytest.param({"features": np.zeros((6, 3), np.int32)}, id="no real numbers"),
        pytest.param({"features": np.zeros(18, np.float16)}, id="flat"),
        pytest.param({"labels": np.array([0, 0, 1, 1, 2, 3], np.int32)}, id="unknown class"),
        pytest.param({"labels": np.array([0, 0, 1, 1, 2, -1], np.int32)}, id="negative"),
        pytest.param({"labels": np.array([[0], [0], [1], [1], [2], [2]], np.int32)}, id="labels in two dimensions"),
        pytest.param({"labels": np.array(2, np.int32)}, id="one number for labels"),
        pytest.param({"labels": np.array([0, 0, 1, 1, 2, 2], np.float32)}, id="labels that are no whole numbers"),
        pytest.param({"unseen": np.zeros(5, np.uint8)}, id="too few parts"),
    ],
)
def test_damaged_examples_are_refused(changes: dict[str, Any]) -> None:
    fine: dict[str, Any] = {
        "features": np.zeros((6, 3), np.float16),
        "labels": np.array([0, 0, 1, 1, 2, 2], np.int32),
        "unseen": np.zeros(6, np.uint8),
    }

    def read(arrays: dict[str, Any]) -> Examples:
        return Examples.from_tensors({f"examples.{name}": each for name, each in arrays.items()}, classes=3, width=3)

    assert len(read(fine).labels) == 6
    with pytest.raises(ModelError, match="damaged; train it again"):
        read({**fine, **changes})


def test_file_without_examples_names_the_way_out() -> None:
    with pytest.raises(ModelError, match="keeps no examples of its classes; train it again"):
        Examples.from_tensors({}, classes=3, width=3)
    tensors = of([3, 0, 2], [1, 0, 1]).tensors()
    with pytest.raises(ModelError, match="no examples of 1 of its classes"):
        Examples.from_tensors(tensors, classes=3, width=3)
