"""Novelty: probabilities that keep their laws, files that are not trusted, and a rule that finds unknown kinds."""

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
from phototag.learning.config import Balance
from phototag.learning.embedding import fit_embedding
from phototag.learning.linear import fit_head
from phototag.learning.novelty import Rule, learn_rule
from phototag.novelty import SIGNALS, Foreign, NoveltyModel, Space, Standard, Tier

from phototag.errors import ModelError
from phototag.records import Scores
from phototag.taxonomy import Taxonomy

Floats = NDArray[np.float32]
Labels = NDArray[np.intp]

CLASSES, WIDTH, AXES, FOREIGN = 4, 3, 5, 7
finite = st.floats(-1e4, 1e4, width=32)
weights = arrays.arrays(np.float64, (2, len(SIGNALS)), elements=st.floats(-20, 20))
biases = arrays.arrays(np.float64, (2,), elements=st.floats(-50, 50))


def space_of(*, classes: int = CLASSES, seed: int = 0) -> Space:
    random = np.random.default_rng(seed)
    means = random.normal(0, 3, (classes, AXES)).astype(np.float32)
    elsewhere = random.normal(0, 3, (FOREIGN, AXES)).astype(np.float32)
    foreign = Foreign(elsewhere, np.linspace(0, 9, FOREIGN, dtype=np.float32))
    return Space(means, (1 + means.var(axis=0)).astype(np.float32), foreign)


def model_of(rule: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None, *, classes: int = CLASSES) -> Any:
    matrix, bias = rule or (np.ones((2, len(SIGNALS))), np.zeros(2))
    standard = Standard(np.linspace(-1, 1, len(SIGNALS)), np.linspace(0.5, 2, len(SIGNALS)))
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
    assert space.foreign is not None
    away = ((embedding[:, None].astype(np.float64) - space.foreign.means[None]) ** 2).sum(2) + space.foreign.setbacks
    np.testing.assert_allclose(found["foreign"], distances[:, 0] - away.min(axis=1), rtol=1e-5)


def test_photo_far_from_every_class_is_stranger_than_the_classes_themselves() -> None:
    model, random = model_of(), np.random.default_rng(0)
    far = (30 * random.normal(size=(8, AXES))).astype(np.float32)
    places = np.concatenate([model.space.means, far])
    logits = [np.zeros((len(places), width), np.float32) for width in (WIDTH, CLASSES)]
    found = model.probabilities(Scores(logits[0], logits[1], places))
    assert found[len(model.space.means) :].min() > found[: len(model.space.means), Tier.SUPERCLASS].max()


def test_photo_at_a_foreign_class_is_strange_unless_a_known_one_is_like_it() -> None:
    space = space_of()
    assert space.foreign is not None
    nothing = np.zeros((FOREIGN, 1), np.float32)
    position = SIGNALS.index("foreign")
    scores = Scores(nothing, nothing, space.foreign.means)
    near = space.signals(scores)[:, position]
    assert (near[:3] > 0).all()
    away = replace(space, foreign=Foreign(space.foreign.means, np.full(FOREIGN, 1e6, np.float32)))
    assert (away.signals(scores)[:, position] < 0).all()


def test_signal_is_0_where_nothing_is_known_of_foreign_classes() -> None:
    scores = Scores(*(np.ones((2, width), np.float32) for width in (WIDTH, CLASSES, AXES)))
    assert not replace(space_of(), foreign=None).signals(scores)[:, SIGNALS.index("foreign")].any()


def test_one_class_has_no_second_nearest() -> None:
    model = model_of(classes=1)
    scores = Scores(*(np.ones((2, width), np.float32) for width in (1, 1, AXES)))
    assert (model.space.signals(scores)[:, SIGNALS.index("margin")] == 0).all()
    assert np.isfinite(model.probabilities(scores)).all()


@pytest.mark.parametrize("embedding", [None, np.zeros((1, AXES + 1), np.float32)])
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


def test_foreign_classes_without_setbacks_are_refused() -> None:
    model = model_of()
    tensors = {name: value for name, value in model.tensors().items() if name != "novelty.setbacks"}
    with pytest.raises(ModelError, match="damaged"):
        NoveltyModel.from_json(model.to_json(), tensors)


def test_files_from_before_there_were_foreign_classes_give_the_probabilities_they_gave() -> None:
    model = model_of()
    value = model.to_json()
    count = SIGNALS.index("foreign")
    old = {name: value[name][:count] for name in ("signals", "mean", "deviation")}
    old |= {"weights": [row[:count] for row in value["weights"]], "biases": value["biases"]}
    tensors = {name: model.tensors()[name] for name in ("novelty.means", "novelty.spread")}
    read = NoveltyModel.from_json(json.loads(json.dumps(old)), tensors)
    scores = Scores(*(np.ones((3, width), np.float32) for width in (WIDTH, CLASSES, AXES)))
    without = model.weights.copy()
    without[:, count] = 0
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


# -- learning how novelty shows


def world(sizes: list[int], each: int, *, width: int = 12, seed: int = 0) -> tuple[Floats, Labels, Taxonomy]:
    """Pictures as clouds: subclasses about the middle of their superclass, superclasses farther apart."""
    random = np.random.default_rng(seed)
    taxonomy = Taxonomy.from_pairs(
        [(f"s{one}", f"c{one}-{two}") for one, size in enumerate(sizes) for two in range(size)]
    )
    middles = random.normal(0, 6, (len(sizes), width))
    means = middles[list(taxonomy.parents)] + random.normal(0, 3, (len(taxonomy.subclasses), width))
    labels = np.repeat(np.arange(len(means)), each).astype(np.intp)
    return (means[labels] + random.normal(size=(len(labels), width))).astype(np.float32), labels, taxonomy


