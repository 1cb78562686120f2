"""Samples: what was drawn stays as it was drawn, and what is still to be reviewed is known at any time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from phototag.database import driver_connection
from phototag.errors import StoreError, UsageError
from phototag.records import PhotoState
from phototag.store import Design, NewSample, Query, Review, Sample, SampledPhoto, Store, StoredTag, Stratum
from tests.support.stored_photos import BEAGLE, ROOSTER, STRANGE, digest, failure, register, stored

TAGS = {"a": ROOSTER, "b": BEAGLE, "c": STRANGE, "d": ROOSTER, "e": BEAGLE}


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store that may be written to, with five tagged photos, /p/a.jpg to /p/e.jpg with ids from 1."""
    location = "sqlite://" if request.param == "memory" else tmp_path / "photos.db"
    with Store.open(location) as opened, opened.writing("audit"):
        opened.tags.save_batch(
            model_id=register(opened), tagged=[stored(f"/p/{name}.jpg", tag) for name, tag in TAGS.items()]
        )
        yield opened


def library() -> list[StoredTag]:
    return [stored(f"/p/{name}.jpg", tag) for name, tag in TAGS.items()]


def drawn(names: str, stratum: str = "all", probability: float | None = 0.6) -> list[SampledPhoto]:
    return [
        SampledPhoto(
            photo_id=1 + list(TAGS).index(name),
            stratum=stratum,
            inclusion_probability=probability,
            content_hash=digest(f"/p/{name}.jpg"),
            tag=TAGS[name],
            model_id=1,
        )
        for name in names
    ]


def new(items: Sequence[SampledPhoto], strata: Sequence[Stratum] | None = None, **more: Any) -> NewSample:
    values: dict[str, Any] = {
        "name": "first",
        "design": Design.SIMPLE,
        "seed": 7,
        "for_estimation": True,
        "items": items,
        "strata": [Stratum("all", 5, len(items))] if strata is None else strata,
    }
    return NewSample(**(values | more))


def only(store: Store) -> Sample:
    (sample,) = store.samples.find_all()
    return sample


def positions(store: Store, sample_id: int) -> list[int]:
    return [item.position for item in store.samples.items(sample_id, pending_only=True)]


def test_sample_comes_back_as_saved(store: Store) -> None:
    strata = [Stratum("bird", 2, 2), Stratum("none", 1, 1), Stratum("dog", 2, 0)]
    items = [*drawn("d", "bird", 1.0), *drawn("c", "none", 1.0), *drawn("a", "bird", 1.0)]
    parameters = {"under": "/p/caf\udce9", "since": None, "states": ["ok"]}
    sample_id = store.samples.save(
        new(items, strata, design=Design.STRATIFIED, strata_by="superclass", model_id=1, parameters=parameters)
    )
    sample = only(store)
    assert (sample.id, sample.name, sample.design, sample.strata_by) == (sample_id, "first", "stratified", "superclass")
    assert (sample.size, sample.population, sample.seed, sample.for_estimation, sample.model_id) == (3, 5, 7, True, 1)
    assert sample.parameters == parameters
    assert set(sample.strata) == set(strata)
    assert (sample.reviewed, sample.skipped, sample.changed, sample.pending) == (0, 0, 0, 3)
    assert store.samples.find("first") == sample
    assert store.samples.find("second") is None
    back = store.samples.items(sample_id)
    assert [(item.position, item.path.stem) for item in back] == [(1, "d"), (2, "c"), (3, "a")], "the order of review"
    first = back[0]
    assert (first.tag, first.model_id, first.stratum, first.inclusion_probability) == (ROOSTER, 1, "bird", 1.0)
    assert (first.state, first.changed, first.review, first.pending) == (PhotoState.OK, False, None, True)
    assert store.samples.items(99) == []


def test_review_for_a_sample_ends_the_waiting_and_undoing_it_does_not_lose_the_photo(store: Store) -> None:
    sample_id = store.samples.save(new(drawn("abc")))
    assert positions(store, sample_id) == [1, 2, 3]
    review_id = store.reviews.save(Review(photo_id=2, superclass="fish", sample_id=sample_id))
    assert positions(store, sample_id) == [1, 3]
    assert [item.position for item in store.samples.items(sample_id, pending_only=True, limit=1)] == [1]
    item = store.samples.items(sample_id)[1]
    assert item.review is not None
    assert (item.review.id, item.review.superclass) == (review_id, "fish")
    assert item.tag == BEAGLE, "what is judged is the tag of when it was drawn"
    store.reviews.undo(review_id)
    assert positions(store, sample_id) == [1, 2, 3]


def test_later_review_for_another_purpose_corrects_and_does_not_ask_again(store: Store) -> None:
    first, second = store.samples.save(new(drawn("ab"))), store.samples.save(new(drawn("bc"), name="second"))
    store.reviews.save(Review(photo_id=2, superclass="fish", sample_id=first))
    assert positions(store, second) == [1, 2], "it was not drawn for the other sample when it was looked at"
    store.reviews.save(Review(photo_id=2, superclass="whale", sample_id=second))
    store.reviews.save(Review(photo_id=1, superclass="whale"))
    assert positions(store, first) == [1], "a review out of turn says nothing of a random sample"
    for sample_id, position in ((first, 2), (second, 1)):
        review = store.samples.items(sample_id)[position - 1].review
        assert review is not None
        assert review.superclass == "whale"
    assert [(sample.reviewed, sample.pending) for sample in store.samples.find_all()] == [(1, 1), (1, 1)]


