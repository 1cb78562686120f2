"""The gallery follows what this process and others write."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from phototag.catalog.catalog import Gallery
from phototag.catalog.cursor import GallerySort
from phototag.catalog.filters import GalleryFilter
from phototag.catalog.folders import folder_key
from phototag.errors import StoreError
from phototag.records import PhotoState, Source
from phototag.store import Store
from tests.support.catalog_photos import all_ids, library
from tests.support.commands import run_python
from tests.support.stored_photos import register, stored


def test_refresh_shows_what_was_written(store: Store) -> None:
    with Gallery(store, poll_seconds=3600) as gallery:
        for sort in GallerySort:
            all_ids(gallery, sort=sort)  # what is kept of these must not outlive a change
        item = gallery.items([5])[0]
        version = gallery.version
        known = store.photos.find(5)
        assert known is not None
        with gallery.writing("serve") as writer:
            writer.tags.set_human(known.path, superclass="fish", subclass="cod")
            assert gallery.items([5]) == (item,), "a snapshot stays as it is"
            gallery.refresh([5])
        (fresh,) = gallery.items([5])
        assert (fresh.superclass, fresh.subclass, fresh.source, fresh.score) == ("fish", "cod", Source.HUMAN, None)
        assert gallery.version != version
        wanted = GalleryFilter(superclass="fish", subclass="cod")
        assert all_ids(gallery, wanted) == [5]
        assert all_ids(gallery, GalleryFilter(text="COD")) == [5]
        same = Gallery(store)
        for sort in GallerySort:
            assert all_ids(gallery, sort=sort) == all_ids(same, sort=sort)
        assert gallery.facets(wanted) == same.facets(wanted)
        same.close()
        version = gallery.version
        gallery._catch_up()
        assert gallery.version == version, "what was written inside is known, and not read again"


def test_refresh_shows_photos_that_came_and_forgets_those_that_went(store: Store) -> None:
    with Gallery(store, poll_seconds=3600) as gallery, store.writing("tag"):
        total = gallery.total
        with store._database.write() as connection:
            connection.exec_driver_sql("DELETE FROM photos WHERE id = 5")
        gallery.refresh([5, 10**6])
        assert (gallery.total, gallery.items([5])) == (total - 1, ())
        store.tags.save_batch(model_id=1, tagged=[stored("/elsewhere/new.jpg")])
        (known,) = store.photos.at([Path("/elsewhere/new.jpg")])
        gallery.refresh([known.id])
        assert gallery.total == total
        assert gallery.items([known.id])[0].name == "new.jpg"
        assert all_ids(gallery, GalleryFilter(text="elsewhere", folder=folder_key(b"/elsewhere"))) == [known.id]


def test_writes_of_others_are_seen_though_own_ones_come_between(store: Store) -> None:
    with Gallery(store, poll_seconds=3600) as gallery, Store.open(store.location.path) as other:
        with other.writing("watch"):
            other.tags.save_batch(model_id=1, tagged=library(5, seed=9, first=9000))
        with gallery.writing("serve") as writer:
            known = writer.photos.find(5)
            assert known is not None
            writer.tags.set_human(known.path, superclass="dog")
            gallery.refresh([5])
        total = gallery.total
        gallery._catch_up()
        assert gallery.total == total + 5


def test_own_write_during_a_reload_is_not_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gallery(store, poll_seconds=3600) as gallery:
        known = store.photos.find(5)
        assert known is not None
        with Store.open(store.location.path) as other, other.writing("watch"):
            other.tags.save_batch(model_id=1, tagged=library(5, seed=9, first=9000))
        load = gallery._load

        def slow_load(before: Any) -> Any:
            loaded = load(before)
            with gallery.writing("serve") as writer:
                writer.tags.set_human(known.path, superclass="fish", subclass="cod")
                gallery.refresh([5])
            return loaded

        monkeypatch.setattr(gallery, "_load", slow_load)
        total = gallery.total
        gallery._catch_up()
        assert gallery.total == total + 5
        assert gallery.items([5])[0].subclass == "cod"


def test_what_another_process_writes_shows_by_itself(store: Store, tmp_path: Path) -> None:
    code = (
        "import sys; from phototag.store import Store; from tests.support.catalog_photos import library\n"
        "with Store.open(sys.argv[1]) as store, store.writing('tag'):\n"
        "    store.tags.save_batch(model_id=1, tagged=library(7, seed=5, first=5000))\n"
    )
    with Gallery(store, poll_seconds=0.05) as gallery:
        total = gallery.total
        process = run_python(code, store.location.path)
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        deadline = time.monotonic() + 120
        while gallery.total != total + 7:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_database_that_takes_the_place_of_another_is_noticed(store: Store, tmp_path: Path) -> None:
    assert store.location.path is not None
    with Store.open(tmp_path / "other.db") as other, other.writing("tag"):
        other.tags.save_batch(model_id=register(other), tagged=library(9, seed=8))
    with Gallery(store, poll_seconds=3600) as gallery:
        before, keys, signs = gallery.total, {store.location.file_key()}, [gallery.sign()]
        assert gallery.sign() == signs[0]
        for end in ("-wal", "-shm"):  # they belong to the file that goes
            store.location.path.with_name(store.location.path.name + end).unlink(missing_ok=True)
        (tmp_path / "other.db").replace(store.location.path)
        signs.append(gallery.sign())
        gallery._catch_up()
        assert before != gallery.total == 9
        with gallery.writing("serve") as writer:
            writer.photos.mark_missing([3])
            gallery.refresh([3])
        assert gallery.items([3])[0].state is PhotoState.MISSING
        signs.append(gallery.sign())
        assert len({*keys, store.location.file_key()}) == 2
        assert len({str(sign) for sign in signs}) == 3


def test_gallery_serves_what_it_has_when_the_database_cannot_be_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gallery(store, poll_seconds=3600) as gallery:
        before = all_ids(gallery)
        with closing(sqlite3.connect(store.location.path or "")) as connection:
            connection.execute("PRAGMA ignore_check_constraints=ON")
            connection.execute("UPDATE photos SET state = 'nonsense', written = 10000 WHERE id = 5")
            connection.commit()
        with pytest.raises(StoreError, match="phototag db check"):
            gallery._catch_up()
        assert all_ids(gallery) == before
        with closing(sqlite3.connect(store.location.path or "")) as connection:
            connection.execute("UPDATE photos SET state = 'missing', written = 10001 WHERE id = 5")
            connection.commit()
        gallery._catch_up()
        assert gallery.items([5])[0].state is PhotoState.MISSING


def test_threads_that_read_while_another_refreshes_see_whole_snapshots(store: Store) -> None:
    wrong: list[str] = []
    done = threading.Event()
    with Gallery(store, poll_seconds=0.01) as gallery:
        known = store.photos.find(5)
        assert known is not None

        def look() -> None:
            while not done.is_set():
                ids = all_ids(gallery, limit=40, sort=GallerySort.PATH)
                if len(set(ids)) != gallery.total:
                    wrong.append(f"{len(set(ids))} of {gallery.total}")
                counts = gallery.facets(GalleryFilter())
                if sum(state.count or 0 for state in counts.groups["state"].choices[:-1]) != counts.total:
                    wrong.append("counts")

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(10):
            with gallery.writing("serve") as writer:
                writer.tags.set_human(known.path, superclass="fish", subclass=f"cod {number}")
                gallery.refresh([5])
        done.set()
        for thread in threads:
            thread.join(30)
        assert gallery.items([5])[0].subclass == "cod 9"
    assert wrong == []


def test_closing_ends_the_thread_and_leaves_the_store_open(store: Store) -> None:
    gallery = Gallery(store, poll_seconds=0.01)
    gallery.close()
    gallery.close()
    assert not gallery._thread.is_alive()
    assert store.photos.find(1) is not None


def test_gallery_needs_no_torch() -> None:
    code = "import phototag.catalog, sys; assert 'torch' not in sys.modules and 'starlette' not in sys.modules"
    process: subprocess.Popen[str] = run_python(code)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