def area(known: NDArray[np.floating[Any]], novel: NDArray[np.floating[Any]]) -> float:
    """Area under the ROC curve, in the plainest way."""
    above = (novel[:, None] > known[None]).mean() + (novel[:, None] == known[None]).mean() / 2
    return float(above)


def fitted(features: Floats, labels: Labels, taxonomy: Taxonomy) -> Any:
    """What scores features as a trained model would: two heads and an embedding."""
    parents = np.asarray(taxonomy.parents)
    heads = [
        fit_head(features, target, classes=classes, penalty=1e-3, strategy=Balance.NONE)
        for target, classes in ((parents[labels], len(taxonomy.superclasses)), (labels, len(taxonomy.subclasses)))
    ]
    embedding = fit_embedding(features, labels, classes=len(taxonomy.subclasses))
    return embedding.space, lambda rows: Scores(heads[0].logits(rows), heads[1].logits(rows), embedding(rows))


def learned(features: Floats, labels: Labels, taxonomy: Taxonomy, *, seed: int = 0) -> tuple[NoveltyModel, Any]:
    rule = learn_rule(features, labels, taxonomy, seed=seed)
    half = np.arange(len(labels)) % 2 == 0
    space, score = fitted(features[half], labels[half], taxonomy)
    return rule.model(space, score(features[~half])), score


def test_kinds_that_nothing_was_learned_of_stand_out() -> None:
    features, labels, everything = world([4, 4, 4, 4], 60)
    parents = np.asarray(everything.parents)
    # One superclass as a whole, and one subclass of each of the others, are kept from all learning.
    strange = parents[labels] == 3
    cousins = np.isin(labels, [everything.children[one][0] for one in range(3)])
    known = ~strange & ~cousins
    left = np.unique(labels[known])
    taxonomy = Taxonomy.from_pairs([tuple(everything.qualified(int(one)).split("/")) for one in left])  # type: ignore[misc]
    model, score = learned(features[known], np.searchsorted(left, labels[known]).astype(np.intp), taxonomy)
    fresh, of, _ = world([4, 4, 4, 4], 60)
    usual = model.probabilities(score(fresh[np.isin(of, left)]))
    unknown_superclass = model.probabilities(score(features[strange]))
    unknown_subclass = model.probabilities(score(features[cousins]))
    # Clouds are harder than pictures here: linear heads are sure of much that lies beyond all classes.
    assert area(usual[:, Tier.SUPERCLASS], unknown_superclass[:, Tier.SUPERCLASS]) > 0.8
    assert area(usual[:, Tier.SUBCLASS], unknown_superclass[:, Tier.SUBCLASS]) > 0.9
    assert area(usual[:, Tier.SUBCLASS], unknown_subclass[:, Tier.SUBCLASS]) > 0.9
    assert np.median(usual[:, Tier.SUBCLASS]) < 0.5 < np.median(unknown_subclass[:, Tier.SUBCLASS])


def test_rule_tells_what_it_tried_for_each_tier() -> None:
    rule = learn_rule(*world([3, 3, 3], 40), seed=0)
    assert rule.tried.keys() == {"superclass", "subclass"}
    for tried in rule.tried.values():
        assert len(tried) >= 2
        assert all(0 <= value <= 1 for value in tried.values())
    assert max(rule.tried["subclass"].values()) > 0.9
    assert rule.weights.shape == (2, len(SIGNALS))
    assert (rule.weights >= 0).all()  # a larger signal never makes a photo less strange
    assert rule.to_json() == {"area_under_curve": rule.tried}
    json.dumps(rule.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("sizes", "each"),
    [
        pytest.param([5], 30, id="one superclass"),
        pytest.param([1, 1], 20, id="two subclasses"),
        pytest.param([2], 20, id="two subclasses of one superclass"),
        pytest.param([1, 1, 1, 1, 1, 1], 20, id="no superclass with two"),
        pytest.param([3, 3, 3], 1, id="one picture a class"),
        pytest.param([2, 2, 2], 2, id="two pictures a class"),
    ],
)
def test_least_data_still_gives_a_rule(sizes: list[int], each: int) -> None:
    features, labels, taxonomy = world(sizes, each)
    rule = learn_rule(features, labels, taxonomy, seed=0)
    assert np.isfinite(rule.weights).all()
    assert np.isfinite(rule.biases).all()
    assert (rule.weights.sum(axis=1) > 0).all()
    space, score = fitted(features, labels, taxonomy)
    found = rule.model(space, score(features)).probabilities(score(features))
    assert ((found >= 0) & (found <= 1)).all()


def test_same_pictures_and_seed_give_the_same_rule() -> None:
    data = world([3, 3, 3], 20)
    one, same = (learn_rule(*data, seed=3) for _ in range(2))
    assert one.weights.tobytes() == same.weights.tobytes()
    assert one.biases.tobytes() == same.biases.tobytes()
    assert one.tried == same.tried


def test_parts_of_the_features_are_taken_into_account() -> None:
    features, labels, taxonomy = world([3, 3, 3], 20)
    whole = learn_rule(features, labels, taxonomy, seed=0)
    parts = learn_rule(features, labels, taxonomy, blocks=(4, 8), seed=0)
    assert whole.tried != parts.tried


def test_known_pictures_are_what_strangeness_is_measured_against() -> None:
    rule = Rule(np.ones((2, len(SIGNALS))), np.array([-4.0, -2.0]), {})
    random = np.random.default_rng(0)
    known = Scores(*(random.normal(size=(500, width)).astype(np.float32) for width in (WIDTH, CLASSES, AXES)))
    model = rule.model(space_of(), known)
    signals = model.standard(model.space.signals(known))
    np.testing.assert_allclose(signals.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(signals.std(axis=0), 1, rtol=1e-6)
