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
    store.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg", ROOSTER)])
    store.set_human_tag(Path("/p/a.jpg"), superclass="bird", subclass="hawk")
    store.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg", BEAGLE, content="edited")])
    (row,) = store.query(Query())
    assert (row.superclass, row.subclass, row.source, row.model) == ("bird", "hawk", Source.HUMAN, None)
    assert (row.superclass_score, row.subclass_score, row.novelty) == (1.0, 1.0, 0.0)
    known = store.find(Path("/p/a.jpg"))
    assert known is not None
    assert known.content_hash == digest("edited")
    assert store.predictions_for(model_id, [digest("edited")]) == {digest("edited"): b"scores"}


def test_tags_decided_anew_replace_the_models_and_not_the_humans(store: Store) -> None:
    model_id = register(store)
    store.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg"), stored("/p/b.jpg")], failures=[failure("/p/c.jpg")])
    store.set_human_tag(Path("/p/a.jpg"), superclass="bird", subclass="hawk")
    ids = [known.id for known in store.known_photos([Path("/p")])]
    other = register(store, "other")
    store.save_tags(model_id=other, tags=[(photo_id, SOME_BIRD) for photo_id in ids])
    rows = [(row.superclass, row.subclass, row.model) for row in store.query(Query())]
    assert rows == [("bird", "hawk", None), ("bird", None, "other"), ("bird", None, "other")]
    store.save_tags(model_id=other, tags=[])
    with pytest.raises(StoreError, match="refused a row"):
        store.save_tags(model_id=other, tags=[(ids[1], ROOSTER), (12345, ROOSTER)])
    assert store.count(Query(subclass="rooster")) == 0


def test_human_may_name_less_and_change_their_mind(store: Store) -> None:
    store.save_batch(model_id=register(store), tagged=[], failures=[failure("/p/a.jpg")])
    store.set_human_tag(Path("/p/a.jpg"), superclass=None)
    assert next(iter(store.query(Query(novel=True)))).rank is Rank.NONE
    store.set_human_tag(Path("/p/a.jpg"), superclass="fish")
    (row,) = store.query(Query(source=Source.HUMAN))
    assert (row.superclass, row.subclass, row.rank, row.novelty) == ("fish", None, Rank.SUPERCLASS, 1.0)


def test_human_tag_needs_a_known_photo_and_clean_labels(store: Store) -> None:
    with pytest.raises(StoreError, match=r"/p/x\.jpg: not in the database .* run: phototag tag"):
        store.set_human_tag(Path("/p/x.jpg"), superclass="bird")
    with pytest.raises(UsageError, match="needs its superclass"):
        store.set_human_tag(Path("/p/x.jpg"), superclass=None, subclass="hawk")
    with pytest.raises(UsageError, match="slash"):
        store.set_human_tag(Path("/p/x.jpg"), superclass="bird/hawk")


def test_moved_photo_takes_its_human_tag_along(store: Store) -> None:
    model_id = register(store)
    store.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg", ROOSTER)])
    store.set_human_tag(Path("/p/a.jpg"), superclass="bird", subclass="hawk")
    moved = [stored("/new/a.jpg", ROOSTER, content="/p/a.jpg"), stored("/new/b.jpg", ROOSTER)]
    store.save_batch(model_id=model_id, tagged=moved)
    rows = {str(row.path): (row.subclass, row.source) for row in store.query(Query(under=Path("/new")))}
    assert rows == {"/new/a.jpg": ("hawk", Source.HUMAN), "/new/b.jpg": ("rooster", Source.MODEL)}


def test_photo_that_was_seen_half_copied_takes_its_human_tag_along(store: Store) -> None:
    model_id = register(store)
    store.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg")], failures=[failure("/new/a.jpg", content="half")])
    store.set_human_tag(Path("/p/a.jpg"), superclass="bird", subclass="hawk")
    store.save_batch(model_id=model_id, tagged=[stored("/new/a.jpg", content="/p/a.jpg")])
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
            known = reused_store.find(Path(path))
            if what == "fail":
                reused_store.save_batch(model_id=1, tagged=[], failures=[failure(path, content=content)])
            elif what in ("tag", "other model"):
                item = stored(path, BEAGLE, content=content)
                reused_store.save_batch(model_id=1 if what == "tag" else other, tagged=[item])
            elif known is not None and what == "missing":
                reused_store.mark_missing([known.id])
            elif known is not None:
                reused_store.mark_seen([known.id])

    go(before)
    reused_store.save_batch(model_id=1, tagged=[stored(path, ROOSTER, content="x")])
    reused_store.set_human_tag(Path(path), superclass="bird", subclass="hawk")
    go(after)
    (row,) = reused_store.query(Query())
    assert (row.superclass, row.subclass, row.source) == ("bird", "hawk", Source.HUMAN)
