"""Following by what has changed shows the same as reading everything again, and reads no more than that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phototag.catalog.catalog import Gallery
from phototag.catalog.cursor import GallerySort
from phototag.catalog.filters import GalleryFilter
from phototag.store import Store
from tests.support.catalog_photos import all_ids, fill, library
from tests.support.random_writes import Writes
from tests.support.stored_photos import register, stored


def shown(gallery: Gallery) -> Iterator[Any]:
    """Yield all that a gallery shows."""
    for sort in GallerySort:
        yield all_ids(gallery, sort=sort)
    for wanted in (GalleryFilter(), GalleryFilter(state="missing"), GalleryFilter(text="lake")):
        yield gallery.items(all_ids(gallery, wanted))
        yield gallery.page(wanted, stacked=True).items
        yield gallery.facets(wanted)
    yield [gallery.burst(photo_id) for photo_id in gallery.snapshot.columns.id.tolist()]


def follow_random_writes(store: Store, monkeypatch: pytest.MonkeyPatch, *, turns: int) -> None:
    with store.writing("tag"):
        fill(store)
    with Gallery(store, poll_seconds=3600) as gallery:
        writes, kinds = Writes(store, seed=turns), []
        read_all = gallery._read_all
        whole: list[str] = []
        monkeypatch.setattr(gallery, "_read_all", lambda *args: (whole.append(kinds[-1]), read_all(*args))[1])
        for turn in range(turns):
            kinds.append(writes.write())
            if turn % 3 == 0:
                with store.writing("serve"):
                    writes.human()
                some = [each.id for each in writes._some(5)]
                gallery.refresh([*some, 10**6])
            gallery._catch_up()
            if turn % 4 == 0 or turn == turns - 1:
                with Gallery(store, poll_seconds=3600) as other:
                    for ours, theirs in zip(shown(gallery), shown(other), strict=True):
                        assert ours == theirs, f"after {kinds[-4:]}"
        assert set(whole) <= {"thresholds"}, "the first time that a model's are noted says more of all its tags"


def test_following_changes_equals_reading_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(tmp_path / "photos.db") as store:
        follow_random_writes(store, monkeypatch, turns=30)


def test_following_changes_equals_reading_everything_on_a_server(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(postgres_url) as store:
        follow_random_writes(store, monkeypatch, turns=13)


def test_transactions_that_are_committed_in_another_order_than_they_began_are_both_seen(postgres_url: str) -> None:
    with Store.open(postgres_url) as store, Store.open(postgres_url) as tagger:
        with store.writing("tag"):
            fill(store)
        began, may_commit = threading.Event(), threading.Event()

        def wait(_: object) -> None:
            began.set()
            assert may_commit.wait(60)

        def tag() -> None:
            with tagger.writing("tag"):
                tagger.tags.save_batch(model_id=register(tagger), tagged=library(5, seed=3, first=900), also=wait)

        with Gallery(store, poll_seconds=3600) as gallery:
            thread = threading.Thread(target=tag)
            thread.start()
            assert began.wait(60)
            with store.answering("serve", wait_seconds=10):
                known = store.photos.find(5)
                assert known is not None
                store.tags.set_human(known.path, superclass="fish")
            gallery._catch_up()
            total = gallery.total
            assert gallery.items([5])[0].superclass == "fish"
            may_commit.set()
            thread.join(60)
            gallery._catch_up()
            assert gallery.total == total + 5


def test_backup_that_was_put_back_is_not_taken_for_the_library_of_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phototag.catalog.follow._FEWEST_INDEXED", 1)
    path = tmp_path / "photos.db"
    with Store.open(path) as store, store.writing("tag"):
        fill(store)
    before = path.read_bytes()
    with Store.open(path) as store:
        with store.writing("retag"):
            store.tags.save(model_id=register(store), decided=[(5, stored("/x.jpg").tag)])
        Gallery(store, indexes=tmp_path / "indexes").close()
    with path.open("r+b") as file:  # the same file, so nothing but its content tells
        file.write(before)
        file.truncate()
    with Store.open(path) as store:
        with store.writing("tag"):
            for number in range(9):
                store.tags.save_batch(model_id=register(store), tagged=[stored(f"/new {number}.jpg")])
        with Gallery(store, indexes=tmp_path / "indexes") as gallery, Gallery(store) as other:
            assert gallery.items([5]) == other.items([5])
