"""A library that takes long to read is shown as far as it is read, and never as if that were all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from phototag.catalog.catalog import Gallery
from phototag.catalog.cursor import GallerySort
from phototag.catalog.filters import GalleryFilter
from phototag.catalog.follow import Following
from phototag.catalog.views import Reading
from phototag.errors import StoreError
from phototag.store import CatalogMoment, GalleryRow, Store
from tests.support.catalog_photos import all_ids, library
from tests.support.commands import run_python

_PART = 20


class Gate:
    """Lets a library be read part by part."""

    def __init__(self) -> None:
        self.parts = threading.Semaphore(0)
        self.problem: str | None = None

    def pass_on(self, parts: int = 1000) -> None:
        self.parts.release(parts)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Let galleries read the library only as far as the gate is opened, and show what they have at once."""
    opened = Gate()

    def parts(gallery: Following, now: CatalogMoment) -> Iterator[Sequence[GalleryRow]]:
        rows = [row for part in now.photos() for row in part]
        for start in range(0, len(rows), _PART):
            while not opened.parts.acquire(timeout=0.01):
                if gallery._closing.is_set():
                    raise StoreError("closed")
            if opened.problem and start:
                raise StoreError(opened.problem)
            yield rows[start : start + _PART]

    monkeypatch.setattr(Following, "_parts", parts)
    monkeypatch.setattr("phototag.catalog.follow._OPENING_SECONDS", 0.0)
    yield opened
    opened.pass_on()


def count(store: Store) -> int:
    with store.catalog.at_one_moment() as now:
        return now.count()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def grown(gallery: Gallery, photos: int) -> bool:
    return len(gallery.snapshot) >= photos


def opened_in_part(store: Store, gate: Gate, *, parts: int = 2) -> Gallery:
    """Return a gallery that has read some parts of the library."""
    gate.pass_on(parts)
    gallery = Gallery(store, poll_seconds=3600)
    until(lambda: len(gallery.snapshot) == parts * _PART)
    return gallery


def assert_as_read_anew(gallery: Gallery, store: Store, gate: Gate) -> None:
    gate.pass_on()
    gallery.wait_until_read()
    assert gallery.reading is None
    with Gallery(store, poll_seconds=3600) as other:
        other.wait_until_read()
        for sort in GallerySort:
            assert all_ids(gallery, sort=sort) == all_ids(other, sort=sort)
        ids = all_ids(other) + all_ids(other, GalleryFilter(state="missing"))
        assert gallery.items(ids) == other.items(ids)
        assert gallery.facets(GalleryFilter()) == other.facets(GalleryFilter())


def test_what_was_read_is_shown_and_grows(store: Store, gate: Gate) -> None:
    total = count(store)
    with opened_in_part(store, gate) as gallery:
        assert gallery.reading == Reading(photos=40, total=total, stale=False)
        assert len(all_ids(gallery, sort=GallerySort.PATH)) == gallery.total <= 40
        gate.pass_on(1)
        until(lambda: len(gallery.snapshot) == 60)
        assert gallery.reading == Reading(photos=60, total=total, stale=False)
        assert_as_read_anew(gallery, store, gate)


def test_what_a_person_says_or_removes_meanwhile_stays_said_and_removed(store: Store, gate: Gate) -> None:
    with opened_in_part(store, gate) as gallery:
        read, unread, gone, unread_gone = 5, 90, 7, 91
        for photo_id in (read, unread):
            known = store.photos.find(photo_id)
            assert known is not None
            with gallery.writing("serve") as writer:
                writer.tags.set_human(known.path, superclass="fish", subclass="cod")
                gallery.refresh([photo_id])
        with gallery.writing("serve") as writer:
            writer.photos.mark_missing([gone, unread_gone])
            writer.photos.remove([gone, unread_gone], reviewed=True)
            gallery.refresh([gone, unread_gone])
        for parts in (0, 1, 1):
            if parts:
                wait_for = len(gallery.snapshot) + 1
                gate.pass_on(parts)
                until(partial(grown, gallery, wait_for))
            assert [item.subclass for item in gallery.items([read, unread])] == ["cod", "cod"]
            assert gallery.items([gone, unread_gone]) == ()
        assert_as_read_anew(gallery, store, gate)
        assert [item.subclass for item in gallery.items([read, unread])] == ["cod", "cod"]


