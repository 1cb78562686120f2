"""A human's word stays, whatever models say later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phototag.errors import StoreError, UsageError
from phototag.records import Rank, Source
from phototag.store import Query, Store
from tests.support.stored_photos import BEAGLE, ROOSTER, SOME_BIRD, digest, failure, forget, register, stored


def test_human_tag_replaces_the_models_and_is_never_replaced_by_one(store: Store) -> None:
    model_id = register(store)
    store.tags.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg", ROOSTER)])
    store.tags.set_human(Path("/p/a.jpg"), superclass="bird", subclass="hawk")
    store.tags.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg", BEAGLE, content="edited")])
    (row,) = store.query(Query())
    assert (row.superclass, row.subclass, row.source, row.model) == ("bird", "hawk", Source.HUMAN, None)
    assert (row.superclass_score, row.subclass_score, row.novelty) == (1.0, 1.0, None)
    known = store.photos.find(Path("/p/a.jpg"))
    assert known is not None
    assert known.content_hash == digest("edited")
    assert store.scores.of_contents(model_id, [digest("edited")]) == {digest("edited"): b"scores"}


def test_tags_decided_anew_replace_the_models_and_not_the_humans(store: Store) -> None:
    model_id = register(store)
    store.tags.save_batch(
        model_id=model_id, tagged=[stored("/p/a.jpg"), stored("/p/b.jpg")], failures=[failure("/p/c.jpg")]
    )
    store.tags.set_human(Path("/p/a.jpg"), superclass="bird", subclass="hawk")
    ids = [known.id for known in store.photos.under([Path("/p")])]
    other = register(store, "other")
    store.tags.save(model_id=other, decided=[(photo_id, SOME_BIRD) for photo_id in ids])
    rows = [(row.superclass, row.subclass, row.model) for row in store.query(Query())]
    assert rows == [("bird", "hawk", None), ("bird", None, "other"), ("bird", None, "other")]
    store.tags.save(model_id=other, decided=[])
    with pytest.raises(StoreError, match="refused a row"):
        store.tags.save(model_id=other, decided=[(ids[1], ROOSTER), (12345, ROOSTER)])
    assert store.count(Query(subclass="rooster")) == 0


def test_human_may_name_less_and_change_their_mind(store: Store) -> None:
    store.tags.save_batch(model_id=register(store), tagged=[], failures=[failure("/p/a.jpg")])
    store.tags.set_human(Path("/p/a.jpg"), superclass=None)
    assert next(iter(store.query(Query(novel=True)))).rank is Rank.NONE
    store.tags.set_human(Path("/p/a.jpg"), superclass="fish")
    (row,) = store.query(Query(source=Source.HUMAN))
    assert (row.superclass, row.subclass, row.rank, row.novelty) == ("fish", None, Rank.SUPERCLASS, None)


def test_human_tag_needs_a_known_photo_and_clean_labels(store: Store) -> None:
    with pytest.raises(StoreError, match=r"/p/x\.jpg: not in the database .* run: phototag tag"):
        store.tags.set_human(Path("/p/x.jpg"), superclass="bird")
    with pytest.raises(UsageError, match="needs its superclass"):
        store.tags.set_human(Path("/p/x.jpg"), superclass=None, subclass="hawk")
    with pytest.raises(UsageError, match="slash"):
        store.tags.set_human(Path("/p/x.jpg"), superclass="bird/hawk")


def test_moved_photo_takes_its_human_tag_along(store: Store) -> None:
    model_id = register(store)
    store.tags.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg", ROOSTER)])
    store.tags.set_human(Path("/p/a.jpg"), superclass="bird", subclass="hawk")
    moved = [stored("/new/a.jpg", ROOSTER, content="/p/a.jpg"), stored("/new/b.jpg", ROOSTER)]
    store.tags.save_batch(model_id=model_id, tagged=moved)
    rows = {str(row.path): (row.subclass, row.source) for row in store.query(Query(under=Path("/new")))}
    assert rows == {"/new/a.jpg": ("hawk", Source.HUMAN), "/new/b.jpg": ("rooster", Source.MODEL)}


def test_photo_that_was_seen_half_copied_takes_its_human_tag_along(store: Store) -> None:
    model_id = register(store)
    store.tags.save_batch(
        model_id=model_id, tagged=[stored("/p/a.jpg")], failures=[failure("/new/a.jpg", content="half")]
    )
    store.tags.set_human(Path("/p/a.jpg"), superclass="bird", subclass="hawk")
    store.tags.save_batch(model_id=model_id, tagged=[stored("/new/a.jpg", content="/p/a.jpg")])
    (row,) = store.query(Query(under=Path("/new")))
    assert (row.subclass, row.source) == ("hawk", Source.HUMAN)


STEPS = st.lists(
    st.tuples(st.sampled_from(["tag", "fail", "missing", "seen", "other model"]), st.sampled_from("xyz")),
    max_size=12,
)


@given(STEPS, STEPS)
@settings(max_examples=40, deadline=None)
def test_human_tag_survives_whatever_comes(
    reused_store: Store, before: list[tuple[str, str]], after: list[tuple[str, str]]
) -> None:
    forget(reused_store)
    other = register(reused_store, "other")
    path = "/p/a.jpg"

    def go(steps: Sequence[tuple[str, str]]) -> None:
        for what, content in steps:
            known = reused_store.photos.find(Path(path))
            if what == "fail":
                reused_store.tags.save_batch(model_id=1, tagged=[], failures=[failure(path, content=content)])
            elif what in ("tag", "other model"):
                item = stored(path, BEAGLE, content=content)
                reused_store.tags.save_batch(model_id=1 if what == "tag" else other, tagged=[item])
            elif known is not None and what == "missing":
                reused_store.photos.mark_missing([known.id])
            elif known is not None:
                reused_store.photos.mark_seen([known.id])

    go(before)
    reused_store.tags.save_batch(model_id=1, tagged=[stored(path, ROOSTER, content="x")])
    reused_store.tags.set_human(Path(path), superclass="bird", subclass="hawk")
    go(after)
    (row,) = reused_store.query(Query())
    assert (row.superclass, row.subclass, row.source) == ("bird", "hawk", Source.HUMAN)
