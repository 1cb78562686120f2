"""Strategies against classes of unequal size: what each changes, by the formulas of its paper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phototag.choices import Balance
from phototag.errors import UsageError
from phototag.training.heads.balance import Balancing, balancing, effective_weights, mixed_rare, prior_offsets

LABELS = np.array([0] * 90 + [1] * 9 + [3])
NAMED = [strategy for strategy in Balance if strategy is not Balance.AUTO]


def test_none_changes_nothing() -> None:
    assert balancing(Balance.NONE, LABELS, 4) == Balancing(None, None, None, mix_rare=False)


def test_auto_has_to_be_resolved_first() -> None:
    with pytest.raises(UsageError, match="auto"):
        balancing(Balance.AUTO, LABELS, 4)


def test_sampler_draws_every_class_equally_often() -> None:
    drawing = balancing(Balance.SAMPLER, LABELS, 4).sampling
    assert drawing is not None
    assert drawing.shape == LABELS.shape
    sums = np.bincount(LABELS, weights=drawing)
    np.testing.assert_allclose(sums[[0, 1, 3]], 100 / 3, rtol=1e-5)


def test_mix_draws_half_way_between_equal_pictures_and_equal_classes() -> None:
    plan = balancing(Balance.MIX, LABELS, 4)
    assert plan.mix_rare
    assert plan.sampling is not None
    sums = np.bincount(LABELS, weights=plan.sampling)
    assert sums[0] / sums[3] == pytest.approx(90**0.5, rel=1e-5)


def test_loss_weighs_by_the_effective_number_of_pictures() -> None:
    # Cui et al., eq. 2, written out as the sum it comes from: 1 + beta + beta^2 ... n times.
    counts = np.array([90, 9, 0, 1])
    beta = 89 / 90
    effective = np.array([sum(beta**power for power in range(count)) for count in counts])
    weights = effective_weights(counts)
    np.testing.assert_allclose(weights[[0, 1, 3]] * effective[[0, 1, 3]], weights[3], rtol=1e-5)
    assert weights[2] == 0
    given_weights = balancing(Balance.LOSS, LABELS, 4).sample_weights
    assert given_weights is not None
    np.testing.assert_array_equal(given_weights, weights)
    assert given_weights[LABELS].mean() == pytest.approx(1)


def test_one_picture_a_class_weighs_them_alike() -> None:
    np.testing.assert_allclose(effective_weights(np.array([1, 1, 0])), [1, 1, 0])
    np.testing.assert_array_equal(effective_weights(np.zeros(3, dtype=np.intp)), np.zeros(3))


def test_logits_are_offset_by_the_logarithm_of_the_shares() -> None:
    offsets = balancing(Balance.LOGITS, LABELS, 4).logit_offsets
    assert offsets is not None
    np.testing.assert_allclose(np.exp(offsets)[[0, 1, 3]], [0.9, 0.09, 0.01], rtol=1e-5)
    # No class that was seen has a higher offset, so training pushes the unseen one down as it does without offsets.
    assert offsets[2] >= offsets.max()
    np.testing.assert_array_equal(prior_offsets(np.zeros(3, dtype=np.intp)), np.zeros(3))


@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=60), strategy=st.sampled_from(NAMED))
def test_all_numbers_are_finite_and_keep_the_scale_of_the_loss(labels: list[int], strategy: Balance) -> None:
    codes = np.array(labels)
    plan = balancing(strategy, codes, 7)
    for values in (plan.sample_weights, plan.logit_offsets):
        assert values is None or (values.shape == (7,) and values.dtype == np.float32 and np.isfinite(values).all())
    if plan.sample_weights is not None:
        assert plan.sample_weights[codes].mean() == pytest.approx(1, rel=1e-4)
    if plan.sampling is not None:
        assert plan.sampling.dtype == np.float32
        assert plan.sampling.mean() == pytest.approx(1, rel=1e-4)


@given(st.integers(1, 5), st.integers(2, 20))
def test_equal_classes_are_left_alone(classes: int, size: int) -> None:
    labels = np.repeat(np.arange(classes), size)
    weights = balancing(Balance.LOSS, labels, classes).sample_weights
    drawing = balancing(Balance.SAMPLER, labels, classes).sampling
    offsets = balancing(Balance.LOGITS, labels, classes).logit_offsets
    assert weights is not None
    assert drawing is not None
    assert offsets is not None
    np.testing.assert_allclose(weights, 1, rtol=1e-5)
    np.testing.assert_allclose(drawing, 1, rtol=1e-5)
    assert np.ptp(offsets) == 0
    features = np.zeros((len(labels), 2), dtype=np.float32)
    assert len(mixed_rare(features, labels, classes, seed=0)[0]) == len(labels)


def test_rare_classes_get_mixed_pictures_up_to_the_geometric_mean() -> None:
    labels = np.array([0] * 64 + [1] * 16 + [2] * 4)
    features = np.zeros((len(labels), 3), dtype=np.float32)
    features[np.arange(len(labels)), labels] = 1
    mixed, names = mixed_rare(features, labels, 3, seed=0)
    np.testing.assert_array_equal(mixed[: len(labels)], features)
    assert np.bincount(names).tolist() == [64, 32, 16]
    assert mixed.dtype == np.float32
    new, of = mixed[len(labels) :], names[len(labels) :]
    np.testing.assert_allclose(new.sum(axis=1), 1, rtol=1e-6)
    # The class that names a mixed picture makes up at least half of it, and no smaller class is mixed in.
    assert (new[np.arange(len(new)), of] >= 0.5).all()
    assert (new[of == 1][:, 2] == 0).all()
    assert (new[of == 2][:, :2] > 0).any(axis=0).all()


def test_only_class_that_is_rare_and_the_unseen_one_make_no_trouble() -> None:
    features = np.arange(6, dtype=np.float32).reshape(6, 1)
    labels = np.array([0, 0, 0, 0, 0, 2])
    mixed, names = mixed_rare(features, labels, 4, seed=0)
    assert np.bincount(names, minlength=4).tolist() == [5, 0, 2, 0]
    assert mixed.shape == (7, 1)


def test_mixed_pictures_are_no_more_than_twice_those_given() -> None:
    labels = np.concatenate([np.zeros(400, dtype=np.intp), np.arange(1, 101)])
    mixed, names = mixed_rare(np.zeros((500, 1), dtype=np.float32), labels, 101, seed=0)
    assert len(mixed) == len(names)
    assert 1000 < len(mixed) <= 1500


def test_mixing_is_the_same_for_the_same_seed_only() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(40, 3)).astype(np.float32)
    labels = np.array([0] * 36 + [1] * 4)
    first, again, other = (mixed_rare(features, labels, 2, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
