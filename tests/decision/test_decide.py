"""The decision: whatever the scores and the taxonomy, the tag is consistent and its scores are probabilities."""

from __future__ import annotations

import struct
from dataclasses import astuple, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from phototag.decision import Evidence, Thresholds, decide, gather, join, pack, pooled_logits, unpack
from phototag.decision.novelty import SIGNALS, NoveltyModel, Space, Standardizer
from phototag.errors import ModelError, StoreError
from phototag.records import Rank, Reason, Scores, Tag
from phototag.taxonomy import Taxonomy


def flat_taxonomy(sizes: list[int], order: list[int] | None = None) -> Taxonomy:
    """A taxonomy with that many subclasses under each superclass, the subclasses in any order."""
    parents = [parent for parent, size in enumerate(sizes) for _ in range(size)]
    shuffled = [parents[index] for index in order] if order else parents
    return Taxonomy(
        tuple(f"s{index}" for index in range(len(sizes))),
        tuple(f"c{index}" for index in range(len(parents))),
        tuple(shuffled),
    )


@st.composite
def taxonomies(draw: st.DrawFn) -> Taxonomy:
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    return flat_taxonomy(sizes, draw(st.permutations(range(sum(sizes)))))


@st.composite
def scored(draw: st.DrawFn, *, most: float = 80.0) -> tuple[Taxonomy, Scores]:
    """A taxonomy with logits of a few photos, from all alike to quite extreme ones."""
    taxonomy = draw(taxonomies())
    photos = draw(st.integers(1, 4))
    logits = st.floats(-most, most, width=32)
    return taxonomy, Scores(
        draw(arrays.arrays(np.float32, (photos, len(taxonomy.superclasses)), elements=logits)),
        draw(arrays.arrays(np.float32, (photos, len(taxonomy.subclasses)), elements=logits)),
    )


thresholds = st.builds(Thresholds, superclass=st.floats(0, 1), subclass=st.floats(0, 1))
NO_THRESHOLDS = Thresholds(0.0, 0.0)
novel_thresholds = st.builds(Thresholds, *[st.floats(0, 1)] * 4)
RANKS = (Rank.NONE, Rank.SUPERCLASS, Rank.SUBCLASS)


@st.composite
def gathered(draw: st.DrawFn, *, most: float = 80.0) -> tuple[Taxonomy, Evidence]:
    """Evidence of a few photos by a model with novelty scores and an embedding, or by one without."""
    taxonomy, scores = draw(scored(most=most))
    evidence = gather(scores, taxonomy)
    if draw(st.booleans()):
        return taxonomy, evidence
    photos, width = len(scores.subclass), draw(st.integers(1, 6))
    novelty = draw(arrays.arrays(np.float32, (photos, 2), elements=st.floats(0, 1, width=32)))
    embedding = draw(arrays.arrays(np.float16, (photos, width), elements=st.floats(-1e3, 1e3, width=16)))
    return taxonomy, replace(evidence, novelty=np.sort(novelty, axis=1), embedding=embedding)