def test_skipped_photo_waits_no_longer_and_a_review_ends_the_skipping(store: Store) -> None:
    sample_id = store.samples.save(new(drawn("abc")))
    store.samples.skip(sample_id, 1)
    store.samples.skip(sample_id, 3)
    assert positions(store, sample_id) == [2]
    assert store.samples.items(sample_id)[0].skipped_at is not None
    store.samples.skip(sample_id, 3, skipped=False)
    assert positions(store, sample_id) == [2, 3]
    store.reviews.save(Review(photo_id=1, superclass="bird", sample_id=sample_id))
    assert (only(store).reviewed, only(store).skipped) == (1, 0)
    for wrong in ((sample_id, 4), (sample_id, 0), (9, 1)):
        with pytest.raises(UsageError, match="has no photo at position"):
            store.samples.skip(*wrong)


def test_photo_that_changed_since_it_was_drawn_is_no_longer_judged(store: Store) -> None:
    sample_id = store.samples.save(new(drawn("abc")))
    store.reviews.save(Review(photo_id=1, superclass="bird", sample_id=sample_id))
    changed = [stored(f"/p/{name}.jpg", content=f"new {name}") for name in "ab"]
    store.tags.save_batch(model_id=1, tagged=changed, failures=[])
    assert positions(store, sample_id) == [3]
    items = store.samples.items(sample_id)
    assert [(item.changed, item.review is None) for item in items] == [(True, True), (True, True), (False, True)]
    assert (only(store).changed, only(store).reviewed, only(store).pending) == (2, 0, 1)
    store.tags.save_batch(model_id=1, tagged=[stored("/p/a.jpg")])
    assert (only(store).changed, only(store).reviewed) == (1, 1), "with the old content the old review counts again"
    store.tags.save_batch(model_id=1, tagged=[], failures=[failure("/p/c.jpg", content="broken")])
    assert store.samples.items(sample_id)[2].state is PhotoState.UNREADABLE
    assert positions(store, sample_id) == []


def test_missing_photo_waits_for_its_return(store: Store) -> None:
    sample_id = store.samples.save(new(drawn("ab")))
    store.photos.mark_missing([1])
    (item, _) = store.samples.items(sample_id, pending_only=True)
    assert (item.state, item.pending) == (PhotoState.MISSING, True)
    store.tags.save_batch(model_id=1, tagged=[stored("/moved/a.jpg", content="/p/a.jpg")])
    assert store.photos.paths_of(item.content_hash) == [Path("/moved/a.jpg")], "where a page finds the picture to show"


def test_retagging_does_not_touch_what_was_drawn(store: Store) -> None:
    sample_id = store.samples.save(new(drawn("a")))
    other = register(store, "other")
    store.tags.save_batch(model_id=other, tagged=[stored("/p/a.jpg", STRANGE)])
    (item,) = store.samples.items(sample_id)
    assert (item.tag, item.model_id) == (ROOSTER, 1)


def test_sample_can_be_drawn_on_and_keeps_its_probabilities_right(store: Store) -> None:
    strata = [Stratum("bird", 4, 1), Stratum("rest", 3, 1)]
    sample_id = store.samples.save(new([*drawn("a", "bird", 0.25), *drawn("c", "rest", 1 / 3)], strata))
    store.reviews.save(Review(photo_id=1, superclass="bird", sample_id=sample_id))
    more = [Stratum("bird", 4, 2), Stratum("rest", 3, 1), Stratum("dog", 2, 2)]
    store.samples.extend(sample_id, items=[*drawn("d", "bird", 0.5), *drawn("be", "dog", 1.0)], strata=more)
    sample = only(store)
    assert (sample.size, sample.population, sample.reviewed, set(sample.strata)) == (5, 9, 1, set(more))
    items = store.samples.items(sample_id)
    assert [(item.position, item.path.stem) for item in items] == [(1, "a"), (2, "c"), (3, "d"), (4, "b"), (5, "e")]
    assert [item.inclusion_probability for item in items] == pytest.approx([0.5, 1 / 3, 0.5, 1.0, 1.0])
    for items_, strata_, said in (
        (drawn("a", "bird"), [Stratum("bird", 4, 3), *more[1:]], "is in it already"),
        ([], more[:2], "items of strata that are not given: 'dog'"),
        ([], [Stratum("bird", 4, 3), *more[1:]], "3 drawn, but there are not as many"),
    ):
        with pytest.raises(UsageError, match=said):
            store.samples.extend(sample_id, items=items_, strata=strata_)
    with pytest.raises(UsageError, match="sample 9: there is none"):
        store.samples.extend(9, items=[], strata=[])
    assert only(store) == sample


