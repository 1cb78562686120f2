"""Learning how novelty shows: a rule that finds unknown classes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phototag.choices import Balance
from phototag.decision.novelty import SIGNALS, NoveltyModel, Tier
from phototag.records import Scores
from phototag.taxonomy import Taxonomy
from phototag.training.heads.embedding import fit_embedding
from phototag.training.heads.logistic import fit_head
from phototag.training.heads.novelty_rule import Rule, learn_rule
from tests.support.novelty_space import AXES, CLASSES, WIDTH, space_of

Floats = NDArray[np.float32]
Labels = NDArray[np.intp]


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
    return rule.model(space, space.signals(score(features[~half]))), score


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
    found = rule.model(space, space.signals(score(features))).probabilities(score(features))
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
    known = Scores(*(random.normal(size=(500, width)).astype(np.float32) for width in (WIDTH, CLASSES, AXES + 1)))
    model = rule.model(space_of(), space_of().signals(known))
    signals = model.standard(model.space.signals(known))
    np.testing.assert_allclose(signals.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(signals.std(axis=0), 1, rtol=1e-6)