def test_what_others_write_meanwhile_is_shown_soon_after(store: Store, gate: Gate) -> None:
    with opened_in_part(store, gate) as gallery:
        with Store.open(store.location.path) as other, other.writing("tag"):
            other.tags.save_batch(model_id=1, tagged=library(9, seed=4, first=9000))
            other.photos.mark_missing([3])
            other.photos.remove([3], reviewed=True)
        gate.pass_on()
        gallery.wait_until_read()
        gallery._catch_up()
        assert_as_read_anew(gallery, store, gate)


def test_saved_library_is_shown_at_once_though_it_was_written_to(
    store: Store, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phototag.catalog.follow._FEWEST_INDEXED", 1)
    gate.pass_on()
    with Gallery(store, poll_seconds=3600, indexes=tmp_path / "indexes") as gallery:
        gallery.wait_until_read()
        before = all_ids(gallery)
    with store.writing("tag"):
        store.tags.save_batch(model_id=1, tagged=library(9, seed=4, first=9000))
    while gate.parts.acquire(blocking=False):
        pass
    with Gallery(store, poll_seconds=3600, indexes=tmp_path / "indexes") as gallery:
        if gallery.reading is not None:
            assert gallery.reading.stale
            assert all_ids(gallery) == before
        assert_as_read_anew(gallery, store, gate)


def test_library_that_cannot_be_read_to_its_end_says_so_and_is_read_later(store: Store, gate: Gate) -> None:
    with opened_in_part(store, gate, parts=1) as gallery:
        gate.problem = "the disk failed"
        gate.pass_on(1)
        until(lambda: gallery.reading is not None and gallery.reading.problem == "the disk failed")
        assert len(gallery.snapshot) == 20
        gate.problem = None
        gate.pass_on()
        gallery._catch_up()
        assert_as_read_anew(gallery, store, gate)


def test_library_that_cannot_be_read_at_all_is_refused(
    store: Store, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phototag.catalog.follow._OPENING_SECONDS", 60.0)
    gate.problem = "the disk failed"
    gate.pass_on(2)
    with pytest.raises(StoreError, match="the disk failed"):
        Gallery(store, poll_seconds=3600)


def test_gallery_that_is_closed_in_the_middle_ends_at_once_and_saves_nothing(
    store: Store, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phototag.catalog.follow._FEWEST_INDEXED", 1)
    gate.pass_on(1)
    gallery = Gallery(store, poll_seconds=3600, indexes=tmp_path / "indexes")
    started = time.monotonic()
    gallery.close()
    assert time.monotonic() - started < 1
    assert not gallery._thread.is_alive()
    assert list(tmp_path.glob("indexes/*")) == []


def test_process_that_is_killed_while_it_saves_leaves_nothing_that_is_taken(store: Store, tmp_path: Path) -> None:
    code = (
        "import os, sys; from phototag.catalog import Gallery, follow, index_file; from phototag.store import Store\n"
        "from pathlib import Path; follow._FEWEST_INDEXED, sums = 1, iter(range(9))\n"
        "index_file.zlib = type('Z', (), {'adler32': lambda *_: 1 if next(sums) < 5 else os._exit(9)})\n"
        "gallery = Gallery(Store.open(sys.argv[1]), indexes=Path(sys.argv[2])); gallery._thread.join()\n"
    )
    process = run_python(code, store.location.path, tmp_path / "indexes")
    assert (process.communicate(timeout=120), process.returncode) == (("", ""), 9)
    assert list(tmp_path.glob("indexes/*.index")) == []
    with Gallery(store, poll_seconds=3600, indexes=tmp_path / "indexes") as gallery:
        assert gallery.reading is None
