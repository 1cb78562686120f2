"""Novelty: probabilities that keep their laws, and files that are not trusted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from phototag.decision.novelty import SIGNALS, NoveltyModel, PretrainingClasses, Standardizer, Tier
from phototag.errors import ModelError
from phototag.records import Scores
from tests.support.novelty_space import AXES, CLASSES, FOREIGN, WIDTH, space_of

Floats = NDArray[np.float32]
finite = st.floats(-1e4, 1e4, width=32)
weights = arrays.arrays(np.float64, (2, len(SIGNALS)), elements=st.floats(-20, 20))
biases = arrays.arrays(np.float64, (2,), elements=st.floats(-50, 50))


def model_of(rule: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None, *, classes: int = CLASSES) -> Any:
    matrix, bias = rule or (np.ones((2, len(SIGNALS))), np.zeros(2))
    standard = Standardizer(np.linspace(-1, 1, len(SIGNALS)), np.linspace(0.5, 2, len(SIGNALS)))
    return NoveltyModel(space_of(classes=classes), standard, matrix, bias)


@st.composite
def scored(draw: st.DrawFn) -> Scores:
    photos = draw(st.integers(0, 4))
    shapes = ((photos, WIDTH), (photos, CLASSES), (photos, AXES))
    return Scores(*(draw(arrays.arrays(np.float32, shape, elements=finite)) for shape in shapes))


# -- the laws of the probabilities


@given(scored(), weights, biases)
def test_probabilities_lie_in_0_to_1_and_a_subclass_is_as_unknown_as_its_superclass(
    scores: Scores, matrix: NDArray[np.float64], bias: NDArray[np.float64]
) -> None:
    found = model_of((matrix, bias)).probabilities(scores)
    assert found.shape == (len(scores.subclass), 2)
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[:, Tier.SUBCLASS] >= found[:, Tier.SUPERCLASS]).all()


@given(scored())
def test_photo_is_as_strange_alone_as_in_a_batch(scores: Scores) -> None:
    model = model_of()
    together = model.probabilities(scores)
    for row in range(len(together)):
        one = Scores(*(each[row : row + 1] for each in (scores.superclass, scores.subclass, scores.embedding)))  # type: ignore[index]
        np.testing.assert_allclose(model.probabilities(one)[0], together[row], atol=1e-5)


def test_signals_are_what_their_names_say() -> None:
    random = np.random.default_rng(0)
    space = space_of()
    embedding = random.normal(0, 2, (6, AXES)).astype(np.float32)
    scores = Scores(
        random.normal(size=(6, WIDTH)).astype(np.float32),
        random.normal(size=(6, CLASSES)).astype(np.float32),
        embedding,
    )
    found = dict(zip(SIGNALS, space.signals(scores).T, strict=True))
    distances = np.sort(((embedding[:, None].astype(np.float64) - space.means[None]) ** 2).sum(2), axis=1)
    background = (embedding.astype(np.float64) ** 2 / space.spread).sum(1)
    np.testing.assert_allclose(found["energy"], -np.log(np.exp(scores.subclass.astype(np.float64)).sum(1)), rtol=1e-6)
    superclass_energy = -np.log(np.exp(scores.superclass.astype(np.float64)).sum(1))
    np.testing.assert_allclose(found["superclass_energy"], superclass_energy, rtol=1e-6)
    np.testing.assert_allclose(found["relative"], distances[:, 0] - background, rtol=1e-5)
    np.testing.assert_allclose(found["margin"], distances[:, 0] - distances[:, 1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["background"], np.sqrt(background), rtol=1e-5)
    assert space.pretraining is not None
    away = ((embedding[:, None].astype(np.float64) - space.pretraining.means[None]) ** 2).sum(
        2
    ) + space.pretraining.penalties
    np.testing.assert_allclose(found["foreign"], distances[:, 0] - away.min(axis=1), rtol=1e-5)


def test_photo_far_from_every_class_is_stranger_than_the_classes_themselves() -> None:
    model, random = model_of(), np.random.default_rng(0)
    far = (30 * random.normal(size=(8, AXES))).astype(np.float32)
    places = np.concatenate([model.space.means, far])
    logits = [np.zeros((len(places), width), np.float32) for width in (WIDTH, CLASSES)]
    found = model.probabilities(Scores(logits[0], logits[1], places))
    assert found[len(model.space.means) :].min() > found[: len(model.space.means), Tier.SUPERCLASS].max()


def test_photo_at_a_pretraining_class_is_novel_unless_a_known_one_is_like_it() -> None:
    space = space_of()
    assert space.pretraining is not None
    nothing = np.zeros((FOREIGN, 1), np.float32)
    position = SIGNALS.index("foreign")
    scores = Scores(nothing, nothing, space.pretraining.means)
    near = space.signals(scores)[:, position]
    assert (near[:3] > 0).all()
    away = replace(space, pretraining=PretrainingClasses(space.pretraining.means, np.full(FOREIGN, 1e6, np.float32)))
    assert (away.signals(scores)[:, position] < 0).all()


def test_signal_is_0_where_nothing_is_known_of_pretraining_classes() -> None:
    scores = Scores(*(np.ones((2, width), np.float32) for width in (WIDTH, CLASSES, AXES)))
    assert not replace(space_of(), pretraining=None).signals(scores)[:, SIGNALS.index("foreign")].any()


def test_one_class_has_no_second_nearest() -> None:
    model = model_of(classes=1)
    scores = Scores(*(np.ones((2, width), np.float32) for width in (1, 1, AXES)))
    assert (model.space.signals(scores)[:, SIGNALS.index("margin")] == 0).all()
    assert np.isfinite(model.probabilities(scores)).all()


@pytest.mark.parametrize("embedding", [None, np.zeros((1, AXES + 2), np.float32)])
def test_scores_without_a_fitting_embedding_are_a_model_error(embedding: Floats | None) -> None:
    scores = Scores(np.zeros((1, WIDTH), np.float32), np.zeros((1, CLASSES), np.float32), embedding)
    with pytest.raises(ModelError, match="no embedding that fits"):
        model_of().probabilities(scores)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_embedding_that_is_not_finite_is_a_model_error(bad: float) -> None:
    embedding = np.full((1, AXES), bad, np.float32)
    scores = Scores(np.zeros((1, WIDTH), np.float32), np.zeros((1, CLASSES), np.float32), embedding)
    with pytest.raises(ModelError, match="not finite"):
        model_of().probabilities(scores)


# -- the model file


@given(weights, biases)
def test_model_survives_a_file(matrix: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
    before = model_of((matrix, bias))
    after = NoveltyModel.from_json(json.loads(json.dumps(before.to_json())), before.tensors())
    scores = Scores(*(np.ones((3, width), np.float32) for width in (WIDTH, CLASSES, AXES)))
    np.testing.assert_array_equal(after.probabilities(scores), before.probabilities(scores))
    assert after.to_json() == before.to_json()


def damaged(**changes: Any) -> tuple[Any, dict[str, Any]]:
    model = model_of()
    value, tensors = model.to_json(), dict(model.tensors())
    for name, change in changes.items():
        if name in ("means", "spread", "foreign", "setbacks"):
            tensors[f"novelty.{name}"] = change
        else:
            value[name] = change
    return value, tensors


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": [[1.0] * len(SIGNALS)]},
        {"weights": [[1.0], [1.0, 2.0]]},
        {"weights": [[1e300] * len(SIGNALS)] * 2},
        {"weights": "many"},
        {"biases": [0.0]},
        {"biases": [float("nan"), 0.0]},
        {"mean": [0.0] * 4},
        {"mean": {}},
        {"mean": [10**400] * len(SIGNALS)},
        {"deviation": [0.0] * len(SIGNALS)},
        {"deviation": [-1.0] * len(SIGNALS)},
        {"signals": None},
        {"means": np.zeros((CLASSES, AXES + 1), np.float32)},
        {"means": np.zeros((0, AXES), np.float32)},
        {"means": np.zeros(AXES, np.float32)},
        {"means": np.full((CLASSES, AXES), np.inf, np.float32)},
        {"means": np.zeros((CLASSES, AXES), np.int8)},
        {"spread": np.zeros(AXES, np.float32)},
        {"spread": np.ones((AXES, 1), np.float32)},
        {"spread": np.ones(AXES, np.bool_)},
        {"foreign": np.zeros((FOREIGN, AXES + 1), np.float32)},
        {"foreign": np.zeros((FOREIGN + 1, AXES), np.float32)},
        {"foreign": np.full((FOREIGN, AXES), np.nan, np.float32)},
        {"foreign": np.zeros((0, AXES), np.float32), "setbacks": np.zeros(0, np.float32)},
        {"foreign": np.zeros(FOREIGN, np.float32)},
        {"setbacks": np.zeros(FOREIGN, np.int8)},
        {"setbacks": np.full(FOREIGN, np.inf, np.float32)},
    ],
    ids=str,
)
def test_damaged_model_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="damaged"):
        NoveltyModel.from_json(*damaged(**changes))


@pytest.mark.parametrize("value", [None, 3, [], {}, {"signals": list(SIGNALS)}])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ModelError, match="damaged"):
        NoveltyModel.from_json(value, model_of().tensors())


def test_missing_tensors_are_refused() -> None:
    with pytest.raises(ModelError, match="damaged"):
        NoveltyModel.from_json(model_of().to_json(), {})


def test_pretraining_classes_without_penalties_are_refused() -> None:
    model = model_of()
    tensors = {name: value for name, value in model.tensors().items() if name != "novelty.setbacks"}
    with pytest.raises(ModelError, match="damaged"):
        NoveltyModel.from_json(model.to_json(), tensors)


def test_files_from_before_there_were_pretraining_classes_give_the_probabilities_they_gave() -> None:
    model = model_of()
    value = model.to_json()
    count = SIGNALS.index("foreign")
    old = {name: value[name][:count] for name in ("signals", "mean", "deviation")}
    old |= {"weights": [row[:count] for row in value["weights"]], "biases": value["biases"]}
    tensors = {name: model.tensors()[name] for name in ("novelty.means", "novelty.spread")}
    read = NoveltyModel.from_json(json.loads(json.dumps(old)), tensors)
    scores = Scores(*(np.ones((3, width), np.float32) for width in (WIDTH, CLASSES, AXES)))
    without = model.weights.copy()
    without[:, count:] = 0
    wanted = replace(model, weights=without).probabilities(scores)
    np.testing.assert_allclose(read.probabilities(scores), wanted, atol=1e-7)


@pytest.mark.parametrize("signals", [["energy"], [*SIGNALS, "moon"], [*SIGNALS[:-1], "moon"]])
def test_signals_of_another_version_name_the_way_out_however_many(signals: list[str]) -> None:
    with pytest.raises(ModelError, match="another phototag; train it again"):
        NoveltyModel.from_json(*damaged(signals=signals))


def test_signals_of_another_version_name_the_way_out() -> None:
    with pytest.raises(ModelError, match="another phototag; train it again"):
        NoveltyModel.from_json(*damaged(signals=["energy", "moon"]))


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["signals", "mean", "deviation", "weights", "biases"]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
            lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
            max_leaves=12,
        ),
        min_size=1,
    )
)
def test_any_values_are_taken_or_refused_cleanly(changes: dict[str, Any]) -> None:
    value, tensors = damaged(**changes)
    try:
        model = NoveltyModel.from_json(value, tensors)
    except ModelError:
        return
    scores = Scores(*(np.ones((2, width), np.float32) for width in (WIDTH, CLASSES, AXES)))
    found = model.probabilities(scores)
    assert ((found >= 0) & (found <= 1)).all()
