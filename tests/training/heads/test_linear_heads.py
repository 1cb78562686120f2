"""Linear heads on frozen features: the same as scikit-learn's logistic regression, and how they are chosen."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from phototag.choices import Balance
from phototag.decision import gather, join
from phototag.errors import UsageError
from phototag.model.linear import LinearHead
from phototag.records import Scores
from phototag.taxonomy import Taxonomy
from phototag.training.heads.balance import effective_weights
from phototag.training.heads.logistic import Scaling, fit_head
from phototag.training.heads.part import Part
from phototag.training.heads.selection import PENALTIES, HeadChoice, choose_heads, fit_heads

Floats = NDArray[np.float32]
Labels = NDArray[np.intp]


def part(features: Any, labels: Any) -> Part:
    """A part whose pictures are not of series."""
    return Part(
        features, *labels, np.arange(len(features)), np.zeros((len(features), 0, features.shape[1]), np.float32)
    )


def blobs(
    count: int = 300, *, classes: int = 4, width: int = 12, spread: float = 2.0, seed: int = 0
) -> tuple[Floats, Labels]:
    """Overlapping clouds of features of unlike scales, as a backbone's features are, with uneven classes."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    share = np.arange(1, classes + 1) / sum(range(1, classes + 1))
    labels = random.choice(classes, size=count, p=share)
    scales = np.geomspace(0.05, 5, width)
    features = (centres[labels] + random.normal(size=(count, width)) * spread) * scales + 3 * scales
    return features.astype(np.float32), labels.astype(np.intp)