def test_chosen_photos_have_no_probability(store: Store) -> None:
    sample_id = store.samples.save(new(drawn("ab", "all", None), design=Design.FOCUS, for_estimation=False))
    assert [item.inclusion_probability for item in store.samples.items(sample_id)] == [None, None]
    store.samples.extend(sample_id, items=drawn("c", "all", None), strata=[Stratum("all", 5, 3)])
    assert [item.inclusion_probability for item in store.samples.items(sample_id)] == [None, None, None]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": " x"}, "a sample's name is"),
        ({"name": "x\n"}, "a sample's name is"),
        ({"items": drawn("aa")}, "no photo twice"),
        ({"strata": [Stratum("all", 5, 1)]}, "1 drawn, but there are not as many items"),
        ({"strata": [Stratum("all", 1, 2)]}, "2 drawn of only 1"),
        ({"strata": []}, "strata that are not given: 'all'"),
        ({"strata": [Stratum("all", 5, 2), Stratum("all", 5, 2)]}, "no stratum twice"),
        ({"items": drawn("ab", "all", None)}, "needs the inclusion probability"),
        ({"items": drawn("ab", "all", 1.5)}, "inclusion probability of 1.5"),
    ],
)
def test_sample_that_does_not_add_up_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        new(**({"items": drawn("ab")} | change))


def test_name_is_taken_once_and_a_failed_sample_leaves_nothing(store: Store) -> None:
    store.samples.save(new(drawn("ab")))
    with pytest.raises(UsageError, match="there is a sample 'first' already; choose another name"):
        store.samples.save(new(drawn("c")))
    stranger = SampledPhoto(
        photo_id=77, stratum="all", inclusion_probability=0.5, content_hash=digest("x"), tag=ROOSTER, model_id=1
    )
    with pytest.raises(StoreError, match="refused a row"):
        store.samples.save(new([stranger], name="second"))
    assert [sample.name for sample in store.samples.find_all()] == ["first"]


def test_contents_of_estimation_samples_are_known(store: Store) -> None:
    store.samples.save(new(drawn("ab")))
    store.samples.save(new(drawn("c", "all", None), name="doubtful", design=Design.FOCUS, for_estimation=False))
    assert store.samples.contents_for_estimation() == {digest("/p/a.jpg"), digest("/p/b.jpg")}


def test_removed_sample_leaves_its_reviews_as_corrections(store: Store) -> None:
    sample_id = store.samples.save(new(drawn("abc")))
    other = store.samples.save(new(drawn("cd", probability=0.4), [Stratum("all", 5, 2)], name="other"))
    kept = store.reviews.save(Review(photo_id=1, superclass="whale", sample_id=sample_id))
    store.reviews.undo(store.reviews.save(Review(photo_id=2, superclass="whale", sample_id=sample_id)))
    store.samples.skip(sample_id, 3)
    before, version = list(store.query(Query())), store.samples.audit_version()
    assert store.samples.remove(sample_id) == 1
    assert [sample.name for sample in store.samples.find_all()] == ["other"]
    assert store.samples.items(sample_id) == []
    assert list(store.query(Query())) == before
    review = store.reviews.find(kept)
    assert review is not None
    assert (review.sample_id, review.superclass, review.undone_at) == (None, "whale", None)
    assert store.samples.contents_for_estimation() == {digest("/p/c.jpg"), digest("/p/d.jpg")}
    assert store.samples.audit_version() != version
    store.reviews.undo(kept)
    assert only(store).id == other
    with pytest.raises(UsageError, match="there is none"):
        store.samples.remove(sample_id)


def test_sample_that_takes_the_number_of_a_removed_one_is_another(store: Store) -> None:
    store.samples.save(new(drawn("abc")))
    version = store.samples.audit_version()
    store.samples.remove(only(store).id)
    store.samples.save(new(drawn("cde")))
    assert store.samples.audit_version() != version


def test_samples_of_a_database_of_many_photos_stay_quick(tmp_path: Path) -> None:
    """Every question finds its rows through an index: no plan reads all photos, reviews or items."""
    with Store.open(tmp_path / "photos.db") as store, store.writing("audit"):
        store.tags.save_batch(model_id=register(store), tagged=library())
        sample_id = store.samples.save(new(drawn("abc")))
        seen: list[str] = []
        assert store._database._writer is not None
        raw = driver_connection(store._database._writer)
        raw.set_trace_callback(seen.append)
        review_id = store.reviews.save(Review(photo_id=1, superclass="fish", sample_id=sample_id, token="t"))
        store.reviews.save(Review(photo_id=1, superclass="fish", sample_id=sample_id, token="t"))
        store.samples.skip(sample_id, 2)
        store.reviews.undo(review_id)
        raw.set_trace_callback(None)
        scans = []
        for line in seen:
            if line.split()[0] in ("SELECT", "UPDATE", "DELETE", "INSERT"):
                plan = raw.execute(f"EXPLAIN QUERY PLAN {line}").fetchall()
                scans += [(row[3], line) for row in plan if row[3].startswith("SCAN")]
        assert scans == []
        assert store.count(Query()) == len(TAGS)
