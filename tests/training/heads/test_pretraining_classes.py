"""Foreign classes: found in a backbone's classifier, placed among the embeddings, and kept for extending."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from phototag.decision.novelty import SIGNALS, Tier
from phototag.errors import ModelError
from phototag.model.exemplars import Examples
from phototag.model.network import KinshipLayer
from phototag.model.pretrained import Pretraining
from phototag.records import Scores
from phototag.taxonomy import Taxonomy
from phototag.training.heads.embedding import fit_embedding
from phototag.training.heads.novelty_rule import learn_rule

Floats = NDArray[np.float32]
Labels = NDArray[np.intp]

CLASSES, WIDTH, KNOWN, MORE = 120, 40, 12, 8
WEIGHT, BIAS = "examples.classifier.weight", "examples.classifier.bias"


def pretraining(seed: int = 0, classes: int = CLASSES) -> Pretraining:
    random = np.random.default_rng(seed)
    return Pretraining(random.normal(0, 1, (classes, WIDTH)).astype(np.float32), np.zeros(classes, np.float32))


def pictures_of(known: Pretraining, labels: Labels, seed: int = 1) -> Floats:
    """Features of pictures whose classes are those of the pretraining, by number: their own and those of a stage."""
    random = np.random.default_rng(seed)
    stage = np.random.default_rng(9).normal(0, 0.3, (WIDTH, MORE))
    centres = 0.7 * known.weight[labels]
    own = centres + random.normal(0, 0.6, centres.shape)
    return np.concatenate([own, centres @ stage + random.normal(0, 0.3, (len(labels), MORE))], 1).astype(np.float32)


@pytest.fixture(scope="module")
def world() -> tuple[Pretraining, Floats, Labels]:
    known = pretraining()
    labels = np.repeat(np.arange(KNOWN), 40)
    return known, pictures_of(known, labels), labels


# -- where the classifier is found


def backbone(name: Any = "classifier") -> Any:
    return SimpleNamespace(pretrained_cfg={"classifier": name})


def tensors(classes: int = CLASSES, *, pixel: bool = False) -> dict[str, torch.Tensor]:
    weight = torch.arange(classes * WIDTH, dtype=torch.float32).reshape(classes, WIDTH)
    return {"classifier.weight": weight[:, :, None, None] if pixel else weight, "classifier.bias": torch.ones(classes)}


@pytest.mark.parametrize("pixel", [False, True])
def test_the_classifier_is_found_among_pretrained_tensors(pixel: bool) -> None:
    found = Pretraining.find(tensors(pixel=pixel), backbone(), WIDTH)
    assert found is not None
    assert found.weight.shape == (CLASSES, WIDTH)
    assert found.weight[1, 2] == WIDTH + 2
    assert found.bias.tolist() == [1.0] * CLASSES


@pytest.mark.parametrize(
    ("given", "network", "width"),
    [
        ({}, backbone(), WIDTH),
        (tensors(), backbone("head.fc"), WIDTH),
        (tensors(), backbone(("head", "head_dist")), WIDTH),
        (tensors(), backbone(None), WIDTH),
        (tensors(), SimpleNamespace(), WIDTH),
        (tensors(), backbone(), WIDTH + 1),
        (tensors(classes=10), backbone(), WIDTH),
        (tensors() | {"classifier.bias": torch.ones(3)}, backbone(), WIDTH),
    ],
)
def test_no_classifier_is_found_where_none_fits(given: Any, network: Any, width: int) -> None:
    assert Pretraining.find(given, network, width) is None


# -- what it says


def test_posteriors_are_distributions_over_its_classes(world: tuple[Pretraining, Floats, Labels]) -> None:
    known, features, labels = world
    posteriors = known.posteriors(features * 50)
    assert posteriors.probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert np.isfinite(posteriors.probabilities).all()
    assert (known.posteriors(features).probabilities.argmax(axis=1) == labels).mean() > 0.9


def test_of_very_many_classes_those_most_like_the_pictures_are_kept() -> None:
    known = pretraining(classes=2500)
    posteriors = known.posteriors(pictures_of(known, np.repeat(np.arange(2490, 2500), 5)))
    assert posteriors.prototypes.shape == (2000, WIDTH)
    assert posteriors.probabilities.shape == (50, 2000)
    assert (posteriors.probabilities.argmax(axis=1) >= 1990).mean() > 0.6


def test_penalties_are_large_for_pretraining_classes_like_known_ones_and_0_for_others(
    world: tuple[Pretraining, Floats, Labels],
) -> None:
    known, features, labels = world
    penalties = known.posteriors(features).distance_penalties(labels, np.bincount(labels))
    assert (penalties[:KNOWN] > 50).all()
    assert np.median(penalties[KNOWN:]) == 0


# -- where foreign classes lie


def test_pictures_of_an_unseen_class_lie_nearest_to_its_place(world: tuple[Pretraining, Floats, Labels]) -> None:
    known, features, labels = world
    embedding = fit_embedding(features, labels, classes=KNOWN, posteriors=known.posteriors(features))
    foreign = embedding.space.pretraining
    assert foreign is not None
    unseen = np.repeat(np.arange(KNOWN, CLASSES), 4)
    points = embedding(pictures_of(known, unseen, seed=5)).astype(np.float64)
    distances = ((points[:, None] - foreign.means[None]) ** 2).sum(2)
    # Twelve known classes span little of what tells 108 others apart; by chance it would be 1 in 120.
    assert (distances.argmin(axis=1) == unseen).mean() > 0.2


def test_the_signal_tells_unseen_classes_better_than_the_other_distances(
    world: tuple[Pretraining, Floats, Labels],
) -> None:
    known, features, labels = world
    embedding = fit_embedding(features, labels, classes=KNOWN, posteriors=known.posteriors(features))
    nothing = np.zeros((1, 1), np.float32)

    def signals(of: Labels) -> NDArray[np.float64]:
        points = embedding(pictures_of(known, of, seed=7))
        return embedding.space.signals(Scores(*(nothing.repeat(len(points), axis=0),) * 2, points))

    seen, unseen = signals(labels[::4]), signals(np.arange(KNOWN, CLASSES))
    areas = dict(zip(SIGNALS, (unseen[:, None] > seen[None]).mean(axis=(0, 1)), strict=True))
    assert areas["foreign"] > 0.95
    assert areas["foreign"] > max(areas["margin"], areas["background"])


def test_axes_beyond_those_of_the_known_classes_are_uncorrelated_and_of_unit_variance(
    world: tuple[Pretraining, Floats, Labels],
) -> None:
    known, features, labels = world
    embedding = fit_embedding(features, labels, classes=KNOWN, posteriors=known.posteriors(features))
    plain = fit_embedding(features, labels, classes=KNOWN, filled=False)
    own = plain.weight.shape[0]
    assert own == KNOWN - 1 < embedding.weight.shape[0] <= WIDTH + MORE
    np.testing.assert_allclose(embedding.weight[:own], plain.weight, atol=1e-4)
    axes = embedding.weight.astype(np.float64) * features.std(axis=0)
    apart = (features - np.stack([features[labels == label].mean(axis=0) for label in range(KNOWN)])[labels]) / (
        features.std(axis=0)
    )
    covariance = 0.8 * apart.T @ apart / len(apart)
    covariance += 0.2 * np.trace(covariance) / 0.8 / len(covariance) * np.eye(len(covariance))
    np.testing.assert_allclose(axes @ covariance @ axes.T, np.eye(len(axes)), atol=1e-2)


def test_nothing_is_known_of_foreign_classes_without_a_reading(world: tuple[Pretraining, Floats, Labels]) -> None:
    _, features, labels = world
    assert fit_embedding(features, labels, classes=KNOWN).space.pretraining is None


# -- the rule


def test_the_rule_weighs_foreign_classes_only_where_a_classifier_tells_of_them(
    world: tuple[Pretraining, Floats, Labels],
) -> None:
    known, features, labels = world
    taxonomy = Taxonomy.from_pairs([(f"s{label // 4}", f"c{label:02}") for label in range(KNOWN)])
    told = learn_rule(features, labels, taxonomy, blocks=(WIDTH, MORE), posteriors=known.posteriors(features), seed=0)
    plain = learn_rule(features, labels, taxonomy, blocks=(WIDTH, MORE), seed=0)
    position = SIGNALS.index("foreign")
    assert told.weights[Tier.SUBCLASS, position] > 0
    assert told.weights[Tier.SUPERCLASS, position] == 0
    assert not plain.weights[:, position].any()
    assert not any("foreign" in name for names in plain.tried.values() for name in names)
    assert max(told.tried["subclass"].values()) >= max(plain.tried["subclass"].values())


# -- the model file


def test_examples_keep_the_classifier(world: tuple[Pretraining, Floats, Labels]) -> None:
    known, features, labels = world
    examples = Examples.of(
        (features[::2], labels[::2]), (features[1::2], labels[1::2]), classes=KNOWN, seed=0, pretraining=known
    )
    back = Examples.from_tensors(examples.tensors(), classes=KNOWN, width=WIDTH + MORE)
    assert back.pretraining is not None
    np.testing.assert_allclose(back.pretraining.weight, known.weight, rtol=1e-3)


def test_files_without_a_classifier_can_be_read() -> None:
    assert Pretraining.from_tensors({}, width=WIDTH) is None


@pytest.mark.parametrize(
    "change",
    [
        {WEIGHT: np.ones((CLASSES, WIDTH + 1), np.float16)},
        {WEIGHT: np.ones(CLASSES, np.float16)},
        {WEIGHT: np.ones((CLASSES, WIDTH), np.int32)},
        {WEIGHT: np.full((CLASSES, WIDTH), np.nan, np.float16)},
        {WEIGHT: np.ones((3, WIDTH), np.float16), BIAS: np.ones(3, np.float16)},
        {BIAS: np.ones(2, np.float16)},
        {BIAS: None},
        {WEIGHT: None},
    ],
)
def test_a_damaged_classifier_is_refused(change: dict[str, Any]) -> None:
    stored = {name: value for name, value in (pretraining().tensors() | change).items() if value is not None}
    with pytest.raises(ModelError, match="damaged"):
        Pretraining.from_tensors(stored, width=WIDTH)


# -- kinship: what the classifier says of a photo, and of the known classes


def test_kinship_of_classes_like_the_known_ones_is_the_same_in_the_network_and_outside(
    world: tuple[Pretraining, Floats, Labels],
) -> None:
    known, features, labels = world
    kinship = known.posteriors(features).kinship(labels % 2, 2)
    embedding = replace(fit_embedding(features, labels, classes=KNOWN), kinship=kinship)
    layer = KinshipLayer.of(kinship)
    told = layer(torch.from_numpy(features)).numpy()[:, 0]
    np.testing.assert_allclose(embedding(features)[:, -1], told, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(KinshipLayer.of(layer.numbers())(torch.from_numpy(features)).numpy()[:, 0], told)
    others = pictures_of(known, np.repeat(np.arange(KNOWN, 2 * KNOWN), 40))
    assert np.median(embedding(others)[:, -1]) < np.quantile(embedding(features)[:, -1], 0.05)


def test_only_pictures_of_groups_that_the_fit_has_not_seen_tell_what_is_known(
    world: tuple[Pretraining, Floats, Labels],
) -> None:
    known, features, labels = world
    parents = tuple((f"s{label % 3}", f"c{label}") for label in range(KNOWN))
    taxonomy = Taxonomy.from_pairs(parents)
    moved = np.array([taxonomy.subclass_index[name] for _, name in parents])[labels]
    # In one group a class nothing is left to tell it by.
    lonely = learn_rule(features, moved, taxonomy, posteriors=known.posteriors(features), groups=moved, seed=0)
    assert lonely.tried == {"superclass": {}, "subclass": {}}
    rule = learn_rule(features, moved, taxonomy, posteriors=known.posteriors(features), seed=0)
    assert rule.tried["superclass"]["1 unrelated + 0.1 energy + 0.1 superclass_energy"] > 0.9
