"""Which photos are drawn: by chance, the same again, so many from each stratum, and further ones later."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from phototag.audit import sampling
from phototag.audit.sample_creation import create_sample, extend_sample, focus_sample
from phototag.audit.sampling import Frame, Scope, permanent_random_numbers
from phototag.choices import Allocation, Focus, StrataBy
from phototag.errors import UsageError
from phototag.records import Photo, Rank, Tag
from phototag.store import Design, Review, Store, StoredTag
from phototag.taxonomy import Taxonomy

TAXONOMY = Taxonomy.from_pairs([("bird", "hawk"), ("bird", "rooster"), ("dog", "beagle"), ("reptile", "gecko")])
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)

Fill = Callable[..., Store]


def tag_of(index: int) -> Tag:
    """A tag for photo number `index`: some are novel, some back off, and few are geckos."""
    if index % 20 == 7:
        return Tag(None, None, Rank.NONE, 0.3, 0.2, 0.8)
    name = "gecko" if index % 50 == 3 else ("hawk", "rooster", "beagle")[index % 3]
    score = 0.4 + 0.59 * ((index * 37) % 100) / 100
    if index % 10 == 5:
        return Tag(TAXONOMY.parent(name), None, Rank.SUPERCLASS, 0.8, 0.3, 0.7)
    return Tag(TAXONOMY.parent(name), name, Rank.SUBCLASS, min(1.0, score + 0.01), score, 1 - score)


def stored(index: int, folder: str = "/lib") -> StoredTag:
    path = Path(f"{folder}/{index % 4}/{index}.jpg")
    return StoredTag(Photo(path, 1, 1, 1, 1), hashlib.sha256(str(path).encode()).digest(), 4, 3, b"", tag_of(index))


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    """A function that makes a database of that many photos, in the order of `indexes`."""

    def make(count: int = 600) -> Store:
        store = Store.open(tmp_path / "a.db")
        with store.writing("test"):
            model = store.models.register(hash="a" * 64, name="m", backbone="b", taxonomy=TAXONOMY, metrics={})
            store.tags.save_batch(model_id=model, tagged=[stored(index) for index in range(count)])
        return store

    return make


def names_of(store: Store, sample: str) -> list[str]:
    found = store.samples.find(sample)
    assert found is not None
    return [item.path.name for item in store.samples.items(found.id)]


def frame_of(count: int) -> Frame:
    return Frame(
        np.arange(1, count + 1),
        np.ones(count, dtype=np.int64),
        [tag_of(index) for index in range(count)],
        [b""] * count,
        [f"/lib/{index % 4}/{index}.jpg".encode() for index in range(count)],
        [MOMENT] * count,
    )


class TestLots:
    def test_they_look_like_chance(self) -> None:
        keys = permanent_random_numbers(np.arange(1, 100_001), 7) / 2**64
        assert stats.kstest(keys, "uniform").pvalue > 0.001
        assert abs(np.corrcoef(keys[:-1], keys[1:])[0, 1]) < 0.02
        assert len(np.unique(keys)) > 99_990

    def test_another_seed_gives_others(self) -> None:
        ids = np.arange(1, 10_001)
        one, other = (permanent_random_numbers(ids, seed) / 2**64 for seed in (1, 2))
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.05

    def test_every_photo_and_every_pair_is_drawn_equally_often(self) -> None:
        ids = np.arange(1, 13)
        strata, four = np.zeros(12, np.intp), np.array([4])
        drawn = np.array(
            [
                np.isin(np.arange(12), sampling.sampled_rows(strata, four, permanent_random_numbers(ids, seed)))
                for seed in range(6000)
            ]
        ).astype(int)
        assert stats.chisquare(drawn.sum(axis=0)).pvalue > 0.001
        together = (drawn.T @ drawn)[np.triu_indices(12, 1)]
        assert stats.chisquare(together).pvalue > 0.001


class TestAllocation:
    @given(
        st.lists(st.tuples(st.integers(1, 500), st.floats(0, 100)), min_size=1, max_size=20),
        st.integers(100, 900),
    )
    @settings(max_examples=60, deadline=None)
    def test_it_gives_all_photos_out_and_none_that_are_not_there(
        self, strata: list[tuple[int, float]], size: int
    ) -> None:
        population = np.array([count for count, _ in strata])
        numbers = sampling.allocate(np.array([wish for _, wish in strata]), population, size)
        assert numbers.sum() == min(size, population.sum())
        assert (numbers <= population).all()
        assert (numbers >= np.minimum(population, 4)).all()

    def test_in_proportion(self) -> None:
        population = np.array([5000, 3000, 2000])
        wish = sampling.allocation_weights(population, np.full(3, 0.1), Allocation.PROPORTIONAL)
        assert sampling.allocate(wish, population, 200).tolist() == [100, 60, 40]

    def test_neyman_gives_more_where_errors_are_to_be_expected(self) -> None:
        population, errors = np.array([8000, 1000, 1000]), np.array([0.02, 0.2, 0.5])
        numbers = sampling.allocate(sampling.allocation_weights(population, errors, Allocation.NEYMAN), population, 200)
        spread = population * np.sqrt(errors * (1 - errors))
        assert numbers.tolist() == pytest.approx((200 * spread / spread.sum()).tolist(), abs=1)

    def test_too_few_photos_for_the_strata_are_refused(self) -> None:
        with pytest.raises(UsageError, match="10 strata need 40 photos"):
            sampling.allocate(np.ones(10), np.full(10, 50), 30)


class TestStrata:
    def test_the_parts_of_each_kind(self) -> None:
        frame = frame_of(200)
        assert set(sampling.stratum_names(frame, StrataBy.SUPERCLASS)) == {"bird", "dog", "reptile", "(none)"}
        assert "bird/(none)" in sampling.stratum_names(frame, StrataBy.SUBCLASS)
        assert set(sampling.stratum_names(frame, StrataBy.RANK)) == {"subclass", "superclass", "none"}
        assert set(sampling.stratum_names(frame, StrataBy.FOLDER)) == {"0", "1", "2", "3"}

    @pytest.mark.parametrize(
        ("score", "name"),
        [
            (0.0, "score 0 to 0.5"),
            (0.5, "score 0.5 to 0.7"),
            (0.9499, "score 0.85 to 0.95"),
            (0.99, "score 0.99 to 1"),
            (1.0, "score 0.99 to 1"),
        ],
    )
    def test_bands_hold_their_lower_end(self, score: float, name: str) -> None:
        assert sampling.band_name(score) == name

    def test_small_parts_are_thrown_together(self) -> None:
        names = [f"class {index // 3}" for index in range(300)] + ["large"] * 700
        merged = Counter(sampling.merge_small(names, 80))
        assert len(merged) == 10
        assert merged["large"] == 700
        assert merged[sampling.OTHERS] == 300 - 8 * 3

    def test_folders_whose_names_are_no_text(self) -> None:
        assert sampling.folder_names([b"/lib/\xff\xfe/a.jpg", b"/lib/b.jpg"], b"/lib") == ["\\xff\\xfe", "."]


class TestDrawing:
    def test_the_same_seed_draws_the_same_photos_whatever_the_order_of_rows(self, fill: Fill) -> None:
        with fill() as store:
            for name in ("one", "two"):
                create_sample(store, size=50, name=name, seed=4)
            create_sample(store, size=50, name="three", seed=5)
            assert names_of(store, "one") == names_of(store, "two")
            assert set(names_of(store, "one")) != set(names_of(store, "three"))
        frame = frame_of(300)
        shuffled = np.random.default_rng(0).permutation(300)
        keys = permanent_random_numbers(frame.ids, 9)
        straight = sampling.sampled_rows(np.zeros(300, np.intp), np.array([40]), keys)
        turned = sampling.sampled_rows(np.zeros(300, np.intp), np.array([40]), keys[shuffled])
        assert straight == [int(shuffled[row]) for row in turned]

    def test_what_is_stored(self, fill: Fill) -> None:
        with fill() as store:
            sample = create_sample(store, size=60, by=StrataBy.SUPERCLASS, seed=1)
            items = store.samples.items(sample.id)
        assert (sample.name, sample.design, sample.strata_by, sample.size) == (
            "sample-1", Design.STRATIFIED, "superclass", 60,
        )  # fmt: skip
        assert sample.for_estimation
        assert sample.population == 600
        shares = {each.name: each.drawn / each.population for each in sample.strata}
        assert [item.inclusion_probability for item in items] == [shares[item.stratum] for item in items]
        assert Counter(item.stratum for item in items) == {each.name: each.drawn for each in sample.strata}
        assert sum(row[3] for row in sample.parameters["cells"]) == 600

    def test_the_first_part_of_a_review_has_seen_of_every_stratum(self, fill: Fill) -> None:
        with fill() as store:
            sample = create_sample(store, size=120, by=StrataBy.FOLDER, seed=1)
            first = Counter(item.stratum for item in store.samples.items(sample.id)[:40])
        assert set(first.values()) == {10}

    def test_a_scope_limits_what_is_drawn_from(self, fill: Fill) -> None:
        with fill() as store:
            sample = create_sample(store, size=1000, scope=Scope(under=Path("/lib/2"), superclass="bird"), name="b")
            items = store.samples.items(sample.id)
            assert sample.size == sample.population == len(items)
            assert all(item.path.parent == Path("/lib/2") and item.tag.superclass == "bird" for item in items)
            with pytest.raises(UsageError, match="no readable photo under /nowhere"):
                create_sample(store, size=10, scope=Scope(under=Path("/nowhere")))

    def test_humans_tags_and_lost_photos_are_not_drawn(self, fill: Fill) -> None:
        with fill(100) as store:
            with store.writing("test"):
                store.tags.set_human(Path("/lib/0/0.jpg"), superclass="dog")
                known = store.photos.find(Path("/lib/1/1.jpg"))
                assert known is not None
                store.photos.mark_missing([known.id])
            sample = create_sample(store, size=1000)
            assert sample.population == 98

    def test_doubtful_photos_are_chosen_but_not_for_estimates(self, fill: Fill) -> None:
        with fill() as store:
            sample = focus_sample(store, Focus.LOWEST, size=10)
            items = store.samples.items(sample.id)
        assert (sample.for_estimation, sample.design) == (False, Design.FOCUS)
        assert all(item.inclusion_probability is None for item in items)
        scores = [sampling.right_score(item.tag) for item in items]
        assert scores == sorted(scores)
        assert max(scores) <= sorted(sampling.right_score(tag_of(index)) for index in range(600))[9]


class TestGoingOn:
    @pytest.mark.parametrize("by", [None, StrataBy.SCORE, StrataBy.SUPERCLASS, StrataBy.FOLDER])
    def test_a_sample_that_was_continued_is_the_one_drawn_at_once(self, fill: Fill, by: StrataBy | None) -> None:
        with fill() as store:
            create_sample(store, size=60, name="small", by=by, seed=3)
            grown = extend_sample(store, "small", more=60)
            create_sample(store, size=120, name="large", by=by, seed=3)
            assert grown.size == 120
            if by in (None, StrataBy.FOLDER):
                assert set(names_of(store, "small")) == set(names_of(store, "large"))
            items = store.samples.items(grown.id)
            shares = {each.name: each.drawn / each.population for each in grown.strata}
            assert [item.inclusion_probability for item in items] == [shares[item.stratum] for item in items]

    @pytest.mark.parametrize("by", [StrataBy.SUPERCLASS, StrataBy.SUBCLASS])
    def test_names_as_earlier_versions_stored_them(self, fill: Fill, tmp_path: Path, by: StrataBy) -> None:
        with fill() as store:
            create_sample(store, size=60, name="old", by=by, seed=3)
        with sqlite3.connect(tmp_path / "a.db") as old:
            for column in ("tags.superclass", "sample_strata.stratum", "sample_items.stratum"):
                table, name = column.split(".")
                old.execute(f"UPDATE {table} SET {name} = replace({name}, 'bird', 'vo\u0308gel')")
        old.close()
        with Store.open(tmp_path / "a.db") as store:
            assert extend_sample(store, "old", more=60).size == 120

    def test_reviews_in_between_do_not_change_what_is_drawn(self, fill: Fill) -> None:
        with fill() as store:
            first = create_sample(store, size=50, name="one", seed=3)
            other = create_sample(store, size=100, name="other", seed=8)
            with store.writing("test"):
                for sample in (first, other):
                    for item in store.samples.items(sample.id):
                        store.reviews.save(
                            Review(photo_id=item.photo_id, superclass="dog", subclass="beagle", sample_id=sample.id)
                        )
            extend_sample(store, "one", more=50)
            expected = sampling.sampled_rows(
                np.zeros(600, np.intp),
                np.array([100]),
                permanent_random_numbers(np.arange(1, 601, dtype=np.int64), 3),
            )
            assert set(names_of(store, "one")) == {f"{row}.jpg" for row in expected}
            tags = {item.path.name: item.tag for item in store.samples.items(first.id)}
            for name, tag in tags.items():
                assert (tag.superclass, tag.subclass) == (
                    tag_of(int(name[:-4])).superclass, tag_of(int(name[:-4])).subclass,
                )  # fmt: skip

    def test_new_photos_do_not_come_in(self, fill: Fill) -> None:
        with fill() as store:
            sample = create_sample(store, size=50, name="one", seed=3)
            with store.writing("test"):
                model = store.models.find_all()[0].id
                store.tags.save_batch(model_id=model, tagged=[stored(index, "/new") for index in range(400)])
            grown = extend_sample(store, "one", more=100)
            assert grown.population == sample.population
            assert not any(item.path.is_relative_to("/new") for item in store.samples.items(grown.id))

    def test_a_library_that_was_tagged_anew_needs_a_new_sample(self, fill: Fill) -> None:
        with fill() as store:
            create_sample(store, size=50, name="one", seed=3)
            with store.writing("test"):
                other = store.models.register(hash="b" * 64, name="n", backbone="b", taxonomy=TAXONOMY, metrics={})
                store.tags.save_batch(model_id=other, tagged=[stored(index) for index in range(100)])
            with pytest.raises(UsageError, match="were tagged again or are gone; take a new one"):
                extend_sample(store, "one", more=10)

    def test_a_sample_of_everything_and_one_that_was_chosen_cannot_go_on(self, fill: Fill) -> None:
        with fill(30) as store:
            create_sample(store, size=30, name="all")
            with pytest.raises(UsageError, match="holds all photos"):
                extend_sample(store, "all", more=1)
            focus_sample(store, Focus.LOWEST, size=5, name="low")
            with pytest.raises(UsageError, match="was chosen, not sampled at random"):
                extend_sample(store, "low", more=1)
            with pytest.raises(UsageError, match=r"there is no sample 'x'; there are: all, low"):
                extend_sample(store, "x", more=1)