def softmax(logits: np.ndarray) -> np.ndarray:
    """In float64 and in the plainest way, as an oracle."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def derived(tag: Tag, limits: Thresholds) -> Reason:
    """The reason by the columns of a stored tag: what the database does."""
    if tag.rank is Rank.SUBCLASS:
        return Reason.SUBCLASS
    if tag.rank is Rank.SUPERCLASS:
        return Reason.LOW_SUBCLASS_SCORE if tag.subclass_score < limits.subclass else Reason.NOVEL_SUBCLASS
    return Reason.LOW_SUPERCLASS_SCORE if tag.superclass_score < limits.superclass else Reason.NOVEL_SUPERCLASS


class TestTags:
    @given(scored(most=1e4), thresholds)
    def test_a_tag_is_consistent_whatever_the_scores(self, case: tuple[Taxonomy, Scores], limits: Thresholds) -> None:
        taxonomy, scores = case
        for tag in decide(gather(scores, taxonomy), taxonomy, limits):
            assert (tag.superclass is None) == (tag.rank is Rank.NONE)
            assert (tag.subclass is not None) == (tag.rank is Rank.SUBCLASS)
            if tag.subclass is not None:
                assert taxonomy.parent(tag.subclass) == tag.superclass
            assert 0 <= tag.subclass_score <= tag.superclass_score <= 1 + 1e-9
            assert 0 <= tag.novelty <= 1

    @given(scored(), thresholds)
    def test_a_label_is_given_only_above_its_threshold(self, case: tuple[Taxonomy, Scores], limits: Thresholds) -> None:
        taxonomy, scores = case
        for tag in decide(gather(scores, taxonomy), taxonomy, limits):
            assert (tag.superclass is not None) == (tag.superclass_score >= limits.superclass)
            both = tag.superclass is not None and tag.subclass_score >= limits.subclass
            assert (tag.subclass is not None) == both

    @given(gathered(), novel_thresholds)
    def test_the_reason_is_the_first_check_that_fails(
        self, case: tuple[Taxonomy, Evidence], limits: Thresholds
    ) -> None:
        taxonomy, evidence = case
        for tag, novelty in zip(decide(evidence, taxonomy, limits), evidence.novelty.tolist(), strict=True):
            failed = [
                reason
                for reason, fails in {
                    Reason.LOW_SUPERCLASS_SCORE: tag.superclass_score < limits.superclass,
                    Reason.NOVEL_SUPERCLASS: novelty[0] > limits.novel_superclass,
                    Reason.LOW_SUBCLASS_SCORE: tag.subclass_score < limits.subclass,
                    Reason.NOVEL_SUBCLASS: novelty[1] > limits.novel_subclass,
                }.items()
                if fails
            ]
            assert tag.reason is (failed[0] if failed else Reason.SUBCLASS)
            assert tag.reason.rank is tag.rank

    @given(gathered(), novel_thresholds)
    def test_the_reason_follows_from_what_is_stored_of_a_tag_and_two_thresholds(
        self, case: tuple[Taxonomy, Evidence], limits: Thresholds
    ) -> None:
        taxonomy, evidence = case
        for tag in decide(evidence, taxonomy, limits):
            assert derived(tag, limits) is tag.reason

    @given(scored(), thresholds)
    def test_backing_off_never_changes_the_superclass_nor_the_scores(
        self, case: tuple[Taxonomy, Scores], limits: Thresholds
    ) -> None:
        taxonomy, scores = case
        evidence = gather(scores, taxonomy)
        for full, tag in zip(
            decide(evidence, taxonomy, NO_THRESHOLDS), decide(evidence, taxonomy, limits), strict=True
        ):
            assert full.rank is Rank.SUBCLASS
            assert tag.superclass in (full.superclass, None)
            assert tag.subclass in (full.subclass, None)
            assert (tag.superclass_score, tag.subclass_score, tag.novelty) == (
                full.superclass_score,
                full.subclass_score,
                full.novelty,
            )

    @given(scored())
    def test_a_photo_is_decided_alike_alone_and_in_a_batch(self, case: tuple[Taxonomy, Scores]) -> None:
        taxonomy, scores = case
        together = decide(gather(scores, taxonomy), taxonomy, NO_THRESHOLDS)
        for row, tag in enumerate(together):
            one = Scores(scores.superclass[row : row + 1], scores.subclass[row : row + 1])
            (alone,) = decide(gather(one, taxonomy), taxonomy, NO_THRESHOLDS)
            assert (alone.superclass, alone.subclass, alone.rank) == (tag.superclass, tag.subclass, tag.rank)
            assert alone.superclass_score == pytest.approx(tag.superclass_score, abs=1e-12)

    @given(scored(most=20), st.floats(-50, 50))
    def test_adding_a_constant_to_a_heads_logits_changes_nothing(
        self, case: tuple[Taxonomy, Scores], constant: float
    ) -> None:
        taxonomy, scores = case
        moved = Scores(scores.superclass + np.float32(constant), scores.subclass + np.float32(constant))
        for tag, other in zip(
            decide(gather(scores, taxonomy), taxonomy, NO_THRESHOLDS),
            decide(gather(moved, taxonomy), taxonomy, NO_THRESHOLDS),
            strict=True,
        ):
            assert other.superclass_score == pytest.approx(tag.superclass_score, abs=1e-3)

    def test_no_photos_give_no_tags(self) -> None:
        taxonomy = flat_taxonomy([2, 1])
        nothing = Scores(np.zeros((0, 2), np.float32), np.zeros((0, 3), np.float32))
        evidence = gather(nothing, taxonomy)
        assert decide(evidence, taxonomy, NO_THRESHOLDS) == []
        assert pack(evidence) == []


class TestNovelty:
    @given(gathered(most=1e4), novel_thresholds)
    def test_a_tag_is_consistent_whatever_the_limits(self, case: tuple[Taxonomy, Evidence], limits: Thresholds) -> None:
        taxonomy, evidence = case
        for tag in decide(evidence, taxonomy, limits):
            assert (tag.superclass is None) == (tag.rank is Rank.NONE)
            assert (tag.subclass is not None) == (tag.rank is Rank.SUBCLASS)
            if tag.subclass is not None:
                assert taxonomy.parent(tag.subclass) == tag.superclass
            assert 0 <= tag.subclass_score <= tag.superclass_score <= 1 + 1e-9
            assert 0 <= tag.novelty <= 1

    @given(gathered(), novel_thresholds, st.data())
    def test_stricter_limits_never_deepen_a_rank(
        self, case: tuple[Taxonomy, Evidence], limits: Thresholds, data: st.DataObject
    ) -> None:
        taxonomy, evidence = case
        stricter = Thresholds(
            data.draw(st.floats(limits.superclass, 1)),
            data.draw(st.floats(limits.subclass, 1)),
            data.draw(st.floats(0, limits.novel_superclass)),
            data.draw(st.floats(0, limits.novel_subclass)),
        )
        for loose, strict in zip(decide(evidence, taxonomy, limits), decide(evidence, taxonomy, stricter), strict=True):
            assert RANKS.index(strict.rank) <= RANKS.index(loose.rank)
            assert strict.superclass in (loose.superclass, None)
            assert strict.subclass in (loose.subclass, None)
            assert strict.novelty == loose.novelty

    @given(gathered(), novel_thresholds)
    def test_a_label_is_given_only_to_what_is_familiar_enough(
        self, case: tuple[Taxonomy, Evidence], limits: Thresholds
    ) -> None:
        taxonomy, evidence = case
        plain = decide(evidence, taxonomy, Thresholds(limits.superclass, limits.subclass))
        strange = np.nan_to_num(evidence.novelty, nan=0.0).astype(float) > [
            limits.novel_superclass,
            limits.novel_subclass,
        ]
        for before, tag, (superclass, subclass) in zip(
            plain, decide(evidence, taxonomy, limits), strange.tolist(), strict=True
        ):
            assert (tag.superclass is not None) == (before.superclass is not None and not superclass)
            assert (tag.subclass is not None) == (before.subclass is not None and not superclass and not subclass)

    @given(scored(), novel_thresholds)
    def test_where_a_model_tells_no_novelty_its_limits_mean_nothing(
        self, case: tuple[Taxonomy, Scores], limits: Thresholds
    ) -> None:
        taxonomy, scores = case
        evidence = gather(scores, taxonomy)
        assert np.isnan(evidence.novelty).all()
        tags = decide(evidence, taxonomy, limits)
        assert tags == decide(evidence, taxonomy, Thresholds(limits.superclass, limits.subclass))
        assert all(tag.novelty == 1 - tag.subclass_score for tag in tags)

    @pytest.mark.parametrize(
        ("novelty", "rank"),
        [
            ((0.1, 0.2), Rank.SUBCLASS),
            ((0.1, 0.9), Rank.SUPERCLASS),
            ((0.8, 0.9), Rank.NONE),
            ((0.5, 0.5), Rank.SUBCLASS),
        ],
    )
    def test_unknown_subclass_backs_off_by_one_level_and_unknown_superclass_by_two(
        self, novelty: tuple[float, float], rank: Rank
    ) -> None:
        taxonomy = flat_taxonomy([2, 1])
        sure = Scores(np.array([[9.0, 0.0]], np.float32), np.array([[9.0, 0.0, 0.0]], np.float32))
        evidence = replace(gather(sure, taxonomy), novelty=np.array([novelty], np.float32))
        (tag,) = decide(evidence, taxonomy, Thresholds(0.5, 0.5, 0.5, 0.5))
        assert tag.rank is rank
        assert tag.novelty == pytest.approx(novelty[1])

    def test_novelty_and_embedding_come_from_the_models_scores(self) -> None:
        taxonomy = flat_taxonomy([2, 1])
        model = NoveltyModel(
            Space(np.zeros((3, 2), np.float32), np.ones(2, np.float32)),
            Standardizer(np.zeros(len(SIGNALS)), np.ones(len(SIGNALS))),
            np.ones((2, len(SIGNALS))),
            np.zeros(2),
        )
        embedding = np.array([[1e6, -2.5]], np.float32)
        scores = Scores(np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32), embedding)
        evidence = gather(scores, taxonomy, model)
        np.testing.assert_array_equal(evidence.novelty, model.probabilities(scores))
        # As far as half precision goes.
        np.testing.assert_array_equal(evidence.embedding, np.array([[65504, -2.5]], np.float16))
        assert gather(scores, taxonomy).embedding.shape == (1, 0)


class TestProbabilities:
    @given(scored())
    def test_superclass_scores_sum_to_one(self, case: tuple[Taxonomy, Scores]) -> None:
        taxonomy, scores = case
        joint = join(gather(scores, taxonomy))
        assert (joint.superclass >= 0).all()
        assert joint.superclass.sum(axis=1) == pytest.approx(np.ones(len(joint.superclass)), abs=1e-9)

    @given(scored(most=30))
    def test_the_joint_distribution_is_that_of_the_formula(self, case: tuple[Taxonomy, Scores]) -> None:
        """p(s) is the normalised geometric mean of both heads, p(s, c) shares it among the children: by the book."""
        taxonomy, scores = case
        by_head, by_subclass = softmax(scores.superclass), softmax(scores.subclass)
        by_children = np.stack([by_subclass[:, list(c)].sum(axis=1) for c in taxonomy.children], axis=1)
        pool = np.sqrt(by_head * by_children)
        superclass = pool / pool.sum(axis=1, keepdims=True)
        pairs = np.stack(
            [
                superclass[:, parent] * by_subclass[:, child] / by_children[:, parent]
                for child, parent in enumerate(taxonomy.parents)
            ],
            axis=1,
        )
        assert pairs.sum(axis=1) == pytest.approx(np.ones(len(pairs)), abs=1e-6)
        joint = join(gather(scores, taxonomy))
        assert joint.superclass == pytest.approx(superclass, abs=1e-5)
        rows = np.arange(len(pairs))
        assert joint.child_score == pytest.approx(pairs[rows, joint.child], abs=1e-5)
        assert (np.asarray(taxonomy.parents)[joint.child] == joint.chosen).all()

    def test_where_the_heads_agree_their_probabilities_stand(self) -> None:
        taxonomy = flat_taxonomy([2, 1])
        subclass = np.log(np.array([[0.5, 0.2, 0.3]], dtype=np.float32))
        superclass = np.log(np.array([[0.7, 0.3]], dtype=np.float32))
        (tag,) = decide(gather(Scores(superclass, subclass), taxonomy), taxonomy, Thresholds(0.6, 0.4))
        assert (tag.superclass, tag.subclass) == ("s0", "c0")
        assert (tag.superclass_score, tag.subclass_score) == pytest.approx((0.7, 0.5), abs=1e-6)
        assert tag.novelty == pytest.approx(0.5, abs=1e-6)

    def test_contradicting_heads_are_settled_between_them(self) -> None:
        taxonomy = flat_taxonomy([1, 1])
        superclass = np.log(np.array([[0.9, 0.1]], dtype=np.float32))
        subclass = np.log(np.array([[0.4, 0.6]], dtype=np.float32))
        (tag,) = decide(gather(Scores(superclass, subclass), taxonomy), taxonomy, NO_THRESHOLDS)
        assert (tag.superclass, tag.subclass) == ("s0", "c0")
        assert tag.superclass_score == pytest.approx(0.6 / (0.6 + np.sqrt(0.06)), abs=1e-6)

    @given(scored(most=500))
    def test_pooled_logits_are_the_log_of_summed_probabilities(self, case: tuple[Taxonomy, Scores]) -> None:
        taxonomy, scores = case
        pooled = pooled_logits(scores.subclass, taxonomy).astype(np.float64)
        for column, children in enumerate(taxonomy.children):
            part = scores.subclass[:, list(children)].astype(np.float64)
            assert pooled[:, column] == pytest.approx(np.logaddexp.reduce(part, axis=1), rel=1e-6, abs=1e-4)

    @given(scored(most=30))
    def test_pooled_logits_alone_give_the_sums_of_the_subclasses(self, case: tuple[Taxonomy, Scores]) -> None:
        """For a network without a superclass head: softmax of the pooled logits is the sum over the children."""
        taxonomy, scores = case
        sums = np.stack([softmax(scores.subclass)[:, list(c)].sum(axis=1) for c in taxonomy.children], axis=1)
        pooled = pooled_logits(scores.subclass, taxonomy)
        assert softmax(pooled) == pytest.approx(sums, abs=1e-5)
        joint = join(gather(Scores(pooled, scores.subclass), taxonomy))
        assert joint.superclass == pytest.approx(sums, abs=1e-5)


class TestEvidence:
    @given(scored(most=1e4))
    def test_pack_and_unpack_give_the_very_same_evidence(self, case: tuple[Taxonomy, Scores]) -> None:
        taxonomy, scores = case
        evidence = gather(scores, taxonomy)
        back = unpack(pack(evidence), taxonomy)
        for before, after in zip(astuple(evidence), astuple(back), strict=True):
            assert before.shape == after.shape
            assert before.tobytes() == np.ascontiguousarray(after).astype(before.dtype).tobytes()
        assert decide(back, taxonomy, NO_THRESHOLDS) == decide(evidence, taxonomy, NO_THRESHOLDS)

    @given(gathered(most=1e4))
    def test_novelty_and_embedding_are_packed_too(self, case: tuple[Taxonomy, Evidence]) -> None:
        taxonomy, evidence = case
        blobs = pack(evidence)
        assert {blob[0] for blob in blobs} == {2 if evidence.embedding.shape[1] else 1}
        back = unpack(blobs, taxonomy)
        for before, after in zip(astuple(evidence), astuple(back), strict=True):
            assert before.shape == after.shape
            assert before.tobytes() == np.ascontiguousarray(after).astype(before.dtype).tobytes()
        assert pack(back) == blobs

    def test_scores_stored_before_there_were_embeddings_are_still_read(self) -> None:
        """Byte by byte as earlier versions wrote them: version 1, two numbers, then the arrays."""
        taxonomy = flat_taxonomy([2, 1])
        blob = (
            struct.pack("<BHB", 1, 2, 3)
            + np.array([2.0, -1.0, 3.5, 0.5], "<f4").tobytes()  # superclass logits, pooled ones
            + np.array([1, 2], "<u2").tobytes()
            + np.array([3.25, 0.5], "<f4").tobytes()
            + np.array([1, 0, 2], "<u2").tobytes()
            + np.array([3.25, 2.0, 0.5], "<f4").tobytes()
        )
        evidence = unpack([blob, blob], taxonomy)
        assert evidence.superclass.tolist() == [[2.0, -1.0]] * 2
        assert evidence.pooled.tolist() == [[3.5, 0.5]] * 2
        assert evidence.best.tolist() == [[1, 2]] * 2
        assert evidence.top.tolist() == [[1, 0, 2]] * 2
        assert evidence.top_logit.tolist() == [[3.25, 2.0, 0.5]] * 2
        assert np.isnan(evidence.novelty).all()
        assert evidence.embedding.shape == (2, 0)
        (tag, _) = decide(evidence, taxonomy, Thresholds(0.1, 0.1, 0.0, 0.0))
        assert (tag.superclass, tag.subclass) == ("s0", "c1")
        assert pack(evidence) == [blob, blob]

    @given(gathered(), st.integers(0, 60), st.data())
    def test_blob_of_either_version_is_refused_when_cut_or_mixed(
        self, case: tuple[Taxonomy, Evidence], cut: int, data: st.DataObject
    ) -> None:
        taxonomy, evidence = case
        blob = pack(evidence)[0]
        with pytest.raises(StoreError, match="damaged"):
            unpack([blob[: min(cut, len(blob) - 1)]], taxonomy)
        other = pack(replace(evidence, embedding=np.zeros((len(evidence.top), 7), np.float16)))[0]
        with pytest.raises(StoreError, match="damaged"):
            unpack(data.draw(st.permutations([blob, other])), taxonomy)

    @given(scored())
    def test_photos_are_unpacked_in_any_order_and_number(self, case: tuple[Taxonomy, Scores]) -> None:
        taxonomy, scores = case
        evidence = gather(scores, taxonomy)
        blobs = pack(evidence)
        assert pack(unpack(blobs[::-1] + blobs, taxonomy)) == blobs[::-1] + blobs

    @given(scored())
    def test_the_candidates_are_the_best_subclasses_best_first(self, case: tuple[Taxonomy, Scores]) -> None:
        taxonomy, scores = case
        evidence = gather(scores, taxonomy)
        for row, (top, logits) in enumerate(zip(evidence.top.tolist(), evidence.top_logit.tolist(), strict=True)):
            assert len(set(top)) == len(top) == min(10, len(taxonomy.subclasses))
            assert all(better >= worse for better, worse in pairwise(logits))
            assert logits[0] == scores.subclass[row].max()
            assert [float(scores.subclass[row, index]) for index in top] == logits

    @given(scored(), st.data())
    def test_damaged_scores_are_refused_or_still_decided_consistently(
        self, case: tuple[Taxonomy, Scores], data: st.DataObject
    ) -> None:
        taxonomy, scores = case
        blob = bytearray(pack(gather(scores, taxonomy))[0])
        blob[data.draw(st.integers(0, 3))] ^= data.draw(st.integers(1, 255))
        with pytest.raises(StoreError, match="damaged"):
            unpack([bytes(blob)], taxonomy)

    @given(scored(), st.integers(0, 60))
    def test_scores_cut_short_are_refused(self, case: tuple[Taxonomy, Scores], cut: int) -> None:
        taxonomy, scores = case
        blob = pack(gather(scores, taxonomy))[0]
        with pytest.raises(StoreError, match="damaged"):
            unpack([blob[: min(cut, len(blob) - 1)]], taxonomy)

    def test_scores_of_another_taxonomy_are_refused(self) -> None:
        scores = Scores(np.zeros((1, 2), np.float32), np.zeros((1, 4), np.float32))
        blobs = pack(gather(scores, flat_taxonomy([2, 2])))
        with pytest.raises(StoreError, match=r"phototag tag --force"):
            unpack(blobs, flat_taxonomy([2, 2, 1]))

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_scores_that_are_not_finite_are_refused(self, bad: float) -> None:
        taxonomy = flat_taxonomy([2, 1])
        fine, broken = np.zeros((1, 2), np.float32), np.array([[0.0, bad, 0.0]], np.float32)
        with pytest.raises(ModelError, match="not finite"):
            gather(Scores(fine, broken), taxonomy)
        with pytest.raises(ModelError, match="not finite"):
            gather(Scores(np.array([[bad, 0.0]], np.float32), np.zeros((1, 3), np.float32)), taxonomy)

    @pytest.mark.parametrize("shapes", [((1, 3), (1, 3)), ((1, 2), (1, 4)), ((2, 2), (1, 3))])
    def test_scores_of_another_shape_are_refused(self, shapes: tuple[tuple[int, int], tuple[int, int]]) -> None:
        superclass, subclass = (np.zeros(shape, np.float32) for shape in shapes)
        with pytest.raises(ModelError, match="shape"):
            gather(Scores(superclass, subclass), flat_taxonomy([2, 1]))


class TestThresholds:
    @pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
    def test_a_threshold_outside_0_to_1_is_refused(self, value: float) -> None:
        with pytest.raises(ModelError, match="between 0 and 1"):
            Thresholds(value, 0.5)
        with pytest.raises(ModelError, match="between 0 and 1"):
            Thresholds.from_json({"superclass": 0.5, "subclass": value})

    @given(novel_thresholds)
    def test_they_survive_a_file(self, limits: Thresholds) -> None:
        assert Thresholds.from_json(limits.to_json()) == limits

    def test_files_from_before_novelty_have_no_limits_on_it(self) -> None:
        assert Thresholds.from_json({"superclass": 0.3, "subclass": 0.4}) == Thresholds(0.3, 0.4, 1.0, 1.0)

    @pytest.mark.parametrize("level", ["novel_superclass", "novel_subclass"])
    @pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), None, "x"])
    def test_a_limit_on_novelty_is_checked_like_a_threshold(self, level: str, value: object) -> None:
        with pytest.raises(ModelError, match="thresholds"):
            Thresholds.from_json({"superclass": 0.3, "subclass": 0.4, level: value})

    @pytest.mark.parametrize("value", [None, 3, [], {}, {"superclass": 0.5}, {"superclass": "x", "subclass": 0}])
    def test_anything_else_is_refused(self, value: object) -> None:
        with pytest.raises(ModelError, match="thresholds"):
            Thresholds.from_json(value)
