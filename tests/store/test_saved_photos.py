"""What is saved comes back, and what happens to photos that fail, go missing or change."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phototag.database import database as database_module
from phototag.errors import StoreError
from phototag.records import Failure, FailureKind, PhotoState, Rank, Source
from phototag.store import Query, Store
from tests.support.stored_photos import (
    BEAGLE,
    ROOSTER,
    TAXONOMY,
    digest,
    failure,
    forget,
    paths,
    photo,
    register,
    stored,
)


def test_tagged_photo_comes_back_as_saved(store: Store) -> None:
    before = datetime.now(UTC)
    store.tags.save_batch(model_id=register(store), tagged=[stored("/p/a.jpg", BEAGLE)])
    (row,) = store.query(Query())
    assert row.path == Path("/p/a.jpg")
    assert (row.superclass, row.subclass, row.rank) == ("dog", "beagle", Rank.SUBCLASS)
    assert (row.superclass_score, row.subclass_score, row.novelty) == (0.95, 0.6, 0.3)
    assert (row.source, row.model, row.state, row.error) == (Source.MODEL, "sample", PhotoState.OK, None)
    assert row.tagged_at is not None
    assert before <= row.tagged_at <= datetime.now(UTC)
    assert row.tagged_at.utcoffset() == timedelta(0)


def test_known_photo_keeps_stat_values_that_do_not_fit_a_signed_column(store: Store) -> None:
    item = stored("/p/a.jpg", inode=2**64 - 1, modified_ns=-5, changed_ns=2**63 + 7, size_bytes=2**40)
    store.tags.save_batch(model_id=register(store), tagged=[item])
    (known,) = store.photos.under([Path("/p")])
    assert (known.inode, known.modified_ns, known.size_bytes) == (2**64 - 1, -5, 2**40)
    assert known.matches(item.photo)
    assert not known.matches(photo("/p/a.jpg", inode=2**64 - 1))
    assert known.content_hash == item.content_hash
    assert (known.state, known.error_kind, known.attempts) == (PhotoState.OK, None, 0)
    assert known.tag_source is Source.MODEL


@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name))
@settings(max_examples=40, deadline=None)
def test_any_byte_path_comes_back(reused_store: Store, name: bytes) -> None:
    forget(reused_store)
    item = stored(b"/" + name)
    reused_store.tags.save_batch(model_id=1, tagged=[item])
    (row,) = reused_store.query(Query())
    assert row.path == item.photo.path
    known = reused_store.photos.find(item.photo.path)
    assert known is not None
    assert known.path == item.photo.path
    assert known.path_bytes == os.fsencode(item.photo.path)


PIECES = st.sampled_from(["a", "b", "a-", "a0", "a.jpg", "%", "_", "A", "é", "\udcff"])
TREES = st.lists(PIECES, max_size=3).map(lambda parts: Path("/", *parts))


@given(st.sets(TREES, max_size=12), TREES)
@settings(max_examples=40, deadline=None)
def test_under_means_path_wise_relative(reused_store: Store, files: set[Path], root: Path) -> None:
    forget(reused_store)
    reused_store.tags.save_batch(model_id=1, tagged=[stored(os.fsencode(path)) for path in files])
    wanted = sorted((path for path in files if path.is_relative_to(root)), key=os.fsencode)
    assert [row.path for row in reused_store.query(Query(under=root))] == wanted
    assert reused_store.count(Query(under=root)) == len(wanted)


@given(st.sets(TREES, max_size=12), st.lists(TREES, max_size=4), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_known_photos_come_once_and_in_byte_order(
    reused_store: Store, files: set[Path], roots: list[Path], page_rows: int
) -> None:
    forget(reused_store)
    reused_store.tags.save_batch(model_id=1, tagged=[stored(os.fsencode(path)) for path in files])
    wanted = sorted(os.fsencode(path) for path in files if any(path.is_relative_to(root) for root in roots))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database_module, "PAGE_ROWS", page_rows)
        assert [known.path_bytes for known in reused_store.photos.under(roots)] == wanted


def test_sibling_with_the_same_beginning_is_not_under_a_folder(store: Store) -> None:
    names = ["/a/b", "/a/b/1.jpg", "/a/b-c.jpg", "/a/bc/2.jpg", "/a/b%/3.jpg", "/A/b/4.jpg"]
    store.tags.save_batch(model_id=register(store), tagged=[stored(name) for name in names])
    assert paths(store, Query(under=Path("/a/b"))) == ["/a/b", "/a/b/1.jpg"]
    assert len(list(store.photos.under([Path("/")]))) == len(names)


def test_large_batch_is_saved_whole(store: Store) -> None:
    items = [stored(f"/p/{number:05}.jpg") for number in range(1300)]
    model_id = register(store)
    store.tags.save_batch(model_id=model_id, tagged=items)
    store.tags.save_batch(model_id=model_id, tagged=items)
    assert store.count(Query()) == 1300
    assert len(store.scores.of_contents(model_id, [item.content_hash for item in items])) == 1300


def test_path_that_comes_twice_in_a_batch_counts_once(store: Store) -> None:
    model_id = register(store)
    items = [stored("/p/a.jpg", ROOSTER), stored("/p/a.jpg", BEAGLE)]
    store.tags.save_batch(model_id=model_id, tagged=items, failures=[failure("/p/a.jpg")])
    (row,) = store.query(Query())
    assert (row.subclass, row.state) == ("beagle", PhotoState.OK)


def test_empty_batch_is_no_error(store: Store) -> None:
    store.tags.save_batch(model_id=register(store), tagged=[], failures=[])
    assert store.count(Query()) == 0


def test_relative_path_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="absolute"):
        store.tags.save_batch(model_id=register(store), tagged=[stored("a.jpg")])


def test_retagging_with_another_model_replaces_the_tag_and_keeps_both_predictions(store: Store) -> None:
    first, second = register(store, "first"), register(store, "second")
    store.tags.save_batch(model_id=first, tagged=[stored("/p/a.jpg", ROOSTER)])
    store.tags.save_batch(model_id=second, tagged=[stored("/p/a.jpg", BEAGLE)])
    (row,) = store.query(Query())
    assert (row.subclass, row.model) == ("beagle", "second")
    wanted = {digest("/p/a.jpg"): b"scores"}
    assert store.scores.of_contents(first, [digest("/p/a.jpg")]) == wanted
    assert store.scores.of_contents(second, [digest("/p/a.jpg"), digest("other")]) == wanted


def test_model_is_registered_once_and_takes_the_new_name(store: Store) -> None:
    model_hash = "ab" * 32
    ids = [
        store.models.register(hash=model_hash, name=name, backbone="b", taxonomy=TAXONOMY, metrics={})
        for name in ("old", "new")
    ]
    assert ids[0] == ids[1]
    assert [model.name for model in store.models.find_all()] == ["new"]


# ---- failures, missing photos, changed photos


def test_failure_counts_attempts_and_success_clears_them(store: Store) -> None:
    model_id = register(store)
    for attempts in (1, 2):
        store.tags.save_batch(model_id=model_id, tagged=[], failures=[failure("/p/a.jpg")])
        known = store.photos.find(Path("/p/a.jpg"))
        assert known is not None
        assert (known.state, known.error_kind, known.attempts) == (
            PhotoState.UNREADABLE,
            FailureKind.CORRUPT,
            attempts,
        )
    (row,) = store.query(Query(state=PhotoState.UNREADABLE))
    assert (row.error, row.superclass, row.rank, row.tagged_at) == ("bad marker", None, None, None)
    store.tags.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg")])
    known = store.photos.find(Path("/p/a.jpg"))
    assert known is not None
    assert (known.state, known.error_kind, known.attempts) == (PhotoState.OK, None, 0)
    assert next(iter(store.query(Query()))).error is None


def test_failure_of_another_content_gets_its_full_number_of_attempts(store: Store) -> None:
    model_id = register(store)
    for _ in range(3):
        store.tags.save_batch(model_id=model_id, tagged=[], failures=[failure("/p/a.jpg", content="one")])
    store.tags.save_batch(model_id=model_id, tagged=[], failures=[failure("/p/a.jpg", content="two")])
    known = store.photos.find(Path("/p/a.jpg"))
    assert known is not None
    assert known.attempts == 1


@pytest.mark.parametrize(
    ("failed", "kept"),
    [
        (failure("/p/a.jpg"), True),
        (failure("/p/a.jpg", content="/p/a.jpg"), True),
        (failure("/p/a.jpg", content="other"), False),
        (failure("/p/a.jpg", size_bytes=0), False),
    ],
    ids=["unknown content", "same content", "other content", "other size"],
)
def test_failure_takes_the_models_tag_only_when_the_content_changed(store: Store, failed: Failure, kept: bool) -> None:
    model_id = register(store)
    store.tags.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg")])
    store.tags.save_batch(model_id=model_id, tagged=[], failures=[failed])
    known = store.photos.find(Path("/p/a.jpg"))
    assert known is not None
    assert known.state is PhotoState.UNREADABLE
    assert (known.tag_source is Source.MODEL) is kept
    assert (known.content_hash == digest("/p/a.jpg")) is kept


def test_reason_that_quotes_a_name_that_is_not_utf8_is_saved(store: Store) -> None:
    item = Failure(photo(b"/p/\xff.jpg"), FailureKind.PERMISSION, "denied: '/p/\udcff.jpg'")
    store.tags.save_batch(model_id=register(store), tagged=[], failures=[item])
    (row,) = store.query(Query())
    assert row.error == "denied: '/p/\ufffd.jpg'"


def test_missing_photo_keeps_its_tag_and_comes_back(store: Store) -> None:
    store.tags.save_batch(model_id=register(store), tagged=[stored("/p/a.jpg")], failures=[failure("/p/b.jpg")])
    known = list(store.photos.under([Path("/p")]))
    store.photos.mark_missing([item.id for item in known])
    assert paths(store, Query(state=PhotoState.MISSING, subclass="rooster")) == ["/p/a.jpg"]
    store.photos.mark_seen([item.id for item in known])
    states = [item.state for item in store.photos.under([Path("/p")])]
    assert states == [PhotoState.OK, PhotoState.UNREADABLE]
