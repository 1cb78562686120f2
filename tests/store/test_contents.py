"""What is known of single files and contents, and several stores and threads at once."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from phototag.database import driver_connection
from phototag.errors import LockedError, StoreError
from phototag.store import Query, ScoredContent, Store, StoredTag
from tests.support.stored_photos import ROOSTER, digest, failure, photo, register, stored


def test_photos_at_exactly_these_paths_are_known_once_and_in_byte_order(store: Store) -> None:
    names = [f"/p/{number:04}.jpg" for number in range(1200)] + ["/p/a", "/p/a/b.jpg", "/p/a-b.jpg", "/p/caf\udce9.jpg"]
    store.tags.save_batch(model_id=register(store), tagged=[stored(name) for name in names])
    assert [row.path for row in store.photos.at([Path("/p/a"), Path("/p/none"), Path("/p")])] == [Path("/p/a")]
    asked = [Path(name) for name in reversed(names)]
    keys = [row.path_bytes for row in store.photos.at([*asked, *asked])]
    assert keys == sorted(os.fsencode(name) for name in names)
    assert store.photos.at([]) == []


def content_of(store: Store, model_id: int, content_hash: bytes) -> ScoredContent | None:
    return store.scores.known_contents(model_id, [content_hash, digest("nothing")]).get(content_hash)


def test_scores_of_a_content_are_found_under_any_name_with_its_size(store: Store) -> None:
    model_id, other = register(store), register(store, "other")
    store.tags.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg", content="x"), stored("/p/b.jpg", content="x")])
    store.tags.save_batch(model_id=other, tagged=[stored("/p/c.jpg", content="y")])
    assert content_of(store, model_id, digest("x")) == ScoredContent(b"scores", 40, 30)
    assert content_of(store, model_id, digest("y")) is None
    assert content_of(store, other, digest("x")) is None
    assert set(store.scores.hashes(model_id)) == {digest("x")}
    store.photos.mark_missing([row.id for row in store.photos.under([Path("/p")])])
    assert content_of(store, model_id, digest("x")) is not None, "a moved photo needs no network"


def test_content_does_not_take_the_size_of_what_replaced_it(store: Store) -> None:
    """Under a name one model may have seen another content than is there now."""
    first, second = register(store), register(store, "other")
    store.tags.save_batch(model_id=first, tagged=[stored("/p/a.jpg", content="old")])
    new = StoredTag(photo("/p/a.jpg"), digest("new"), width=999, height=999, scores=b"others", tag=ROOSTER)
    store.tags.save_batch(model_id=second, tagged=[new])
    assert content_of(store, first, digest("old")) is None
    assert content_of(store, second, digest("new")) == ScoredContent(b"others", 999, 999)
    store.tags.save_batch(model_id=first, tagged=[stored("/p/b.jpg", content="old")])
    assert content_of(store, first, digest("old")) == ScoredContent(b"scores", 40, 30)


def test_content_of_a_photo_that_changed_and_failed_is_scored_again(store: Store) -> None:
    model_id = register(store)
    store.tags.save_batch(model_id=model_id, tagged=[stored("/p/a.jpg", content="x")])
    store.tags.save_batch(model_id=model_id, tagged=[], failures=[failure("/p/a.jpg", content="broken")])
    assert content_of(store, model_id, digest("x")) is None
    store.tags.save_batch(model_id=model_id, tagged=[], failures=[failure("/p/b.jpg", content="x")])
    assert content_of(store, model_id, digest("x")) is None


def test_hashes_are_streamed_while_others_are_saved(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("tag"):
        opened.tags.save_batch(model_id=1, tagged=[stored(f"/many/{number}.jpg") for number in range(5000)])
        hashes = opened.scores.hashes(1)
        next(hashes)
        opened.tags.save_batch(model_id=1, tagged=[stored("/many/later.jpg")])
        assert sum(1 for _ in hashes) == 5001


def test_two_stores_of_one_process_do_not_both_write(database: Path) -> None:
    link = database.with_name("link.db")
    link.symlink_to(database)
    with (
        Store.open(database) as first,
        Store.open(link) as second,
        first.writing("tag"),
        pytest.raises(LockedError, match="'phototag tag'"),
        second.writing("watch"),
    ):
        pass


def test_writing_may_be_entered_again_and_ends_with_the_outermost(database: Path) -> None:
    with Store.open(database) as opened:
        with opened.writing("watch"):
            with opened.writing("tag"):
                opened.photos.mark_missing([1])
            opened.photos.mark_missing([2])
        with pytest.raises(StoreError, match="not held"):
            opened.photos.mark_missing([3])


def test_threads_share_one_store(tmp_path: Path) -> None:
    with Store.open(tmp_path / "photos.db") as opened, opened.writing("tag"):
        model_id = register(opened)
        errors: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for step in range(5):
                    opened.tags.save_batch(model_id=model_id, tagged=[stored(f"/p/{number}-{step}.jpg")])
                    opened.count(Query())
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert opened.count(Query()) == 20


def test_forked_child_is_refused_the_parents_connection(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("tag"):
        opened._database._pid += 1  # as seen from a child
        with pytest.raises(StoreError, match="opened in another process"):
            opened.photos.mark_missing([1])


def test_writing_transaction_takes_the_write_lock_before_it_reads(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("tag"), closing(sqlite3.connect(database, timeout=0)) as other:
        with opened._database.write() as connection:
            connection.exec_driver_sql("SELECT 1")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")
        assert opened.count(Query()) == 3


def test_human_correction_is_written_through_to_the_disk(database: Path) -> None:
    with Store.open(database) as opened, opened.writing("web"):
        assert opened._database._writer is not None
        raw = driver_connection(opened._database._writer)
        seen: list[str] = []
        raw.set_trace_callback(seen.append)
        opened.tags.set_human(Path("/p/a.jpg"), superclass="bird")
        raw.set_trace_callback(None)
        assert seen[0] == "PRAGMA synchronous=FULL"
        assert seen.index("COMMIT") < seen.index("PRAGMA synchronous=NORMAL")
        assert raw.execute("PRAGMA synchronous").fetchone() == (1,)