def scaled(features: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The scaling of the documentation: half-way between raw and standardised features."""
    values = features.astype(np.float64)
    deviation = values.std(axis=0)
    typical = np.sqrt(np.mean(deviation**2))
    shift, scale = values.mean(axis=0), np.sqrt(deviation * typical)
    return (values - shift) / scale, shift, scale


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def weights_of(strategy: Balance, labels: Labels) -> str | dict[int, float] | None:
    """The class weights of scikit-learn that mean the same."""
    if strategy is Balance.LOSS:
        return dict(enumerate(effective_weights(np.bincount(labels)).tolist()))
    return "balanced" if strategy is Balance.SAMPLER else None


@pytest.mark.parametrize("strategy", [Balance.NONE, Balance.SAMPLER, Balance.LOSS])
@pytest.mark.parametrize("penalty", [PENALTIES[0], PENALTIES[-1]])
def test_fit_agrees_with_scikit_learn_on_the_same_objective(penalty: float, strategy: Balance) -> None:
    features, labels = blobs()
    unseen, _ = blobs(500, seed=1)
    inputs, shift, scale = scaled(features)
    oracle = LogisticRegression(
        C=1 / (len(labels) * penalty),
        class_weight=weights_of(strategy, labels),
        max_iter=10_000,
        tol=1e-8,
    ).fit(inputs, labels)
    head = fit_head(features, labels, classes=4, penalty=penalty, strategy=strategy)
    ours, theirs = softmax(head.logits(unseen)), oracle.predict_proba((unseen - shift) / scale)
    np.testing.assert_allclose(ours, theirs, atol=5e-3)
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean() >= 0.99


def test_head_takes_raw_features_wherever_they_lie() -> None:
    # The scaling is folded into the weights: shifted and stretched features give the same answers.
    features, labels = blobs()
    plain = softmax(fit_head(features, labels, classes=4, penalty=1e-2).logits(features))
    moved = features * np.float32(40) + np.float32(100)
    np.testing.assert_allclose(
        softmax(fit_head(moved, labels, classes=4, penalty=1e-2).logits(moved)), plain, atol=5e-3
    )


@pytest.mark.parametrize("strategy", [Balance.SAMPLER, Balance.LOSS, Balance.LOGITS, Balance.MIX])
def test_every_strategy_finds_rare_classes_more_often(strategy: Balance) -> None:
    features, labels = blobs(600, spread=3.0)
    unseen, truth = blobs(2000, spread=3.0, seed=5)
    recall = {}
    for tried in (Balance.NONE, strategy):
        found = fit_head(features, labels, classes=4, penalty=1e-2, strategy=tried).logits(unseen).argmax(axis=1)
        recall[tried] = (found[truth == 0] == 0).mean()
    assert recall[strategy] > recall[Balance.NONE] + 0.05


def test_logit_adjustment_tells_what_even_classes_would_be() -> None:
    # Dead features say nothing: what is left is the bias, which holds the classes' shares only without adjustment.
    _, labels = blobs()
    dead = np.ones((len(labels), 5), dtype=np.float32)
    head = fit_head(dead, labels, classes=4, penalty=1e-2, strategy=Balance.LOGITS)
    np.testing.assert_allclose(softmax(head.logits(dead[:1]))[0], 0.25, atol=0.01)


def test_auto_is_nothing_that_can_be_fitted() -> None:
    features, labels = blobs()
    with pytest.raises(UsageError, match="auto"):
        fit_head(features, labels, classes=4, penalty=1e-2, strategy=Balance.AUTO)


def test_features_of_earlier_stages_are_scaled_on_their_own_and_count_less() -> None:
    features, _ = blobs()
    first, second = features[:, :8], features[:, 8:] * np.float32(1000)
    scaled_both = Scaling.of(np.hstack([first, second]), (8, 4)).apply(np.hstack([first, second]))
    np.testing.assert_allclose(scaled_both[:, :8], Scaling.of(first).apply(first), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scaled_both[:, 8:], 0.6 * Scaling.of(second).apply(second), rtol=1e-3, atol=1e-3)


def test_blocks_have_to_make_up_the_features() -> None:
    features, labels = blobs()
    with pytest.raises(UsageError, match="12 features"):
        fit_head(features, labels, classes=4, penalty=1e-2, blocks=(8, 3))


def test_dead_features_do_no_harm() -> None:
    features, labels = blobs()
    features = np.hstack([features, np.zeros((len(features), 3), dtype=np.float32)])
    head = fit_head(features, labels, classes=4, penalty=1e-2)
    assert np.isfinite(head.weight).all()
    assert np.isfinite(head.bias).all()


def test_all_features_dead_leaves_the_shares_of_the_classes() -> None:
    _, labels = blobs()
    head = fit_head(np.ones((len(labels), 5), dtype=np.float32), labels, classes=4, penalty=1e-2)
    shares = np.bincount(labels) / len(labels)
    np.testing.assert_allclose(softmax(head.logits(np.ones((1, 5), dtype=np.float32)))[0], shares, atol=0.01)


def test_class_without_pictures_is_never_the_answer() -> None:
    features, labels = blobs()
    head = fit_head(features, labels, classes=5, penalty=1e-2)
    assert head.logits(features).shape == (len(features), 5)
    assert (head.logits(features).argmax(axis=1) != 4).all()


def test_fit_is_the_same_every_time() -> None:
    features, labels = blobs()
    one, two = (fit_head(features, labels, classes=4, penalty=1e-2) for _ in range(2))
    np.testing.assert_array_equal(one.weight, two.weight)
    np.testing.assert_array_equal(one.bias, two.bias)


def families(
    counts: list[int], *, spread: float = 1.0, seed: int = 0
) -> tuple[Floats, tuple[Labels, Labels], Taxonomy]:
    """Clouds of features of subclasses with `counts` pictures, three under each superclass, and their labels."""
    random = np.random.default_rng(seed)
    taxonomy = Taxonomy.from_pairs([(f"s{index // 3}", f"c{index:02}") for index in range(len(counts))])
    parents = np.array(taxonomy.parents)
    fixed = np.random.default_rng(7)
    centres = 2 * fixed.normal(size=(parents.max() + 1, 16))[parents] + fixed.normal(size=(len(counts), 16))
    labels = np.repeat(np.arange(len(counts)), counts)
    features = (centres[labels] + spread * random.normal(size=(len(labels), 16))).astype(np.float32)
    return features, (parents[labels], labels), taxonomy


def choose(
    counts: list[int], strategy: Balance = Balance.AUTO, *, unseen: list[int] | None = None, spread: float = 1.0
) -> HeadChoice:
    features, labels, taxonomy = families(counts, spread=spread)
    others, truth, _ = families(unseen or [max(1, count // 4) for count in counts], spread=spread, seed=1)
    return choose_heads(
        part(features, labels),
        part(others, truth),
        taxonomy,
        strategy=strategy,
        seed=0,
    )


def macro_recall(heads: tuple[LinearHead, LinearHead], counts: list[int], spread: float) -> float:
    features, (_, truth), taxonomy = families(counts, spread=spread, seed=9)
    child = join(gather(Scores(heads[0].logits(features), heads[1].logits(features)), taxonomy)).child
    return float(np.mean([(child[truth == label] == label).mean() for label in np.unique(truth)]))


LONG_TAIL = [100, 71, 50, 35, 25, 18, 13, 9, 6, 4, 3, 2]


def test_auto_finds_a_strategy_on_a_long_tail_that_beats_none() -> None:
    choice = choose(LONG_TAIL, spread=1.3)
    assert choice.strategy is Balance.LOGITS
    assert [row["strategy"] for row in choice.table[:5]] == ["none", "sampler", "loss", "logits", "mix"]
    features, labels, taxonomy = families(LONG_TAIL, spread=1.3)
    even = [200] * len(LONG_TAIL)
    plain = fit_heads(features, labels, taxonomy, penalties=(1e-3, 1e-3), strategy=Balance.NONE, seed=0)
    chosen = fit_heads(features, labels, taxonomy, penalties=choice.penalties, strategy=choice.strategy, seed=0)
    assert macro_recall(chosen, even, 1.3) > macro_recall(plain, even, 1.3) + 0.02


def test_auto_leaves_even_classes_alone() -> None:
    choice = choose([30] * 12)
    assert choice.strategy is Balance.NONE
    assert [row["strategy"] for row in choice.table] == ["none"]


def test_auto_leaves_classes_alone_that_nothing_is_gained_for() -> None:
    # What is better here is so by chance: every strategy gains on some classes what it loses on others.
    choice = choose([40, 20] * 6, unseen=[10] * 12)
    assert choice.strategy is Balance.NONE
    assert len(choice.table) == 5


def test_auto_on_none_takes_the_penalties_of_none() -> None:
    counts = [40, 20] * 6
    auto, none = (choose(counts, strategy, unseen=[10] * 12) for strategy in (Balance.AUTO, Balance.NONE))
    assert auto.strategy is Balance.NONE
    assert auto.penalties == none.penalties


@pytest.mark.parametrize("strategy", [name for name in Balance if name is not Balance.AUTO])
def test_named_strategy_stays(strategy: Balance) -> None:
    choice = choose(LONG_TAIL, strategy)
    assert choice.strategy is strategy
    assert set(choice.penalties) <= set(PENALTIES)
    assert [row["strategy"] for row in choice.table] == [strategy]


def test_choice_is_the_same_every_time_and_fits_a_record() -> None:
    one, two = (choose([20, 10, 5, 2]) for _ in range(2))
    assert one == two
    assert json.loads(json.dumps(one.table)) == one.table


def test_classes_of_one_picture_are_never_judged_but_learned() -> None:
    choice = choose([40, 20, 10, 5, 1, 1], unseen=[10, 5, 2, 1, 0, 0])
    assert 0 <= choice.table[0]["macro_recall"] <= 1


def test_nothing_to_judge_by_is_no_reason_to_fail() -> None:
    features, labels, taxonomy = families([1] * 6)
    empty = np.zeros(0, dtype=np.intp)
    training, validation = part(features, labels), part(features[:0], (empty, empty))
    choice = choose_heads(training, validation, taxonomy, strategy=Balance.AUTO, seed=0)
    assert choice == HeadChoice(Balance.NONE, (PENALTIES[0], PENALTIES[0]), [])


def test_validation_pictures_of_unknown_classes_are_left_out() -> None:
    features, labels, taxonomy = families([20] * 6)
    unseen, truth, _ = families([8] * 6, seed=1)
    strange = np.concatenate([unseen, 100 * np.ones((3, 16), dtype=np.float32)])
    with_strange = (np.append(truth[0], [-1, 0, 1]), np.append(truth[1], [-1, -1, -1]))
    training = part(features, labels)
    one = choose_heads(training, part(unseen, truth), taxonomy, strategy=Balance.NONE, seed=0)
    two = choose_heads(training, part(strange, with_strange), taxonomy, strategy=Balance.NONE, seed=0)
    assert one == two


def test_one_superclass_is_enough() -> None:
    features, labels, taxonomy = families([30, 10, 2])
    choice = choose_heads(
        part(features, labels),
        part(features, labels),
        taxonomy,
        strategy=Balance.AUTO,
        seed=0,
    )
    heads = fit_heads(features, labels, taxonomy, penalties=choice.penalties, strategy=choice.strategy, seed=0)
    assert heads[0].logits(features).shape == (42, 1)
    assert heads[1].logits(features).shape == (42, 3)


def test_wide_features_are_compared_on_their_components() -> None:
    random = np.random.default_rng(0)
    features, labels, taxonomy = families([40, 30] * 6)
    wide = np.hstack([features, 0.05 * random.normal(size=(len(features), 400))]).astype(np.float32)
    half = np.arange(len(wide)) % 2 == 0
    parts = [part(wide[rows], (labels[0][rows], labels[1][rows])) for rows in (half, ~half)]
    choice = choose_heads(*parts, taxonomy, strategy=Balance.NONE, seed=0)
    assert choice.table[0]["macro_recall"] > 0.6
